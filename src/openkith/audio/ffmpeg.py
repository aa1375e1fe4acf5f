"""Opens what libsndfile does not read, such as M4A and WebM, with FFmpeg's libraries (package av)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from openkith.audio.stream import CONVERT, Block, Stream, to_float
from openkith.errors import AudioError, MissingDependencyError, require

__all__ = ["frame_block", "open_ffmpeg"]

SLACK = 0.25  # seconds that a file may fall short of what its header promises


@contextmanager
def open_ffmpeg(file: BinaryIO, kind: str, demuxer: str, source: str) -> Iterator[Stream]:
    """Open a container with av, by the one demuxer named.

    A demuxer of FFmpeg's own choice could be that of a playlist, which opens other files and addresses.

    Args:
        file: The data.
        kind: What the container is called in error messages.
        demuxer: FFmpeg's name for it.
        source: The name of the data for error messages.

    Raises:
        AudioError: The data are damaged or truncated, or have no audio in them.
        MissingDependencyError: av is not installed.
    """
    try:
        av = require("av", "media", f"{source}: {kind}")
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{error}, or {CONVERT}") from error
    file.seek(0)
    try:
        container = av.open(file, mode="r", format=demuxer, metadata_errors="ignore")
    except Exception as error:  # av raises OSError, ValueError and more, according to what it meets
        raise AudioError(
            f"{source}: {kind} data that are damaged or truncated; copy the file again, or {CONVERT}"
        ) from error
    with container:
        if not container.streams.audio:
            raise AudioError(f"{source}: {kind} file without an audio track; give a recording of speech")
        track = container.streams.audio[0]

        def blocks() -> Iterator[tuple[int, Block]]:
            for frame in container.decode(track):
                yield int(frame.sample_rate), frame_block(frame, source)

        decoded = blocks()
        ahead = next(decoded, None)
        if ahead is None:
            raise AudioError(f"{source}: holds no samples, or is truncated; record or export it again")
        rate = ahead[0]  # not the header's: that of HE-AAC has half the rate

        def read(first: int, last: int | None) -> Generator[Block, None, None]:
            at = 0
            item: tuple[int, Block] | None = ahead
            while item is not None and (last is None or at < last):
                if item[0] != rate:
                    raise AudioError(
                        f"{source}: the sample rate changes from {rate} to {item[0]} Hz; {CONVERT}"
                    )
                block = item[1]
                part = block[max(0, first - at) : len(block) if last is None else last - at]
                at += len(block)
                if len(part):
                    yield part
                item = next(decoded, None)

        yield Stream(rate, _declared_frames(container, track, rate), round(SLACK * rate), read)


def frame_block(frame: Any, source: str) -> Block:
    """The samples of av's audio frame as (frames, channels), full scale 1; `source` is its name for errors."""
    values = to_float(frame.to_ndarray(), source)
    channels = frame.layout.nb_channels
    planar = values.T if frame.format.is_planar else values.reshape(-1, channels)
    return np.asarray(planar, dtype=np.float32)


def _declared_frames(container: Any, track: Any, rate: int) -> int | None:
    """The length of a track by its header; None where only that of a film around it is known."""
    seconds = 0.0
    if track.duration and track.time_base:
        seconds = float(track.duration * track.time_base)
    elif container.duration and len(container.streams) == 1:
        seconds = container.duration / 1e6  # from microseconds
    return round(seconds * rate) if seconds > 0 else None
