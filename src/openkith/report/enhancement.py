"""A training of an enhancer as pictures and as a page: its curves, and what it does to scores and distances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openkith.enhancement.analysis import Analysis, Histograms, PairDistances, Spread, TrialScores
from openkith.enhancement.curves import Curves, Floats
from openkith.report.canvas import color, drawing, new_axes, new_row, to_png, to_svg
from openkith.report.figures import WIDTH, percent
from openkith.report.page import frame, write_page, write_picture
from openkith.report.tables import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_analysis", "draw_curves", "write_enhancement_report"]

_HEIGHT = 300.0
_PICTURE_WIDTH = 1080.0  # of two drawings side by side
_MARKED = 12  # epochs up to which each is a dot
_KINDS = {
    "same": ("one speaker", "right"),
    "different": ("two speakers", "other"),
    "same_recording": ("one recording", "right"),
    "cross_recording": ("two recordings", "stranger"),
}
_ROLES = ("series1", "series2")


def draw_curves(curves: Curves, path: str | Path) -> Path:
    """Loss and error rates by epoch as a PNG.

    Raises:
        InputError: It cannot be written.
    """
    with drawing(picture=True):
        figure, axes = new_row(_PICTURE_WIDTH, 1.3 * _HEIGHT, 2 if curves.rates else 1)
        _loss(axes[0], curves)
        if curves.rates:
            _rates(axes[1], curves)
        figure.suptitle(_title(curves), fontsize="large")
        picture = to_png(figure)
    return write_picture(path, picture)


def draw_analysis(analysis: Analysis, path: str | Path) -> Path:
    """Histograms before and after as a PNG, a row for each test list and each distance.

    Raises:
        InputError: It cannot be written.
    """
    from matplotlib.figure import Figure

    parts = [(_score_title(each), each.scores, "cosine") for each in analysis.scores]
    parts += [(_distance_title(each), each.distances, each.measure) for each in analysis.distances]
    with drawing(picture=True):
        figure: Figure = Figure(
            figsize=(_PICTURE_WIDTH / 72.0, len(parts) * _HEIGHT / 72.0), layout="constrained"
        )
        for rows, (title, found, label) in zip(
            figure.subplots(len(parts), 2, squeeze=False), parts, strict=True
        ):
            for axes, counts, when in zip(
                rows, (found.before, found.after), ("before", "after"), strict=True
            ):
                _histogram(axes, found, counts, f"{label}, {when}")
                axes.legend(frameon=False)
            rows[0].set_title(title[0], loc="left", fontsize="medium")
            rows[1].set_title(title[1], loc="left", fontsize="medium")
        picture = to_png(figure)
    return write_picture(path, picture)


def write_enhancement_report(path: str | Path, curves: Curves, analysis: Analysis | None = None) -> Path:
    """Write curves, and the analysis where there is one, as one HTML file that needs no network and runs no script.

    Args:
        path: The file; one that exists is replaced when the new one is complete.
        curves: Of the training, which may still be running.
        analysis: Of what it has given so far.

    Raises:
        InputError: It cannot be written.
    """
    done, planned = int(curves.epochs[-1]), curves.planned
    state = f"{done} of {planned} epochs" if done < planned else f"{done} epochs"
    body = _curves_section(curves) + ("" if analysis is None else _analysis_section(analysis))
    return write_page(path, frame(_title(curves), f"{curves.run.name}: {state}", body))


def _title(curves: Curves) -> str:
    return f"Enhancement: {curves.net}, {curves.loss_name}"


def _curves_section(curves: Curves) -> str:
    with drawing():
        figure, axes = new_axes(WIDTH, _HEIGHT)
        _loss(axes, curves)
        loss = to_svg(
            figure,
            "loss",
            f"Mean loss by epoch, from {curves.loss[0]:.4g} to {curves.loss[-1]:.4g}.",
        )
        rates = ""
        if curves.rates:
            figure, axes = new_axes(WIDTH, _HEIGHT)
            _rates(axes, curves)
            said = "; ".join(
                f"{_name(curves, key)}: {percent(float(v[-1]))}" for key, v in curves.rates.items()
            )
            rates = to_svg(figure, "rates", f"Equal error rates by epoch, at last {said}.")
    figures = f"<figure><figcaption><b>Loss.</b></figcaption>{loss}</figure>"
    if rates:
        figures += (
            "<figure><figcaption><b>Equal error rates.</b> Broken lines: embeddings as they are."
            f"</figcaption>{_key(curves)}{rates}</figure>"
        )
    return (
        f'<section id="curves"><h2>Training</h2><p class="lede">{escape(_headline(curves))}</p>'
        f'<div class="grid">{figures}</div>{_table(curves)}</section>'
    )


def _headline(curves: Curves) -> str:
    parts = [f"The loss went from {curves.loss[0]:.4g} to {curves.loss[-1]:.4g}"]
    for key, values in curves.rates.items():
        raw = f", {percent(curves.raw[key])} without" if key in curves.raw else ""
        parts.append(f"the error rate on {_name(curves, key)} is {percent(float(values[-1]))}{raw}")
    return "; ".join(parts) + "."


def _table(curves: Curves) -> str:
    head = "".join(f'<th scope="col">{escape(_name(curves, key))}</th>' for key in curves.rates)
    before = "".join(f"<td>{percent(curves.raw.get(key, float('nan')))}</td>" for key in curves.rates)
    rows = f'<tr><th scope="row">as they are</th><td>–</td>{before}</tr>' if curves.rates else ""
    for i, epoch in enumerate(curves.epochs):
        cells = "".join(f"<td>{percent(float(values[i]))}</td>" for values in curves.rates.values())
        rows += f'<tr><th scope="row">{epoch}</th><td>{curves.loss[i]:.4g}</td>{cells}</tr>'
    return (
        '<details><summary>All epochs</summary><div class="scroll"><table class="metrics"><thead><tr>'
        f'<th scope="col">Epoch</th><th scope="col">Loss</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _key(curves: Curves) -> str:
    items = "".join(
        f'<li><svg width="28" height="10" aria-hidden="true"><path d="M0 5h28" '
        f'style="stroke:var(--{role});stroke-width:1.8"/></svg>{escape(_name(curves, key))}</li>'
        for key, role in zip(curves.rates, _ROLES, strict=False)
    )
    return f'<ul class="key">{items}</ul>'


def _analysis_section(analysis: Analysis) -> str:
    blocks = ""
    for number, each in enumerate(analysis.scores):
        blocks += f"<h3>Scores: {escape(each.name)}</h3>" + _pair(
            each.scores, _score_title(each), "cosine", f"s{number}"
        )
    for number, distance in enumerate(analysis.distances):
        blocks += f"<h3>Distances within a speaker: {escape(distance.measure)}</h3>" + _pair(
            distance.distances, _distance_title(distance), distance.measure, f"d{number}"
        )
    of = f" Of {escape(analysis.checkpoint)}, while the training goes on." if analysis.checkpoint else ""
    return (
        '<section id="analysis"><h2>Before and after</h2><p class="note">Left: embeddings as the encoder gives them. '
        f"Right: enhanced. Both have the same bins.{of}</p>{blocks}</section>"
    )


def _pair(found: Histograms, titles: tuple[str, str], label: str, key: str) -> str:
    figures = ""
    for counts, title, when in zip((found.before, found.after), titles, ("before", "after"), strict=True):
        with drawing():
            figure, axes = new_axes(WIDTH, _HEIGHT)
            _histogram(axes, found, counts, f"{label}, {when}")
            svg = to_svg(figure, f"{key}-{when}", f"Histogram of {label}, {when}. {title}.")
        figures += f"<figure><figcaption>{escape(title)}.</figcaption>{svg}</figure>"
    items = "".join(
        f'<li><svg width="28" height="10" aria-hidden="true"><rect width="28" height="10" '
        f'style="fill:var(--{_KINDS[kind][1]})"/></svg>{_KINDS[kind][0]}</li>'
        for kind in found.before
    )
    return f'<ul class="key">{items}</ul><div class="grid">{figures}</div>'


def _score_title(each: TrialScores) -> tuple[str, str]:
    return (
        f"{each.name}: {each.trials:,} trials, EER {percent(each.eer_before)}",
        f"EER {percent(each.eer_after)}",
    )


def _distance_title(each: PairDistances) -> tuple[str, str]:
    def said(spreads: Mapping[str, Spread], mmd: float) -> str:
        means = ", ".join(f"{_KINDS[kind][0]} {spread.mean:.3f}" for kind, spread in spreads.items())
        return f"means: {means}; MMD² {mmd:.2e}"

    return said(each.before, each.mmd_before), said(each.after, each.mmd_after)


def _loss(axes: Axes, curves: Curves) -> None:
    _line(axes, curves, curves.loss, "series0")
    axes.set_ylabel("loss")
    _epochs(axes, curves)


def _rates(axes: Axes, curves: Curves) -> None:
    for (key, values), role in zip(curves.rates.items(), _ROLES, strict=False):
        _line(axes, curves, values, role, _name(curves, key))
        if key in curves.raw:
            axes.axhline(curves.raw[key], color=color(role), linestyle=(0, (5, 3)), linewidth=1.2)
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("equal error rate")
    axes.legend(frameon=False, loc="lower left")
    _epochs(axes, curves)


def _line(axes: Axes, curves: Curves, values: Floats, role: str, label: str | None = None) -> None:
    marker = "o" if len(values) <= _MARKED else ""
    axes.plot(curves.epochs, values, color=color(role), marker=marker, markersize=4, label=label)


def _epochs(axes: Axes, curves: Curves) -> None:
    axes.set_xlim(0.5, max(curves.planned, int(curves.epochs[-1])) + 0.5)
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)


def _histogram(axes: Axes, found: Histograms, counts: Mapping[str, list[int]], label: str) -> None:
    for kind, numbers in counts.items():
        name, role = _KINDS[kind]
        shares = np.asarray(numbers) / max(sum(numbers), 1)
        axes.stairs(shares, found.edges, fill=True, color=color(role), alpha=0.25)
        axes.stairs(shares, found.edges, color=color(role), label=name)
    axes.set_xlabel(label)
    axes.set_ylabel("share")
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    axes.set_xlim(found.edges[0], found.edges[-1])


def _name(curves: Curves, key: str) -> str:
    return curves.lists.get(key, key)
