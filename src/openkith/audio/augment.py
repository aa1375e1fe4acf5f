"""Augmentation: ready mixtures of degradations, by name, that make copies of an enrolment clip.

A head that is tuned on copies of three clean clips knows its people in a room, over a telephone and in half a
second too. The single steps (`noise`, `reverberate`, ...) are those of `openkith.audio.degrade`.

`CONDITIONS` are what every clip is copied in; the cohort that ships holds copies made by them, so that none of them
ever changes. `MORE_CONDITIONS` (rooms by image sources, short expressive speech) and those of a user's folders
(`folder_conditions`) are added to a call of `make_copies` by ``extra``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from openkith.audio.expression import express
from openkith.audio.io import SAMPLE_RATE
from openkith.audio.noise_folders import NoiseFolderKind, NoiseTree
from openkith.audio.rooms import convolve, draw_room, room_response
from openkith.errors import AudioError, ConfigError

__all__ = [
    "CONDITIONS",
    "GROUPS",
    "MORE_CONDITIONS",
    "NOISE_KINDS",
    "Condition",
    "add_noise",
    "babble",
    "band_limit",
    "crop",
    "express",
    "folder_conditions",
    "gain",
    "make_copies",
    "match_level",
    "noise",
    "random_eq",
    "resample_through",
    "reverberate",
    "spectral_tilt",
]

GROUPS = ("clean", "white", "pink", "brown", "speech", "room", "band", "short-band", "short", "expressive")
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
EXPRESSIVE_SECONDS = 2.5  # before the tempo changes: 1.9 to 3.3 after
EXPRESSIVE_NOISE: tuple[NoiseKind, ...] = ("white", "pink", "speech")


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


def _short_narrow(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return _narrow(crop(x, rng, rng.uniform(0.2, 0.8)), rng)


def _expressive(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return express(crop(x, rng, EXPRESSIVE_SECONDS), rng)


def _noisy_expressive(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    said = _expressive(x, rng)
    kind = EXPRESSIVE_NOISE[int(rng.integers(len(EXPRESSIVE_NOISE)))]
    return _with_noise(said, kind, rng.uniform(5, 20), rng)


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
        Condition("band4k-short", "short-band", _short_narrow),
        Condition("short", "short", lambda x, rng: crop(x, rng, rng.uniform(0.35, 0.9))),
        Condition(
            "short2", "short", lambda x, rng: gain(crop(x, rng, rng.uniform(0.5, 1.2)), rng.uniform(-6, 6))
        ),
        Condition("short3", "short", lambda x, rng: crop(x, rng, 1.5)),
        Condition("expressive", "expressive", _expressive),
        Condition("expressive2", "expressive", _expressive),
        Condition("expressive-noisy", "pink", _noisy_expressive),
        Condition("band4k-short2", "short-band", _short_narrow),
    )
}
"""The conditions by name; a new one comes last, so that the order of the others stays. A copy has the RMS of the
stretch that was cut from the clip, except that eq and short2 change the level by up to 6 dB. No copy is longer than
the clip, except that expressive ones have a tempo of their own: up to a third more."""


def _shoebox(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    y = crop(x, rng, CROP_SECONDS)
    return convolve(y, room_response(draw_room(rng), rng))


def _noisy_shoebox(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return _with_noise(_shoebox(x, rng), "pink", rng.uniform(10, 25), rng)


MORE_CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("shoebox", "room", _shoebox),
        Condition("shoebox2", "room", _noisy_shoebox),
        Condition(
            "expressive-short", "short", lambda x, rng: express(crop(x, rng, rng.uniform(0.5, 1.2)), rng)
        ),
    )
}
"""Conditions to give as ``extra``: a box-shaped room by image sources, the same with noise, and a word or two of the
same person in another mood. The RMS is that of the stretch."""

MUSAN_SNR_DB: dict[NoiseFolderKind, tuple[float, float]] = {
    "noise": (0.0, 15.0),
    "music": (5.0, 15.0),
    "speech": (13.0, 20.0),
}
"""Signal-to-noise ratios (dB) as in D. Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition",
2018."""
BABBLE_VOICES = (3, 7)
FOLDER_GROUPS: dict[NoiseFolderKind, str] = {
    "noise": "pink",
    "music": "pink",
    "speech": "speech",
    "response": "room",
}


def folder_conditions(
    tree: NoiseTree, groups: Mapping[NoiseFolderKind, str] | None = None
) -> dict[str, Condition]:
    """Conditions that mix in a user's noise, music and talk, or put speech into a user's rooms.

    Args:
        tree: What `openkith.audio.noise_folders.load_noise_tree` gave.
        groups: Kind of files -> group of the condition, where it is not to be pink for noise and music, speech for
            talk and room for responses.

    Returns:
        ``folder-noise`` (0 to 15 dB), ``folder-music`` (5 to 15 dB), ``folder-speech`` (3 to 7 voices at 13 to 20 dB)
        and ``folder-room``, as far as the folder has files of them, to give to `make_copies` as ``extra``.

    Raises:
        ConfigError: A group is unknown.
    """

    def mixed(kind: NoiseFolderKind, x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        y = crop(x, rng, CROP_SECONDS)
        voices = int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1)) if kind == "speech" else 1
        mixture = np.sum([tree.draw(kind, len(y), rng) for _ in range(voices)], axis=0)
        return match_level(add_noise(y, mixture, rng.uniform(*MUSAN_SNR_DB[kind])), y)

    def in_room(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        return convolve(crop(x, rng, CROP_SECONDS), tree.draw_response(rng))

    group = {**FOLDER_GROUPS, **(groups or {})}
    conditions = [
        Condition(f"folder-{kind}", group[kind], partial(mixed, kind))
        for kind in tree.kinds
        if kind != "response"
    ]
    if "response" in tree.kinds:
        conditions.append(Condition("folder-room", group["response"], in_room))
    return {condition.name: condition for condition in conditions}


def make_copies(
    samples: NDArray[Any],
    conditions: Sequence[str],
    seed: int,
    *,
    extra: Mapping[str, Condition] | None = None,
) -> list[Samples]:
    """Degraded copies of a clip, one for each name.

    Each copy is drawn from a generator of its own, seeded by the seed, the condition's name and how often the
    name came before: another condition in the list changes no other copy, and a name given twice gives two
    different copies. Give each clip its own seed (its SHA-256 as an integer will do), or all clips get the
    same noise.

    Args:
        samples: Speech (n,) float32 at 16 kHz.
        conditions: Keys of `CONDITIONS` or of ``extra``.
        seed: Any integer from 0 up.
        extra: More conditions by name: `MORE_CONDITIONS`, those of `folder_conditions`, or others. They change no copy
            of `CONDITIONS`.

    Returns:
        One float32 array per name, in their order; lengths differ.

    Raises:
        ConfigError: A name is unknown, or stands for two conditions, or the seed is negative.
        AudioError: The samples are empty, not one-dimensional, or not finite; or a file of a user's folder is not
            usable.
    """
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise AudioError(
            f"samples of shape {x.shape}: give one channel of finite samples, (n,) with n above 0"
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give an integer from 0 up")
    known = {**CONDITIONS, **(extra or {})}
    for name in CONDITIONS:
        if known[name] is not CONDITIONS[name]:
            raise ConfigError(f"condition {name!r} is one that ships; give yours another name")
    copies: list[Samples] = []
    for index, name in enumerate(conditions):
        if name not in known:
            raise ConfigError(f"condition {name!r} is unknown; use {', '.join(known)}")
        before = list(conditions[:index]).count(name)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), before])
        copies.append(known[name].function(x, rng).astype(np.float32))
    return copies
