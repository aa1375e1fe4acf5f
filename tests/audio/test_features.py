"""The mel filters, the power spectrogram and Kaldi's bank against their definitions, written out a second time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio import features, load
from openkith.audio.features import kaldi_fbank, mel_filterbank, power_mel
from openkith.errors import ConfigError

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


# Kaldi's filter bank


def kaldi_mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)


def kaldi_fbank_by_definition(
    samples: NDArray[np.float32], window: str, n_mels: int = 80
) -> NDArray[np.float64]:
    """Log mel powers frame by frame, from Kaldi's documentation of compute-fbank-feats and its defaults."""
    n = np.arange(400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 399)
    taper = {"povey": hann**0.85, "hamming": 0.54 - 0.46 * np.cos(2 * np.pi * n / 399)}[window]
    edges = np.linspace(kaldi_mel(20.0), kaldi_mel(8000.0), n_mels + 2)
    filters = np.zeros((n_mels, 256))
    for m in range(n_mels):
        low, peak, high = edges[m : m + 3]
        for k in range(256):  # Kaldi leaves out the bin at half the sample rate
            mel = kaldi_mel(k * 16_000 / 512)
            if low < mel < high:
                filters[m, k] = (mel - low) / (peak - low) if mel <= peak else (high - mel) / (high - peak)
    rows = []
    for start in range(0, len(samples) - 400 + 1, 160):
        frame = samples[start : start + 400].astype(np.float64)
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * taper, 512)) ** 2
        rows.append(np.log(np.maximum(filters @ power[:256], np.finfo(np.float32).eps)))
    return np.array(rows)


@pytest.mark.parametrize("window", ["povey", "hamming"])
@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_kaldi_fbank_by_definition(window: str, scale: float) -> None:
    rng = np.random.default_rng(5)
    samples = (rng.normal(0, 0.05, 8000) + 0.2 * np.sin(np.arange(8000) / 9) + 0.1).astype(np.float32)
    expected = kaldi_fbank_by_definition(samples * np.float32(scale), window)
    raw = kaldi_fbank(samples, window=window, scale=scale, subtract_mean=False)
    assert raw.dtype == np.float32
    assert raw.shape == expected.shape == (48, 80)
    np.testing.assert_allclose(raw, expected, atol=2e-3)
    normalised = kaldi_fbank(samples, window=window, scale=scale)
    np.testing.assert_allclose(normalised, expected - expected.mean(axis=0), atol=2e-3)


def test_kaldi_fbank_of_real_speech_by_definition(speech: Path) -> None:
    samples = load(next(iter(sorted((speech / "home").rglob("*.flac"))))).samples[:32_000]
    expected = kaldi_fbank_by_definition(samples, "povey")
    np.testing.assert_allclose(kaldi_fbank(samples, subtract_mean=False), expected, atol=2e-3)


def test_the_windows_differ() -> None:
    samples = np.random.default_rng(6).normal(0, 0.1, 8000).astype(np.float32)
    assert np.abs(kaldi_fbank(samples) - kaldi_fbank(samples, window="hamming")).max() > 0.1


@pytest.mark.parametrize("n_mels", [40, 64])
def test_kaldi_fbank_of_other_sizes(n_mels: int) -> None:
    samples = np.random.default_rng(7).normal(0, 0.1, 4000).astype(np.float32)
    expected = kaldi_fbank_by_definition(samples, "povey", n_mels)
    raw = kaldi_fbank(samples, n_mels=n_mels, subtract_mean=False)
    np.testing.assert_allclose(raw, expected, atol=2e-3)


@pytest.mark.parametrize(("n", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_kaldi_frames_lie_within_the_samples(n: int, frames: int) -> None:
    assert kaldi_fbank(np.ones(n, np.float32)).shape == (frames, 80)


def test_silence_stays_at_the_floor() -> None:
    raw = kaldi_fbank(np.zeros(1600, np.float32), subtract_mean=False)
    np.testing.assert_allclose(raw, math.log(2.0**-23), rtol=1e-6)
    np.testing.assert_array_equal(kaldi_fbank(np.zeros(1600, np.float32)), 0.0)


def test_no_dither() -> None:
    samples = np.random.default_rng(8).normal(0, 1e-4, 4000).astype(np.float32)
    np.testing.assert_array_equal(kaldi_fbank(samples), kaldi_fbank(samples))


def test_another_window_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^window is 'hann'; give one of: povey, hamming$"):
        kaldi_fbank(np.zeros(800, np.float32), window="hann")
