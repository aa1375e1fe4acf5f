"""Views: what is taken off the mel powers, each by its definition, and encoders that have no views."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.encoders.clips.views import (
    PLAIN,
    Mel,
    ViewEncoder,
    compress,
    embed_views,
    subtract_floor,
    subtract_reverberation,
    view_names,
)

sys.path.insert(0, str(Path(__file__).parents[2]))
from voices import FakeEncoder, TwoViews, voice

CHANGES: list[Callable[[np.ndarray], Mel]] = [subtract_floor, subtract_reverberation, compress]


def mel_powers(frames: int = 120, bands: int = 40, seed: int = 0) -> np.ndarray:
    """Powers of speech-like range: log-normal, five orders of magnitude."""
    return np.exp(2.5 * np.random.default_rng(seed).normal(size=(frames, bands)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_and_mean_power_stay(change: Callable[[np.ndarray], Mel], frames: int, dtype: type) -> None:
    mel = mel_powers(frames).astype(dtype)
    before = mel.copy()
    changed = change(mel)
    assert changed.shape == mel.shape
    assert changed.dtype == np.float64
    assert (changed > 0).all()
    assert changed.mean() == pytest.approx(float(mel.mean(dtype=np.float64)), rel=1e-4)
    np.testing.assert_array_equal(mel, before)
    if frames > 5:
        assert np.abs(np.log(changed / mel)).max() > 0.1


@pytest.mark.parametrize("change", CHANGES)
def test_louder_is_as_much_louder(change: Callable[[np.ndarray], Mel]) -> None:
    mel = mel_powers()
    np.testing.assert_allclose(change(1000 * mel), 1000 * change(mel), rtol=1e-6)


@pytest.mark.parametrize("change", CHANGES)
def test_silence_stays_silence(change: Callable[[np.ndarray], Mel]) -> None:
    np.testing.assert_array_equal(change(np.zeros((20, 40))), 0.0)


def test_the_floor_by_hand() -> None:
    """Eleven frames: the tenth percentile is the second smallest power; 1.5 of it goes, 0.03 of a power stays."""
    mel = np.array([[1.0], [2.0], *[[10.0]] * 9])
    expected = np.array([[0.03], [0.06], *[[7.0]] * 9])
    np.testing.assert_allclose(subtract_floor(mel), expected * mel.mean() / expected.mean())


def test_steady_noise_goes() -> None:
    """Tones that come and go in noise of half their power: the ratio of the two in each band is five times better."""
    speech = np.zeros((200, 40))
    speech[::2, :] = 1.0
    noise = 0.5 * np.random.default_rng(0).uniform(0.9, 1.1, speech.shape)
    cleaned = subtract_floor(speech + noise)
    assert cleaned[::2].mean() / cleaned[1::2].mean() > 5 * (speech + noise)[::2].mean() / noise[1::2].mean()


def test_reverberation_by_hand() -> None:
    """One click: 5 frames later a quarter of it would still ring, 0.7 of which is taken off, and so on."""
    mel = np.full((12, 1), 0.2)
    mel[0] = 1.0
    rate = np.log(0.25) / 5
    expected = mel.copy()
    for t in range(5, 12):
        late = 0.25 * max(mel[s, 0] * np.exp(rate * (t - 5 - s)) for s in range(t - 4))
        expected[t] = max(mel[t, 0] - 0.7 * late, 0.1 * mel[t, 0])
    assert expected[5, 0] == pytest.approx(0.2 - 0.7 * 0.25)
    np.testing.assert_allclose(subtract_reverberation(mel), expected * mel.mean() / expected.mean())


@pytest.mark.parametrize("frames", [1, 5])
def test_nothing_rings_in_50_ms(frames: int) -> None:
    mel = mel_powers(frames)
    np.testing.assert_array_equal(subtract_reverberation(mel), mel)


def test_a_tail_is_shortened() -> None:
    """Syllables in a room of T60 0.5 s: the power between them falls, and the syllables stay."""
    dry = np.zeros((200, 8))
    dry[::40] = 1.0
    tail = 0.3 * np.exp(-np.arange(200) * np.log(1e6) / 50)
    wet = dry + np.apply_along_axis(lambda band: np.convolve(band, tail)[:200], 0, dry) + 1e-6
    changed = subtract_reverberation(wet)
    late = np.arange(200) % 40 > 5
    assert changed[late].mean() / changed[::40].mean() < 0.5 * wet[late].mean() / wet[::40].mean()


def test_compression_by_hand() -> None:
    mel = np.array([[1.0, 16.0], [0.0, 81.0]])
    expected = mel**0.7
    np.testing.assert_allclose(compress(mel), expected * mel.mean() / expected.mean())


def test_an_encoder_without_views() -> None:
    encoder, clips = FakeEncoder(), [voice("ann"), voice("bob")]
    assert not isinstance(encoder, ViewEncoder)
    assert view_names(encoder) == (PLAIN,)
    views = embed_views(encoder, clips)
    assert views.shape == (2, 1, 32)
    np.testing.assert_array_equal(views[:, 0], encoder.embed(clips))
    assert embed_views(encoder, []).shape == (0, 1, 32)


def test_an_encoder_with_views() -> None:
    encoder, clips = TwoViews(), [voice("ann"), voice("bob")]
    assert isinstance(encoder, ViewEncoder)
    assert view_names(encoder) == ("plain", "differences")
    np.testing.assert_array_equal(embed_views(encoder, clips), encoder.embed_views(clips))
    np.testing.assert_array_equal(embed_views(encoder, clips)[:, 0], encoder.embed(clips))
