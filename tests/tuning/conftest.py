"""Synthetic speakers that the tests of tuning share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

DIM = 16


@dataclass(frozen=True)
class Household:
    """Clips of people to enrol, of others to learn from, and probes of both kinds."""

    clips: NDArray[np.float32]
    labels: NDArray[np.int64]
    unknown: NDArray[np.float32]
    probes: NDArray[np.float32]
    truth: NDArray[np.int64]
    strangers: NDArray[np.float32]

    def without(self, person: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Clips and labels of all others."""
        rest = self.labels != person
        return self.clips[rest], self.labels[rest]


def speak(
    voices: NDArray[np.float64], clips: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors about each voice, and whose they are."""
    labels = np.repeat(np.arange(len(voices)), clips)
    x = voices[labels] + noise * rng.normal(size=(len(labels), voices.shape[1]))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def household(people: int, seed: int = 0, dim: int = DIM, noise: float = 0.4, probes: int = 6) -> Household:
    """Gaussian speakers."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(people, dim))
    clips, labels = speak(known, 3, noise, rng)
    unknown, _ = speak(rng.normal(size=(20, dim)), 3, noise, rng)
    tests, truth = speak(known, probes, noise, rng)
    strangers, _ = speak(rng.normal(size=(30, dim)), 2, noise, rng)
    return Household(clips, labels, unknown, tests, truth, strangers)


@pytest.fixture(scope="session")
def home() -> Household:
    """Five people, three clips of each."""
    return household(5)


@pytest.fixture(scope="session")
def make_home() -> Callable[..., Household]:
    """household(people, seed, dim, noise, probes)."""
    return household
