"""What a threshold would cost: scores, errors and thresholds of a calibrated model, before it is used.

Everything stands on held-out clips: those of the people enrolled, and those of others. The detection error trade-off is
that of A. Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997, for the open-set
task: strangers that get any name against clips that do not get their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.openset.model import OpenSetModel

__all__ = ["RATES", "Curves", "ErrorCurves", "OperatingPoint", "trace_curves"]

RATES = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.07,
    0.1,
    0.15,
    0.2,
    0.3,
)  # false accepts that are traced
BINS = 40  # of the histogram
MOST_POINTS = 200  # of the DET curve
TRIM = 0.005  # share of the ratios at either end that the histogram does not stretch for


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it is expected to cost.

    Attributes:
        far: Share of unknown voices that may get a name.
        threshold: Natural-log likelihood ratio that this takes.
        miss: Expected share of the enrolled people's clips that do not get their name.
        miss_low, miss_high: Its 90 % interval.
    """

    far: float
    threshold: float
    miss: float
    miss_low: float
    miss_high: float


@dataclass(frozen=True)
class Curves:
    """Scores and errors of one model on held-out clips.

    Attributes:
        method: The back end.
        edges: (n + 1,) of the histogram's bins, natural-log likelihood ratios; what lies beyond counts in the last.
        people: (n,) share of the enrolled people's clips in each bin, by the ratio of their own person.
        strangers: (n,) share of other people's clips, by the ratio of whoever they are most like.
        det: (far, frr) pairs of the detection error trade-off, from the strictest threshold on: the share of strangers
            that would get a name, and that of clips of enrolled people that would not get theirs.
        thresholds: What the rates of `RATES` take and cost.
    """

    method: str
    edges: tuple[float, ...]
    people: tuple[float, ...]
    strangers: tuple[float, ...]
    det: tuple[tuple[float, float], ...]
    thresholds: tuple[OperatingPoint, ...]


@dataclass(frozen=True)
class ErrorCurves:
    """Curves before tuning (cosine with AS-norm, where there is a cohort) and after it, and the rate in use.

    Attributes:
        before: None where nothing is tuned.
        after: Of what is in use now.
        far: The false-accept rate in use.
    """

    before: Curves | None
    after: Curves
    far: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""

        def plain(curves: Curves | None) -> dict[str, Any] | None:
            if curves is None:
                return None
            pairs = [{"far": far, "frr": frr} for far, frr in curves.det]
            return {**asdict(curves), "det": pairs}

        return {"before": plain(self.before), "after": plain(self.after), "far": self.far}


def trace_curves(model: OpenSetModel) -> Curves:
    """The curves of a model, from the scores that it keeps of held-out clips."""
    held_out, calibration = model.held_out, model.calibration
    conditions = held_out.known_conditions if held_out.has_conditions else None
    unknown_conditions = held_out.unknown_conditions if held_out.has_conditions else None
    if len(held_out.labels):
        llrs = calibration.llr(held_out.known, conditions)
        own, weights = llrs[held_out.own()], held_out.known_weights
        # A clip that is more like somebody else does not get its name at any threshold.
        named = np.where(llrs.argmax(axis=1) == held_out.labels, own, -np.inf)
    else:
        own, weights = calibration.llr(held_out.pseudo), held_out.pseudo_weights
        named = own
    if len(held_out.unknown):
        others = calibration.llr(held_out.unknown, unknown_conditions).max(axis=1)
        other_weights = held_out.unknown_weights
    else:
        llrs = calibration.llr(held_out.known, conditions)
        others, other_weights = np.where(held_out.own(), -np.inf, llrs).max(axis=1), held_out.known_weights
    edges = _edges(np.concatenate([own, others]))
    steps = [calibration.at(held_out, far=far) for far in RATES]
    return Curves(
        method=model.label,
        edges=tuple(edges.tolist()),
        people=_histogram(own, weights, edges),
        strangers=_histogram(others, other_weights, edges),
        det=_trade_off(named, weights, others, other_weights),
        thresholds=tuple(
            OperatingPoint(step.far, step.threshold, step.miss.rate, step.miss.low, step.miss.high)
            for step in steps
        ),
    )


def _edges(llrs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = llrs[np.isfinite(llrs)]
    low, high = np.quantile(finite, [TRIM, 1.0 - TRIM]) if len(finite) else (0.0, 0.0)
    if high - low < 1e-6:  # all alike
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _histogram(
    llrs: npt.NDArray[Any], weights: npt.NDArray[Any], edges: npt.NDArray[np.float64]
) -> tuple[float, ...]:
    counts, _ = np.histogram(np.clip(llrs, edges[0], edges[-1]), edges, weights=weights)
    return tuple((counts / max(float(weights.sum()), 1e-12)).tolist())


def _trade_off(
    named: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    others: npt.NDArray[Any],
    other_weights: npt.NDArray[Any],
) -> tuple[tuple[float, float], ...]:
    """(far, frr) at every threshold that makes a difference, thinned evenly."""
    thresholds = np.unique(np.concatenate([named, others]))[::-1]
    thresholds = np.concatenate([[np.inf], thresholds[np.isfinite(thresholds)], [-np.inf]])
    far = _reached(others, other_weights, thresholds)
    frr = 1.0 - _reached(np.where(np.isfinite(named), named, np.nan), weights, thresholds)
    if len(thresholds) > MOST_POINTS:
        keep = np.unique(np.linspace(0, len(thresholds) - 1, MOST_POINTS).round().astype(np.int64))
        far, frr = far[keep], frr[keep]
    return tuple(zip(far.tolist(), frr.tolist(), strict=True))


def _reached(
    llrs: npt.NDArray[Any], weights: npt.NDArray[Any], thresholds: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Share of the weight at or above each threshold; a NaN reaches none."""
    total = max(float(weights.sum()), 1e-12)
    there = ~np.isnan(llrs)
    order = np.argsort(llrs[there], kind="stable")
    ranked = llrs[there][order]
    above = np.concatenate([np.cumsum(weights[there][order][::-1])[::-1], [0.0]])
    return np.asarray(above[np.searchsorted(ranked, thresholds, side="left")] / total, np.float64)
