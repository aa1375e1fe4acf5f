"""Trials scored by the million: every embedding is read once, and pairs are inner products of rows.

Cosine is the inner product of rows of unit length; the log-likelihood ratio of PLDA one of slightly longer rows (see
`PairPLDA.sides`). AS-norm needs mean and deviation of each embedding's largest scores with a cohort, which are taken
once for each embedding, however many trials it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.bulk.plda import PairPLDA, load_or_learn
from openkith.bulk.reading import Embeddings, read_embeddings
from openkith.bulk.trial_scores import TrialList, TrialScores, read_trial_list
from openkith.errors import ConfigError, EncoderMismatchError, InputError
from openkith.openset.model import Progress
from openkith.scoring.base import class_sums, normalise
from openkith.scoring.norm import MIN_TOP, TOP_SHARE, cohort_statistics

__all__ = ["ScoreOptions", "score_pairs", "score_trials"]

_BLOCK_VALUES = 131_072  # of either side that are multiplied at once: they stay in the cache
_MOST_VALUES = 16_000_000  # of a block's scores with the cohort

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreOptions:
    """How trials are scored.

    Attributes:
        as_norm: Embeddings of the impostor cohort; None: scores are not normalised.
        top: How many of the cohort's largest scores count; None: 8 % of them, and 10 at least.
        speaker_means: The cohort is the mean of each of its speakers, not each of its clips.
        plda: A saved model, or embeddings with speakers to learn one from; None: cosine.
        save_plda: Where to save the model; None: nowhere.

    Raises:
        ConfigError: An option that says something of what is not asked for, or ``top`` below 10.
    """

    as_norm: Path | None = None
    top: int | None = None
    speaker_means: bool = False
    plda: Path | None = None
    save_plda: Path | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.top < MIN_TOP:
            raise ConfigError(f"top is {self.top}; give {MIN_TOP} or more")
        if self.as_norm is None and (self.top is not None or self.speaker_means):
            raise ConfigError(
                "top and speaker_means are of the cohort; give one with as_norm, or leave them out"
            )
        if self.plda is None and self.save_plda is not None:
            raise ConfigError("save_plda needs a model; give embeddings to learn it from with plda")

    @property
    def method(self) -> str:
        """Its name."""
        return ("cosine" if self.plda is None else "plda") + ("" if self.as_norm is None else " + as-norm")


def score_trials(
    trials: str | Path | TrialList,
    embeddings: str | Path | Embeddings,
    options: ScoreOptions | None = None,
    *,
    progress: Progress | None = None,
) -> TrialScores:
    """Score a trial list of VoxCeleb's form.

    Args:
        trials: The list, or its path.
        embeddings: A folder of embeddings, or what `read_embeddings` gave.
        options: Default: cosine as it is.
        progress: Called with what is being done, steps done and steps in all.

    Raises:
        ManifestError: The list is malformed.
        InputError: An id of the list has no embedding: the message names list, line and id; or a file is damaged.
        EncoderMismatchError: Cohort or model are of another encoder.
        NotEnoughDataError: PLDA or the cohort's speakers cannot be learned from what was given.
    """
    options = options or ScoreOptions()

    def report(what: str) -> None:
        if progress:
            progress(what, 0, 0)

    report("reading trials")
    listed = trials if isinstance(trials, TrialList) else read_trial_list(trials)
    report("reading embeddings")
    held = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
    vectors = held.gather(_rows(listed, held))
    model = None
    if options.plda is not None:
        report("PLDA")
        model = load_or_learn(options.plda)
        _check_same(held, vectors.shape[1], model.fingerprint, model.dim, options.plda)
        if options.save_plda is not None:
            model.save(options.save_plda)
    report("scoring")
    enrol, test = _sides(vectors, model)
    scores = score_pairs(enrol, test, listed.enrol, listed.test)
    if options.as_norm is not None:
        report("AS-norm")
        cohort = read_embeddings(options.as_norm)
        impostors = _cohort(cohort, options.speaker_means)
        _check_same(held, vectors.shape[1], cohort.fingerprint, impostors.shape[1], options.as_norm)
        scores = _normalised(scores, listed, test, _sides(impostors, model)[0], options.top)
    return TrialScores(listed, scores)


def score_pairs(
    enrol: npt.NDArray[Any], test: npt.NDArray[Any], first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> Doubles:
    """Inner products of pairs of rows, in double precision.

    Args:
        enrol: (n, k).
        test: (m, k).
        first: (t,) row of ``enrol`` of each pair.
        second: (t,) row of ``test``.

    Returns:
        (t,).
    """
    scores = np.empty(len(first))
    block = max(1, _BLOCK_VALUES // enrol.shape[1])
    for start in range(0, len(first), block):
        part = slice(start, start + block)
        scores[part] = np.einsum("ij,ij->i", enrol[first[part]], test[second[part]], dtype=np.float64)
    return scores


def _sides(vectors: npt.NDArray[Any], model: PairPLDA | None) -> tuple[Doubles, Doubles]:
    """Rows of embeddings (n, d) as enrolment and as test, whose inner products are scores."""
    if model is not None:
        return model.sides(vectors)
    unit = normalise(vectors).astype(np.float64)
    return unit, unit


def _rows(trials: TrialList, embeddings: Embeddings) -> npt.NDArray[np.int64]:
    """The number of each id's embedding, (len(trials.names),)."""
    found = [embeddings.find(name) for name in trials.names]
    missing = [number for number, row in enumerate(found) if row is None]
    if missing:
        name = trials.names[missing[0]]
        why = embeddings.why_not(name)
        others = f", nor of {len(missing) - 1} more ids" if len(missing) > 1 else ""
        raise InputError(
            f"{trials.source}:{trials.line_of(missing[0])}: no embedding of {name!r} in {embeddings.folder}{others}"
            f"{f' ({why})' if why else ''}; embed what is missing, or leave the trial out"
        )
    return np.array(found, np.int64)


def _cohort(embeddings: Embeddings, speaker_means: bool) -> npt.NDArray[Any]:
    """(m, d): all clips, or the mean of each speaker's clips of unit length."""
    vectors = normalise(embeddings.gather())
    if not speaker_means:
        return vectors
    labels = embeddings.labels()
    return class_sums(vectors, labels) / np.bincount(labels)[:, None]


def _normalised(
    scores: Doubles, trials: TrialList, rows: npt.NDArray[Any], cohort: npt.NDArray[Any], top: int | None
) -> Doubles:
    """AS-norm of scores (t,); a score of an embedding with the cohort does not depend on which side it is on."""
    share = TOP_SHARE if top is None else min(1.0, top / len(cohort))
    block = max(1, _MOST_VALUES // len(cohort))
    parts = [cohort_statistics(rows[i : i + block], cohort, share) for i in range(0, len(rows), block)]
    mean, deviation = (np.concatenate(column) for column in zip(*parts, strict=True))
    sides = ((scores - mean[side]) / deviation[side] for side in (trials.enrol, trials.test))
    return np.asarray(0.5 * sum(sides), np.float64)


def _check_same(held: Embeddings, dim: int, fingerprint: str, other_dim: int, other: Path) -> None:
    """Refuse to mix encoders, where it is told which ones they are, or vectors of two lengths."""
    if held.fingerprint and fingerprint and held.fingerprint != fingerprint:
        raise EncoderMismatchError(
            f"{other}: is of the encoder {fingerprint}, and {held.folder} of {held.fingerprint}; embed both with one"
        )
    if dim != other_dim:
        raise InputError(
            f"{other}: of length {other_dim}, and {held.folder} has {dim}; embed both with one encoder"
        )
