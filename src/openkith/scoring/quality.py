"""Calibration that knows how good the recordings are.

Half a second over a telephone says less than ten seconds in a quiet room: the same score is worth another
log-likelihood ratio. Quality measures of the probe, and of the enrolment clips, shift the ratio (Mandasari et al.,
"Quality measure functions for calibration of speaker recognition systems in various duration conditions", IEEE TASLP
21(11), 2013) and, in a bilinear term, also set how much of the score is believed::

    llr = (a + c.u) score + b + d.u,    u: quality measures, missing ones at their mean, clipped to the range seen

learned by prior-weighted logistic regression with a ridge, so that measures that tell nothing change nothing. The
slope a + c.u is kept above zero over the whole range: a higher score never gives a lower ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.scoring.base import Arrays

__all__ = ["MEASURES", "QualityCalibration", "quality_measures", "trial_quality"]

MEASURES = ("log seconds of speech", "signal-to-noise ratio")
MIN_SECONDS = 0.1  # of speech; the logarithm of less says no more
DEFAULT_PRIOR = 0.5
RIDGE = 0.1  # on the slope for standardised scores, in clips: as of `openkith.scoring.calibration`
QUALITY_RIDGE = 1.0  # on what a standardised measure changes, in clips
_MIN_SLOPE = 1e-3  # for standardised scores
_MAX_NONTARGETS = 200_000  # that it is fitted to
_CONSTANT = 1e-6  # standard deviation below which a measure is one value

Doubles = npt.NDArray[np.float64]


def quality_measures(seconds: npt.ArrayLike, snr_db: npt.ArrayLike) -> Doubles:
    """`MEASURES` of n clips from seconds of speech (n,) and signal-to-noise ratios in dB (n,), NaN for not known.

    Returns:
        (n, 2).
    """
    logarithm = np.log(np.maximum(np.asarray(seconds, np.float64), MIN_SECONDS))
    return np.stack([logarithm, np.asarray(snr_db, np.float64)], axis=-1)


def trial_quality(probes: npt.NDArray[Any], people: npt.NDArray[Any]) -> Doubles:
    """Measures of each probe beside those of each person's enrolment: (p, J) and (C, K) to (p, C, J + K)."""
    shape = (len(probes), len(people))
    return np.concatenate(
        [
            np.broadcast_to(probes[:, None], (*shape, probes.shape[1])),
            np.broadcast_to(people[None], (*shape, people.shape[1])),
        ],
        axis=2,
    ).astype(np.float64)


