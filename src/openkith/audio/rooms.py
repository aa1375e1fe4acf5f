"""Rooms as boxes: the response from a mouth to a microphone by image sources, and speech through any response.

The first tenth of a second is exact for walls that reflect all frequencies alike; after it, the echoes are so
dense that exponentially decaying noise stands for them (`openkith.audio.degrade.reverberate` makes a whole room
of such noise).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from openkith.audio.degrade import Samples, match_level
from openkith.audio.io import SAMPLE_RATE
from openkith.errors import AudioError, ConfigError

__all__ = ["Room", "convolve", "direct_path", "draw_room", "room_response"]

SPEED_OF_SOUND = 343.0  # m/s
MIN_SIDE, MAX_SIDE = 0.5, 100.0  # metres
MIN_T60, MAX_T60 = 0.02, 10.0  # seconds
MIXING_SECONDS = 0.1  # after the direct path, noise stands for the echoes
MATCHED_SECONDS = 0.02  # the noise has the level of the echoes in so much time before
JITTER_METRES = (
    0.08  # exact images of a box sound like a sweep (De Sena et al. 2015): each path is off by +-4 cm
)
REFLECTION_STEPS = 30  # halvings of what the walls may give back
OVERSAMPLING = 4  # echoes fall between the samples
LOWEST_HZ = 50.0  # images add up at 0 Hz as no air does
DIRECT_SHARE = 0.5  # the direct path is the first sample with this share of the largest

DRAWN_FLOOR = (2.5, 8.0)  # metres, of `draw_room`
DRAWN_HEIGHT = (2.3, 3.5)
DRAWN_T60 = (0.15, 0.8)
WALL_DISTANCE = 0.4  # metres, of mouth and microphone at least
TALKING_DISTANCE = 0.3  # metres, between them at least


@dataclass(frozen=True)
class Room:
    """A box with a mouth and a microphone in it.

    Attributes:
        size: Length, width and height in metres, 0.5 to 100 each.
        source: Where the mouth is, metres from one corner along each side.
        microphone: Where the microphone is, likewise.
        t60: Reverberation time in seconds, 0.02 to 10.

    Raises:
        ConfigError: A value is out of range, a point is outside, or the two points are one.
    """

    size: tuple[float, float, float]
    source: tuple[float, float, float]
    microphone: tuple[float, float, float]
    t60: float

    def __post_init__(self) -> None:
        for name in ("size", "source", "microphone"):
            point = getattr(self, name)
            if len(point) != 3 or not all(math.isfinite(value) for value in point):
                raise ConfigError(f"room: {name} is {point}; give three numbers of metres")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in self.size):
            raise ConfigError(f"room: size is {self.size}; give sides of {MIN_SIDE:g} to {MAX_SIDE:g} m")
        for name in ("source", "microphone"):
            if not all(0 < x < side for x, side in zip(getattr(self, name), self.size, strict=True)):
                raise ConfigError(
                    f"room: {name} {getattr(self, name)} is outside a room of {self.size} m; move it inside"
                )
        if math.dist(self.source, self.microphone) < 0.01:
            raise ConfigError("room: source and microphone are at one place; move them apart")
        if not MIN_T60 <= self.t60 <= MAX_T60:
            raise ConfigError(f"room: t60 is {self.t60}; give {MIN_T60:g} to {MAX_T60:g} seconds")


def draw_room(rng: np.random.Generator) -> Room:
    """A room of a flat or an office, with a mouth and a microphone somewhere in it, 0.3 m apart or more."""
    size = (rng.uniform(*DRAWN_FLOOR), rng.uniform(*DRAWN_FLOOR), rng.uniform(*DRAWN_HEIGHT))
    t60 = rng.uniform(*DRAWN_T60)
    while True:
        source, microphone = (
            tuple(float(rng.uniform(WALL_DISTANCE, side - WALL_DISTANCE)) for side in size) for _ in range(2)
        )
        if math.dist(source, microphone) >= TALKING_DISTANCE:
            return Room(size, source, microphone, t60)  # type: ignore[arg-type]


def room_response(room: Room, rng: np.random.Generator) -> Samples:
    """The response of a room, from the mouth to the microphone.

    An image at a distance d that k walls have reflected comes after d / c seconds with the amplitude r^k / (4 pi d).
    The walls' r is such that the energy of the images falls by 60 dB in t60 seconds: Sabine's and Eyring's formulas
    are for rooms where sound goes everywhere alike, and a box is none. From 0.1 s after the direct path on, noise that
    decays by 60 dB in t60 seconds goes on at the level that the images had. The first echoes fall faster than the
    later ones, so that the decay from -5 to -25 dB may be that of a t60 a quarter longer.

    Args:
        room: The box, the two places and the reverberation time.
        rng: Draws the jitter of the images and the noise.

    Returns:
        (n,) float32 at 16 kHz, scaled to a peak of 1; begins when the sound leaves the mouth, and lasts t60 after
        the direct path.

    Source: J. Allen and D. Berkley, "Image method for efficiently simulating small-room acoustics", 1979;
    E. Lehmann and A. Johansson, "Diffuse reverberation model for efficient image-source simulation", 2010.
    """
    arrival = math.dist(room.source, room.microphone) / SPEED_OF_SOUND
    length = math.ceil((arrival + room.t60) * SAMPLE_RATE) + 1
    mixing = min(arrival + MIXING_SECONDS, (length - 1) / SAMPLE_RATE)
    seconds, amplitudes = _images(room, mixing, rng)
    response = _place(seconds, amplitudes, length)
    start = round(mixing * SAMPLE_RATE)
    window = response[max(0, start - round(MATCHED_SECONDS * SAMPLE_RATE)) : start]
    if start < length and len(window):
        decay = 10 ** (-3 * (np.arange(length) - start) / (room.t60 * SAMPLE_RATE))
        level = np.sqrt(np.sum(window**2) / np.sum(decay[start - len(window) : start] ** 2))
        response[start:] = level * decay[start:] * rng.standard_normal(length - start)
    high_pass = scipy.signal.butter(2, LOWEST_HZ, "highpass", fs=SAMPLE_RATE, output="sos")
    response = scipy.signal.sosfilt(high_pass, response)
    return np.asarray(response / np.abs(response).max(), dtype=np.float32)


def direct_path(response: NDArray[Any]) -> int:
    """Index of the direct path: the first sample that has half of the largest magnitude, and the peak it begins."""
    magnitude = np.abs(_checked(response))
    first = int(np.argmax(magnitude >= DIRECT_SHARE * magnitude.max()))
    last = first + 1
    while last < len(magnitude) and magnitude[last] > magnitude[last - 1]:
        last += 1
    return last - 1


def convolve(samples: NDArray[Any], response: NDArray[Any]) -> Samples:
    """Speech through a response, aligned on its direct path: as long as it was, and at the RMS that it had.

    Args:
        samples: Speech (n,) at 16 kHz.
        response: (m,) at 16 kHz, of any level; what lies before the direct path is kept.

    Raises:
        AudioError: Either is empty, not one-dimensional or not finite, or the response is silent.
    """
    x, h = _checked(samples), _checked(response)
    if not h.any():
        raise AudioError("the impulse response is silent; give another")
    begin = direct_path(h)
    wet = scipy.signal.fftconvolve(x, h / np.abs(h).max())
    return match_level(wet[begin : begin + len(x)], x)


def _checked(samples: NDArray[Any]) -> NDArray[np.float64]:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise AudioError(
            f"samples of shape {x.shape}: give one channel of finite samples, (n,) with n above 0"
        )
    return x


def _images(room: Room, until: float, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Arrival (s) and amplitude of the direct path and of every image that arrives before ``until``."""
    reach = until * SPEED_OF_SOUND
    size, source, microphone = (np.array(v) for v in (room.size, room.source, room.microphone))
    counts = np.ceil(reach / (2 * size)).astype(int) + 1
    r = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    p = np.array(list(itertools.product((0, 1), repeat=3)))[
        :, np.newaxis
    ]  # (8, 1, 3): which sides are mirrored
    metres = np.linalg.norm((1 - 2 * p) * source + 2 * r * size - microphone, axis=-1).reshape(-1)
    bounces = (np.abs(r - p) + np.abs(r)).sum(axis=-1).reshape(-1)
    near = (metres < reach) | (bounces == 0)
    metres, bounces = metres[near], bounces[near]
    jitter = rng.uniform(-0.5, 0.5, len(metres)) * JITTER_METRES * (bounces > 0)
    metres = np.maximum(
        metres + jitter, math.dist(room.source, room.microphone)
    )  # none before the direct path
    seconds = metres / SPEED_OF_SOUND
    late = seconds >= until / 2
    reflection = _reflection(bounces[late], seconds[late], room.t60)
    return seconds, reflection**bounces / (4 * np.pi * metres)


