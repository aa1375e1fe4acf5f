"""Evenly spaced crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.encoders.clips.crops import cut_crops, embed_crops, mean_of_crops
from openkith.errors import ConfigError

RATE = 16_000


def ramp(seconds: float) -> Audio:
    """Every sample is its own number, in units that float32 holds exactly."""
    return Audio(np.arange(round(seconds * RATE), dtype=np.float32) / 2**20, "ramp")


class Ends:
    """Embeds the first and the last sample, and counts the clips."""

    name, dim, sample_rate, fingerprint = "ends", 2, RATE, "ends/1"

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        self.lengths += [len(clip.samples) for clip in clips]
        return np.array([clip.samples[[0, -1]] for clip in clips], np.float32) * 2**20


def test_crops_are_evenly_spaced() -> None:
    encoder: Any = Ends()
    crops = embed_crops(encoder, ramp(10.0), crops=4, seconds=4.0)
    assert crops.tolist() == [[start, start + 4 * RATE - 1] for start in (0, 2 * RATE, 4 * RATE, 6 * RATE)]
    assert encoder.lengths == [4 * RATE] * 4


def test_the_default_is_that_of_the_paper() -> None:
    encoder: Any = Ends()
    crops = embed_crops(encoder, ramp(22.0))
    assert crops.shape == (10, 2)
    np.testing.assert_array_equal(crops[:, 0], np.arange(10) * 2 * RATE)
    assert encoder.lengths == [4 * RATE] * 10


def test_one_crop_is_the_beginning() -> None:
    encoder: Any = Ends()
    assert embed_crops(encoder, ramp(9.0), crops=1).tolist() == [[0, 4 * RATE - 1]]


@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.999, 4.0])
def test_a_short_clip_is_repeated(seconds: float) -> None:
    clip = ramp(seconds)
    parts = cut_crops(clip, 3, 4.0)
    n = len(clip.samples)
    for part in parts:
        np.testing.assert_array_equal(part.samples, clip.samples[np.arange(4 * RATE) % n])
    encoder: Any = Ends()
    crops = embed_crops(encoder, clip, crops=3, seconds=4.0)
    assert crops.shape == (3, 2)
    assert (crops == crops[0]).all()
    assert encoder.lengths == [4 * RATE]  # the same crop is embedded once


def test_crops_of_a_clip_a_little_longer() -> None:
    starts = [int(part.samples[0] * 2**20) for part in cut_crops(ramp(4.0 + 3 / RATE), 3, 4.0)]
    assert starts == [0, 1, 3]


def test_mean_of_crops() -> None:
    crops = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    np.testing.assert_allclose(mean_of_crops(crops), [0.5**0.5] * 2, rtol=1e-6)
    many = mean_of_crops(np.stack([crops, 2.0 * crops]))
    assert (many.shape, many.dtype) == ((2, 2), np.float32)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, rtol=1e-6)
    assert mean_of_crops(np.zeros((3, 2))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crops": 0}, "crops is 0; give 1 or more"),
        ({"seconds": 0.0}, "crop_seconds is 0.0"),
        ({"seconds": float("nan")}, "crop_seconds is nan"),
    ],
)
def test_wrong_options(options: dict[str, float], said: str) -> None:
    encoder: Any = Ends()
    with pytest.raises(ConfigError, match=said):
        embed_crops(encoder, ramp(5.0), **options)


def test_with_the_default_encoder(ge2e: Any) -> None:
    rng = np.random.default_rng(0)
    clip = Audio((0.1 * rng.standard_normal(9 * RATE)).astype(np.float32), "noise")
    crops = embed_crops(ge2e, clip, crops=3)
    assert crops.shape == (3, ge2e.dim)
    alone = np.concatenate([ge2e.embed([part]) for part in cut_crops(clip, 3)])
    np.testing.assert_allclose(crops, alone, atol=1e-4)
