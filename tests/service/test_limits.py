"""Rates and lanes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from openkith.service.limits import CALLERS, Buckets, Lane, overloaded
from openkith.service.problems import ProblemError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, burst=3.0, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    assert buckets.take("b") == 0.0
    clock.now += 0.25
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    clock.now += 1000.0
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_no_limit() -> None:
    buckets = Buckets(0.0, 0.0)
    assert {buckets.take("a") for _ in range(1000)} == {0.0}


def test_memory_is_bounded() -> None:
    buckets = Buckets(1.0, 1.0, Clock())
    for caller in range(CALLERS + 100):
        buckets.take(str(caller))
    assert len(buckets._filled) == CALLERS


def test_a_full_lane_refuses() -> None:
    async def main() -> None:
        lane, go, running = Lane("test", workers=1, waiting=2), threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> str:
            loop.call_soon_threadsafe(running.set)
            assert go.wait(10)
            return threading.current_thread().name

        async def request() -> str:
            async with lane.slot():
                return await lane.run(work)

        tasks = [asyncio.create_task(request()) for _ in range(3)]
        await running.wait()
        with pytest.raises(ProblemError) as refused:
            await request()
        assert refused.value.problem.status == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        go.set()
        assert [name.rpartition("_")[0] for name in await asyncio.gather(*tasks)] == ["kith-test"] * 3
        assert lane.admitted == 0
        assert (await request()).startswith("kith-test")
        lane.close()

    asyncio.run(main())


def test_a_failure_gives_its_place_back() -> None:
    async def main() -> None:
        lane = Lane("test", 1, 1)
        with pytest.raises(ZeroDivisionError):
            async with lane.slot():
                await lane.run(lambda: 1 // 0)
        assert lane.admitted == 0
        lane.close()

    asyncio.run(main())


@pytest.mark.parametrize(("seconds", "header"), [(0.1, "1"), (1.2, "2"), (1e9, "60")])
def test_retry_after(seconds: float, header: str) -> None:
    assert overloaded(seconds, "busy").headers == {"Retry-After": header}
