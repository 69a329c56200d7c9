"""What a hostile person sends, and what every answer carries."""

import io
import os
import re
import struct
import time
import zlib

import pytest
from PIL import Image

from regard.web.receiving import plain_name
from regard.web.settings import Limits

from .conftest import ask, file_of, give, picture
from .test_uploads import many_scans

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
    "slow": many_scans(200),
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


def test_photos_that_arrive_together_are_bounded_and_nothing_stays_counted(serving):
    client = serving(Limits(arriving_bytes=5000))()
    for _ in range(2):
        answer = client.post("/api/v1/photos", files={"photo": ("a.png", b"x" * 6000)})
        assert refused(answer, 429)["problem"] == "too many photos arrive at once"
        assert answer.headers["retry-after"] == "5"
        give(client)


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
        error = refused(client.post(address, json=BAD_JOBS[name]), 422)
        assert not re.search("Input|should|valid |Value error|pydantic", str(error)), error


SAID = {
    "unknown field": ("body.classify.path", "nothing of this name"),
    "many classes": ("body.classify.count", "at most 50"),
    "words for a number": ("body.classify.count", "a whole number"),
    "large seed": ("body.mosaic.seed", "at most 9999"),
    "unknown removal": ("body.without.removal", "black, mean, blur or tokens"),
    "no examples": ("body.concept.photos", "at least 1"),
    "many cells": ("body.without.removed", "at most 4096"),
    "long name": ("body.concept.name", "at most 60 letters"),
    "no kind": ("body", "a field kind"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_wrong_is_said_in_words_of_ours(client, name):
    error = refused(client.post("/api/v1/jobs", json=BAD_JOBS[name]), 422)
    assert (error["came"], error["expected"]) == SAID[name]


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


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 401), ("<b>elsewhere</b>", 421)])
def test_a_person_who_may_not_come_in_sees_a_page(serving, host, status):
    client = serving(token="a-long-enough-token")()
    answer = client.get("/", headers={"Accept": "text/html,*/*;q=0.8", "Host": host})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "open the address that it printed" in answer.text
    assert "<b>" not in answer.text
    assert answer.headers["content-security-policy"]
    refused(client.get("/api/v1/about", headers={"Host": host}), status)


def test_heads_are_answered(client):
    for address in ("/", "/api", f"/api/v1/photos/{give(client)}", "/api/v1/photos/sample:noise"):
        answer = client.head(address)
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_browser_keeps_no_photo_of_a_visitor(client):
    assert client.get(f"/api/v1/photos/{give(client)}").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["\N{CAT FACE}" * 80 + ".png", "a:b*c?.png", "x" * 300 + ".png", "漢" * 200 + ".png"], ids=range(4)
)
def test_a_report_is_made_whatever_a_photo_is_called(client, name):
    job = ask(client, kind="explain", classifier="cnn", photo=give(client, name=name), method="grad-cam")
    answer = client.get(f"/api/v1/jobs/{job['id']}/report.html")
    assert answer.status_code == 200
    assert "regard-report-" not in answer.text


def test_what_killed_servers_left_of_reports_is_removed(tmp_path, monkeypatch):
    from regard.web import downloads

    monkeypatch.setattr(downloads, "IN_MEMORY", tmp_path)
    for name, seconds in (("regard-report-old", 700), ("regard-report-new", 0), ("another", 700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.png").touch()
        os.utime(tmp_path / name, (time.time() - seconds,) * 2)
    downloads.clear()
    assert {each.name for each in tmp_path.iterdir()} == {"regard-report-new", "another"}


def test_of_downloads_no_visitor_takes_all(serving, monkeypatch):
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from regard.web import routes

    begun, gate = threading.Event(), threading.Event()
    slow = (lambda *_: (begun.set(), gate.wait(20), b"")[2], "image/png")
    monkeypatch.setitem(routes.DOWNLOADS, "picture.png", slow)
    client = serving()()
    job = ask(client, **EXPLAIN)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(client.get, f"/api/v1/jobs/{job['id']}/picture.png") for _ in range(5)]
        while sum(each.done() for each in asked) < 2:
            time.sleep(0.005)
        gate.set()
    answers = [each.result() for each in asked]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]


def test_a_method_that_breaks_is_left_out_and_the_others_answer(serving, monkeypatch, caplog):
    from regard.web.classifiers import Served

    made = Served._made
    monkeypatch.setattr(Served, "_made", lambda self, name, text: 1 / 0 if name == "rise" else made(self, name, text))
    client = serving()()
    methods = [each["name"] for each in client.get("/api/v1/about").json()["classifiers"][1]["methods"]]
    assert "rise" not in methods
    assert "grad-cam" in methods
    assert "cnn cannot be explained by rise" in caplog.text
    assert ask(client, **EXPLAIN)["state"] == "done"


def test_a_classifier_that_breaks_holds_up_nobody(serving, monkeypatch, caplog):
    monkeypatch.setattr("regard.web.classifiers.pass_seconds", lambda each: 1 / 0 if each.name == "vit" else 0.001)
    client = serving()()
    vit, cnn = client.get("/api/v1/about").json()["classifiers"]
    assert vit["methods"] == []
    assert cnn["methods"]
    assert "vit cannot be run" in caplog.text
    assert ask(client, **EXPLAIN)["state"] == "done"


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
        refused(client.post("/api/v1/photos", files={"photo": ("secret.png", BAD_FILES["truncated"])}), 422)
        map_ = ask(client, **{**EXPLAIN, "photo": give(client, picture(), "\N{CAT FACE} secret" * 40)})
        client.get(f"/api/v1/jobs/{map_['id']}/report.html").raise_for_status()
        refused(client.get("/api/v1/photos/secret"), 404)
        refused(client.post("/api/v1/jobs", json={**CLASSIFY, "photo": "secret"}), 404)
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
