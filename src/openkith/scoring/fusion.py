"""Several back ends as one: each standardised on the cohort, then averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.scoring.base import Arrays, EmbeddingSet, FloatArray, Scorer, need_cohort

__all__ = ["Fusion"]

_STANDARDISE_ROWS = 1000  # cohort rows that scores are standardised on, evenly spaced

_CONSTANT = 1e-6  # standard deviation below which scores are all the same


class Fusion:
    """The mean of several scorers, each at zero mean and unit deviation on the cohort.

    Args:
        members: Scorers, fitted or not.
    """

    name = "fusion"
    needs_cohort = True

    def __init__(self, members: Sequence[Scorer]) -> None:
        self.members = list(members)
        self.means = np.zeros(len(self.members), np.float32)
        self.deviations = np.ones(len(self.members), np.float32)

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Fit every member, then learn the scale of each on the cohort."""
        cohort = need_cohort(cohort, self.name)
        rows = np.linspace(0, len(cohort) - 1, min(_STANDARDISE_ROWS, len(cohort))).round().astype(np.int64)
        for i, member in enumerate(self.members):
            scores = member.fit(enrolment, cohort).score(cohort.embeddings[rows])
            deviation = float(scores.std())
            self.means[i], self.deviations[i] = scores.mean(), deviation if deviation > _CONSTANT else 1.0
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to (p, C)."""
        scores = [
            (member.score(embeddings) - mean) / deviation
            for member, mean, deviation in zip(self.members, self.means, self.deviations, strict=True)
        ]
        return np.asarray(np.mean(scores, axis=0), np.float32)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """States of the members, their arrays under ``0/``, ``1/`` ..."""
        config: dict[str, Any] = {"members": []}
        arrays: Arrays = {"means": self.means, "deviations": self.deviations}
        for i, member in enumerate(self.members):
            member_config, member_arrays = member.state()
            config["members"].append({"name": member.name, "config": member_config})
            arrays.update({f"{i}/{key}": value for key, value in member_arrays.items()})
        return config, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """A fusion is restored with its members by `openkith.openset.restore_scorer`."""
        fusion = cls(config["restored"])
        fusion.means = np.asarray(arrays["means"], np.float32)
        fusion.deviations = np.asarray(arrays["deviations"], np.float32)
        return fusion
