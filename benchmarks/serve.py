"""`regard serve` under load: who is answered how, how soon the page comes meanwhile, and how memory goes.

    python benchmarks/serve.py --write docs/benchmarks/serve.md

100 clients at the same time send 2,000 requests: photos, good and bad (an empty file, a page, a drawing, half a photo,
a bomb, one that takes long to decode), jobs that are asked about until they are over, jobs that cannot be, requests of
another site. Of the good photos each is looked at again at once, which says whether one was lost, and every second one
is explained and deleted. Beside them one asks for the page, ten times a second. Memory is that of the server's
process, after a first round that is not counted, after half of the requests and after all.
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
from pathlib import Path

import httpx
import numpy as np
from measuring import options, page
from PIL import Image

CLIENTS, REQUESTS, QUICK = 100, 2000, 200
MODEL = "regard:efficientnet-lite0"
PAGE_EVERY = 0.1


def photo(number: int) -> bytes:
    values = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
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
        return "LOST"
    if not delete:
        return "there"
    asked = {"kind": "explain", "classifier": MODEL, "photo": name, "method": "grad-cam"}
    job = await client.post("/api/v1/jobs", json=asked)
    if job.status_code == 202:
        await over(client, job.json()["id"])
    await client.delete(f"/api/v1/photos/{name}")
    left = [f"photos/{name}", *([f"jobs/{job.json()['id']}"] if job.status_code == 202 else [])]
    gone = [(await client.get(f"/api/v1/{each}")).status_code == 404 for each in left]
    return "deleted" if all(gone) else "NOT DELETED"


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
    return [*answers(told), "", *figures(pages, memory, seconds, requests)]


def answers(told: Counter[tuple[str, int]]) -> list[str]:
    whole = sum(told.values())
    rows = [f"| {what} | {status} | {count} | {count / whole:.1%} |" for (what, status), count in sorted(told.items())]
    return ["| asked | answered | times | share |", "| --- | --- | --- | --- |", *rows]


def figures(pages: Sequence[float], memory: Sequence[float], seconds: float, requests: int) -> list[str]:
    late = float(np.quantile(pages, 0.95))
    return [
        f"{requests} requests in {seconds:.0f} s, {requests / seconds:.0f} a second.",
        "",
        f"The page meanwhile, asked {len(pages)} times: median {1000 * statistics.median(pages):.0f} ms,"
        f" 95 % within {1000 * late:.0f} ms.",
        "",
        f"Memory: {memory[0]:.0f} MiB before, {memory[1]:.0f} MiB after half, {memory[2]:.0f} MiB after all.",
    ]


def main() -> None:
    asked = options(__doc__, f"{QUICK} requests").parse_args()
    requests = QUICK if asked.quick else REQUESTS
    page("`regard serve` under load", __doc__, asked, [lambda: shown(measured(requests))])


def shown(lines: list[str]) -> list[str]:
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    main()
