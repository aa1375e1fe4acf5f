"""A daemon that is killed in the middle of enrolling and tuning: nothing is lost, and nothing doubled."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Clip = Callable[..., bytes]
CLIPS = 6
ROUNDS = 6


def form(*clips: bytes) -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        b'--b-o-u-n-d\r\nContent-Disposition: form-data; name="clips"; filename="a.wav"\r\n\r\n'
        + clip
        + b"\r\n"
        for clip in clips
    )
    return body + b"--b-o-u-n-d--\r\n", {"Content-Type": "multipart/form-data; boundary=b-o-u-n-d"}


def test_enrolling(start_daemon: Callable[..., Any], clip: Clip) -> None:
    """Killed at a moment that moves through the whole of the request, round by round."""
    daemon = start_daemon()
    took = 0.3
    whole = half = 0
    for number in range(ROUNDS):
        speaker = daemon.ask("POST", "/v1/speakers", value={"name": f"Person {number}"}).json()["id"]
        body, headers = form(*(clip(200 + number, take) for take in range(CLIPS)))
        path = f"/v1/speakers/{speaker}/clips"
        headers["Idempotency-Key"] = f"enrol {number}"
        with ThreadPoolExecutor(1) as pool:
            begun = time.monotonic()
            answer = pool.submit(daemon.ask, "POST", path, body, headers)
            time.sleep(took * number / (ROUNDS - 1))
            if number == 0:
                answer.result()
                took = 1.2 * (time.monotonic() - begun)
            daemon.kill()
            told = answer.exception() is None and answer.result().status == 201
        daemon = start_daemon()
        clips = daemon.ask("GET", path).json()["clips"]
        assert len(clips) in (0, CLIPS)  # all or none
        assert len(clips) == CLIPS or not told  # what was told is true
        again = daemon.ask("POST", path, body, {**headers, "Idempotency-Key": f"again {number}"})
        assert again.status == (201 if not clips else 409), again.body
        assert len(daemon.ask("GET", path).json()["clips"]) == CLIPS
        whole, half = whole + bool(clips), half + (not clips)
    assert whole
    people = daemon.ask("GET", "/v1/speakers").json()["speakers"]
    assert [person["clips"] for person in people] == [CLIPS] * ROUNDS
    for number in (0, ROUNDS - 1):
        answer = daemon.send_clip("/v1/identify", clip(200 + number, 20)).json()
        assert answer["name"] == f"Person {number}"


def test_tuning(start_daemon: Callable[..., Any], clip: Clip, tmp_path: Path, wait_until: Any) -> None:
    daemon = start_daemon()
    daemon.enrol(clip, "Alice", 1)
    daemon.enrol(clip, "Bob", 2)
    job = daemon.ask("POST", "/v1/tune", value={"method": "cosine"}).json()["id"]
    wait_until(lambda: daemon.ask("GET", f"/v1/jobs/{job}").json()["state"] == "running")
    children = children_of(daemon.process.pid)
    daemon.kill()
    wait_until(lambda: not any(map(alive, children)))  # the job's process, and those that decode
    with sqlite3.connect(tmp_path / "gallery.db") as database:
        (state,) = database.execute("SELECT state FROM jobs").fetchone()
        assert state in ("running", "done")
        # as after half a minute: nobody has renewed the lease
        database.execute("UPDATE jobs SET lease = '2026-01-01 00:00:00' WHERE state = 'running'")
    database.close()
    daemon = start_daemon()
    done = wait_until(lambda: ended(daemon, job), 60.0)
    assert (done["state"], done["error"]) == ("done", None)
    assert daemon.ask("GET", "/v1/status").json()["tuned"] is True
    tuned = [e for e in daemon.ask("GET", "/v1/audit?limit=500").json()["entries"] if e["action"] == "tune"]
    assert len(tuned) == 1
    assert len(daemon.ask("GET", "/v1/jobs").json()["jobs"]) == 1
    assert daemon.send_clip("/v1/identify", clip(1, 9)).json()["name"] == "Alice"


def ended(daemon: Any, job: int) -> Any:
    now = daemon.ask("GET", f"/v1/jobs/{job}").json()
    return now if now["state"] not in ("waiting", "running") else None


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    every = Path(f"/proc/{pid}/task").glob("*/children") if found.exists() else []
    return [int(child) for path in every for child in path.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
