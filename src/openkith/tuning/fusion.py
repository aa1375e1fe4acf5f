"""Many members as one head: which of them to keep, and how their scores become one.

The members of a head are trained side by side (`openkith.tuning.tuner`). How evenly a member's points spread is the
variance of the eigenvalues of their cosine matrix; SpeakerRPL v2 (arXiv 2604.13605) keeps the members where it is
lowest, and averages their calibrated scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, InputError
from openkith.scoring.calibration import fit_line

__all__ = ["FUSIONS", "SELECTIONS", "eigenvalue_variance", "member_lines", "select_members"]

Floats = npt.NDArray[np.float64]
Lines = tuple[Floats, Floats]  # slopes (S,), intercepts (S,)

_CONSTANT = 1e-6  # standard deviation below which scores are all the same
_SHORTEST = 1e-12  # a point of less than this length has no direction


def eigenvalue_variance(proxies: npt.ArrayLike) -> Floats:
    """How unevenly the points of each member spread: the variance of the eigenvalues of their cosine matrix.

    The identity, every point at right angles to all others, gives 0; K points all alike give K - 1. No eigenvalue is
    computed: the mean of those of a matrix S is trace(S) / K, the mean of their squares sum_ij S_ij^2 / K.

    Args:
        proxies: Reciprocal points and centres of each member stacked, shape (S, K, m); K is 2 C for SpeakerRPL.

    Returns:
        Shape (S,).

    Raises:
        InputError: Another shape.
    """
    points = np.asarray(proxies, np.float64)
    if points.ndim != 3 or not points.shape[1]:
        raise InputError(f"proxies have shape {points.shape}; give (members, points, dimensions)")
    unit = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), _SHORTEST)
    n = points.shape[1]
    # The sum of squares of X X^T is that of X^T X: the smaller of the two is formed.
    gram = unit @ unit.swapaxes(1, 2) if n <= points.shape[2] else unit.swapaxes(1, 2) @ unit
    mean = np.square(unit).sum(axis=(1, 2)) / n
    return np.asarray(np.maximum(np.square(gram).sum(axis=(1, 2)) / n - mean**2, 0.0), np.float64)


def _all(variances: Floats, count: int) -> npt.NDArray[np.int64]:  # noqa: ARG001
    return np.arange(len(variances))


def _lowest_variance(variances: Floats, count: int) -> npt.NDArray[np.int64]:
    return np.sort(np.argsort(variances, kind="stable")[:count])


def _first(variances: Floats, count: int) -> npt.NDArray[np.int64]:
    return np.arange(min(count, len(variances)))


#: Name to the policy: (eigenvalue variances (S,), how many to keep) to the members kept, in order.
SELECTIONS: dict[str, Callable[[Floats, int], npt.NDArray[np.int64]]] = {
    "all": _all,
    "lowest-variance": _lowest_variance,
    "first": _first,
}


def select_members(policy: str, variances: npt.ArrayLike, keep: int | float) -> npt.NDArray[np.int64]:
    """The members that a policy keeps.

    Args:
        policy: A key of `SELECTIONS`.
        variances: `eigenvalue_variance` of each member, shape (S,).
        keep: A count (an int), or a share (a float); at least one member is kept. "all" does without.

    Returns:
        Their indices in rising order.

    Raises:
        ConfigError: No such policy.
    """
    if policy not in SELECTIONS:
        raise ConfigError(f"selection is {policy!r}; there are: {', '.join(SELECTIONS)}")
    values = np.asarray(variances, np.float64)
    count = keep if isinstance(keep, int) else round(keep * len(values))
    return SELECTIONS[policy](values, max(1, count))


def _mean(own: Floats, others: Floats) -> Lines:  # noqa: ARG001
    return np.ones(len(own)), np.zeros(len(own))


def _standardised(own: Floats, others: Floats) -> Lines:  # noqa: ARG001
    """Zero mean and unit deviation on the scores against other people."""
    deviations = others.std(axis=1)
    slopes = 1.0 / np.where(deviations > _CONSTANT, deviations, 1.0)
    return slopes, -others.mean(axis=1) * slopes


def _calibrated(own: Floats, others: Floats) -> Lines:
    """The line to a log-likelihood ratio, see `openkith.scoring.calibration`."""
    lines = [
        fit_line(target, np.ones(len(target)), nontarget, np.ones(len(nontarget)))
        for target, nontarget in zip(own, others, strict=True)
    ]
    slopes, intercepts = zip(*lines, strict=True)
    return np.array(slopes), np.array(intercepts)


#: Name to what gives each member its line: scores of people against themselves (S, a), and against others (S, b).
FUSIONS: dict[str, Callable[[Floats, Floats], Lines]] = {
    "mean": _mean,
    "standardised": _standardised,
    "calibrated": _calibrated,
}


def member_lines(policy: str, own: npt.NDArray[Any], others: npt.NDArray[Any]) -> Lines:
    """The line ``slope * score + intercept`` for each member, after which their scores are averaged.

    Args:
        policy: A key of `FUSIONS`: "mean" leaves the scores as they are; "standardised" brings them to zero mean
            and unit deviation on ``others``; "calibrated" to log-likelihood ratios by logistic regression.
        own: Scores of people against themselves, shape (S, a).
        others: Scores of people against others, shape (S, b).

    Returns:
        Slopes and intercepts, each of shape (S,).

    Raises:
        ConfigError: No such policy.
    """
    if policy not in FUSIONS:
        raise ConfigError(f"fusion is {policy!r}; there are: {', '.join(FUSIONS)}")
    return FUSIONS[policy](np.asarray(own, np.float64), np.asarray(others, np.float64))
