"""Pieces, windows and batches, with an encoder that remembers what it was run on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio import Audio
from openkith.encoders.pieces import PieceEncoder, normalised

RATE = 16_000


class Moments(PieceEncoder):
    """Mean, mean square and mean cube of the samples; features are samples, in pairs where there are enough."""

    dim, fewest_samples, batch_length = 3, 1000, 100_000

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.features = lambda samples: samples

    def _run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shapes.append(features.shape)
        return np.stack([(features**k).mean(axis=1) for k in (1, 2, 3)], axis=1)


def clip(n: int, seed: int = 0) -> Audio:
    return Audio(np.random.default_rng([seed, n]).uniform(-0.5, 1.0, n).astype(np.float32), "<test>")


def moments(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    x = samples.astype(np.float64)
    found = np.array([x.mean(), (x**2).mean(), (x**3).mean()])
    result: NDArray[np.float64] = found / np.linalg.norm(found)
    return result


def test_a_batch_is_the_same_as_one_by_one() -> None:
    encoder = Moments()
    clips = [clip(n, seed) for seed, n in enumerate((20_000, 30_000, 20_000, 5_000, 20_000, 30_000))]
    found = encoder.embed(clips)
    assert encoder.shapes == [(1, 5_000), (3, 20_000), (2, 30_000)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [moments(one.samples) for one in clips], atol=1e-5)
    assert encoder.embed([]).shape == (0, 3)


def test_no_batch_is_longer_than_it_may_be() -> None:
    encoder = Moments()
    encoder.embed([clip(30_000, seed) for seed in range(7)] + [clip(150_000)])
    assert encoder.shapes == [(3, 30_000), (3, 30_000), (1, 30_000), (1, 150_000)]


def test_short_clips_are_repeated() -> None:
    encoder = Moments()
    short = clip(300)
    repeated = np.concatenate([short.samples] * 4)[:1000]
    np.testing.assert_allclose(encoder.embed([short])[0], moments(repeated), atol=1e-6)
    assert np.isfinite(encoder.embed([clip(0)])).all()


@pytest.mark.parametrize(("seconds", "pieces"), [(60.0, 1), (60.01, 5), (75.0, 5), (75.01, 6)])
def test_a_long_clip_is_the_mean_of_even_pieces(seconds: float, pieces: int) -> None:
    encoder = Moments()
    long = clip(round(seconds * RATE))
    found = encoder.embed([clip(2000), long])
    parts = np.array_split(long.samples, pieces)
    assert sorted(shape[1] for shape in encoder.shapes for _ in range(shape[0])) == sorted(
        [2000, *(len(part) for part in parts)]
    )
    expected = np.mean([moments(part) for part in parts], axis=0)
    np.testing.assert_allclose(found[1], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(found[0], moments(clip(2000).samples), atol=1e-6)


def test_windows() -> None:
    encoder = Moments()
    long = clip(54_400)
    times, found = encoder.embed_windows(long)
    np.testing.assert_allclose(times, [[0, 1.5], [0.75, 2.25], [1.5, 3.0], [1.9, 3.4]])
    expected = [moments(long.samples[round(a * RATE) : round(b * RATE)]) for a, b in times]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert {shape[1] for shape in encoder.shapes} == {24_000}


@pytest.mark.parametrize(
    ("n", "expected"), [(6_400, [[0, 0.4]]), (24_000, [[0, 1.5]]), (36_000, [[0, 1.5], [0.75, 2.25]])]
)
def test_windows_of_short_clips(n: int, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(Moments().embed_windows(clip(n))[0], expected)


def test_normalised() -> None:
    found = normalised(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], atol=1e-7)
