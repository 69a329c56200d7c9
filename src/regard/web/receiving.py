"""A photo on its way in: its form is read into memory and never onto a disk, and decoded before it is believed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from regard.errors import PhotoError
from regard.naming import printable
from regard.web.photos import VisitorPhoto
from regard.web.refusals import RefusedError, too_busy
from regard.web.security import too_long
from regard.web.settings import Limits
from regard.web.uploads import plain_copy
from regard.web.visitors import new_id

LONGEST_NAME = 80
Copy = tuple[bytes, tuple[int, int]]


class Arriving:
    """Bytes of all photos that are on their way in: who sends slowly holds no place, but what has come."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._bytes = limits.arriving_bytes, 0

    @contextmanager
    def counted(self, stream: AsyncIterator[bytes]) -> Iterator[AsyncGenerator[bytes, None]]:
        """A stream whose bytes count as long as the block lasts; RefusedError where there are too many of all."""
        own = 0

        async def pieces() -> AsyncGenerator[bytes, None]:
            nonlocal own
            async for piece in stream:
                own += len(piece)
                self._bytes += len(piece)
                if self._bytes > self._most:
                    raise too_busy("too many photos arrive at once", 5)
                yield piece

        try:
            yield pieces()
        finally:
            self._bytes -= own


async def photo_received(
    request: Request, limits: Limits, arriving: Arriving, threaded: Callable[..., Awaitable[Copy]]
) -> VisitorPhoto:
    """The photo of a request.

    Args:
        request: its form.
        limits: of the photo.
        arriving: what is on its way in.
        threaded: calls a function with arguments in a thread.

    Raises:
        RefusedError: it is too large, is no form with the one file `photo`, or the photo cannot be read.
    """
    with arriving.counted(request.stream()) as stream:
        file, name = await _sent(request, stream, limits)
        try:
            copy, (width, height) = await threaded(plain_copy, file, limits.pixels, limits.upload_bytes)
        except PhotoError as reason:
            raise RefusedError(
                422, reason.problem, came=reason.came, expected=reason.expected, remedy=reason.remedy
            ) from None
    return VisitorPhoto(new_id(), name, width, height, file=copy)


async def _sent(request: Request, stream: AsyncGenerator[bytes, None], limits: Limits) -> tuple[bytes, str]:
    """The file of a form, and its name."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RefusedError(415, "a photo is sent as a form", expected="multipart/form-data with the file `photo`")
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=1)
    parser.spool_max_size = 2 * limits.upload_bytes  # never onto a disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as reason:
        raise RefusedError(422, "this form cannot be read", came=str(reason)[:100]) from None
    try:
        sent = form.get("photo")
        if not isinstance(sent, UploadFile):
            raise RefusedError(422, "the form holds no file `photo`")
        file, name = await sent.read(), plain_name(sent.filename or "")
    finally:
        await form.close()
    if len(file) > limits.upload_bytes:
        raise too_long(limits.upload_bytes)
    return file, name


def plain_name(given: str) -> str:
    """What a file was called, without folders and what cannot be printed; "photo" where nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in printable(last.encode("utf-8", "replace").decode()) if letter.isprintable())
    return kept.strip(" .")[-LONGEST_NAME:] or "photo"
