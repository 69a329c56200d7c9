"""What a hostile person sends, and what every answer carries."""

import io
import struct
import zlib

import pytest
from PIL import Image

from regard.web.receiving import plain_name
from regard.web.settings import Limits

from .conftest import ask, file_of, give, picture

CLASSIFY = {"kind": "classify", "classifier": "cnn", "photo": "sample:noise"}
EXPLAIN = {**CLASSIFY, "kind": "explain", "method": "grad-cam", "target": {"kind": "class", "index": 0}}
WITHOUT = {**CLASSIFY, "kind": "without", "grid": [4, 4], "removed": [0]}
CONCEPT = {"kind": "concept", "classifier": "vit", "name": "c", "photos": ["sample:noise"]}


def png_of(width, height):
    """A small file that claims to be large: its pixels are never to be decoded."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


BAD_FILES = {
    "empty": b"",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<html><script>alert(1)</script></html>",
    "truncated": file_of(picture(size=(200, 200)), "JPEG")[:2000],
    "pixels": png_of(20_000, 20_000),
    "bomb": png_of(60_000, 60_000),
    "no pixels": png_of(0, 10),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n.",
    "short of data": png_of(100, 100),
}


def refused(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["problem"]
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    return error


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_photo_is_refused_with_a_reason(client, name):
    error = refused(client.post("/api/v1/photos", files={"photo": ("cat.jpg", BAD_FILES[name], "image/jpeg")}), 422)
    assert "photo" in error["problem"]


def test_a_photo_of_many_bytes_or_pixels_is_refused(serving):
    client = serving(Limits(upload_bytes=3000, pixels=2000, body_bytes=2000))()
    assert client.post("/api/v1/photos", files={"photo": ("a.png", file_of(picture(size=(20, 20))))}).status_code == 201
    refused(client.post("/api/v1/photos", files={"photo": ("a.png", b"x" * 4000)}), 413)
    refused(client.post("/api/v1/photos", files={"photo": ("a.png", b"x" * 40_000)}), 413)
    plain = Image.new("RGB", (100, 100))
    assert (
        "pixels" in refused(client.post("/api/v1/photos", files={"photo": ("a.png", file_of(plain))}), 422)["problem"]
    )


def test_a_body_without_a_length_is_bounded_too(serving):
    client = serving(Limits(body_bytes=2000))()

    def chunks():
        for _ in range(100):
            yield b" " * 1000

    refused(client.post("/api/v1/jobs", content=chunks(), headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"photo": "words"}},
        {"files": {"other": ("a.png", b"x")}},
        {"files": [("photo", ("a", b"x")), ("photo", ("b", b"y"))]},
        {"data": {str(number): "x" for number in range(100)}},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
    ],
    ids=range(6),
)
def test_a_form_that_is_none_is_refused(client, form):
    answer = client.post("/api/v1/photos", **form)
    assert answer.status_code in (415, 422), answer.text
    assert answer.json()["error"]["problem"]


def test_photos_are_sent_as_forms(client):
    refused(client.post("/api/v1/photos", content=file_of(picture()), headers={"Content-Type": "image/png"}), 415)


BAD_JOBS = {
    "unknown kind": {"kind": "shell"},
    "no kind": {},
    "unknown field": {**CLASSIFY, "path": "/etc/passwd"},
    "words for a number": {**CLASSIFY, "count": "5"},
    "many classes": {**CLASSIFY, "count": 51},
    "no such class": {**EXPLAIN, "target": {"kind": "class", "index": 5}},
    "negative class": {**EXPLAIN, "target": {"kind": "class", "index": -1}},
    "huge class": {**EXPLAIN, "target": {"kind": "class", "index": 10**30}},
    "unknown target": {**EXPLAIN, "target": {"kind": "similarity", "reference": [1.0]}},
    "no such method": {**EXPLAIN, "method": "cdam"},
    "method that names a file": {**EXPLAIN, "method": "tame:/etc/passwd"},
    "two methods": {**EXPLAIN, "method": "grad-cam,rise"},
    "every method": {**EXPLAIN, "method": "all"},
    "setting that names a file": {**EXPLAIN, "settings": {"layer": "../../etc/passwd"}},
    "setting that smuggles": {**EXPLAIN, "settings": {"layer": "a:file=b"}},
    "many samples": {**EXPLAIN, "method": "rise", "settings": {"samples": 10**9}},
    "many settings": {**EXPLAIN, "settings": {f"s{number}": 1 for number in range(9)}},
    "private setting": {**EXPLAIN, "settings": {"__class__": 1}},
    "many cells": {**WITHOUT, "removed": [0] * 5000},
    "cell outside": {**WITHOUT, "removed": [16]},
    "large grid": {**WITHOUT, "grid": [65, 4]},
    "three sides": {**WITHOUT, "grid": [4, 4, 4]},
    "tokens of a CNN": {**WITHOUT, "removal": "tokens"},
    "unknown removal": {**WITHOUT, "removal": "fire"},
    "no examples": {**CONCEPT, "photos": []},
    "many examples": {**CONCEPT, "photos": ["sample:noise"] * 13},
    "long name": {**CONCEPT, "name": "x" * 61},
    "many steps": {**EXPLAIN, "kind": "curve", "steps": 33},
    "unknown exam": {"kind": "mosaic", "exam": "folder"},
    "large seed": {"kind": "mosaic", "exam": "d1", "seed": 10**6},
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_a_job_that_cannot_be_is_refused_before_it_waits(client, name):
    for address in ("/api/v1/jobs", "/api/v1/estimate"):
        refused(client.post(address, json=BAD_JOBS[name]), 422)


@pytest.mark.parametrize(
    "photo", ["../../etc/passwd", "sample:../../etc/passwd", "file:///etc/passwd", "http://a.b/c.png", "0" * 32]
)
def test_a_photo_is_never_a_path_or_an_address(client, photo):
    refused(client.post("/api/v1/jobs", json={**CLASSIFY, "photo": photo}), 404)
    assert client.get(f"/api/v1/photos/{photo}").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/api/v1/classifiers/%2fetc%2fpasswd/classes",
    ],
)
def test_no_file_is_read_by_its_path(client, address):
    refused(client.get(address), 404)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 100_000, b'{"kind": NaN}', b'{"kind":"explain","settings":{"a":1e999}}', b"\xff\xfe", b"null", b""],
    ids=range(7),
)
def test_what_is_no_json_is_refused(client, body):
    answer = client.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["problem"]


def test_other_types_of_content_are_refused(client):
    refused(client.post("/api/v1/jobs", content=b"kind=classify", headers={"Content-Type": "text/plain"}), 422)


def test_what_changes_something_says_so_and_comes_from_here(client):
    refused(client.post("/api/v1/jobs", json=CLASSIFY, headers={"X-Regard": "0"}), 403)
    refused(client.post("/api/v1/jobs", json=CLASSIFY, headers={"Origin": "http://evil.example"}), 403)
    refused(client.post("/api/v1/jobs", json=CLASSIFY, headers={"Origin": "null"}), 403)
    assert client.post("/api/v1/jobs", json=CLASSIFY, headers={"Origin": "http://127.0.0.1:8000"}).status_code == 202
    del client.headers["X-Regard"]
    for method, address in (("POST", "photos"), ("DELETE", "photos/sample:noise"), ("DELETE", "jobs/x")):
        refused(client.request(method, f"/api/v1/{address}"), 403)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:8000"])
def test_the_server_answers_to_its_own_name_alone(client, host):
    refused(client.get("/api/v1/about", headers={"Host": host}), 421)


def test_every_answer_says_what_a_page_may_do(client):
    for address in ("/", "/api/v1/about", "/nowhere", "/static/js/main.js"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"]
    assert "content-security-policy" in client.get("/", headers={"Host": "evil.example"}).headers


def test_beyond_this_machine_a_token_is_asked_for(serving):
    visitor = serving(host="0.0.0.0", token="a-long-enough-token")
    client = visitor()
    for address in ("/", "/api/v1/about", "/static/js/main.js", "/?token=wrong"):
        refused(client.get(address), 401)
    refused(client.get("/api/v1/about", headers={"Authorization": "Bearer wrong"}), 401)
    assert client.get("/api/v1/about", headers={"Authorization": "Bearer a-long-enough-token"}).status_code == 200
    answer = client.get("/?token=a-long-enough-token", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client.get("/api/v1/about").status_code == 200


def test_a_failure_of_the_server_tells_nothing(client, monkeypatch):
    monkeypatch.setattr("regard.web.routes.exam_kinds", lambda: 1 / 0)
    error = refused(client.get("/api/v1/about"), 500)
    assert "division" not in str(error)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("C:\\Users\\me\\cat.jpg", "cat.jpg"),
        ("../../cat.jpg", "cat.jpg"),
        ("", "photo"),
        ("..", "photo"),
        ("a\nb\0c\x1b[31m.jpg", "abc[31m.jpg"),
        ("x" * 200 + ".jpg", "x" * 76 + ".jpg"),
        ("\udcff.jpg", "?.jpg"),
    ],
    ids=range(7),
)
def test_of_a_name_only_what_can_be_shown_is_kept(given, expected):
    assert plain_name(given) == expected


def test_logs_hold_no_name_and_no_token(serving, caplog):
    visitor = serving(host="0.0.0.0", token="a-long-enough-token")
    client = visitor(Authorization="Bearer a-long-enough-token")
    with caplog.at_level("DEBUG"):
        photo = give(client, picture(), "my secret cat.png")
        ask(client, **{**CLASSIFY, "photo": photo})
        client.get(f"/api/v1/photos/{photo}")
        client.get("/?token=a-long-enough-token")
    own = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert "/api/v1/photos/{name} 200" in own
    assert "secret" not in own
    assert photo not in own
    assert "a-long-enough-token" not in own


def test_numbers_that_are_none_are_null(serving, monkeypatch):
    import torch

    from regard.models.classifier import Classifier

    client = serving()()
    monkeypatch.setattr(Classifier, "__call__", lambda self, pixels: torch.full((1, 5), torch.nan))
    job = ask(client, **CLASSIFY)
    assert job["state"] == "done"
    assert {each["probability"] for each in job["result"]["classes"]} == {None}


def test_a_picture_of_several_frames_is_its_first(client):
    file = io.BytesIO()
    picture(1).save(file, "GIF", save_all=True, append_images=[picture(2)] * 50)
    answer = client.post("/api/v1/photos", files={"photo": ("a.gif", file.getvalue())})
    assert answer.status_code == 201
