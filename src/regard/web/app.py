"""The program that answers: routes within their guard, with one worker and what is remembered of visitors."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.types import ASGIApp

from regard.errors import RegardError
from regard.web.desk import Desk
from regard.web.downloads import clear
from regard.web.invalid import expected
from regard.web.refusals import RefusedError, in_words
from regard.web.routes import API, Room, router
from regard.web.security import Guard, refused
from regard.web.settings import Limits

STATIC = Path(__file__).parent / "static"
PROBLEMS = {
    404: "there is nothing at this address",
    405: "this address does not answer to that",
    408: "this took too long to arrive",
    413: "this is too large",
}
LOOKED_AFTER = 1.0
"""Seconds between two looks for what is to be forgotten."""


def create_app(
    desk: Desk,
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """The page and its API, as an ASGI application.

    Args:
        desk: what is shown.
        limits: how much is done for visitors; default as in `Limits`.
        host: that it will be bound to.
        token: that visitors must know; None where `host` is this machine alone.
        clock: seconds, by which everything is forgotten.
    """
    room = Room(desk, limits or Limits(), clock)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        clear()
        room.open(asyncio.get_running_loop())
        keeper = asyncio.create_task(_look_after(room))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.to_thread(room.queue.stop)

    app = FastAPI(
        title="regard", version="1", openapi_url=f"{API}/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.room = room
    app.include_router(router)
    for address, file in (("/", "index.html"), ("/api", "api.html")):
        page = functools.partial(_page, STATIC / file)
        app.api_route(address, methods=["GET", "HEAD"], include_in_schema=False)(page)
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    app.add_exception_handler(RegardError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, room.limits, host, token)


async def _page(file: Path) -> Response:
    return FileResponse(file, headers={"Cache-Control": "no-cache"})


async def _look_after(room: Room) -> None:
    while True:
        await asyncio.sleep(LOOKED_AFTER)
        room.look_after()


async def _refused(_: Request, reason: Exception) -> Response:
    assert isinstance(reason, RegardError)
    return refused(reason) if isinstance(reason, RefusedError) else JSONResponse(in_words(reason), 422)


async def _not_valid(_: Request, reason: Exception) -> Response:
    """The first thing that is wrong, in words; nothing of what came is sent back but its place."""
    assert isinstance(reason, RequestValidationError)
    first = reason.errors()[0]
    place = ".".join(str(part) for part in first["loc"])[:200]
    return refused(RefusedError(422, "this cannot be asked so", came=place, expected=expected(first)))


async def _not_found(_: Request, reason: Exception) -> Response:
    assert isinstance(reason, HTTPException)
    status = reason.status_code
    answer = refused(RefusedError(status, PROBLEMS.get(status, "this request cannot be read")))
    answer.headers.update(reason.headers or {})
    return answer


async def _failed(_: Request, __: Exception) -> Response:
    return refused(RefusedError(500, "this server failed", remedy="the terminal in which it runs says why"))
