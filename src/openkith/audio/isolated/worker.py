"""The process that decodes what strangers send: ``python -m openkith.audio.isolated.worker SECONDS MEGABYTES``.

`openkith.audio.isolated.sandbox` starts it, and kills it when a file takes too long. It has limits of its own, where
the system knows them: memory beyond what it takes when it is ready, processor time for each file, few open files, no
file that grows, no core dump, no new privileges. It ends when its parent does, however that comes about. What it
inherits is a pair of pipes and an environment without secrets.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

from openkith.audio.io import load
from openkith.audio.isolated import wire
from openkith.audio.isolated.container_stream import decode_pieces
from openkith.audio.stream import Block
from openkith.errors import KithError, MissingDependencyError

__all__ = ["main"]

OPEN_FILES = 64
WATCH_SECONDS = 2.0  # between two looks at who the parent is
PR_SET_NO_NEW_PRIVS = 38  # of Linux
MAX_TEXT = 1000  # characters of an error message


def main() -> None:
    """Decode files and streams from standard input until it closes.

    The arguments are the processor seconds that a file or chunk may take, and the megabytes of memory that may be
    used on top of what the idle process has.
    """
    seconds, memory_mb = float(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which has files to finish
        signal.signal(number, signal.SIG_IGN)
    pipe_in, pipe_out = _own_pipes()
    _watch_parent(pipe_in.fileno())
    with contextlib.suppress(ImportError):
        importlib.import_module("av")  # now, so that it does not count as memory of a file
    _set_limits(memory_mb)
    limit = memory_mb * 2**20
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        wire.send(pipe_out, wire.READY)
        while True:
            kind, payload = wire.receive(pipe_in, limit)
            _allow_processor(seconds)
            if kind == wire.FILE:
                wire.send(pipe_out, *_decode(payload, memory_mb))
            elif kind == wire.STREAM:
                _decode_stream(pipe_in, pipe_out, payload.decode(), seconds, memory_mb)
            else:
                break


def _decode(payload: bytearray, memory_mb: int) -> tuple[bytes, *tuple[bytes | memoryview, ...]]:
    """The message that answers a file."""
    try:
        (max_seconds,) = wire.SECONDS.unpack_from(payload)
        audio = load(bytes(memoryview(payload)[wire.SECONDS.size :]), max_seconds=max_seconds)
    except (KithError, MemoryError) as error:
        return _failure(error, memory_mb)
    clipped = math.nan if audio.clipped is None else audio.clipped
    return wire.AUDIO, wire.AUDIO_HEAD.pack(audio.native_rate, clipped), _bytes(audio.samples)


def _decode_stream(pipe_in: Any, pipe_out: Any, form: str, seconds: float, memory_mb: int) -> None:
    """Answer each piece of a stream, and its end, with the samples that can be had by then; an error ends it."""

    def next_piece() -> bytes:
        kind, payload = wire.receive(pipe_in, memory_mb * 2**20)
        _allow_processor(seconds)
        return bytes(payload) if kind == wire.CHUNK else b""

    try:
        decode_pieces(form, next_piece, lambda samples: wire.send(pipe_out, wire.SAMPLES, _bytes(samples)))
    except (KithError, MemoryError) as error:
        wire.send(pipe_out, *_failure(error, memory_mb))


def _failure(error: Exception, memory_mb: int) -> tuple[bytes, bytes]:
    """The message for an error."""
    if isinstance(error, MissingDependencyError):
        return wire.MISSING, str(error)[:MAX_TEXT].encode()
    if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
        text = f"<bytes>: decoding takes more than {memory_mb} MB of memory; cut it, or export it as 16-bit WAV or FLAC"
        return wire.SPENT, text.encode()
    return wire.FAILED, str(error)[:MAX_TEXT].encode()


def _bytes(samples: Block) -> memoryview:
    return np.ascontiguousarray(samples, dtype="<f4").data.cast("B")


def _own_pipes() -> tuple[Any, Any]:
    """Standard input and output for messages alone; what a decoder prints goes nowhere."""
    pipes = (os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return pipes


def _watch_parent(descriptor: int) -> None:
    """End this process when the parent has closed the pipe or is gone, even in the middle of a file.

    A pipe that another child of the parent has inherited stays open when the parent dies: hence the second look.
    """
    if sys.platform == "win32":
        return
    import select

    parent = os.getppid()
    poll = select.poll()
    poll.register(descriptor, 0)  # a pipe that was hung up is always reported

    def watch() -> None:
        while True:
            hung_up = any(
                event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(WATCH_SECONDS * 1000)
            )
            if os.getppid() != parent:
                os._exit(1)
            if hung_up:
                time.sleep(WATCH_SECONDS)  # closed on purpose: let the main thread see the end by itself
                os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _set_limits(memory_mb: int) -> None:
    """Limits for the rest of this process's life, as far as the system has them."""
    if sys.platform == "win32":
        return
    import resource

    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NOFILE": OPEN_FILES}
    used = _address_space()
    if used is not None:
        limits["RLIMIT_AS"] = used + memory_mb * 2**20
    for name, value in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _allow_processor(seconds: float) -> None:
    """Processor time for the next file, in case nobody is left to stop it."""
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _address_space() -> int | None:
    """Bytes of address space of this process; None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    main()
