"""Short crops of people of a cohort, clean and degraded: what the enhancer that ships learns from.

Each person is also ten more, at other speeds (`openkith.audio.speeds`). Of each voice there are crops of 0.8 to 3 s, a
quarter of them as recorded, the others in noise at 3 to 15 dB, half of those in a room, some over a telephone line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.audio.degrade import (
    NOISE_KINDS,
    Samples,
    add_noise,
    babble,
    noise,
    random_eq,
    resample_through,
    reverberate,
)
from openkith.audio.speeds import SPEEDS, at_speed
from openkith.data.manifest import read_manifest
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import NotEnoughDataError

__all__ = ["CLEAN", "CROPS", "Crops", "make_crops", "negative_people"]

CROPS = 40  # of each voice
CLEAN = 4  # one in so many is as recorded
CROP_SECONDS = (0.8, 3.0)
SNR_DB = (3.0, 15.0)
ROOM_SHARE = 0.5  # of the degraded ones
T60_SECONDS = (0.15, 0.6)
LINE_SHARE = 0.15  # of the degraded ones
LINE_RATE = 8_000
BABBLE_VOICES = (3, 6)
SHAPED_DB = 20.0
SWELLS_HZ, SWELL_DEPTH = (0.3, 12.0), (0.3, 0.95)
LEAST_PEOPLE = 12
_BATCH_CLIPS = 64

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Crops:
    """Embeddings of crops of voices.

    Attributes:
        embeddings: (n, d) float32, of the crops.
        voices: (n,) the voice of each, 0 to V - 1.
        degraded: (n,) False for a crop as recorded.
        wholes: (V, d) float32, the embedding of all of each voice's speech.
        persons: (V,) whose voice it is, at whatever speed.
    """

    embeddings: FloatArray
    voices: NDArray[np.int64]
    degraded: NDArray[np.bool_]
    wholes: FloatArray
    persons: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.embeddings)


def negative_people(manifest: str | Path) -> list[list[Audio]]:
    """Clips of each person whose rows in a manifest have the role negative, people in the order of their names.

    Raises:
        ManifestError: The manifest is malformed.
        AudioError: A recording cannot be read.
    """
    people: dict[str, list[Audio]] = {}
    for row in read_manifest(manifest).rows:
        if row.role == "negative":
            people.setdefault(row.speaker, []).append(load(row.path, start=row.start, end=row.end))
    return [people[name] for name in sorted(people)]


def make_crops(
    encoder: Encoder,
    people: Sequence[Sequence[Audio]],
    *,
    speeds: Sequence[float] = SPEEDS,
    per_voice: int = CROPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Crops:
    """Cut, degrade and embed.

    Args:
        encoder: Any encoder.
        people: Clips of each person, alone and without noise; 10 s of speech is enough. Of people who say less than
            3 s at some speed, that voice is left out.
        speeds: Each makes a voice of each person.
        per_voice: Crops of each voice.
        seed: Of everything random.
        progress: Called with what is being done, people done and people in all.

    Raises:
        NotEnoughDataError: Fewer than 12 people say enough.
    """
    speech = [
        np.concatenate([np.zeros(0, np.float32), *(trim_silence(clip).samples for clip in own)])
        for own in people
    ]
    least = round(CROP_SECONDS[1] * SAMPLE_RATE)
    enough = sum(len(own) >= max(speeds) * least for own in speech)
    if enough < LEAST_PEOPLE:
        raise NotEnoughDataError(
            f"{enough} people of the cohort say {max(speeds) * CROP_SECONDS[1]:.1f} s or more; "
            f"give {LEAST_PEOPLE} or more"
        )
    embeddings, wholes, persons = [], [], []
    for person, own in enumerate(speech):
        if progress:
            progress("crops of the cohort", person, len(speech))
        voices = [voice for speed in speeds if len(voice := at_speed(own, speed)) >= least]
        if not voices:
            continue
        rng = np.random.default_rng([seed, person])
        others = [voice for other, voice in enumerate(speech) if other != person and len(voice)]
        crops = [crop for voice in voices for crop in _crops(voice, per_voice, others, rng)]
        embeddings.append(_embed(encoder, crops))
        wholes.append(_embed(encoder, voices))
        persons += [person] * len(voices)
    n = len(persons)
    return Crops(
        embeddings=np.concatenate(embeddings),
        voices=np.arange(n).repeat(per_voice),
        degraded=np.tile(np.arange(per_voice) % CLEAN > 0, n),
        wholes=np.concatenate(wholes),
        persons=np.array(persons),
    )


def _crops(
    voice: Samples, count: int, others: Sequence[Samples], rng: np.random.Generator
) -> Iterator[Samples]:
    for number in range(count):
        n = round(rng.uniform(*CROP_SECONDS) * SAMPLE_RATE)
        start = int(rng.integers(len(voice) - n + 1))
        crop = voice[start : start + n]
        yield _degraded(crop, others, rng) if number % CLEAN else crop


def _degraded(crop: Samples, others: Sequence[Samples], rng: np.random.Generator) -> Samples:
    if rng.random() < ROOM_SHARE:
        crop = reverberate(crop, rng, rng.uniform(*T60_SECONDS))
    noisy = add_noise(crop, _noise(len(crop), others, rng), rng.uniform(*SNR_DB))
    return resample_through(noisy, LINE_RATE) if rng.random() < LINE_SHARE else noisy


def _noise(n: int, others: Sequence[Samples], rng: np.random.Generator) -> NDArray[Any]:
    """Noise of one of the colours, of any spectrum, or of several of the others talking at once."""
    kind = int(rng.integers(len(NOISE_KINDS) + 2))
    if kind < len(NOISE_KINDS):
        return noise(n, NOISE_KINDS[kind], rng)
    if kind > len(NOISE_KINDS):
        count = int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1))
        chosen = rng.choice(len(others), min(count, len(others)), replace=False)
        return babble([others[i] for i in chosen], n, rng)
    shaped = random_eq(noise(n, NOISE_KINDS[int(rng.integers(len(NOISE_KINDS)))], rng), rng, SHAPED_DB)
    if rng.random() < 0.5:
        return shaped
    hz = np.exp(rng.uniform(*np.log(SWELLS_HZ)))
    phase = 2.0 * np.pi * (hz * np.arange(n) / SAMPLE_RATE + rng.random())
    return np.asarray(shaped * (1.0 + rng.uniform(*SWELL_DEPTH) * np.sin(phase)))


def _embed(encoder: Encoder, clips: Sequence[Samples]) -> FloatArray:
    audio = [Audio(np.asarray(clip, np.float32), "<cohort>") for clip in clips]
    batches = [audio[first : first + _BATCH_CLIPS] for first in range(0, len(audio), _BATCH_CLIPS)]
    return np.concatenate([encoder.embed(batch) for batch in batches])
