"""Decodes what strangers send in processes of their own, so that no file can take the caller down.

A file that takes too long, too much memory, or crashes its decoder costs a worker, which is replaced, and raises an
AudioError like any other file that cannot be used. See
`openkith.audio.isolated.worker` for what a worker is not allowed.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openkith.audio.io import SAMPLE_RATE, Audio
from openkith.audio.isolated import wire
from openkith.audio.stream import MAX_RATE, MIN_RATE, Block
from openkith.errors import AudioError, ConfigError, KithError, MissingDependencyError

__all__ = ["DecodePool", "Worker"]

START_SECONDS = 60.0  # that a new worker may take to import what it needs, on a busy machine
MAX_FILES = 500  # after which a worker is replaced, with whatever a decoder has leaked or corrupted in it
MAX_ERROR_BYTES = 8000
PIPE_BYTES = 2**20
ERRORS: dict[bytes, type[KithError]] = {
    wire.FAILED: AudioError,
    wire.SPENT: AudioError,
    wire.MISSING: MissingDependencyError,
}
SOURCE = "<bytes>"  # the name of an upload in error messages, as of `load`

# What a worker needs of its parent's environment; passwords and keys are not in it.
KEPT_VARIABLES = (
    *("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH"),
    *("DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"),
)
SET_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Worker:
    """A process that decodes, as its parent sees it. One caller at a time.

    Args:
        seconds: The longest time for a file or a piece of a stream; the worker is killed then.
        memory_mb: Memory that it may take for them, in MB (2**20 bytes) on top of what it has when idle.

    Raises:
        KithError: The system cannot start a process.
    """

    def __init__(self, seconds: float, memory_mb: int) -> None:
        self.seconds, self.memory_mb = seconds, memory_mb
        self.files = 0
        self._ready = self._expired = False
        self._lock = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "openkith.audio.isolated.worker", repr(seconds), str(memory_mb)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders complain about damaged data at length
                bufsize=0,
                env=_environment(),
            )
        except OSError as error:
            raise KithError(
                f"cannot start a process that decodes audio ({error.strerror}); free memory or raise the process limit"
            ) from error
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(pipe)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can take another file."""
        return not self._expired and self.files < MAX_FILES and self._process.poll() is None

    def decode(self, data: bytes, max_seconds: float) -> Audio:
        """Decode a file; errors as of `DecodePool.decode`."""
        self.files += 1
        kind, payload = self._ask(wire.FILE, wire.SECONDS.pack(max_seconds), memoryview(data))
        if kind != wire.AUDIO or len(payload) < wire.AUDIO_HEAD.size:
            raise self._broken()
        rate, clipped = wire.AUDIO_HEAD.unpack_from(payload)
        samples = self._samples(memoryview(payload)[wire.AUDIO_HEAD.size :])
        known = not math.isnan(clipped)
        length = 0 < len(samples) <= (max_seconds + 1) * SAMPLE_RATE
        if not (length and MIN_RATE <= rate <= MAX_RATE and (not known or 0 <= clipped <= 1)):
            raise self._broken()
        return Audio(samples, SOURCE, native_rate=rate, clipped=clipped if known else None)

    def begin_stream(self, form: str) -> None:
        """Say that what follows are the pieces of one of `openkith.audio.isolated.container_stream.CONTAINERS`."""
        self._wait_ready()
        with contextlib.suppress(OSError):  # noticed at the first piece
            wire.send(self._stdin, wire.STREAM, form.encode())

    def piece(self, data: bytes | memoryview) -> Block:
        """Samples (n,) at 16 kHz that a piece of a stream, cut anywhere, has made it possible to decode.

        Raises:
            AudioError: The stream cannot be decoded, or took too much time or memory; the worker is of no use then.
            MissingDependencyError: av is not installed.
        """
        return self._stream_part(wire.CHUNK, data)

    def end_stream(self) -> Block:
        """The last samples (n,) of a stream; errors as of `piece`."""
        return self._stream_part(wire.END)

    def interrupt(self) -> None:
        """End the process under another thread's call, which raises AudioError; `kill` is still to be called."""
        self._expired = True
        self._process.kill()

    def kill(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _stream_part(self, kind: bytes, data: bytes | memoryview = b"") -> Block:
        answer, payload = self._ask(kind, data)
        if answer != wire.SAMPLES:
            raise self._broken("<stream>")
        return self._samples(memoryview(payload), "<stream>")

    def _ask(self, kind: bytes, *parts: bytes | memoryview) -> tuple[bytes, bytearray]:
        """Send a message and wait for its answer, or raise the error that the answer is."""
        self._wait_ready()
        source = SOURCE if kind == wire.FILE else "<stream>"
        answer = self._exchange(self.seconds, source, kind, *parts)
        if answer is None:
            raise self._broken(source)
        if answer[0] in ERRORS:
            self._expired = self._expired or answer[0] == wire.SPENT
            text = " ".join(answer[1][:MAX_ERROR_BYTES].decode(errors="replace").split())
            raise ERRORS[answer[0]](text)
        return answer

    def _wait_ready(self) -> None:
        if self._ready:
            return
        answer = self._exchange(START_SECONDS, SOURCE)
        if answer is None or answer[0] != wire.READY:
            self._expired = True
            raise KithError(
                "the process that decodes audio does not start; "
                f"see why with: {sys.executable} -m openkith.audio.isolated.worker 10 1024 < {os.devnull}"
            )
        self._ready = True

    def _exchange(
        self, seconds: float, source: str, *message: bytes | memoryview
    ) -> tuple[bytes, bytearray] | None:
        """Send a message, if there is one, and receive the answer; None where the worker died or talks nonsense."""
        answer: tuple[bytes, bytearray] | None = None
        try:
            with self._deadline(seconds), contextlib.suppress(OSError, EOFError, ValueError):
                if message:
                    wire.send(self._stdin, bytes(message[0]), *message[1:])
                answer = wire.receive(self._stdout, self.memory_mb * 2**20)
        except BaseException:  # Ctrl-C: the answer that comes later belongs to nobody
            self.interrupt()
            raise
        if answer is None and self._expired and message:
            raise AudioError(
                f"{source}: decoding takes longer than {seconds:g} s; cut it, or export it as WAV or FLAC"
            )
        return answer

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Kill the worker if the block takes longer; once it has ended, the worker is left alone."""
        done = False

        def expire() -> None:
            with self._lock:
                if not done:
                    self.interrupt()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            with self._lock:
                done = True
            timer.cancel()

    def _samples(self, data: memoryview, source: str = SOURCE) -> Block:
        """Bytes as finite samples; what a worker says is not taken on trust."""
        if len(data) % 4:
            raise self._broken(source)
        samples = np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
        if not np.isfinite(samples).all():
            raise self._broken(source)
        return samples

    def _broken(self, source: str = SOURCE) -> AudioError:
        self._expired = True
        return AudioError(
            f"{source}: its decoder stopped in the middle, so that the data must be damaged, or need too much memory; "
            "export it again as WAV or FLAC"
        )

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout


class DecodePool:
    """Processes that decode, kept warm; any number of threads may use them.

    Args:
        workers: How many files are decoded at a time; further calls wait.
        seconds: The longest time for a file.
        memory_mb: Memory that a file may take, in MB (2**20 bytes). Only Linux enforces it.

    Raises:
        ConfigError: A number is out of range.
        KithError: The system cannot start a process.
    """

    def __init__(self, workers: int = 1, *, seconds: float = 10.0, memory_mb: int = 1024) -> None:
        if workers < 1:
            raise ConfigError(f"workers is {workers}; give 1 or more")
        if not (math.isfinite(seconds) and seconds > 0):
            raise ConfigError(f"seconds is {seconds!r}; give a number above 0")
        if memory_mb < 1:
            raise ConfigError(f"memory_mb is {memory_mb}; give 1 or more")
        self.seconds, self.memory_mb = seconds, memory_mb
        self._changed = threading.Condition()
        self._busy: set[Worker] = set()
        self._closed = False
        # The last is taken first; those that still start are in front. None: could not be started.
        self._idle: list[Worker | None] = []
        try:
            for _ in range(workers):
                self._idle.append(self._new())
        except KithError:
            self.close()
            raise

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def decode(self, data: bytes, *, max_seconds: float) -> Audio:
        """Decode a file as `openkith.audio.load` does, in a worker.

        Args:
            data: The bytes of the file.
            max_seconds: The longest audio that is accepted.

        Raises:
            AudioError: As `load`; or the file takes more time or memory than is allowed, or crashes its decoder.
            MissingDependencyError: The container needs a package that is not installed.
            KithError: The pool is closed, or the system cannot start a process.
        """
        if not data:
            raise AudioError(f"{SOURCE}: empty file (0 bytes); record or copy it again")
        limit = self.memory_mb * 2**20 // 4  # it is there twice, and its samples once more
        if len(data) > limit:
            raise AudioError(
                f"{SOURCE}: {len(data)} bytes, over the limit of {limit} that can be decoded; cut it"
            )
        worker = self._take()
        try:
            return worker.decode(data, max_seconds)
        except AudioError:
            if self._closed:
                raise _closed() from None
            raise
        finally:
            self._give_back(worker)

    def detach(self) -> Worker:
        """A worker for the caller alone, who kills it when done: a warm one where one is free.

        Raises:
            KithError: The pool is closed, or the system cannot start a process.
        """
        with self._changed:
            if self._closed:
                raise _closed()
            for worker in reversed(self._idle):
                if worker is not None and worker.usable:
                    self._idle.remove(worker)
                    self._idle.insert(0, self._try_new())
                    return worker
            return self._new()

    def close(self) -> None:
        """End all workers. Calls that wait or decode raise KithError; closing twice does nothing."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.interrupt()
            self._changed.notify_all()
        for left in idle:
            if left is not None:
                left.kill()

    def _take(self) -> Worker:
        with self._changed:
            while not self._idle and not self._closed:
                self._changed.wait()
            if self._closed:
                raise _closed()
            idle = self._idle.pop()
            try:
                if idle is not None and not idle.usable:  # died while it was idle
                    idle.kill()
                    idle = None
                worker = idle or self._new()
            except KithError:
                self._idle.append(None)
                self._changed.notify()
                raise
            self._busy.add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        """Make a worker available again, or another one that starts up meanwhile."""
        usable = worker.usable
        if not usable:
            worker.kill()
        with self._changed:
            self._busy.discard(worker)
            if not self._closed:
                if usable:
                    self._idle.append(worker)
                else:
                    self._idle.insert(0, self._try_new())
                self._changed.notify()
                return
        worker.kill()

    def _new(self) -> Worker:
        return Worker(self.seconds, self.memory_mb)

    def _try_new(self) -> Worker | None:
        try:
            return self._new()
        except KithError:
            return None


def _closed() -> KithError:
    return KithError("the pool of decoders is closed; nothing can be decoded any more")


def _widen(pipe: Any) -> None:
    """Room for a clip of seconds in a pipe, so that it passes in one go; where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _environment() -> dict[str, str]:
    """The environment of a worker, from which it can import the same openkith."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    root = str(Path(__file__).parents[3])
    if root not in sysconfig.get_paths().values():  # a source tree
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH", ""))))
    return kept | SET_VARIABLES
