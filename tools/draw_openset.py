"""Draw the two pictures of docs/openset.md.

    python tools/draw_openset.py ../shared/speech/home-noisy.tsv docs/

`openset-scores.svg` shows the test clips of the manifest as ``kith evaluate`` scores them, by cosine and by the method
"auto", seed 0; the figures that stand in it are printed too. `openset-recipe.svg` is the way of a clip through the
tuned head. Both have the colours of the report, on light and on dark paper. Without a manifest only the second is
drawn.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openkith.audio.augment import CONDITIONS
from openkith.encoders import load_encoder
from openkith.encoders.networks.ge2e import VIEWS
from openkith.evaluation import Result, evaluate
from openkith.metrics import eer
from openkith.openset.model import FUSED_MEMBERS
from openkith.report.canvas import POINTS_PER_INCH, color, drawing, to_svg

SCORES, RECIPE = "openset-scores.svg", "openset-recipe.svg"
STRANGERS_LET_IN = 0.05  # of strangers' clips, at the threshold that is drawn
BINS = 28
FONT = 'font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif'

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    (options.out / RECIPE).write_text(recipe(), encoding="utf-8")
    if options.manifest:
        results = evaluate(
            options.manifest,
            ("cosine", "auto"),
            encoder=load_encoder(),
            progress=lambda what, done, total: print(f"{what} {done}/{total}".ljust(79), end="\r"),
        )
        panels = [Panel.of(result) for result in results]
        (options.out / SCORES).write_text(scores(panels), encoding="utf-8")
        print("\n".join(panel.summary() for panel in panels))


def paper(svg: str) -> str:
    """An SVG element as a file of its own, with the report's colours and a page behind it."""
    css = resources.files("openkith.report").joinpath("report.css").read_text(encoding="utf-8")
    palette = css[: css.index("* {")].strip()
    head, _, body = svg.partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    page = '<rect width="100%" height="100%" rx="8" style="fill:var(--paper)"/>'
    return f"{head}><style>{palette}\nsvg {{ {FONT}; }}</style>{page}{body}\n"


# ---- What tuning does


@dataclass(frozen=True, eq=False)
class Panel:
    """Largest scores of test clips by one method.

    Attributes:
        title: The method, in words.
        household, strangers: Of clips of enrolled people, and of others.
        right: Of ``household``: whether the largest score is that of the person who speaks.
        all_eer, detection_eer: Over all trials; known against unknown.
    """

    title: str
    household: Floats
    strangers: Floats
    right: NDArray[np.bool_]
    all_eer: float
    detection_eer: float

    @classmethod
    def of(cls, result: Result) -> Panel:
        known = result.labels >= 0
        best = result.scores.max(axis=1)
        return cls(
            title="Plain cosine" if result.method == "cosine" else f"Tuned head ({result.chosen})",
            household=best[known],
            strangers=best[~known],
            right=result.scores[known].argmax(axis=1) == result.labels[known],
            all_eer=result.metrics.eer,
            detection_eer=eer(best[known], best[~known]),
        )

    @property
    def threshold(self) -> float:
        """The least score that no more than `STRANGERS_LET_IN` of the strangers' clips reach."""
        ranked = np.sort(self.strangers)[::-1]
        return float(np.nextafter(ranked[int(STRANGERS_LET_IN * len(ranked))], np.inf))

    @property
    def named(self) -> float:
        """Share of the household's clips with the right name and a score at or above the threshold."""
        return float(np.mean(self.right & (self.household >= self.threshold)))

    def summary(self) -> str:
        return (
            f"{self.title}: {len(self.household)} household clips, {len(self.strangers)} clips of strangers; with "
            f"{STRANGERS_LET_IN:.0%} of strangers let in, {self.named:.0%} of the household named rightly; EER "
            f"{self.all_eer:.1%}, known against unknown {self.detection_eer:.1%}"
        )


