"""Hard speakers: who sounds like whom, and batches in which such people meet (Lin et al., arXiv 2410.16428).

The dictionary has for each speaker the others whose mean embeddings are closest by cosine. The sampler fills batches
with groups of such people, so that the enrolments a test utterance is asked about are hard to tell apart.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.scoring.base import class_sums, normalise

__all__ = [
    "Draw",
    "HardSpeakerSampler",
    "hard_speakers",
    "load_hard_speakers",
    "mean_embeddings",
    "save_hard_speakers",
]

TOP = 100  # neighbours of a speaker
GROUP = 8  # people who sound alike, side by side in a batch
CHUNK = 512  # speakers compared with all others at a time: 20 MB of cosines for 10 000 speakers

FloatArray = npt.NDArray[np.float32]
Neighbours = Mapping[str, Sequence[str]]


class Draw(NamedTuple):
    """What one place of a batch is made of, as indices of utterances.

    Attributes:
        enrolment: Of the speaker whose turn it is.
        test: Another of the same speaker, if there is one.
        spare: One more of the same speaker, for the extra enrolment of a test utterance that is not mixed.
        second: Of a person who sounds like the speaker, to be mixed in.
        second_enrolment: Another of that person, for the extra enrolment of a mixed test utterance.
    """

    enrolment: int
    test: int
    spare: int
    second: int
    second_enrolment: int


def mean_embeddings(embeddings: npt.ArrayLike, speakers: Sequence[str]) -> tuple[list[str], FloatArray]:
    """The mean of each speaker's L2-normalised embeddings.

    Args:
        embeddings: Shape (n, d).
        speakers: Whose each is, n names.

    Returns:
        Names, sorted (S), and means (S, d).

    Raises:
        InputError: Not one name per embedding.
    """
    vectors = np.asarray(embeddings, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(speakers):
        raise InputError(
            f"embeddings have shape {vectors.shape} for {len(speakers)} names; give (n, d) and n"
        )
    names, owners = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    sums = class_sums(normalise(vectors), owners, n_classes=len(names))
    counts = np.bincount(owners, minlength=len(names)).astype(np.float32)
    return names.tolist(), np.divide(sums, counts[:, None], dtype=np.float32)


def hard_speakers(
    names: Sequence[str], means: npt.ArrayLike, top: int = TOP, *, chunk: int = CHUNK
) -> dict[str, list[str]]:
    """For each speaker, the others with the closest mean embedding, the closest first.

    Cosines are computed for ``chunk`` speakers at a time: memory grows with the number of speakers, not its square.

    Args:
        names: S of them, all different.
        means: Shape (S, d).
        top: How many others; all of them where there are fewer.
        chunk: Speakers at a time; no result depends on it.

    Raises:
        InputError: Names and means do not go together, a name is there twice, a mean is not finite, or ``top`` or
            ``chunk`` is below 1.
    """
    vectors = np.asarray(means, np.float32)
    count = len(names)
    if vectors.ndim != 2 or len(vectors) != count:
        raise InputError(f"means have shape {vectors.shape} for {count} names; give one per name")
    if len(set(names)) != count:
        raise InputError("a speaker's name is there twice; give one mean per speaker")
    if not np.isfinite(vectors).all():
        raise InputError("a mean embedding is not finite; embed the speaker's utterances again")
    for option, value in (("top", top), ("chunk", chunk)):
        if value < 1:
            raise InputError(f"{option} is {value}; give 1 or more")
    unit, top = normalise(vectors), min(top, count - 1)
    result: dict[str, list[str]] = {}
    for first in range(0, count, chunk):
        cosines = unit[first : first + chunk] @ unit.T  # (chunk, S)
        rows = np.arange(len(cosines))
        cosines[rows, first + rows] = -np.inf
        closest = np.argpartition(-cosines, min(top, count - 1), axis=1)[:, :top]
        closest.sort(axis=1)  # of two that are equally close, the first by order
        order = np.argsort(-np.take_along_axis(cosines, closest, axis=1), axis=1, kind="stable")
        for row, others in enumerate(np.take_along_axis(closest, order, axis=1).tolist(), start=first):
            result[names[row]] = [names[other] for other in others]
    return result


def save_hard_speakers(path: str | Path, neighbours: Neighbours) -> None:
    """Write the dictionary: JSON (speaker to list), or, for the suffix ``.tsv``, a line per speaker, the closest first.

    Raises:
        InputError: The file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".tsv":
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(["speaker", "closest"])
                writer.writerows([speaker, *others] for speaker, others in neighbours.items())
            else:
                json.dump({speaker: list(others) for speaker, others in neighbours.items()}, file)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another file") from error


