"""Lists as batches: numbers of files in memory, embeddings on the disk until a batch asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openkith.enhancement.list_forms import DistributionList, NormalList, TripletList
from openkith.training.batches import BatchFactory, Order
from openkith.training.config import TrainConfig
from openkith.training.seeds import ORDER, generator

__all__ = [
    "Entries",
    "Rows",
    "Transform",
    "batch_factory",
    "collate",
    "distances",
    "mean_embedding",
    "pair_cosines",
]

HELD_BYTES = 256 << 20  # of enhanced embeddings in memory
PAIRS_TOGETHER = 1 << 15  # scored together where not all embeddings can be held
ROWS_TOGETHER = 4096

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Transform = Callable[[FloatArray], FloatArray]  # embeddings (n, d) of unit length to (n, d)
LearnedList = NormalList | TripletList | DistributionList


class Rows(Protocol):
    """Embeddings by number, such as `openkith.enhancement.tree.MappedEmbeddings`."""

    @property
    def dim(self) -> int:
        """Length d."""

    def __len__(self) -> int: ...

    def gather(self, numbers: npt.ArrayLike) -> FloatArray:
        """(k, d), of unit length."""


class Entries:
    """The entries of a list as a data set that makes whole batches.

    A batch is a dictionary of tensors, those of `openkith.losses.EnhancementBatch` but the outputs. Of a distribution
    list, the rows are the files of the batch's pairs, each once.

    Args:
        entries: To learn from.
        embeddings: Of the tree that the list is of.
        targets: (s, d) multi-utterance embeddings of its speakers; None where the loss needs none.
    """

    def __init__(self, entries: LearnedList, embeddings: Rows, targets: FloatArray | None) -> None:
        self._embeddings, self._targets = embeddings, targets
        self._speakers = entries.speakers
        self._others = entries.others if isinstance(entries, TripletList) else None
        self._pairs: IntArray | None = None
        self._same: BoolArray | None = None
        self._files: IntArray | None = None
        if isinstance(entries, DistributionList):
            self._pairs, self._same = entries.pairs, entries.same_recording
        else:
            self._files = entries.files

    def __len__(self) -> int:
        return len(self._speakers)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        """The batch of some entries, alone in a list."""
        import torch

        chosen = np.asarray(numbers, np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {}
        if self._pairs is not None and self._same is not None:
            files, first, inverse = np.unique(self._pairs[chosen], return_index=True, return_inverse=True)
            labels = self._speakers[chosen][first // 2]
            arrays |= {"pairs": inverse.reshape(-1, 2), "same_recording": self._same[chosen]}
        else:
            assert self._files is not None
            files, labels = self._files[chosen], self._speakers[chosen]
        arrays |= {"inputs": self._embeddings.gather(files), "labels": labels}
        if self._targets is not None:
            arrays["targets"] = self._targets[labels]
            if self._others is not None:
                arrays["others"] = self._targets[self._others[chosen]]
        return [{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}]


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch that `Entries` made."""
    (batch,) = samples
    return batch


def batch_factory(entries: LearnedList, config: TrainConfig, per_speaker: int) -> BatchFactory | None:
    """Which entries each batch has, for `openkith.training.train`; None: all shuffled.

    Of a distribution list, a batch is all pairs of one speaker; a speaker with more than ``config.batch_size`` has
    several, each with a like share of both kinds. Of the other lists, ``per_speaker`` entries of a speaker stand
    together, others in each epoch.

    Args:
        entries: To learn from.
        config: Batch size and seed.
        per_speaker: Entries of a speaker that meet.
    """
    if isinstance(entries, DistributionList):
        speakers, same = entries.speakers, entries.same_recording
        return lambda epoch, rank, processes: _of_speakers(speakers, same, config, epoch, rank, processes)
    if per_speaker > 1:
        speakers = entries.speakers
        return lambda epoch, rank, processes: _grouped(speakers, per_speaker, config, epoch, rank, processes)
    return None


