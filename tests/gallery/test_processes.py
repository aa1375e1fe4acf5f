"""Real processes: killed in the middle of an operation, and writing at once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.gallery import Gallery, NewClip

MakeClip = Callable[..., NewClip]
StartWorker = Callable[..., "subprocess.Popen[str]"]

ENCODER = "test-encoder"


def check_integrity(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def go(*workers: subprocess.Popen[str]) -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()


def kill(worker: subprocess.Popen[str]) -> list[str]:
    """Kill -9; returns the lines that were still to be read."""
    worker.kill()
    output, _ = worker.communicate()
    assert worker.returncode == -9
    return output.splitlines()


def state(gallery: Gallery) -> object:
    head = gallery.head()
    return (
        gallery.people(),
        [(clip.id, clip.person, clip.sha256) for clip in gallery.clips()],
        gallery.revision(),
        gallery.audit(),
        head and (head.id, head.config, head.arrays["W"].tolist()),
    )


@pytest.mark.parametrize("operation", ["enrol", "tune", "forget"])
def test_killed_within_the_transaction(
    path: Path, make_clip: MakeClip, start_worker: StartWorker, operation: str
) -> None:
    with Gallery(path) as gallery:
        gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder=ENCODER)
        arrays = {"W": np.ones((2, 2), np.float32)}
        gallery.save_head("old", {}, arrays, encoder=ENCODER, revision=gallery.revision())
        before = state(gallery)
        worker = start_worker("hang-in", path, operation)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "inside\n"
        assert state(gallery) == before  # nobody sees half of it while it runs
        kill(worker)
        assert state(gallery) == before
        gallery.add_clips("bob", [make_clip("b1")], encoder=ENCODER)  # and the lock is free
    check_integrity(path)


def check_kills(path: Path, start_worker: StartWorker, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    clips = 20
    done: list[str] = []
    for number in range(kills):
        worker = start_worker("enrol", path, f"enrol{number}", 0, clips)
        go(worker)
        assert worker.stdout is not None
        done.append(worker.stdout.readline().strip())
        time.sleep(rng.uniform(0, 0.1))
        done += kill(worker)
        check_integrity(path)
        with Gallery(path) as gallery:
            people = gallery.people()
            assert {person.clips for person in people} == {clips}  # all or nothing
            assert set(done) <= {person.name for person in people}  # what was said to be done is there
            # killed after a commit, before it could say so: at most one for each kill
            assert len(people) <= len(done) + number + 1
            assert [entry.subject for entry in gallery.audit()] == [person.name for person in people]


def check_kills_of_tune(path: Path, start_worker: StartWorker, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(kills):
        worker = start_worker("tune", path)
        go(worker)
        assert worker.stdout is not None
        last = int(worker.stdout.readline())
        time.sleep(rng.uniform(0, 0.1))
        last = max([last, *map(int, kill(worker))])
        check_integrity(path)
        with Gallery(path) as gallery:
            head = gallery.head()
            assert head is not None
            assert head.config["number"] in {last, last + 1}
            assert (head.arrays["W"] == head.config["number"]).all()
            assert head.revision == gallery.revision()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM heads").fetchone() == (1,)
        assert connection.execute("SELECT head_id, clip_id FROM head_sources").fetchall() == [(head.id, 1)]
        connection.close()


def test_killed_at_random_moments_of_enrolling(path: Path, start_worker: StartWorker) -> None:
    check_kills(path, start_worker, kills=2, seed=1)


def test_killed_at_random_moments_of_tuning(
    path: Path, make_clip: MakeClip, start_worker: StartWorker
) -> None:
    with Gallery(path) as gallery:
        gallery.add_clips("alice", [make_clip("a1")], encoder=ENCODER)
    check_kills_of_tune(path, start_worker, kills=2, seed=2)


@pytest.mark.slow
def test_killed_many_times(path: Path, make_clip: MakeClip, start_worker: StartWorker) -> None:
    check_kills(path, start_worker, kills=25, seed=3)
    other = path.with_name("other.db")
    with Gallery(other) as gallery:
        gallery.add_clips("alice", [make_clip("a1")], encoder=ENCODER)
    check_kills_of_tune(other, start_worker, kills=25, seed=4)


def test_two_writers_lose_nothing(path: Path, start_worker: StartWorker) -> None:
    events, clips = 50, 3
    workers = [start_worker("enrol", path, prefix, events, clips) for prefix in ("left", "right")]
    Gallery(path).close()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    go(*workers)
    time.sleep(0.2)  # both come to wait for the lock: they do write at once
    lock.execute("ROLLBACK")
    lock.close()
    for worker in workers:
        output, _ = worker.communicate()
        assert worker.returncode == 0
        assert len(output.splitlines()) == events
    with Gallery(path) as gallery:
        people = gallery.people()
        assert {person.name for person in people} == {
            f"{prefix}-{number}" for prefix in ("left", "right") for number in range(events)
        }
        assert {person.clips for person in people} == {clips}
        assert len(gallery.audit()) == 2 * events
    check_integrity(path)
