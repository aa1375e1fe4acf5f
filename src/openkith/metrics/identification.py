"""Naming a probe's speaker among those enrolled, or refusing it.

``scores`` is (probes, speakers); ``labels`` is (probes,): the column of the probe's own speaker, or -1 for an
unknown one. A probe gets the name of its largest score, if that is at least the threshold. **A tie for the
largest score gives no name**: it counts as wrong whoever is right, so that neither the order of the speakers
nor luck decides, and a system gains nothing by ties.

Every function raises `openkith.errors.InputError` if shapes do not fit, a label has no column, a score is
NaN, or a kind of probe that it divides by (known, unknown) is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openkith.errors import InputError
from openkith.metrics.sweep import Floats, Ints, Sweep, as_floats, as_share

UNKNOWN = -1
FPIR = 0.01


class OscrCurve(NamedTuple):
    """Correct classification against false positives, one point per distinct score.

    Attributes:
        fpr: (k + 1,) share of unknown probes that get a name, from 0 to 1.
        ccr: (k + 1,) share of known probes that get their own name, from 0 to the closed-set accuracy.
        thresholds: (k + 1,) descending; the first, inf, stands for naming nobody.
    """

    fpr: Floats
    ccr: Floats
    thresholds: Floats


@dataclass(frozen=True, eq=False)
class Identification:
    """What the metrics need to know of a checked matrix of scores.

    Attributes:
        scores: (probes, speakers).
        labels: (probes,) column of the own speaker, or -1.
        top: (probes,) each probe's largest score.
        known: (probes,) whether the own speaker is enrolled.
        right: (probes,) whether the largest score is the own speaker's alone.
    """

    scores: Floats
    labels: Ints
    top: Floats
    known: NDArray[np.bool_]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Identification:
        """Check scores and labels, and find each probe's best speaker."""
        matrix = as_floats(scores, "scores", ndim=2)
        columns = as_labels(labels, *matrix.shape)
        known = columns != UNKNOWN
        top = matrix.max(axis=1)
        own = matrix[np.arange(len(columns)), columns]  # the last column where unknown: masked below
        alone = np.count_nonzero(matrix == top[:, None], axis=1) == 1
        return cls(matrix, columns, top, known, known & alone & (own == top))

    @property
    def n_known(self) -> int:
        """Number of probes of enrolled speakers."""
        return int(np.count_nonzero(self.known))

    @property
    def n_unknown(self) -> int:
        """Number of probes of speakers who are not enrolled."""
        return len(self.labels) - self.n_known

    def require(self, *, known: bool = False, unknown: bool = False) -> Identification:
        """Return itself, or raise `InputError` if it lacks a kind of probe."""
        if known and not self.n_known:
            raise InputError("labels: no known probe; at least one label must name a column of scores")
        if unknown and not self.n_unknown:
            raise InputError("labels: no unknown probe; at least one label must be -1")
        return self

    def trials(self, scores: Floats) -> tuple[Floats, Floats]:
        """Split scores of all speaker-by-probe pairs in targets and nontargets; see `trial_scores`."""
        own = np.zeros(scores.shape, dtype=np.bool_)
        own[self.known, self.labels[self.known]] = True
        return scores[own], scores[~own]

    def naming(self) -> Sweep:
        """Sweep of the known probes that can get their name against the unknown probes."""
        return Sweep.of(self.top[self.right], self.top[~self.known])

    def accuracy(self) -> float:
        """Share of known probes whose best speaker is their own; see `closed_set_accuracy`."""
        return int(np.count_nonzero(self.right)) / self.n_known

    def oscr(self, naming: Sweep) -> float:
        """Area under the OSCR curve; see `oscr`."""
        return naming.ordered_pairs() / (self.n_known * self.n_unknown)

    def fnir_at_fpir(self, naming: Sweep, fpir: float) -> float:
        """Share of known probes not named rightly; see `fnir_at_fpir`."""
        at = np.argmax(naming.fpr <= fpir)  # the lowest threshold that is strict enough
        named = naming.n_targets - int(naming.misses[at])
        return (self.n_known - named) / self.n_known


def as_labels(labels: ArrayLike, n_probes: int, n_speakers: int) -> Ints:
    """Check that there is a column, or -1, for each probe; raises `InputError` otherwise."""
    array = np.asarray(labels)
    if array.shape != (n_probes,):
        raise InputError(f"labels: shape {array.shape}; scores have {n_probes} probes, give as many labels")
    if array.dtype.kind not in "iu":
        raise InputError(f"labels: dtype {array.dtype}; give whole numbers: a column of scores, or -1")
    wrong = (array < UNKNOWN) | (array >= n_speakers)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"labels: {array[at]} at probe {at}; give 0 to {n_speakers - 1}, or -1 for unknown")
    return array.astype(np.int64, copy=False)


def trial_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Every speaker-by-probe pair as a verification trial.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1.

    Returns:
        Targets (known,): known probes against their own speaker, and nontargets: all other pairs, those of
        unknown probes among them. Either may be empty.
    """
    probes = Identification.of(scores, labels)
    return probes.trials(probes.scores)


def detection_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """The largest score of each probe, which says whether it is anybody known.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1.

    Returns:
        Those of known probes (known,) and of unknown probes (unknown,). Either may be empty.
    """
    probes = Identification.of(scores, labels)
    return probes.top[probes.known], probes.top[~probes.known]


def closed_set_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Share of known probes whose own speaker alone has the largest score.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1; unknown probes are left out.

    Returns:
        A fraction in 0..1.
    """
    return Identification.of(scores, labels).require(known=True).accuracy()


def oscr(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the open-set classification rate (Dhamija et al., NeurIPS 2018).

    The area under `oscr_curve`, which is the chance that a random known probe gets its own name with a score
    above the largest of a random unknown probe; ties between the two count half.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1.

    Returns:
        A fraction from 0 to the closed-set accuracy.
    """
    probes = Identification.of(scores, labels).require(known=True, unknown=True)
    return probes.oscr(probes.naming())


def oscr_curve(scores: ArrayLike, labels: ArrayLike) -> OscrCurve:
    """Correct-classification rate against false-positive rate, over all thresholds t.

    CCR(t): share of known probes given their own name with a score >= t. FPR(t): share of unknown probes
    whose largest score is >= t.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1.
    """
    probes = Identification.of(scores, labels).require(known=True, unknown=True)
    naming = probes.naming()
    ccr = (naming.n_targets - naming.misses) / probes.n_known
    return OscrCurve(naming.fpr[::-1], ccr[::-1], naming.thresholds[::-1])


def fnir_at_fpir(scores: ArrayLike, labels: ArrayLike, fpir: float = FPIR) -> float:
    """Share of known probes that do not get their name when few unknown ones get any.

    False-negative identification rate, at the lowest threshold that names at most `fpir` of the unknown
    probes (ISO/IEC 19795-1; here the right name must also be the first). Not interpolated: with fewer than
    1 / `fpir` unknown probes none of them may get a name.

    Args:
        scores: (probes, speakers).
        labels: (probes,) column of each probe's own speaker, or -1.
        fpir: Largest share of unknown probes that may get a name, 0..1.

    Returns:
        A fraction in 0..1.
    """
    probes = Identification.of(scores, labels).require(known=True, unknown=True)
    return probes.fnir_at_fpir(probes.naming(), as_share(fpir, "fpir"))
