"""The open-set model: a back end, chosen and calibrated on clips that it did not learn from.

`fit_open_set` is what tuning is, for the recogniser, the evaluation and the scikit-learn estimator alike: hold out
clips, fit, score them, calibrate, and for the method "auto" keep the tuned head only where it wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.metrics import eer
from openkith.scoring.base import Arrays, EmbeddingSet, Scorer, check_embeddings
from openkith.scoring.calibration import Calibration, HeldOutScores, check_rates
from openkith.scoring.cosine import Cosine
from openkith.scoring.fusion import Fusion
from openkith.scoring.holdout import enough_voices, hold_out
from openkith.scoring.norm import AsNorm
from openkith.scoring.whitening import WhitenedCosine
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, TuneConfig

__all__ = ["AUTO", "METHODS", "HeldOutErrors", "OpenSetModel", "fit_open_set", "restore_scorer"]

AUTO = "auto"
BASELINE = "cosine"
FALLBACK = "as-norm"
TUNED = "fusion"

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def _fusion(n_people: int, seed: int) -> Fusion:
    members: list[Scorer] = [AsNorm(), WhitenedCosine()]
    if n_people > 1:  # the SpeakerRPL loss tells people apart; with one person there is nobody to tell apart
        members.append(SpeakerRPLPlus(TuneConfig(seed=seed)))
    return Fusion(members)


#: Every method by name: (number of people, seed) to a scorer that is not fitted yet.
METHODS: dict[str, Callable[[int, int], Scorer]] = {
    "cosine": lambda n_people, seed: Cosine(),  # noqa: ARG005
    "as-norm": lambda n_people, seed: AsNorm(),  # noqa: ARG005
    "whitened": lambda n_people, seed: WhitenedCosine(),  # noqa: ARG005
    "speaker-rpl": lambda n_people, seed: SpeakerRPL(TuneConfig(unknown_weight=0.0, seed=seed)),  # noqa: ARG005
    "speaker-rpl+": lambda n_people, seed: SpeakerRPLPlus(TuneConfig(seed=seed)),  # noqa: ARG005
    "fusion": _fusion,
}

_SCORERS: dict[str, type[Scorer]] = {
    scorer.name: scorer for scorer in (Cosine, AsNorm, WhitenedCosine, SpeakerRPL, SpeakerRPLPlus, Fusion)
}


def restore_scorer(name: str, config: dict[str, Any], arrays: Arrays) -> Scorer:
    """The scorer that `Scorer.state` was taken of.

    Raises:
        ConfigError: No scorer has that name: the head was made by another version.
    """
    if name not in _SCORERS:
        raise ConfigError(f"the head uses the scorer {name!r}, which this version does not have; tune again")
    if name == Fusion.name:
        members = []
        for i, member in enumerate(config["members"]):
            own = {
                key.removeprefix(f"{i}/"): value for key, value in arrays.items() if key.startswith(f"{i}/")
            }
            members.append(restore_scorer(member["name"], member["config"], own))
        config = {**config, "restored": members}
    return _SCORERS[name].restore(config, arrays)


@dataclass(frozen=True)
class HeldOutErrors:
    """Error rates of one method on held-out enrolment and cohort clips and their copies.

    Attributes:
        eer: Over all trials.
        detection_eer: Known against unknown, on each row's largest score; NaN without a cohort.
    """

    eer: float
    detection_eer: float

    @property
    def mean(self) -> float:
        """What methods are compared by."""
        return float(np.nanmean([self.eer, self.detection_eer]))

    @classmethod
    def of(cls, held_out: HeldOutScores) -> HeldOutErrors:
        """Measure held-out scores."""
        targets, _, nontargets, _ = held_out.trials()
        detection = float("nan")
        if len(held_out.unknown) and len(held_out.known):
            detection = eer(held_out.known.max(axis=1), held_out.unknown.max(axis=1))
        return cls(eer(targets, nontargets), detection)


@dataclass(frozen=True, eq=False)
class OpenSetModel:
    """A fitted back end with its calibration.

    Attributes:
        asked: The method that was asked for.
        method: The method in use: what "auto" chose.
        scorer: The fitted back end.
        held_out: Scores of clips that it did not learn from.
        calibration: Made of these.
        errors: Held-out error rates of every method that was tried.
        dim: d, length of the embeddings.
    """

    asked: str
    method: str
    scorer: Scorer
    held_out: HeldOutScores
    calibration: Calibration
    errors: dict[str, HeldOutErrors]
    dim: int

    def llrs(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Calibrated natural-log likelihood ratios, (p, d) to (p, C).

        Raises:
            InputError: Embeddings of another length, or not finite.
        """
        check_embeddings(embeddings, "probes", self.dim)
        return self.calibration.llr(self.scorer.score(embeddings))

    def posteriors(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """P(each person) and, last, P(unknown): (p, d) to (p, C + 1)."""
        return self.calibration.posteriors(self.llrs(embeddings))


def fit_open_set(
    method: str,
    enrolment: EmbeddingSet,
    cohort: EmbeddingSet | None,
    *,
    halves: EmbeddingSet | None = None,
    seed: int = 0,
    far: float = 0.01,
    verify_far: float | None = None,
    unknown_prior: float = 0.5,
    progress: Progress | None = None,
) -> OpenSetModel:
    """Fit, hold out and calibrate.

    Args:
        method: A key of `METHODS`, or "auto": the fused head if it beats cosine and AS-norm on held-out clips,
            otherwise cosine with AS-norm (without a cohort of three voices or more: cosine).
        enrolment: Clips and copies of the enrolled people, labels 0 to C-1.
        cohort: Clips and copies of other people.
        halves: Disjoint parts of clips, with the labels and clips of ``enrolment``; rows 2i and 2i + 1 are the two
            halves of one clip. They stand in for people with a single clip.
        seed: Of everything random.
        far, verify_far, unknown_prior: See `Calibration`.
        progress: Called with what is being done.

    Raises:
        ConfigError: No such method, or a rate or the prior is not between 0 and 1.
        InputError: Embeddings of different lengths, or not finite.
        NotEnoughDataError: No enrolled people, no cohort for a method that needs one, or nobody to compare with.
    """
    if method != AUTO and method not in METHODS:
        raise ConfigError(f"no method is named {method!r}; there are: {', '.join([AUTO, *METHODS])}")
    check_rates(far, verify_far, unknown_prior)
    if not len(enrolment):
        raise NotEnoughDataError("nobody is enrolled; enrol someone first")
    dim = enrolment.embeddings.shape[1]
    for what, items in (("enrolment", enrolment), ("cohort", cohort), ("halves", halves)):
        if items is not None:
            check_embeddings(items.embeddings, what, dim)
    if cohort is not None and not len(cohort):
        cohort = None
    n_people = int(enrolment.labels.max()) + 1
    candidates = [method]
    if method == AUTO:
        candidates = [BASELINE, FALLBACK, TUNED] if enough_voices(cohort) else [BASELINE]

    tried: dict[str, HeldOutScores] = {}
    for i, name in enumerate(candidates):
        if progress:
            progress(f"held-out clips with {name}", i, len(candidates) + 1)
        tried[name] = hold_out(partial(METHODS[name], n_people, seed), enrolment, cohort, halves)
    errors = {name: HeldOutErrors.of(scores) for name, scores in tried.items()}
    chosen = candidates[0]
    if len(candidates) > 1:
        chosen = TUNED if errors[TUNED].mean < min(errors[BASELINE].mean, errors[FALLBACK].mean) else FALLBACK
    if progress:
        progress(f"all clips with {chosen}", len(candidates), len(candidates) + 1)
    scorer = METHODS[chosen](n_people, seed).fit(enrolment, cohort)
    calibration = Calibration.fit(tried[chosen], far=far, verify_far=verify_far, unknown_prior=unknown_prior)
    if progress:
        progress("done", len(candidates) + 1, len(candidates) + 1)
    return OpenSetModel(method, chosen, scorer, tried[chosen], calibration, errors, dim)
