from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import det_curve, roc_curve

from openkith.errors import InputError
from openkith.metrics import actual_dcf, cllr, det_points, eer, min_cllr, min_dcf, roc_points

# Few distinct values: ties within and across the two sides in almost every example.
TIED = st.lists(st.integers(-4, 4), min_size=1, max_size=12)
LLRS = st.lists(st.floats(-30, 30) | st.sampled_from([-math.inf, math.inf, 0.0]), min_size=1, max_size=12)
PRIOR = st.floats(0.01, 0.99)


def operating_points(targets, nontargets):
    """(FPR, FNR) as fractions, counted anew at every threshold, strictest first."""
    points = []
    for t in [math.inf, *sorted({*targets, *nontargets}, reverse=True)]:
        nothing = t == math.inf and not points
        fa = 0 if nothing else sum(s >= t for s in nontargets)
        miss = len(targets) if nothing else sum(s < t for s in targets)
        points.append((Fraction(fa, len(nontargets)), Fraction(miss, len(targets))))
    return points


def slow_eer(targets, nontargets):
    points = operating_points(targets, nontargets)
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 >= y1:  # on the segment: x0 + a (x1 - x0) = y0 + a (y1 - y0)
            a = (y0 - x0) / ((x1 - x0) - (y1 - y0))
            return x0 + a * (x1 - x0)
    raise AssertionError("the curve always crosses")


def slow_min_dcf(targets, nontargets, p, c_miss, c_fa):
    costs = [
        p * c_miss * float(y) + (1 - p) * c_fa * float(x) for x, y in operating_points(targets, nontargets)
    ]
    return min(costs) / min(p * c_miss, (1 - p) * c_fa)


def slow_min_cllr(targets, nontargets):
    """Isotonic regression of every single trial by scikit-learn, then Cllr of the ratios that it implies."""
    y = np.r_[np.ones(len(targets)), np.zeros(len(nontargets))]
    p = IsotonicRegression().fit_transform(np.r_[targets, nontargets].astype(float), y)
    odds = len(targets) / len(nontargets)
    cost_t = [math.log2(1 + (1 - q) / q * odds) for q in p[: len(targets)]]
    cost_n = [0.0 if q < 1e-12 else math.log2(1 + q / (1 - q) / odds) for q in p[len(targets) :]]
    return (np.mean(cost_t) + np.mean(cost_n)) / 2


class TestEer:
    def test_on_a_step(self):
        # >= 3: FNR 1/3, FPR 0; >= 2: FNR 1/3, FPR 1/2. The step at FNR 1/3 is crossed at FPR 1/3.
        assert eer([4, 3, 1], [2, 0]) == 1 / 3

    def test_on_a_slope_of_tied_scores(self):
        # >= 2: (FPR 0, FNR 1/2); >= 1, both at once: (1/2, 0). The line between meets FPR = FNR at 1/4.
        assert eer([2, 1], [1, 0]) == 0.25

    def test_on_a_slope_of_unequal_counts(self):
        # Nothing: (0, 1); >= 5: FPR 1/4, FNR 1/3; >= 2 (2 nontargets, 1 target): FPR 3/4, FNR 0.
        # From (1/4, 1/3) to (3/4, 0): 1/4 + a/2 = 1/3 - a/3, a = 1/10: 3/10.
        assert eer([5, 5, 2], [5, 2, 2, 1]) == 0.3

    @pytest.mark.parametrize(
        ("targets", "nontargets", "expected"),
        [([1, 2], [0, -1], 0.0), ([0, -1], [1, 2], 1.0), ([7, 7], [7], 0.5), ([math.inf], [-math.inf], 0.0)],
    )
    def test_perfect_inverted_constant_infinite(self, targets, nontargets, expected):
        assert eer(targets, nontargets) == expected

    def test_not_the_convex_hull(self):
        # Curve (0,1) (0,1/2) (1/2,1/2) (1/2,0) (1,0) crosses at 1/2; its hull, (0,1/2) to (1/2,0), at 1/4.
        assert eer([3, 1], [2, 0]) == 0.5

    @given(TIED, TIED)
    def test_agrees_with_a_slow_count_in_fractions(self, targets, nontargets):
        assert eer(targets, nontargets) == float(slow_eer(targets, nontargets))

    @given(TIED, TIED)
    def test_same_with_sides_swapped_and_scores_negated(self, targets, nontargets):
        assert eer([-s for s in nontargets], [-s for s in targets]) == eer(targets, nontargets)

    def test_between_the_points_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        targets, nontargets = rng.normal(1, 1, 400), rng.normal(0, 1, 700)
        fpr, tpr, _ = roc_curve(np.r_[np.ones(400), np.zeros(700)], np.r_[targets, nontargets])
        at = np.argmin(np.abs(fpr - (1 - tpr)))
        assert eer(targets, nontargets) == pytest.approx((fpr[at] + 1 - tpr[at]) / 2, abs=1 / 400)


