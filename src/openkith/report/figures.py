"""Bars, score histogram, ROC and DET as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openkith.metrics import det_points, roc_points
from openkith.report.canvas import color, drawing, new_axes, to_svg
from openkith.report.runs import UNKNOWN, MethodRuns, ScoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 500.0  # CSS pixels of a figure that shares its row with another
BINS = (14, 48)  # least and most bars of a histogram
CURVE_CELLS = 400  # points of a curve closer than this share of an axis are one
TINY = 1e-9  # a rate whose normal deviate is finite, and off the axes
DET_TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)

Floats = NDArray[np.float64]

# Of each method's line: strokes and gaps in pixels, for drawing and key; the first is the baseline's.
DASHES: tuple[tuple[float, ...], ...] = ((6, 3), (), (9, 3, 2, 3), (2, 2.5), (14, 3))
GROUP_DASHES: dict[str, tuple[float, ...]] = {"right": (), "other": (6, 3), "stranger": (2, 2.5)}

BARS: tuple[tuple[str, Callable[[MethodRuns], Floats]], ...] = (
    ("EER", lambda m: m.values("eer")),
    ("Known-vs-unknown EER", lambda m: m.values("detection_eer")),
    ("1 − OSCR", lambda m: 1.0 - m.values("oscr")),
    ("FNIR at FPIR 1 %", lambda m: m.values("fnir_at_fpir_1")),
)


def percent(value: float) -> str:
    """A rate in percent, three digits of it: 0.03 %, 1.51 %, 15.3 %; a dash if it is not defined."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:.{2 if abs(value) < 0.0995 else 1}f} %"


def bars(methods: Sequence[MethodRuns], styles: Sequence[int], key: str) -> str:
    """Four error rates of each method as bars; with several seeds their means, and whiskers to the ends."""
    thick, gap = 19.0, 18.0
    group_height = thick * len(methods) + gap
    labels = []
    with drawing():
        figure, axes = new_axes(WIDTH, group_height * len(BARS) + 34.0)
        values = [[of(m) for m in methods] for _, of in BARS]
        finite = [v for row in values for v in row if np.isfinite(v).all()]
        longest = max([float(v.max()) for v in finite], default=0.0) or 0.01
        for i, ((name, _), row) in enumerate(zip(BARS, values, strict=True)):
            for j, (method, of_seeds, style) in enumerate(zip(methods, row, styles, strict=True)):
                y = i * group_height + j * thick
                mean = float(np.mean(of_seeds))
                labels.append(f"{name}, {method.label}: {percent(mean)}")
                end = 0.0
                if math.isfinite(mean):
                    end = float(of_seeds.max())
                    axes.barh(y, mean, height=thick - 4.0, color=color(f"series{style}"))
                    if len(of_seeds) > 1:
                        axes.plot([of_seeds.min(), end], [y, y], color=color("ink"), linewidth=1.2)
                axes.annotate(
                    percent(mean) if math.isfinite(mean) else "not defined",
                    (end, y),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    color=color("ink") if math.isfinite(mean) else color("soft"),
                )
        middle = (len(methods) - 1) * thick / 2.0
        axes.set_yticks([i * group_height + middle for i in range(len(BARS))], [name for name, _ in BARS])
        axes.tick_params(axis="y", labelcolor=color("ink"))
        axes.set_ylim(group_height * len(BARS) - gap, -gap)
        axes.set_xlim(0.0, longest * 1.18)
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="y", visible=False)
        return to_svg(figure, key, f"Bars, shorter is better. {'; '.join(labels)}.")


@dataclass(frozen=True, eq=False)
class ScoreGroup:
    """Scores of one kind in a histogram."""

    name: str
    role: str
    scores: Floats


def score_groups(run: ScoredRun) -> tuple[ScoreGroup, ...]:
    """What a threshold must tell apart, without the kinds that do not occur; one score per probe in each."""
    scores = np.asarray(run.scores, dtype=np.float64)
    known = np.flatnonzero(run.labels != UNKNOWN)
    own = scores[known, run.labels[known]]
    wrong = scores[known].copy()
    wrong[np.arange(known.size), run.labels[known]] = -np.inf
    wrong = wrong.max(axis=1) if scores.shape[1] > 1 else np.empty(0)
    groups = (
        ScoreGroup("own speaker", "right", own),
        ScoreGroup("best wrong speaker", "other", wrong),
        ScoreGroup("strangers, best speaker", "stranger", scores[run.labels == UNKNOWN].max(1)),
    )
    return tuple(g for g in groups if g.scores.size)


