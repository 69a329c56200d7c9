"""A small form of `benchmarks/serve.py`: many visitors at once, bad photos among them; nothing is lost or left."""

import gc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil

from regard.web.photos import VisitorPhoto
from regard.web.settings import Limits

from .conftest import ask, file_of, picture, waited
from .test_hostile import BAD_FILES, CLASSIFY

VISITORS, EACH = 12, 8
WARM, ROUNDS, MEGAPIXELS = 4, 14, 1


def test_many_visitors_are_all_answered_and_the_page_stays_there(serving):
    visitor = serving(Limits(queue=4, visitors=20))
    bad = list(BAD_FILES.values())

    def visit(number):
        client, told, photos = visitor(), Counter(), []
        for turn in range(EACH):
            file = file_of(picture(number)) if turn % 2 else bad[(number + turn) % len(bad)]
            answer = client.post("/api/v1/photos", files={"photo": ("a.png", file)})
            told["photo", answer.status_code] += 1
            photos += [answer.json()["id"]] if answer.status_code == 201 else []
            answer = client.post("/api/v1/jobs", json=CLASSIFY)
            told["job", answer.status_code] += 1
            if answer.status_code == 202 and turn % 3:
                told["end", waited(client, answer.json())["state"]] += 1
            told["page", client.get("/").status_code] += 1
        for photo in photos:
            told["kept", client.get(f"/api/v1/photos/{photo}").status_code] += 1
        return told

    with ThreadPoolExecutor(VISITORS) as pool:
        told = sum(pool.map(visit, range(VISITORS)), Counter())
    assert told["photo", 201] == told["photo", 422] == told["kept", 200] == VISITORS * EACH / 2
    assert {status for what, status in told if what == "job"} <= {202, 429}
    assert {end for what, end in told if what == "end"} == {"done"}
    assert told["job", 202] >= VISITORS
    assert told["page", 200] == VISITORS * EACH
    assert len(visitor.room.visitors) <= 20
    assert ask(visitor(), **CLASSIFY)["state"] == "done"


def resident():
    """MiB of this process that lie in memory."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def photos_alive():
    """Photos of visitors in this process, those of other tests' servers too."""
    gc.collect()
    return sum(type(each) is VisitorPhoto for each in gc.get_objects())


def test_photos_that_were_explained_and_deleted_leave_nothing_behind(serving):
    visitor = serving()
    client, files = visitor(), [file_of(picture(seed, (1000, 1000 * MEGAPIXELS)), "BMP") for seed in range(2)]
    before, others = 0.0, photos_alive()
    for turn in range(WARM + ROUNDS):
        if turn == WARM:
            before = resident()
        answer = client.post("/api/v1/photos", files={"photo": ("a.bmp", files[turn % 2])})
        photo = answer.json()["id"]
        job = ask(client, kind="explain", classifier="vit", photo=photo, method="cdam")
        assert client.get(f"/api/v1/photos/{photo}").status_code == 200
        assert job["state"] == "done"
        assert client.delete(f"/api/v1/photos/{photo}").status_code == 204
    grown = resident() - before
    assert photos_alive() == others
    assert visitor.room.visitors.bytes == 0
    assert grown < ROUNDS * 3 * MEGAPIXELS / 2, f"{grown:.0f} MiB"  # half of what the photos alone would take
