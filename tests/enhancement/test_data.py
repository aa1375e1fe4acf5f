"""Batches from lists, and measures of pairs that are transformed on the way."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.enhancement import data
from openkith.enhancement.data import Entries, batch_factory, collate, distances, mean_embedding, pair_cosines
from openkith.enhancement.list_forms import DistributionList, NormalList, TripletList
from openkith.enhancement.tree import EmbeddingTree
from openkith.training import TrainConfig

NOBODY = np.zeros(0, np.int64)
TREE = EmbeddingTree(Path("nowhere"), (), (), NOBODY, (), NOBODY)


class Held:
    """Embeddings in memory."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows.astype(np.float32)
        self.dim = rows.shape[1]
        self.most = 0

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, numbers: Any) -> np.ndarray:
        self.most = max(self.most, len(numbers))
        return self._rows[numbers]


@pytest.fixture
def held() -> Held:
    rows = np.random.default_rng(0).standard_normal((12, 4))
    return Held(rows / np.linalg.norm(rows, axis=1, keepdims=True))


TARGETS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_a_batch_of_a_normal_list(held: Held) -> None:
    entries = NormalList(TREE, ("a", "b", "c"), np.array([0, 0, 2, 1]), np.array([5, 3, 7, 1]))
    batch = collate(Entries(entries, held, TARGETS).__getitems__([2, 0]))
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "inputs": (2, 4),
        "labels": (2,),
        "targets": (2, 4),
    }
    np.testing.assert_array_equal(batch["inputs"], held.gather([7, 5]))
    assert batch["labels"].tolist() == [2, 0]
    np.testing.assert_array_equal(batch["targets"], TARGETS[[2, 0]])
    assert "targets" not in Entries(entries, held, None).__getitems__([1])[0]


def test_a_batch_of_a_triplet_list(held: Held) -> None:
    entries = TripletList(TREE, ("a", "b", "c"), np.array([0, 1]), np.array([4, 2]), np.array([2, 0]))
    batch = collate(Entries(entries, held, TARGETS).__getitems__([1, 0]))
    np.testing.assert_array_equal(batch["targets"], TARGETS[[1, 0]])
    np.testing.assert_array_equal(batch["others"], TARGETS[[0, 2]])


def test_a_batch_of_a_distribution_list_has_each_file_once(held: Held) -> None:
    pairs = np.array([[8, 9], [2, 5], [9, 2]])
    entries = DistributionList(TREE, ("a", "b"), np.array([1, 0, 1]), pairs, np.array([True, True, False]))
    batch = collate(Entries(entries, held, TARGETS).__getitems__([0, 2]))
    assert len(batch["inputs"]) == 3
    found = batch["inputs"][batch["pairs"]]
    np.testing.assert_array_equal(found, held.gather([[8, 9], [9, 2]]))
    assert batch["same_recording"].tolist() == [True, False]
    assert batch["labels"].tolist() == [1, 1, 1]


def distribution(counts: list[tuple[int, int]]) -> DistributionList:
    """Of each speaker so many pairs of one recording, and so many of two."""
    speakers = np.repeat(np.arange(len(counts)), [sum(each) for each in counts])
    same = np.concatenate([np.arange(sum(each)) < each[0] for each in counts])
    pairs = np.arange(2 * len(speakers)).reshape(-1, 2)
    return DistributionList(TREE, tuple("abcdef"[: len(counts)]), speakers, pairs, same)


def test_a_batch_is_one_speaker_s_pairs() -> None:
    entries = distribution([(3, 3), (2, 1), (20, 20), (1, 1)])
    factory = batch_factory(entries, TrainConfig(batch_size=16), 1)
    assert factory is not None
    orders = [[list(batch) for batch in factory(epoch, 0, 1)] for epoch in (0, 1)]
    for order in orders:
        assert sorted(chain.from_iterable(order)) == list(range(len(entries)))
        assert all(len({int(entries.speakers[row]) for row in batch}) == 1 for batch in order)
        sizes = sorted(len(batch) for batch in order)
        assert sizes == [2, 3, 6, 13, 13, 14]
        long = [entries.same_recording[batch] for batch in order if len(batch) > 6]
        assert all(6 <= flags.sum() <= 8 for flags in long)  # of 13 or 14
    assert orders[0] != orders[1]
    assert [list(batch) for batch in factory(0, 0, 1)] == orders[0]