def scores(panels: list[Panel]) -> str:
    """A histogram for each method: the household above, strangers below."""
    from matplotlib.figure import Figure

    width, height = 820.0, 330.0
    with drawing():
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        grid = figure.subplots(1, len(panels), sharey=True)
        for axes, panel in zip(grid, panels, strict=True):
            values = np.concatenate([panel.household, panel.strangers])
            edges = np.linspace(values.min(), values.max(), BINS + 1)
            for group, role, side in ((panel.household, "right", 1.0), (panel.strangers, "stranger", -1.0)):
                shares = side * np.histogram(group, edges)[0] / len(group)
                axes.stairs(shares, edges, fill=True, color=color(role), alpha=0.35)
                axes.stairs(shares, edges, color=color(role), linewidth=1.4)
            axes.axhline(0.0, color=color("line"), linewidth=1.0)
            axes.axvline(panel.threshold, color=color("ink"), linewidth=1.4, linestyle=(0, (4, 3)))
            axes.set_title(panel.title, loc="left", fontsize=15, fontweight="bold", pad=30)
            axes.text(
                *(0.0, 1.035),
                f"{panel.named:.0%} of the household's clips named rightly",
                transform=axes.transAxes,
                fontsize=13,
            )
            axes.set_xlabel("score of the likeliest person →")
            axes.set_xticks([])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
        top = max(axes.get_ylim()[1] for axes in grid)
        bottom = min(axes.get_ylim()[0] for axes in grid)
        grid[0].set_ylim(bottom * 1.12, top * 1.12)
        grid[0].set_yticks([])
        for axes, panel in zip(grid, panels, strict=True):
            low, high = axes.get_xlim()
            right = panel.threshold < (low + high) / 2
            axes.annotate(
                f"threshold: {STRANGERS_LET_IN:.0%} of strangers pass",
                (panel.threshold, bottom * 1.12),
                (5 if right else -5, 4),
                textcoords="offset points",
                ha="left" if right else "right",
            )
        grid[0].text(0.0, 0.93, "the household", transform=grid[0].transAxes, color=color("right"), va="top")
        grid[0].text(0.0, 0.13, "strangers", transform=grid[0].transAxes, color=color("stranger"))
        figure.subplots_adjust(left=0.03, right=0.97, top=0.80, bottom=0.10, wspace=0.08)
        return paper(to_svg(figure, "scores", " ".join(panel.summary() + "." for panel in panels)))


# ---- The way of a clip


class Sketch:
    """Boxes, texts and arrows, as strings."""

    def __init__(self, width: int, height: int, label: str) -> None:
        self.head = (
            f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(label)}">'
        )
        self.parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, role: str = "line", fill: str = "raised") -> None:
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" '
            f'style="fill:var(--{fill});stroke:var(--{role});stroke-width:1.5"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        role: str = "ink",
        size: float = 13,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        weight = ";font-weight:600" if bold else ""
        self.parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" '
            f'style="fill:var(--{role});font-size:{size}px{weight}">{escape(words)}</text>'
        )

    def card(self, x: float, y: float, w: float, h: float, lines: list[str], role: str = "line") -> None:
        """A box with a title and lines below it."""
        self.box(x, y, w, h, role, "paper" if role == "line" else "raised")
        self.text(x + 12, y + 23, lines[0], bold=True, size=14)
        for i, line in enumerate(lines[1:]):
            self.text(x + 12, y + 42 + 17 * i, line, role="soft", size=12.5)

    def arrow(self, points: list[tuple[float, float]], role: str, *, dashed: bool = False) -> None:
        """A line through points with a head at its end; the last stretch is straight down or to the right."""
        dashes = ";stroke-dasharray:5 4" if dashed else ""
        path = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))
        (x, y), down = points[-1], points[-1][0] == points[-2][0]
        head = (
            f"M{x - 5} {y - 8}L{x} {y}L{x + 5} {y - 8}"
            if down
            else f"M{x - 8} {y - 5}L{x} {y}L{x - 8} {y + 5}"
        )
        stroke = f"fill:none;stroke:var(--{role});stroke-width:2"
        self.parts.append(f'<path d="{path}" style="{stroke}{dashes}"/><path d="{head}" style="{stroke}"/>')

    def svg(self) -> str:
        return self.head + "".join(self.parts) + "</svg>"


