"""Clips in which somebody talks alone, in noise, or with another person: what the multi-talker scorer learns from.

The scenarios are those of `openkith.data.simulation`, at one length and cut from random places of longer speech: the
person alone (clean), in noise (noisy), before or after another (concat), overlapping by 10 to 90 % of the clip
(overlap), or all the time (mix); the ratio of the person's energy to the rest is -3 to 3 dB in steps of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.degrade import NOISE_KINDS, NoiseKind, Samples, babble, noise, random_eq
from openkith.audio.speeds import SPEEDS, at_speed
from openkith.data.simulation import SCENARIOS, mixing
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import AudioError, ConfigError, NotEnoughDataError
from openkith.neural_scoring.talker_model import Tokens
from openkith.neural_scoring.tokens import tokens_of_clips

__all__ = [
    "LEAST_SECONDS",
    "MIXTURE_SECONDS",
    "SCENARIOS",
    "TWO_TALKERS",
    "Mixtures",
    "NoiseSource",
    "make_mixtures",
    "mixture",
    "stretch",
]

TWO_TALKERS = ("concat", "overlap", "mix")
MIXTURE_SECONDS = 4.0
ENROLMENT_SECONDS = 4.0
GAP_SECONDS = 0.1  # between a person's enrolment and what is mixed
LEAST_SECONDS = ENROLMENT_SECONDS + GAP_SECONDS + MIXTURE_SECONDS  # of speech of a person
BABBLE_VOICES = (3, 6)
SWELLS_HZ, SWELL_DEPTH = (0.3, 12.0), (0.3, 0.95)
SHAPED_DB = 20.0
_BATCH_CLIPS = 32
LARGEST_SNR_DB = 3.0
SNR_STEP_DB = 0.5
OVERLAP = (0.1, 0.9)  # of the mixture's length

NoiseSource = Callable[[int, np.random.Generator], NDArray[Any]]  # samples to make, generator


def mixture(
    scenario: str,
    person: NDArray[Any],
    other: NDArray[Any],
    noises: Sequence[NoiseSource],
    rng: np.random.Generator,
    seconds: float = MIXTURE_SECONDS,
) -> Samples:
    """One clip of a scenario.

    Args:
        scenario: One of `SCENARIOS`.
        person: Speech of the person (n,), no shorter than the mixture.
        other: Speech of the other talker (m,), likewise; of no effect where there is none.
        noises: One of them is drawn where there is noise.
        rng: Draws all that is random.
        seconds: Length of the mixture.

    Returns:
        (seconds * 16000,) float32, with a peak of 1.

    Raises:
        ConfigError: No such scenario, or noise is called for and there is no source of any.
        AudioError: A talker says too little, or is silent.
    """
    if scenario not in SCENARIOS:
        raise ConfigError(f"scenario {scenario!r} is unknown; use {', '.join(SCENARIOS)}")
    n = round(seconds * SAMPLE_RATE)
    steps = round(LARGEST_SNR_DB / SNR_STEP_DB)
    snr_db = SNR_STEP_DB * float(rng.integers(-steps, steps + 1))
    first = bool(rng.integers(2))
    if scenario == "clean":
        mixed = mixing.plain(stretch(person, n, rng))
    elif scenario == "noisy":
        if not noises:
            raise ConfigError("noise without a source of it; give at least one")
        source = noises[int(rng.integers(len(noises)))]
        mixed = mixing.noisy(stretch(person, n, rng), source(n, rng), snr_db)
    elif scenario == "concat":
        talkers = stretch(person, n // 2, rng), stretch(other, n - n // 2, rng)
        mixed = mixing.concat(*talkers, snr_db, target_first=first)
    elif scenario == "overlap":
        ratio = float(rng.uniform(*OVERLAP))
        each = round(n * (1.0 + ratio) / 2.0)
        mixed = mixing.overlap(
            stretch(person, each, rng), stretch(other, each, rng), snr_db, ratio, target_first=first
        )
    else:
        mixed = mixing.mix(stretch(person, n, rng), stretch(other, n, rng), snr_db)
    return np.asarray(np.resize(mixed.samples, n), np.float32)  # an overlap's length is rounded


def stretch(speech: NDArray[Any], n: int, rng: np.random.Generator) -> NDArray[Any]:
    """So many samples of speech from a random place.

    Raises:
        AudioError: There are fewer.
    """
    if len(speech) < n:
        raise AudioError(
            f"{len(speech) / SAMPLE_RATE:.1f} s of speech, where {n / SAMPLE_RATE:.1f} are needed; give longer clips"
        )
    start = int(rng.integers(len(speech) - n + 1))
    return speech[start : start + n]


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Clips of people of a cohort mixed with one another, and their trials.

    Attributes:
        states: (n, V, w, p, d) float16, the prefix embeddings of each clip's tokens; the last of p is the window.
        times: (w, 2) of the windows, the same in all clips.
        scenarios: (n,) one of `SCENARIOS`.
        enrolments: (m, d) plain embeddings, two of each voice.
        voices: (m,) the voice of each enrolment.
        persons: (m,) whose voice it is, at whatever speed.
        own: (n,) the enrolment that is tested in each clip.
        other: (n,) the enrolment of the second talker; -1 where there is none.
    """

    states: NDArray[np.float16]
    times: NDArray[np.float64]
    scenarios: NDArray[np.str_]
    enrolments: FloatArray
    voices: NDArray[np.int64]
    persons: NDArray[np.int64]
    own: NDArray[np.int64]
    other: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.states)

    def tokens(self, row: int) -> Tokens:
        """The tokens of one clip."""
        states = self.states[row].astype(np.float32)
        return Tokens(states[:, :, -1], states, self.times)

    def windows(self) -> FloatArray:
        """(n, V, w, d) of all clips."""
        return self.states[:, :, :, -1].astype(np.float32)

    def several(self) -> NDArray[np.bool_]:
        """(n,) whether two people talk."""
        return self.other >= 0

    def centroids(self) -> FloatArray:
        """The mean enrolment of each voice."""
        means = [self.enrolments[self.voices == voice].mean(axis=0) for voice in np.unique(self.voices)]
        return np.asarray(np.stack(means), np.float32)

    def labels(self) -> NDArray[np.int8]:
        """(n, m): 1 for the enrolments who talk in a clip, 0 for those of people who do not, -1 for neither.

        Neither are the other enrolment of a voice that talks, which has samples in common with the clip, and the same
        person at another speed.
        """
        talking = np.stack([self.own, self.other], axis=1)  # (n, 2)
        present = self.persons[talking]
        present[self.other < 0, 1] = -1
        neither = np.any(self.persons[None, :, None] == present[:, None, :], axis=2)
        label: NDArray[np.int8] = np.where(neither, -1, 0).astype(np.int8)
        for column in talking.T:
            rows = np.flatnonzero(column >= 0)
            label[rows, column[rows]] = 1
        return label


