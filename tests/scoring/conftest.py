"""Voices made of random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from openkith.scoring import EmbeddingSet


def make_voices(
    n_speakers: int, n_clips: int, *, copies: int = 0, dim: int = 12, spread: float = 0.4, seed: int = 0
) -> EmbeddingSet:
    """Clips around a random direction for each speaker; copies moved by their condition, groups 1 to ``copies``."""
    rng = np.random.default_rng(seed)
    shifts = np.random.default_rng(99).normal(size=(copies + 1, dim))
    shifts[0] = 0.0
    rows: list[tuple[np.ndarray, int, int, int]] = []
    for speaker in range(n_speakers):
        voice = rng.normal(size=dim)
        for clip in range(n_clips):
            own = voice + spread * rng.normal(size=dim)
            rows.extend(
                (own + shifts[group] + 0.2 * (group > 0) * rng.normal(size=dim), speaker, clip, group)
                for group in range(copies + 1)
            )
    x = np.stack([row[0] for row in rows])
    group = np.array([row[3] for row in rows])
    return EmbeddingSet(
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32),
        np.array([row[1] for row in rows]),
        np.array([row[1] * n_clips + row[2] for row in rows]),
        group,
        group > 0,
    )


@pytest.fixture(scope="session")
def voices() -> Callable[..., EmbeddingSet]:
    return make_voices
