"""Rows for training: what is refused, how frames are padded, and which rows a batch has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openkith.errors import InputError
from openkith.tuning.samples import Samples, epoch_batches, weighted_batches


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestEmbeddings:
    def test_taken(self) -> None:
        values = np.arange(12.0).reshape(4, 3)
        samples = Samples.of(values, "clips", frames=False)
        assert (len(samples), samples.dim) == (4, 3)
        (taken,) = samples.take(torch.tensor([[3, 0], [1, 1]]))
        assert taken.dtype == torch.float32
        np.testing.assert_array_equal(taken.numpy(), values[[[3, 0], [1, 1]]])
        both = samples.joined(Samples.of(values[:2] + 50, "more", frames=False))
        assert both.values[4].tolist() == [50, 51, 52]

    @pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (3, 5)])
    def test_another_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"^probes: embeddings of shape .*; give \(n, 4\)"):
            Samples.of(np.zeros(shape), "probes", frames=False, dim=4)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad: float) -> None:
        values = np.zeros((3, 4))
        values[1, 2] = bad
        with pytest.raises(InputError, match=r"^probes: row 1 has NaN or infinite values"):
            Samples.of(values, "probes", frames=False)


class TestFrames:
    def test_padded_and_cut_to_the_longest(self) -> None:
        clips = [np.full((length, 2), float(length)) for length in (3, 1, 5)]
        samples = Samples.of(clips, "clips", frames=True)
        assert samples.values.shape == (3, 5, 2)
        assert samples.lengths is not None
        assert samples.lengths.tolist() == [3, 1, 5]
        assert samples.values[1].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0], [0, 0]]
        values, lengths = samples.take(torch.tensor([[1, 0]]))
        assert values.shape == (1, 2, 3, 2)
        assert lengths.tolist() == [[1, 3]]
        longer = Samples.of(np.ones((2, 7, 2)), "more", frames=True)
        both = samples.joined(longer)
        assert both.values.shape == (5, 7, 2)
        assert both.lengths is not None
        assert both.lengths.tolist() == [3, 1, 5, 7, 7]

    def test_refused(self) -> None:
        with pytest.raises(InputError, match=r"^clips: clip 1 has frames of shape \(2, 3\); give \(T, 2\)"):
            Samples.of([np.zeros((4, 2)), np.zeros((2, 3))], "clips", frames=True)
        with pytest.raises(InputError, match=r"^clips: clip 0 has frames of shape \(0, 2\)"):
            Samples.of([np.zeros((0, 2))], "clips", frames=True)
        with pytest.raises(InputError, match=r"^clips: clip 0 has frames of shape \(4,\)"):
            Samples.of(np.zeros((3, 4)), "clips", frames=True)
        with pytest.raises(InputError, match=r"^clips: clip 0 has NaN"):
            Samples.of([np.full((2, 2), np.nan)], "clips", frames=True)


class TestBatches:
    def test_drawn_by_weight(self) -> None:
        weights = torch.tensor([0.0, 1.0, 3.0])
        batches = list(weighted_batches(weights, 3, 20, 300, generator()))
        assert len(batches) == 300  # more than one block
        assert {tuple(batch.shape) for batch in batches} == {(3, 20)}
        counts = torch.bincount(torch.stack(batches).flatten(), minlength=3)
        assert counts[0] == 0
        assert counts[2] / counts[1] == pytest.approx(3, rel=0.1)
        assert not torch.equal(batches[0][0], batches[0][1])

    def test_each_row_once_an_epoch(self) -> None:
        batches = list(epoch_batches(5, 2, 2, 7, generator()))
        assert [batch.shape[1] for batch in batches] == [2, 2, 1, 2, 2, 1, 2]
        for first in (0, 3):
            epoch = torch.cat(batches[first : first + 3], dim=1)
            assert epoch.sort().values.tolist() == [list(range(5))] * 2
        orders = [
            torch.cat(batches[first : first + 3], dim=1)[s].tolist() for first in (0, 3) for s in range(2)
        ]
        assert len({tuple(order) for order in orders}) > 1

    def test_the_generator_decides(self) -> None:
        for make in (
            lambda seed: weighted_batches(torch.ones(9), 2, 4, 3, generator(seed)),
            lambda seed: epoch_batches(9, 2, 4, 3, generator(seed)),
        ):
            first, again, other = (torch.cat(list(make(seed)), dim=1) for seed in (1, 1, 2))
            assert torch.equal(first, again)
            assert not torch.equal(first, other)