def make_mixtures(
    encoder: Encoder, people: Sequence[NDArray[np.float32]], per_scenario: int, rng: np.random.Generator
) -> Mixtures:
    """Mixtures of people, each of whom is as many voices as there are `openkith.audio.speeds.SPEEDS`.

    A voice is enrolled by its first and by its last 4 s, and mixed from what is left of either.

    Args:
        encoder: GE2E.
        people: Speech of each; of people who say less than `LEAST_SECONDS` at some speed, that voice is left out.
        per_scenario: Clips of each of `SCENARIOS`.
        rng: Draws all that is random.

    Raises:
        NotEnoughDataError: Fewer than two people say enough.
    """
    voices, persons = [], []
    for person, speech in enumerate(people):
        for speed in SPEEDS:
            voice = at_speed(speech, speed)
            if len(voice) >= LEAST_SECONDS * SAMPLE_RATE:
                voices.append(voice)
                persons.append(person)
    if len(set(persons)) < 2:
        raise NotEnoughDataError(f"fewer than two people say {LEAST_SECONDS:.1f} s; give more speech")
    person_of = np.array(persons)
    head = round(ENROLMENT_SECONDS * SAMPLE_RATE)
    gap = round(GAP_SECONDS * SAMPLE_RATE)
    enrolled = [Audio(part, "<cohort>") for voice in voices for part in (voice[:head], voice[-head:])]
    noises: list[NoiseSource] = [partial(_coloured, kind) for kind in NOISE_KINDS]
    noises += [*(2 * [partial(_babble, people)]), *(4 * [_shaped])]

    def rest(enrolment: int) -> NDArray[np.float32]:
        voice = voices[enrolment // 2]
        return voice[: -head - gap] if enrolment % 2 else voice[head + gap :]

    clips, scenarios, own, others = [], [], [], []
    for scenario in SCENARIOS:
        for i in range(per_scenario):
            target = 2 * (i % len(voices)) + int(rng.integers(2))
            strange = np.flatnonzero(person_of != person_of[target // 2])
            other = 2 * int(rng.choice(strange)) + int(rng.integers(2))
            clips.append(Audio(mixture(scenario, rest(target), rest(other), noises, rng), "<cohort>"))
            scenarios.append(scenario)
            own.append(target)
            others.append(other if scenario in TWO_TALKERS else -1)
    states = []
    for start in range(0, len(clips), _BATCH_CLIPS):
        batch = tokens_of_clips(encoder, clips[start : start + _BATCH_CLIPS])
        states.append(np.stack([tokens.prefixes.astype(np.float16) for tokens in batch]))
    return Mixtures(
        states=np.concatenate(states),
        times=batch[0].times,
        scenarios=np.array(scenarios),
        enrolments=encoder.embed(enrolled),
        voices=np.arange(len(voices)).repeat(2),
        persons=person_of.repeat(2),
        own=np.array(own),
        other=np.array(others),
    )


def _coloured(kind: NoiseKind, n: int, rng: np.random.Generator) -> NDArray[Any]:
    return noise(n, kind, rng)


def _shaped(n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Noise of any spectrum, every other time one that comes and goes."""
    kind = NOISE_KINDS[int(rng.integers(len(NOISE_KINDS)))]
    shaped = random_eq(noise(n, kind, rng), rng, SHAPED_DB)
    if rng.random() < 0.5:
        return shaped
    hz = np.exp(rng.uniform(*np.log(SWELLS_HZ)))
    phase = 2.0 * np.pi * (hz * np.arange(n) / SAMPLE_RATE + rng.random())
    return np.asarray(shaped * (1.0 + rng.uniform(*SWELL_DEPTH) * np.sin(phase)))


def _babble(people: Sequence[NDArray[np.float32]], n: int, rng: np.random.Generator) -> NDArray[Any]:
    count = int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1))
    chosen = rng.choice(len(people), min(count, len(people)), replace=False)
    return babble([people[i] for i in chosen], n, rng)
