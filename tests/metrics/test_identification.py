from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkith.errors import InputError
from openkith.metrics import (
    auroc,
    closed_set_accuracy,
    detection_scores,
    fnir_at_fpir,
    oscr,
    oscr_curve,
    trial_scores,
)

# Three speakers. Probes: 0 and 1 rightly named at 9 and 6, 2 wrongly (own 4, best 7), 3 rightly at 3;
# strangers whose best scores are 6 (a tie with probe 1), 2 and 1.
SCORES = np.array([[9, 1, 0], [2, 6, 5], [7, 0, 4], [1, 1, 3], [6, 0, 0], [1, 2, 0], [0, 1, 1]], dtype=float)
LABELS = np.array([0, 1, 2, 2, -1, -1, -1])


@st.composite
def experiments(draw):
    """Scores with many ties, and labels with at least one known and one unknown probe."""
    n, c = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    value = st.integers(-2, 3) | st.just(-math.inf)
    scores = draw(st.lists(st.lists(value, min_size=c, max_size=c), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(-1, c - 1), min_size=n, max_size=n))
    labels[0], labels[1] = -1, draw(st.integers(0, c - 1))
    return np.array(scores, dtype=float), np.array(labels)


def named(row, label):
    """The own speaker's score is above every other's."""
    return label >= 0 and all(row[label] > s for k, s in enumerate(row) if k != label)


def rates(scores, labels, threshold):
    """(CCR, FPR) at a threshold by counting probe by probe."""
    correct = false = 0
    for row, label in zip(scores, labels, strict=True):
        if label >= 0 and named(row, label) and max(row) >= threshold:
            correct += 1
        if label < 0 and max(row) >= threshold:
            false += 1
    return correct / sum(labels >= 0), false / sum(labels < 0)


def two_loop_oscr(scores, labels):
    """The definition: a loop over thresholds, in it one over probes, and trapezoids between."""
    area, ccr0, fpr0 = 0.0, 0.0, 0.0
    for threshold in sorted({max(row) for row in scores.tolist()}, reverse=True):
        ccr, fpr = rates(scores, labels, threshold)
        area += (fpr - fpr0) * (ccr + ccr0) / 2
        ccr0, fpr0 = ccr, fpr
    return area


def slow_fnir(scores, labels, fpir):
    best = 1.0
    for threshold in scores.ravel():
        ccr, fpr = rates(scores, labels, threshold)
        if fpr <= fpir:
            best = min(best, 1 - ccr)
    return best


class TestOscr:
    def test_by_hand(self):
        # Rightly named at 9, 6, 3 of four known; strangers at 6, 2, 1. Pairs won: 9 beats 3, 6 beats 2 and
        # ties with one (half), 3 beats 2: 3 + 2.5 + 2 = 7.5 of 12.
        assert oscr(SCORES, LABELS) == 7.5 / 12

    def test_curve_by_hand(self):
        curve = oscr_curve(SCORES, LABELS)
        assert curve.thresholds.tolist() == [math.inf, 9, 6, 3, 2, 1]
        assert curve.ccr.tolist() == [0, 0.25, 0.5, 0.75, 0.75, 0.75]
        np.testing.assert_allclose(curve.fpr, [0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
        area = np.sum(np.diff(curve.fpr) * (curve.ccr[1:] + curve.ccr[:-1]) / 2)
        assert area == pytest.approx(oscr(SCORES, LABELS))

    def test_of_one_speaker_is_auroc(self):
        rng = np.random.default_rng(0)
        scores = rng.normal(size=(50, 1)).round(1)
        labels = np.repeat([0, -1], 25)
        assert oscr(scores, labels) == auroc(scores[:25, 0], scores[25:, 0])

    def test_nobody_named_rightly(self):
        assert oscr([[0.0, 1.0], [0.0, 0.0]], [0, -1]) == 0.0

    @given(experiments())
    def test_agrees_with_the_two_loop_definition(self, experiment):
        assert oscr(*experiment) == pytest.approx(two_loop_oscr(*experiment), abs=1e-12)

    def test_agrees_with_the_two_loop_definition_on_floats(self):
        rng = np.random.default_rng(1)
        labels = rng.integers(-1, 5, 300)
        scores = rng.normal(size=(300, 5))
        scores[labels >= 0, labels[labels >= 0]] += 1.5
        assert 0.2 < oscr(scores, labels) < 0.9
        assert oscr(scores, labels) == pytest.approx(two_loop_oscr(scores, labels), abs=1e-12)

    @given(experiments())
    def test_no_more_than_accuracy(self, experiment):
        assert 0.0 <= oscr(*experiment) <= closed_set_accuracy(*experiment)


class TestClosedSetAccuracy:
    def test_by_hand(self):
        assert closed_set_accuracy(SCORES, LABELS) == 0.75

    def test_a_tie_names_nobody(self):
        # Whether the own column comes first or last; with infinite scores too.
        tied = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-math.inf] * 3, [0.0, 2.0, 1.0]]
        assert closed_set_accuracy(tied, [0, 2, 1, 1]) == 0.25

    def test_needs_no_unknown_probe(self):
        assert closed_set_accuracy([[1.0, 0.0]], [0]) == 1.0

    @given(experiments())
    def test_agrees_with_a_count(self, experiment):
        scores, labels = experiment
        expected = [named(row, label) for row, label in zip(scores, labels, strict=True) if label >= 0]
        assert closed_set_accuracy(scores, labels) == np.mean(expected)


