"""How well one score tells known from unknown, over all thresholds or at one.

``targets`` are the scores of what should be accepted (known probes), ``nontargets`` of what should not
(unknown probes). Every function raises `openkith.errors.InputError` if one of them is empty, not
one-dimensional, not numbers, or has NaN.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from openkith.metrics.sweep import as_share
from openkith.metrics.verification import sweep_trials

TPR = 0.95


def auroc(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Area under the ROC: the chance that a random target scores above a random nontarget.

    Ties count half.

    Args:
        targets: (n,) scores of targets.
        nontargets: (m,) scores of nontargets.

    Returns:
        A fraction in 0..1.
    """
    return sweep_trials(targets, nontargets).auroc()


def tnr_at_tpr(targets: ArrayLike, nontargets: ArrayLike, tpr: float = TPR) -> float:
    """Share of nontargets refused at the highest threshold that accepts a given share of targets.

    An operating point that exists, not an interpolated one: with ties, or few targets, more than `tpr` of
    the targets may be accepted there. (TNR at 95 % TPR: Liang et al., ICLR 2018.)

    Args:
        targets: (n,) scores of targets.
        nontargets: (m,) scores of nontargets.
        tpr: The share of targets to accept at least, 0..1.

    Returns:
        A fraction in 0..1.
    """
    return sweep_trials(targets, nontargets).tnr_at_tpr(as_share(tpr, "tpr"))


def detection_accuracy(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Accuracy at the best threshold if targets and nontargets were equally common.

    The largest mean of TPR and TNR over all thresholds (Liang et al., ICLR 2018).

    Args:
        targets: (n,) scores of targets.
        nontargets: (m,) scores of nontargets.

    Returns:
        A fraction in .5..1.
    """
    return sweep_trials(targets, nontargets).detection_accuracy()


def auin(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Area under precision against recall with the targets as positives, swept from the highest score.

    Average precision: each step of recall times the precision after it. (A trapezoid would interpolate
    precision linearly, which is too optimistic: Davis and Goadrich, ICML 2006; with many trials the two
    hardly differ. AUIN and AUOUT: Hendrycks and Gimpel, ICLR 2017.)

    Args:
        targets: (n,) scores of targets.
        nontargets: (m,) scores of nontargets.

    Returns:
        A fraction in 0..1; the share of targets for a constant score.
    """
    return sweep_trials(targets, nontargets).auin()


def auout(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Area under precision against recall with the nontargets as positives, swept from the lowest score.

    As `auin`, of the negated scores: ``auout(t, n) == auin(-n, -t)``.

    Args:
        targets: (n,) scores of targets.
        nontargets: (m,) scores of nontargets.

    Returns:
        A fraction in 0..1; the share of nontargets for a constant score.
    """
    return sweep_trials(targets, nontargets).auout()
