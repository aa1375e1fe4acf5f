from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from openkith.report.figures import Curve, bars, det, histogram, percent, roc, score_groups, score_limits
from openkith.report.runs import group


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.00 %"),
        (0.00034, "0.03 %"),
        (0.0151, "1.51 %"),
        (0.1533, "15.3 %"),
        (1.0, "100.0 %"),
        (math.nan, "–"),
    ],
)
def test_percent(value, shown):
    assert percent(value) == shown


def test_bars_show_the_value_of_each_method(make_run):
    section = group([make_run(), make_run(method="auto", sharpness=20.0)])[0]
    svg = bars(section.methods, [0, 1], "k")
    for run in (m.first for m in section.methods):
        for value in (
            run.metrics.eer,
            run.metrics.detection_eer,
            1 - run.metrics.oscr,
            run.metrics.fnir_at_fpir_1,
        ):
            assert percent(value) in texts(svg)
    assert {"EER", "Known-vs-unknown EER", "1 − OSCR", "FNIR at FPIR 1 %"} <= set(texts(svg))


def test_bars_without_strangers_say_what_is_not_defined(make_run):
    section = group([make_run(unknown=0)])[0]
    assert texts(bars(section.methods, [0], "k")).count("not defined") == 3


def test_score_groups_by_hand(make_run):
    run = make_run(
        names=("a", "b", "c"),
        people=3,
        known=2,
        unknown=2,
        labels=np.array([1, 0, -1, -1]),
        scores=np.array([[1.0, 5, 2], [4, -3, -1], [0, 7, 1], [-9, -8, -7]]),
    )
    found = {g.role: g.scores.tolist() for g in score_groups(run)}
    assert found == {"right": [5, 4], "other": [2, -1], "stranger": [7, -7]}


def test_score_groups_that_do_not_occur_are_left_out(make_run):
    assert [g.role for g in score_groups(make_run(people=1))] == ["right", "stranger"]
    assert [g.role for g in score_groups(make_run(known=0))] == ["stranger"]
    assert [g.role for g in score_groups(make_run(unknown=0))] == ["right", "other"]


def test_limits_hold_threshold_and_finite_scores(make_run):
    run = make_run(threshold=90.0)
    scores = run.scores.copy()
    scores[0, 0] = -np.inf
    low, high = score_limits([make_run(scores=scores), run])
    assert -100 < low < np.quantile(run.scores.max(axis=1), 0.1)
    assert 90 < high < 100


def test_histogram_says_how_much_is_above_the_threshold(make_run):
    run = make_run()
    own = run.scores[np.arange(20), run.labels[:20]]
    svg = histogram(run, (-10.0, 10.0), "k")
    label = ElementTree.fromstring(svg).attrib["aria-label"]
    assert f"own speaker: 20 scores, median {np.median(own):.1f}, {percent(np.mean(own >= 0.6))}" in label
    assert "threshold 0.60" in texts(svg)


def _points(svg: str, role: str) -> np.ndarray:
    """Corners of the longest line in a colour, in pixels."""
    paths = [
        e.get("d")
        for e in ElementTree.fromstring(svg).iter("path")
        if f"stroke:var(--{role})" in e.get("style", "")
    ]
    numbers = max(paths, key=len).replace("M", " ").replace("L", " ").replace("z", " ").split()
    return np.array(numbers, dtype=float).reshape(-1, 2)


def test_roc_of_perfect_scores_goes_through_the_corner():
    curve = Curve("a", 1, np.array([3.0, 4, 5]), np.array([0.0, 1, 2]))
    points = _points(roc([curve], "", "k"), "series1")
    # From "accept nothing", bottom left, straight up, then right; pixels count downwards.
    left, right = points[:, 0].min(), points[:, 0].max()
    top, bottom = points[:, 1].min(), points[:, 1].max()
    assert points[0].tolist() == [left, bottom]
    assert points[-1].tolist() == [right, top]
    assert np.all((points[:, 0] == left) | (points[:, 1] == top))
    assert right - left > 300
    assert bottom - top > 200


def test_curves_with_many_points_are_thinned():
    rng = np.random.default_rng(0)
    curve = Curve("a", 1, rng.normal(2, 1, 200_000), rng.normal(0, 1, 200_000))
    assert len(roc([curve], "", "k")) < 40_000
    assert len(det([curve], "", "k")) < 40_000


def test_det_of_normal_scores_is_a_straight_line_on_the_diagonal_s_mirror():
    """With equal variances, the normal deviates of the two error rates add up to -d'."""
    rng = np.random.default_rng(1)
    curve = Curve("a", 1, rng.normal(2, 1, 100_000), rng.normal(0, 1, 100_000))
    points = _points(det([curve], "", "k"), "series1")
    inner = points[(points[:, 0] > 120) & (points[:, 0] < 300)]
    slope, offset = np.polyfit(*inner.T, 1)
    assert np.abs(np.polyval([slope, offset], inner[:, 0]) - inner[:, 1]).max() < 4.0
    assert slope > 0  # pixels count downwards


def test_det_ticks_reach_further_for_a_system_that_guesses():
    rng = np.random.default_rng(2)
    good = Curve("a", 1, rng.normal(3, 1, 500), rng.normal(0, 1, 500))
    guess = Curve("b", 1, rng.normal(0, 1, 500), rng.normal(0, 1, 500))
    assert "95 %" not in texts(det([good], "", "k"))
    assert "95 %" in texts(det([guess], "", "k"))
