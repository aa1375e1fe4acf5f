"""Training samples of neural scoring: stretches of recordings, augmented and mixed when they are needed.

Lin et al., arXiv 2410.16428: of the test utterances of multi-scenario training 70 % are mixed with a second talker (a
third each overlap in part, overlap in whole, and follow each other), 10 % with noise at -3 to 3 dB, 20 % stay as they
are; all but those with noise are augmented with a probability of 0.6, by noise or a room. How two signals are mixed is
`openkith.data.simulation.mixing`, as for test sets. Left open by the paper, and chosen here: the levels of
augmentation (those that are usual on VoxCeleb, Snyder et al., "X-vectors", ICASSP 2018), where one talker follows the
other, and that a mixture is augmented as a whole.

Whatever is random is drawn from the generator that a sample is given, so that a sample does not depend on what was made
before it, or by which process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from openkith.audio.degrade import Samples, add_noise, babble, noise
from openkith.audio.noise_folders import NoiseFolderKind, NoiseTree
from openkith.audio.rooms import convolve, draw_room, room_response
from openkith.data.simulation.mixing import concat, mix, noisy, overlap
from openkith.data.simulation.planning import GENERATED, SNR_STEPS
from openkith.errors import AudioError, ConfigError
from openkith.neural_scoring.network import log_mel
from openkith.neural_scoring.recordings import Crop, Recordings
from openkith.neural_scoring.trials import NO_TALKER

__all__ = ["MixtureConfig", "Noises", "Sample", "TrialSamples"]

AUGMENTED_DB: dict[NoiseFolderKind, tuple[float, float]] = {
    "noise": (0.0, 15.0),
    "music": (5.0, 15.0),
    "speech": (13.0, 20.0),
}
TALKERS = (3, 7)  # of speech as noise: files added up
TRIES = 8  # files of noise looked at for one that can be used
TWO_TALKERS = ("overlap", "mix", "concat")

Neighbours = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class MixtureConfig:
    """What becomes of test utterances in training; the defaults are the paper's, of multi-scenario training.

    Attributes:
        mixed: Share with a second talker, a third each overlapping in part, overlapping in whole, and concatenated.
        noisy: Share with noise. What is left stays plain.
        augment: With which probability others than those with noise are augmented.
        snr: The least and the largest ratio of the talker to noise or to the second talker, in dB; drawn in steps of
            0.5.
        overlap: The least and the largest share of the utterance in which both talk, where they overlap in part.
        first_part: The least and the largest share that the first of two talkers has, where they are concatenated.

    Raises:
        ConfigError: A value is out of range.
    """

    mixed: float = 0.7
    noisy: float = 0.1
    augment: float = 0.6
    snr: tuple[float, float] = (-3.0, 3.0)
    overlap: tuple[float, float] = (0.1, 0.9)
    first_part: tuple[float, float] = (0.3, 0.7)

    def __post_init__(self) -> None:
        for name in ("mixed", "noisy", "augment"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share from 0 to 1")
        if self.mixed + self.noisy > 1 + 1e-9:
            raise ConfigError(
                f"mixed and noisy are {self.mixed} and {self.noisy}; give shares of 1 together at most"
            )
        for name in ("snr", "overlap", "first_part"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ConfigError(f"{name} is {[low, high]}; give two numbers, the smaller one first")
        for name in ("overlap", "first_part"):
            if not 0 < getattr(self, name)[0] <= getattr(self, name)[1] < 1:
                raise ConfigError(f"{name} is {list(getattr(self, name))}; give shares between 0 and 1")
        if math.ceil(SNR_STEPS * self.snr[0]) > math.floor(SNR_STEPS * self.snr[1]):
            raise ConfigError(f"snr is {list(self.snr)}, and no step of 0.5 is in it; give a wider range")


class Noises:
    """Noise and rooms: those of a folder, or, without one, generated.

    Args:
        tree: Noise, music, speech and impulse responses, as MUSAN and RIRS_NOISES have them.
    """

    def __init__(self, tree: NoiseTree | None = None) -> None:
        self._tree = tree
        kinds = ("noise", "response") if tree is None else tree.kinds
        self._kinds: tuple[NoiseFolderKind, ...] = kinds
        self._sounds = tuple(kind for kind in kinds if kind != "response")

    def check(self, config: MixtureConfig) -> None:
        """Make sure that there is noise where it is asked for.

        Raises:
            ConfigError: The folder has nothing but impulse responses.
        """
        if config.noisy and not self._sounds:
            assert self._tree is not None
            raise ConfigError(
                f"{self._tree.root}: no noise, music or speech in it; give another folder, or noisy=0"
            )

    def noise(self, n: int, rng: np.random.Generator) -> Samples:
        """Noise (n,), of any kind there is."""
        return self._sound(self._sounds[int(rng.integers(len(self._sounds)))], n, rng)

    def augment(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """The same speech with noise, or in a room, every kind there is with the same probability."""
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        if kind == "response":
            return convolve(samples, self._response(rng))
        snr = float(rng.uniform(*AUGMENTED_DB[kind]))
        return add_noise(samples, self._sound(kind, len(samples), rng), snr)

    def _sound(self, kind: NoiseFolderKind, n: int, rng: np.random.Generator) -> Samples:
        if self._tree is None:
            colours = list(GENERATED.values())
            return noise(n, colours[int(rng.integers(len(colours)))], rng)
        if kind != "speech":
            return self._drawn(kind, n, rng)
        count = int(rng.integers(TALKERS[0], TALKERS[1] + 1))
        return babble([self._drawn(kind, n, rng) for _ in range(count)], n, rng)

    def _drawn(self, kind: NoiseFolderKind, n: int, rng: np.random.Generator) -> Samples:
        assert self._tree is not None
        for _ in range(TRIES - 1):
            try:
                return self._tree.draw(kind, n, rng)
            except AudioError:  # another file will do
                continue
        return self._tree.draw(kind, n, rng)

    def _response(self, rng: np.random.Generator) -> Samples:
        if self._tree is None:
            return room_response(draw_room(rng), rng)
        for _ in range(TRIES - 1):
            try:
                return self._tree.draw_response(rng)
            except AudioError:
                continue
        return self._tree.draw_response(rng)


class Sample(NamedTuple):
    """What one place of a batch of trials has.

    Attributes:
        enrolment: Samples of the speaker.
        test: Samples in which the speaker talks.
        extra: Samples of a further enrolment, of the second talker, or, where there is none, of the speaker.
        speaker: Its place among the names.
        second: That of the second talker; `NO_TALKER` for nobody.
        scenario: plain, noisy, overlap, mix or concat.
        replaced: Recordings that others stand in for.
    """

    enrolment: Samples
    test: Samples
    extra: Samples
    speaker: int
    second: int
    scenario: str
    replaced: int


class TrialSamples:
    """Enrolments and test utterances to learn scoring from: a data set.

    A row is the enrolment; the others are drawn: another utterance of its speaker, and, for a mixture, two of a person
    who sounds like the speaker, one to be mixed in and one to enrol.

    Args:
        recordings: To learn from.
        enrolment, test: Lengths, in samples.
        config: What becomes of test utterances.
        noises: What they are mixed and augmented with.
        neighbours: Of each speaker, those who sound alike; see `openkith.neural_scoring.mining.hard_speakers`. Where
            there are none, anybody is mixed in.

    Raises:
        ConfigError: There is no noise where it is asked for.
    """

    def __init__(
        self,
        recordings: Recordings,
        enrolment: int,
        test: int,
        config: MixtureConfig = MixtureConfig(),
        noises: Noises | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._recordings, self._config = recordings, config
        self._lengths = enrolment, test
        self._noises = noises or Noises()
        self._noises.check(config)
        places = {name: place for place, name in enumerate(recordings.speakers)}
        self._close = [
            [places[other] for other in (neighbours or {}).get(name, ()) if other in places and other != name]
            for name in recordings.speakers
        ]

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The sample of a row that is always the same."""
        return self.draw(row, np.random.default_rng(row))

    def draw(self, row: int, rng: np.random.Generator) -> dict[str, Any]:
        """The features of `sample`, and who talks."""
        made = self.sample(row, rng)
        features = {"enrolments": log_mel(made.enrolment), "tests": log_mel(made.test)}
        if self._config.mixed:
            features["extras"] = log_mel(made.extra)
        return {**features, "speakers": made.speaker, "second": made.second, "replaced": made.replaced}

    def sample(self, row: int, rng: np.random.Generator) -> Sample:
        """An enrolment, a test utterance and a further enrolment."""
        recordings, n = self._recordings, self._lengths[0]
        speaker, second = int(recordings.owners[row]), NO_TALKER
        test, spare = recordings.others(row, 2, rng)
        scenario = self._scenario(float(rng.random()), float(rng.random()))
        enrolment = recordings.crop(row, n, rng)
        crops = [enrolment]
        if scenario in TWO_TALKERS:
            second = self._second(speaker, rng)
            other, spare = recordings.of_speaker(second, 2, rng)
            samples, used = self._two(scenario, test, other, rng)
            crops += used
        else:
            crops.append(recordings.crop(test, self._lengths[1], rng))
            samples = crops[-1].samples
        if scenario == "noisy":
            added = self._noises.noise(len(samples), rng)
            samples = noisy(samples, added, self._snr(rng)).samples.astype(np.float32)
        elif rng.random() < self._config.augment:
            samples = self._noises.augment(samples, rng)
        extra = enrolment
        if self._config.mixed:
            extra = recordings.crop(spare, n, rng)
            crops.append(extra)
        replaced = sum(crop.replaced for crop in crops)
        return Sample(enrolment.samples, samples, extra.samples, speaker, second, scenario, replaced)

    def _scenario(self, place: float, which: float) -> str:
        if place < self._config.mixed:
            return TWO_TALKERS[int(which * len(TWO_TALKERS))]
        return "noisy" if place < self._config.mixed + self._config.noisy else "plain"

    def _second(self, speaker: int, rng: np.random.Generator) -> int:
        """Somebody who sounds like a speaker; anybody else where nobody is known to."""
        close = self._close[speaker]
        if close:
            return close[int(rng.integers(len(close)))]
        other = int(rng.integers(len(self._recordings.speakers) - 1))
        return other + (other >= speaker)

    def _two(
        self, scenario: str, test: int, other: int, rng: np.random.Generator
    ) -> tuple[Samples, list[Crop]]:
        """Two talkers in as many samples as a test utterance has."""
        length, config = self._lengths[1], self._config
        snr, first = self._snr(rng), bool(rng.random() < 0.5)
        ratio, part = float(rng.uniform(*config.overlap)), float(rng.uniform(*config.first_part))
        n = m = length
        if scenario == "overlap":
            n = m = math.ceil(length * (1 + ratio) / 2)  # of which length x ratio are both's
        elif scenario == "concat":
            n = max(1, round(length * (part if first else 1 - part)))
            m = length - n
        x, y = self._recordings.crop(test, n, rng), self._recordings.crop(other, m, rng)
        if scenario == "overlap":
            mixture = overlap(x.samples, y.samples, snr, ratio, target_first=first)
        elif scenario == "concat":
            mixture = concat(x.samples, y.samples, snr, target_first=first)
        else:
            mixture = mix(x.samples, y.samples, snr)
        return np.resize(mixture.samples[:length], length).astype(np.float32), [x, y]

    def _snr(self, rng: np.random.Generator) -> float:
        low, high = (SNR_STEPS * edge for edge in self._config.snr)
        return int(rng.integers(math.ceil(low), math.floor(high) + 1)) / SNR_STEPS