def histogram(run: ScoredRun, limits: tuple[float, float], key: str) -> str:
    """Shares of the groups' scores, and the threshold.

    Args:
        run: The run.
        limits: Least and largest score to draw, from `score_limits`; what is beyond goes to the ends.
        key: Begins the ids of the SVG.
    """
    groups = score_groups(run)
    n_bins = int(np.clip(2.0 * np.sqrt(len(run.scores)), *BINS))
    edges = np.linspace(*limits, n_bins + 1)
    with drawing():
        figure, axes = new_axes(WIDTH, 260.0)
        for group in groups:
            counts, _ = np.histogram(np.clip(group.scores, *limits), edges)
            shares = counts / group.scores.size
            axes.stairs(shares, edges, fill=True, color=color(group.role), alpha=0.22)
            axes.stairs(
                shares,
                edges,
                color=color(group.role),
                linestyle=_line_style(GROUP_DASHES[group.role]),
            )
        top = axes.get_ylim()[1] * 1.08
        axes.set_ylim(0.0, top)
        if math.isfinite(run.threshold):
            axes.axvline(run.threshold, color=color("ink"), linewidth=1.2)
            right_half = run.threshold > sum(limits) / 2
            axes.annotate(
                f"threshold {run.threshold:.2f}",
                (run.threshold, top),
                (-5 if right_half else 5, -3),
                textcoords="offset points",
                ha="right" if right_half else "left",
                va="top",
            )
        axes.set_xlim(*limits)
        axes.set_xlabel("log-likelihood ratio (nats)")
        axes.set_ylabel("share of the clips")
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="x", visible=False)
        parts = (
            f"{g.name}: {g.scores.size} scores, median {np.median(g.scores):.1f}, "
            f"{percent(float(np.mean(g.scores >= run.threshold)))} at or above the threshold"
            for g in groups
        )
        return to_svg(figure, key, f"Histogram of scores, threshold {run.threshold:.2f}. {'; '.join(parts)}.")


def score_limits(runs: Sequence[ScoredRun]) -> tuple[float, float]:
    """Limits of histograms that are to be compared: nearly all finite scores, and the thresholds."""
    values = np.concatenate([g.scores for run in runs for g in score_groups(run)])
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.002, 0.998]) if values.size else (-1.0, 1.0)
    thresholds = [run.threshold for run in runs if math.isfinite(run.threshold)]
    low, high = min([low, *thresholds]), max([high, *thresholds])
    room = 0.05 * (high - low) or 1.0
    return float(low - room), float(high + room)


@dataclass(frozen=True, eq=False)
class Curve:
    """One method's trials: scores of those to accept and of those to refuse, and its line."""

    label: str
    style: int
    targets: Floats
    nontargets: Floats


def roc(curves: Sequence[Curve], summary: str, key: str) -> str:
    """ROC curves on plain axes."""
    with drawing():
        figure, axes = new_axes(WIDTH, 360.0)
        axes.plot([0, 1], [0, 1], color=color("line"), linewidth=1.0)
        for curve in curves:
            points = roc_points(curve.targets, curve.nontargets)
            _line(axes, points.fpr, points.tpr, curve.style)
        axes.set(xlim=(-0.01, 1.0), ylim=(0.0, 1.01), xlabel="accepted wrongly", ylabel="accepted rightly")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
        return to_svg(figure, key, f"ROC curves. {summary}")


def det(curves: Sequence[Curve], summary: str, key: str) -> str:
    """DET curves: both error rates on normal-deviate axes, the equal error rate where the diagonal is met."""
    from scipy.special import ndtri

    from openkith.metrics import eer

    rates = [eer(curve.targets, curve.nontargets) for curve in curves]
    rarest = min(1.0 / max(curve.targets.size, curve.nontargets.size) for curve in curves)
    floor = min(max(rarest / 2.0, 0.0005), 0.02)  # what so few trials can show
    ceiling = 0.98 if max(rates) > 0.35 else 0.6
    low, high = float(ndtri(floor)), float(ndtri(ceiling))
    with drawing():
        figure, axes = new_axes(WIDTH, 360.0)
        axes.plot([low, high], [low, high], color=color("line"), linewidth=1.0)
        for curve, rate in zip(curves, rates, strict=True):
            points = det_points(curve.targets, curve.nontargets)
            x, y = (ndtri(np.clip(r, TINY, 1.0 - TINY)) for r in (points.fpr, points.fnr))
            _line(axes, np.maximum(x, low), np.maximum(y, low), curve.style)
            at = max(float(ndtri(max(rate, TINY))), low)
            axes.plot(at, at, "o", color=color(f"series{curve.style}"), markersize=6, clip_on=False)
        room = 0.01 * (high - low)
        ticks = [t for t in DET_TICKS if floor <= t <= ceiling]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ndtri(np.array(ticks)), [f"{100 * t:g} %" for t in ticks])
        axes.set(xlim=(low - room, high), ylim=(low - room, high))
        axes.set(xlabel="accepted wrongly", ylabel="refused wrongly")
        return to_svg(figure, key, f"DET curves. {summary}")


def _line(axes: Axes, x: Floats, y: Floats, style: int) -> None:
    (left, right), (bottom, top) = ((min(v.min(), 0.0), max(v.max(), 1.0)) for v in (x, y))
    cells = np.rint(
        CURVE_CELLS * np.stack([(x - left) / (right - left), (y - bottom) / (top - bottom)], axis=1)
    )
    keep = np.append(True, np.any(cells[1:] != cells[:-1], axis=1))
    keep[-1] = True
    axes.plot(x[keep], y[keep], linestyle=_line_style(DASHES[style]), color=color(f"series{style}"))


def _line_style(dashes: tuple[float, ...]) -> Any:
    return (0, dashes) if dashes else "-"
