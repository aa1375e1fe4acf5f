from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from openkith.errors import InputError
from openkith.metrics import auin, auout, auroc, detection_accuracy, tnr_at_tpr

SCORE = st.integers(-4, 4) | st.sampled_from([-math.inf, math.inf])
TIED = st.lists(SCORE, min_size=1, max_size=12)
METRICS = [auroc, tnr_at_tpr, detection_accuracy, auin, auout]


class TestAuroc:
    def test_by_hand(self):
        # 2 > 1, 2 > 0, 1 > 0, and 1 = 1 counts half: 3.5 of 4 pairs.
        assert auroc([2, 1], [1, 0]) == 0.875

    @pytest.mark.parametrize(
        ("targets", "nontargets", "expected"),
        [([1], [0, -math.inf], 1.0), ([0], [1, math.inf], 0.0), ([3, 3], [3], 0.5)],
    )
    def test_perfect_inverted_constant(self, targets, nontargets, expected):
        assert auroc(targets, nontargets) == expected

    @given(TIED, TIED)
    def test_is_the_share_of_ordered_pairs(self, targets, nontargets):
        pairs = [(t > n) + (t == n) / 2 for t in targets for n in nontargets]
        assert auroc(targets, nontargets) == sum(pairs) / len(pairs)

    @given(TIED, TIED)
    def test_swapping_the_sides_is_the_complement(self, targets, nontargets):
        assert auroc(nontargets, targets) == pytest.approx(1 - auroc(targets, nontargets), abs=1e-15)

    def test_agrees_with_scikit_learn(self):
        rng = np.random.default_rng(0)
        targets, nontargets = rng.normal(1, 1, 500).round(1), rng.normal(0, 1, 800).round(1)
        expected = roc_auc_score(np.r_[np.ones(500), np.zeros(800)], np.r_[targets, nontargets])
        assert auroc(targets, nontargets) == pytest.approx(expected, abs=1e-12)


class TestTnrAtTpr:
    def test_by_hand(self):
        # 20 targets 1..20: 19 of them (95 %) are >= 2; of the nontargets 0, 1.5 and 1 are below 2.
        targets = list(range(1, 21))
        assert tnr_at_tpr(targets, [0, 1.5, 1, 2]) == 0.75
        # All 20 must pass: threshold 1; only 0 is below.
        assert tnr_at_tpr(targets, [0, 1.5, 1, 2], 1.0) == 0.25
        assert tnr_at_tpr(targets, [0, 1.5, 1, 2], 0.96) == 0.25
        assert tnr_at_tpr(targets, [0, 1.5, 1, 2], 0.0) == 1.0

    def test_tied_targets_pass_together(self):
        # Threshold 1 is the first that accepts 95 %, and it accepts the nontarget at 1 too.
        assert tnr_at_tpr([1, 1, 1, 5], [1, 0]) == 0.5

    def test_unaffected_by_nontargets_below_or_between(self):
        # Threshold: the target at 2; a nontarget at 2.5 does not lift it, one at 2 is accepted.
        assert tnr_at_tpr([2, 3], [2.5, 2, 1, 0]) == 0.5

    @given(TIED, TIED, st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.95, 1.0]))
    def test_agrees_with_a_search(self, targets, nontargets, tpr):
        found = [1.0] if tpr == 0 else []
        for t in sorted({*targets, *nontargets}):
            if sum(s >= t for s in targets) / len(targets) >= tpr:
                found.append(sum(s < t for s in nontargets) / len(nontargets))
        assert tnr_at_tpr(targets, nontargets, tpr) == max(found)

    @pytest.mark.parametrize("tpr", [-0.1, 95, math.nan])
    def test_bad_share(self, tpr):
        with pytest.raises(InputError, match=r"^tpr: .* is not a share"):
            tnr_at_tpr([1.0], [0.0], tpr)


class TestDetectionAccuracy:
    def test_by_hand(self):
        # >= 3: TPR 2/3, TNR 1; >= 1: TPR 1, TNR 1/2. Means 5/6 and 3/4.
        assert detection_accuracy([4, 3, 1], [2, 0]) == pytest.approx(5 / 6)
        # Tied at 1: >= 2: (1/2 + 1) / 2; >= 1: (1 + 1/2) / 2.
        assert detection_accuracy([2, 1], [1, 0]) == 0.75

    def test_never_below_one_half(self):
        assert detection_accuracy([0], [1]) == 0.5
        assert detection_accuracy([1, 2], [0]) == 1.0

    @given(TIED, TIED)
    def test_agrees_with_a_search(self, targets, nontargets):
        best = 0.5
        for t in {*targets, *nontargets}:
            tpr = sum(s >= t for s in targets) / len(targets)
            best = max(best, (tpr + sum(s < t for s in nontargets) / len(nontargets)) / 2)
        assert detection_accuracy(targets, nontargets) == pytest.approx(best)


class TestPrecisionRecall:
    def test_auin_by_hand(self):
        # >= 4, >= 3: precision 1, recall 2/3; >= 2 adds a false alarm; >= 1: recall 1, precision 3/4.
        assert auin([4, 3, 1], [2, 0]) == pytest.approx(2 / 3 + 1 / 3 * 3 / 4)

    def test_auout_by_hand(self):
        # From below: 0 is unknown: recall 1/2, precision 1; 1 is not; 2: recall 1, precision 2/3.
        assert auout([4, 3, 1], [2, 0]) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)

    def test_ties_by_hand(self):
        # Known: 2 alone (1/2 x 1), then both at 1 (1/2 x 2/3); unknown by symmetry the same.
        assert auin([2, 1], [1, 0]) == pytest.approx(5 / 6)
        assert auout([2, 1], [1, 0]) == pytest.approx(5 / 6)

    def test_constant_score_gives_the_share(self):
        assert auin([1, 1, 1], [1]) == 0.75
        assert auout([1, 1, 1], [1]) == 0.25

    def test_perfect(self):
        assert auin([1], [0]) == auout([1], [0]) == 1.0

    @given(
        st.lists(st.integers(-4, 4), min_size=1, max_size=12),
        st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    )
    def test_agree_with_average_precision_of_scikit_learn(self, targets, nontargets):
        y, scores = np.r_[np.ones(len(targets)), np.zeros(len(nontargets))], np.r_[targets, nontargets]
        assert auin(targets, nontargets) == pytest.approx(average_precision_score(y, scores))
        assert auout(targets, nontargets) == pytest.approx(average_precision_score(1 - y, -scores))

    @given(TIED, TIED)
    def test_one_is_the_other_with_sides_swapped_and_scores_negated(self, targets, nontargets):
        swapped = [-s for s in nontargets], [-s for s in targets]
        assert auout(targets, nontargets) == pytest.approx(auin(*swapped))


@given(TIED, TIED, st.randoms(use_true_random=False))
def test_order_rank_and_bounds(targets, nontargets, random):
    shuffled = random.sample(targets, len(targets)), random.sample(nontargets, len(nontargets))
    stretched = [2 * s**3 + 1 for s in targets], [2 * s**3 + 1 for s in nontargets]
    for metric in METRICS:
        value = metric(targets, nontargets)
        assert 0.0 <= value <= 1.0 + 1e-12
        assert metric(*shuffled) == value
        assert metric(*stretched) == value


@pytest.mark.parametrize("metric", METRICS)
def test_refusals(metric):
    with pytest.raises(InputError, match=r"^targets: no values"):
        metric([], [1.0])
    with pytest.raises(InputError, match=r"^nontargets: NaN at index \[1\]"):
        metric([1.0], [1.0, math.nan])
