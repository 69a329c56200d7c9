import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from regard.web.refusals import RefusedError
from regard.web.turns import Turns


def test_no_visitor_takes_all_turns_and_none_are_lost():
    gate = threading.Event()

    async def asked():
        turns = Turns(1, most=3, each=2)
        own = [asyncio.create_task(turns.run("a", gate.wait, 20)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as refusal:
            await turns.run("a", gate.wait, 20)
        assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": "2"})
        other = asyncio.create_task(turns.run("b", gate.wait, 20))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError):
            await turns.run("c", gate.wait, 20)
        gate.set()
        assert await asyncio.gather(*own, other) == [True] * 3
        with pytest.raises(ZeroDivisionError):
            await turns.run("a", lambda: 1 / 0)
        assert [await turns.run("a", len, "abc") for _ in range(4)] == [3] * 4

    with ThreadPoolExecutor(1) as thread:  # a browser's tests leave a loop running in this one
        thread.submit(asyncio.run, asked()).result()
