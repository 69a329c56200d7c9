import threading

import pytest

from regard.models import passes
from regard.web.jobs import Result, Work
from regard.web.settings import Limits
from regard.web.told import Classes, Frame

from .conftest import ask, give, picture, result, waited
from .test_queue import Clock

CLASSIFY = {"kind": "classify", "classifier": "cnn", "photo": "sample:noise"}


def test_a_visitor_sees_nothing_of_another(serving):
    visitor = serving()
    one, other = visitor(), visitor()
    photo = give(one)
    job = ask(one, kind="explain", classifier="vit", photo=photo, method="cdam")
    concept = result(one, kind="concept", classifier="vit", name="c", photos=[photo])["concept"]
    for address in (f"photos/{photo}", f"jobs/{job['id']}", f"jobs/{job['id']}/picture.png"):
        assert one.get(f"/api/v1/{address}").status_code == 200
        assert other.get(f"/api/v1/{address}").status_code == 404
    for address in (f"photos/{photo}", f"jobs/{job['id']}"):
        assert other.delete(f"/api/v1/{address}").status_code == 404
    target = {"kind": "concept", "concept": concept}
    bodies = (
        {**CLASSIFY, "photo": photo},
        {"kind": "concept", "classifier": "vit", "name": "c", "photos": [photo]},
        {**CLASSIFY, "kind": "explain", "classifier": "vit", "method": "cdam", "target": target},
    )
    for body in bodies:
        assert one.post("/api/v1/jobs", json=body).status_code == 202
        assert other.post("/api/v1/jobs", json=body).status_code == 404


def test_a_visitor_is_known_by_a_cookie_that_no_script_reads(serving):
    client = serving()()
    cookie = client.get("/api/v1/about").headers["set-cookie"].lower()
    assert cookie.startswith("regard_visitor=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "set-cookie" not in client.get("/api/v1/about").headers
    client.cookies.clear()
    client.cookies.set("regard_visitor", "guessable")
    assert "set-cookie" in client.get("/api/v1/about").headers


def test_the_oldest_photos_and_results_go_first(serving):
    visitor = serving(Limits(photos=2, results=2))
    client = visitor()
    photos = [give(client, picture(seed)) for seed in range(3)]
    assert [client.get(f"/api/v1/photos/{photo}").status_code for photo in photos] == [404, 200, 200]
    jobs = [ask(client, **CLASSIFY)["id"] for _ in range(4)]
    assert client.get(f"/api/v1/jobs/{jobs[0]}").status_code == 404
    assert client.get(f"/api/v1/jobs/{jobs[-1]}").status_code == 200


def test_who_is_not_heard_of_is_forgotten_with_all(serving):
    clock = Clock()
    visitor = serving(Limits(idle_seconds=100), clock=clock)
    one, other, room = visitor(), visitor(), visitor.room
    photo = give(one)
    clock.now = 60
    kept = give(other)
    assert len(room.visitors) == 2
    assert room.visitors.bytes > 0
    clock.now = 110
    room.look_after()
    assert len(room.visitors) == 1
    assert one.get(f"/api/v1/photos/{photo}").status_code == 404
    assert other.get(f"/api/v1/photos/{kept}").status_code == 200


def test_looking_alone_is_not_remembered(serving):
    visitor = serving()
    for _ in range(20):
        client = visitor()
        assert client.get("/api/v1/about").status_code == 200
        assert client.post("/api/v1/estimate", json=CLASSIFY).status_code == 200
    assert len(visitor.room.visitors) == 0


def test_memory_is_bounded_and_those_long_unheard_make_room(serving):
    clock = Clock()
    visitor = serving(Limits(all_bytes=3 * 4200), clock=clock)  # a photo of 40×32 of noise has 3,9xx bytes
    clients = [visitor() for _ in range(4)]
    photos = [give(client, picture(number)) for number, client in enumerate(clients[:3])]
    full = clients[3].post("/api/v1/photos", files={"photo": ("a.png", _file(9))})
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) >= 1
    clock.now = 100
    assert clients[1].get(f"/api/v1/photos/{photos[1]}").status_code == 200
    give(clients[3], picture(9))
    assert clients[0].get(f"/api/v1/photos/{photos[0]}").status_code == 404
    assert clients[1].get(f"/api/v1/photos/{photos[1]}").status_code == 200
    assert visitor.room.visitors.bytes <= 3 * 4200


