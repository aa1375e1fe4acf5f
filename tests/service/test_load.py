"""More clients than a daemon can serve: nothing is lost or answered wrong, and the overflow is told to come again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Clip = Callable[..., bytes]
CLIENTS = 32
SECONDS = 8.0


def test_overflow_is_429_and_all_others_are_right(start_daemon: Callable[..., Any], clip: Clip) -> None:
    daemon = start_daemon("--queue", "6")
    names = {"Alice": 1, "Bob": 2, "Carol": 3}
    for name, person in names.items():
        daemon.enrol(clip, name, person)
    clips = [(name, clip(person, 300 + take)) for name, person in names.items() for take in range(8)]
    truth = {data: daemon.send_clip("/v1/identify", data).json()["name"] for _, data in clips}
    assert sum(truth[data] == name for name, data in clips) >= len(clips) - 2
    statuses: Counter[int] = Counter()
    wrong: list[Any] = []
    lock, end = threading.Lock(), time.monotonic() + SECONDS

    def ask(start: int) -> None:
        at = start
        while time.monotonic() < end:
            data = clips[at % len(clips)][1]
            at += 1
            answer = daemon.send_clip("/v1/identify", data, timeout=60)
            with lock:
                statuses[answer.status] += 1
                if answer.status == 200 and answer.json()["name"] != truth[data]:
                    wrong.append(answer.json())
                if answer.status == 429 and int(answer.headers["retry-after"]) < 1:
                    wrong.append(answer.headers)

    tuning = daemon.ask("POST", "/v1/tune", value={"method": "cosine"})
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tuning.status == 202
    assert wrong == []
    assert set(statuses) == {200, 429}, statuses
    assert statuses[200] > 20
    kept = 0
    page = {"next": None}
    while True:
        before = f"&before={page['next']}" if page["next"] else ""
        page = daemon.ask("GET", f"/v1/decisions?limit=500{before}").json()
        kept += len(page["decisions"])
        if page["next"] is None:
            break
    assert kept == statuses[200] + len(clips)  # each answer is in the history, once
    assert "Traceback" not in daemon.log.read_text()
