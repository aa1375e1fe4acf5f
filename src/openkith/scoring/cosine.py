"""Cosine to the class mean: the baseline of the field."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.scoring.base import (
    SCORED_IN,
    Arrays,
    EmbeddingSet,
    FloatArray,
    class_means,
    normalise,
    one_view,
)

__all__ = ["Cosine"]


class Cosine:
    """Cosine between a probe and the mean of a person's enrolment embeddings; copies, cohort and views are not used."""

    name = "cosine"
    needs_cohort = False
    prototypes: FloatArray

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:  # noqa: ARG002
        """Average the clips of each person."""
        self.prototypes = normalise(class_means(enrolment, one_view(enrolment.embeddings), 1.0))
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) or (p, V, d) to cosines (p, C)."""
        cosines = normalise(one_view(embeddings)).astype(SCORED_IN) @ self.prototypes.T.astype(SCORED_IN)
        return cosines.astype(np.float32)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """The prototypes."""
        return {}, {"prototypes": self.prototypes}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """From what `state` gave."""
        scorer = cls()
        scorer.prototypes = np.asarray(arrays["prototypes"], np.float32)
        return scorer
