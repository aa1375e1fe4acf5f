"""Tables of the report as HTML: metrics, overview, decisions, glossary."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openkith.report.canvas import printable
from openkith.report.figures import percent
from openkith.report.runs import (
    UNKNOWN,
    MethodRuns,
    Outcome,
    ScoredRun,
    Section,
    guesses,
    margins,
    outcomes,
)

N_FIRST_ROWS = 12  # decisions that are seen without opening anything
_SHOWN_IN_MS = 0.1  # seconds below which a time is shown in milliseconds


def escape(text: object) -> str:
    """Text for a page: markup in it is shown, not obeyed."""
    return html.escape(printable(str(text)))


@dataclass(frozen=True)
class Measure:
    """A row of the table of metrics."""

    field: str
    name: str
    kind: str  # rate, area, cost, seconds, number
    better: str  # "lower", "higher" or ""
    meaning: str

    def show(self, value: float) -> str:
        """The value as text."""
        if math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if self.kind == "rate":
            return percent(value)
        if self.kind == "seconds":
            if value < _SHOWN_IN_MS:
                return f"{value * 1000:.2f} ms"
            return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"
        return f"{value:.{4 if self.kind == 'area' else 3 if self.kind == 'cost' else 2}f}"


MEASURES = (
    Measure(
        "eer",
        "EER",
        "rate",
        "lower",
        "Equal error rate over all pairs of a clip and an enrolled person: at the threshold where as large a "
        "share of right pairs is refused as of wrong pairs accepted, that share.",
    ),
    Measure(
        "detection_eer",
        "Known-vs-unknown EER",
        "rate",
        "lower",
        "The same for the question “is this anybody enrolled?”, on the best score of each clip.",
    ),
    Measure(
        "fnir_at_fpir_1",
        "FNIR at FPIR 1 %",
        "rate",
        "lower",
        "Share of clips of enrolled people that do not get their name when at most 1 % of strangers' clips get "
        "any.",
    ),
    Measure("fnir_at_fpir_10", "FNIR at FPIR 10 %", "rate", "lower", "The same at 10 %."),
    Measure(
        "oscr",
        "OSCR",
        "area",
        "higher",
        "Chance that a clip of an enrolled person gets the right name with a better score than a stranger's "
        "clip gets for any name.",
    ),
    Measure(
        "accuracy",
        "Closed-set accuracy",
        "rate",
        "higher",
        "Share of clips of enrolled people whose best-scoring person is the right one, strangers left out.",
    ),
    Measure(
        "auroc",
        "AUROC",
        "area",
        "higher",
        "Chance that a clip of an enrolled person scores above a stranger's.",
    ),
    Measure(
        "tnr95", "TNR at TPR 95 %", "rate", "higher", "Share of strangers refused when 95 % of known pass."
    ),
    Measure(
        "detection_accuracy",
        "Detection accuracy",
        "rate",
        "higher",
        "Mean of known accepted and strangers refused, at the best threshold.",
    ),
    Measure("auin", "AUIN", "area", "higher", "Average precision of finding clips of enrolled people."),
    Measure("auout", "AUOUT", "area", "higher", "Average precision of finding clips of strangers."),
    Measure(
        "min_dcf",
        "min DCF",
        "cost",
        "lower",
        "Detection cost at the best threshold, where a right pair is expected once in ten; 1 is as good as "
        "refusing everybody.",
    ),
    Measure(
        "act_dcf",
        "actual DCF",
        "cost",
        "lower",
        "The same at the threshold that the likelihood ratios themselves demand; what it exceeds min DCF by is "
        "the price of poor calibration.",
    ),
    Measure("cllr", "Cllr", "cost", "lower", "Cost of the likelihood ratios in bits; 1 says nothing."),
    Measure("min_cllr", "min Cllr", "cost", "lower", "What is left of it after the best calibration."),
    Measure("threshold", "Threshold (nats)", "number", "", "Log-likelihood ratio that a name must reach."),
    Measure("far", "Aimed-at false accepts", "rate", "", "Share of strangers the threshold is to let pass."),
    Measure("tune_seconds", "Time to tune", "seconds", "", "Enrolment, tuning and calibration."),
    Measure("score_seconds", "Time to score", "seconds", "", "Scoring of all clips."),
)
MAIN = ("eer", "detection_eer", "fnir_at_fpir_1", "oscr", "accuracy", "act_dcf", "cllr")
OVERVIEW = tuple(m for m in MEASURES if m.field in ("eer", "detection_eer", "oscr"))


def metrics_table(section: Section) -> str:
    """The metrics of all methods side by side, the best of each row in bold."""
    note = "The best of each row is in bold. ↓ lower is better, ↑ higher is better, – not defined here."
    if section.n_seeds > 1:
        note = f"Mean over {section.n_seeds} seeds, in small type the smallest and the largest. {note}"
    main, rest = (
        _metric_rows(section.methods, [m for m in MEASURES if (m.field in MAIN) == wanted])
        for wanted in (True, False)
    )
    return (
        f"<div>{main}<p class='note'>{note}</p><details><summary>More metrics, settings and times</summary>"
        f"{rest}</details></div>"
    )


def _metric_rows(methods: Sequence[MethodRuns], measures: Sequence[Measure]) -> str:
    head = "".join(f'<th scope="col">{escape(m.label)}</th>' for m in methods)
    body = "".join(
        f'<tr><th scope="row">{measure.name}{_arrow(measure)}</th>{"".join(_cells(measure, methods))}</tr>'
        for measure in measures
    )
    return (
        f'<div class="scroll"><table class="metrics"><thead><tr><th scope="col">Metric</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _arrow(measure: Measure) -> str:
    arrow = {"lower": "↓", "higher": "↑"}.get(measure.better)
    return f' <span class="arrow" title="{measure.better} is better">{arrow}</span>' if arrow else ""


def _cells(measure: Measure, methods: Sequence[MethodRuns], *, spread: bool = True) -> list[str]:
    means = [m.mean(measure.field) for m in methods]
    shown = [measure.show(value) for value in means]
    defined = [i for i, value in enumerate(means) if not math.isnan(value)]
    sign = -1.0 if measure.better == "higher" else 1.0
    best = shown[min(defined, key=lambda i: sign * means[i])] if defined else ""
    bold = measure.better and len(set(shown)) > 1
    cells = []
    for method, text in zip(methods, shown, strict=True):
        values = method.values(measure.field)
        cell = f"<strong>{text}</strong>" if bold and text == best else text
        if spread and len(values) > 1 and np.isfinite(values).all() and values.min() < values.max():
            cell += f" <small>{measure.show(values.min())} to {measure.show(values.max())}</small>"
        cells.append(f"<td>{cell}</td>")
    return cells


def overview_table(sections: Sequence[Section], ids: Sequence[str]) -> str:
    """A row per manifest: who was in it, and three metrics of each method."""
    methods = list(dict.fromkeys(m.method for section in sections for m in section.methods))
    top = "".join(f'<th scope="colgroup" colspan="{len(methods)}">{m.name}{_arrow(m)}</th>' for m in OVERVIEW)
    under = "".join(f'<th scope="col">{escape(m)}</th>' for m in methods) * len(OVERVIEW)
    rows = []
    for section, identity in zip(sections, ids, strict=True):
        metrics = section.focus.first.metrics
        cells = []
        for measure in OVERVIEW:
            present = dict(
                zip(
                    (m.method for m in section.methods),
                    _cells(measure, section.methods, spread=False),
                    strict=True,
                )
            )
            cells += [present.get(method, "<td></td>") for method in methods]
        rows.append(
            f'<tr><th scope="row"><a href="#{identity}">{escape(section.manifest)}</a></th>'
            f"<td>{metrics.n_speakers:,}</td><td>{metrics.n_known:,}</td><td>{metrics.n_unknown:,}</td>"
            f"{''.join(cells)}</tr>"
        )
    return (
        '<div class="scroll"><table class="metrics overview"><caption>One row per manifest; the better of each is '
        'in bold.</caption><thead><tr><th rowspan="2" scope="col">Manifest</th>'
        '<th rowspan="2" scope="col">People</th><th rowspan="2" scope="col">Known clips</th>'
        f'<th rowspan="2" scope="col">Strangers</th>{top}</tr><tr>{under}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def decisions_table(run: ScoredRun, max_bytes: int, *, in_sight: bool) -> str:
    """Every decision, mistakes first.

    Args:
        run: The run.
        max_bytes: Rows beyond this are left out, and the table says how many.
        in_sight: Whether the first rows are seen without opening anything.
    """
    found = outcomes(run)
    columns, gaps = guesses(run), margins(run)
    probabilities = run.probabilities[np.arange(len(columns)), columns]
    severity = list(Outcome)
    # Mistakes that were made with the most confidence come first.
    order = sorted(
        range(len(found)),
        key=lambda i: (
            severity.index(found[i]) if found[i].mark != "✓" else len(severity),
            -probabilities[i] if found[i].mark == "✗" else 0.0,
        ),
    )
    rows: list[str] = []
    size = 0
    for i in order:
        row = _decision(run, i, found[i], int(columns[i]), float(gaps[i]))
        size += len(row.encode("utf-8", "replace"))
        if size > max_bytes and rows:
            break
        rows.append(row)
    left_out = len(order) - len(rows)
    more = f"<p class='note'>{left_out:,} more are left out to keep this file small.</p>" if left_out else ""
    first = len(rows) if len(rows) <= N_FIRST_ROWS + 4 else N_FIRST_ROWS
    if not in_sight:
        return f"<details><summary>All {len(rows):,} decisions</summary>{_table(rows)}{more}</details>"
    rest = rows[first:]
    if not rest:
        return _table(rows) + more
    return (
        f"{_table(rows[:first])}<details><summary>{len(rest):,} more decisions</summary>"
        f"{_table(rest)}{more}</details>"
    )


_DECISION_COLUMNS = (
    ("Result", ""),
    ("Clip", ""),
    ("Who spoke", ""),
    ("Decided", ""),
    ("Status", ""),
    ("P", "probability of the name given, of the best guess, or of “unknown”"),
    ("Margin", "score of the best person less that of the next, in nats"),
    ("Speech", "seconds of speech in the clip"),
    ("Reason", ""),
)


def _table(rows: Sequence[str]) -> str:
    head = "".join(
        f'<th scope="col"{f" title={chr(34)}{title}{chr(34)}" if title else ""}>{name}</th>'
        for name, title in _DECISION_COLUMNS
    )
    return (
        f'<div class="scroll"><table class="decisions"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


_ROW_CLASS = {"✗": "bad", "?": "open", "✓": "good"}


def _decision(run: ScoredRun, i: int, outcome: Outcome, column: int, margin: float) -> str:
    stranger = run.labels[i] == UNKNOWN
    probability = float(run.probabilities[i, column])
    name = escape(run.names[column]) if column < len(run.names) else "–"
    unsure = " <small>best guess</small>" if run.statuses[i] == "unsure" else ""
    cells = (
        f"<td><b>{outcome.mark}</b> {outcome.words}</td>",
        f"<td>{escape(run.probes[i])}</td>",
        f"<td>{escape(run.truth[i])}{' <small>stranger</small>' if stranger else ''}</td>",
        f"<td>{name}{unsure}</td>",
        f"<td>{run.statuses[i]}</td>",
        f"<td>{probability:.3f}</td>" if math.isfinite(probability) else "<td>–</td>",
        f"<td>{margin:.2f}</td>" if math.isfinite(margin) else "<td>–</td>",
        f"<td>{float(run.seconds[i]):.1f} s</td>",
        f"<td>{escape(run.reasons[i])}</td>",
    )
    return f'<tr class="{_ROW_CLASS[outcome.mark]}">{"".join(cells)}</tr>'


def glossary() -> str:
    """What each metric means."""
    return "<dl>" + "".join(f"<dt>{m.name}</dt><dd>{m.meaning}</dd>" for m in MEASURES) + "</dl>"
