"""From scores to probabilities, and from a false-accept rate to a threshold.

Scores of clips that the scorer has not learned from (`HeldOutScores`) give a line from score to natural-log
likelihood ratio by prior-weighted logistic regression, which minimises Cllr (Brümmer & du Preez, Computer Speech and
Language, 2006). With the prior of an unknown voice stated, Bayes' rule turns the ratios into P(each person) and
P(unknown).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, NotEnoughDataError

__all__ = ["Calibration", "ErrorEstimate", "HeldOutScores", "check_rates", "fit_conditions"]

Floats = npt.NDArray[np.floating[Any]]

DEFAULT_FAR = 0.01
DEFAULT_UNKNOWN_PRIOR = 0.5
_RIDGE = 0.1  # on the slope for standardised scores, in clips: few clips give a cautious slope
# How far a condition may move the line, and how much the errors at p_target count, was settled on cohort episodes
# (`benchmarks/cohort_episodes.py`).
P_TARGET = 0.2  # share of target trials for which lines by condition are fitted
_OFFSET_RIDGE = 0.3  # on the offsets by condition, in clips
_GAIN_RIDGE = 1.0  # on the gains by condition, in clips
_LEAST_SPREAD = 0.05  # of the probability of a condition
_LEAST_GAIN = 0.2
_PRIOR_LOG_ODDS = math.log(P_TARGET / (1.0 - P_TARGET))
_MAX_NONTARGETS = 200_000  # that the line is fitted to
_MIN_SLOPE = 1e-3
_ROUNDING = 1e-9  # of a sum of weights, relative
_CONSTANT = 1e-6  # standard deviation below which scores are all the same
INTERVAL = 0.9  # probability of the interval around an estimated error rate


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of clips that the scorer did not learn from.

    Attributes:
        known: (m, C) scores of held-out clips of the enrolled people, and of their copies.
        labels: (m,) whose clip each row is.
        clips: (m,) recording of each row, numbered as in the enrolment set.
        copies: (m,) True for degraded copies.
        known_weights: (m,) weight of each row; a clip and its copies sum to 1.
        unknown: (u, C) scores of other people.
        unknown_clips: (u,) recording of each row.
        unknown_weights: (u,) weight of each row; a clip and its copies sum to 1.
        pseudo: (s,) scores of other people against models of themselves, standing in for enrolled people with a
            single clip.
        basis: How each enrolled person was held out: "clips" (leave one out), "crops" (disjoint parts of the only
            clip), "cohort" (the spread within other speakers) or "none" (a single clip, and no such cohort: where
            nobody has a second one, ``known`` holds a guess for the person's own score); or "shipped", of a scorer that
            comes with its held-out scores.
        pseudo_weights: (s,) weight of each pseudo score.
        known_conditions: (m, K) guessed recording condition of each row, from a scorer that guesses it; else (m, 0).
        unknown_conditions: (u, K) the same of other people.
    """

    known: Floats
    labels: npt.NDArray[np.int64]
    clips: npt.NDArray[np.int64]
    copies: npt.NDArray[np.bool_]
    known_weights: Floats
    unknown: Floats
    unknown_clips: npt.NDArray[np.int64]
    unknown_weights: Floats
    pseudo: Floats
    basis: tuple[str, ...]
    pseudo_weights: Floats = field(default_factory=lambda: np.zeros(0))
    known_conditions: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    unknown_conditions: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def has_conditions(self) -> bool:
        """Whether the scorer guessed conditions, and both kinds of rows are there to learn from."""
        return self.known_conditions.size > 0 and self.unknown_conditions.size > 0

    def moved(self, gains: Floats, offsets: Floats) -> HeldOutScores:
        """With the scores of each row on the line of its condition, see `fit_conditions`."""
        return replace(
            self,
            known=_by_condition(self.known, self.known_conditions, gains, offsets),
            unknown=_by_condition(self.unknown, self.unknown_conditions, gains, offsets),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by name, for saving."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "basis"}

    def own(self) -> npt.NDArray[np.bool_]:
        """(m, C) True where a known row is set against its own person."""
        mask = np.zeros(self.known.shape, np.bool_)
        mask[np.arange(len(self.labels)), self.labels] = True
        return mask

    def trials(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Target scores, their weights, non-target scores, their weights.

        Non-targets are other people, and enrolled people against one another. Where there are both, each kind has
        half of the weight: the cohort is larger, but only the household shares its microphone and its rooms.

        Raises:
            NotEnoughDataError: No target or no non-target scores.
        """
        own = self.own()
        weights = np.broadcast_to(self.known_weights[:, None], self.known.shape)
        unknown_weights = np.broadcast_to(self.unknown_weights[:, None], self.unknown.shape)
        targets = np.concatenate([self.known[own], self.pseudo])
        kinds = [
            (scores.ravel(), parts.ravel() / parts.sum())
            for scores, parts in ((self.unknown, unknown_weights), (self.known[~own], weights[~own]))
            if scores.size
        ]
        if not len(targets) or not kinds:
            raise NotEnoughDataError(
                "calibration needs held-out clips of enrolled people and of others: give clips of other people with "
                "--unknown DIR, or enrol a second person, and two clips of each"
            )
        return (
            targets,
            np.concatenate([weights[own], self.pseudo_weights]),
            np.concatenate([scores for scores, _ in kinds]),
            np.concatenate([parts for _, parts in kinds]),
        )

    def strangers(self) -> tuple[Floats, Floats]:
        """Best score of each row of a stranger, and its weight.

        Where there is no stranger, the enrolled people are strangers to one another.
        """
        if len(self.unknown):
            return self.unknown.max(axis=1), self.unknown_weights
        return np.where(self.own(), -np.inf, self.known).max(axis=1), self.known_weights


@dataclass(frozen=True)
class ErrorEstimate:
    """An error rate expected from held-out clips, with a 90 % interval that their number allows."""

    rate: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class Calibration:
    """A line from score to log-likelihood ratio, a prior, and two thresholds.

    Attributes:
        slope, intercept: ``llr = slope * score + intercept``, natural log.
        unknown_prior: Prior probability that a voice is nobody enrolled; the rest is shared evenly.
        far: False-accept rate asked of identification: the share of unknown voices that get any name.
        verify_far: False-accept rate asked of verification: per trial.
        threshold: On the best person's ratio, for identification.
        verify_threshold: On the claimed person's ratio, for verification.
        miss: Expected share of the enrolled people's clips that do not get their name (wrong, or below threshold).
        verify_miss: Expected share of true claims below the verification threshold.
        unknown_clips: Recordings of other people that the thresholds stand on.
        extrapolated: A rate asked is smaller than these recordings can show; its threshold follows from the spread
            of their scores.
        basis: See `HeldOutScores`; by person.
        gains, offsets: (K,) by which a score is multiplied, and what is added then, for each condition that the
            scorer guesses its probe was recorded in; empty for a scorer that guesses none.
    """

    slope: float
    intercept: float
    unknown_prior: float
    far: float
    verify_far: float
    threshold: float
    verify_threshold: float
    miss: ErrorEstimate
    verify_miss: ErrorEstimate
    unknown_clips: int
    extrapolated: bool
    basis: tuple[str, ...]
    gains: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        held_out: HeldOutScores,
        *,
        far: float = DEFAULT_FAR,
        verify_far: float | None = None,
        unknown_prior: float = DEFAULT_UNKNOWN_PRIOR,
    ) -> Calibration:
        """Learn the line and set the thresholds.

        Raises:
            ConfigError: A rate or the prior is not between 0 and 1.
            NotEnoughDataError: No target or no non-target scores.
        """
        verify_far = far if verify_far is None else verify_far
        check_rates(far, verify_far, unknown_prior)
        gains = offsets = np.zeros(0)
        if held_out.has_conditions:
            gains, offsets = fit_conditions(held_out)
            held_out = held_out.moved(gains, offsets)
        targets, target_weights, nontargets, nontarget_weights = held_out.trials()
        share = P_TARGET if held_out.has_conditions else 0.5
        slope, intercept = fit_line(targets, target_weights, nontargets, nontarget_weights, share)
        return cls(
            slope=slope,
            intercept=intercept,
            unknown_prior=unknown_prior,
            basis=held_out.basis,
            gains=tuple(gains.tolist()),
            offsets=tuple(offsets.tolist()),
            **_thresholds(held_out, partial(_on_line, slope, intercept), far, verify_far),
        )

    def at(self, held_out: HeldOutScores, *, far: float, verify_far: float | None = None) -> Calibration:
        """The same line with the thresholds for other rates, and what these are expected to cost.

        Args:
            held_out: What it was fitted to.
            far, verify_far: The rates; ``verify_far`` is ``far`` where it is not given.

        Raises:
            ConfigError: A rate is not between 0 and 1.
        """
        verify_far = far if verify_far is None else verify_far
        check_rates(far, verify_far, self.unknown_prior)
        if self.offsets and held_out.has_conditions:
            held_out = held_out.moved(np.array(self.gains), np.array(self.offsets))
        line = partial(_on_line, self.slope, self.intercept)
        return replace(self, **_thresholds(held_out, line, far, verify_far))

    def llr(self, scores: Floats, conditions: Floats | None = None) -> npt.NDArray[np.float64]:
        """Natural-log likelihood ratios of scores.

        Args:
            scores: Any shape; (p, C) with conditions.
            conditions: (p, K) guessed for each probe, where the calibration has lines by condition.
        """
        if conditions is not None and len(self.offsets):
            scores = _by_condition(scores, conditions, np.array(self.gains), np.array(self.offsets))
        return _on_line(self.slope, self.intercept, scores)

    def posteriors(self, llrs: Floats) -> npt.NDArray[np.float64]:
        """P(each person) and, last, P(unknown): (p, C) ratios to (p, C + 1) that sum to 1 in each row."""
        n_people = llrs.shape[1]
        log_joint = np.concatenate(
            [
                llrs + np.log((1.0 - self.unknown_prior) / n_people),
                np.full((len(llrs), 1), np.log(self.unknown_prior)),
            ],
            axis=1,
        )
        joint = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
        return np.asarray(joint / joint.sum(axis=1, keepdims=True), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def check_rates(far: float, verify_far: float | None, unknown_prior: float) -> None:
    """Refuse a rate or a prior that is not between 0 and 1.

    Raises:
        ConfigError: It names the one.
    """
    for name, value in (("far", far), ("verify_far", verify_far), ("unknown_prior", unknown_prior)):
        if value is not None and not 0.0 < value < 1.0:
            raise ConfigError(f"{name} is {value}; give a share between 0 and 1, for example 0.01 for 1 %")


def _on_line(slope: float, intercept: float, scores: Floats) -> npt.NDArray[np.float64]:
    return np.asarray(slope * np.asarray(scores, np.float64) + intercept, np.float64)


def fit_line(
    targets: Floats,
    target_weights: Floats,
    nontargets: Floats,
    nontarget_weights: Floats,
    target_share: float = 0.5,
) -> tuple[float, float]:
    """Slope and intercept from score to log-likelihood ratio.

    Logistic regression with so much of the weight on targets, whose log odds are then taken off the intercept; a small
    ridge on the slope keeps it finite where the classes do not overlap. The weight of the data is the number
    of independent target clips. Of a million non-targets an even part is enough.
    """
    from sklearn.linear_model import LogisticRegression

    if len(nontargets) > _MAX_NONTARGETS:
        part = np.linspace(0, len(nontargets) - 1, _MAX_NONTARGETS).round().astype(np.int64)
        nontargets, nontarget_weights = nontargets[part], nontarget_weights[part]
    scores = np.concatenate([targets, nontargets]).astype(np.float64)
    centre, scale = float(scores.mean()), float(scores.std())
    if scale < _CONSTANT:
        scale = 1.0
    n_clips = float(target_weights.sum())
    weights = np.concatenate(
        [
            2.0 * target_share * target_weights / target_weights.sum(),
            2.0 * (1.0 - target_share) * nontarget_weights / nontarget_weights.sum(),
        ]
    )
    is_target = np.repeat([1, 0], [len(targets), len(nontargets)])
    model = LogisticRegression(C=1.0 / _RIDGE, max_iter=1000, tol=1e-8)
    model.fit(((scores - centre) / scale)[:, None], is_target, sample_weight=weights * n_clips)
    slope = max(float(model.coef_[0, 0]), _MIN_SLOPE) / scale
    # With the slope held above zero the intercept of an uninformative score keeps the ratio near 1.
    prior = math.log(target_share / (1.0 - target_share))
    intercept = float(model.intercept_[0]) - prior - slope * centre
    return slope, intercept


def _by_condition(scores: Floats, conditions: Floats, gains: Floats, offsets: Floats) -> Floats:
    """Scores (p, C) on the lines (K,) of their probes' conditions (p, K)."""
    return np.asarray(scores * (conditions @ gains)[:, None] + (conditions @ offsets)[:, None])


def fit_conditions(held_out: HeldOutScores) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gains and offsets (K,) by the condition of a probe, after which one line serves all of them.

    Noise brings a person's own score down and leaves a stranger's where it is; one line for all conditions would then
    be too strict in noise and too lax without. Logistic regression on score, guessed condition and their product, with
    a ridge on what a condition changes, so that one that was hardly heard changes nothing.
    """
    from scipy.optimize import minimize

    own = held_out.own()
    weights = np.broadcast_to(held_out.known_weights[:, None], held_out.known.shape)
    unknown_weights = np.broadcast_to(held_out.unknown_weights[:, None], held_out.unknown.shape)
    n_people = held_out.known.shape[1]
    rows = np.repeat(np.arange(len(held_out.known)), n_people).reshape(own.shape)
    unknown_rows = np.repeat(np.arange(len(held_out.unknown)), n_people)
    kinds = [(held_out.unknown.ravel(), unknown_weights.ravel(), held_out.unknown_conditions[unknown_rows])]
    if (~own).any():
        kinds.append((held_out.known[~own], weights[~own], held_out.known_conditions[rows[~own]]))
    n_clips = float(held_out.known_weights.sum())
    scores = np.concatenate([held_out.known[own], *(scores for scores, _, _ in kinds)]).astype(np.float64)
    conditions = np.concatenate([held_out.known_conditions[rows[own]], *(each for _, _, each in kinds)])
    n_conditions = conditions.shape[1]
    weight = np.concatenate(
        [
            2.0 * P_TARGET * weights[own] / weights[own].sum(),
            *(2.0 * (1.0 - P_TARGET) * part / part.sum() / len(kinds) for _, part, _ in kinds),
        ]
    )
    sign = np.where(np.arange(len(scores)) < own.sum(), 1.0, -1.0)
    centre, scale = float(scores.mean()), float(scores.std())
    nothing = np.ones(n_conditions), np.zeros(n_conditions)
    if scale < _CONSTANT:
        return nothing
    middle = weight @ conditions / weight.sum()
    spread = np.maximum(conditions.std(axis=0), _LEAST_SPREAD)
    z, condition = (scores - centre) / scale, (conditions - middle) / spread
    x = np.column_stack([z, np.ones(len(z)), condition, condition * z[:, None]])
    ridge = np.repeat([_RIDGE, 0.0, _OFFSET_RIDGE, _GAIN_RIDGE], [1, 1, n_conditions, n_conditions])

    def cost(theta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = sign * (x @ theta + _PRIOR_LOG_ODDS)
        value = n_clips * (weight @ np.logaddexp(0.0, -margin)) + 0.5 * (ridge @ theta**2)
        slope = -n_clips * weight * sign / (1.0 + np.exp(np.minimum(margin, 500.0)))
        return float(value), slope @ x + ridge * theta

    theta = minimize(cost, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    if theta[0] < _MIN_SLOPE:
        return nothing
    # What a condition adds is linear in its probability, and the probabilities of a probe sum to one.
    shift, steeper = (part / spread / theta[0] for part in np.split(theta[2:], 2))
    gains = np.maximum(1.0 + steeper - middle @ steeper, _LEAST_GAIN)
    offsets = scale * (shift - middle @ shift) + centre * (1.0 - gains)
    return np.asarray(gains, np.float64), np.asarray(offsets, np.float64)


def _thresholds(
    held_out: HeldOutScores,
    llr: Callable[[Floats], npt.NDArray[np.float64]],
    far: float,
    verify_far: float,
) -> dict[str, Any]:
    """The fields of a calibration that follow from its line, its held-out scores and the rates asked.

    Thresholds are set on the ratios, as decisions are: rounding must not bring a tied stranger above one.
    """
    _, _, nontargets, nontarget_weights = held_out.trials()
    strangers, weights = held_out.strangers()
    n_people = held_out.known.shape[1]
    n_clips = len(np.unique(held_out.unknown_clips))
    threshold = _threshold(llr(strangers), weights, far, n_clips)
    verify_threshold = _threshold(llr(nontargets), nontarget_weights, verify_far, n_clips * n_people)
    if len(held_out.labels):
        own = llr(held_out.known[held_out.own()])
        named = (own >= threshold) & (held_out.known.argmax(axis=1) == held_out.labels)
        guessed = not {"clips", "crops"} & set(held_out.basis)
        clips = 0 if guessed else len(np.unique(held_out.clips))
        miss = _estimate(~named, held_out.known_weights, clips)
        verify_miss = _estimate(own < verify_threshold, held_out.known_weights, clips)
    else:
        own, clips = llr(held_out.pseudo), round(held_out.pseudo_weights.sum())
        miss = _estimate(own < threshold, held_out.pseudo_weights, clips)
        verify_miss = _estimate(own < verify_threshold, held_out.pseudo_weights, clips)
    return {
        "far": far,
        "verify_far": verify_far,
        "threshold": threshold,
        "verify_threshold": verify_threshold,
        "miss": miss,
        "verify_miss": verify_miss,
        "unknown_clips": n_clips,
        "extrapolated": min(far, verify_far * n_people) * n_clips < 1.0,
    }


def _threshold(scores: Floats, weights: Floats, far: float, n_clips: int) -> float:
    """The least score that no more than a share ``far`` of the weight reaches.

    Where as many clips of strangers as there are cannot show the rate, it is also at least the one-sided prediction
    limit for another clip, as if their scores were a normal sample: with few clips, Student's t puts it well above
    the best. With fewer than two it is left at what was counted.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, weights = scores[order].astype(np.float64), weights[order] / weights.sum()
    above = int(np.searchsorted(np.cumsum(weights), far * (1 + _ROUNDING), side="right"))
    above = min(above, len(ranked) - 1)
    counted = float(np.nextafter(ranked[above], np.inf))
    if far * n_clips >= 1.0 or n_clips < 2:
        return counted
    from scipy.stats import t

    mean = weights @ ranked
    deviation = np.sqrt(weights @ (ranked - mean) ** 2 * (n_clips + 1) / (n_clips - 1))
    return max(counted, float(mean + deviation * t.isf(far, n_clips - 1)))


def _estimate(errors: npt.NDArray[np.bool_], weights: Floats, clips: int) -> ErrorEstimate:
    """A rate with Jeffreys' interval for as many independent clips as there are."""
    from scipy.stats import beta

    rate = float(np.average(errors, weights=weights))
    wrong = rate * clips
    low, high = beta.ppf([(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], wrong + 0.5, clips - wrong + 0.5)
    return ErrorEstimate(rate, min(float(low), rate), max(float(high), rate), clips)
