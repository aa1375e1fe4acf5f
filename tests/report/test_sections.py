from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from openkith.metrics import auroc, detection_scores, eer
from openkith.report.figures import percent
from openkith.report.runs import group, outcomes
from openkith.report.sections import headline, section_html


@pytest.mark.parametrize(
    ("known", "unknown", "sentence"),
    [
        (1, 0, "Of 1 clip of people you enrolled, 1 was named rightly and 0 wrongly."),
        (0, 2, "Of 2 clips of strangers, 2 were refused and 0 given a name."),
        (
            2,
            1,
            "Of 2 clips of people you enrolled, 2 were named rightly and 0 wrongly; "
            "of 1 clip of strangers, 1 was refused and 0 given a name.",
        ),
    ],
)
def test_headline_grammar(make_run, known, unknown, sentence):
    names = ("ann", "bob")
    run = make_run(
        names=names,
        people=2,
        known=known,
        unknown=unknown,
        statuses=("known",) * known + ("unknown",) * unknown,
        decided=names[:known] + (None,) * unknown,
    )
    assert headline(run, Counter(outcomes(run))) == sentence


def test_strips_say_in_words_what_they_show(make_run, parse):
    run = make_run(known=30, unknown=30)
    page = parse(section_html(group([run])[0], "m1", 10**6))
    assert page.faults == []
    counts = Counter(outcome.words for outcome in outcomes(run))
    assert f"{counts['right name']} named rightly" in page.text
    assert f"{counts['stranger refused']} refused" in page.text
    widths = [int(i["style"].removeprefix("flex-grow:")) for i in page.all("i")]
    assert sum(widths) == 60
    assert 0 not in widths


def test_captions_name_areas_and_equal_error_rates(make_run, parse):
    run = make_run(method="auto", chosen="plda")
    page = parse(section_html(group([run])[0], "m1", 10**6))
    scores = detection_scores(run.scores, run.labels)
    assert f"Areas: {auroc(*scores):.4f} auto (plda)." in page.text
    assert f"EER {percent(eer(*scores))} auto (plda)." in page.text


def test_the_baseline_is_quiet_only_beside_others(make_run):
    def colours(*methods: str) -> list[bool]:
        source = section_html(group([make_run(method=m) for m in methods])[0], "m1", 10**6)
        return [f"--series{i}" in source for i in range(5)]

    assert colours("cosine") == [False, True, False, False, False]
    assert colours("cosine", "auto") == [True, True, False, False, False]
    assert colours("auto", "plda") == [False, True, True, False, False]
    assert colours("cosine", "a", "b", "c", "d", "e", "auto") == [True] * 5


def test_wide_matrices_have_a_row_of_the_page_each(make_run):
    def stacked(people: int) -> bool:
        source = section_html(group([make_run(people=people)])[0], "m1", 10**6)
        return '<div class="stack"><figure' in source

    assert not stacked(10)
    assert stacked(15)


def test_false_accept_rates_are_written_plainly(make_run):
    for far, shown in ((0.01, "1 %"), (0.001, "0.1 %"), (np.float64(0.05), "5 %")):
        source = section_html(group([make_run(far=far)])[0], "m1", 10**6)
        assert f"at most {shown} of strangers pass" in source
