"""The embeddings on a plane: enrolment, probes of enrolled people, strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openkith.report.canvas import CHARACTER, N_PEOPLE, color, drawing, new_axes, shorten, to_svg
from openkith.report.runs import UNKNOWN, Outcome, ScoredRun, outcomes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, PAD = 1000.0, 520.0, 26.0  # CSS pixels
MAX_POINTS = 300  # of each of the three kinds
MIN_PEOPLE = 3  # who have a plane between them
SHRINKAGE = 0.5  # weight of a round within-speaker covariance beside the estimated one
LABEL_HEIGHT = 15.0
MAX_STRETCH = 1.5  # of one axis against the other, to use the room
MARK = 7.0  # CSS pixels from the middle of a clip's mark to its edge
# Where a label may stand beside its person's clips: across and down, from -1 (all to the left) to 1.
LABEL_PLACES = ((0, -1), (0, 1), (1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1))
MISTAKES = (Outcome.WRONG_NAME, Outcome.NAMED_STRANGER, Outcome.MISSED)

Floats = NDArray[np.float64]


def plane(enrolled: NDArray[Any], labels: NDArray[Any], probes: NDArray[Any]) -> tuple[Floats, Floats]:
    """The plane on which enrolled people lie furthest apart for their spread.

    Linear discriminant analysis of the enrolment clips, with half of the within-speaker covariance replaced
    by a round one, as clips are few and dimensions many. With fewer than three people, who have no plane
    between them, principal components of all clips.

    Args:
        enrolled: (n, d) embeddings of the enrolment clips.
        labels: (n,) their speakers.
        probes: (p, d) embeddings of the probes.

    Returns:
        Middle (d,) and axes (d, 2); an axis that the clips do not span is zero.
    """
    x = np.asarray(enrolled, dtype=np.float64)
    n, d = x.shape
    people, codes = np.unique(labels, return_inverse=True)
    unwhiten = np.eye(d)
    if people.size < MIN_PEOPLE:
        everything = np.concatenate([x, probes])
        middle = everything.mean(axis=0)
        spread = everything - middle
    else:
        means = np.stack([x[codes == code].mean(axis=0) for code in range(people.size)])
        residuals = x - means[codes]
        within = residuals.T @ residuals / n
        mean_variance = float(np.trace(within)) / d
        if mean_variance > 0.0:
            values, vectors = np.linalg.eigh(
                (1.0 - SHRINKAGE) * within + SHRINKAGE * mean_variance * np.eye(d)
            )
            unwhiten = vectors / np.sqrt(values)
        middle = means.mean(axis=0)
        spread = means - middle
    _, sizes, directions = np.linalg.svd(spread @ unwhiten, full_matrices=False)
    kept = directions[:2][sizes[:2] > 1e-9 * max(float(sizes[0]), 1e-300)]
    axes = np.zeros((d, 2))
    axes[:, : len(kept)] = unwhiten @ kept.T
    signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), [0, 1]])  # the sign of an SVD means nothing
    return middle, axes * np.where(signs == 0, 1.0, signs)


def draw_map(run: ScoredRun, key: str) -> tuple[str, int, int]:
    """Draw the map.

    Returns:
        The SVG, how many people have no label for want of room, and how many points were left out.
    """
    middle, axes_of_plane = plane(run.enrolment_embeddings, run.enrolment_labels, run.embeddings)
    enrolled, probes = (
        (np.asarray(e, dtype=np.float64) - middle) @ axes_of_plane
        for e in (run.enrolment_embeddings, run.embeddings)
    )
    to_pixels = _fit(np.concatenate([enrolled, probes]))
    enrolled, probes = to_pixels(enrolled), to_pixels(probes)
    known = run.labels != UNKNOWN
    wrong = np.array([outcome in MISTAKES for outcome in outcomes(run)])
    with drawing():
        figure, axes = new_axes(WIDTH, HEIGHT, (0.0, 0.0, WIDTH, HEIGHT))
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        shown_strangers = _some(np.flatnonzero(~known), wrong)
        axes.scatter(
            probes[shown_strangers, 0],
            probes[shown_strangers, 1],
            s=34,
            marker="x",
            color=color("soft"),
            linewidth=1.3,
            alpha=0.8,
        )
        shown_known = _some(np.flatnonzero(known), wrong)
        shown_enrolled = _some(np.arange(len(enrolled)), np.zeros(len(enrolled), dtype=np.bool_))
        for person in range(len(run.names)):
            role = color(f"person{person % N_PEOPLE}")
            of_person = shown_known[run.labels[shown_known] == person]
            axes.scatter(
                probes[of_person, 0],
                probes[of_person, 1],
                s=36,
                marker="o",
                color=role,
                alpha=0.8,
                linewidth=0,
            )
            of_person = shown_enrolled[run.enrolment_labels[shown_enrolled] == person]
            axes.scatter(
                enrolled[of_person, 0],
                enrolled[of_person, 1],
                s=64,
                marker="D",
                facecolor="none",
                edgecolor=role,
                linewidth=1.8,
            )
        boxed = np.concatenate([shown_strangers, shown_known])
        boxed = boxed[wrong[boxed]]
        axes.scatter(
            probes[boxed, 0],
            probes[boxed, 1],
            s=150,
            marker="s",
            facecolor="none",
            edgecolor=color("wrong"),
            linewidth=1.3,
        )
        unlabelled = _label_people(axes, run, enrolled, probes)
        n_shown = shown_known.size + shown_strangers.size + shown_enrolled.size
        svg = to_svg(
            figure,
            key,
            f"Map of {len(enrolled)} enrolment clips, {int(known.sum())} probes of enrolled people and "
            f"{int((~known).sum())} of strangers.",
        )
        return svg, unlabelled, len(enrolled) + len(probes) - n_shown


def _fit(points: Floats) -> Callable[[Floats], Floats]:
    """A map from the plane to pixels that shows all points, hardly distorted."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array([WIDTH, HEIGHT])
    scales = (size - 2 * PAD) / np.maximum(high - low, 1e-12)
    scales = np.minimum(scales, MAX_STRETCH * scales.min())
    middle = (low + high) / 2.0
    return lambda xy: np.asarray((xy - middle) * scales + size / 2.0)


