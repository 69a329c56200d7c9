"""Where a server listens and how long it waits for requests; the token that it asks for where others can see it."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from regard.errors import RegardError
from regard.web.security import is_loopback

BACKLOG = 2048
REQUEST_SECONDS = 20.0
"""Within which whoever has connected has sent the head of a request."""


class Patient(H11Protocol):
    """HTTP that does not wait for ever for a request, the first one of a connection or a later one."""

    _until: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_longer()

    def _wait(self) -> None:
        """For the rest of a head, from its first bytes on; what lies between two requests is uvicorn's."""
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_longer()
        elif self._until is None:
            self._until = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _wait_no_longer(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None


def address_of(host: str) -> str:
    """What others call a server that is bound to a host: where that is every address, this machine's in its network."""
    if host in ("0.0.0.0", "::"):
        family = socket.AF_INET if host == "0.0.0.0" else socket.AF_INET6
        far = ("192.0.2.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9)
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect(far)  # nothing is sent: the system says from where it would
                host = asked.getsockname()[0]
            except OSError:
                host = "127.0.0.1" if family == socket.AF_INET else "::1"
    return f"[{host}]" if ":" in host else host


def token_for(host: str, given: str | None) -> str | None:
    """The token: the one that was given, or one that is drawn where the server is seen beyond this machine.

    Raises:
        RegardError: a token that can be guessed, or cannot stand in an address.
    """
    if given is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    if not re.fullmatch(r"[A-Za-z0-9_.~-]{12,200}", given):
        raise RegardError(
            "this is no token",
            expected="12 to 200 letters, digits, or any of _ . ~ -",
            remedy="leave it out: one is drawn",
        )
    return given


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens: who connects from here on is answered, as soon as the server runs.

    Raises:
        RegardError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as reason:
        listening.close()
        raise RegardError(
            f"cannot listen at {host}, port {port}",
            came=reason.strerror or str(reason),
            remedy="--port 0 takes a free one",
        ) from None
    return listening
