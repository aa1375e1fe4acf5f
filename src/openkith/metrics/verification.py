"""Error rates and costs of accepting or refusing a claimed speaker."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from openkith.metrics.sweep import Costs, Floats, Sweep, as_floats

P_TARGET = 0.1
C_MISS = 1.0
C_FA = 1.0


class RocPoints(NamedTuple):
    """The ROC, one point per distinct score.

    Attributes:
        fpr: (k + 1,) share of nontargets accepted, from 0 to 1.
        tpr: (k + 1,) share of targets accepted, from 0 to 1.
        thresholds: (k + 1,) descending; the first, inf, stands for accepting nothing.
    """

    fpr: Floats
    tpr: Floats
    thresholds: Floats


class DetPoints(NamedTuple):
    """The DET curve, one point per distinct score; plots warp both rates by the probit.

    Attributes:
        fpr: (k + 1,) share of nontargets accepted, from 0 to 1.
        fnr: (k + 1,) share of targets missed, from 1 to 0.
        thresholds: (k + 1,) descending; the first, inf, stands for accepting nothing.
    """

    fpr: Floats
    fnr: Floats
    thresholds: Floats


def sweep_trials(targets: ArrayLike, nontargets: ArrayLike) -> Sweep:
    """Check the scores of trials and sweep them.

    Args:
        targets: (n,) scores of trials that should be accepted.
        nontargets: (m,) scores of trials that should be refused.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    return Sweep.of(as_floats(targets, "targets"), as_floats(nontargets, "nontargets"))


def eer(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Equal error rate: where the share of misses equals the share of false alarms.

    Read off the empirical curve, not its convex hull. Its points are the error rates at each distinct score
    and at "accept nothing", joined by straight lines: a step where only targets or only nontargets have that
    score, a slope where they tie. FPR - FNR rises strictly along it, so it is zero exactly once; the result
    is the rate there, interpolated linearly on its segment.

    Args:
        targets: (n,) scores of target trials.
        nontargets: (m,) scores of nontarget trials.

    Returns:
        A fraction in 0..1; .5 for a constant score.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    return sweep_trials(targets, nontargets).eer()


def min_dcf(
    targets: ArrayLike,
    nontargets: ArrayLike,
    p_target: float = P_TARGET,
    c_miss: float = C_MISS,
    c_fa: float = C_FA,
) -> float:
    """Smallest normalised detection cost over all thresholds.

    The cost ``p_target c_miss FNR + (1 - p_target) c_fa FPR``, divided by the cost of the better of "accept
    everything" and "accept nothing", ``min(p_target c_miss, (1 - p_target) c_fa)`` (NIST speaker recognition
    evaluations).

    Args:
        targets: (n,) scores of target trials.
        nontargets: (m,) scores of nontarget trials.
        p_target: Prior probability of a target, between 0 and 1.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Returns:
        A number in 0..1.

    Raises:
        InputError: Unusable scores (as for `eer`), or a prior or cost out of range.
    """
    return sweep_trials(targets, nontargets).min_dcf(Costs(p_target, c_miss, c_fa))


def actual_dcf(
    llr_targets: ArrayLike,
    llr_nontargets: ArrayLike,
    p_target: float = P_TARGET,
    c_miss: float = C_MISS,
    c_fa: float = C_FA,
) -> float:
    """Normalised detection cost of deciding by the likelihood ratio as it stands.

    As `min_dcf`, at the Bayes threshold ``ln((1 - p_target) c_fa / (p_target c_miss))``; what it exceeds
    `min_dcf` by is the cost of poor calibration. May exceed 1.

    Args:
        llr_targets: (n,) natural-log likelihood ratios of target trials.
        llr_nontargets: (m,) the same of nontarget trials.
        p_target: Prior probability of a target, between 0 and 1.
        c_miss: Cost of a miss.
        c_fa: Cost of a false alarm.

    Raises:
        InputError: Unusable scores (as for `eer`), or a prior or cost out of range.
    """
    return sweep_trials(llr_targets, llr_nontargets).actual_dcf(Costs(p_target, c_miss, c_fa))


def cllr(llr_targets: ArrayLike, llr_nontargets: ArrayLike) -> float:
    """Cost of the log-likelihood ratio (Brümmer and du Preez, Computer Speech and Language, 2006).

    ``(mean over targets of log2(1 + exp(-llr)) + mean over nontargets of log2(1 + exp(llr))) / 2``: 0 for
    perfect ratios, 1 for ratios that say nothing, and inf if a single trial is certain and wrong.

    Args:
        llr_targets: (n,) natural-log likelihood ratios of target trials.
        llr_nontargets: (m,) the same of nontarget trials.

    Returns:
        The cost in bits, not negative.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    return sweep_trials(llr_targets, llr_nontargets).cllr()


def min_cllr(targets: ArrayLike, nontargets: ArrayLike) -> float:
    """Cllr that is left after the best monotone calibration of these very scores.

    The calibration is isotonic regression (pool adjacent violators, tied scores pooled first), whose share
    of targets per block, freed of the prior odds, is the likelihood ratio (Brümmer and du Preez, 2006).

    Args:
        targets: (n,) scores of target trials; only their order matters.
        nontargets: (m,) scores of nontarget trials.

    Returns:
        The cost in bits, in 0..1.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    return sweep_trials(targets, nontargets).min_cllr()


def roc_points(targets: ArrayLike, nontargets: ArrayLike) -> RocPoints:
    """Receiver operating characteristic, from "accept nothing" to "accept everything".

    Args:
        targets: (n,) scores of target trials.
        nontargets: (m,) scores of nontarget trials.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    sweep = sweep_trials(targets, nontargets)
    tpr = (sweep.n_targets - sweep.misses) / sweep.n_targets
    return RocPoints(sweep.fpr[::-1], tpr[::-1], sweep.thresholds[::-1])


def det_points(targets: ArrayLike, nontargets: ArrayLike) -> DetPoints:
    """Detection error trade-off (Martin et al., Eurospeech 1997), from "accept nothing" on.

    Args:
        targets: (n,) scores of target trials.
        nontargets: (m,) scores of nontarget trials.

    Raises:
        InputError: One of them is empty, not one-dimensional, not numbers, or has NaN.
    """
    sweep = sweep_trials(targets, nontargets)
    return DetPoints(sweep.fpr[::-1], sweep.fnr[::-1], sweep.thresholds[::-1])
