"""Symmetric score normalisation (S-norm), and its adaptive form (AS-norm).

A score is set against the scores of the probe, and of the enrolled model, with an impostor cohort: with all of it
(S-norm: Shum et al., "Unsupervised speaker adaptation based on the cosine similarity for text-independent speaker
verification", Odyssey 2010), or with the most similar part of it (AS-norm: Matejka et al., "Analysis of score
normalization in multilingual speaker recognition", Interspeech 2017).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from openkith.scoring.base import (
    SCORED_IN,
    Arrays,
    EmbeddingSet,
    FloatArray,
    class_means,
    need_cohort,
    normalise,
    one_view,
)

__all__ = ["TOP_SHARE", "AsNorm", "SNorm", "as_norm", "cohort_statistics", "to_half"]

TOP_SHARE = 0.08  # of the cohort's rows: the most similar impostors
MIN_TOP = 10
ORIGINAL_SHARE = 0.4  # of a clip as recorded in its prototype; its degraded copies have the rest
_BLOCK = 1024  # rows scored against the cohort at once
_FLOOR = 1e-3  # of a standard deviation of cosines

Statistics = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def cohort_statistics(
    embeddings: FloatArray, cohort: npt.NDArray[Any], top_share: float = TOP_SHARE
) -> Statistics:
    """Mean and standard deviation of each row's largest cosines with the cohort.

    Args:
        embeddings: (n, d), unit length.
        cohort: (m, d), unit length.
        top_share: Share of the cohort that counts, at least 10 rows.

    Returns:
        Two arrays (n,).
    """
    k = min(len(cohort), max(MIN_TOP, round(top_share * len(cohort))))
    others = cohort.T.astype(SCORED_IN, copy=False)
    means, deviations = [np.zeros(0)], [np.zeros(0)]
    for first in range(0, len(embeddings), _BLOCK):
        cosines = embeddings[first : first + _BLOCK].astype(SCORED_IN) @ others
        top = np.partition(cosines, len(cohort) - k, axis=1)[:, -k:]
        means.append(top.mean(axis=1))
        deviations.append(np.maximum(top.std(axis=1), _FLOOR))
    return np.concatenate(means), np.concatenate(deviations)


def as_norm(
    probes: FloatArray,
    prototypes: npt.NDArray[Any],
    cohort: npt.NDArray[Any],
    prototype_statistics: Statistics,
    top_share: float = TOP_SHARE,
) -> FloatArray:
    """AS-norm of cosine scores: probes (p, d), prototypes (C, d), cohort (m, d), all unit length, to (p, C)."""
    scores = probes.astype(SCORED_IN) @ prototypes.T.astype(SCORED_IN, copy=False)
    mean, deviation = cohort_statistics(probes, cohort, top_share)
    model_mean, model_deviation = prototype_statistics
    by_probe = (scores - mean[:, None]) / deviation[:, None]
    return np.asarray(0.5 * (by_probe + (scores - model_mean) / model_deviation), np.float32)


def to_half(x: npt.NDArray[Any]) -> FloatArray:
    """Values rounded to half precision, in which a cohort is stored: a restored scorer scores as the fitted one."""
    return x.astype(np.float16).astype(np.float32)


class AsNorm:
    """Cosine to the mean of a person's clips and their copies, with AS-norm on the cohort."""

    name = "as-norm"
    needs_cohort = True
    top_share: ClassVar[float] = TOP_SHARE
    prototypes: FloatArray
    cohort: FloatArray

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Average clips and copies of each person, and keep the cohort."""
        enrolment, cohort = enrolment.view(0), need_cohort(cohort, self.name).view(0)
        self.cohort = to_half(normalise(cohort.embeddings))
        self.prototypes = normalise(class_means(enrolment, enrolment.embeddings, ORIGINAL_SHARE))
        return self._ready()

    def _ready(self) -> Self:
        """Keep what every probe needs, in the precision that it is scored in."""
        self._precise = self.prototypes.astype(SCORED_IN), self.cohort.astype(SCORED_IN)
        self._statistics = cohort_statistics(self.prototypes, self._precise[1], self.top_share)
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to normalised scores (p, C), in standard deviations of impostor scores."""
        return as_norm(normalise(one_view(embeddings)), *self._precise, self._statistics, self.top_share)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Prototypes, and the cohort in half precision."""
        return {}, {"prototypes": self.prototypes, "cohort": self.cohort.astype(np.float16)}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """From what `state` gave."""
        scorer = cls()
        scorer.prototypes = np.asarray(arrays["prototypes"], np.float32)
        scorer.cohort = np.asarray(arrays["cohort"], np.float32)
        return scorer._ready()


class SNorm(AsNorm):
    """Cosine to the mean of a person's clips and their copies, with S-norm: every row of the cohort counts."""

    name = "s-norm"
    top_share: ClassVar[float] = 1.0