def _of_speakers(
    speakers: IntArray, same: BoolArray, config: TrainConfig, epoch: int, rank: int, processes: int
) -> Order:
    """A batch for each speaker, or several; as many for each process, so that up to processes - 1 are left out."""
    rng = generator(config.seed, ORDER, epoch)
    order = np.lexsort((rng.random(len(speakers)), same, speakers))
    ends = np.flatnonzero(np.diff(speakers[order], append=-1)) + 1
    batches = []
    for rows in np.split(order, ends[:-1]):
        parts = -(-len(rows) // config.batch_size)
        batches += [rows[part::parts].tolist() for part in range(parts)]
    shuffled = [batches[place] for place in rng.permutation(len(batches))]
    return shuffled[rank : len(shuffled) // processes * processes : processes]


def _grouped(
    speakers: IntArray, per_speaker: int, config: TrainConfig, epoch: int, rank: int, processes: int
) -> Order:
    """Batches in which so many entries of a speaker stand together, or all it has."""
    rng = generator(config.seed, ORDER, epoch)
    order = np.lexsort((rng.random(len(speakers)), speakers))
    starts = np.flatnonzero(np.diff(speakers[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    group = np.cumsum(place % per_speaker == 0) - 1
    order = order[np.argsort(rng.permutation(group[-1] + 1)[group], kind="stable")]
    size = config.batch_size * processes
    batches = []
    for start in range(0, len(order), size):
        share, short = divmod(len(order[start : start + size]), processes)
        if share and not (config.drop_last and (short or share < config.batch_size)):
            first = start + rank * share
            batches.append(order[first : first + share].tolist())
    return batches


def pair_cosines(pairs: IntArray, embeddings: Rows, transform: Transform | None) -> FloatArray:
    """Cosine of the two of each pair, (p,).

    Args:
        pairs: (p, 2) numbers.
        embeddings: By these numbers.
        transform: That they go through; None: none.
    """
    return _of_pairs(pairs, embeddings, transform, _cosine)


def distances(pairs: IntArray, embeddings: Rows, transform: Transform | None) -> dict[str, FloatArray]:
    """Distances of the two of each pair, as the adaptation losses have them: measure to (p,).

    Args:
        pairs, embeddings, transform: See `pair_cosines`.
    """
    return {
        "1 - cosine": 1.0 - _of_pairs(pairs, embeddings, transform, _cosine),
        "RMS difference": _of_pairs(pairs, embeddings, transform, _rms),
    }


def mean_embedding(rows: IntArray, embeddings: Rows, transform: Transform | None = None) -> FloatArray:
    """The mean (d,) of the embeddings of some numbers, after a transform."""
    total = np.zeros(embeddings.dim, np.float64)
    for part in _parts(rows):
        found = embeddings.gather(part)
        total += (found if transform is None else transform(found)).sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(rows), np.float32)


def _of_pairs(
    pairs: IntArray,
    embeddings: Rows,
    transform: Transform | None,
    measure: Callable[[FloatArray, FloatArray], FloatArray],
) -> FloatArray:
    """A measure of pairs; each embedding is transformed once where all can be held, else once in each part."""
    numbers = np.unique(pairs)
    together = max(1, len(pairs)) if len(numbers) * embeddings.dim * 4 <= HELD_BYTES else PAIRS_TOGETHER
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), together):
        numbers, inverse = np.unique(pairs[start : start + together], return_inverse=True)
        held = np.concatenate(
            [
                part if transform is None else transform(part)
                for part in map(embeddings.gather, _parts(numbers))
            ]
        )
        sides = inverse.reshape(-1, 2)
        for begin in range(0, len(sides), ROWS_TOGETHER):
            first, second = sides[begin : begin + ROWS_TOGETHER].T
            found[start + begin : start + begin + len(first)] = measure(held[first], held[second])
    return found


def _parts(numbers: IntArray) -> Iterator[IntArray]:
    return (numbers[start : start + ROWS_TOGETHER] for start in range(0, len(numbers), ROWS_TOGETHER))


def _cosine(x: FloatArray, y: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(axis=1) / np.maximum(lengths, 1e-12), np.float32)


def _rms(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.mean((x - y) ** 2, axis=1)), np.float32)
