"""Mixes an open stream down to the one form that all else works on: mono, 16 kHz, float32, without DC."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator

import numpy as np
import soxr
from numpy.typing import NDArray

from openkith.audio.clipping import clipped_share
from openkith.audio.stream import SAMPLE_RATE, Block, Stream, check_amplitude, check_rate
from openkith.errors import AudioError

__all__ = ["mix_down", "mono_blocks"]

MIN_SECONDS = 0.1  # a shorter clip holds no speech sound
SILENCE = 1 / 32768  # one step of 16 bits: what spans less is constant


def mix_down(
    stream: Stream, source: str, *, start: float | None, end: float | None, max_seconds: float
) -> tuple[NDArray[np.float32], float]:
    """Read a stream, or a part of it, into mono float32 at 16 kHz, resampled and without DC.

    Memory is bounded: only one block is held at the rate and with the channels of the stream.

    Args:
        stream: Audio that is open for reading.
        source: The name for error messages.
        start: Where the part begins, in seconds; None is the beginning.
        end: Where it ends, in seconds; None is the end.
        max_seconds: The longest part that is accepted. No more than that is decoded.

    Returns:
        The samples (n,), and the share of the samples of the stream that were clipped.

    Raises:
        AudioError: The part is not inside the stream, is too short or long, is not finite, or is silent.
    """
    rate = check_rate(stream.rate, source)
    first, last = _part(stream.frames, rate, source, start, end)
    if last is not None:
        _check_length(last - first, rate, source, max_seconds)
    limit = max_seconds * rate
    # A stream that does not tell its length is asked for a second more than it may have, never for all.
    stop = last if last is not None or math.isinf(limit) else first + int(limit) + rate
    resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    pieces: list[Block] = []
    count, level, clipped = 0, 0.0, 0.0
    low, high = math.inf, -math.inf  # of the mono signal
    signal = False  # in some channel
    with contextlib.closing(stream.read(first, stop)) as blocks:
        for block in blocks:
            span = _check_numbers(block, (first + count) / rate, rate, source)
            signal = signal or span >= SILENCE
            mono = _mono(block)
            if count == 0:
                level = float(mono.mean(dtype=np.float64))
            count += len(mono)
            if count > limit:
                _check_length(count, rate, source, max_seconds)
            clipped += len(mono) * float(np.mean([clipped_share(channel) for channel in block.T]))
            low, high = min(low, float(mono.min())), max(high, float(mono.max()))
            # Without most of the DC first, the ends of the clip would ring after resampling.
            mono = mono - np.float32(level)
            pieces.append(mono if resampler is None else resampler.resample_chunk(mono))
    _check_complete(stream, source, first, last, count)
    _check_length(count, rate, source, max_seconds)
    if high - low < SILENCE:
        why = "every sample is the same; check that the microphone was on"
        if signal:
            why = "the channels cancel each other out; load one of them"
        raise AudioError(f"{source}: digital silence, {why}")
    if resampler is not None:
        pieces.append(resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))
    samples = np.concatenate(pieces)
    samples -= np.float32(samples.mean(dtype=np.float64))
    return samples, clipped / count


def mono_blocks(stream: Stream, source: str) -> Generator[Block, None, None]:
    """Read all of a stream, of any length, block by block: mono, 16 kHz, float32.

    Together the blocks are what `mix_down` gives but for a constant: of the DC only that of the first block is off.

    Raises:
        AudioError: The stream is too short, is not finite, or is truncated.
    """
    rate = check_rate(stream.rate, source)
    resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    count, level = 0, 0.0
    with contextlib.closing(stream.read(0, stream.frames)) as blocks:
        for block in blocks:
            _check_numbers(block, count / rate, rate, source)
            mono = _mono(block)
            if count == 0:
                level = float(mono.mean(dtype=np.float64))
            count += len(mono)
            mono = mono - np.float32(level)
            yield mono if resampler is None else resampler.resample_chunk(mono)
    _check_complete(stream, source, 0, stream.frames, count)
    _check_length(count, rate, source, math.inf)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def _mono(block: Block) -> Block:
    """(frames, channels) -> (frames,), the mean of the channels."""
    if block.shape[1] == 1:
        return block[:, 0]
    mono: Block = block.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono


def _check_numbers(block: Block, at: float, rate: int, source: str) -> float:
    """Refuse what is not finite or was never scaled; `at` is when the block begins. Returns its span."""
    low, high = float(block.min()), float(block.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        at += int(np.argmin(np.isfinite(block).all(axis=1))) / rate
        raise AudioError(f"{source}: NaN or infinite samples at {at:.3f} s; export the recording again")
    check_amplitude(max(-low, high), source)
    return high - low


def _part(
    frames: int | None, rate: int, source: str, start: float | None, end: float | None
) -> tuple[int, int | None]:
    """The first frame of the wanted part, and the one after its last (None: the end)."""
    for field, value in (("start", start), ("end", end)):
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and value >= 0):
            raise AudioError(
                f"{source}: {field}={value!r} is not a time; give seconds from the beginning, 0 or more"
            )
    first = 0 if start is None else round(start * rate)
    last = None if end is None else round(end * rate)
    if start is not None and end is not None and end <= start:
        raise AudioError(f"{source}: end={end:g} is not after start={start:g}; give end > start in seconds")
    if frames is None:
        return first, last
    if first >= frames and first > 0:
        raise AudioError(
            f"{source}: start={start:g} is outside the file, which is {frames / rate:.3f} s long; "
            "give a time inside it"
        )
    if last is not None and last > frames + 1:  # one frame is rounding
        raise AudioError(
            f"{source}: end={end:g} is outside the file, which is {frames / rate:.3f} s long; "
            "give a time inside it"
        )
    return first, frames if last is None else min(last, frames)


def _check_length(count: int, rate: int, source: str, max_seconds: float) -> None:
    seconds = count / rate
    if count == 0:
        raise AudioError(f"{source}: holds no samples, or is truncated; record or export it again")
    if seconds < MIN_SECONDS:
        raise AudioError(f"{source}: {seconds:.3f} s of audio, under {MIN_SECONDS} s; record a longer clip")
    if seconds > max_seconds:
        raise AudioError(
            f"{source}: {seconds:.1f} s of audio or more, over the limit of {max_seconds:g} s; "
            "cut it, or raise max_seconds"
        )


def _check_complete(stream: Stream, source: str, first: int, last: int | None, count: int) -> None:
    """Compare what came with what the header and the caller asked for."""
    if stream.frames is not None and last is not None and count < last - first - stream.slack:
        raise AudioError(
            f"{source}: truncated, {(last - first) / stream.rate:.3f} s were promised and "
            f"{count / stream.rate:.3f} s can be read; copy or export the file again"
        )
    if stream.frames is None and (
        (count == 0 and first > 0) or (last is not None and count < last - first - 1)
    ):
        length = f"{(first + count) / stream.rate:.3f}" if count else f"less than {first / stream.rate:.3f}"
        raise AudioError(
            f"{source}: the part is outside the file, which is {length} s long; give times inside it"
        )