class TestDcf:
    @pytest.mark.parametrize(
        ("p", "expected"),
        [
            # FNR + FPR: >= 1: 0 + 1/2; >= 3: 1/3 + 0.
            (0.5, 1 / 3),
            # FNR + 9 FPR: >= 3: 1/3; >= 1: 9/2.
            (0.1, 1 / 3),
            # 9 FNR + FPR: >= 3: 3; >= 1: 1/2.
            (0.9, 0.5),
        ],
    )
    def test_minimum_by_hand(self, p, expected):
        assert min_dcf([4, 3, 1], [2, 0], p) == pytest.approx(expected)

    def test_costs(self):
        # p = .5, c_miss 10, c_fa 1: (10 FNR + FPR) / 1: >= 1: 1/2.
        assert min_dcf([4, 3, 1], [2, 0], 0.5, 10, 1) == pytest.approx(0.5)

    def test_useless_scores_cost_one(self):
        assert min_dcf([0, 0], [0, 0, 0]) == 1.0
        assert min_dcf([0], [1]) == 1.0

    def test_actual_by_hand(self):
        # Threshold ln 9: one of two targets missed, one of four nontargets accepted:
        # (.1 x .5 + .9 x .25) / .1 = 2.75.
        llr_targets = np.log([10, 2])
        llr_nontargets = np.log([20, 5, 1, 0.1])
        assert actual_dcf(llr_targets, llr_nontargets) == pytest.approx(2.75)

    def test_actual_accepts_at_the_threshold(self):
        # p = .5: threshold 0. Both zeros are accepted: FNR 0, FPR 1/4, hence .125 / .5. Refused: 1.
        assert actual_dcf([0.0], [0.0, -1.0, -2.0, -3.0], 0.5) == pytest.approx(0.25)

    def test_actual_with_certain_ratios(self):
        assert actual_dcf([math.inf], [-math.inf]) == 0.0
        # Every nontarget accepted, every target missed: (.1 + .9) / .1.
        assert actual_dcf([-math.inf], [math.inf]) == pytest.approx(10.0)

    @given(TIED, TIED, PRIOR, st.floats(0.1, 10), st.floats(0.1, 10))
    def test_minimum_agrees_with_all_thresholds(self, targets, nontargets, p, c_miss, c_fa):
        expected = slow_min_dcf(targets, nontargets, p, c_miss, c_fa)
        assert min_dcf(targets, nontargets, p, c_miss, c_fa) == pytest.approx(expected)

    @given(LLRS, LLRS, PRIOR)
    def test_actual_is_no_less_than_the_minimum(self, targets, nontargets, p):
        assert 0.0 <= min_dcf(targets, nontargets, p) <= 1.0
        assert actual_dcf(targets, nontargets, p) >= min_dcf(targets, nontargets, p)

    @given(LLRS, LLRS, PRIOR)
    def test_actual_agrees_with_a_count(self, targets, nontargets, p):
        threshold = math.log((1 - p) / p)
        if any(abs(s - threshold) < 1e-9 for s in [*targets, *nontargets]):
            return
        fnr = sum(s < threshold for s in targets) / len(targets)
        fpr = sum(s > threshold for s in nontargets) / len(nontargets)
        assert actual_dcf(targets, nontargets, p) == pytest.approx((p * fnr + (1 - p) * fpr) / min(p, 1 - p))

    @pytest.mark.parametrize("metric", [min_dcf, actual_dcf])
    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"p_target": 0.0}, "p_target: 0.0"),
            ({"p_target": 1.0}, "p_target: 1.0"),
            ({"p_target": math.nan}, "p_target: nan"),
            ({"c_miss": 0.0}, "c_miss: 0.0"),
            ({"c_fa": -1.0}, "c_fa: -1.0"),
            ({"c_fa": math.inf}, "c_fa: inf"),
        ],
    )
    def test_bad_operating_point(self, metric, options, named):
        with pytest.raises(InputError, match=named):
            metric([1.0], [0.0], **options)


