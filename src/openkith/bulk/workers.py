"""Groups of utterances embedded in this process, or in several that each load the encoder.

A process is handed one group at a time and leaves what came of it in a file, so that this one has little to do and
nothing to lose. It ends when this process does, however that comes about: its pipe closes. One that dies on a group (a
decoder that crashes, memory that runs out) is replaced, the utterances of its group are tried one by one, and the one
that it dies on again is a bad file.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, Self

from openkith.bulk.listing import Item
from openkith.encoders import Encoder
from openkith.errors import KithError

__all__ = ["Done", "EncoderSpec", "Group", "InProcess", "Job", "Processes", "Team", "usual_workers"]

MOST_DEATHS = 20  # one after another, with nothing embedded in between
CLOSING_SECONDS = 2.0
ACCELERATED_WORKERS = 4  # enough to decode for one, each with a copy of the encoder on it

Group = Sequence[Item]


@dataclass(frozen=True)
class EncoderSpec:
    """How to load an encoder, as `openkith.encoders.load_encoder` does, in this process or another.

    Attributes:
        name, weights, device, precision: As there.
        threads: Torch threads of each process. One, so that results do not depend on how many there are.
    """

    name: str = "ge2e"
    weights: str | None = None
    device: str = "auto"
    precision: str = "float32"
    threads: int = 1

    def load(self) -> Encoder:
        """The encoder.

        Raises:
            ConfigError, WeightsError, MissingDependencyError: As `load_encoder`.
        """
        from openkith.encoders import load_encoder

        return load_encoder(
            self.name, self.weights, device=self.device, precision=self.precision, threads=self.threads
        )


@dataclass(frozen=True)
class Identity:
    """What an encoder says of itself."""

    name: str
    fingerprint: str
    dim: int

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """An encoder's."""
        return cls(encoder.name, encoder.fingerprint, encoder.dim)


class Job(Protocol):
    """What is done with a group; it can be sent to another process."""

    def run(self, encoder: Encoder, group: Group) -> Path:
        """Embed, and leave the outcomes in a file."""
        ...

    def give_up(self, item: Item, reason: str) -> Path:
        """Leave in a file that an utterance could not be embedded."""
        ...


@dataclass(frozen=True)
class Done:
    """A group that was embedded, and the file that its outcomes are in."""

    group: Group
    part: Path


class Team(Protocol):
    """Who embeds.

    Attributes:
        identity: Of the encoder that all have.
    """

    identity: Identity

    def run(self, job: Job, groups: Iterable[Group]) -> Iterator[Done]:
        """Embed groups, begun in their order and given in that in which they are done."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class InProcess:
    """This process alone."""

    def __init__(self, encoder: Encoder | EncoderSpec) -> None:
        self._encoder = encoder.load() if isinstance(encoder, EncoderSpec) else encoder
        self.identity = Identity.of(self._encoder)

    def run(self, job: Job, groups: Iterable[Group]) -> Iterator[Done]:
        """See `Team`."""
        for group in groups:
            yield Done(group, job.run(self._encoder, group))

    def close(self) -> None:
        """Nothing to end."""


@dataclass(eq=False)
class _Worker:
    """Another process, and the group that it has in hand."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    group: Group | None = None


