"""Augmentation: ready mixtures of degradations, by name, that make copies of an enrolment clip.

A head that is tuned on copies of three clean clips knows its people in a room, over a telephone and in half a
second too. The single steps (`noise`, `reverberate`, ...) are those of `openkith.audio.degrade`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.audio.degrade import (
    NOISE_KINDS,
    NoiseKind,
    Samples,
    add_noise,
    babble,
    band_limit,
    crop,
    gain,
    match_level,
    noise,
    random_eq,
    resample_through,
    reverberate,
    spectral_tilt,
)
from openkith.audio.io import SAMPLE_RATE
from openkith.errors import AudioError, ConfigError

__all__ = [
    "CONDITIONS",
    "GROUPS",
    "NOISE_KINDS",
    "Condition",
    "add_noise",
    "babble",
    "band_limit",
    "crop",
    "gain",
    "make_copies",
    "match_level",
    "noise",
    "random_eq",
    "resample_through",
    "reverberate",
    "spectral_tilt",
]

GROUPS = ("clean", "white", "pink", "brown", "speech", "room", "band", "short-band", "short")
"""The kinds of condition: copies of one group stand for the same situation, and can be weighted as one."""


@dataclass(frozen=True)
class Condition:
    """A way to make a degraded copy of a clip.

    Attributes:
        name: Its key in `CONDITIONS`; also seeds its generator.
        group: One of `GROUPS`.
        function: (samples float64 (n,), generator) -> samples (m,).
    """

    name: str
    group: str
    function: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ConfigError(
                f"condition {self.name!r}: group {self.group!r} is unknown; use {', '.join(GROUPS)}"
            )


CLEAN_SECONDS = 10.0
CROP_SECONDS = 3.0


def _clean(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:  # noqa: ARG001  (all alike)
    return x[: round(CLEAN_SECONDS * SAMPLE_RATE)]


def _equalised(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return gain(random_eq(crop(x, rng, CROP_SECONDS), rng), rng.uniform(-6, 6))


def _noisy(
    kind: NoiseKind, low_db: float, high_db: float, seconds: float = CROP_SECONDS
) -> Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]:
    def function(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return _with_noise(crop(x, rng, seconds), kind, rng.uniform(low_db, high_db), rng)

    return function


def _with_noise(x: NDArray[Any], kind: NoiseKind, snr_db: float, rng: np.random.Generator) -> NDArray[Any]:
    """Speech and noise at the RMS of the speech alone, as automatic gain would record them."""
    return match_level(add_noise(x, noise(len(x), kind, rng), snr_db), x)


def _room(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return reverberate(crop(x, rng, CROP_SECONDS), rng, rng.uniform(0.15, 0.6), rng.uniform(-9, 5))


def _strong_room(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    wet = reverberate(crop(x, rng, CROP_SECONDS), rng, rng.uniform(0.2, 0.9), rng.uniform(-12, 4))
    return _with_noise(wet, "pink", rng.uniform(15, 30), rng)


def _narrow(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """4 kHz of bandwidth; every other time the band of a telephone."""
    y = resample_through(x)
    return band_limit(y, 200, 3600, order=2) if rng.random() < 0.5 else y


def _phone(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    line = band_limit(crop(x, rng, CROP_SECONDS), rng.uniform(200, 350), rng.uniform(3200, 3700))
    return _with_noise(line, "pink", rng.uniform(14, 28), rng)


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("clean", "clean", _clean),
        Condition("crop3", "clean", lambda x, rng: crop(x, rng, CROP_SECONDS)),
        Condition("eq", "clean", _equalised),
        Condition("white", "white", _noisy("white", 0, 15)),
        Condition("pink", "pink", _noisy("pink", 0, 15)),
        Condition("pink2", "pink", _noisy("pink", 0, 15, seconds=2.0)),
        Condition("brown", "brown", _noisy("brown", -3, 12)),
        Condition("speech", "speech", _noisy("speech", 0, 15)),
        Condition("room", "room", _room),
        Condition("room2", "room", _strong_room),
        Condition("band4k", "band", lambda x, rng: _narrow(crop(x, rng, CROP_SECONDS), rng)),
        Condition("phone", "band", _phone),
        Condition(
            "band4k-short", "short-band", lambda x, rng: _narrow(crop(x, rng, rng.uniform(0.2, 0.8)), rng)
        ),
        Condition("short", "short", lambda x, rng: crop(x, rng, rng.uniform(0.35, 0.9))),
        Condition(
            "short2", "short", lambda x, rng: gain(crop(x, rng, rng.uniform(0.5, 1.2)), rng.uniform(-6, 6))
        ),
        Condition("short3", "short", lambda x, rng: crop(x, rng, 1.5)),
    )
}
"""The conditions by name, in the order of `GROUPS`. A copy has the RMS of the stretch that was cut from the
clip, except that eq and short2 change the level by up to 6 dB."""


def make_copies(samples: NDArray[Any], conditions: Sequence[str], seed: int) -> list[Samples]:
    """Degraded copies of a clip, one for each name.

    Each copy is drawn from a generator of its own, seeded by the seed, the condition's name and how often the
    name came before: another condition in the list changes no other copy, and a name given twice gives two
    different copies. Give each clip its own seed (its SHA-256 as an integer will do), or all clips get the
    same noise.

    Args:
        samples: Speech (n,) float32 at 16 kHz.
        conditions: Keys of `CONDITIONS`.
        seed: Any integer from 0 up.

    Returns:
        One float32 array per name, in their order; lengths differ.

    Raises:
        ConfigError: A name is unknown, or the seed is negative.
        AudioError: The samples are empty, not one-dimensional, or not finite.
    """
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise AudioError(
            f"samples of shape {x.shape}: give one channel of finite samples, (n,) with n above 0"
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give an integer from 0 up")
    copies: list[Samples] = []
    for index, name in enumerate(conditions):
        if name not in CONDITIONS:
            raise ConfigError(f"condition {name!r} is unknown; use {', '.join(CONDITIONS)}")
        before = list(conditions[:index]).count(name)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), before])
        copies.append(CONDITIONS[name].function(x, rng).astype(np.float32))
    return copies
