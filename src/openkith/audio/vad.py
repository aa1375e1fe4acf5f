"""Voice activity: which parts of a clip are speech.

WebRTC's detector (Gaussian mixtures on sub-band energies, in its strictest mode) decides on frames of 30 ms.
Its flags are smoothed by a moving average over 8 frames and dilated by 3 frames on either side, as the
default encoder was trained to expect. The other detector is Silero's network; see `openkith.audio.silero`.
``benchmarks/vad.py`` compares them. Because decisions depend on the level, quiet clips are raised to -30 dBFS for
them; what is returned is always cut from the samples as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from openkith.audio import silero
from openkith.audio.io import Audio
from openkith.audio.stream import SAMPLE_RATE
from openkith.errors import ConfigError

__all__ = ["DETECTORS", "Detector", "speech_mask", "speech_seconds", "speech_segments", "trim_silence"]

WEBRTC = "webrtc"
WEBRTC_FRAME = SAMPLE_RATE * 30 // 1000  # samples of the longest frame that WebRTC's detector takes
STRICTEST = 3  # its mode: misses speech rather than take noise for it
TARGET_DBFS = -30.0  # RMS level that a quiet clip is raised to, for the decision only
AVERAGE_FRAMES = 8  # width of the moving average over the flags
DILATION_FRAMES = 7  # so that silences of up to 6 frames inside speech stay
MIN_SAMPLES = 1600  # 0.1 s: with less speech than that the clip is used whole
WHOLE_SECONDS = 1.0  # a shorter clip is a word cut out by hand or by a wake-word engine: used whole


@dataclass(frozen=True)
class Detector:
    """Something that tells speech from the rest.

    Attributes:
        frame: Samples that are decided on at once.
        flags: Samples (n,), 16 kHz, raised to the level, to one flag for each whole frame: is it speech, or close
            to it?
    """

    frame: int
    flags: Callable[[NDArray[np.float32]], NDArray[np.bool_]]


def speech_mask(audio: Audio, detector: str = WEBRTC) -> NDArray[np.bool_]:
    """Which samples are speech.

    Args:
        audio: Of any length.
        detector: One of `DETECTORS`.

    Returns:
        (n,) bool. The samples after the last whole frame (30 ms, with "silero" 32 ms) are False.

    Raises:
        ConfigError: No such detector.
        MissingDependencyError: Silero's needs onnxruntime: the extra ``onnx``.
        WeightsError: Silero's model is not on this machine and cannot be fetched.
    """
    mask = np.zeros(len(audio.samples), dtype=bool)
    flags, frame = _flags(audio, detector)
    mask[: len(flags) * frame] = np.repeat(flags, frame)
    return mask


def speech_segments(audio: Audio, detector: str = WEBRTC) -> list[tuple[float, float]]:
    """The stretches of speech, as (start, end) in seconds, in order; errors as of `speech_mask`."""
    flags, frame = _flags(audio, detector)
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(float(start), float(end)) for start, end in edges.reshape(-1, 2) * frame / SAMPLE_RATE]


def speech_seconds(audio: Audio, detector: str = WEBRTC) -> float:
    """Seconds that are speech: 0 where the detector finds none; errors as of `speech_mask`."""
    flags, frame = _flags(audio, detector)
    return float(flags.sum()) * frame / SAMPLE_RATE


def trim_silence(audio: Audio, detector: str = WEBRTC) -> Audio:
    """Cut everything that is not speech.

    A clip under 1 s, or in which less than 0.1 s of speech is found, comes back as it is: the detector needs
    a few frames to settle, and eats the edges of single short words (cutting them raised the EER on words of
    0.3 to 0.6 s by the 63 cohort speakers from 0.119 to 0.135). Errors as of `speech_mask`.
    """
    _find(detector)
    if audio.seconds < WHOLE_SECONDS:
        return audio
    flags, frame = _flags(audio, detector)
    if np.count_nonzero(flags) * frame < MIN_SAMPLES:
        return audio
    frames = audio.samples[: len(flags) * frame].reshape(-1, frame)
    return replace(audio, samples=frames[flags].reshape(-1))


def _flags(audio: Audio, detector: str) -> tuple[NDArray[np.bool_], int]:
    """One flag for each whole frame, and the samples of a frame."""
    found = _find(detector)
    if len(audio.samples) < found.frame:
        return np.zeros(0, dtype=bool), found.frame
    return found.flags(_raised(audio.samples)), found.frame


def _find(detector: str) -> Detector:
    if detector not in DETECTORS:
        raise ConfigError(f"detector is {detector!r}; give one of: {', '.join(DETECTORS)}")
    return DETECTORS[detector]


def _webrtc_flags(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    import webrtcvad

    pcm = np.clip(samples, -1.0, 1.0)
    pcm *= np.float32(32767)
    data = np.rint(pcm, out=pcm).astype(np.int16).tobytes()
    size = 2 * WEBRTC_FRAME
    is_speech = webrtcvad.Vad(STRICTEST).is_speech  # it adapts as it goes: a new one for each clip
    flags = np.array(
        [
            is_speech(data[start : start + size], SAMPLE_RATE)
            for start in range(0, len(data) - size + 1, size)
        ],
        dtype=np.float64,
    )
    # Frame i is averaged with the 3 before and the 4 after it; speech is more than half of the 8.
    before = (AVERAGE_FRAMES - 1) // 2
    padded = np.pad(flags, (before, AVERAGE_FRAMES - 1 - before))
    average = np.convolve(padded, np.ones(AVERAGE_FRAMES), mode="valid") / AVERAGE_FRAMES
    dilated: NDArray[np.bool_] = binary_dilation(average > 0.5, np.ones(DILATION_FRAMES))
    return dilated


def _raised(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The clip, raised (never lowered) to the target level."""
    rms = float(np.sqrt(np.square(samples).mean(dtype=np.float64)))
    gain = max(1.0, 10 ** (TARGET_DBFS / 20) / rms) if rms > 0 else 1.0
    return samples if gain == 1.0 else samples * np.float32(gain)


DETECTORS: dict[str, Detector] = {
    WEBRTC: Detector(WEBRTC_FRAME, _webrtc_flags),
    "silero": Detector(silero.FRAME, silero.silero_flags),
}
