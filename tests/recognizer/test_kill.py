"""Real processes that enrol and tune: killed with -9 in the middle, and at once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import openkith.recognizer.roster
from openkith.recognizer import Recognizer

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, same_decision, voice

WORKER = Path(__file__).parents[1] / "recognizer_worker.py"
Worker = subprocess.Popen[str]
Start = Callable[..., Worker]


@pytest.fixture(autouse=True)
def cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(MODE, ...)`: the worker in a process of its own, ended with the test."""
    running: list[Worker] = []

    def begin(*arguments: object) -> Worker:
        command = [sys.executable, "-W", "error", str(WORKER), *map(str, arguments)]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield begin
    for worker in running:
        worker.kill()
        worker.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Recognizer]:
    """Ann and bob, with a tuned head."""
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        for who in ("ann", "bob"):
            recognizer.enroll(who, [voice(who, take) for take in range(3)])
        recognizer.tune("whitened")
        yield recognizer


def line(worker: Worker) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def go(worker: Worker) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def kill(worker: Worker) -> list[str]:
    """Kill -9; the lines that were still to be read."""
    worker.kill()
    output, _ = worker.communicate()
    assert worker.returncode == -9
    return output.splitlines()


def check_integrity(recognizer: Recognizer) -> None:
    connection = sqlite3.connect(str(recognizer.gallery.path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("SELECT count(*) FROM clips WHERE enrolment_id IS NULL").fetchone() == (0,)
    connection.close()


def state(recognizer: Recognizer) -> object:
    gallery = recognizer.gallery
    head = gallery.head()
    assert head is not None
    arrays = {key: array.tobytes() for key, array in head.arrays.items()}
    clips = [(clip.id, clip.person, clip.sha256) for clip in gallery.clips()]
    return gallery.people(), clips, gallery.revision(), gallery.audit(), head.id, head.config, arrays


@pytest.mark.parametrize("where", ["work", "transaction"])
@pytest.mark.parametrize("operation", ["enrol", "tune"])
def test_killed_in_the_middle(home: Recognizer, start: Start, operation: str, where: str) -> None:
    before, answer = state(home), home.identify(voice("ann", 5))
    worker = start("hang-in", home.gallery.path, operation, where)
    assert line(worker) == "inside"
    assert state(home) == before  # nobody sees half of it while it runs
    kill(worker)
    assert state(home) == before
    assert same_decision(home.identify(voice("ann", 5)), answer)
    check_integrity(home)
    home.enroll("dan", [voice("dan", take) for take in range(3)])  # and nothing is locked
    assert home.tune("whitened").method == "whitened"
    assert home.verify("dan", voice("dan", 5)).probability > 0.5


def check_kills(home: Recognizer, start: Start, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    done = ["ann", "bob"]
    for number in range(kills):
        worker = start("enrol", home.gallery.path, f"killed {number}", 0)
        assert line(worker) == "ready"
        go(worker)
        done.append(line(worker))
        time.sleep(rng.uniform(0, 0.2))
        done += kill(worker)
        check_integrity(home)
        people = home.gallery.people()
        assert {person.clips for person in people} == {3}  # all or nothing
        assert set(done) <= {person.name for person in people}  # what was said to be done is there
        assert len(people) <= len(done) + number + 1  # killed after a commit, before it could say so


def test_killed_at_random_moments_of_enrolling(home: Recognizer, start: Start) -> None:
    check_kills(home, start, kills=2, seed=1)


@pytest.mark.slow
def test_killed_many_times(home: Recognizer, start: Start) -> None:
    check_kills(home, start, kills=20, seed=2)


def test_somebody_is_enrolled_while_another_process_tunes(home: Recognizer, start: Start) -> None:
    home.enroll("cat", [voice("cat", take) for take in range(3)])
    old = home.gallery.head()
    worker = start("tune-when-told", home.gallery.path)
    assert line(worker) == "inside"
    home.enroll("dan", [voice("dan", take) for take in range(3)])
    go(worker)
    assert line(worker) == "GalleryError: the gallery changed while tuning: tune again"
    kept = home.gallery.head()
    assert old is not None
    assert kept is not None
    assert (kept.id, kept.config) == (old.id, old.config)
    assert home.identify(voice("dan", 5)).method == "as-norm"
    check_integrity(home)

    worker = start("tune-when-told", home.gallery.path)
    assert line(worker) == "inside"
    go(worker)
    assert line(worker) == "whitened"
    assert home.identify(voice("ann", 5)).method == "whitened"


def test_two_processes_enrol_at_once(home: Recognizer, start: Start) -> None:
    workers = [start("enrol", home.gallery.path, prefix, 8) for prefix in ("left", "right")]
    for worker in workers:
        assert line(worker) == "ready"
    for worker in workers:
        go(worker)
    for worker in workers:
        output, _ = worker.communicate()
        assert worker.returncode == 0
        assert len(output.splitlines()) == 8
    people = home.gallery.people()
    expected = {f"{prefix}-{number}" for prefix in ("left", "right") for number in range(8)}
    assert {person.name for person in people} == expected | {"ann", "bob"}
    assert {person.clips for person in people} == {3}
    check_integrity(home)
