"""What every request goes through before anything is done for it, and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import html
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regard.web.refusals import RefusedError, in_words
from regard.web.settings import Limits

logger = logging.getLogger("regard.web")

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TOKEN_COOKIE = "regard_token"
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self';"
        " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether a server bound to it is seen by this machine alone."""
    return host in ("127.0.0.1", "localhost", "::1")


class Guard:
    """Plain ASGI around an application.

    In this order: the Host header names this server, so that no other site's name can be made to lead here; the token,
    where there is one; a request that changes something says so by a header that no other site's page can send, and
    comes from this origin; the body is as long as it may be, also where it is sent without saying how long, and takes
    no longer than it may.

    Args:
        app: what is guarded.
        limits: of bodies.
        host: that the server is bound to.
        token: that must be known; None where the server is seen by this machine alone.
    """

    def __init__(self, app: ASGIApp, limits: Limits, host: str, token: str | None) -> None:
        self.app, self.limits, self.token = app, limits, token
        bound = host if ":" not in host else f"[{host}]"
        self.hosts = None if host in ("0.0.0.0", "::") else {*LOOPBACK, bound.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, said = time.perf_counter(), _Said(send)
        try:
            answer = self._answer(scope)
            if answer is None:
                photo = _is_photo(scope)
                seconds = self.limits.upload_seconds if photo else self.limits.body_seconds
                await self.app(scope, _Bounded(receive, self._most_bytes(scope), seconds), said)
            else:
                await answer(scope, receive, said)
        except RefusedError as reason:
            if not said.status:
                for_person = reason.status in (401, 421) and _is_person(scope)
                await (as_page(reason) if for_person else refused(reason))(scope, receive, said)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            logger.info("%s %s %s %.0f ms", scope["method"], route, said.status, 1000 * (time.perf_counter() - start))

    def _answer(self, scope: Scope) -> ASGIApp | None:
        """A redirection of whoever brings the token; RefusedError of whoever may not come in; else None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self.hosts is not None and _without_port(host) not in self.hosts:
            raise RefusedError(
                421, "this server is not called that", came=host[:100], remedy="open the address that it printed"
            )
        if self.token is not None:
            brought = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if scope["method"] in ("GET", "HEAD") and _same(brought, self.token):
                answer = RedirectResponse(scope["path"], 303)
                answer.set_cookie(TOKEN_COOKIE, self.token, httponly=True, samesite="strict")
                return answer
            if not any(_same(each, self.token) for each in _tokens(headers)):
                raise RefusedError(401, "this server asks for its token", remedy="open the address that it printed")
        if scope["method"] in CHANGES:
            self._check_origin(headers, host)
            self._check_length(headers, scope)
        return None

    def _check_origin(self, headers: Headers, host: str) -> None:
        origin = headers.get("origin")
        if headers.get("x-regard") != "1":
            raise RefusedError(403, "a request that changes something has the header X-Regard: 1")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            raise RefusedError(403, "this request comes from another site", came=origin[:100])

    def _check_length(self, headers: Headers, scope: Scope) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes(scope):
            raise too_long(self._most_bytes(scope))

    def _most_bytes(self, scope: Scope) -> int:
        """Of a photo, what surrounds it in its request, too."""
        return self.limits.body_bytes + (self.limits.upload_bytes if _is_photo(scope) else 0)


class _Bounded:
    """A body that is received, up to a length and a time; beyond, an exception that the application itself answers."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self.receive, self.left, self.seconds = receive, most, seconds
        self.end: float | None = None
        self.whole = False

    async def __call__(self) -> Message:
        if self.whole:
            return await self.receive()  # which waits until nobody listens any more
        if self.end is None:
            self.end = asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(self.end):
                message = await self.receive()
        except TimeoutError:
            raise HTTPException(408, headers={"Connection": "close"}) from None
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise HTTPException(413)
        self.whole = not message.get("more_body", False)
        return message


class _Said:
    """What is sent: with the headers of every answer; its status is kept."""

    def __init__(self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        self.send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self.send(message)


def refused(reason: RefusedError) -> JSONResponse:
    """The answer of a refusal."""
    return JSONResponse(in_words(reason), reason.status, reason.headers)


def as_page(reason: RefusedError) -> HTMLResponse:
    """The same for a person who opened an address."""
    words = (html.escape(part) for part in (reason.problem, reason.came, reason.remedy) if part)
    said = "".join(f"<p>{part}</p>" for part in words)
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>regard</title><h1>regard</h1>{said}</html>'
    return HTMLResponse(page, reason.status, reason.headers)


def too_long(most: int) -> RefusedError:
    """Of a body."""
    return RefusedError(
        413, "this is too large", expected=f"at most {most / 2**20:.3g} MiB", remedy="scale the photo down"
    )


def _is_photo(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/photos")


def _is_person(scope: Scope) -> bool:
    return "text/html" in Headers(scope=scope).get("accept", "")


def _without_port(host: str) -> str:
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _tokens(headers: Headers) -> list[str]:
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    return [bearer, cookies.get(TOKEN_COOKIE, "")]


def _same(brought: str, token: str) -> bool:
    return hmac.compare_digest(brought.encode(), token.encode())