def _reflection(bounces: NDArray[Any], seconds: NDArray[Any], t60: float) -> float:
    """Share of the pressure that a wall gives back, for images whose energy falls by 60 dB in t60 seconds.

    As many images arrive in each second as their distance takes from their energy, so that the mean of r^(2k) over
    the images about a time t is the energy there, 10^(-6 t / t60).
    """
    low, high = 0.0, 1.0
    for _ in range(REFLECTION_STEPS):
        middle = (low + high) / 2
        too_loud = (
            np.mean(middle ** (2.0 * bounces) * 10 ** (6 * seconds / t60)) > 1 if len(bounces) else True
        )
        low, high = (low, middle) if too_loud else (middle, high)
    return (low + high) / 2


def _place(seconds: NDArray[Any], amplitudes: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Impulses between the samples: linear in a grid four times as fine, then low-passed to 16 kHz."""
    at = seconds * SAMPLE_RATE * OVERSAMPLING
    index = np.floor(at).astype(int)
    part = at - index
    n = length * OVERSAMPLING
    fine = np.bincount(index, amplitudes * (1 - part), minlength=n + 2)
    fine += np.bincount(index + 1, amplitudes * part, minlength=n + 2)
    coarse: NDArray[np.float64] = scipy.signal.resample_poly(fine[:n], 1, OVERSAMPLING)
    return coarse * OVERSAMPLING
