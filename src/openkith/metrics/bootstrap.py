"""Confidence intervals that know that a speaker's trials belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openkith.errors import InputError
from openkith.metrics.identification import UNKNOWN, as_labels
from openkith.metrics.sweep import Ints, as_floats

N_RESAMPLES = 1000
LEVEL = 0.95


def bootstrap_interval(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | tuple[ArrayLike, ArrayLike],
    *,
    n: int = N_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric, resampling speakers with all of their trials.

    Trials of one speaker are alike, so resampling single trials would give intervals that are too narrow.
    Speakers are drawn with replacement, as many as there are, separately among those who have the same kinds
    of trials (in identification: known, unknown): every draw then has each kind that the data have. The
    enrolled speakers that probes are scored against stay as they are.

    Args:
        metric: A function of this package, or one like it, for example ``eer`` or ``oscr``.
        first: Its first argument: targets (n,), or scores (probes, speakers).
        second: Its second argument: nontargets (m,), or labels (probes,).
        groups: The speaker of each trial, numbers or names: for scores and labels (probes,), for targets and
            nontargets a pair (n,), (m,). A trial with two speakers goes with its probe's.
        n: Number of draws.
        level: Share of draws that the interval covers, between 0 and 1.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        The lower and the upper end, both values that a draw gave; NaN if a draw gave NaN.

    Raises:
        InputError: Unusable scores or labels, groups that do not fit them, fewer than two speakers, or an
            option out of range.
    """
    if n < 1:
        raise InputError(f"n: {n!r} draws; give at least 1")
    if not 0.0 < level < 1.0:
        raise InputError(f"level: {level!r}; give a share between 0 and 1, both excluded")
    if np.ndim(first) == 2:
        return _interval(_identification_draw(metric, first, second, groups), n, level, seed)
    return _interval(_verification_draw(metric, first, second, groups), n, level, seed)


# A value of the metric per speaker's number of copies, and each speaker's stratum.
_Draw = tuple[Callable[[Ints], float], Ints]


def _identification_draw(
    metric: Callable[[NDArray[Any], NDArray[Any]], float], scores: ArrayLike, labels: ArrayLike, groups: Any
) -> _Draw:
    matrix = as_floats(scores, "scores", ndim=2)
    columns = as_labels(labels, *matrix.shape)
    speakers = _speaker_codes(groups, len(columns), "groups")
    known = columns != UNKNOWN

    def value(copies: Ints) -> float:
        rows = np.repeat(np.arange(len(columns)), copies[speakers])
        return metric(matrix[rows], columns[rows])

    return value, _strata(speakers[known], speakers[~known])


def _verification_draw(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    targets: ArrayLike,
    nontargets: ArrayLike,
    groups: Any,
) -> _Draw:
    accept, refuse = as_floats(targets, "targets"), as_floats(nontargets, "nontargets")
    if not isinstance(groups, tuple) or len(groups) != 2:
        raise InputError("groups: give a pair, the speakers of the targets and those of the nontargets")
    sides = [
        _as_groups(side, size, name)
        for side, size, name in zip(
            groups, (accept.size, refuse.size), ("groups[0]", "groups[1]"), strict=True
        )
    ]
    speakers = _speaker_codes(np.concatenate(sides), accept.size + refuse.size, "groups")
    of_targets, of_nontargets = speakers[: accept.size], speakers[accept.size :]

    def value(copies: Ints) -> float:
        return metric(np.repeat(accept, copies[of_targets]), np.repeat(refuse, copies[of_nontargets]))

    return value, _strata(of_targets, of_nontargets)


def _as_groups(groups: ArrayLike, size: int, name: str) -> NDArray[Any]:
    array = np.asarray(groups)
    if array.shape != (size,):
        raise InputError(f"{name}: shape {array.shape}; there are {size} trials, give a speaker for each")
    return array


def _speaker_codes(groups: ArrayLike, size: int, name: str) -> Ints:
    """Number the speakers 0, 1, ... in the order of their names, whatever the order of the trials."""
    try:
        speakers, codes = np.unique(_as_groups(groups, size, name), return_inverse=True)
    except TypeError as error:
        raise InputError(
            f"{name}: speakers cannot be sorted ({error}); give all as text or all as numbers"
        ) from error
    if speakers.size < 2:
        raise InputError(f"{name}: one speaker only; an interval by speaker needs at least two")
    return codes.astype(np.int64, copy=False)


def _strata(of_first: Ints, of_second: Ints) -> Ints:
    """Say of each speaker which kinds of trials they have: 1 the first, 2 the second, 3 both."""
    n_speakers = 1 + int(max(of_first.max(initial=0), of_second.max(initial=0)))
    strata = np.zeros(n_speakers, dtype=np.int64)
    strata[of_first] += 1
    strata[of_second] += 2
    return strata


def _interval(draw: _Draw, n: int, level: float, seed: int) -> tuple[float, float]:
    value, strata = draw
    rng = np.random.default_rng(seed)
    pools = [np.flatnonzero(strata == stratum) for stratum in (1, 2, 3) if np.any(strata == stratum)]
    values = np.empty(n)
    for i in range(n):
        drawn = np.concatenate([rng.choice(pool, size=pool.size) for pool in pools])
        values[i] = value(np.bincount(drawn, minlength=strata.size))
    tail = (1.0 - level) / 2.0
    # Values that occurred rather than interpolated ones: a Cllr may be infinite.
    low = np.quantile(values, tail, method="lower")
    high = np.quantile(values, 1.0 - tail, method="higher")
    return float(low), float(high)
