"""Lists as text, and what is counted of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from openkith.enhancement.list_forms import DistributionList, NormalList, TestList, TripletList
from openkith.enhancement.tree import EmbeddingTree

Plant = Callable[[Mapping[str, Mapping[str, int]]], EmbeddingTree]
NAMES = ("ann", "bob")


@pytest.fixture
def tree(plant: Plant) -> EmbeddingTree:
    return plant({"ann": {"r": 2}, "bob": {"r": 2}})


def test_normal(tree: EmbeddingTree) -> None:
    made = NormalList(tree, NAMES, np.array([1, 0]), np.array([2, 0]))
    assert list(made.lines()) == ["bob bob/r/00000.npy\n", "ann ann/r/00000.npy\n"]
    assert made.counts() == {"entries": 2, "speakers": 2, "files": 2}
    assert len(made) == 2


def test_triplet(tree: EmbeddingTree) -> None:
    made = TripletList(tree, NAMES, np.array([1, 1]), np.array([2, 2]), np.array([0, 0]))
    assert list(made.lines()) == ["bob bob/r/00000.npy ann\n"] * 2
    assert made.counts() == {"entries": 2, "speakers": 1, "files": 1}


def test_distribution(tree: EmbeddingTree) -> None:
    made = DistributionList(
        tree, NAMES, np.array([0, 0, 1]), np.array([[0, 1], [1, 0], [2, 3]]), np.array([True, False, True])
    )
    assert list(made.lines())[1:] == [
        "ann ann/r/00001.npy ann/r/00000.npy 0\n",
        "bob bob/r/00000.npy bob/r/00001.npy 1\n",
    ]
    assert made.counts() == {
        "entries": 3,
        "speakers": 2,
        "files": 4,
        "same_recording": 2,
        "cross_recording": 1,
        "short_speakers": 1,
    }


def test_test(tree: EmbeddingTree) -> None:
    made = TestList(tree, np.array([[0, 1], [0, 3]]), np.array([True, False]))
    assert list(made.lines()) == [
        "1 ann/r/00000.npy ann/r/00001.npy\n",
        "0 ann/r/00000.npy bob/r/00001.npy\n",
    ]
    assert made.counts() == {"entries": 2, "files": 3, "same_speaker": 1, "different_speakers": 1}
