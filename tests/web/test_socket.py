"""The server over a socket of its own: what is slow, half sent, or too long, as no client library would send it."""

import asyncio
import socket
import threading

import pytest
import uvicorn

from regard.web import listening
from regard.web.app import create_app
from regard.web.desk import Desk
from regard.web.settings import Limits

from .conftest import file_of, picture

HEAD = b"HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Regard: 1\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=cut\r\n"
WAIT = 30
"""Seconds after which a test gives up."""


def form_of(file):
    return (
        b'--cut\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + file + b"\r\n--cut--\r\n"
    )


@pytest.fixture
def connect(classifiers, few_methods, monkeypatch):
    """Connections to a server with few seconds of patience for bodies and heads, many for photos."""
    monkeypatch.setattr(listening, "REQUEST_SECONDS", 0.3)
    limits = Limits(body_seconds=0.3, upload_seconds=WAIT, body_bytes=2000)
    own = listening.bound("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(Desk(classifiers), limits), log_level="error", http=listening.Patient, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([own])))
    thread.start()
    opened = []

    def connection(*sent):
        opened.append(socket.create_connection(own.getsockname(), WAIT))
        for part in sent:
            opened[-1].sendall(part)
        return opened[-1]

    yield connection
    for each in opened:
        each.close()
    server.should_exit = True
    thread.join(WAIT)


def answered(connection):
    """The first line of what comes, or nothing where the connection is closed; fails where it stays open."""
    return connection.recv(10_000).partition(b"\r\n")[0].decode()


def test_a_body_that_does_not_come_is_not_waited_for(connect):
    head = b"POST /api/v1/jobs " + HEAD + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    assert answered(connect(head, b"{")).startswith("HTTP/1.1 408")


@pytest.mark.parametrize("sent", [(), (b"GET / HTTP/1.1\r\nHost: 127",)], ids=["nothing", "half a head"])
def test_who_sends_no_request_is_not_waited_for(connect, sent):
    assert answered(connect(*sent)) == ""


def test_half_a_second_request_is_not_waited_for(connect):
    connection = connect(b"GET /api " + HEAD + b"\r\n")
    received = b""
    while b"</html>" not in received:
        received += connection.recv(10_000)
    connection.sendall(b"GET /api HTT")
    assert connection.recv(10_000) == b""


def test_a_body_without_a_length_is_bounded(connect):
    chunk = b"3e8\r\n" + b" " * 1000 + b"\r\n"
    head = b"POST /api/v1/jobs " + HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answered(connect(head, chunk, chunk, chunk)).startswith("HTTP/1.1 413")


def test_slow_photos_hold_up_no_other(connect):
    whole = form_of(file_of(picture()))
    head = b"POST /api/v1/photos " + HEAD + FORM + b"Content-Length: %d\r\n\r\n" % len(whole)
    slow = [connect(head, whole[:200]) for _ in range(30)]
    assert answered(connect(head, whole)).startswith("HTTP/1.1 201")
    slow[0].sendall(whole[200:])
    assert answered(slow[0]).startswith("HTTP/1.1 201")
