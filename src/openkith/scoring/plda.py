"""Probabilistic linear discriminant analysis (PLDA) as a back end: the model of `openkith.scoring.two_covariance`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError
from openkith.scoring.base import (
    SCORED_IN,
    Arrays,
    EmbeddingSet,
    FloatArray,
    class_means,
    need_cohort,
    one_view,
)
from openkith.scoring.norm import ORIGINAL_SHARE
from openkith.scoring.two_covariance import ITERATIONS, SHRINKAGE, TwoCovariance, ratio_terms, ratios_of
from openkith.scoring.whitening import SPACES, RawSpace, SpeakerSpace

__all__ = ["PLDA"]


class PLDA:
    """Log-likelihood ratio of the two-covariance model that is learned from the cohort.

    A clip and its copies count as one embedding together, in the cohort and among a person's enrolment clips, of which
    the clip as it was recorded has 0.4.

    Args:
        space: A key of `SPACES`.
        shrinkage: Of both covariances, see `TwoCovariance.fit`.
        iterations: Of EM.
        adaptation: Share by which the model is moved towards the enrolled people's clips, see
            `TwoCovariance.adapted`; 0: not at all.

    Raises:
        ConfigError: No such space.
    """

    name = "plda"
    needs_cohort = True
    space: SpeakerSpace | RawSpace
    projection: FloatArray  # (d, d)
    mean: FloatArray  # (d,)
    spread: FloatArray  # (d,)
    people: FloatArray  # (C, d), projected
    counts: FloatArray  # (C,)

    def __init__(
        self,
        space: str = "whitened",
        shrinkage: float = SHRINKAGE,
        iterations: int = ITERATIONS,
        adaptation: float = 0.0,
    ) -> None:
        if space not in SPACES:
            raise ConfigError(f"space is {space!r}; there are: {', '.join(SPACES)}")
        self.config: dict[str, Any] = {
            "space": space,
            "shrinkage": shrinkage,
            "iterations": iterations,
            "adaptation": adaptation,
        }

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Learn the space and the model, then average clips and copies of each person.

        Raises:
            NotEnoughDataError: No cohort.
            ConfigError: A setting out of range.
        """
        enrolment, cohort = enrolment.view(0), need_cohort(cohort, self.name).view(0)
        settings = self.config
        self.space = SPACES[settings["space"]]().fit(enrolment, cohort)
        model = TwoCovariance.fit(
            self.space.transform(cohort.embeddings),
            cohort.labels,
            cohort.weights(ORIGINAL_SHARE),
            shrinkage=settings["shrinkage"],
            iterations=settings["iterations"],
        )
        own = self.space.transform(enrolment.embeddings)
        weights = enrolment.weights(ORIGINAL_SHARE)
        model = model.adapted(own, enrolment.labels, weights, share=settings["adaptation"])
        basis, spread = model.basis()
        self.projection, self.mean, self.spread = (
            each.astype(np.float32) for each in (basis, model.mean, spread)
        )
        self.people = self._project(class_means(enrolment, own, ORIGINAL_SHARE)).astype(np.float32)
        self.counts = np.bincount(enrolment.labels, weights).astype(np.float32)
        self._terms = ratio_terms(self.people, self.counts, self.spread)
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to natural-log likelihood ratios (p, C), as far as the model holds: calibrate them."""
        probes = self._project(self.space.transform(one_view(embeddings)))
        return ratios_of(probes, self._terms).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Settings, the space, and the model in its basis."""
        names = ("projection", "mean", "spread", "people", "counts")
        own: Arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in names}
        return dict(self.config), {**self.space.arrays(), **own}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """From what `state` gave."""
        scorer = cls(**config)
        scorer.space = SPACES[config["space"]].from_arrays(arrays)
        for name in ("projection", "mean", "spread", "people", "counts"):
            setattr(scorer, name, np.asarray(arrays[name], np.float32))
        scorer._terms = ratio_terms(scorer.people, scorer.counts, scorer.spread)
        return scorer

    def _project(self, x: FloatArray) -> npt.NDArray[np.float64]:
        return np.asarray(
            (x.astype(SCORED_IN) - self.mean.astype(SCORED_IN)) @ self.projection.astype(SCORED_IN),
            np.float64,
        )
