"""Spectral features: mel powers with scipy, and Kaldi's log mel powers with kaldi-native-fbank.

The mel scale of `power_mel` is Slaney's (linear below 1 kHz, logarithmic above; Auditory Toolbox, 1998), with
filters of equal area, which is what the GE2E encoder was trained on. Kaldi's is 1127 ln(1 + f / 700), with
filters of equal height.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.fft

from openkith.errors import ConfigError

__all__ = ["KALDI_WINDOWS", "kaldi_fbank", "mel_filterbank", "power_mel"]

FloatArray = npt.NDArray[np.float32]

_HERTZ_PER_MEL = 200.0 / 3.0  # of the linear part
_BREAK_HERTZ = 1000.0  # where the logarithmic part begins
_LOG_STEP = np.log(6.4) / 27.0  # of the logarithmic part, per mel
KALDI_WINDOWS = ("povey", "hamming")  # the former is a Hann window to the power of 0.85
# Transformed at a time. OpenBLAS splits the products of more frames over all cores, and its threads then wait for more
# work with their cores busy for 26 ms, in the way of torch's.
_BLOCK_FRAMES = 32


def _hertz_to_mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HERTZ / _HERTZ_PER_MEL + np.log(np.maximum(hertz, 1e-9) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz / _HERTZ_PER_MEL, above)


def _mel_to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_HERTZ / _HERTZ_PER_MEL))
    return np.where(mel < _BREAK_HERTZ / _HERTZ_PER_MEL, mel * _HERTZ_PER_MEL, above)


@functools.lru_cache(maxsize=8)
def mel_filterbank(n_mels: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Triangular filters of equal area on Slaney's mel scale, from 0 Hz to half the sample rate.

    Returns:
        Shape (n_mels, n_fft // 2 + 1), float32.
    """
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(np.array(sample_rate / 2.0)), n_mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    filters: FloatArray = (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)
    filters.flags.writeable = False  # the cache hands the same array to every caller
    return filters


@functools.lru_cache(maxsize=8)
def _hann(n: int) -> FloatArray:
    """The periodic Hann window, shape (n,)."""
    window: FloatArray = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)).astype(np.float32)
    window.flags.writeable = False
    return window


def power_mel(
    samples: FloatArray, *, n_mels: int = 40, n_fft: int = 400, hop: int = 160, sample_rate: int = 16_000
) -> FloatArray:
    """Mel power spectrogram (not logarithmic) with centred frames and zeros beyond the ends.

    Args:
        samples: Shape (n,), float32.
        n_mels: Number of filters.
        n_fft: Samples in a frame; 400 is 25 ms at 16 kHz.
        hop: Samples between frames; 160 is 10 ms at 16 kHz.
        sample_rate: Hz.

    Returns:
        Shape (1 + n // hop, n_mels), float32.
    """
    padded = np.pad(np.asarray(samples, dtype=np.float32), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    filters = mel_filterbank(n_mels, n_fft, sample_rate).T
    mel = np.empty((len(frames), n_mels), dtype=np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        spectrum = scipy.fft.rfft(frames[block] * _hann(n_fft), axis=-1)
        np.matmul(spectrum.real**2 + spectrum.imag**2, filters, out=mel[block])
    return mel


def kaldi_fbank(
    samples: FloatArray,
    *,
    window: str = "povey",
    scale: float = 1.0,
    n_mels: int = 80,
    subtract_mean: bool = True,
) -> FloatArray:
    """Kaldi's filter bank: log mel powers of frames of 25 ms every 10 ms, of audio at 16 kHz.

    A frame loses its mean, is pre-emphasised by 0.97, windowed and filled up to 512; its power goes through
    triangles of height 1 between 20 Hz and 8 kHz, and the logarithm of that is at least that of 2^-23. There is
    no dither. Frames lie within the samples ("snip edges"), the first centred on 12.5 ms; what is left over at
    the end makes no frame.

    Args:
        samples: Shape (n,), float32, full scale 1.
        window: One of `KALDI_WINDOWS`: Povey's is Kaldi's default, and 3D-Speaker's; WeSpeaker takes Hamming's.
        scale: What the samples are multiplied by: 1 in 3D-Speaker, 32768 (16-bit integers) in WeSpeaker.
        n_mels: Number of filters.
        subtract_mean: Take from each filter its mean over the utterance, as both do.

    Returns:
        Shape (1 + (n - 400) // 160, n_mels), float32; no rows for fewer than 400 samples.

    Raises:
        ConfigError: Another window.
    """
    import kaldi_native_fbank

    if window not in KALDI_WINDOWS:
        raise ConfigError(f"window is {window!r}; give one of: {', '.join(KALDI_WINDOWS)}")
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = n_mels
    bank = kaldi_native_fbank.OnlineFbank(options)
    scaled = np.asarray(samples, np.float32) * np.float32(scale)
    bank.accept_waveform(16_000, scaled.tolist())  # a list is read faster than an array
    bank.input_finished()
    frames = np.empty((bank.num_frames_ready, n_mels), np.float32)
    for index in range(len(frames)):
        frames[index] = bank.get_frame(index)
    if subtract_mean and len(frames):
        frames -= frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    return frames
