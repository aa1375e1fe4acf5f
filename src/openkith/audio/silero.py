"""Silero's voice activity detector: a small recurrent network, run by onnxruntime (the extra ``onnx``).

The model (version 6.2.3, 16 kHz, for whole sequences; MIT licence) travels in the wheel ``silero-vad``, which is
fetched as data on first use. It hears frames of 32 ms, each with the 4 ms before it, and gives the probability of
speech in each. From that, with the defaults of its authors: speech begins at 0.5 and goes on while the probability
does not stay under 0.35 for 100 ms; what is shorter than 250 ms is no speech; the rest is widened by about 30 ms on
either side.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.errors import WeightsError, require
from openkith.wheels import WheelFile, wheel_file

__all__ = ["FRAME", "SILERO", "flags_of", "silero_flags", "speech_probabilities"]

SILERO = WheelFile(
    name="silero-vad-6.2.3-16k.onnx",
    requirement="silero-vad==6.2.3",
    wheel_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    member="silero_vad/data/silero_vad_16k_sequence.onnx",
    member_sha256="9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
    licence="MIT",
)
FRAME = 512  # samples: 32 ms
CONTEXT = 64  # samples before a frame that it is heard with
HIDDEN = 128
BLOCK_FRAMES = 512  # that are computed at a time: 16 s
BEGIN, GO_ON = 0.5, 0.35  # probabilities
SILENT_FRAMES = 4  # under GO_ON for so long (100 ms and more): speech has ended where they began
LEAST_FRAMES = 8  # 250 ms
PADDING_FRAMES = 1


def silero_flags(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which whole frames of 32 ms are speech, or close to it.

    Args:
        samples: (n,), 16 kHz, full scale 1.

    Returns:
        (n // 512,) bool.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        WeightsError: The model cannot be had.
    """
    return flags_of(speech_probabilities(samples))


def speech_probabilities(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probability of speech in each whole frame of 32 ms, (n // 512,); see `silero_flags`."""
    session = _session()
    hidden = cell = np.zeros((1, 1, HIDDEN), np.float32)
    found = [np.zeros(0, np.float32)]
    for block in _blocks(samples):
        probabilities, hidden, cell = session.run(
            ["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell}
        )
        found.append(probabilities.reshape(-1))
    return np.concatenate(found)


def flags_of(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames of speech, (k,) bool, from the probability of each, (k,)."""
    flags = np.zeros(len(probabilities), dtype=bool)
    start: int | None = None
    silent = 0
    for frame, probability in enumerate([*probabilities.tolist(), *[0.0] * SILENT_FRAMES]):
        if start is None:
            if probability >= BEGIN:
                start, silent = frame, 0
            continue
        silent = silent + 1 if probability < GO_ON else 0
        if silent == SILENT_FRAMES:
            end = frame - SILENT_FRAMES + 1
            if end - start >= LEAST_FRAMES:
                flags[max(0, start - PADDING_FRAMES) : end + PADDING_FRAMES] = True
            start = None
    return flags


def _blocks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Frames with what is before them, (frames, 576), a block at a time."""
    count = len(samples) // FRAME
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples[: count * FRAME]])
    if count:
        frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
        for first in range(0, count, BLOCK_FRAMES):
            yield np.ascontiguousarray(frames[first : first + BLOCK_FRAMES], np.float32)


@functools.lru_cache(maxsize=1)
def _session() -> Any:
    """The model, ready to run; several threads may run it at once, each on one core."""
    onnxruntime = require("onnxruntime", "onnx", "the detector 'silero'")
    path = wheel_file(SILERO)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises what it likes
        reason = " ".join(str(error).split())[:100]
        raise WeightsError(f"{path}: onnxruntime cannot run it ({reason}); update onnxruntime") from error
