"""Who was taken for whom: the confusion matrix, as counts and as SVG."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openkith.report.canvas import CHARACTER, color, drawing, new_axes, shorten, to_svg
from openkith.report.runs import UNKNOWN, Outcome, ScoredRun, outcomes

MAX_PEOPLE = 50  # rows of people; of more, those with most mistakes
CELL = (17.0, 44.0)  # least and most CSS pixels
MANY_COLUMNS = 30
SIDES = (560.0, 900.0)  # CSS pixels across, of fewer columns than that, of more
FAINTEST, STRONGEST = 0.14, 0.62  # opacity of a cell: few of a row's clips, all of them
STRANGERS, UNSURE, REFUSED, ANOTHER = "strangers", "unsure", "unknown", "another name"


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of who spoke (rows) against what was decided (columns).

    Attributes:
        rows: People who are shown, and strangers where there are any.
        columns: The same people, another name if not all are shown, unsure, unknown.
        counts: (rows, columns).
        right: (rows, columns) whether that decision is right.
        n_left_out: People without a row.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]
    right: NDArray[np.bool_]
    n_left_out: int


def confusion(run: ScoredRun) -> Confusion:
    """Count what was decided for each person's clips and for strangers'."""
    index = {name: i for i, name in enumerate(run.names)}
    people = len(run.names)
    another, unsure, refused = people, people + 1, people + 2
    counts = np.zeros((people + 1, people + 3), dtype=np.int64)  # the last row: strangers
    mistakes: Counter[int] = Counter()
    for label, status, given, outcome in zip(
        run.labels, run.statuses, run.decided, outcomes(run), strict=True
    ):
        row = people if label == UNKNOWN else int(label)
        column = another if given is None else index[given]
        column = {"unsure": unsure, "unknown": refused}.get(status, column)
        counts[row, column] += 1
        if outcome is not Outcome.RIGHT_NAME:
            mistakes.update({row, column})
    right = np.zeros(counts.shape, dtype=np.bool_)
    right[np.arange(people), np.arange(people)] = True
    right[people, refused] = True

    worst = sorted(range(people), key=lambda person: -mistakes[person])[:MAX_PEOPLE]
    shown, hidden = sorted(worst), sorted(set(range(people)) - set(worst))
    counts[:, another] += counts[:, hidden].sum(axis=1)
    rows = [*shown, people] if np.any(run.labels == UNKNOWN) else shown
    columns = [*shown, *([another] if hidden else []), unsure, refused]
    names = [*run.names, ANOTHER, UNSURE, REFUSED]
    return Confusion(
        rows=tuple(STRANGERS if row == people else names[row] for row in rows),
        columns=tuple(names[column] for column in columns),
        counts=counts[np.ix_(rows, columns)],
        right=right[np.ix_(rows, columns)],
        n_left_out=len(hidden),
    )


def draw_confusion(matrix: Confusion, key: str) -> str:
    """The matrix as SVG: right decisions in one colour, outlined, all others in another."""
    from matplotlib.patches import Rectangle

    n_rows, n_columns = matrix.counts.shape
    side = SIDES[n_columns >= MANY_COLUMNS]
    cell = float(np.clip(side / n_columns, *CELL))
    row_names, column_names = ([shorten(n) for n in names] for names in (matrix.rows, matrix.columns))
    left, above = (12.0 + CHARACTER * max(map(len, names)) for names in (row_names, column_names))
    width, height = left + cell * n_columns + 4.0, above + cell * n_rows + 4.0
    with drawing():
        figure, axes = new_axes(width, height, (left, 4.0, cell * n_columns, cell * n_rows))
        n_people = n_columns - 2
        for edge in (0, n_people, n_columns):
            axes.axvline(edge, color=color("line"), linewidth=1.0, clip_on=False)
        for edge in (0, min(n_people, n_rows), n_rows):
            axes.axhline(edge, color=color("line"), linewidth=1.0, clip_on=False)
        shares = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
        for row, column in np.argwhere(matrix.right):
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=color("line"), linewidth=1.0))
        size = min(12.0, 0.52 * cell)
        for row, column in np.argwhere(matrix.counts > 0):
            role = "right" if matrix.right[row, column] else ("other" if column == n_columns - 2 else "wrong")
            axes.add_patch(
                Rectangle(
                    (column + 0.04, row + 0.04),
                    0.92,
                    0.92,
                    linewidth=0,
                    clip_on=False,
                    facecolor=color(role),
                    alpha=FAINTEST + (STRONGEST - FAINTEST) * float(shares[row, column]),
                )
            )
            count = str(matrix.counts[row, column])
            fitting = min(size, 1.4 * cell / len(count))
            axes.text(column + 0.5, row + 0.5, count, ha="center", va="center_baseline", fontsize=fitting)
        axes.set(xlim=(0, n_columns), ylim=(n_rows, 0))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.xaxis.tick_top()
        label_size = min(12.0, 0.64 * cell)
        axes.set_xticks(np.arange(n_columns) + 0.5, column_names, rotation=90, fontsize=label_size)
        axes.set_yticks(np.arange(n_rows) + 0.5, row_names, fontsize=label_size)
        axes.tick_params(labelcolor=color("ink"))
        n_right = int(matrix.counts[matrix.right].sum())
        label = (
            f"Confusion matrix of {n_rows} rows (who spoke) and {n_columns} columns (what was decided): "
            f"{n_right} of {int(matrix.counts.sum())} decisions right."
        )
        return to_svg(figure, key, label)
