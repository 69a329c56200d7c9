"""Where a server listens, and the token that it asks for where others can see it."""

from __future__ import annotations

import re
import secrets
import socket

from regard.errors import RegardError
from regard.web.security import is_loopback


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
    """A socket that listens.

    Raises:
        RegardError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as reason:
        listening.close()
        raise RegardError(
            f"cannot listen at {host}, port {port}",
            came=reason.strerror or str(reason),
            remedy="--port 0 takes a free one",
        ) from None
    return listening
