"""A space in which one person's clips lie close together, whatever the noise, room or line.

Two closed-form steps, learned from the cohort and its degraded copies: the mean of the probe's recording condition,
as a linear classifier guesses it, is taken off; then within-class covariance is whitened (WCCN; Hatch et al.,
Interspeech 2006). Last, part of the mean of the enrolled people is taken off, since a household shares its language,
microphone and rooms.
"""

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
    need_cohort,
    normalise,
    one_view,
)
from openkith.scoring.cohort_space import cohort_space
from openkith.scoring.conditions import ConditionGuess
from openkith.scoring.norm import ORIGINAL_SHARE, as_norm, cohort_statistics, to_half

__all__ = ["SPACES", "RawSpace", "SpeakerSpace", "WhitenedCosine"]

SHIFT_PEOPLE = 2.0  # C enrolled people count for C / (C + 2) of the shift of their mean


class SpeakerSpace:
    """Condition-centred, household-centred, within-class-whitened embeddings of unit length."""

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet) -> Self:
        """Learn conditions and covariance from the cohort, and the shift of the household from its clips."""
        self.conditions, self.whitener = cohort_space(cohort)
        self.shift = np.zeros(cohort.embeddings.shape[1], np.float32)
        originals = enrolment.originals()
        people = class_means(originals, self._centre(originals.embeddings), 1.0)
        shift = people.mean(axis=0) * len(people) / (len(people) + SHIFT_PEOPLE)
        self.shift = shift.astype(np.float32)
        return self

    def transform(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(n, d) to (n, d), unit length; each row alone."""
        centred = normalise(self._centre(embeddings)).astype(SCORED_IN)
        return normalise(centred @ self.whitener.astype(SCORED_IN))

    def _centre(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(self.conditions.centre(embeddings) - self.shift, np.float64)

    def arrays(self) -> Arrays:
        """What `from_arrays` needs."""
        own = {"space.shift": self.shift, "space.whitener": np.ascontiguousarray(self.whitener)}
        return {**self.conditions.arrays("space."), **own}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The space that `arrays` was taken of."""
        space = cls()
        space.conditions = ConditionGuess.from_arrays(arrays, "space.")
        space.shift = np.asarray(arrays["space.shift"], np.float32)
        space.whitener = np.asarray(arrays["space.whitener"], np.float32)
        return space

    conditions: ConditionGuess
    shift: FloatArray
    whitener: FloatArray


class RawSpace:
    """Embeddings as the encoder gives them, at unit length; the interface of `SpeakerSpace`."""

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet) -> Self:  # noqa: ARG002
        """Nothing to learn."""
        return self

    def transform(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(n, d) to (n, d), unit length."""
        return normalise(embeddings)

    def arrays(self) -> Arrays:
        """Nothing to store."""
        return {}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:  # noqa: ARG003
        """Any."""
        return cls()


#: Where the model is learned: each class is fitted to enrolment and cohort, and transforms rows one by one.
SPACES: dict[str, type[SpeakerSpace] | type[RawSpace]] = {"whitened": SpeakerSpace, "raw": RawSpace}


class WhitenedCosine:
    """Cosine to the class mean in `SpeakerSpace`, with AS-norm on the cohort."""

    name = "whitened"
    needs_cohort = True
    space: SpeakerSpace
    prototypes: FloatArray
    cohort: FloatArray

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Learn the space, then average clips and copies of each person in it."""
        enrolment, cohort = enrolment.view(0), need_cohort(cohort, self.name).view(0)
        self.space = SpeakerSpace().fit(enrolment, cohort)
        self.cohort = to_half(self.space.transform(cohort.embeddings))
        self.prototypes = normalise(
            class_means(enrolment, self.space.transform(enrolment.embeddings), ORIGINAL_SHARE)
        )
        self._statistics = cohort_statistics(self.prototypes, self.cohort)
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to normalised scores (p, C)."""
        return as_norm(
            self.space.transform(one_view(embeddings)), self.prototypes, self.cohort, self._statistics
        )

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """The space, prototypes, and the cohort in half precision."""
        own: Arrays = {"prototypes": self.prototypes, "cohort": self.cohort.astype(np.float16)}
        return {}, {**self.space.arrays(), **own}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """From what `state` gave."""
        scorer = cls()
        scorer.space = SpeakerSpace.from_arrays(arrays)
        scorer.prototypes = np.asarray(arrays["prototypes"], np.float32)
        scorer.cohort = np.asarray(arrays["cohort"], np.float32)
        scorer._statistics = cohort_statistics(scorer.prototypes, scorer.cohort)
        return scorer
