"""Each degradation does to the signal what its numbers say, measured on the output."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from openkith.audio import degrade
from openkith.audio.degrade import (
    NOISE_KINDS,
    add_noise,
    babble,
    band_limit,
    crop,
    gain,
    match_level,
    noise,
    random_eq,
    resample_through,
    reverberate,
    spectral_tilt,
)
from openkith.errors import AudioError, ConfigError

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(x, dtype=np.float64) ** 2)))


def db(ratio: float) -> float:
    return 20 * np.log10(ratio)


def power(x: np.ndarray, low: float, high: float) -> float:
    """Mean power density between two frequencies."""
    hz, density = scipy.signal.welch(np.asarray(x, dtype=np.float64), RATE, nperseg=4096)
    return float(density[(hz >= low) & (hz < high)].mean())


def db_per_octave(x: np.ndarray, low: float, high: float) -> float:
    hz, density = scipy.signal.welch(np.asarray(x, dtype=np.float64), RATE, nperseg=4096)
    inside = (hz >= low) & (hz <= high)
    return float(np.polyfit(np.log2(hz[inside]), 10 * np.log10(density[inside]), 1)[0])


@pytest.fixture
def flat() -> np.ndarray:
    """Four seconds with the same power at every frequency, at -20 dBFS."""
    return (0.1 * rng(99).standard_normal(4 * RATE)).astype(np.float32)


RANDOM = {
    **{f"noise-{kind}": lambda x, g, kind=kind: noise(len(x), kind, g) for kind in NOISE_KINDS},
    "reverberate": lambda x, g: reverberate(x, g, 0.4),
    "random_eq": random_eq,
    "crop": lambda x, g: crop(x, g, 1.0),
    "babble": lambda x, g: babble([x, x[::-1]], len(x), g),
}


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_decides(flat: np.ndarray, name: str) -> None:
    first, again, other = (RANDOM[name](flat, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape == other.shape
    assert not np.array_equal(first, other)


def steps(x: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "reverberate": reverberate(x, rng(), 0.5),
        "band_limit": band_limit(x, 200, 3600),
        "resample_through": resample_through(x),
        "random_eq": random_eq(x, rng()),
        "spectral_tilt": spectral_tilt(x, 4.0),
        "match_level": match_level(3 * x, x),
    }


@pytest.mark.parametrize("length", [1, 2, 777, 16_001])
def test_length_level_and_type_are_kept(length: int) -> None:
    x = (0.1 * rng(5).standard_normal(length)).astype(np.float32)
    before = x.copy()
    for name, y in steps(x).items():
        assert y.dtype == np.float32, name
        assert y.shape == x.shape, name
        assert np.isfinite(y).all(), name
        assert rms(y) == pytest.approx(rms(x), rel=1e-5), name
    assert np.array_equal(x, before)


def test_silence_stays_silence() -> None:
    silence = np.zeros(8000, dtype=np.float32)
    for name, y in {
        **steps(silence),
        "crop": crop(silence, rng(), 0.1),
        "gain": gain(silence, 6),
        "add_noise": add_noise(silence, noise(8000, "pink", rng()), 5),
    }.items():
        assert not y.any(), name


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_has_unit_rms_at_any_length(kind: degrade.NoiseKind) -> None:
    for length in (2, 777, 48_000):
        x = noise(length, kind, rng())
        assert x.shape == (length,)
        assert x.dtype == np.float32
        assert rms(x) == pytest.approx(1, rel=1e-5)
    assert np.isfinite(noise(1, kind, rng())).all()


@pytest.mark.parametrize(
    ("kind", "slope"), [("white", 0.0), ("pink", -10 * np.log10(2)), ("brown", -20 * np.log10(2))]
)
def test_slope_of_coloured_noise(kind: degrade.NoiseKind, slope: float) -> None:
    x = noise(30 * RATE, kind, rng(3))
    assert db_per_octave(x, 60, 6000) == pytest.approx(slope, abs=0.15)


def test_speech_noise_is_flat_then_falls_and_swells_like_syllables() -> None:
    x = noise(30 * RATE, "speech", rng(4))
    assert db_per_octave(x, 50, 200) == pytest.approx(0, abs=0.6)
    assert db_per_octave(x, 2000, 7000) == pytest.approx(-12, abs=0.5)
    envelope = (x.reshape(-1, 160).astype(np.float64) ** 2).mean(axis=1)  # 100 values a second
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    peak = np.fft.rfftfreq(len(envelope), 0.01)[spectrum.argmax()]
    assert 3 <= peak <= 6
    assert noise(RATE, "speech", rng(1)).std() == pytest.approx(1, abs=0.05)


def test_noise_does_not_return_to_its_beginning() -> None:
    """The inverse FFT is periodic, which brown noise would show as an end that meets the beginning."""
    jumps = [abs(float(x[0] - x[-1])) for seed in range(40) for x in [noise(1600, "brown", rng(seed))]]
    assert np.median(jumps) > 0.5


@pytest.mark.parametrize("snr", [-5.0, 0.0, 7.3, 30.0])
@pytest.mark.parametrize("length", [100, 64_000, 100_000])
def test_snr_is_exact(flat: np.ndarray, snr: float, length: int) -> None:
    y = add_noise(flat, 0.003 * noise(length, "pink", rng()), snr)
    added = y.astype(np.float64) - flat
    assert y.shape == flat.shape
    assert db(rms(flat) / rms(added)) == pytest.approx(snr, abs=0.01)


def decay_times(response: np.ndarray) -> float:
    """T60 by Schroeder's backward integration, from the slope between -5 and -35 dB."""
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    inside = np.flatnonzero((level < -5) & (level > -35))
    slope = np.polyfit(inside / RATE, level[inside], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("t60", [0.2, 0.5, 0.9])
def test_reverberation_time(t60: float) -> None:
    impulse = np.zeros(2 * RATE)
    impulse[100] = 1.0
    response = reverberate(impulse, rng(7), t60)
    assert not np.abs(response[:100]).max() > 1e-6
    assert decay_times(response[101:]) == pytest.approx(t60, rel=0.1)


@pytest.mark.parametrize("ratio", [-9.0, 0.0, 12.0])
def test_direct_to_reverberant_ratio(ratio: float) -> None:
    impulse = np.zeros(RATE)
    impulse[0] = 1.0
    response = reverberate(impulse, rng(8), 0.3, ratio).astype(np.float64)
    assert 10 * np.log10(response[0] ** 2 / (response[1:] ** 2).sum()) == pytest.approx(ratio, abs=0.01)


def test_telephone_band(flat: np.ndarray) -> None:
    y = band_limit(flat, 200, 3600)
    inside = power(y, 500, 3000)
    assert 10 * np.log10(power(y, 195, 205) / inside) == pytest.approx(-3, abs=0.8)
    assert 10 * np.log10(power(y, 3570, 3630) / inside) == pytest.approx(-3, abs=0.8)
    assert 10 * np.log10(power(y, 20, 100) / inside) < -22
    assert 10 * np.log10(power(y, 6000, 8000) / inside) < -20


def test_one_edge_only(flat: np.ndarray) -> None:
    low = band_limit(flat, 0, 2000)
    assert power(low, 20, 100) == pytest.approx(power(low, 500, 1000), rel=0.2)
    high = band_limit(flat, 1000, 8000)
    assert power(high, 7500, 7900) == pytest.approx(power(high, 3000, 5000), rel=0.2)


def test_nothing_is_left_above_half_the_rate(flat: np.ndarray) -> None:
    y = resample_through(flat)
    assert 10 * np.log10(power(y, 4400, 8000) / power(y, 100, 3000)) < -35
    assert np.corrcoef(band_limit(flat, 0, 3000, order=8), band_limit(y, 0, 3000, order=8))[0, 1] > 0.99


def test_equaliser_stays_within_its_gains(flat: np.ndarray) -> None:
    for seed in range(5):
        y = random_eq(flat, rng(seed), max_db=6)
        bands = [(300, 400), (700, 800), (1400, 1600), (2500, 3500), (5000, 7000)]
        change = [10 * np.log10(power(y, *band) / power(flat, *band)) for band in bands]
        assert np.ptp(change) <= 12.2
        assert np.ptp(change) > 1
    assert np.allclose(random_eq(flat, rng(), max_db=0), flat, atol=1e-6)


def test_tilt_is_so_many_db_per_octave(flat: np.ndarray) -> None:
    for tilt in (-5.0, 3.0):
        change = db_per_octave(spectral_tilt(flat, tilt), 200, 6000) - db_per_octave(flat, 200, 6000)
        assert change == pytest.approx(tilt, abs=0.1)
    assert power(spectral_tilt(flat, 3.0), 20, 60) == pytest.approx(
        power(spectral_tilt(flat, 3.0), 100, 140), rel=0.3
    )


def test_filters_do_not_ring_around_the_ends() -> None:
    x = np.zeros(RATE, dtype=np.float32)
    x[-50:] = 0.5
    for y in (random_eq(x, rng()), spectral_tilt(x, 5.0)):
        assert np.abs(y[:4000]).max() < 1e-3 * np.abs(y).max()


def test_gain_is_in_db(flat: np.ndarray) -> None:
    assert db(rms(gain(flat, -4.5)) / rms(flat)) == pytest.approx(-4.5, abs=1e-3)


def test_crop_is_a_stretch_of_the_clip() -> None:
    x = np.arange(1, 32_001, dtype=np.float32)
    y = crop(x, rng(), 0.5)
    assert len(y) == 8000
    assert np.array_equal(np.diff(y), np.ones(7999))
    assert y[0] >= 1
    assert y[-1] <= 32_000
    assert np.array_equal(crop(x, rng(), 2.0), x)
    assert np.array_equal(crop(x, rng(), 99.0), x)
    assert len({float(crop(x, rng(seed), 0.5)[0]) for seed in range(9)}) > 5


def test_crop_avoids_pauses() -> None:
    x = np.zeros(10 * RATE, dtype=np.float32)
    x[4 * RATE : 7 * RATE] = 0.1 * rng().standard_normal(3 * RATE)
    with_sound = sum(crop(x, rng(seed), 0.5).any() for seed in range(40))
    assert with_sound >= 34  # one draw alone would find it 14 times


def test_babble_is_all_voices_equally_loud() -> None:
    t = np.arange(RATE) / RATE
    voices = [level * np.sin(2 * np.pi * hz * t) for level, hz in ((0.5, 400), (0.001, 1000), (0.05, 3000))]
    y = babble(voices, 3 * RATE + 7, rng())
    assert y.shape == (3 * RATE + 7,)
    assert rms(y) == pytest.approx(1, rel=1e-5)
    levels = [power(y, hz - 10, hz + 10) for hz in (400, 1000, 3000)]
    assert max(levels) / min(levels) < 1.1
    assert power(y, 1500, 2500) < 1e-4 * min(levels)


def test_match_level_does_not_amplify_rounding() -> None:
    x = 0.1 * rng().standard_normal(1000)
    assert rms(match_level(1e-9 * x, x)) < 1e-9
    assert rms(match_level(1e-3 * x, x)) == pytest.approx(rms(x), rel=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda _: noise(10, "mauve", rng()),  # type: ignore[arg-type]
        lambda _: noise(0, "white", rng()),
        lambda x: reverberate(x, rng(), 0.0),
        lambda x: reverberate(x, rng(), float("nan")),
        lambda x: band_limit(x, 3600, 200),
        lambda x: band_limit(x, -1, 200),
        lambda x: resample_through(x, 0),
        lambda x: resample_through(x, 44_100),
        lambda x: crop(x, rng(), 0.0),
        lambda x: crop(x, rng(), float("nan")),
        lambda _: babble([], 10, rng()),
        lambda _: babble([np.zeros(5)], 10, rng()),
        lambda x: babble([x], 0, rng()),
    ],
)
def test_wrong_numbers_are_refused(call) -> None:
    with pytest.raises(ConfigError, match=r"; |: "):
        call(np.ones(100))


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 5)), np.array([0.0, np.nan]), np.array([np.inf])])
def test_wrong_samples_are_refused(bad: np.ndarray) -> None:
    for call in (
        lambda: crop(bad, rng(), 1.0),
        lambda: gain(bad, 1.0),
        lambda: random_eq(bad, rng()),
        lambda: reverberate(bad, rng(), 0.3),
        lambda: add_noise(bad, np.ones(5), 3.0),
        lambda: add_noise(np.ones(5), bad, 3.0),
    ):
        with pytest.raises(AudioError, match=r"samples of shape .*give one channel"):
            call()
