"""`regard serve`, idle and under load: how soon bars stand, who is answered how, and how page and memory keep up.

    python benchmarks/serve.py --write docs/benchmarks/serve.md

100 clients at the same time send 2,000 requests: photos, good and bad (an empty file, a page, a drawing, half a photo,
a bomb, one that takes long to decode), jobs that are asked about until they are over, jobs that cannot be, requests of
another site. Of the good photos each is looked at again at once, which says whether one was lost, and every second one
is explained and deleted. Beside them one asks for the page, ten times a second. Memory is that of the server's
process, after a first round that is not counted, after half of the requests and after all. Before all that, on the idle
server, photos of 12 million pixels are given one after the other and classified: from the upload to the answer, from
which the bars are drawn.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from measuring import head, kept, options, page
from PIL import Image

CLIENTS, REQUESTS, QUICK = 100, 2000, 200
MODEL = "regard:efficientnet-lite0"
PAGE_EVERY = 0.1
SMALL, CAMERA, GIVEN = (640, 480), (4000, 3000), 9
"""Pixels of photos under load and on the idle server, and how many the idle server is given."""
BARS, PAGE, PAGE_LATE, GROWTH = 2.0, 0.25, 1.0, 32.0
"""Budgets: seconds until the bars stand, of the page in the median and of 95 %, MiB from half of all requests on."""


def photo(number: int, size: tuple[int, int] = SMALL) -> bytes:
    values = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def slow() -> bytes:
    """A progressive JPEG that goes over its pixels 2000 times more than it must."""
    file = io.BytesIO()
    Image.new("RGB", (4000, 3000)).save(file, "JPEG", progressive=True)
    last = file.getvalue().rindex(b"\xff\xda")
    return file.getvalue()[:-2] + file.getvalue()[last:-2] * 2000 + b"\xff\xd9"


BAD = (
    b"",
    b"<html><script>alert(1)</script></html>",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    photo(0)[:500],
    bomb(),
    slow(),
)
LOST, LEFT_BEHIND = "LOST", "NOT DELETED"
"""What must not become of a photo that was taken."""
CLASSIFY = {"kind": "classify", "classifier": MODEL, "photo": "sample:church-3"}


async def one(client: httpx.AsyncClient, number: int, told: Counter[tuple[str, int]]) -> None:
    """The request of a number, and what it leads to."""
    kind = ("photo", "bad photo", "job", "page", "job", "bad job", "samples", "other site")[number % 8]
    if kind == "photo":
        answer = await client.post("/api/v1/photos", files={"photo": ("a.jpg", photo(number))})
        if answer.status_code == 201:
            kind = f"photo, {await looked_at(client, answer.json()['id'], delete=number % 16 == 0)}"
    elif kind == "bad photo":
        answer = await client.post("/api/v1/photos", files={"photo": ("a.jpg", BAD[number // 8 % len(BAD)])})
    elif kind == "job":
        answer = await client.post("/api/v1/jobs", json=CLASSIFY)
        if answer.status_code == 202:
            kind = f"job, {await over(client, answer.json()['id'])}"
    elif kind == "bad job":
        answer = await client.post("/api/v1/jobs", json={**CLASSIFY, "photo": "../../etc/passwd"})
    elif kind == "other site":
        answer = await client.post("/api/v1/jobs", json=CLASSIFY, headers={"Origin": "http://elsewhere.example"})
    else:
        answer = await client.get("/" if kind == "page" else "/api/v1/photos/sample:church-3?longest=256")
    told[kind, answer.status_code] += 1


async def looked_at(client: httpx.AsyncClient, name: str, delete: bool) -> str:
    """What becomes of a photo that was taken: whether it is there; explained, deleted, and gone with its map."""
    if (await client.get(f"/api/v1/photos/{name}")).status_code == 404:
        return LOST
    if not delete:
        return "there"
    asked = {"kind": "explain", "classifier": MODEL, "photo": name, "method": "grad-cam"}
    job = await client.post("/api/v1/jobs", json=asked)
    if job.status_code == 202:
        await over(client, job.json()["id"])
    await client.delete(f"/api/v1/photos/{name}")
    left = [f"photos/{name}", *([f"jobs/{job.json()['id']}"] if job.status_code == 202 else [])]
    gone = [(await client.get(f"/api/v1/{each}")).status_code == 404 for each in left]
    return "deleted" if all(gone) else LEFT_BEHIND


async def over(client: httpx.AsyncClient, job: str) -> str:
    while True:
        answer = await client.get(f"/api/v1/jobs/{job}", params={"wait": 10})
        state = answer.json().get("state", str(answer.status_code))
        if state not in ("waiting", "running"):
            return str(state)


async def many(address: str, requests: int, first: int = 0) -> tuple[Counter[tuple[str, int]], list[float]]:
    """What was answered to requests, and the seconds that the page took meanwhile."""
    told: Counter[tuple[str, int]] = Counter()
    pages: list[float] = []
    numbers = iter(range(first, first + requests))

    async def visitor() -> None:
        async with httpx.AsyncClient(base_url=address, headers={"X-Regard": "1"}, timeout=120) as client:
            for number in numbers:
                await one(client, number, told)

    async def watch() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            while True:
                start = time.perf_counter()
                (await client.get("/")).raise_for_status()
                pages.append(time.perf_counter() - start)
                await asyncio.sleep(PAGE_EVERY)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(visitor() for _ in range(min(CLIENTS, requests))))
    watching.cancel()
    return told, pages


async def bars(address: str) -> list[float]:
    """Seconds from the upload of each photo to its likeliest classes."""
    spent = []
    files = [photo(number, CAMERA) for number in range(GIVEN)]
    async with httpx.AsyncClient(base_url=address, headers={"X-Regard": "1"}, timeout=120) as client:
        for file in files:
            start = time.perf_counter()
            answer = (await client.post("/api/v1/photos", files={"photo": ("a.jpg", file)})).raise_for_status()
            asked = {**CLASSIFY, "photo": answer.json()["id"]}
            job = (await client.post("/api/v1/jobs", json=asked)).raise_for_status()
            state = await over(client, job.json()["id"])
            spent.append(time.perf_counter() - start)
            if state != "done":
                raise SystemExit(f"a photo on the idle server was not classified: its job is {state}")
    return spent


def resident(process: int) -> float:
    """MiB of a process that lie in memory."""
    lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def measured(requests: int) -> list[str]:
    """The tables of one server."""
    command = [sys.executable, "-m", "regard", "serve", "--no-open", "--port", "0", "--model", MODEL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
        try:
            assert server.stderr is not None
            address = next(line for line in server.stderr if "http" in line).split()[3]
            httpx.get(f"{address}api/v1/about", timeout=300).raise_for_status()
            idle = asyncio.run(bars(address))
            asyncio.run(many(address, requests // 4))
            memory = [resident(server.pid)]
            told, pages, start = Counter[tuple[str, int]](), list[float](), time.perf_counter()
            for half in range(2):
                answered, took = asyncio.run(many(address, requests // 2, requests * half))
                told, pages = told + answered, pages + took
                memory.append(resident(server.pid))
            seconds = time.perf_counter() - start
        finally:
            server.terminate()
            server.wait()
    rate = f"{requests} requests in {seconds:.0f} s, {requests / seconds:.0f} a second. The page was asked {len(pages)}"
    course = f"Memory: {memory[0]:.0f} MiB before, {memory[1]:.0f} MiB after half, {memory[2]:.0f} MiB after all."
    found = Found(told, tuple(pages), memory[2] - memory[1], tuple(idle))
    return [*found.judged(), "", f"{rate} times meanwhile. {course}", "", *answers(told)]


@dataclass(frozen=True)
class Found:
    """What was measured of one server.

    Attributes:
        told: how often what was asked was answered with a status.
        pages: seconds that the page took under load, each time.
        growth: MiB of memory from half of the requests to all.
        bars: seconds from photo to bars on the idle server, each time.
    """

    told: Counter[tuple[str, int]]
    pages: Sequence[float]
    growth: float
    bars: Sequence[float]

    def times(self, word: str) -> int:
        """How often something became of a photo."""
        return sum(count for (what, _), count in self.told.items() if what.endswith(word))

    def judged(self) -> list[str]:
        """The table of budgets."""
        broken = sum(count for (_, status), count in self.told.items() if status >= 500)
        bars, page = statistics.median(self.bars), statistics.median(self.pages)
        late = float(np.quantile(self.pages, 0.95))
        rows = [
            (f"from a photo to its bars, idle, median of {len(self.bars)}", bars, BARS, "s"),
            ("the page under load, median", page, PAGE, "s"),
            ("the page under load, 95 % within", late, PAGE_LATE, "s"),
            ("photos lost under load", self.times(LOST), 0, ""),
            ("photos that were deleted and are there", self.times(LEFT_BEHIND), 0, ""),
            ("answers of 500 and above", broken, 0, ""),
            ("memory, from half of the requests to all", self.growth, GROWTH, "MiB"),
        ]
        return [
            *head(["of the server", "measured", "budget", "kept"]),
            *(
                f"| {what} | {f'{value:.3g} {unit}'.strip()} | {f'{budget:g} {unit}'.strip()} | {kept(value, budget)} |"
                for what, value, budget, unit in rows
            ),
        ]


def answers(told: Counter[tuple[str, int]]) -> list[str]:
    whole = sum(told.values())
    rows = [f"| {what} | {status} | {count} | {count / whole:.1%} |" for (what, status), count in sorted(told.items())]
    return [*head(["asked", "answered", "times", "share"]), *rows]


def main() -> None:
    asked = options(__doc__, f"{QUICK} requests").parse_args()
    requests = QUICK if asked.quick else REQUESTS
    page("`regard serve` under load", __doc__, asked, [lambda: shown(measured(requests))])


def shown(lines: list[str]) -> list[str]:
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
