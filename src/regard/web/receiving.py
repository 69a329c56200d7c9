"""A photo on its way in: its form is read into memory and never onto a disk, and decoded before it is believed."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from regard.errors import PhotoError
from regard.naming import printable
from regard.web.photos import VisitorPhoto
from regard.web.refusals import Refusal
from regard.web.security import too_long
from regard.web.settings import Limits
from regard.web.uploads import upright
from regard.web.visitors import new_id

LONGEST_NAME = 80


async def photo_received(request: Request, limits: Limits, threads: CapacityLimiter) -> VisitorPhoto:
    """The photo of a request.

    Raises:
        Refusal: it is too large, is no form with the one file `photo`, or the photo cannot be read.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(415, "a photo is sent as a form", expected="multipart/form-data with the file `photo`")
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=1)
    parser.spool_max_size = 2 * limits.upload_bytes  # never onto a disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as reason:
        raise Refusal(422, "this form cannot be read", came=str(reason)[:100]) from None
    try:
        sent = form.get("photo")
        if not isinstance(sent, UploadFile):
            raise Refusal(422, "the form holds no file `photo`")
        file, name = await sent.read(), plain_name(sent.filename or "")
    finally:
        await form.close()
    if len(file) > limits.upload_bytes:
        raise too_long(limits.upload_bytes)
    try:
        width, height = await to_thread.run_sync(_size, file, limits.pixels, limiter=threads)
    except PhotoError as reason:
        raise Refusal(422, reason.problem, came=reason.came, expected=reason.expected, remedy=reason.remedy) from None
    return VisitorPhoto(new_id(), name, width, height, file=file)


def plain_name(given: str) -> str:
    """What a file was called, without folders and what cannot be printed; "photo" where nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in printable(last.encode("utf-8", "replace").decode()) if letter.isprintable())
    return kept.strip(" .")[-LONGEST_NAME:] or "photo"


def _size(file: bytes, most_pixels: int) -> tuple[int, int]:
    return upright(file, most_pixels).size