class Processes:
    """Processes of the same encoder. Where its weights are to be fetched, the first does so before the others start.

    Args:
        spec: The encoder.
        count: How many processes.

    Raises:
        KithError: The encoder cannot be loaded, or the process dies on it.
    """

    identity: Identity

    def __init__(self, spec: EncoderSpec, count: int) -> None:
        self._spec, self._count = spec, count
        self._context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._workers: list[_Worker] = []
        try:
            for _ in range(1 if _may_fetch(spec) else count):
                self._start()
            try:
                self._hear(self._workers[0])
            except EOFError:
                code = self._bury(self._workers[0])
                raise KithError(f"the process that loads the encoder {spec.name!r} died ({code})") from None
        except BaseException:
            self.close()
            raise

    def run(self, job: Job, groups: Iterable[Group]) -> Iterator[Done]:
        """See `Team`.

        Raises:
            KithError: Processes die one after another.
        """
        new, again = iter(groups), deque[Group]()
        ended = False
        deaths = 0
        while True:
            for worker in self._workers:
                if worker.ready and worker.group is None:
                    worker.group = again.popleft() if again else next(new, None)
                    if worker.group is None:
                        ended = True
                        break
                    self._hand(worker, job, worker.group)
            if ended and not again and all(worker.group is None for worker in self._workers):
                return
            while len(self._workers) < self._count:
                self._start()
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in wait(list(pipes)):
                worker = next(each for each in self._workers if each.pipe is pipe)
                group = worker.group
                try:
                    part = self._hear(worker)
                except EOFError:
                    deaths += 1
                    if not worker.ready:  # there is no room for one more, as on a full GPU
                        self._count = max(1, self._count - 1)
                    code = self._bury(worker)
                    if deaths > MOST_DEATHS:
                        raise KithError(
                            f"the processes that embed die one after another ({code}); give --workers 1 to see why"
                        ) from None
                    if group is not None and len(group) > 1:
                        again.extend([item] for item in group)
                    elif group is not None:
                        yield Done(
                            group, job.give_up(group[0], f"the process that embedded it died ({code})")
                        )
                    continue
                if part is not None and group is not None:
                    deaths, worker.group = 0, None
                    yield Done(group, part)

    def close(self) -> None:
        """End all processes; what one has in hand is lost."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.group is not None or not worker.ready:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(CLOSING_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()

    def _start(self) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._spec), daemon=True)
        process.start()
        there.close()  # so that this end hears when the process is gone
        self._workers.append(_Worker(process, here))

    @staticmethod
    def _hand(worker: _Worker, job: Job, group: Group) -> None:
        with suppress(OSError):  # it has died: heard of at this end of the pipe
            worker.pipe.send((job, group))

    def _hear(self, worker: _Worker) -> Path | None:
        """What a process says: a part that is finished, or that it is ready.

        Raises:
            EOFError: It has died.
            KithError: It cannot load the encoder.
        """
        try:
            said = worker.pipe.recv()
        except OSError:
            raise EOFError from None
        if isinstance(said, Identity):
            self.identity, worker.ready = said, True
            return None
        if isinstance(said, KithError):
            raise said
        assert isinstance(said, Path)
        return said

    def _bury(self, worker: _Worker) -> str:
        """Forget a process that has died, and say of what."""
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        worker.process.close()
        self._workers.remove(worker)
        if code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"


def usual_workers(device: str = "auto") -> int:
    """A process for each core that this one may use; four at most where an accelerator does the embedding.

    Whether there is one is told without torch, which takes seconds to import.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device == "auto":
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        accelerated = apple or Path("/dev/nvidiactl").exists()
    else:
        accelerated = device != "cpu"
    return min(cores, ACCELERATED_WORKERS) if accelerated else cores


def _may_fetch(spec: EncoderSpec) -> bool:
    """Whether loading the encoder may download its weights."""
    from openkith.encoders.catalog import needs_fetching

    if spec.weights is not None:
        return not Path(spec.weights).expanduser().exists()
    return needs_fetching(spec.name)


def _serve(pipe: Connection, spec: EncoderSpec) -> None:
    """What another process does: load the encoder, then embed what it is handed until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run is ended by the process that began it
    try:
        try:
            encoder = spec.load()
        except KithError as error:
            pipe.send(error)
            return
        pipe.send(Identity.of(encoder))
        while True:
            job, group = pipe.recv()
            pipe.send(_run(job, encoder, group))
    except (EOFError, OSError):  # nobody is there any more
        return


def _run(job: Job, encoder: Encoder, group: Group) -> Path | KithError:
    """The file that a group's outcomes are in, or why it could not be written."""
    try:
        return job.run(encoder, group)
    except KithError as error:
        return error
    except OSError as error:
        return KithError(f"{error.filename or 'embeddings'}: cannot be written ({error.strerror or error})")
