"""One manifest's part of the page: a sentence, figures with their keys and captions, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openkith.metrics import auroc, detection_scores, eer, trial_scores
from openkith.report.canvas import N_SERIES
from openkith.report.confusion import MAX_PEOPLE, confusion, draw_confusion
from openkith.report.figures import (
    DASHES,
    GROUP_DASHES,
    Curve,
    bars,
    det,
    histogram,
    percent,
    roc,
    score_groups,
    score_limits,
)
from openkith.report.runs import BASELINE, MethodRuns, Outcome, ScoredRun, Section
from openkith.report.tables import decisions_table, escape, metrics_table
from openkith.report.voicemap import MIN_PEOPLE, draw_map

SIDE_BY_SIDE = 3  # methods whose metrics have room beside the bars
WIDE_MATRIX = 14  # columns from which a confusion matrix has a row of the page for itself


def headline(run: ScoredRun, counts: Mapping[Outcome, int]) -> str:
    """What happened, in one sentence."""
    parts = []
    if run.metrics.n_known:
        pieces = [
            f"{_were(counts[Outcome.RIGHT_NAME])} named rightly",
            f"{counts[Outcome.WRONG_NAME]:,} wrongly",
            *_some_were(counts[Outcome.UNSURE], "left unsure"),
            *_some_were(counts[Outcome.MISSED], "not recognised"),
        ]
        parts.append(f"of {_clips(run.metrics.n_known)} of people you enrolled, {_enumeration(pieces)}")
    if run.metrics.n_unknown:
        pieces = [
            f"{_were(counts[Outcome.REFUSED])} refused",
            *_some_were(counts[Outcome.UNSURE_STRANGER], "left unsure"),
            f"{counts[Outcome.NAMED_STRANGER]:,} given a name",
        ]
        parts.append(f"of {_clips(run.metrics.n_unknown)} of strangers, {_enumeration(pieces)}")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _enumeration(pieces: Sequence[str]) -> str:
    return f"{', '.join(pieces[:-1])} and {pieces[-1]}"


def _some_were(n: int, what: str) -> list[str]:
    return [f"{n:,} {what}"] if n else []


def _clips(n: int) -> str:
    return f"{n:,} clip{'' if n == 1 else 's'}"


def _were(n: int) -> str:
    return f"{n:,} {'was' if n == 1 else 'were'}"


def section_html(section: Section, key: str, table_bytes: int) -> str:
    """All of a manifest's part of the page.

    Args:
        section: Its runs.
        key: Its id, which begins all ids in it.
        table_bytes: Size that a table of decisions may have.
    """
    focus = section.focus
    run = focus.first
    styles = _styles(section.methods)
    seeds = f" Figures and decisions are those of seed {run.seed}." if section.n_seeds > 1 else ""
    n_clips, people = len(run.enrolment_labels), len(run.names)
    about = (
        f"{people:,} {'person' if people == 1 else 'people'} enrolled from {_clips(n_clips)}. Decided by "
        f"{escape(focus.label)}, its threshold set to let at most {100 * run.far:g} % of strangers pass."
    )
    parts = (
        f"<h2>{escape(section.manifest)}</h2>",
        f'<p class="lede">{headline(run, focus.counts())}</p><p class="note">{about}{seeds}</p>',
        _strips(section),
        "<h3>Error rates</h3>",
        f'<div class="{"grid" if len(section.methods) <= SIDE_BY_SIDE else "stack"}"><div>',
        _key(section.methods, styles, boxes=True),
        _figure(bars(section.methods, styles, f"{key}-bars"), _bars_caption(section)),
        f"</div>{metrics_table(section)}</div>",
        "<h3>Scores</h3>",
        _histograms(section, key),
        "<h3>Error trade-off</h3>",
        _trade_offs(section, styles, key),
        "<h3>Who was taken for whom</h3>",
        _matrices(section, key),
        "<h3>Map of the voices</h3>",
        _map(run, f"{key}-map"),
        "<h3>Decisions</h3>",
        *(
            f"<h4>{escape(m.label)}</h4>" * (len(section.methods) > 1)
            + decisions_table(m.first, table_bytes, in_sight=m is focus)
            for m in sorted(section.methods, key=lambda m: m is not focus)
        ),
    )
    return f'<section id="{key}">{"".join(parts)}</section>'


def _styles(methods: Sequence[MethodRuns]) -> list[int]:
    """Colour and line of each method: the quiet ones for a baseline that others are compared with."""
    offset = 0 if methods[0].method == BASELINE and len(methods) > 1 else 1
    return [(i + offset) % N_SERIES for i in range(len(methods))]


_STRIP = (
    (
        "Clips of enrolled people",
        (
            (Outcome.RIGHT_NAME, "right", "named rightly"),
            (Outcome.UNSURE, "unsure", "unsure"),
            (Outcome.MISSED, "missed", "not recognised"),
            (Outcome.WRONG_NAME, "wrong", "named wrongly"),
        ),
    ),
    (
        "Clips of strangers",
        (
            (Outcome.REFUSED, "right", "refused"),
            (Outcome.UNSURE_STRANGER, "unsure", "unsure"),
            (Outcome.NAMED_STRANGER, "wrong", "given a name"),
        ),
    ),
)


def _bars_caption(section: Section) -> str:
    if section.n_seeds == 1:
        return "Shorter is better."
    return f"Shorter is better. Means over {section.n_seeds} seeds; the thin lines reach from the best to the worst."


def _strips(section: Section) -> str:
    """For each kind of clip and each method a strip, divided by what became of the clips."""
    blocks = []
    for name, kinds in _STRIP:
        rows = []
        for method in section.methods:
            counts = method.counts()
            total = sum(counts[outcome] for outcome, _, _ in kinds)
            if not total:
                continue
            words = ", ".join(f"{counts[o]:,} {text}" for o, _, text in kinds if counts[o])
            pieces = "".join(
                f'<i class="{role}" style="flex-grow:{counts[o]}"></i>' for o, role, _ in kinds if counts[o]
            )
            rows.append(
                f'<dt>{escape(method.label)}</dt><dd><span class="strip" aria-hidden="true">{pieces}</span>'
                f"<span>{words}</span></dd>"
            )
        if rows:
            blocks.append(f"<div><p><b>{name}</b></p><dl>{''.join(rows)}</dl></div>")
    return f'<div class="strips">{"".join(blocks)}</div>'


def _figure(svg: str, caption: str, name: str = "", kind: str = "") -> str:
    head = f"<b>{escape(name)}</b> " if name else ""
    return f'<figure class="{kind}"><figcaption>{head}{caption}</figcaption><div class="scroll">{svg}</div></figure>'


def _swatch(role: str, dashes: Sequence[float], box: bool) -> str:
    shape = (
        f'<rect width="14" height="10" x="7" style="fill:var(--{role})"/>'
        if box
        else f'<path d="M0 5h28" style="stroke:var(--{role});stroke-width:2;'
        f'stroke-dasharray:{" ".join(f"{d:g}" for d in dashes) or "none"}"/>'
    )
    return f'<svg width="28" height="10" aria-hidden="true">{shape}</svg>'


def _key(methods: Sequence[MethodRuns], styles: Sequence[int], *, boxes: bool) -> str:
    items = "".join(
        f"<li>{_swatch(f'series{style}', DASHES[style], boxes)}{escape(m.label)}</li>"
        for m, style in zip(methods, styles, strict=True)
    )
    return f'<ul class="key">{items}</ul>'


def _histograms(section: Section, key: str) -> str:
    limits = score_limits([m.first for m in section.methods])
    kinds = {g.role: g.name for m in section.methods for g in score_groups(m.first)}
    items = "".join(
        f"<li>{_swatch(role, GROUP_DASHES[role], False)}{name}</li>" for role, name in kinds.items()
    )
    figures = "".join(
        _figure(histogram(m.first, limits, f"{key}-h{i}"), "", m.label) for i, m in enumerate(section.methods)
    )
    return (
        '<p class="note">What scores left of the line is not accepted. The less the groups overlap, the '
        f'better; scores beyond the ends are counted at the ends.</p><ul class="key">{items}</ul>'
        f'<div class="grid">{figures}</div>'
    )


def _trade_offs(section: Section, styles: Sequence[int], key: str) -> str:
    kinds = (
        ("Known against unknown", "Is this anybody enrolled? The best score of each clip.", detection_scores),
        ("Clip against person", "Is this that person? Every clip with every enrolled person.", trial_scores),
    )
    blocks = []
    for i, (name, question, split) in enumerate(kinds):
        curves = [
            Curve(m.label, style, *split(m.first.scores, m.first.labels))
            for m, style in zip(section.methods, styles, strict=True)
        ]
        curves = [c for c in curves if c.targets.size and c.nontargets.size]
        if not curves:
            missing = "strangers" if section.focus.first.metrics.n_known else "clips of enrolled people"
            blocks.append(
                f'<p class="note">{name}: no curves, as there are no {missing} among the clips.</p>'
            )
            continue
        areas = ", ".join(f"{auroc(c.targets, c.nontargets):.4f} {c.label}" for c in curves)
        rates = ", ".join(f"{percent(eer(c.targets, c.nontargets))} {c.label}" for c in curves)
        drawn = (
            (roc(curves, f"{name}. Areas: {areas}.", f"{key}-r{i}"), f"{question} Areas: {areas}.", "ROC"),
            (
                det(curves, f"{name}. Equal error rates: {rates}.", f"{key}-d{i}"),
                f"Dots: EER {rates}.",
                "DET",
            ),
        )
        blocks += [_figure(svg, escape(caption), f"{name}: {kind}.") for svg, caption, kind in drawn]
    return (
        '<p class="note">Each curve is one method at all thresholds. ROC: the further up and left, the better. '
        "DET: the further down and left, the better; a curve along an edge made no error that so few clips "
        f'could show.</p>{_key(section.methods, styles, boxes=False)}<div class="grid">{"".join(blocks)}</div>'
    )


def _matrices(section: Section, key: str) -> str:
    figures, kind = [], "grid"
    for i, method in enumerate(section.methods):
        matrix = confusion(method.first)
        if len(matrix.columns) > WIDE_MATRIX:
            kind = "stack"
        caption = (
            f"The {MAX_PEOPLE} people with most mistakes; {matrix.n_left_out:,} more are not shown."
            if matrix.n_left_out
            else ""
        )
        figures.append(_figure(draw_confusion(matrix, f"{key}-c{i}"), caption, method.label))
    return (
        '<p class="note">A row for who spoke, a column for what was decided, in each cell the number of clips. '
        "Right decisions are in blue and outlined, mistakes in orange, the undecided in grey.</p>"
        f'<div class="{kind}">{"".join(figures)}</div>'
    )


_MARKS = (
    (
        '<path d="M14 0l5 5-5 5-5-5z" style="fill:none;stroke:var(--person0);stroke-width:1.8"/>',
        "enrolment clip",
    ),
    ('<circle cx="14" cy="5" r="3.4" style="fill:var(--person0)"/>', "clip of an enrolled person"),
    ('<path d="M10 1l8 8M18 1l-8 8" style="stroke:var(--soft);stroke-width:1.4"/>', "stranger"),
    (
        '<rect x="8" y="0.5" width="12" height="9" style="fill:none;stroke:var(--wrong);stroke-width:1.4"/>',
        "decided wrongly",
    ),
)


def _map(run: ScoredRun, key: str) -> str:
    svg, unlabelled, left_out = draw_map(run, key)
    items = "".join(
        f'<li><svg width="28" height="10" aria-hidden="true">{shape}</svg>{name}</li>'
        for shape, name in _MARKS
    )
    apart = "enrolled people" if len(run.names) >= MIN_PEOPLE else "clips"
    notes = [
        f"The plane on which the {apart} lie furthest apart. Much is lost in flattening: what is near here need "
        "not be near for the recogniser."
    ]
    if unlabelled:
        notes.append(f"{unlabelled:,} names are left out for want of room.")
    if left_out:
        notes.append(f"{left_out:,} clips are not drawn.")
    return f'<ul class="key">{items}</ul>' + _figure(svg, " ".join(notes), kind="map")
