"""The mel filters and the power spectrogram against their definitions, written out a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio import features
from openkith.audio.features import mel_filterbank, power_mel

RATE = 16_000


def slaney_mel(hertz: float) -> float:
    return 3.0 * hertz / 200.0 if hertz < 1000.0 else 15.0 + 27.0 * math.log(hertz / 1000.0, 6.4)


def slaney_hertz(mel: float) -> float:
    return 200.0 * mel / 3.0 if mel < 15.0 else 1000.0 * 6.4 ** ((mel - 15.0) / 27.0)


def edges_hertz(n_mels: int, rate: int = RATE) -> list[float]:
    top = slaney_mel(rate / 2)
    return [slaney_hertz(top * i / (n_mels + 1)) for i in range(n_mels + 2)]


def filters_by_definition(n_mels: int, n_fft: int, rate: int) -> NDArray[np.float64]:
    edges = edges_hertz(n_mels, rate)
    table = np.zeros((n_mels, n_fft // 2 + 1))
    for m in range(n_mels):
        low, peak, high = edges[m : m + 3]
        for k in range(n_fft // 2 + 1):
            hertz = k * rate / n_fft
            if low < hertz <= peak:
                table[m, k] = (hertz - low) / (peak - low) * 2.0 / (high - low)
            elif peak < hertz < high:
                table[m, k] = (high - hertz) / (high - peak) * 2.0 / (high - low)
    return table


@pytest.mark.parametrize(
    ("n_mels", "n_fft", "rate"), [(40, 400, 16_000), (23, 256, 8_000), (80, 512, 16_000)]
)
def test_filterbank_by_definition(n_mels: int, n_fft: int, rate: int) -> None:
    filters = mel_filterbank(n_mels, n_fft, rate)
    assert filters.shape == (n_mels, n_fft // 2 + 1)
    assert filters.dtype == np.float32
    np.testing.assert_allclose(filters, filters_by_definition(n_mels, n_fft, rate), rtol=1e-5, atol=1e-9)


def test_scale_at_points_of_the_auditory_toolbox() -> None:
    hertz = np.array([0.0, 200.0, 1000.0, 6400.0])
    np.testing.assert_allclose(features._hertz_to_mel(hertz), [0.0, 3.0, 15.0, 42.0], atol=1e-9)
    np.testing.assert_allclose(features._mel_to_hertz(np.array([0.0, 3.0, 15.0, 42.0])), hertz, atol=1e-9)


def test_filters_have_equal_area() -> None:
    fine = mel_filterbank(40, 16_000, RATE)  # a bin per Hz
    np.testing.assert_allclose(fine.sum(axis=1), 1.0, rtol=1e-3)


def test_the_cached_filters_cannot_be_changed() -> None:
    filters = mel_filterbank(40, 400, RATE)
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1.0


def frame_by_definition(
    samples: NDArray[np.float32], index: int, n_fft: int, hop: int
) -> NDArray[np.float64]:
    """Power spectrum of the frame about sample index * hop, by the sum of the discrete Fourier transform."""
    frame = np.zeros(n_fft)
    for j in range(n_fft):
        position = index * hop + j - n_fft // 2
        if 0 <= position < len(samples):
            frame[j] = float(samples[position]) * (0.5 - 0.5 * math.cos(2 * math.pi * j / n_fft))
    k, j = np.arange(n_fft // 2 + 1)[:, None], np.arange(n_fft)[None]
    transform = (frame * np.exp(-2j * np.pi * k * j / n_fft)).sum(axis=1)
    return np.abs(transform) ** 2


@pytest.mark.parametrize(("n_mels", "n_fft", "hop", "rate"), [(40, 400, 160, 16_000), (23, 256, 100, 8_000)])
def test_power_mel_by_definition(n_mels: int, n_fft: int, hop: int, rate: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 2000).astype(np.float32)
    mel = power_mel(samples, n_mels=n_mels, n_fft=n_fft, hop=hop, sample_rate=rate)
    filters = filters_by_definition(n_mels, n_fft, rate)
    assert mel.dtype == np.float32
    assert mel.shape == (1 + 2000 // hop, n_mels)
    for index in (0, 1, 5, len(mel) - 1):  # the first and the last reach beyond the ends
        expected = filters @ frame_by_definition(samples, index, n_fft, hop)
        np.testing.assert_allclose(mel[index], expected, rtol=1e-4, atol=1e-9)


def test_the_defaults_are_those_of_ge2e() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 3200).astype(np.float32)
    expected = power_mel(samples, n_mels=40, n_fft=400, hop=160, sample_rate=16_000)
    np.testing.assert_array_equal(power_mel(samples), expected)


@pytest.mark.parametrize("index", [3, 10, 20, 30, 38])
def test_a_tone_falls_in_its_filter(index: int) -> None:
    peak = edges_hertz(40)[index + 1]
    tone = np.sin(2 * np.pi * peak * np.arange(RATE) / RATE).astype(np.float32)
    mel = power_mel(tone)[10:-10]
    assert (mel.argmax(axis=1) == index).all()
    far = np.abs(np.arange(40) - index) > 5
    assert mel[:, far].max() < 1e-3 * mel[:, index].min()


def test_power_grows_with_the_square_of_the_level() -> None:
    samples = np.random.default_rng(2).normal(0, 0.1, 3200).astype(np.float32)
    np.testing.assert_allclose(power_mel(4 * samples), 16 * power_mel(samples), rtol=1e-5)


@pytest.mark.parametrize(("n", "frames"), [(1, 1), (159, 1), (160, 2), (400, 3), (16_000, 101)])
def test_a_frame_every_hop(n: int, frames: int) -> None:
    assert power_mel(np.ones(n, np.float32)).shape == (frames, 40)


def test_long_audio_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 16_000).astype(np.float32)
    whole = power_mel(samples)
    monkeypatch.setattr(features, "_BLOCK_FRAMES", 7)
    np.testing.assert_allclose(power_mel(samples), whole, rtol=1e-5)


def test_the_samples_are_left_alone() -> None:
    samples = np.random.default_rng(4).normal(0, 0.1, 1000).astype(np.float32)
    before = samples.copy()
    power_mel(samples)
    np.testing.assert_array_equal(samples, before)