def recipe() -> str:
    """The tuned head, from clips to probabilities."""
    tuning, asking = "stranger", "right"
    n_copies, n_views = len(CONDITIONS) - 1, len(VIEWS)
    sketch = Sketch(
        820,
        850,
        f"Enrolment clips and clips of other people, with {n_copies} copies of each, are seen in {n_views} views; "
        "in each view a space and three back ends are learned. A new clip goes through the same views, spaces and "
        "back ends; its scores are averaged, and calibrated on held-out clips, to probabilities.",
    )
    # Paths and what they mean.
    sketch.arrow([(24, 27), (58, 27)], tuning, dashed=True)
    sketch.text(66, 31, "tuning: once, and again when people change", role="soft")
    sketch.arrow([(480, 27), (514, 27)], asking)
    sketch.text(522, 31, "a new clip: every time", role="soft")

    sketch.card(24, 54, 240, 56, ["Your people's clips", "three or more of each"], tuning)
    sketch.card(284, 54, 240, 56, ["Other people's clips", "the cohort, and yours by --unknown"], tuning)
    sketch.card(572, 54, 224, 56, ["A new clip", "as it is, no copies"], asking)
    sketch.arrow([(144, 110), (144, 140)], tuning, dashed=True)
    sketch.arrow([(404, 110), (404, 140)], tuning, dashed=True)
    sketch.card(
        *(24, 140, 500, 56),
        [f"{n_copies} copies of each clip", "noise · room · telephone · half a second · another mood"],
        tuning,
    )
    sketch.arrow([(274, 196), (274, 226)], tuning, dashed=True)
    sketch.arrow([(684, 110), (684, 226)], asking)

    # Views.
    sketch.card(24, 226, 772, 78, [f"The same sound in {n_views} views: one embedding each"])
    step = (772 - 24) / n_views
    for i, name in enumerate(VIEWS):
        x = 36 + i * step
        sketch.box(x, 260, step - 6, 30)
        sketch.text(x + step / 2 - 3, 279, name, size=11, anchor="middle")
    sketch.arrow([(274, 304), (274, 344)], tuning, dashed=True)
    sketch.arrow([(684, 304), (684, 344)], asking)

    # A view.
    for offset in (12, 6):
        sketch.box(24 + offset, 344 + offset, 760, 192, fill="paper")
    sketch.card(24, 344, 760, 192, ["In each view"])
    sketch.card(
        *(40, 382, 290, 138),
        ["A space of its own", "takes off the recording condition,", "takes off part of what the household"],
    )
    sketch.text(52, 458, "has in common, and makes one person's", role="soft", size=12.5)
    sketch.text(52, 475, "clips lie close together.", role="soft", size=12.5)
    sketch.text(52, 507, "learned mostly from the cohort", role="stranger", size=12.5)
    for i, (title, line) in enumerate(
        (
            ("Cosine with AS-norm", "like this person, more than like other people?"),
            ("PLDA", "one voice twice, or two voices?"),
            (
                f"{FUSED_MEMBERS} SpeakerRPL+ adapters",
                "small networks; where clips are words, AS-norm instead",
            ),
        )
    ):
        y = 382 + i * 48
        sketch.box(392, y, 376, 42, fill="paper")
        sketch.text(404, y + 18, title, bold=True, size=13.5)
        sketch.text(404, y + 34, line, role="soft", size=12)
        sketch.arrow([(330, 451), (361, 451), (361, y + 21), (392, y + 21)], "other")

    # One score, and its meaning.
    sketch.arrow([(684, 548), (684, 578)], asking)
    sketch.card(
        *(300, 578, 496, 58),
        ["One score per person", "the mean of all, on one scale; for a word, of the views that suit words"],
    )
    sketch.arrow([(144, 548), (144, 664)], tuning, dashed=True)
    sketch.card(
        *(24, 664, 240, 74),
        ["Held-out clips", "all of it fitted three more times,", "each time without some clips"],
        tuning,
    )
    sketch.arrow([(684, 636), (684, 664)], asking)
    sketch.arrow([(264, 701), (300, 701)], tuning, dashed=True)
    sketch.card(
        *(300, 664, 496, 74),
        ["Calibration", "score → how many times likelier than a stranger → probability,", "and a threshold"],
    )
    sketch.arrow([(684, 738), (684, 768)], asking)
    sketch.box(300, 768, 496, 62, asking)
    sketch.text(312, 791, "P(Alice), P(Ben), …, P(unknown)", bold=True, size=14)
    sketch.text(312, 811, "sum to 1; known, unsure or unknown, with a reason", role="soft", size=12.5)
    return paper(sketch.svg())


if __name__ == "__main__":
    main()
