"""A job, done and written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openkith.errors import ConfigError
from openkith.gallery import Gallery
from openkith.gallery.jobs import Jobs
from openkith.recognizer import Recognizer
from openkith.service import job_worker
from openkith.service.job_worker import LOST, WorkerSpec, hidden, run_job, shown


@pytest.fixture
def recognizer(tmp_path: Path, bands: Any, record: Callable[..., Path]) -> Iterator[Recognizer]:
    with Gallery(tmp_path / "g.db") as gallery:
        recognizer = Recognizer(gallery, encoder=bands)
        for name, person in (("Alice", 1), ("Bob", 2)):
            recognizer.enroll(name, [record(person, take) for take in range(2)])
        yield recognizer


def claimed(recognizer: Recognizer, kind: str, settings: dict[str, Any]) -> Any:
    jobs = Jobs(recognizer.gallery)
    jobs.submit(kind, settings, actor="key 7")
    return jobs.claim("me", 30.0)


def test_tune(recognizer: Recognizer) -> None:
    job = claimed(recognizer, "tune", {"method": "cosine"})
    run_job(recognizer, job, "me")
    done = Jobs(recognizer.gallery).get(job.id)
    assert (done.state, done.result["method"]) == ("done", "cosine")
    assert recognizer.gallery.head() is not None
    assert recognizer.gallery.audit(limit=1)[0].actor == "key 7"


def test_results_forget_names(recognizer: Recognizer) -> None:
    job = claimed(recognizer, "calibrate", {})
    run_job(recognizer, job, "me")
    result = Jobs(recognizer.gallery).get(job.id).result
    assert "Alice" not in json.dumps(result)
    assert set(shown(result, recognizer.gallery)["basis"]) == {"Alice", "Bob"}
    recognizer.gallery.edit_person("Alice", new_name="Alicia")
    assert "Alicia" in shown(result, recognizer.gallery)["basis"]
    recognizer.forget("Alicia")
    assert "person 1" in shown(result, recognizer.gallery)["basis"]


def test_names_in_every_text(recognizer: Recognizer) -> None:
    value = {"Alice": ["Bob and Alice", {"n": 1}], "x": None}
    kept = hidden(value, recognizer.gallery)
    assert "Alice" not in repr(kept)
    assert "Bob" not in repr(kept)
    assert shown(kept, recognizer.gallery) == value


def test_what_goes_wrong_is_one_line(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> dict[str, Any]:  # noqa: ARG001
        raise ConfigError("no good:\nnot at all")

    monkeypatch.setitem(job_worker.KINDS, "tune", fail)
    job = claimed(recognizer, "tune", {})
    run_job(recognizer, job, "me")
    failed = Jobs(recognizer.gallery).get(job.id)
    assert (failed.state, failed.error) == ("failed", "no good: not at all")


def test_a_bug_is_not_told(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> dict[str, Any]:  # noqa: ARG001
        raise RuntimeError("the secret")

    monkeypatch.setitem(job_worker.KINDS, "tune", fail)
    job = claimed(recognizer, "tune", {})
    run_job(recognizer, job, "me")
    failed = Jobs(recognizer.gallery).get(job.id)
    assert failed.state == "failed"
    assert "secret" not in (failed.error or "")
    assert "the secret" in capsys.readouterr().err


def test_a_cancelled_job_stops_at_its_next_step(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(job_worker, "BEAT_SECONDS", 0.05)
    lost: list[bool] = []
    steps = 0

    def work(_recognizer: Any, _settings: Any, _actor: str, step: Any) -> dict[str, Any]:
        nonlocal steps
        jobs = Jobs(recognizer.gallery)
        step("begin", 1, 10)
        wait_until(lambda: jobs.get(job.id).stage == "begin")
        assert (jobs.get(job.id).done, jobs.get(job.id).total) == (1, 10)
        jobs.cancel(job.id)
        wait_until(lambda: lost)
        steps += 1
        step("go on", 2, 10)
        steps += 1
        return {}

    monkeypatch.setitem(job_worker.KINDS, "tune", work)
    job = claimed(recognizer, "tune", {})
    run_job(recognizer, job, "me", on_lost=lambda: lost.append(True))
    assert steps == 1
    assert Jobs(recognizer.gallery).get(job.id).state == "cancelled"


def test_a_process_ends_with_its_parent(tmp_path: Path, recognizer: Recognizer) -> None:  # noqa: ARG001
    """Its standard input is closed, as by a parent that died."""
    job = claimed(recognizer, "tune", {"method": "cosine"})
    spec = WorkerSpec(str(recognizer.gallery.path), "bands")
    environment = spec.environment(job, "me")
    assert str(recognizer.gallery.path) in environment[job_worker.VARIABLE]
    process = subprocess.run(
        [sys.executable, "-m", "openkith.service.job_worker"],
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=60,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert process.returncode == LOST, process.stderr
    assert Jobs(recognizer.gallery).get(job.id).state == "running"
    assert job_worker.VARIABLE not in os.environ
