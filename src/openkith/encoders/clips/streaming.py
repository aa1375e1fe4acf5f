"""Files of any length and any number, embedded as they are read.

A long recording is read twice: once for its mean and its power, since DC is taken off and quiet clips are raised by
what the whole of them is like, and once for its windows. A block of windows is in memory at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.audio.io import load_blocks
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import AudioError, ConfigError

__all__ = ["BLOCK_WINDOWS", "WindowEncoder", "embed_file_windows", "embed_files"]

BLOCK_WINDOWS = 256
CLIPS_AT_ONCE = 16  # of `embed_files`; as many again are being loaded
_SILENCE = 1 / 32768  # one step of 16 bits: a file that spans less is constant

Times = npt.NDArray[np.float64]


@runtime_checkable
class WindowEncoder(Protocol):
    """An encoder whose windows lie on a grid, and hear nothing but the samples within a step around them.

    Attributes:
        window_seconds: Length of a window.
        window_step_seconds: From one to the next.
    """

    window_seconds: float
    window_step_seconds: float


@runtime_checkable
class _Levelling(Protocol):
    """A `WindowEncoder` that multiplies a clip by a gain, which depends on its power."""

    def gain(self, power: float) -> float: ...


@dataclass(frozen=True)
class _Whole:
    """What has to be known of all of a file: samples, their mean, and their power without it."""

    samples: int
    mean: float
    power: float


def embed_file_windows(
    encoder: Encoder, path: str | Path, *, block_windows: int = BLOCK_WINDOWS
) -> Iterator[tuple[Times, FloatArray]]:
    """The windows of a file, block by block: together what ``embed_windows`` gives for the whole clip.

    GE2E raises quiet clips to a level, by one gain for the whole clip: so it does here, since the power of the file
    is measured before the first window.

    Args:
        encoder: GE2E, or any other whose windows lie on a grid (see `WindowEncoder`).
        path: A file of any length; it is read twice. Silences stay in, so that times are those of the file.
        block_windows: Windows that are embedded at a time.

    Yields:
        Start and end of each window in seconds (w, 2), and L2-normalised embeddings (w, dim).

    Raises:
        ConfigError: The encoder does not say where its windows lie, or ``block_windows`` is below 1.
        AudioError: The file is no audio, is truncated, or is digital silence.
    """
    if block_windows < 1:
        raise ConfigError(f"block_windows is {block_windows}; give 1 or more")
    if not isinstance(encoder, WindowEncoder):
        raise ConfigError(f"encoder {encoder.name!r} has no window_seconds; load the clip and embed it whole")
    return _windows(encoder, path, block_windows)


def embed_files(
    encoder: Encoder,
    paths: Sequence[str | Path],
    *,
    trim: bool = True,
    threads: int | None = None,
    batch: int = CLIPS_AT_ONCE,
) -> Iterator[tuple[str | Path, FloatArray]]:
    """Embeddings of whole files, in their order, the next ones loaded while the encoder is at work.

    Args:
        encoder: Any.
        paths: Of audio files.
        trim: Whether silences are cut out.
        threads: That load; default: those of the encoder if it was given a number, else one per core.
        batch: Files that are embedded together.

    Yields:
        Each path, and its embedding (dim,).

    Raises:
        ConfigError: ``threads`` or ``batch`` below 1.
        AudioError: A file cannot be loaded.
    """
    threads = _threads(encoder) if threads is None else threads
    for name, value in (("threads", threads), ("batch", batch)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")

    def clip(path: str | Path) -> Audio:
        audio = load(path)
        return trim_silence(audio) if trim else audio

    return _in_batches(encoder, paths, clip, threads, batch)


def _in_batches(
    encoder: Encoder,
    paths: Sequence[str | Path],
    clip: Callable[[str | Path], Audio],
    threads: int,
    batch: int,
) -> Iterator[tuple[str | Path, FloatArray]]:
    if threads == 1:
        for group in _groups(paths, batch):
            yield from zip(group, encoder.embed([clip(path) for path in group]), strict=True)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="kith-load") as pool:
        begun: deque[tuple[list[str | Path], list[Future[Audio]]]] = deque()
        try:
            for group in _groups(paths, batch):
                begun.append((group, [pool.submit(clip, path) for path in group]))
                if len(begun) > 1:
                    yield from _embedded(encoder, *begun.popleft())
            while begun:
                yield from _embedded(encoder, *begun.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _embedded(
    encoder: Encoder, paths: list[str | Path], clips: list[Future[Audio]]
) -> Iterable[tuple[str | Path, FloatArray]]:
    return zip(paths, encoder.embed([clip.result() for clip in clips]), strict=True)


def _groups(paths: Sequence[str | Path], size: int) -> Iterator[list[str | Path]]:
    waiting = iter(paths)
    while group := list(islice(waiting, size)):
        yield group


def _threads(encoder: Encoder) -> int:
    allowed = getattr(encoder, "threads", None)
    if isinstance(allowed, int):
        return allowed
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _windows(encoder: Any, path: str | Path, block_windows: int) -> Iterator[tuple[Times, FloatArray]]:
    size = round(encoder.window_seconds * SAMPLE_RATE)
    step = round(encoder.window_step_seconds * SAMPLE_RATE)
    whole = _measure(path)
    level = {"gain": encoder.gain(whole.power)} if isinstance(encoder, _Levelling) else {}
    source = os.fsdecode(path)
    # A part of the file begins a window before those that are wanted and ends a step after the last of them, so that
    # what each hears around it is there. The last part ends with the file, and with it come the windows of its end.
    first = 0  # window that is wanted next
    start = 0  # sample that is in memory first
    held: list[FloatArray] = []
    length = 0  # samples that are held
    for block in load_blocks(path):
        held.append(block - np.float32(whole.mean))
        length += len(block)
        while length > (needed := (first + block_windows) * step + size - start):
            samples = np.concatenate(held)
            times, embeddings = encoder.embed_windows(Audio(samples[:needed], source), **level)
            skip = first - start // step
            wanted = slice(skip, skip + block_windows)
            yield times[wanted] + start / SAMPLE_RATE, embeddings[wanted]
            first += block_windows
            dropped = max(0, first - 1) * step - start
            samples = samples[dropped:].copy()
            start, held, length = start + dropped, [samples], len(samples)
    times, embeddings = encoder.embed_windows(Audio(np.concatenate(held), source), **level)
    skip = first - start // step
    yield times[skip:] + start / SAMPLE_RATE, embeddings[skip:]


def _measure(path: str | Path) -> _Whole:
    count, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for block in load_blocks(path):
        if not len(block):
            continue
        count += len(block)
        total += float(block.sum(dtype=np.float64))
        squares += float(np.square(block, dtype=np.float64).sum())
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if high - low < _SILENCE:
        raise AudioError(
            f"{os.fsdecode(path)}: digital silence, every sample is the same; check that the microphone was on"
        )
    mean = total / count
    return _Whole(count, mean, max(squares / count - mean**2, 0.0))
