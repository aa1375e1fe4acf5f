"""Recordings to learn from: by speaker, and stretches of them, read when they are needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from openkith.audio.degrade import Samples
from openkith.audio.io import SAMPLE_RATE, load
from openkith.data.corpus import Utterance, load_corpus
from openkith.data.simulation.mixing import SILENT
from openkith.errors import AudioError, ConfigError, NotEnoughDataError

__all__ = ["Crop", "Recordings", "stack", "to_samples"]

SHORTEST = 0.3  # seconds of a stretch that is asked for, and that is read of a recording
MARGIN = 0.001  # seconds read beyond a stretch, for rounding
TRIES = 8  # stretches or files looked at for one that can be used
SAME_FILE = 2  # so many of them in the file that is wanted


def to_samples(name: str, seconds: float) -> int:
    """A length in samples.

    Raises:
        ConfigError: It is too short to be one of speech.
    """
    if not SHORTEST <= seconds < math.inf:
        raise ConfigError(f"{name} is {seconds}; give {SHORTEST:g} seconds or more")
    return round(seconds * SAMPLE_RATE)


class Crop(NamedTuple):
    """A stretch of a recording.

    Attributes:
        samples: As many as were asked for; a shorter recording is repeated.
        replaced: Whether another recording of the same speaker stands in for one that cannot be used.
    """

    samples: Samples
    replaced: bool


class Recordings:
    """Recordings by speaker, of which stretches are read.

    Args:
        utterances: Of at least two speakers.

    Attributes:
        utterances: As given.
        speakers: Names, sorted.
        owners: Of each utterance, the place of its speaker among them, (n,).
        own: Of each speaker, its utterances.

    Raises:
        NotEnoughDataError: Fewer than two speakers.
    """

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = tuple(utterances)
        names, owners = np.unique(np.array([each.speaker for each in utterances], str), return_inverse=True)
        if len(names) < 2:
            raise NotEnoughDataError(f"{len(names)} speakers; training needs recordings of two or more")
        self.speakers: tuple[str, ...] = tuple(names.tolist())
        self.owners: npt.NDArray[np.int64] = owners.astype(np.int64)
        order = np.argsort(self.owners, kind="stable")
        self.own: list[npt.NDArray[np.int64]] = np.split(order, np.cumsum(np.bincount(self.owners))[:-1])

    @classmethod
    def of(cls, corpus: str | Path) -> Recordings:
        """Those of a folder, see `openkith.data.corpus.load_corpus`.

        Raises:
            ManifestError: It is no such folder.
            NotEnoughDataError: Fewer than two speakers.
        """
        return cls(load_corpus(corpus).utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    def split(self, speakers: int, seed: int) -> tuple[Recordings, Recordings | None]:
        """Those to learn from, and those of so many speakers held out, drawn by the seed; None for no speakers.

        Raises:
            NotEnoughDataError: Fewer than two are left on either side.
        """
        if not speakers:
            return self, None
        if speakers < 2 or len(self.speakers) - speakers < 2:
            raise NotEnoughDataError(
                f"held_out is {speakers} of {len(self.speakers)} speakers; hold out none, or two or more, and leave two"
            )
        out = np.zeros(len(self.speakers), bool)
        out[np.random.default_rng([seed, len(out)]).permutation(len(out))[:speakers]] = True
        apart = out[self.owners].tolist()
        pairs = list(zip(self.utterances, apart, strict=True))
        return Recordings([each for each, held in pairs if not held]), Recordings(
            [each for each, held in pairs if held]
        )

    def others(self, index: int, count: int, rng: np.random.Generator) -> list[int]:
        """So many other utterances of an utterance's speaker, different as far as there are; itself if it is alone."""
        own = self.own[self.owners[index]]
        rest = own[own != index]
        return _several(rest if len(rest) else own, count, rng)

    def of_speaker(self, speaker: int, count: int, rng: np.random.Generator) -> list[int]:
        """So many utterances of a speaker, different as far as there are."""
        return _several(self.own[speaker], count, rng)

    def crop(self, index: int, n: int, rng: np.random.Generator) -> Crop:
        """A stretch of n samples from a random place of an utterance.

        One that is silent is drawn again; a recording that cannot be read is replaced by another of the speaker.

        Raises:
            AudioError: None of several can be used; the message is that of the last one.
        """
        last: AudioError | None = None
        for attempt in range(TRIES):
            chosen = index if attempt < SAME_FILE else self.others(index, 1, rng)[0]
            try:
                samples = _stretch(self.utterances[chosen], n, rng)
            except AudioError as error:
                last = error
                continue
            return Crop(samples, chosen != index)
        assert last is not None
        raise last


def _several(utterances: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> list[int]:
    drawn = rng.permutation(len(utterances))[:count].tolist()
    return [int(utterances[drawn[place % len(drawn)]]) for place in range(count)]


def _stretch(utterance: Utterance, n: int, rng: np.random.Generator) -> Samples:
    """Only what is needed is decoded, where the format can seek."""
    place, wanted = float(rng.random()), max(n / SAMPLE_RATE, SHORTEST) + MARGIN
    begin, end = utterance.start, utterance.end
    length = _seconds(utterance)
    if length is not None and length > wanted:
        begin = (begin or 0.0) + place * (length - wanted)
        end = begin + wanted
        place = 0.0
    x = load(utterance.path, start=begin, end=end).samples
    first = int(place * max(0, len(x) - n + 1))
    x = np.resize(x[first : first + n], n)
    if float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) < SILENT:
        raise AudioError(f"{utterance.path}: is silent; remove it")
    return x


def _seconds(utterance: Utterance) -> float | None:
    """How long it is; None where the file does not tell without being decoded."""
    if utterance.end is not None:
        return utterance.end - (utterance.start or 0.0)
    try:
        seconds = float(soundfile.info(str(utterance.path)).duration)
    except (soundfile.SoundFileError, OSError):
        return None
    return seconds - (utterance.start or 0.0) if math.isfinite(seconds) else None


def stack(samples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """A batch: each entry of the samples as a tensor with one row per sample."""
    return {name: torch.from_numpy(np.stack([each[name] for each in samples])) for name in samples[0]}