@dataclass(frozen=True, eq=False)
class QualityCalibration:
    """From a score and K quality measures of its trial to a natural-log likelihood ratio.

    Attributes:
        slope, intercept: Of the line from score to ratio where every measure is at its mean.
        slopes: (K,) what a unit of each measure above its mean adds to the slope.
        intercepts: (K,) what it adds to the intercept.
        centre: (K,) mean of each measure, also taken where it is missing.
        low, high: (K,) range of each measure that was seen; beyond it nothing changes any more.
    """

    slope: float
    intercept: float
    slopes: Doubles
    intercepts: Doubles
    centre: Doubles
    low: Doubles
    high: Doubles

    @classmethod
    def fit(
        cls,
        scores: npt.NDArray[Any],
        is_target: npt.NDArray[Any],
        quality: npt.NDArray[Any],
        weights: npt.NDArray[Any] | None = None,
        *,
        prior: float = DEFAULT_PRIOR,
        bilinear: bool = True,
    ) -> Self:
        """Learn from trials whose answer is known.

        Minimises the cross-entropy at the given prior. The weights of the targets sum to the number of independent
        clips, against which the ridges are set. A measure that is the same everywhere, or always missing, is left out.

        Args:
            scores: (n,).
            is_target: (n,) bool.
            quality: (n, K), NaN for missing.
            weights: (n,) of each trial; None: 1.
            prior: Probability of a target at which the ratios are to be best, between 0 and 1.
            bilinear: Whether measures may change the slope, and not only the intercept.

        Raises:
            InputError: Arrays of different lengths, scores that are not finite, or measures that are infinite.
            ConfigError: A prior that is not between 0 and 1.
            NotEnoughDataError: No target or no non-target trials.
        """
        if not 0.0 < prior < 1.0:
            raise ConfigError(f"prior is {prior}; give a probability between 0 and 1, for example 0.1")
        scores, target = np.asarray(scores, np.float64), np.asarray(is_target, np.bool_)
        quality = np.asarray(quality, np.float64)
        weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
        if not (scores.shape == target.shape == weights.shape == quality.shape[:1] and quality.ndim == 2):
            raise InputError(
                f"scores {scores.shape}, is_target {target.shape}, weights {weights.shape} and quality "
                f"{quality.shape} do not fit together; give (n,) of the first three and (n, K)"
            )
        if not np.isfinite(scores).all() or np.isinf(quality).any():
            raise InputError("scores or quality measures are not finite; give NaN for a measure not known")
        rows = np.flatnonzero(weights > 0)
        if target[rows].all() or not target[rows].any():
            raise NotEnoughDataError(
                "quality calibration needs trials of the right person and of others; give both"
            )
        others = rows[~target[rows]]
        if len(others) > _MAX_NONTARGETS:
            even = np.linspace(0, len(others) - 1, _MAX_NONTARGETS).round().astype(np.int64)
            rows = np.concatenate([rows[target[rows]], others[even]])
        return cls._fit(scores[rows], target[rows], quality[rows], weights[rows], prior, bilinear)

    @classmethod
    def _fit(
        cls,
        scores: Doubles,
        target: npt.NDArray[np.bool_],
        quality: Doubles,
        weights: Doubles,
        prior: float,
        bilinear: bool,
    ) -> Self:
        from scipy.optimize import minimize

        n_measures = quality.shape[1]
        known = ~np.isnan(quality)
        counts = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, quality, 0.0).sum(axis=0) / counts
        quality = np.where(known, quality, centre)
        scale = np.sqrt(((quality - centre) ** 2).sum(axis=0) / counts)
        low, high = quality.min(axis=0), quality.max(axis=0)
        used = np.flatnonzero(scale > _CONSTANT)
        middle, deviation = float(scores.mean()), float(scores.std())
        deviation = deviation if deviation > _CONSTANT else 1.0

        s = (scores - middle) / deviation
        z = (quality - centre)[:, used] / scale[used]
        width = ((high - low) / np.maximum(scale, _CONSTANT))[used]
        above = ((quality - low)[:, used] / scale[used]) / width  # 0 to 1 over the range
        at_mean = ((centre - low)[used] / scale[used]) / width
        k = len(used)
        # A slope that is linear in the measures and above zero in all corners of their range is a sum, with weights
        # not below zero, of a constant, of what grows from 0 to 1 and of what falls from 1 to 0 with each measure.
        rises = np.concatenate([np.ones((len(s), 1)), above, 1.0 - above], axis=1)
        rises_at_mean = np.concatenate([np.ones(1), at_mean, 1.0 - at_mean])
        n_clips = weights[target].sum()
        share = np.where(target, prior / n_clips, (1.0 - prior) / max(weights[~target].sum(), 1e-300))
        importance = 2.0 * n_clips * share * weights
        sign, offset = np.where(target, 1.0, -1.0), np.log(prior / (1.0 - prior))

        def loss(parameters: Doubles) -> tuple[float, Doubles]:
            slope, intercept, shift = np.split(parameters, [1 + 2 * k, 2 + 2 * k])
            margin = sign * (rises @ slope * s + intercept[0] + z @ shift + offset)
            miss = -importance * sign * _sigmoid(-margin)
            change = (slope[1 : 1 + k] - slope[1 + k :]) / width
            mean_slope = float(rises_at_mean @ slope)
            value = importance @ np.logaddexp(0.0, -margin)
            value += 0.5 * (RIDGE * mean_slope**2 + QUALITY_RIDGE * float(change @ change + shift @ shift))
            pull = QUALITY_RIDGE * change / width
            gradient = (miss * s) @ rises + RIDGE * mean_slope * rises_at_mean
            gradient += np.concatenate([np.zeros(1), pull, -pull])
            return float(value), np.concatenate([gradient, [miss.sum()], miss @ z + QUALITY_RIDGE * shift])

        start = np.concatenate([np.ones(1), np.zeros(3 * k + 1)])
        limit = None if bilinear else 0.0
        bounds = [(_MIN_SLOPE, None), *[(0.0, limit)] * (2 * k), *[(None, None)] * (1 + k)]
        options = {"maxiter": 2000, "maxfun": 20_000, "ftol": 1e-13, "gtol": 1e-8}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        slope, intercept, shift = np.split(found, [1 + 2 * k, 2 + 2 * k])
        slopes, intercepts = np.zeros(n_measures), np.zeros(n_measures)
        slopes[used] = (slope[1 : 1 + k] - slope[1 + k :]) / width / scale[used] / deviation
        intercepts[used] = shift / scale[used] - slopes[used] * middle
        line = float(rises_at_mean @ slope) / deviation
        return cls(line, float(intercept[0]) - line * middle, slopes, intercepts, centre, low, high)

    def llr(self, scores: npt.NDArray[Any], quality: npt.NDArray[Any] | None = None) -> Doubles:
        """Natural-log likelihood ratios.

        Args:
            scores: Of any shape.
            quality: That shape and (K,), or one that broadcasts to it, such as (p, 1, K) for scores (p, C); NaN for
                missing. None: nothing is known.

        Raises:
            InputError: Another number of measures, or a shape that does not broadcast.
        """
        scores = np.asarray(scores, np.float64)
        if quality is None:
            return self.slope * scores + self.intercept
        quality = np.asarray(quality, np.float64)
        wanted = (*scores.shape, len(self.centre))
        try:
            fits = quality.shape[-1:] == wanted[-1:] and np.broadcast_shapes(quality.shape, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                f"quality measures of shape {quality.shape}; give {wanted}, or what broadcasts to it"
            )
        away = np.where(np.isnan(quality), 0.0, np.clip(quality, self.low, self.high) - self.centre)
        return np.asarray(
            (self.slope + away @ self.slopes) * scores + self.intercept + away @ self.intercepts, np.float64
        )

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Configuration (JSON) and arrays, from which `restore` makes the same calibration."""
        names = ("slopes", "intercepts", "centre", "low", "high")
        return {"slope": self.slope, "intercept": self.intercept}, {
            name: np.ascontiguousarray(getattr(self, name)) for name in names
        }

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """From what `state` gave."""
        names = ("slopes", "intercepts", "centre", "low", "high")
        own = {name: np.asarray(arrays[name], np.float64) for name in names}
        return cls(slope=float(config["slope"]), intercept=float(config["intercept"]), **own)


def _sigmoid(x: Doubles) -> Doubles:
    from scipy.special import expit

    return np.asarray(expit(x), np.float64)
