"""The open-set model: a back end, chosen and calibrated on clips that it did not learn from.

`fit_open_set` is what tuning is, for the recogniser, the evaluation and the scikit-learn estimator alike: hold out
clips, fit, score them, calibrate, and for the method "auto" keep the tuned head only where it wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.metrics import eer
from openkith.scoring.base import Arrays, EmbeddingSet, Scorer, check_embeddings
from openkith.scoring.calibration import Calibration, HeldOutScores, check_rates
from openkith.scoring.cohort import voice_groups
from openkith.scoring.cosine import Cosine
from openkith.scoring.fusion import Fusion
from openkith.scoring.norm import AsNorm
from openkith.scoring.whitening import WhitenedCosine
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, TuneConfig

__all__ = ["AUTO", "METHODS", "HeldOutErrors", "OpenSetModel", "fit_open_set", "hold_out", "restore_scorer"]

AUTO = "auto"
BASELINE = "cosine"
FALLBACK = "as-norm"
TUNED = "fusion"
FOLDS = 3
ORIGINAL_SHARE = 0.5  # of a clip as recorded in the weight of its held-out rows; its copies have the rest
_PSEUDO_PEOPLE = 20  # cohort speakers that stand in for people with a single short clip

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
        few = cohort is None or _voices(cohort).max() + 1 < FOLDS
        candidates = [BASELINE] if few else [BASELINE, FALLBACK, TUNED]

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


def hold_out(
    make: Callable[[], Scorer],
    enrolment: EmbeddingSet,
    cohort: EmbeddingSet | None,
    halves: EmbeddingSet | None = None,
    folds: int = FOLDS,
) -> HeldOutScores:
    """Score every enrolment and cohort clip with a scorer that learned from neither it nor its copies.

    In each fold one clip of each person and a share of the cohort's voices are left out. A person with one clip is
    enrolled with one half of it and probed with the other; where the clip is too short for that, cohort speakers
    stand in. A cohort of fewer voices than folds is learned from and not scored, unless the scorer does not use it.
    """
    n_people = int(enrolment.labels.max()) + 1
    learns = make().needs_cohort
    basis = _basis(enrolment, halves, n_people)
    stand_ins = _stand_ins(cohort, learns) if "cohort" in basis else None
    if stand_ins is None:
        basis = tuple("none" if kind == "cohort" else kind for kind in basis)
    fold_of_row = _enrolment_folds(enrolment, basis, folds)
    cohort_fold = np.zeros(0, np.int64)
    if cohort is not None:
        groups = _voices(cohort)
        cohort_fold = np.full(len(cohort), -1) if learns and groups.max() + 1 < folds else groups % folds

    known: list[npt.NDArray[Any]] = []
    unknown: list[npt.NDArray[Any]] = []
    rows_known: list[EmbeddingSet] = []
    rows_unknown: list[EmbeddingSet] = []
    for fold in range(folds):
        train, probes = _split(enrolment, halves, basis, fold_of_row, fold)
        others = cohort.select(cohort_fold != fold) if cohort is not None and learns else None
        strangers = cohort.select(cohort_fold == fold) if cohort is not None else None
        if not len(probes) and (strangers is None or not len(strangers)):
            continue
        scorer = make().fit(train, others)
        if len(probes):
            known.append(scorer.score(probes.embeddings))
            rows_known.append(probes)
        if strangers is not None and len(strangers):
            unknown.append(scorer.score(strangers.embeddings))
            rows_unknown.append(strangers)

    empty = np.zeros((0, n_people), np.float32)
    unknown_scores = np.concatenate(unknown) if unknown else empty
    if not known and "none" in basis:
        rows_known = [enrolment.originals()]
        known = [_guessed(make, enrolment, rows_known[0], cohort, unknown_scores)]
    pseudo = pseudo_weights = np.zeros(0)
    if stand_ins is not None:
        pseudo, pseudo_weights = _pseudo_targets(make, enrolment, stand_ins, n_people)
        if known:  # beside real clips, a clip's worth for each person
            pseudo_weights *= basis.count("cohort") / pseudo_weights.sum()
    clips = _column(rows_known, "clips")
    return HeldOutScores(
        known=np.concatenate(known) if known else empty,
        labels=_column(rows_known, "labels"),
        clips=clips,
        copies=_column(rows_known, "copies").astype(np.bool_),
        known_weights=_per_clip(_weights(rows_known), clips),
        unknown=unknown_scores,
        unknown_clips=_column(rows_unknown, "clips"),
        unknown_weights=_weights(rows_unknown),
        pseudo=pseudo,
        basis=basis,
        pseudo_weights=pseudo_weights,
    )


def _voices(cohort: EmbeddingSet) -> npt.NDArray[np.int64]:
    """(n,) voice of each row, 0 to V-1: labels that may be one voice count as one.

    Where that leaves less than a voice for each fold of many labels, all voices of this encoder lie that close and
    the labels are taken at their word.
    """
    groups = np.unique(voice_groups(cohort), return_inverse=True)[1]
    labels = np.unique(cohort.labels, return_inverse=True)[1]
    collapsed = groups.max() + 1 < FOLDS and labels.max() + 1 >= 2 * FOLDS
    return np.asarray(labels if collapsed else groups, np.int64)


def _weights(parts: Sequence[EmbeddingSet]) -> npt.NDArray[np.float64]:
    return np.concatenate([part.weights(ORIGINAL_SHARE) for part in parts] or [np.zeros(0)])


def _per_clip(weights: npt.NDArray[np.float64], clips: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Weights that sum to one per clip, also where its two halves were probes."""
    return weights / np.bincount(clips, weights)[clips] if len(clips) else weights


