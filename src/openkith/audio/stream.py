"""Audio that is open for reading, whatever it comes from; an array is the simplest case."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.errors import AudioError

__all__ = [
    "CONVERT",
    "SAMPLE_RATE",
    "Block",
    "Stream",
    "array_stream",
    "check_amplitude",
    "check_rate",
    "to_float",
]

Block = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz, of every Audio
MIN_RATE, MAX_RATE = 8_000, 192_000  # Hz, of what can be loaded
MAX_AMPLITUDE = 32.0  # floating-point samples beyond 30 dB over full scale were never scaled
MAX_CHANNELS = 64  # a longer axis of an array is time
CONVERT = "convert it with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"


@dataclass(frozen=True)
class Stream:
    """Audio that is open for reading.

    Attributes:
        rate: Samples per second.
        frames: Samples per channel that the header declares; None where it does not tell.
        slack: How many frames fewer than declared are still no sign of a truncated file.
        read: ``read(first, last)`` yields float32 blocks (frames, channels) from frame ``first`` up to, not
            including, ``last`` (None: to the end), as far as there is any.
    """

    rate: int
    frames: int | None
    slack: int
    read: Callable[[int, int | None], Generator[Block, None, None]]


def array_stream(samples: NDArray[Any], rate: Any, source: str) -> Stream:
    """An array of samples as a stream of one block.

    Args:
        samples: (n,), (n, channels), or (channels, n) where the first axis can be nothing but channels.
        rate: Its sample rate in Hz.
        source: The name for error messages.

    Raises:
        AudioError: The rate is missing or out of range, or the array is not audio.
    """
    if rate is None:
        raise AudioError(f"{source}: the sample rate of an array is not known; pass sample_rate=")
    rate = check_rate(rate, source)
    if samples.ndim == 1:
        frames = samples[:, np.newaxis]
    elif samples.ndim == 2:
        rows, columns = samples.shape
        if min(rows, columns) > MAX_CHANNELS:
            raise AudioError(
                f"{source}: which axis of shape {samples.shape} is time is not clear; "
                f"pass (n, channels) with at most {MAX_CHANNELS} channels"
            )
        frames = samples.T if rows <= MAX_CHANNELS < columns else samples
    else:
        raise AudioError(f"{source}: shape {samples.shape} is not audio; pass (n,) or (n, channels)")
    if frames.size == 0:
        raise AudioError(f"{source}: empty array of shape {samples.shape}; pass samples")

    def read(first: int, last: int | None) -> Generator[Block, None, None]:
        part = to_float(frames[first:last], source)
        if np.isfinite(part).all():
            check_amplitude(float(np.abs(part).max()), source)  # float64 may exceed what float32 can hold
        yield part.astype(np.float32)

    return Stream(rate, len(frames), 0, read)


def check_rate(rate: Any, source: str) -> int:
    """The sample rate as an int, or an AudioError: it is no number, or outside 8 to 192 kHz."""
    whole = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not whole or not math.isfinite(rate) or rate != int(rate):
        raise AudioError(
            f"{source}: sample rate {rate!r} is not a whole number of Hz; give the rate of the samples"
        )
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"{source}: sample rate {int(rate)} Hz is outside {MIN_RATE} to {MAX_RATE} Hz; "
            "resample it to 16000 Hz"
        )
    return int(rate)


def check_amplitude(peak: float, source: str) -> None:
    """Refuse samples that were never scaled to full scale 1."""
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            f"{source}: samples of up to {peak:.6g}, and floating-point audio lies between -1 and 1; "
            "scale it (16-bit numbers by 1/32768)"
        )


def to_float(samples: NDArray[Any], source: str) -> NDArray[Any]:
    """Numbers of any type as floating point with full scale 1.

    Signed integers are divided by their full scale (int16 by 32768), unsigned ones are centred first. 64-bit
    and unsigned 32-bit integers are no format of any recorder: they are taken as 16-bit samples that a
    computation widened, and refused if they do not fit.

    Raises:
        AudioError: The numbers are complex, or not numbers, or integers without a known full scale.
    """
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "f":
        return samples
    if kind in "iu" and (size == 8 or (kind == "u" and size == 4)):
        if samples.size and (samples.min() < -32768 or samples.max() > 32767):
            raise AudioError(
                f"{source}: {samples.dtype} numbers outside 16 bits have no known full scale; "
                "convert them to int16, int32, or floating point between -1 and 1"
            )
        return samples.astype(np.float32) / np.float32(32768)
    if kind in "iu":
        full = 2.0 ** (8 * size - 1)
        return (samples.astype(np.float64) - (full if kind == "u" else 0.0)) / full
    raise AudioError(
        f"{source}: numbers of type {samples.dtype} are not samples; convert them to float32 or int16"
    )
