"""Log-mel features of the encoders that came out of the VoxCeleb trainer (Chung et al., Interspeech 2020).

Pre-emphasis 0.97, power spectrum of 25/10 ms Hamming frames centred on multiples of 10 ms, triangular filters on
HTK's mel scale without area norm from 0 Hz to half the sample rate, log(x + 1e-6), and each mel band brought to zero
mean and unit variance over the clip. Before the first sample, and beyond either end, the clip is mirrored.

Used by `openkith.encoders.networks.resnetse` (64 bands, full scale 1) and by the ResNet34 of neural scoring in
`openkith.encoders.networks.resnet` (80 bands, full scale 32768).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.fft

from openkith.audio import SAMPLE_RATE
from openkith.encoders.base import FloatArray

__all__ = ["HOP_SECONDS", "frame_count", "hamming_window", "htk_filterbank", "normalised_log_mel"]

HOP_SECONDS = 0.010
N_FFT = 512
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
PRE_EMPHASIS = 0.97
LOG_FLOOR = 1e-6  # added to the mel powers, in squared units of the scaled waveform
VARIANCE_FLOOR = 1e-5  # added to the variance of each band
_BLOCK_FRAMES = 1024  # transformed at a time, so that a long clip takes little memory


@functools.lru_cache(maxsize=4)
def htk_filterbank(n_mels: int) -> FloatArray:
    """Triangular filters of height 1, evenly spaced in mel = 2595 log10(1 + f / 700) from 0 Hz to 8 kHz.

    Returns:
        Shape (257, n_mels), float32. With 80 bands the lowest filters fall between two bins and may be empty.
    """
    highest = 2595.0 * np.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, highest, n_mels + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    filters: FloatArray = np.maximum(np.minimum(rising, falling), 0.0).astype(np.float32)
    filters.flags.writeable = False  # the cache hands the same array to every caller
    return filters


@functools.lru_cache(maxsize=1)
def hamming_window() -> FloatArray:
    """The periodic Hamming window, shape (400,)."""
    window: FloatArray = (0.54 - 0.46 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    window.flags.writeable = False
    return window


def frame_count(n_samples: int) -> int:
    """Frames of a clip of so many samples: one every 10 ms, the first centred on its first sample."""
    return 1 + n_samples // HOP


def normalised_log_mel(samples: FloatArray, *, n_mels: int, full_scale: float = 1.0) -> FloatArray:
    """Log-mel features, each band normalised over the clip.

    Args:
        samples: Shape (n,), mono at 16 kHz, in [-1, 1].
        n_mels: Number of bands.
        full_scale: What a sample of 1 counts as: 1, or 32768 where the encoder was trained on 16-bit numbers.

    Returns:
        Shape (1 + n // 160, n_mels), float32.
    """
    emphasised = _pre_emphasis(np.asarray(samples, np.float32) * np.float32(full_scale))
    # A frame of 400 samples, zero-padded to 512, has the power spectrum of the window in the middle of 512.
    frames = np.lib.stride_tricks.sliding_window_view(_mirrored(emphasised, WINDOW // 2), WINDOW)[::HOP]
    filters = htk_filterbank(n_mels)
    mel = np.empty((len(frames), n_mels), np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        spectrum = scipy.fft.rfft(frames[block] * hamming_window(), n=N_FFT, axis=-1)
        np.matmul(spectrum.real**2 + spectrum.imag**2, filters, out=mel[block])
    mel += np.float32(LOG_FLOOR)
    np.log(mel, out=mel)
    mean, variance = mel.mean(axis=0, dtype=np.float64), mel.var(axis=0, dtype=np.float64)
    mel -= mean.astype(np.float32)
    mel /= np.sqrt(variance + VARIANCE_FLOOR).astype(np.float32)
    return mel


def _pre_emphasis(samples: FloatArray) -> FloatArray:
    """y_t = x_t - 0.97 x_(t-1), where x_(-1) is x_1."""
    before = np.concatenate([samples[1:2] if len(samples) > 1 else samples[:1], samples[:-1]])
    return np.subtract(samples, before * np.float32(PRE_EMPHASIS), dtype=np.float32)


def _mirrored(samples: FloatArray, n: int) -> npt.NDArray[np.float32]:
    """With n samples more at either end, mirrored about the first and the last one."""
    return np.pad(samples, n, mode="reflect")