class TestCllr:
    def test_by_hand(self):
        # log2(1 + 1/3) for the target, log2(1 + 1/7) for the nontarget, halved.
        expected = (math.log2(4 / 3) + math.log2(8 / 7)) / 2
        assert cllr([math.log(3)], [-math.log(7)]) == pytest.approx(expected)

    def test_scales(self):
        assert cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)  # says nothing: one bit
        assert cllr([math.inf], [-math.inf]) == 0.0
        assert cllr([1.0], [1.0, math.inf]) == math.inf
        assert cllr([-math.inf, 3.0], [1.0]) == math.inf
        assert cllr([1000.0], [2000.0]) == pytest.approx(1000 / math.log(2))  # no overflow

    def test_minimum_by_hand(self):
        # From below n t n t: blocks {n}, {t n}, {t}; only the middle one costs: log2(2) for one of two each.
        assert min_cllr([3, 1], [2, 0]) == pytest.approx(0.5)

    def test_minimum_with_a_tie_and_a_prior(self):
        # Blocks {n} and, tied, {t n}: ratio (1/1) / (1/2) = 2, hence log2(1 + 1/2) for the target
        # and log2(1 + 2) for one of the two nontargets.
        expected = (math.log2(1.5) + math.log2(3) / 2) / 2
        assert min_cllr([1], [1, 0]) == pytest.approx(expected)

    def test_minimum_of_perfect_and_useless_scores(self):
        assert min_cllr([2, 3], [0, 1]) == 0.0
        assert min_cllr([5, 5, 5], [5]) == pytest.approx(1.0)
        assert min_cllr([0], [1, 2]) == pytest.approx(1.0)  # inverted: one block, which says nothing

    @given(TIED, TIED)
    def test_minimum_agrees_with_scikit_learn_on_single_trials(self, targets, nontargets):
        assert min_cllr(targets, nontargets) == pytest.approx(slow_min_cllr(targets, nontargets), abs=1e-9)

    @given(LLRS, LLRS)
    def test_minimum_is_no_more_than_the_cost(self, targets, nontargets):
        assert -1e-12 <= min_cllr(targets, nontargets) <= min(1.0, cllr(targets, nontargets)) + 1e-9

    @given(LLRS, LLRS)
    def test_same_with_sides_swapped_and_ratios_negated(self, targets, nontargets):
        swapped = [-s for s in nontargets], [-s for s in targets]
        assert cllr(*swapped) == pytest.approx(cllr(targets, nontargets))
        assert min_cllr(*swapped) == pytest.approx(min_cllr(targets, nontargets), abs=1e-12)

    def test_large_sample_agrees_with_the_formula(self):
        rng = np.random.default_rng(1)
        targets, nontargets = rng.normal(2, 2, 5000), rng.normal(-2, 2, 9000)
        expected = np.log2(1 + np.exp(-targets)).mean() / 2 + np.log2(1 + np.exp(nontargets)).mean() / 2
        assert cllr(targets, nontargets) == pytest.approx(expected)
        assert min_cllr(targets, nontargets) == pytest.approx(slow_min_cllr(targets, nontargets))
        assert min_cllr(targets, nontargets) < cllr(targets, nontargets)


