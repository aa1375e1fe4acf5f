"""One sort of the scores, from which every threshold metric is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openkith.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def as_floats(values: ArrayLike, name: str, ndim: int = 1) -> Floats:
    """Check scores and return them as float64.

    Args:
        values: Numbers; infinite ones are allowed.
        name: What an error message calls them.
        ndim: The number of dimensions they must have.

    Raises:
        InputError: Not numbers, another number of dimensions, no values at all, or NaN among them.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: not an array ({error}); give rows of equal length") from error
    if array.ndim != ndim:
        raise InputError(f"{name}: shape {array.shape}; give an array of {ndim} dimension(s)")
    if array.size == 0:
        raise InputError(f"{name}: no values (shape {array.shape}); give at least one")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}: dtype {array.dtype} holds no real numbers; give floats")
    floats = array.astype(np.float64, copy=False)
    missing = np.isnan(floats)
    if missing.any():
        first = np.argwhere(missing)[0].tolist()
        raise InputError(f"{name}: NaN at index {first}; remove or score that trial")
    return floats


def as_share(value: float, name: str) -> float:
    """Check that a rate is in 0..1; raises `InputError` otherwise."""
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{name}: {value!r} is not a share; give a number from 0 to 1")
    return float(value)


@dataclass(frozen=True)
class Costs:
    """The operating point of a detection cost function.

    Attributes:
        p_target: Prior probability of a target, in (0, 1).
        c_miss: Cost of a miss, positive.
        c_fa: Cost of a false alarm, positive.

    Raises:
        InputError: A value out of its range.
    """

    p_target: float
    c_miss: float
    c_fa: float

    def __post_init__(self) -> None:
        if not 0.0 < self.p_target < 1.0:
            raise InputError(
                f"p_target: {self.p_target!r}; give a probability between 0 and 1, both excluded"
            )
        for name, cost in (("c_miss", self.c_miss), ("c_fa", self.c_fa)):
            if not (cost > 0.0 and math.isfinite(cost)):
                raise InputError(f"{name}: {cost!r}; give a positive, finite cost")

    @property
    def miss(self) -> float:
        """Expected cost of missing every target."""
        return self.p_target * self.c_miss

    @property
    def false_alarm(self) -> float:
        """Expected cost of accepting every nontarget."""
        return (1.0 - self.p_target) * self.c_fa

    @property
    def llr_threshold(self) -> float:
        """Bayes threshold on a natural-log likelihood ratio."""
        return math.log(self.false_alarm) - math.log(self.miss)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Errors at every threshold that makes a difference.

    Point i < k accepts scores >= the i-th smallest distinct score, point k accepts nothing. Only counts per
    distinct score are kept, so that nothing here can depend on the order of equal scores; curves and areas
    go straight from point to point, which gives tied targets and nontargets half of each other.

    Attributes:
        thresholds: (k + 1,) ascending; the last, of the point that accepts nothing, is inf.
        misses: (k + 1,) targets that are not accepted.
        false_alarms: (k + 1,) nontargets that are accepted.
        n_targets: Number of targets.
        n_nontargets: Number of nontargets.
    """

    thresholds: Floats
    misses: Ints
    false_alarms: Ints
    n_targets: int
    n_nontargets: int

    @classmethod
    def of(cls, targets: Floats, nontargets: Floats) -> Sweep:
        """Sweep checked scores; with one side empty, metrics that divide by it are undefined."""
        accept, refuse = np.sort(targets), np.sort(nontargets)
        # A stable sort merges two sorted runs: cheaper than sorting the whole, and the sorted targets are
        # needed again, as needles that searchsorted finds without leaving the cache.
        merged = np.sort(np.concatenate([accept, refuse]), kind="stable")
        starts = np.flatnonzero(np.append(True, merged[1:] != merged[:-1]))
        distinct = merged[starts]
        misses = np.zeros(distinct.size + 1, dtype=np.int64)
        np.cumsum(np.bincount(np.searchsorted(distinct, accept), minlength=distinct.size), out=misses[1:])
        below = np.append(starts, merged.size)  # of both kinds
        return cls(
            thresholds=np.append(distinct, np.inf),
            misses=misses,
            false_alarms=refuse.size - (below - misses),
            n_targets=accept.size,
            n_nontargets=refuse.size,
        )

    @property
    def target_counts(self) -> Ints:
        """(k,) targets at each distinct score."""
        return np.diff(self.misses)

    @property
    def nontarget_counts(self) -> Ints:
        """(k,) nontargets at each distinct score."""
        return -np.diff(self.false_alarms)

    @property
    def fnr(self) -> Floats:
        """(k + 1,) share of targets missed."""
        return self.misses / self.n_targets

    @property
    def fpr(self) -> Floats:
        """(k + 1,) share of nontargets accepted."""
        return self.false_alarms / self.n_nontargets

    def eer(self) -> float:
        """Equal error rate; see `openkith.metrics.eer`."""
        # Sign of FPR - FNR in whole numbers, so that no rounding decides which segment crosses.
        excess = self.false_alarms * self.n_targets - self.misses * self.n_nontargets
        after = int(np.argmax(excess <= 0))
        high, low = int(excess[after - 1]), int(excess[after])
        weighted = int(self.false_alarms[after]) * high - int(self.false_alarms[after - 1]) * low
        return weighted / ((high - low) * self.n_nontargets)

    def min_dcf(self, costs: Costs) -> float:
        """Smallest normalised detection cost; see `openkith.metrics.min_dcf`."""
        return float(np.min(costs.miss * self.fnr + costs.false_alarm * self.fpr)) / min(
            costs.miss, costs.false_alarm
        )

    def actual_dcf(self, costs: Costs) -> float:
        """Normalised detection cost at the Bayes threshold; see `openkith.metrics.actual_dcf`."""
        at = np.searchsorted(self.thresholds, costs.llr_threshold)
        return float(costs.miss * self.fnr[at] + costs.false_alarm * self.fpr[at]) / min(
            costs.miss, costs.false_alarm
        )

    def cllr(self) -> float:
        """Cost of the log-likelihood ratio in bits; see `openkith.metrics.cllr`."""
        llrs, targets, nontargets = self.thresholds[:-1], self.target_counts, self.nontarget_counts
        # Only scores that occur: 0 x inf would be NaN.
        t, n = targets > 0, nontargets > 0
        target_cost = np.sum(targets[t] * np.logaddexp(0.0, -llrs[t])) / self.n_targets
        nontarget_cost = np.sum(nontargets[n] * np.logaddexp(0.0, llrs[n])) / self.n_nontargets
        return float(target_cost + nontarget_cost) / (2.0 * math.log(2.0))

    def min_cllr(self) -> float:
        """Cllr after the best monotone calibration; see `openkith.metrics.min_cllr`."""
        from scipy.optimize import isotonic_regression  # late: the only metric that needs scipy

        totals = self.target_counts + self.nontarget_counts
        starts = isotonic_regression(self.target_counts / totals, weights=totals).blocks[:-1]
        targets = np.add.reduceat(self.target_counts, starts)  # (blocks,)
        nontargets = np.add.reduceat(self.nontarget_counts, starts)
        t, n = targets > 0, nontargets > 0
        prior_odds = self.n_targets / self.n_nontargets
        target_cost = np.sum(targets[t] * np.log1p(nontargets[t] / targets[t] * prior_odds))
        nontarget_cost = np.sum(nontargets[n] * np.log1p(targets[n] / nontargets[n] / prior_odds))
        cost = target_cost / self.n_targets + nontarget_cost / self.n_nontargets
        return float(cost) / (2.0 * math.log(2.0))

    def ordered_pairs(self) -> float:
        """Pairs of a target and a lower nontarget; an equal nontarget counts half."""
        below = self.n_nontargets - self.false_alarms
        return int(np.dot(self.target_counts, below[:-1] + below[1:])) / 2

    def auroc(self) -> float:
        """Area under the ROC; see `openkith.metrics.auroc`."""
        return self.ordered_pairs() / (self.n_targets * self.n_nontargets)

    def tnr_at_tpr(self, tpr: float) -> float:
        """Share of nontargets refused; see `openkith.metrics.tnr_at_tpr`."""
        enough = (self.n_targets - self.misses) / self.n_targets >= tpr
        at = np.flatnonzero(enough)[-1]  # the highest threshold that accepts enough
        return int(self.n_nontargets - self.false_alarms[at]) / self.n_nontargets

    def detection_accuracy(self) -> float:
        """Best mean of TPR and TNR; see `openkith.metrics.detection_accuracy`."""
        return 1.0 - float(np.min(self.fnr + self.fpr)) / 2.0

    def auin(self) -> float:
        """Average precision, targets positive; see `openkith.metrics.auin`."""
        accepted = self.n_targets - self.misses[:-1]
        precision = accepted / (accepted + self.false_alarms[:-1])
        return float(np.sum(self.target_counts * precision)) / self.n_targets

    def auout(self) -> float:
        """Average precision, nontargets positive; see `openkith.metrics.auout`."""
        refused = self.n_nontargets - self.false_alarms[1:]
        precision = refused / (refused + self.misses[1:])
        return float(np.sum(self.nontarget_counts * precision)) / self.n_nontargets
