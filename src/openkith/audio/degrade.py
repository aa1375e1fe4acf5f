"""Speech as other rooms, lines and microphones would have recorded it: noise, rooms, bands, cuts.

Every function takes mono speech (n,) at 16 kHz and gives float32, finite and never empty, with the RMS of the
input unless it says otherwise. Whatever is random is drawn from the generator that it is given, so that equal
seeds give equal samples.

All of them raise AudioError for samples that are empty, not one-dimensional, or not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from openkith.audio.io import SAMPLE_RATE
from openkith.errors import AudioError, ConfigError

__all__ = [
    "NOISE_KINDS",
    "NoiseKind",
    "Samples",
    "add_noise",
    "babble",
    "band_limit",
    "crop",
    "gain",
    "match_level",
    "noise",
    "random_eq",
    "resample_through",
    "reverberate",
    "spectral_tilt",
]

Samples = NDArray[np.float32]
NoiseKind = Literal["white", "pink", "brown", "speech"]

NOISE_KINDS: tuple[NoiseKind, ...] = ("white", "pink", "brown", "speech")
LOWEST_HZ = 20.0  # below it, noise has the level that it has there: a microphone hears no more
SPEECH_CORNER_HZ = 500.0  # speech falls by 12 dB per octave above
SYLLABLES_HZ = (3.0, 6.0)  # rate of the syllabic modulation
SYLLABLES_DEPTH = 0.7
TILT_PIVOT_HZ = 800.0
TILT_FLOOR_HZ = 150.0  # below it, tilt stays what it is there
EQ_NODES_HZ = (0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
MIN_BAND_HZ = 10.0  # a narrower band is a mistake
NOTHING = 1e-6  # share of an RMS: -120 dB
CROP_DRAWS = 8
CROP_FLOOR_DB = -20.0  # a stretch this far below the clip's RMS is a pause, and is drawn again


def noise(n: int, kind: NoiseKind, rng: np.random.Generator) -> Samples:
    """Noise of one colour, with RMS 1.

    Power is flat for white, falls by 3 dB per octave for pink and by 6 for brown, above 20 Hz. Speech noise
    has a long-term spectrum like speech, flat to 500 Hz and falling by 12 dB per octave above, and swells
    3 to 6 times a second as syllables do.

    Raises:
        ConfigError: The kind is not one of `NOISE_KINDS`, or n is under 1.
    """
    if kind not in NOISE_KINDS:
        raise ConfigError(f"noise kind {kind!r} is unknown; use {', '.join(NOISE_KINDS)}")
    if n < 1:
        raise ConfigError(f"noise of {n} samples; ask for 1 or more")
    if kind == "white":
        x = rng.standard_normal(n)
    else:
        # A part of something longer, since the inverse FFT ties the end of its period to the beginning.
        length = 1 << (n + SAMPLE_RATE // 10).bit_length()
        spectrum = np.fft.rfft(rng.standard_normal(length))
        hz = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), LOWEST_HZ)
        spectrum[0] = 0.0
        if kind == "pink":
            spectrum /= np.sqrt(hz)
        elif kind == "brown":
            spectrum /= hz
        else:
            spectrum /= np.sqrt(1 + (hz / SPEECH_CORNER_HZ) ** 4)
        x = np.fft.irfft(spectrum, length)[:n]
    if kind == "speech":
        phase = 2 * np.pi * (rng.uniform(*SYLLABLES_HZ) * np.arange(n) / SAMPLE_RATE + rng.random())
        x *= 1 + SYLLABLES_DEPTH * np.sin(phase)
    return _float32(x / max(_rms(x), 1e-12))


def add_noise(samples: NDArray[Any], noise: NDArray[Any], snr_db: float) -> Samples:
    """Speech plus noise at a signal-to-noise ratio, as the ratio of RMS over the whole clip.

    The speech keeps its level, so the sum's RMS is higher. Noise that is too short is repeated, and what is
    too long is cut. Silence on either side gives the speech back as it was.

    Args:
        samples: Speech (n,).
        noise: Noise (m,), of any level.
        snr_db: 20 log10(RMS of the speech / RMS of the noise), exact.
    """
    x = _checked(samples)
    y = np.resize(_checked(noise), len(x))
    speech_rms, noise_rms = _rms(x), _rms(y)
    if speech_rms == 0 or noise_rms == 0:
        return _float32(x)
    return _float32(x + y * (speech_rms / noise_rms * 10 ** (-snr_db / 20)))


def reverberate(
    samples: NDArray[Any], rng: np.random.Generator, t60: float, direct_to_reverberant_db: float = 0.0
) -> Samples:
    """Speech in a room, by a response of one direct path and exponentially decaying white noise.

    Args:
        samples: Speech (n,); the result is cut to the same length.
        rng: Draws the response.
        t60: Reverberation time in seconds: the tail falls by 60 dB in it.
        direct_to_reverberant_db: Energy of the direct path over energy of the tail.

    Raises:
        ConfigError: t60 is not above 0.

    Source: J. D. Polack, "La transmission de l'énergie sonore dans les salles", 1988.
    """
    x = _checked(samples)
    if not (math.isfinite(t60) and t60 > 0):
        raise ConfigError(f"t60 is {t60}; give a reverberation time above 0 seconds")
    length = max(2, round(t60 * SAMPLE_RATE))
    response = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / (t60 * SAMPLE_RATE))
    response[0] = 0.0
    response *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return match_level(scipy.signal.fftconvolve(x, response)[: len(x)], x)


def band_limit(samples: NDArray[Any], low_hz: float, high_hz: float, order: int = 4) -> Samples:
    """Speech through a Butterworth band-pass, as a telephone line or a small loudspeaker passes it.

    Args:
        samples: Speech (n,).
        low_hz: Lower edge (-3 dB); 0 leaves the low end alone.
        high_hz: Upper edge (-3 dB); 8000 or more leaves the high end alone.
        order: Slope of each edge: 6 dB per octave times this.

    Raises:
        ConfigError: The edges are not in order, or closer than 10 Hz.
    """
    x = _checked(samples)
    if not 0 <= low_hz <= high_hz - MIN_BAND_HZ:
        raise ConfigError(
            f"band from {low_hz} to {high_hz} Hz; give a low edge from 0 and a high edge above it"
        )
    y = x
    if low_hz > 0:
        y = scipy.signal.sosfilt(_butterworth(order, low_hz, "highpass"), y)
    if high_hz < SAMPLE_RATE / 2:
        y = scipy.signal.sosfilt(_butterworth(order, high_hz, "lowpass"), y)
    return match_level(y, x)


def resample_through(samples: NDArray[Any], rate: int = 8_000) -> Samples:
    """Speech as it comes back from a lower sample rate: nothing is left above half of that rate.

    Raises:
        ConfigError: The rate is not between 1000 Hz and the rate of the samples.
    """
    x = _checked(samples)
    if not 1000 <= rate <= SAMPLE_RATE:
        raise ConfigError(f"rate is {rate} Hz; give 1000 to {SAMPLE_RATE}")
    low = scipy.signal.resample_poly(x, rate, SAMPLE_RATE)
    return match_level(scipy.signal.resample_poly(low, SAMPLE_RATE, rate)[: len(x)], x)


def random_eq(samples: NDArray[Any], rng: np.random.Generator, max_db: float = 6.0) -> Samples:
    """Speech from another microphone: gains within +-max_db at octaves from 250 Hz, joined by lines."""
    gains_db = rng.uniform(-max_db, max_db, len(EQ_NODES_HZ))
    return _shape(samples, lambda hz: np.interp(hz, EQ_NODES_HZ, gains_db))


def spectral_tilt(samples: NDArray[Any], db_per_octave: float) -> Samples:
    """Speech with its spectrum tilted by so many dB per octave about 800 Hz, as vocal effort tilts it."""
    return _shape(samples, lambda hz: db_per_octave * np.log2(np.maximum(hz, TILT_FLOOR_HZ) / TILT_PIVOT_HZ))


def gain(samples: NDArray[Any], db: float) -> Samples:
    """Speech louder by ``db``: the RMS changes, and nothing is clipped."""
    return _float32(_checked(samples) * 10 ** (db / 20))


def crop(samples: NDArray[Any], rng: np.random.Generator, seconds: float) -> Samples:
    """A stretch of the speech at a random place, with the level that it has there.

    A stretch that is mostly a pause (20 dB below the clip) is drawn again, up to 8 times, and the loudest is
    kept. A clip that is no longer comes back whole.

    Raises:
        ConfigError: The length is not above 0 seconds.
    """
    x = _checked(samples)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"crop of {seconds} seconds; give a length above 0")
    length = max(1, round(seconds * SAMPLE_RATE))
    if len(x) <= length:
        return _float32(x)
    floor = _rms(x) * 10 ** (CROP_FLOOR_DB / 20)
    best = x[:0]
    for _ in range(CROP_DRAWS):
        start = int(rng.integers(len(x) - length + 1))
        stretch = x[start : start + length]
        if not len(best) or _rms(stretch) > _rms(best):
            best = stretch
        if _rms(best) >= floor:
            break
    return _float32(best)


def match_level(samples: NDArray[Any], reference: NDArray[Any]) -> Samples:
    """Samples at the RMS of the reference.

    What a filter left nothing of (120 dB below the reference) stays nothing: rounding is not amplified.
    """
    x = _checked(samples)
    target, now = _rms(reference), _rms(x)
    return _float32(x * (target / now) if now > NOTHING * target else x)


def babble(voices: Sequence[NDArray[Any]], n: int, rng: np.random.Generator) -> Samples:
    """Several people talking at once, equally loud, as noise with RMS 1 for `add_noise`.

    Args:
        voices: Speech of each person, (m,) of any length; each is begun at a random place and repeated.
        n: Samples to make.
        rng: Draws where each voice begins.

    Raises:
        ConfigError: There is no voice with any sound, or n is under 1.
    """
    if n < 1:
        raise ConfigError(f"babble of {n} samples; ask for 1 or more")
    total = np.zeros(n)
    for voice in voices:
        x = _checked(voice)
        if _rms(x) > 0:
            total += np.resize(np.roll(x, -int(rng.integers(len(x)))), n) / _rms(x)
    if _rms(total) == 0:
        raise ConfigError("babble of no voices; give the speech of one or more people")
    return _float32(total / _rms(total))


def _checked(samples: NDArray[Any]) -> NDArray[np.float64]:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise AudioError(
            f"samples of shape {x.shape}: give one channel of finite samples, (n,) with n above 0"
        )
    return x


def _float32(x: NDArray[Any]) -> Samples:
    return np.array(x, dtype=np.float32)


def _rms(x: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _shape(samples: NDArray[Any], gains_db: Callable[[NDArray[Any]], NDArray[Any]]) -> Samples:
    """Zero-phase filter with the gains (dB) that a function gives for frequencies (Hz)."""
    x = _checked(samples)
    length = len(x) + SAMPLE_RATE // 20  # room for the filter to ring, instead of around the clip's ends
    spectrum = np.fft.rfft(x, length)
    hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    return match_level(np.fft.irfft(spectrum * 10 ** (gains_db(hz) / 20), length)[: len(x)], x)


def _butterworth(order: int, hz: float, kind: str) -> NDArray[np.float64]:
    sections: NDArray[np.float64] = scipy.signal.butter(order, hz, kind, fs=SAMPLE_RATE, output="sos")
    return sections
