"""Scores of clips by a scorer that has not learned from them: what calibration and the choice of a method stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.scoring.base import EmbeddingSet, Scorer, guessed_conditions
from openkith.scoring.calibration import HeldOutScores
from openkith.scoring.cohort import voice_groups

__all__ = ["FOLDS", "ORIGINAL_SHARE", "enough_voices", "hold_out", "voices"]

FOLDS = 3
MAX_PROBE_ROWS = 6000  # enrolment rows of all folds; with more people than that allows, copies are left out
ORIGINAL_SHARE = 0.5  # of a clip as recorded in the weight of its held-out rows; its copies have the rest
_PSEUDO_PEOPLE = 20  # cohort speakers that stand in for people with a single short clip


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
        groups = voices(cohort)
        cohort_fold = np.full(len(cohort), -1) if learns and groups.max() + 1 < folds else groups % folds

    known: list[npt.NDArray[Any]] = []
    unknown: list[npt.NDArray[Any]] = []
    known_conditions: list[npt.NDArray[Any]] = []
    unknown_conditions: list[npt.NDArray[Any]] = []
    rows_known: list[EmbeddingSet] = []
    rows_unknown: list[EmbeddingSet] = []
    for fold in range(folds):
        train, probes = _split(enrolment, halves, basis, fold_of_row, fold)
        probes = _thinned(probes, -(-len(enrolment) // MAX_PROBE_ROWS))
        others = cohort.select(cohort_fold != fold) if cohort is not None and learns else None
        strangers = cohort.select(cohort_fold == fold) if cohort is not None else None
        if not len(probes) and (strangers is None or not len(strangers)):
            continue
        scorer = make().fit(train, others)
        if len(probes):
            known.append(scorer.score(probes.embeddings))
            known_conditions.append(guessed_conditions(scorer, probes.embeddings))
            rows_known.append(probes)
        if strangers is not None and len(strangers):
            unknown.append(scorer.score(strangers.embeddings))
            unknown_conditions.append(guessed_conditions(scorer, strangers.embeddings))
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
        known_conditions=_stacked(known_conditions),
        unknown_conditions=_stacked(unknown_conditions),
    )


def _stacked(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Conditions of all folds; none if a fold's cohort did not have them all."""
    if len({part.shape[1] for part in parts}) != 1:
        return np.zeros((0, 0), np.float32)
    return np.concatenate(parts)


def enough_voices(cohort: EmbeddingSet | None) -> bool:
    """Whether a cohort can be learned from and held out in turn: a voice for each fold."""
    return cohort is not None and len(cohort) > 0 and int(voices(cohort).max()) + 1 >= FOLDS


def voices(cohort: EmbeddingSet) -> npt.NDArray[np.int64]:
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


def _thinned(probes: EmbeddingSet, step: int) -> EmbeddingSet:
    """Every clip as recorded, and one in ``step`` of the copies."""
    return probes.select(~probes.copies | (np.cumsum(probes.copies) % step == 0)) if step > 1 else probes


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
    as_people = voices(cohort) % 2 == 0 if learns else np.ones(len(cohort), np.bool_)
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