def load_hard_speakers(path: str | Path) -> dict[str, list[str]]:
    """The dictionary that `save_hard_speakers` wrote.

    Raises:
        InputError: No such file, or another one.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".tsv":
                header, *lines = csv.reader(file, delimiter="\t")
                if header[:1] != ["speaker"]:
                    raise InputError(f"{path}: no column speaker; give a dictionary of hard speakers")
                return {line[0]: line[1:] for line in lines if line}
            content: Any = json.load(file)
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); give a dictionary of hard speakers") from error
    if not isinstance(content, dict) or not all(
        isinstance(others, list) and all(isinstance(other, str) for other in others)
        for others in content.values()
    ):
        raise InputError(f"{path}: not lists of speakers by speaker; give a dictionary of hard speakers")
    return content


class HardSpeakerSampler:
    """Batches of people who sound alike, each person equally often, the same for one process and for many.

    An epoch is rounds in each of which every speaker has one turn. A round is groups: a speaker drawn at random, and
    some of the closest who have not had their turn. Rounds follow each other and are cut into batches; what is left
    over at the end of an epoch is dropped, so two speakers' turns in an epoch differ by one at most.

    With P processes, each takes ``batch_size`` places of every P x ``batch_size``: put together, rank after rank, the
    batches of P processes are those of one with P times the batch size.

    It is a batch sampler for torch's ``DataLoader``: it yields lists of `Draw`, which the data set gets as index.

    Args:
        speakers: Whose each utterance of the data set is.
        neighbours: Of each speaker, the closest first; see `hard_speakers`. Those of whom there are no utterances, or
            about whom it says nothing, are passed over: such people meet by chance.
        batch_size: Places in a batch of one process.
        seed: Two samplers of one seed give the same epochs.
        turns: Of each speaker in an epoch; default: the mean number of utterances.
        group: People who sound alike, side by side.
        rank, world_size: Which of how many processes this is.

    Raises:
        ConfigError: An option is out of its range.
        NotEnoughDataError: Fewer than two speakers, or an epoch has not even one batch.
    """

    def __init__(
        self,
        speakers: Sequence[Hashable],
        neighbours: Mapping[Any, Sequence[Hashable]],
        batch_size: int,
        *,
        seed: int = 0,
        turns: int | None = None,
        group: int = GROUP,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        options = {"batch_size": batch_size, "group": group, "world_size": world_size}
        for name, value in {**options, "turns": 1 if turns is None else turns}.items():
            if value < 1:
                raise ConfigError(f"{name} is {value}; give 1 or more")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank is {rank}; give 0 to {world_size - 1}")
        owners: dict[Hashable, int] = {}
        utterances: list[list[int]] = []
        for index, speaker in enumerate(speakers):
            number = owners.setdefault(speaker, len(owners))
            if number == len(utterances):
                utterances.append([])
            utterances[number].append(index)
        if len(owners) < 2:
            raise NotEnoughDataError(f"{len(owners)} speakers; hard speakers need two or more")
        self.turns = turns or max(1, round(len(speakers) / len(owners)))
        self.batch_size, self.seed, self.group = batch_size, seed, group
        self.rank, self.world_size = rank, world_size
        self._utterances = utterances
        self._close = [
            [owners[other] for other in neighbours.get(speaker, ()) if other in owners and other != speaker]
            for speaker in owners
        ]
        self._epoch, self._first = 0, 0
        if not len(self):
            raise NotEnoughDataError(
                f"{len(owners)} speakers of {self.turns} turns do not fill {world_size} batches of {batch_size}; "
                "give more utterances or a smaller batch"
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._utterances) * self.turns // (self.batch_size * self.world_size)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Which epoch the next iteration gives, and, to resume, from which of its batches on."""
        self._epoch, self._first = epoch, first_batch

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches of the epoch set, for this rank."""
        places = self.batch_size * self.world_size
        turn, skipped = divmod(self._first * places, len(self._utterances))
        ahead = chain.from_iterable(self._round(self._epoch, number) for number in range(turn, self.turns))
        for _ in range(skipped):
            next(ahead)
        for _ in range(self._first, len(self)):
            batch = [next(ahead) for _ in range(places)]
            yield batch[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def _round(self, epoch: int, number: int) -> list[Draw]:
        """A turn of every speaker, from a generator of its own, so that it can be had without those before it."""
        rng = np.random.default_rng([self.seed, epoch, number])
        order = rng.permutation(len(self._utterances)).tolist()
        waiting = dict.fromkeys(order)
        speakers: list[int] = []
        for speaker in order:
            if speaker not in waiting:
                continue
            close = [other for other in self._close[speaker] if other in waiting and other != speaker]
            for member in [speaker, *close[: self.group - 1]]:
                del waiting[member]
                speakers.append(member)
        return [self._draw(speaker, rng) for speaker in speakers]

    def _draw(self, speaker: int, rng: np.random.Generator) -> Draw:
        close = self._close[speaker]
        if close:
            second = close[int(rng.integers(len(close)))]
        else:  # anybody else
            second = int(rng.integers(len(self._utterances) - 1))
            second += second >= speaker
        return Draw(*_several(self._utterances[speaker], 3, rng), *_several(self._utterances[second], 2, rng))


def _several(utterances: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Different ones as far as there are, then again from the first drawn."""
    drawn = rng.permutation(len(utterances))[:count].tolist()
    return [utterances[drawn[place % len(drawn)]] for place in range(count)]
