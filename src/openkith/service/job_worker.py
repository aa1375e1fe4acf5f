"""Does one job: tuning or calibrating. As a program it does the one that its environment names, and ends.

It lives as long as its standard input stays open: when the daemon dies, even by kill -9, the job's process does too,
and the job is taken up again when its lease runs out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from openkith.errors import KithError
from openkith.gallery import Gallery
from openkith.gallery.jobs import Job, Jobs
from openkith.gallery.pseudonyms import hide_names, show_names
from openkith.recognizer import Recognizer
from openkith.service.plain import plain

__all__ = ["KINDS", "LEASE_SECONDS", "WorkerSpec", "hidden", "run_job", "shown"]

VARIABLE = "KITH_JOB"
LEASE_SECONDS = 30.0  # without a sign of life a job is somebody else's
BEAT_SECONDS = 2.0  # between signs of life
NICE = 10  # a job leaves the processor to those who wait for an answer
LOST = 3  # exit code: the job was cancelled, or is another worker's

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WorkerSpec:
    """How a process of its own opens what the daemon has open.

    Attributes:
        gallery: Path or URL, with its password; None for the default.
        encoder: Name or path; None for the default.
        threads, device, precision: See `openkith.encoders.load_encoder`.
    """

    gallery: str | None = None
    encoder: str | None = None
    threads: int | None = None
    device: str | None = None
    precision: str | None = None

    def environment(self, job: Job, worker: str) -> dict[str, str]:
        """The environment of the process that does a job: on a command line everybody could read the password."""
        task = {"spec": asdict(self), "job": job.id, "worker": worker}
        return {**os.environ, VARIABLE: json.dumps(task)}

    def open(self) -> Recognizer:
        """The recogniser that it describes."""
        chosen: dict[str, Any] = {"name_or_path": self.encoder, "device": self.device}
        chosen |= {"precision": self.precision, "threads": self.threads}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        if set(chosen) <= {"name_or_path", "threads"}:
            own = {"encoder": self.encoder} if self.encoder else {}
            return Recognizer(self.gallery, threads=self.threads, **own)
        from openkith.encoders import load_encoder

        return Recognizer(self.gallery, encoder=load_encoder(**chosen))


class JobLostError(Exception):
    """The job was cancelled, or another worker has it."""


def _tune(recognizer: Recognizer, settings: Mapping[str, Any], actor: str, step: Report) -> dict[str, Any]:
    return recognizer.tune(**settings, actor=actor, progress=step).to_dict()


def _calibrate(
    recognizer: Recognizer, settings: Mapping[str, Any], actor: str, step: Report
) -> dict[str, Any]:
    return recognizer.calibrate(**settings, actor=actor, progress=step).to_dict()


#: What a job of each kind is: one call of the library.
KINDS: dict[str, Callable[[Recognizer, Mapping[str, Any], str, Report], dict[str, Any]]] = {
    "tune": _tune,
    "calibrate": _calibrate,
}


def run_job(
    recognizer: Recognizer, job: Job, worker: str, on_lost: Callable[[], None] = lambda: None
) -> None:
    """Do a job that `worker` has claimed, and write down what came of it.

    Args:
        recognizer: Of the gallery.
        job: The job.
        worker: Who has it.
        on_lost: Called, in another thread, when it was cancelled or taken by another worker.
    """
    jobs = Jobs(recognizer.gallery)
    try:
        with _Heartbeat(jobs, job, worker, on_lost) as beat:
            report = KINDS[job.kind](recognizer, job.settings, job.actor, beat.step)
    except JobLostError:
        return
    except KithError as error:
        jobs.fail(job.id, worker, " ".join(str(error).split()))
        return
    except Exception:
        traceback.print_exc()
        jobs.fail(job.id, worker, "something went wrong that should not; the daemon's log has the details")
        return
    jobs.finish(job.id, worker, hidden(plain(report), recognizer.gallery))


class _Heartbeat:
    """Renews the lease of a job while the block runs, and tells how far it is."""

    def __init__(self, jobs: Jobs, job: Job, worker: str, on_lost: Callable[[], None]) -> None:
        self._jobs, self._job, self._worker, self._on_lost = jobs, job, worker, on_lost
        self._progress = ("", 0, 0)
        self._lost, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="kith-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None and self._lost.is_set():
            raise JobLostError

    def step(self, stage: str, done: int, total: int) -> None:
        """How far it is; raises JobLostError where it need not go on."""
        self._progress = (stage, done, total)
        if self._lost.is_set():
            raise JobLostError

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS if self._progress[0] else BEAT_SECONDS / 10):
            try:
                kept = self._jobs.renew(self._job.id, self._worker, LEASE_SECONDS, *self._progress)
            except KithError as error:  # the database may be back before the lease runs out
                print(f"job {self._job.id}: {error}", file=sys.stderr)  # noqa: T201
                continue
            if not kept:
                self._lost.set()
                self._on_lost()
                return


def hidden(value: Any, gallery: Gallery) -> Any:
    """Plain values with numbers in the place of names, in every text: what is kept must be able to forget them."""
    ids = {person.name: person.id for person in gallery.people()}
    return _mapped(value, lambda text: hide_names(text, ids))


def shown(value: Any, gallery: Gallery) -> Any:
    """The values that `hidden` was given, with the present names."""
    names = {person.id: person.name for person in gallery.people()}
    return _mapped(value, lambda text: show_names(text, names))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def _die_with_parent() -> None:
    """Wait for the end of standard input, which the daemon holds open, and end."""
    with suppress(OSError, ValueError):
        while os.read(0, 1024):
            pass
    os._exit(LOST)


def main() -> None:
    """Do the job that `VARIABLE` names."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the daemon, which decides what becomes of the job
    task = json.loads(os.environ.pop(VARIABLE))
    threading.Thread(target=_die_with_parent, name="kith-parent", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICE)
    with WorkerSpec(**task["spec"]).open() as recognizer:
        job = Jobs(recognizer.gallery).get(task["job"])
        run_job(recognizer, job, task["worker"], on_lost=lambda: os._exit(LOST))


if __name__ == "__main__":
    main()
