"""In what condition was a probe recorded? A linear guess from its embedding, learned from the cohort's copies."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.audio.augment import GROUPS
from openkith.scoring.base import SCORED_IN, Arrays, EmbeddingSet, FloatArray

__all__ = ["ConditionGuess", "covariance", "shrunk"]

SHRINKAGE = 0.1  # of the covariance within conditions
TEMPERATURE = 2.0  # posteriors are softened by it
SHORT = tuple(index for index, group in enumerate(GROUPS) if group.startswith("short"))


class ConditionGuess:
    """Linear discriminant of the condition groups of `openkith.audio.augment.GROUPS`, with equal priors.

    Attributes:
        groups: (K,) the groups that the cohort has.
        means: (K, d) mean embedding of each.
    """

    groups: npt.NDArray[np.int64]
    means: FloatArray
    weights: FloatArray
    bias: FloatArray

    def fit(self, cohort: EmbeddingSet) -> Self:
        """Learn from clips and copies, embeddings (n, d)."""
        x = cohort.embeddings.astype(np.float64)
        self.groups, group = np.unique(cohort.groups, return_inverse=True)
        self.means = np.stack([x[group == g].mean(axis=0) for g in range(len(self.groups))]).astype(
            np.float32
        )
        within = shrunk(covariance(x - self.means[group]), SHRINKAGE)
        self.weights = np.linalg.solve(within, self.means.T).astype(np.float32) / TEMPERATURE
        self.bias = -0.5 * (self.means * self.weights.T).sum(axis=1)
        return self

    def posterior(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(n, d) to (n, K); rows sum to one."""
        logits = embeddings.astype(SCORED_IN) @ self.weights.astype(SCORED_IN) + self.bias
        posterior = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(posterior / posterior.sum(axis=1, keepdims=True), np.float64)

    def centre(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(n, d) without the mean of each row's condition, as it is guessed."""
        x = embeddings.astype(SCORED_IN)
        return np.asarray(x - self.posterior(x) @ self.means.astype(SCORED_IN), np.float64)

    def short(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """(n, d) to (n,): the probability of a clip about as short as a word."""
        return np.asarray(self.posterior(embeddings)[:, np.isin(self.groups, SHORT)].sum(axis=1), np.float64)

    def arrays(self, prefix: str) -> Arrays:
        """What `from_arrays` needs."""
        names = ("groups", "means", "weights", "bias")
        return {f"{prefix}{name}": np.ascontiguousarray(getattr(self, name)) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Arrays, prefix: str) -> Self:
        """The guess that `arrays` was taken of."""
        guess = cls()
        guess.groups = np.asarray(arrays[f"{prefix}groups"], np.int64)
        for name in ("means", "weights", "bias"):
            setattr(guess, name, np.asarray(arrays[f"{prefix}{name}"], np.float32))
        return guess


def covariance(centred: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Of rows (n, d) without their mean: (d, d)."""
    return np.asarray(centred.T @ centred / max(len(centred), 1), np.float64)


def shrunk(matrix: npt.NDArray[np.float64], shrinkage: float) -> npt.NDArray[np.float64]:
    """A covariance plus so much of its mean variance on the diagonal."""
    dim = len(matrix)
    floor = max(np.trace(matrix) / dim, 1e-9)
    return np.asarray(matrix + shrinkage * floor * np.eye(dim), np.float64)
