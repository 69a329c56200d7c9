"""A small form of `benchmarks/serve.py`: many visitors at once, bad photos among them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from regard.web.settings import Limits

from .conftest import ask, file_of, picture
from .test_hostile import BAD_FILES, CLASSIFY

VISITORS, EACH = 12, 8


def test_many_visitors_are_all_answered_and_the_page_stays_there(serving):
    visitor = serving(Limits(queue=4, visitors=20))
    bad = list(BAD_FILES.values())

    def visit(number):
        client, told = visitor(), Counter()
        for turn in range(EACH):
            file = file_of(picture(number)) if turn % 2 else bad[(number + turn) % len(bad)]
            told["photo", client.post("/api/v1/photos", files={"photo": ("a.png", file)}).status_code] += 1
            answer = client.post("/api/v1/jobs", json=CLASSIFY)
            told["job", answer.status_code] += 1
            told["page", client.get("/").status_code] += 1
        return told

    with ThreadPoolExecutor(VISITORS) as pool:
        told = sum(pool.map(visit, range(VISITORS)), Counter())
    assert sum(told.values()) == 3 * VISITORS * EACH
    assert {status for what, status in told if what == "photo"} == {201, 422}
    assert {status for what, status in told if what == "job"} <= {202, 429}
    assert told["page", 200] == VISITORS * EACH
    assert len(visitor.room.visitors) <= 20
    assert ask(visitor(), **CLASSIFY)["state"] == "done"
