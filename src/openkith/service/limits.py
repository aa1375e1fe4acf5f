"""How much is taken: requests a second from each caller, and work that waits."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from openkith.service import problems
from openkith.service.problems import ProblemError

__all__ = ["Buckets", "Lane", "overloaded"]

CALLERS = 10_000  # that are kept apart at a time
SMOOTHING = 0.2  # weight of the newest piece of work in the mean time
LONGEST_WAIT = 60.0  # seconds that anybody is told to wait

Result = TypeVar("Result")


class Buckets:
    """A token bucket for each caller: so many requests a second in the long run, and a burst at once.

    Args:
        rate: Tokens a second; 0: no limit.
        burst: Tokens in a full bucket.
        clock: Seconds that go on and on.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, max(burst, 1.0), clock
        self._lock = threading.Lock()
        self._filled: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # tokens, and when there were so many

    def take(self, who: str) -> float:
        """Take a token; the seconds to wait where there is none, else 0."""
        if not self.rate:
            return 0.0
        now = self._clock()
        with self._lock:
            tokens, then = self._filled.pop(who, (self.burst, now))
            tokens = min(self.burst, tokens + (now - then) * self.rate)
            wait = max(0.0, (1.0 - tokens) / self.rate)
            self._filled[who] = (tokens if wait else tokens - 1.0, now)
            while len(self._filled) > CALLERS:
                self._filled.popitem(last=False)
        return wait


class Lane:
    """Threads for one kind of work, and a bounded number of requests that wait for them.

    All methods are called on the event loop.

    Args:
        name: Of the threads, and in metrics.
        workers: Threads.
        waiting: Requests that may wait.
    """

    def __init__(self, name: str, workers: int, waiting: int) -> None:
        self.name, self.workers, self.waiting = name, workers, waiting
        self.admitted = 0
        self.mean_seconds = 0.25
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=f"kith-{name}")

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Keep a place for a request while the block runs.

        Raises:
            ProblemError: 429, with the seconds after which there should be one.
        """
        if self.admitted >= self.workers + self.waiting:
            raise overloaded(self.admitted * self.mean_seconds / self.workers, "the daemon is busy")
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, work: Callable[[], Result]) -> Result:
        """Call a function in a thread of the lane, when there is a free one."""

        def timed() -> Result:
            start = time.perf_counter()
            try:
                return work()
            finally:
                self.mean_seconds += SMOOTHING * (time.perf_counter() - start - self.mean_seconds)

        return await asyncio.wrap_future(self._executor.submit(timed))

    def close(self) -> None:
        """Let what runs finish, and drop what waits."""
        self._executor.shutdown(cancel_futures=True)


def overloaded(seconds: float, detail: str) -> ProblemError:
    """429, with Retry-After in whole seconds."""
    wait = max(1, math.ceil(min(seconds, LONGEST_WAIT)))
    return ProblemError(
        problems.TOO_MANY, f"{detail}; try again in {wait} s", headers={"Retry-After": str(wait)}
    )
