"""Mixtures of known signals: levels, lengths, spans, peaks."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.data.simulation import Mixture
from openkith.data.simulation.mixing import PEAK, concat, mix, noisy, overlap, overlap_lengths, plain
from openkith.errors import AudioError

RNG = np.random.default_rng(0)
X = RNG.standard_normal(5000) * 0.03
Y = RNG.standard_normal(3000) * np.linspace(0.1, 3, 3000)  # its level depends on where it is cut


def db(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(x**2) / len(x) / (np.sum(y**2) / len(y))))


def parts(mixture: Mixture, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left of a mixture in each span without the other one, given what it says of itself."""
    alone = mixture.samples.copy()
    begin, end = mixture.target
    alone[begin:end] -= mixture.gain * np.resize(x, end - begin)
    assert mixture.other is not None
    other = alone[slice(*mixture.other)]
    alone = mixture.samples.copy()
    alone[slice(*mixture.other)] -= mixture.other_gain * np.resize(y, mixture.other[1] - mixture.other[0])
    return alone[begin:end], other


ALL = {
    "noisy": lambda x, y, snr: noisy(x, y, snr),
    "concat": lambda x, y, snr: concat(x, y, snr, target_first=True),
    "concat, swapped": lambda x, y, snr: concat(x, y, snr, target_first=False),
    "overlap": lambda x, y, snr: overlap(x, y, snr, 0.3, target_first=True),
    "overlap, swapped": lambda x, y, snr: overlap(x, y, snr, 0.3, target_first=False),
    "overlap, cut": lambda x, y, snr: overlap(x, y, snr, 0.9, target_first=True),
    "mix": mix,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("snr", [-3.0, 0.0, 2.5])
@pytest.mark.parametrize("swap", [False, True])
def test_levels_are_those_of_what_is_mixed(name: str, snr: float, swap: bool) -> None:
    x, y = (Y, X) if swap else (X, Y)
    mixture = ALL[name](x, y, snr)
    target, other = parts(mixture, x, y)
    assert db(target, other) == pytest.approx(snr, abs=1e-6)
    np.testing.assert_allclose(target, mixture.gain * np.resize(x, len(target)), atol=1e-12)
    assert np.abs(mixture.samples).max() == pytest.approx(PEAK, abs=1e-12)


def test_the_target_alone() -> None:
    mixture = plain(X)
    np.testing.assert_allclose(mixture.samples, X * PEAK / np.abs(X).max())
    assert (mixture.target, mixture.other, mixture.other_gain) == ((0, 5000), None, 0.0)


def test_spans() -> None:
    assert [noisy(X, Y, 0).target, noisy(X, Y, 0).other] == [(0, 5000), (0, 5000)]
    assert [noisy(Y, X, 0).target, noisy(Y, X, 0).other] == [(0, 3000), (0, 3000)]
    first, last = concat(X, Y, 0, target_first=True), concat(X, Y, 0, target_first=False)
    assert [first.target, first.other] == [(0, 5000), (5000, 8000)]
    assert [last.target, last.other] == [(3000, 8000), (0, 3000)]
    assert [mix(X, Y, 0).target, mix(Y, X, 0).target, mix(Y, X, 0).other] == [(0, 5000)] * 3
    # (5000 + 3000) / 1.25 = 6400, of which 1600 have both
    first, last = overlap(X, Y, 0, 0.25, target_first=True), overlap(X, Y, 0, 0.25, target_first=False)
    assert [first.target, first.other] == [(0, 5000), (3400, 6400)]
    assert [last.target, last.other] == [(1400, 6400), (0, 3000)]


def test_lengths_of_overlaps() -> None:
    for n, m, ratio in RNG.uniform([1600, 1600, 0.1], [200_000, 200_000, 0.9], (2000, 3)):
        n, m = int(n), int(m)
        a, b, length = overlap_lengths(n, m, ratio)
        assert (a + b - length) / length == pytest.approx(ratio, rel=0.002)
        assert max(a, b) <= length
        assert min(a, b) == min(n, m)  # the shorter is whole
        assert (a, b) == (n, m) or max(n, m) * ratio > min(n, m) - 1  # cut only where it must be
    assert overlap_lengths(100, 300, 1.0) == (100, 100, 100)


def test_the_shorter_is_repeated_and_the_longer_cut() -> None:
    long = mix(X, Y, 0)
    np.testing.assert_allclose(long.samples[3000:5000], long.gain * X[3000:] + long.other_gain * Y[:2000])
    cut = overlap(X, Y, 0, 0.9, target_first=True)
    assert cut.target == (0, 3333)
    np.testing.assert_allclose(cut.samples[: cut.other[0]], cut.gain * X[: cut.other[0]])  # type: ignore[index]


@pytest.mark.parametrize("bad", [np.zeros(100), np.full(100, np.nan), np.zeros(0)])
def test_silence_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(AudioError, match="the test utterance is silent"):
        mix(bad, X, 0)
    with pytest.raises(AudioError, match="what it is mixed with is silent"):
        concat(X, bad, 0, target_first=True)
    with pytest.raises(AudioError, match="silent"):
        plain(bad)