class TestFnirAtFpir:
    def test_by_hand(self):
        # No stranger named: above 6, where only probe 0 is left: 3 of 4 lost.
        assert fnir_at_fpir(SCORES, LABELS, 0.0) == 0.75
        assert fnir_at_fpir(SCORES, LABELS) == 0.75
        # One of three: at 3, where probes 0, 1 and 3 are named: 1 of 4 lost.
        assert fnir_at_fpir(SCORES, LABELS, 1 / 3) == 0.25
        assert fnir_at_fpir(SCORES, LABELS, 1.0) == 0.25

    def test_exactly_at_the_rate(self):
        # 100 strangers at 1..100: one of them may get a name at 1 % (above 99), ten at 10 % (above 90).
        strangers = np.arange(1.0, 101.0)[:, None]
        known = np.array([[99.5], [98.5], [90.5], [90.0]])
        scores, labels = np.vstack([known, strangers]), np.r_[np.zeros(4, int), -np.ones(100, int)]
        assert fnir_at_fpir(scores, labels, 0.01) == 0.75
        assert fnir_at_fpir(scores, labels, 0.10) == 0.25

    @given(experiments(), st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0]))
    def test_agrees_with_a_search(self, experiment, fpir):
        assert fnir_at_fpir(*experiment, fpir) == pytest.approx(slow_fnir(*experiment, fpir))

    @pytest.mark.parametrize("fpir", [-0.01, 1.5, math.nan])
    def test_bad_share(self, fpir):
        with pytest.raises(InputError, match=r"^fpir: .* is not a share"):
            fnir_at_fpir(SCORES, LABELS, fpir)


def test_trial_scores_by_hand():
    targets, nontargets = trial_scores(SCORES, LABELS)
    assert targets.tolist() == [9, 6, 4, 3]
    # Row by row, all but the own column.
    assert nontargets.tolist() == [1, 0, 2, 5, 7, 0, 1, 1, 6, 0, 0, 1, 2, 0, 0, 1, 1]


def test_detection_scores_by_hand():
    known, unknown = detection_scores(SCORES, LABELS)
    assert known.tolist() == [9, 6, 7, 3]
    assert unknown.tolist() == [6, 2, 1]


def test_a_missing_kind_of_probe_leaves_its_side_empty():
    targets, nontargets = trial_scores([[1.0]], [0])
    assert (targets.tolist(), nontargets.tolist()) == ([1.0], [])
    known, unknown = detection_scores([[1.0, 2.0]], [-1])
    assert (known.tolist(), unknown.tolist()) == ([], [2.0])


METRICS = [oscr, closed_set_accuracy, fnir_at_fpir]


@given(experiments(), st.randoms(use_true_random=False))
def test_the_order_of_probes_and_of_speakers_changes_no_bit(experiment, random):
    scores, labels = experiment
    rows = random.sample(range(len(labels)), len(labels))
    columns = random.sample(range(scores.shape[1]), scores.shape[1])
    moved = np.array([-1 if k < 0 else columns.index(k) for k in labels.tolist()])
    for metric in METRICS:
        assert metric(scores[rows][:, columns], moved[rows]) == metric(scores, labels)


@given(experiments())
def test_only_the_order_of_scores_matters(experiment):
    scores, labels = experiment
    for metric in METRICS:
        assert metric(2 * scores**3 + 1, labels) == metric(scores, labels)


@pytest.mark.parametrize("metric", [*METRICS, oscr_curve, trial_scores, detection_scores])
class TestRefusals:
    @pytest.mark.parametrize(
        ("scores", "labels", "message"),
        [
            ([1.0, 2.0], [0, -1], r"scores: shape \(2,\)"),
            (np.empty((0, 3)), [], r"scores: no values \(shape \(0, 3\)\)"),
            (np.empty((2, 0)), [-1, -1], r"scores: no values \(shape \(2, 0\)\)"),
            ([[1.0, math.nan]], [0], r"scores: NaN at index \[0, 1\]"),
            ([[1.0], [1.0, 2.0]], [0, -1], "scores: not an array"),
            ([[1.0], [2.0]], [0], r"labels: shape \(1,\); scores have 2 probes"),
            ([[1.0], [2.0]], [0, 1], "labels: 1 at probe 1; give 0 to 0"),
            ([[1.0], [2.0]], [0, -2], "labels: -2 at probe 1"),
            ([[1.0], [2.0]], [0.0, -1.0], "labels: dtype float64"),
            ([[1.0], [2.0]], [True, False], "labels: dtype bool"),
        ],
    )
    def test_unusable_input(self, metric, scores, labels, message):
        with pytest.raises(InputError, match=f"^{message}"):
            metric(scores, labels)


@pytest.mark.parametrize("metric", [oscr, oscr_curve, fnir_at_fpir])
def test_no_unknown_probe(metric):
    with pytest.raises(InputError, match="no unknown probe"):
        metric([[1.0, 0.0]], [0])


@pytest.mark.parametrize("metric", [*METRICS, oscr_curve])
def test_no_known_probe(metric):
    with pytest.raises(InputError, match="no known probe"):
        metric([[1.0, 0.0]], [-1])


def test_unsigned_labels():
    assert closed_set_accuracy(SCORES[:4], LABELS[:4].astype(np.uint8)) == 0.75
