"""Log-mel features of the VoxCeleb trainer, against a slow recomputation by the definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.encoders.voxceleb_mel import (
    frame_count,
    hamming_window,
    htk_filterbank,
    normalised_log_mel,
)


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    colour = np.convolve(rng.standard_normal(n + 30), 0.9 ** np.arange(31), mode="valid")
    return (0.02 * colour * (1.2 + np.sin(np.arange(n) / 900))).astype(np.float32)


def mirrored(x: NDArray[Any], index: int) -> float:
    """The sample at an index that may lie beyond either end."""
    last = len(x) - 1
    while not 0 <= index <= last:
        index = -index if index < 0 else 2 * last - index
    return float(x[index])


def mel_weights(n_mels: int) -> NDArray[np.float64]:
    """Triangle by triangle, bin by bin: (257, n_mels)."""
    top = 2595.0 * math.log10(1.0 + 8000.0 / 700.0)
    edges = [700.0 * (10.0 ** (top * k / (n_mels + 1) / 2595.0) - 1.0) for k in range(n_mels + 2)]
    table = np.zeros((257, n_mels))
    for k in range(257):
        hertz = 8000.0 * k / 256.0
        for m, (low, peak, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            if low < hertz <= peak:
                table[k, m] = (hertz - low) / (peak - low)
            elif peak < hertz < high:
                table[k, m] = (high - hertz) / (high - peak)
    return table


def slow_features(x: NDArray[Any], n_mels: int, scale: float) -> NDArray[np.float64]:
    """By the definitions, with a window in the middle of 512 samples and a discrete Fourier transform by sums."""
    scaled = [scale * float(value) for value in x]
    emphasised = np.array([scaled[t] - 0.97 * mirrored(np.array(scaled), t - 1) for t in range(len(x))])
    window = [0.54 - 0.46 * math.cos(2 * math.pi * k / 400) for k in range(400)]
    transform = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512)
    rows = []
    for centre in range(0, len(x) + 1, 160):
        frame = np.zeros(512)
        for k in range(400):
            frame[56 + k] = window[k] * mirrored(emphasised, centre - 256 + 56 + k)
        rows.append(np.log(np.abs(transform @ frame) ** 2 @ mel_weights(n_mels) + 1e-6))
    mel = np.array(rows)
    centred = mel - mel.sum(axis=0) / len(mel)
    return centred / np.sqrt((centred**2).sum(axis=0) / len(mel) + 1e-5)


@pytest.mark.parametrize(("n_mels", "scale", "n"), [(64, 1.0, 2400), (80, 32768.0, 2399), (64, 1.0, 700)])
def test_equals_the_definition(n_mels: int, scale: float, n: int) -> None:
    x = noise(n)
    found = normalised_log_mel(x, n_mels=n_mels, full_scale=scale)
    assert found.dtype == np.float32
    assert found.shape == (1 + n // 160, n_mels) == (frame_count(n), n_mels)
    np.testing.assert_allclose(found, slow_features(x, n_mels, scale), atol=2e-4)


def test_filters_and_window() -> None:
    for n_mels in (64, 80):
        np.testing.assert_allclose(htk_filterbank(n_mels), mel_weights(n_mels), atol=1e-6)
    assert hamming_window().shape == (400,)
    assert hamming_window()[0] == pytest.approx(0.08)
    assert hamming_window()[200] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="read-only"):
        htk_filterbank(64)[0, 0] = 1.0


def test_each_band_has_zero_mean_and_unit_variance() -> None:
    features = normalised_log_mel(noise(16_000), n_mels=64)
    np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1.0, atol=1e-3)


def test_blocks_do_not_show() -> None:
    """More frames than are transformed at a time: the last ones are those of the end of the clip alone."""
    x = noise(1100 * 160, seed=3)
    whole = normalised_log_mel(x, n_mels=64)
    assert len(whole) == 1101
    mean, std = whole[1090:].mean(axis=0), whole[1090:].std(axis=0)
    end = normalised_log_mel(x[1060 * 160 :], n_mels=64)[30:]
    ours, theirs = (whole[1090:] - mean) / std, (end - end.mean(axis=0)) / end.std(axis=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 159, 300])
def test_short_clips_and_silence(n: int) -> None:
    assert np.isfinite(normalised_log_mel(noise(n), n_mels=80)).all()
    np.testing.assert_array_equal(normalised_log_mel(np.zeros(n, np.float32), n_mels=64), 0.0)
