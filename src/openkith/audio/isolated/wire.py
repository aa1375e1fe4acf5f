"""What a decode worker and its parent say to each other: a kind, a length, that many bytes. Nothing is pickled."""

from __future__ import annotations

import struct
from typing import Protocol

__all__ = [
    "AUDIO",
    "AUDIO_HEAD",
    "CHUNK",
    "END",
    "FAILED",
    "FILE",
    "MISSING",
    "READY",
    "SAMPLES",
    "SECONDS",
    "SPENT",
    "STREAM",
    "Pipe",
    "receive",
    "send",
]

# From the parent: a whole file (`SECONDS`, then its bytes), or a stream (its format), its chunks and its end.
FILE, STREAM, CHUNK, END = b"F", b"S", b"C", b"E"
# From the worker. AUDIO is the native rate and the clipped share (NaN: not known), as `AUDIO_HEAD`, and the samples;
# SAMPLES are samples alone; FAILED is the text of an AudioError, SPENT that of one after which the worker is of no more
# use, MISSING that of a MissingDependencyError.
READY, AUDIO, SAMPLES, FAILED, SPENT, MISSING = b"R", b"A", b"P", b"X", b"Y", b"M"

HEADER = struct.Struct("<cQ")
SECONDS = struct.Struct("<d")
AUDIO_HEAD = struct.Struct("<Id")


class Pipe(Protocol):
    """An unbuffered binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read what is there, and wait if there is nothing; 0 at the end."""

    def write(self, data: memoryview, /) -> int | None:
        """Write, perhaps only a part."""


def send(pipe: Pipe, kind: bytes, *parts: bytes | memoryview) -> None:
    """Write a message: its kind, and parts that follow one another.

    Raises:
        OSError: Nobody reads at the other end.
    """
    payload = [memoryview(part).cast("B") for part in parts]
    for part in (memoryview(HEADER.pack(kind, sum(map(len, payload)))), *payload):
        at = 0
        while at < len(part):
            at += pipe.write(part[at:]) or 0


def receive(pipe: Pipe, limit: int) -> tuple[bytes, bytearray]:
    """Read a message.

    Args:
        pipe: To read from.
        limit: The longest payload in bytes; a longer one is not read.

    Returns:
        The kind and the payload.

    Raises:
        EOFError: The other end has closed, perhaps in the middle of a message.
        ValueError: The message is longer than `limit`.
    """
    kind, length = HEADER.unpack(_exactly(pipe, HEADER.size))
    if length > limit:
        raise ValueError(f"a message of {length} bytes, over the limit of {limit}")
    return kind, _exactly(pipe, length)


def _exactly(pipe: Pipe, length: int) -> bytearray:
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        count = pipe.readinto(view[at:])
        if not count:
            raise EOFError("the other end of the pipe has closed")
        at += count
    return data