def test_processes_share_the_speakers_out() -> None:
    entries = distribution([(2, 2)] * 5)
    factory = batch_factory(entries, TrainConfig(batch_size=16), 1)
    assert factory is not None
    first, second = ([list(batch) for batch in factory(0, rank, 2)] for rank in (0, 1))
    assert (len(first), len(second)) == (2, 2)
    alone = [list(batch) for batch in factory(0, 0, 1)]
    assert sorted(first + second) == sorted(alone[:4])


def test_entries_of_a_speaker_meet() -> None:
    speakers = np.array([0] * 9 + [1] * 4 + [2] * 8 + [3])
    entries = NormalList(TREE, ("a", "b", "c", "d"), speakers, np.arange(len(speakers)))
    assert batch_factory(entries, TrainConfig(), 1) is None
    factory = batch_factory(entries, TrainConfig(batch_size=8), 4)
    assert factory is not None
    order = [list(batch) for batch in factory(0, 0, 1)]
    assert sorted(chain.from_iterable(order)) == list(range(22))
    assert [len(batch) for batch in order] == [8, 8, 6]
    runs = Counter()
    row = list(chain.from_iterable(order))
    length = 0
    for place, entry in enumerate(row):
        length += 1
        if place + 1 == len(row) or speakers[row[place + 1]] != speakers[entry]:
            runs[int(speakers[entry])] = max(runs[int(speakers[entry])], length)
            length = 0
    assert all(runs[speaker] >= 4 for speaker in (0, 1, 2))
    assert order != [list(batch) for batch in factory(1, 0, 1)]
    halves = [[list(batch) for batch in factory(0, rank, 2)] for rank in (0, 1)]
    assert [len(batch) for batch in halves[0]] == [len(batch) for batch in halves[1]] == [8, 3]
    assert sorted(chain.from_iterable(halves[0] + halves[1])) == list(range(22))
    dropped = batch_factory(entries, TrainConfig(batch_size=8, drop_last=True), 4)
    assert dropped is not None
    assert [len(batch) for batch in dropped(0, 0, 1)] == [8, 8]


def test_cosines_by_hand() -> None:
    held = Held(np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]]))
    pairs = np.array([[0, 1], [0, 2], [1, 1]])
    np.testing.assert_allclose(pair_cosines(pairs, held, None), [0.6, -1.0, 1.0], atol=1e-6)
    swapped = pair_cosines(pairs, held, lambda x: x * [1.0, 0.0] + [0.0, 1.0])
    np.testing.assert_allclose(swapped[1], 0.0, atol=1e-6)  # of (1, 1) and (-1, 1)
    found = distances(pairs, held, None)
    np.testing.assert_allclose(found["1 - cosine"], [0.4, 2.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["RMS difference"], [np.sqrt(0.4), np.sqrt(2.0), 0.0], atol=1e-6)
    assert len(pair_cosines(np.zeros((0, 2), np.int64), held, None)) == 0


def test_many_pairs_give_the_same_in_parts(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = np.random.default_rng(1).integers(0, 12, (50, 2))
    whole = pair_cosines(pairs, held, lambda x: x + 1.0)
    for name, value in (("HELD_BYTES", 0), ("PAIRS_TOGETHER", 7), ("ROWS_TOGETHER", 3)):
        monkeypatch.setattr(data, name, value)
    held.most = 0
    np.testing.assert_array_equal(pair_cosines(pairs, held, lambda x: x + 1.0), whole)
    assert held.most == 3
    np.testing.assert_allclose(
        mean_embedding(np.array([0, 1, 5, 7, 3]), held, lambda x: 2.0 * x),
        2.0 * held.gather([0, 1, 5, 7, 3]).mean(axis=0),
        rtol=1e-5,
    )
