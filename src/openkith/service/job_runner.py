"""Takes jobs out of the gallery, one at a time, and has each done in a process of its own: answers stay quick."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time

from openkith.errors import KithError
from openkith.gallery.jobs import Job, Jobs
from openkith.recognizer import Recognizer
from openkith.service.job_worker import LEASE_SECONDS, LOST, WorkerSpec, run_job

__all__ = ["JobRunner"]

LOOK_SECONDS = 1.0  # between looks for a job that another daemon took in, or left behind
POLL_SECONDS = 0.1  # between looks at the process
END_SECONDS = 5.0  # that the process has to end, once it was told to

log = logging.getLogger("openkith.service")


class JobRunner:
    """A thread that takes jobs.

    Args:
        recognizer: Of the gallery.
        spec: How a process opens the same; None: jobs are done in this process, by the thread itself.
    """

    def __init__(self, recognizer: Recognizer, spec: WorkerSpec | None) -> None:
        self._recognizer, self._spec = recognizer, spec
        self._jobs = Jobs(recognizer.gallery)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._take_jobs, name="kith-jobs", daemon=True)

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread.start()

    def wake(self) -> None:
        """There is a job: look at once."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Let the job that runs finish within some seconds, else leave it for another daemon, or for later."""
        self._deadline = time.monotonic() + seconds
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(None if self._spec else seconds)

    def _take_jobs(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                job = self._jobs.claim(self.name, LEASE_SECONDS)
                if job is not None:
                    self._do(job)
                    continue
            except KithError as error:
                log.error("no job can be taken: %s", error)
            except Exception:
                log.exception("a job could not be done")
            self._wake.wait(LOOK_SECONDS)

    def _do(self, job: Job) -> None:
        log.info("job %d, %s, begins", job.id, job.kind)
        if self._spec is None:
            run_job(self._recognizer, job, self.name)
            return
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "openkith.service.job_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=self._spec.environment(job, self.name),
        )
        try:
            while process.poll() is None:
                if self._stopping.is_set() and time.monotonic() >= self._deadline:
                    break
                time.sleep(POLL_SECONDS)
        finally:
            left = process.poll() is None
            _end(process)
        if left:
            self._jobs.give_back(job.id, self.name)
            log.info("job %d, %s, is left for later", job.id, job.kind)
        elif process.returncode not in (0, LOST):
            log.error("the process of job %d ended with code %d", job.id, process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, in good order if it can."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