class TestPoints:
    def test_roc_by_hand(self):
        fpr, tpr, thresholds = roc_points([2, 1], [1, 0])
        assert thresholds.tolist() == [math.inf, 2, 1, 0]
        assert fpr.tolist() == [0, 0, 0.5, 1]
        assert tpr.tolist() == [0, 0.5, 1, 1]

    def test_det_by_hand(self):
        points = det_points([2, 1], [1, 0])
        assert points.thresholds.tolist() == [math.inf, 2, 1, 0]
        assert points.fpr.tolist() == [0, 0, 0.5, 1]
        assert points.fnr.tolist() == [1, 0.5, 0, 0]

    @given(TIED, TIED)
    def test_agree_with_scikit_learn(self, targets, nontargets):
        y, scores = np.r_[np.ones(len(targets)), np.zeros(len(nontargets))], np.r_[targets, nontargets]
        for ours, theirs in zip(
            roc_points(targets, nontargets), roc_curve(y, scores, drop_intermediate=False), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-15)

    def test_det_agrees_with_scikit_learn(self):
        rng = np.random.default_rng(2)
        targets, nontargets = rng.normal(1, 1, 60).round(1), rng.normal(0, 1, 90).round(1)
        theirs = det_curve(np.r_[np.ones(60), np.zeros(90)], np.r_[targets, nontargets])
        ours = det_points(targets, nontargets)
        points = {(x, round(y, 12)) for x, y in zip(ours.fpr.tolist(), ours.fnr.tolist(), strict=True)}
        # Theirs leaves out the ends where one rate stays what it is.
        assert {
            (x, round(y, 12)) for x, y in zip(theirs[0].tolist(), theirs[1].tolist(), strict=True)
        } <= points


METRICS = [eer, min_dcf, actual_dcf, cllr, min_cllr]


@given(TIED, TIED, st.randoms(use_true_random=False))
def test_the_order_of_scores_changes_no_bit(targets, nontargets, random):
    shuffled = random.sample(targets, len(targets)), random.sample(nontargets, len(nontargets))
    for metric in METRICS:
        assert metric(*shuffled) == metric(targets, nontargets)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_many_floats_changes_no_bit(metric):
    rng = np.random.default_rng(3)
    targets, nontargets = rng.normal(1, 1, 5000).round(2), rng.normal(0, 1, 7000).round(2)
    shuffled = rng.permutation(targets), rng.permutation(nontargets)
    assert metric(*shuffled) == metric(targets, nontargets)


@given(TIED, TIED)
def test_only_the_order_matters_to_rank_metrics(targets, nontargets):
    def rise(scores):
        return [math.exp(s) + s**3 for s in scores]

    for metric in (eer, min_dcf, min_cllr):
        assert metric(rise(targets), rise(nontargets)) == metric(targets, nontargets)


@pytest.mark.parametrize("metric", [*METRICS, roc_points, det_points])
class TestRefusals:
    @pytest.mark.parametrize(
        ("targets", "nontargets", "named"),
        [
            ([], [1.0], "targets: no values"),
            ([1.0], [], "nontargets: no values"),
            ([1.0, math.nan], [1.0], r"targets: NaN at index \[1\]"),
            ([1.0], [math.nan], r"nontargets: NaN at index \[0\]"),
            ([[1.0]], [1.0], r"targets: shape \(1, 1\)"),
            ([1.0], 2.0, r"nontargets: shape \(\)"),
            (["a"], [1.0], "targets: dtype"),
            ([None], [1.0], "targets: dtype object"),
            ([1.0], [1j], "nontargets: dtype complex"),
            ([[1.0], [1.0, 2.0]], [1.0], "targets: not an array"),
        ],
    )
    def test_unusable_scores(self, metric, targets, nontargets, named):
        with pytest.raises(InputError, match=f"^{named}"):
            metric(targets, nontargets)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8"])
def test_every_number_type(dtype):
    targets, nontargets = np.array([5, 5, 2], dtype), np.array([5, 2, 2, 1], dtype)
    assert eer(targets, nontargets) == 0.3


def test_inputs_are_left_as_they_were():
    targets, nontargets = np.array([1.0, 3.0, 2.0]), np.array([2.0, 0.0])
    for metric in METRICS:
        metric(targets, nontargets)
    assert targets.tolist() == [1, 3, 2]
    assert nontargets.tolist() == [2, 0]


def test_import_is_light():
    code = (
        "import sys, openkith.metrics; print({'torch', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
