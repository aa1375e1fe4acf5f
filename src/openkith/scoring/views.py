"""Several back ends on several views of a clip, as one score.

Each view has its own `SpeakerSpace`; in it, and in the embeddings as they are, back ends are fitted side by side, each
standardised on the cohort, and averaged. Adapters need sentences to learn from, and plain AS-norm is the surest judge
of words, so the two share one place, by how many of the enrolment clips are words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.scoring.base import (
    Arrays,
    EmbeddingSet,
    FloatArray,
    Scorer,
    need_cohort,
    one_view,
)
from openkith.scoring.cohort_space import cohort_conditions
from openkith.scoring.conditions import ConditionGuess
from openkith.scoring.whitening import SpeakerSpace

__all__ = ["ALWAYS", "SENTENCES", "WORDS", "Part", "ViewFusion"]

ALWAYS, SENTENCES, WORDS = "always", "sentences", "words"
_STANDARDISE_ROWS = 500  # cohort rows that scores are standardised on, evenly spaced
_CONSTANT = 1e-6  # standard deviation below which scores are all the same
_LEAST = 0.05  # a back end that counts for less is left out
_CONDITIONS = "conditions."


@dataclass(frozen=True)
class Part:
    """A kind of back end in the fusion.

    Attributes:
        make: A scorer that is not fitted yet.
        in_space: Whether it sees embeddings in the view's `SpeakerSpace`, or as they are.
        enrolled: When it counts: `ALWAYS`; with people enrolled by `SENTENCES`; or by `WORDS`.
    """

    make: Callable[[], Scorer]
    in_space: bool = True
    enrolled: str = ALWAYS


@dataclass
class _Member:
    """A fitted back end: its view, its weight, and the scale of its scores."""

    scorer: Scorer
    view: int
    in_space: bool
    weight: float
    mean: float
    deviation: float


class ViewFusion:
    """The weighted mean of back ends on all views but the plain one, or on that where there is no other.

    Args:
        parts: What is fitted on each view.
    """

    name = "fusion"
    needs_cohort = True

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self.parts = tuple(parts)

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Fit every part on every view, then learn the scale of each on the cohort."""
        cohort = need_cohort(cohort, self.name)
        n_views = cohort.n_views
        self.conditions = cohort_conditions(cohort.view(0))
        by_words = float(self.conditions.short(one_view(enrolment.originals().embeddings)).mean())
        shares = {ALWAYS: 1.0, SENTENCES: 1.0 - by_words, WORDS: by_words}
        rows = np.linspace(0, len(cohort) - 1, min(_STANDARDISE_ROWS, len(cohort))).round().astype(np.int64)
        self.used = range(1, n_views) if n_views > 1 else range(1)
        self.spaces, self.members = {}, []
        for view in self.used:
            plain = enrolment.view(view), cohort.view(view)
            space = SpeakerSpace().fit(*plain)
            moved = tuple(replace(each, embeddings=space.transform(each.embeddings)) for each in plain)
            self.spaces[view] = space
            for part in self.parts:
                weight = shares[part.enrolled]
                if weight < _LEAST:
                    continue
                own, others = moved if part.in_space else plain
                scorer = part.make().fit(own, others)
                scores = scorer.score(others.embeddings[rows])
                deviation = float(scores.std())
                self.members.append(
                    _Member(
                        scorer,
                        view,
                        part.in_space,
                        weight,
                        float(scores.mean()),
                        deviation if deviation > _CONSTANT else 1.0,
                    )
                )
        return self

    def guess_conditions(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """Probability of each recording condition of the cohort, (p, V, d) to (p, K); for the calibration."""
        return self.conditions.posterior(one_view(embeddings)).astype(np.float32)

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, V, d), or (p, d) for the plain view alone, to (p, C)."""
        if not self.members:
            raise ValueError("a fusion without parts")
        scores = []
        for view in self.used:
            plain = one_view(embeddings, view)
            moved = self.spaces[view].transform(plain)
            for member in self.members:
                if member.view == view:
                    own = member.scorer.score(moved if member.in_space else plain).astype(np.float64)
                    scores.append(member.weight * (own - member.mean) / member.deviation)
        return np.asarray(np.sum(scores, axis=0) / sum(each.weight for each in self.members), np.float32)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """States of the members, their arrays under ``0/``, ``1/`` ..., and of the spaces under ``view1/`` ..."""
        config: dict[str, Any] = {"views": list(self.used), "members": []}
        arrays: Arrays = self.conditions.arrays(_CONDITIONS)
        for view, space in self.spaces.items():
            arrays.update({f"view{view}/{key}": value for key, value in space.arrays().items()})
        for i, member in enumerate(self.members):
            member_config, member_arrays = member.scorer.state()
            config["members"].append(
                {
                    "name": member.scorer.name,
                    "config": member_config,
                    "view": member.view,
                    "in_space": member.in_space,
                    "weight": member.weight,
                    "mean": member.mean,
                    "deviation": member.deviation,
                }
            )
            arrays.update({f"{i}/{key}": value for key, value in member_arrays.items()})
        return config, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """Restored with its members by `openkith.openset.model.restore_scorer`."""
        fusion = cls()
        fusion.used = config["views"]
        fusion.conditions = ConditionGuess.from_arrays(arrays, _CONDITIONS)
        fusion.spaces = {}
        for view in config["views"]:
            prefix = f"view{view}/"
            own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            fusion.spaces[view] = SpeakerSpace.from_arrays(own)
        names = ("view", "in_space", "weight", "mean", "deviation")
        fusion.members = [
            _Member(scorer, *(member[name] for name in names))
            for scorer, member in zip(config["restored"], config["members"], strict=True)
        ]
        return fusion

    conditions: ConditionGuess
    used: Sequence[int]
    spaces: dict[int, SpeakerSpace]
    members: list[_Member]
