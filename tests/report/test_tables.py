from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from openkith.report.runs import group, outcomes
from openkith.report.tables import (
    MEASURES,
    Measure,
    decisions_table,
    glossary,
    metrics_table,
    overview_table,
)


def rows(source: str) -> list[list[str]]:
    """Cells of all rows, tags taken out."""
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", source)
    ]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("rate", 0.0151, "1.51 %"),
        ("area", 0.99981, "0.9998"),
        ("cost", 0.12345, "0.123"),
        ("number", 2.0, "2.00"),
        ("seconds", 0.0512, "51.20 ms"),
        ("seconds", 0.000042, "0.04 ms"),
        ("seconds", 1234.5, "1,234 s"),
        ("cost", math.inf, "∞"),
        ("number", -math.inf, "−∞"),
        ("rate", math.nan, "–"),
    ],
)
def test_values_as_text(kind, value, shown):
    assert Measure("x", "x", kind, "", "").show(value) == shown


def test_metrics_of_all_methods_side_by_side_the_best_in_bold(make_run):
    worse = make_run()
    worse = replace(worse, metrics=replace(worse.metrics, eer=0.2, oscr=0.5, auroc=0.9, cllr=math.nan))
    better = replace(worse, method="auto", metrics=replace(worse.metrics, eer=0.01, oscr=0.75, cllr=0.25))
    source = metrics_table(group([better, worse])[0])
    table = {row[0]: row[1:] for row in rows(source)}
    assert table["Metric"] == ["cosine", "auto (cosine)"]
    assert table["EER ↓"] == ["20.0 %", "1.00 %"]
    assert table["OSCR ↑"] == ["0.5000", "0.7500"]
    assert table["Cllr ↓"] == ["–", "0.250"]
    assert {"1.00 %", "0.7500", "0.250"} <= set(re.findall("<strong>(.*?)</strong>", source))
    assert "<strong>0.9000" not in source  # equal: none is the best
    assert len(table) == len(MEASURES) + 1


def test_means_and_ends_over_seeds(make_run):
    runs = [make_run(seed=seed) for seed in range(3)]
    runs = [
        replace(r, metrics=replace(r.metrics, eer=eer))
        for r, eer in zip(runs, (0.01, 0.02, 0.06), strict=True)
    ]
    table = {row[0]: row[1:] for row in rows(metrics_table(group(runs)[0]))}
    assert table["EER ↓"] == ["3.00 % 1.00 % to 6.00 %"]


def test_overview_with_a_method_that_one_manifest_lacks(make_run):
    runs = [make_run(manifest="a"), make_run(manifest="b"), make_run(manifest="b", method="plda")]
    table = rows(overview_table(group(runs), ["m1", "m2"]))
    assert table[1] == ["cosine", "plda"] * 3
    assert [row[:4] for row in table[2:]] == [["a", "5", "20", "20"], ["b", "5", "20", "20"]]
    assert all(len(row) == 4 + 6 for row in table[2:])
    assert table[2][5::2] == ["", "", ""]
    assert "" not in table[3]


def test_decisions_with_the_surest_mistakes_first(make_run):
    run = make_run(known=60, unknown=60, sharpness=12.0)
    found = outcomes(run)
    assert {o.mark for o in found} == {"✗", "?", "✓"}
    table = [row for row in rows(decisions_table(run, 10**9, in_sight=True)) if row[0] != "Result"]
    assert len(table) == 120
    marks = [row[0][0] for row in table]
    assert marks == sorted(marks, key="✗?✓".index)
    missed = [float(row[5]) for row in table if row[0] == "✗ not recognised"]
    assert missed == sorted(missed, reverse=True)
    by_probe = {row[1]: row for row in table}
    for i, outcome in enumerate(found):
        row = by_probe[run.probes[i]]
        stranger = run.labels[i] < 0
        guess = run.decided[i] or "–"
        column = run.names.index(guess) if guess != "–" else len(run.names)
        two = np.sort(run.scores[i])[-2:]
        assert row == [
            f"{outcome.mark} {outcome.words}",
            run.probes[i],
            run.truth[i] + " stranger" * bool(stranger),
            guess + " best guess" * (run.statuses[i] == "unsure"),
            run.statuses[i],
            f"{run.probabilities[i, column]:.3f}",
            f"{two[1] - two[0]:.2f}",
            f"{run.seconds[i]:.1f} s",
            run.reasons[i],
        ]


def test_long_tables_collapse(make_run):
    few = decisions_table(make_run(known=5, unknown=5), 10**9, in_sight=True)
    assert "<details>" not in few
    many = decisions_table(make_run(known=50, unknown=50), 10**9, in_sight=True)
    shown, hidden = many.split("<details>")
    assert len(rows(shown)) == 1 + 12
    assert len(rows(hidden)) == 1 + 88
    assert "88 more decisions" in hidden
    assert decisions_table(make_run(), 10**9, in_sight=False).startswith("<details><summary>All 40 decisions")


def test_what_is_beyond_the_budget_is_counted(make_run):
    run = make_run(known=200, unknown=200)
    source = decisions_table(run, 20_000, in_sight=True)
    shown = len([row for row in rows(source) if row[0] != "Result"])
    assert 20 < shown < 400
    assert f"{400 - shown} more are left out" in source
    assert len(source.encode()) < 22_000
    assert len(rows(decisions_table(run, 0, in_sight=True))) == 2


def test_a_single_person_has_no_margin(make_run):
    table = rows(decisions_table(make_run(people=1, known=2, unknown=2), 10**9, in_sight=True))
    assert {row[6] for row in table[1:]} == {"–"}


def test_the_glossary_explains_every_measure():
    source = glossary()
    assert all(f"<dt>{m.name}</dt><dd>{m.meaning}</dd>" in source for m in MEASURES)
