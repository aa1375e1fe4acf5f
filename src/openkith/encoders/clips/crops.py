"""Multi-crop embedding: the encoder over evenly spaced crops of one length.

As the VoxCeleb trainer tests (Chung et al., "In defence of metric learning for speaker recognition", Interspeech 2020,
arXiv 2003.11982): crops from the beginning to the end of the clip, equally far apart, overlapping where the clip is
shorter than all of them together. Their mean, L2-normalised, is the single-utterance embedding that
embedding enhancement begins with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import ConfigError

__all__ = ["CROPS", "CROP_SECONDS", "check_crops", "cut_crops", "embed_crops", "mean_of_crops"]

CROPS = 10
CROP_SECONDS = 4.0
_TINY = 1e-9


def embed_crops(
    encoder: Encoder, clip: Audio, crops: int = CROPS, seconds: float = CROP_SECONDS
) -> FloatArray:
    """Embeddings of evenly spaced crops.

    Args:
        encoder: Any.
        clip: A clip shorter than ``seconds`` is repeated to that length, and all its crops are the same.
        crops: How many.
        seconds: Length of each.

    Returns:
        (crops, d), each row of unit length, in the order of time.

    Raises:
        ConfigError: ``crops`` is below 1, or ``seconds`` is not above 0.
    """
    parts = cut_crops(clip, crops, seconds)
    if len(clip.samples) <= len(parts[0].samples):
        return np.repeat(encoder.embed(parts[:1]), crops, axis=0)
    return encoder.embed(parts)


def cut_crops(clip: Audio, crops: int = CROPS, seconds: float = CROP_SECONDS) -> list[Audio]:
    """The crops themselves: the first begins with the clip, the last ends with it.

    Raises:
        ConfigError: As `embed_crops`.
    """
    check_crops(crops, seconds)
    length = max(1, round(seconds * clip.sample_rate))
    samples = clip.samples
    if len(samples) < length:
        samples = np.tile(samples, -(-length // len(samples)))[:length]
    starts = np.linspace(0, len(samples) - length, crops).astype(int)
    return [replace(clip, samples=samples[start : start + length]) for start in starts]


def mean_of_crops(embeddings: npt.NDArray[Any]) -> FloatArray:
    """Crops (..., crops, d) to the L2-normalised mean (..., d)."""
    mean = np.asarray(embeddings, np.float64).mean(axis=-2)
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray(mean / np.maximum(length, _TINY), np.float32)


def check_crops(crops: int, seconds: float) -> None:
    """Refuse numbers that make no crops.

    Raises:
        ConfigError: As `embed_crops`.
    """
    if crops < 1:
        raise ConfigError(f"crops is {crops}; give 1 or more")
    if not 0.0 < seconds < float("inf"):
        raise ConfigError(f"crop_seconds is {seconds}; give seconds above 0, for example {CROP_SECONDS:g}")
