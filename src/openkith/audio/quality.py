"""What can be told of a clip before anyone is recognised by it: speech, noise, clipping, bandwidth.

Noise and bandwidth are judged on band powers: windows of 32 ms, every 10 ms, in bands of 250 Hz. Speech comes
and goes in each band, and noise that is always there is what the quietest tenth of the windows hold (the idea
of minimum statistics, R. Martin, IEEE Trans. Speech Audio Process. 9(5), 2001, without its tracking).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openkith.audio.clipping import clipped_share
from openkith.audio.io import SAMPLE_RATE, Audio
from openkith.audio.vad import speech_seconds

__all__ = ["Quality", "measure_quality"]

WINDOW, HOP = 512, 160  # samples: 32 and 10 ms
BAND_BINS = 8  # FFT bins of 31.25 Hz in a band
BAND_HZ = BAND_BINS * SAMPLE_RATE / WINDOW
RUMBLE_BINS = 2  # the lowest, DC and hum, hold no speech
MAX_WINDOWS = 20_000  # that are looked at, of a clip of more than 200 s
CHUNK = 2048  # windows that are transformed at a time
TINY = 1e-20  # a power far below one step of 24 bits
QUIET_SHARE = 0.1  # of the windows, taken for noise
QUIET_BIAS = 0.473  # that quantile of the band power of stationary noise over its mean, found on white noise
LOUD_SHARE = 0.95  # quantile over the windows: the loudest sounds of the clip in a band
SILENT_POWER = 1 / 32768**2  # a window under one 16-bit step RMS is muted, and tells nothing of the noise
MIN_SNR, MAX_SNR = -10.0, 60.0  # dB; beyond them the estimate says no more
ABOVE_NOISE = 10**0.6  # 6 dB: what speech in a band must rise over the noise
BELOW_PEAK = 10**-5.0  # -50 dB: under the strongest band it is leakage

FEW_SECONDS = 1.0  # advice is given below these seconds of speech,
NOISY_DB = 10.0  # below this SNR,
CLIPPED_SHARE = 0.01  # above this share,
NARROW_HZ = 4500.0  # and below this bandwidth


@dataclass(frozen=True)
class Quality:
    """How good a clip is.

    Attributes:
        seconds: Length of the clip.
        speech_seconds: Seconds of it that are speech.
        snr_db: Estimated signal-to-noise ratio in dB, -10 to 60: above 62 Hz, within about 5 dB for steady
            noise and clips of a few seconds. In a shorter one there may be no pause to judge by.
        clipped: Share of the samples that are clipped, 0 to 1.
        bandwidth_hz: Up to which frequency speech stands out of the noise, in steps of 250 Hz; at most half
            the rate of the recording, and 0 where it nowhere does.
    """

    seconds: float
    speech_seconds: float
    snr_db: float
    clipped: float
    bandwidth_hz: float

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do better, a sentence for each fault; empty for a good clip."""
        found = []
        if self.speech_seconds < FEW_SECONDS:
            found.append(f"short: {self.speech_seconds:.1f} s of speech; speak for 3 seconds or more")
        if self.snr_db < NOISY_DB and self.seconds >= FEW_SECONDS:  # a short clip has no pause to judge by
            found.append(
                f"noisy: about {self.snr_db:.0f} dB above the noise; come closer to the microphone, "
                "or go where it is quieter"
            )
        if self.clipped > CLIPPED_SHARE:
            found.append(
                f"clipped: {self.clipped:.1%} of the samples; lower the recording level, or step back"
            )
        if 0 < self.bandwidth_hz < NARROW_HZ:
            found.append(
                f"narrow band: no speech above {self.bandwidth_hz / 1000:.1f} kHz; a telephone line or noise "
                "hides the rest, record with the microphone that will be used"
            )
        return tuple(found)


def measure_quality(audio: Audio) -> Quality:
    """Measure the quality of a clip of any length. Deterministic."""
    power = _power(audio.samples)
    power = power[power.sum(axis=1) > SILENT_POWER]
    return Quality(
        seconds=audio.seconds,
        speech_seconds=speech_seconds(audio),
        snr_db=_snr(power) if len(power) else MIN_SNR,
        clipped=clipped_share(audio.samples) if audio.clipped is None else audio.clipped,
        bandwidth_hz=min(_bandwidth(power) if len(power) else 0.0, audio.native_rate / 2, SAMPLE_RATE / 2),
    )


def _snr(power: NDArray[np.float32]) -> float:
    """Signal-to-noise ratio in dB from the power (windows, bins) of a clip."""
    bands = _bands(power)
    noise = float(np.quantile(bands, QUIET_SHARE, axis=0).sum()) / QUIET_BIAS
    total = float(bands.sum(axis=1).mean())
    ratio = max(total - noise, 1e-9 * total) / max(noise, 1e-9 * total)
    return float(np.clip(10 * np.log10(ratio), MIN_SNR, MAX_SNR))


def _bandwidth(power: NDArray[np.float32]) -> float:
    """Upper edge in Hz of the highest band in which something rises over the noise, 0 if there is none."""
    # Each bin is measured by its own noise first: on the slope of a resampling filter a band would else be
    # little more than its strongest bin, which fluctuates as if it were speech.
    quiet = np.quantile(power, QUIET_SHARE, axis=0)
    rise = _bands(power / (quiet + TINY))
    noise = np.quantile(rise, QUIET_SHARE, axis=0) / QUIET_BIAS
    loud = np.quantile(_bands(power), LOUD_SHARE, axis=0)
    speech = np.quantile(rise, LOUD_SHARE, axis=0) > ABOVE_NOISE * noise
    found = np.flatnonzero(speech & (loud > BELOW_PEAK * loud.max()))
    return float(found[-1] + 1) * BAND_HZ if len(found) else 0.0


def _bands(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(windows, 256 bins) -> (windows, 32 bands) by addition."""
    bands: NDArray[np.float32] = power.reshape(len(power), -1, BAND_BINS).sum(axis=2)
    return bands


def _power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power spectra (windows, 256) of a clip. A row adds up to the mean square of the window, without DC.

    Of a long clip, at most `MAX_WINDOWS` that are evenly spread.
    """
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    shape = np.hanning(WINDOW + 1)[:WINDOW]
    scale = 2.0 / (WINDOW * np.sum(shape**2))  # 2: for the negative frequencies
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    windows = windows[:: -(-len(windows) // MAX_WINDOWS)]
    power = np.empty((len(windows), WINDOW // 2), dtype=np.float32)
    for first in range(0, len(windows), CHUNK):
        spectrum = np.fft.rfft(windows[first : first + CHUNK] * shape)[:, : WINDOW // 2]
        power[first : first + CHUNK] = scale * np.abs(spectrum) ** 2
    power[:, :RUMBLE_BINS] = 0.0
    return power
