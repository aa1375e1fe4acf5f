"""Jobs in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openkith.gallery import Gallery
from openkith.recognizer import Recognizer
from openkith.service.job_runner import JobRunner
from openkith.service.job_worker import WorkerSpec

pytestmark = pytest.mark.slow


@pytest.fixture
def runner(
    tmp_path: Path, bands: Any, bands_path: Path, record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobRunner]:
    monkeypatch.setenv("PYTHONPATH", str(bands_path))
    with Gallery(tmp_path / "g.db") as gallery:
        recognizer = Recognizer(gallery, encoder=bands)
        for name, person in (("Alice", 1), ("Bob", 2)):
            recognizer.enroll(name, [record(person, take) for take in range(2)])
        started = JobRunner(recognizer, WorkerSpec(str(gallery.path), "bands"))
        started.start()
        yield started
        started.stop(0.0)


def test_a_job_is_done(runner: JobRunner, wait_until: Callable[..., Any]) -> None:
    jobs = runner._jobs
    job = jobs.submit("tune", {"method": "cosine"}, actor="key 2")
    runner.wake()
    wait_until(lambda: jobs.get(job.id).state == "done", 60)
    assert jobs.get(job.id).worker == runner.name
    gallery = runner._recognizer.gallery
    head = gallery.head()
    assert head is not None
    assert head.method == "cosine"
    assert gallery.audit(limit=1)[0].actor == "key 2"
    again = jobs.submit("calibrate", {"far": 0.05})  # found without being woken
    wait_until(lambda: jobs.get(again.id).state == "done", 60)


def test_stopping_gives_the_job_back(runner: JobRunner, wait_until: Callable[..., Any]) -> None:
    jobs = runner._jobs
    job = jobs.submit("tune", {"method": "cosine"})
    runner.wake()
    wait_until(lambda: jobs.get(job.id).state == "running", 60)
    runner.stop(0.0)
    runner._thread.join(30)
    left = jobs.get(job.id)
    assert (left.state, left.claims) in {("waiting", 0), ("done", 1)}
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children.read_text().split()]
        assert not [command for command in commands if b"job_worker" in command]