def test_so_many_visitors_are_remembered_and_no_more(serving):
    clock = Clock()
    visitor = serving(Limits(visitors=2), clock=clock)
    for _ in range(2):
        give(visitor())
    assert visitor().post("/api/v1/jobs", json=CLASSIFY).status_code == 429
    clock.now = 100
    assert ask(visitor(), **CLASSIFY)["state"] == "done"
    assert len(visitor.room.visitors) == 2


@pytest.fixture
def held(monkeypatch):
    """Jobs that run until they are let go, a pass at a time."""
    gate, begun = threading.Event(), threading.Event()

    def run(_):
        begun.set()
        assert gate.wait(20)
        passes.count(forwards=1)
        return Result(Classes(classes=[], frame=Frame(box=[], photo=[], size=[])))

    work = Work("classify", run, 1, 1.0, quick=True, alike="held")
    monkeypatch.setattr("regard.web.routes.work_of", lambda *_: work)
    yield gate, begun
    gate.set()


def test_a_full_queue_says_when_to_come_back(serving, held):
    gate, begun = held
    visitor = serving(Limits(queue=3, waiting=2))
    client, other = visitor(), visitor()
    jobs = [client.post("/api/v1/jobs", json=CLASSIFY)]
    assert begun.wait(20)
    jobs += [client.post("/api/v1/jobs", json=CLASSIFY) for _ in range(3)]
    assert [job.status_code for job in jobs] == [202, 202, 202, 429]
    assert jobs[3].headers["retry-after"] == "2"
    assert [other.post("/api/v1/jobs", json=CLASSIFY).status_code for _ in range(2)] == [202, 429]
    assert jobs[2].json()["place"] == 2
    gate.set()
    assert [waited(client, job.json())["state"] for job in jobs[:3]] == ["done"] * 3


def test_a_running_job_is_cancelled_at_its_next_pass(serving, held):
    gate, begun = held
    client = serving()()
    job = client.post("/api/v1/jobs", json=CLASSIFY).json()
    assert begun.wait(20)
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "running"
    gate.set()
    assert waited(client, job)["state"] == "cancelled"


def test_a_closed_browser_frees_its_jobs(serving, held):
    gate, begun = held
    clock = Clock()
    visitor = serving(Limits(unheard_seconds=15), clock=clock)
    client = visitor()
    running = client.post("/api/v1/jobs", json=CLASSIFY).json()
    assert begun.wait(20)
    waiting = client.post("/api/v1/jobs", json=CLASSIFY).json()
    clock.now = 16
    visitor.room.look_after()
    assert client.get(f"/api/v1/jobs/{waiting['id']}").json()["state"] == "dropped"
    gate.set()
    assert waited(client, running)["state"] == "dropped"


def test_a_job_that_takes_too_long_ends_at_its_next_pass(serving, held):
    gate, begun = held
    clock = Clock()
    client = serving(Limits(job_seconds=30), clock=clock)()
    job = client.post("/api/v1/jobs", json=CLASSIFY).json()
    assert begun.wait(20)
    clock.now = 31
    gate.set()
    job = waited(client, job)
    assert (job["state"], job["error"]["problem"]) == ("failed", "this took too long")


def test_a_long_wait_ends_with_its_time(serving, held):
    _, begun = held
    client = serving()()
    job = client.post("/api/v1/jobs", json=CLASSIFY).json()
    assert begun.wait(20)
    assert client.get(f"/api/v1/jobs/{job['id']}", params={"wait": 0.01}).json()["state"] == "running"
    for wait in ("-1", "21", "nan", "inf", "x"):
        assert client.get(f"/api/v1/jobs/{job['id']}", params={"wait": wait}).status_code == 422


def _file(seed):
    from .conftest import file_of

    return file_of(picture(seed))
