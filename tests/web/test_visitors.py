import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

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
        ask(visitor(), **CLASSIFY)
    assert visitor().post("/api/v1/jobs", json=CLASSIFY).status_code == 429
    clock.now = 100
    assert ask(visitor(), **CLASSIFY)["state"] == "done"
    assert len(visitor.room.visitors) == 2


def test_nobody_with_photos_is_forgotten_for_who_has_none(serving):
    clock = Clock()
    visitor = serving(Limits(visitors=2), clock=clock)
    reader, other = visitor(), visitor()
    photo = give(reader)
    give(other)
    clock.now = 100
    for _ in range(5):
        assert visitor().post("/api/v1/jobs", json=CLASSIFY).status_code == 429
    assert other.get("/api/v1/about").status_code == 200
    give(visitor())
    assert reader.get(f"/api/v1/photos/{photo}").status_code == 404


def test_requests_that_are_refused_make_nobody_forgotten(serving, held):
    gate, begun = held
    clock = Clock()
    visitor = serving(Limits(visitors=4, queue=1, waiting=1), clock=clock)
    reader = visitor()
    done = reader.post("/api/v1/jobs", json=CLASSIFY).json()
    assert begun.wait(20)
    gate.set()
    assert waited(reader, done)["state"] == "done"
    gate.clear()
    begun.clear()
    clock.now = 100
    busy = visitor()
    busy.post("/api/v1/jobs", json=CLASSIFY)
    assert begun.wait(20)
    assert busy.post("/api/v1/jobs", json=CLASSIFY).status_code == 202
    for _ in range(10):
        assert visitor().post("/api/v1/jobs", json=CLASSIFY).status_code == 429
    assert len(visitor.room.visitors) == 2
    assert reader.get(f"/api/v1/jobs/{done['id']}").status_code == 200


def test_first_photos_of_one_cookie_that_come_together_are_all_kept(serving, monkeypatch):
    from regard.web import receiving

    client, both, copy = serving()(), threading.Barrier(2), receiving.plain_copy
    client.get("/api/v1/about")
    monkeypatch.setattr("regard.web.receiving.plain_copy", lambda *asked: (both.wait(20), copy(*asked))[1])
    with ThreadPoolExecutor(2) as pool:
        photos = list(pool.map(lambda seed: give(client, picture(seed)), range(2)))
    assert [client.get(f"/api/v1/photos/{photo}").status_code for photo in photos] == [200, 200]


def held_photo(visitor):
    """A reference to the only photo that stands in memory, which does not keep it."""
    ((_, one),) = visitor.room.visitors._known.items()
    (photo,) = one.photos.values()
    return weakref.ref(photo)


def test_a_forgotten_photo_is_forgotten_with_what_was_found_in_it(serving):
    visitor = serving()
    client = visitor()
    photo = give(client, picture(3))
    job = ask(client, kind="explain", classifier="vit", photo=photo, method="cdam")
    curve = ask(client, kind="curve", classifier="vit", photo=photo, method="cdam", steps=2)
    concept = result(client, kind="concept", classifier="vit", name="c", photos=[photo])["concept"]
    other = ask(client, **CLASSIFY)
    kept = held_photo(visitor)
    assert kept() is not None
    assert client.delete(f"/api/v1/photos/{photo}").status_code == 204
    for name in (job["id"], f"{job['id']}/report.html", f"{job['id']}/picture.png", curve["id"]):
        assert client.get(f"/api/v1/jobs/{name}").status_code == 404
    gc.collect()
    assert kept() is None
    assert client.get(f"/api/v1/jobs/{other['id']}").status_code == 200
    target = {"kind": "concept", "concept": concept}
    assert ask(client, kind="explain", classifier="vit", photo="sample:noise", method="cdam", target=target)["result"]


def test_a_forgotten_photo_takes_its_waiting_jobs_along(serving, monkeypatch):
    visitor = serving()
    client = visitor()
    gate, begun = threading.Event(), threading.Event()
    photo = give(client)
    classify = client.post("/api/v1/jobs", json=CLASSIFY)
    waited(client, classify.json())
    monkeypatch.setattr("regard.web.photos.Sample.open", lambda self: (begun.set(), gate.wait(20), picture())[2])
    monkeypatch.setattr("regard.web.photos.MOST_PREPARED", 0)
    first = client.post("/api/v1/jobs", json={**CLASSIFY, "classifier": "vit"}).json()
    assert begun.wait(20)
    client.post("/api/v1/jobs", json={**CLASSIFY, "photo": photo})
    kept = held_photo(visitor)
    client.delete(f"/api/v1/photos/{photo}")
    visitor.room.look_after()
    gc.collect()
    assert kept() is None
    gate.set()
    assert waited(client, first)["state"] == "done"


def test_results_count_and_the_oldest_make_room(serving):
    visitor = serving(Limits(all_bytes=20_000))
    client = visitor()
    body = {"kind": "explain", "classifier": "vit", "photo": "sample:noise", "method": "cdam"}
    jobs = [ask(client, **body) for _ in range(12)]
    assert {job["state"] for job in jobs} == {"done"}
    one = max(job.bytes for each in visitor.room.visitors._known.values() for job in each.jobs.values())
    assert one > 3000
    assert visitor.room.visitors.bytes <= 20_000 + one
    assert client.get(f"/api/v1/jobs/{jobs[0]['id']}").status_code == 404
    assert client.get(f"/api/v1/jobs/{jobs[-1]['id']}").status_code == 200


def test_of_concepts_there_are_as_many_as_photos(serving):
    client = serving(Limits(photos=2, results=10))()
    body = {"kind": "concept", "classifier": "vit", "name": "c", "photos": ["sample:noise"]}
    concepts = [result(client, **body)["concept"] for _ in range(3)]
    asked = {"kind": "explain", "classifier": "vit", "photo": "sample:noise", "method": "cdam"}
    targets = [{"kind": "concept", "concept": concept} for concept in concepts]
    answers = [client.post("/api/v1/jobs", json={**asked, "target": target}).status_code for target in targets]
    assert answers == [404, 202, 202]


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