def _column(parts: Sequence[EmbeddingSet], name: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0, np.int64)])


def _basis(enrolment: EmbeddingSet, halves: EmbeddingSet | None, n_people: int) -> tuple[str, ...]:
    halved = set(halves.labels.tolist()) if halves is not None else set()
    clips = [len(np.unique(enrolment.clips[enrolment.labels == person])) for person in range(n_people)]
    return tuple(
        "clips" if count > 1 else "crops" if person in halved else "cohort"
        for person, count in enumerate(clips)
    )


def _enrolment_folds(enrolment: EmbeddingSet, basis: Sequence[str], folds: int) -> npt.NDArray[np.int64]:
    """(n,) the fold in which a row is held out; -1 for people with one clip."""
    fold_of_row = np.full(len(enrolment), -1)
    for person, kind in enumerate(basis):
        if kind == "clips":
            own = enrolment.labels == person
            fold_of_row[own] = np.unique(enrolment.clips[own], return_inverse=True)[1] % folds
    return fold_of_row


def _split(
    enrolment: EmbeddingSet,
    halves: EmbeddingSet | None,
    basis: Sequence[str],
    fold_of_row: npt.NDArray[np.int64],
    fold: int,
) -> tuple[EmbeddingSet, EmbeddingSet]:
    """What a fold learns from, and what it is probed with."""
    train, probes = enrolment.select(fold_of_row != fold), enrolment.select(fold_of_row == fold)
    halved = np.flatnonzero(np.array(basis) == "crops")
    if halves is None or fold > 1 or not len(halved):
        return train, probes
    train = train.select(~np.isin(train.labels, halved))
    of_halved = np.isin(halves.labels, halved)
    first = np.arange(len(halves)) % 2 == fold
    return _joined(train, halves.select(of_halved & first)), _joined(
        probes, halves.select(of_halved & ~first)
    )


def _joined(a: EmbeddingSet, b: EmbeddingSet) -> EmbeddingSet:
    """Rows of both, with labels and clips as they are."""
    return EmbeddingSet(
        *(
            np.concatenate([getattr(a, n), getattr(b, n)])
            for n in ("embeddings", "labels", "clips", "groups", "copies")
        )
    )


def _stand_ins(
    cohort: EmbeddingSet | None, learns: bool
) -> tuple[list[EmbeddingSet], EmbeddingSet | None] | None:
    """Speakers of the cohort with several clips, and the part of the cohort that is left to learn from."""
    if cohort is None:
        return None
    as_people = _voices(cohort) % 2 == 0 if learns else np.ones(len(cohort), np.bool_)
    rest = cohort.select(~as_people)
    people = [cohort.select(cohort.labels == label) for label in np.unique(cohort.labels[as_people])]
    people = [person for person in people if person.n_clips > 1][:_PSEUDO_PEOPLE]
    if not people or (learns and rest.n_clips < 2):
        return None
    return people, rest if learns else None


def _pseudo_targets(
    make: Callable[[], Scorer],
    enrolment: EmbeddingSet,
    stand_ins: tuple[list[EmbeddingSet], EmbeddingSet | None],
    n_people: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scores of cohort speakers against models of themselves, enrolled with one clip beside the real people.

    And their weights, a clip and its copies summing to one.
    """
    people, rest = stand_ins
    first_clip = int(enrolment.clips.max()) + 1
    train: list[EmbeddingSet] = [enrolment]
    probes: list[EmbeddingSet] = []
    for label, own in enumerate(people, start=n_people):
        enrolled = own.clips == own.clips[0]
        for rows, parts in ((enrolled, train), (~enrolled, probes)):
            part = own.select(rows)
            labels = np.full(len(part), label)
            parts.append(
                EmbeddingSet(part.embeddings, labels, part.clips + first_clip, part.groups, part.copies)
            )
    asked = reduce(_joined, probes)
    scores = make().fit(reduce(_joined, train), rest).score(asked.embeddings)
    own_scores = scores[np.arange(len(asked)), asked.labels]
    return np.asarray(own_scores, np.float64), asked.weights(ORIGINAL_SHARE)


def _guessed(
    make: Callable[[], Scorer],
    enrolment: EmbeddingSet,
    probes: EmbeddingSet,
    cohort: EmbeddingSet | None,
    unknown: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """Scores (n, C) of the only clip of each person, where nobody's second clip is known.

    Against the others they are as they are. Against the person, who was enrolled with it, a second clip is guessed to
    score halfway between this one and the mean of other people.
    """
    scores = np.asarray(make().fit(enrolment, cohort).score(probes.embeddings), np.float64)
    own = np.zeros(scores.shape, np.bool_)
    own[np.arange(len(probes)), probes.labels] = True
    others = np.concatenate([scores[~own], np.ravel(unknown)])
    if len(others):
        scores[own] = 0.5 * (scores[own] + others.mean())
    return scores
