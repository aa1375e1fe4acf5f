"""Trees of invented embeddings, in which the recordings of a person differ in a way that can be learned.

The first half of the numbers tells people apart; the second half tells recordings apart, of everybody alike, and is of
no use. So a network that learns from some people to pass over the second half is better on people whom it has not met.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

DIM = 16


def write_tree(
    root: Path, names: Sequence[str], recordings: int = 3, files: int = 3, *, seed: int = 0, crops: int = 0
) -> Path:
    """A tree speaker/recording/file.npy, of embeddings (d,), or of crops (crops, d)."""
    rng = np.random.default_rng(seed)
    for name in names:
        person = np.concatenate([rng.standard_normal(DIM // 2), np.zeros(DIM // 2)])
        for recording in range(recordings):
            mark = np.concatenate([np.zeros(DIM // 2), 1.2 * rng.standard_normal(DIM // 2)])
            folder = root / name / f"r{recording}"
            folder.mkdir(parents=True, exist_ok=True)
            for file in range(files):
                shape = (crops, DIM) if crops else (DIM,)
                x = 0.3 + person + mark + 0.35 * rng.standard_normal(shape)
                np.save(
                    folder / f"{file}.npy",
                    (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32),
                )
    return root


def names(prefix: str, count: int) -> list[str]:
    """p00, p01, ..."""
    return [f"{prefix}{number:02}" for number in range(count)]