def _some(which: NDArray[np.intp], rare: NDArray[np.bool_]) -> NDArray[np.intp]:
    """At most MAX_POINTS of them, evenly, but all of those that are marked if these are few."""
    if which.size <= MAX_POINTS:
        return which
    first = which[rare[which]]
    first = first if first.size <= MAX_POINTS // 5 else first[:0]
    others = np.setdiff1d(which, first)
    evenly = np.linspace(0, others.size - 1, MAX_POINTS - first.size).round().astype(np.intp)
    return np.sort(np.concatenate([first, others[evenly]]))


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _label_people(axes: Axes, run: ScoredRun, enrolled: Floats, probes: Floats) -> int:
    """Write names beside people's clips where no other name is; returns how many found no place."""
    points = np.concatenate([enrolled, probes])
    marks = np.concatenate([points - MARK, points + MARK], axis=1)
    names = np.empty((0, 4))
    missing = 0
    for person, name in enumerate(run.names):
        clips = enrolled[run.enrolment_labels == person]
        if not len(clips):
            continue
        text = shorten(name)
        places = _places(clips, (CHARACTER * len(text) + 4.0, LABEL_HEIGHT))
        free = [place for place in places if not _n_overlaps(place, names)]
        if not free:
            missing += 1
            continue
        # Over as few marks as can be; of equals the first.
        place = min(free, key=lambda box: _n_overlaps(box, marks))
        names = np.append(names, [place], axis=0)
        middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        axes.text(*middle, text, ha="center", va="center_baseline")
    return missing


def _places(clips: Floats, size: tuple[float, float]) -> list[Box]:
    """Boxes around the clips for a label of that size, as far as they are on the map."""
    low, high = clips.min(axis=0) - MARK - 1.0, clips.max(axis=0) + MARK + 1.0
    boxes = []
    for across, down in LABEL_PLACES:
        x = (low[0] + high[0] + across * (high[0] - low[0] + size[0])) / 2
        y = (low[1] + high[1] + down * (high[1] - low[1] + size[1])) / 2
        boxes.append((x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2))
    return [b for b in boxes if b[0] >= 0 and b[1] >= 0 and b[2] <= WIDTH and b[3] <= HEIGHT]


def _n_overlaps(box: Box, others: Floats) -> int:
    left, top, right, bottom = others.T
    return int(np.sum((box[0] < right) & (left < box[2]) & (box[1] < bottom) & (top < box[3])))
