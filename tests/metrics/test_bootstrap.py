from __future__ import annotations

import math

import numpy as np
import pytest

from openkith.errors import InputError
from openkith.metrics import bootstrap_interval, closed_set_accuracy, eer, oscr


def mean_of_first(first, _second):
    return float(np.mean(first))


def small_household(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2, -1, -1, -1], 6)
    groups = np.repeat(["ann", "bob", "cy", "x", "y", "z"], 6)
    scores = rng.normal(size=(36, 3))
    scores[labels >= 0, labels[labels >= 0]] += 1.0
    return scores, labels, groups


class TestBySpeaker:
    def test_by_hand(self):
        # Two speakers with all their targets at 0 or at 1. Draws: both of one (a quarter each): mean 0 or 1;
        # one of each (half): 1/2. The middle 40 % of draws is 1/2 alone; 95 % reaches both ends.
        targets, groups = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], (["a"] * 3 + ["b"] * 3, ["c", "d"])
        seen = set()

        def metric(first, second):
            seen.add(mean_of_first(first, second))
            return mean_of_first(first, second)

        assert bootstrap_interval(metric, targets, [5.0, 6.0], groups, level=0.4) == (0.5, 0.5)
        assert bootstrap_interval(metric, targets, [5.0, 6.0], groups) == (0.0, 1.0)
        assert seen == {0.0, 0.5, 1.0}

    def test_a_speaker_comes_with_all_trials(self):
        def metric(scores, labels):
            rows = [tuple(row) for row in scores.tolist()]
            for start in range(0, 36, 6):
                copies = {rows.count(tuple(row)) for row in given[start : start + 6].tolist()}
                assert len(copies) == 1
            assert sum(labels >= 0) == sum(labels < 0) == 18
            return 0.0

        given, labels, groups = small_household()
        assert bootstrap_interval(metric, given, labels, groups, n=50) == (0.0, 0.0)

    def test_each_draw_has_the_kinds_that_the_data_have(self):
        # One speaker with targets and nontargets, one with targets, many with nontargets only: drawn
        # together, most draws would have no target at all.
        groups = (["t", "both"], [*(f"s{k}" for k in range(30)), "both"])

        def metric(targets, nontargets):
            assert sorted(targets.tolist()) == [1.0, 2.0]
            assert len(nontargets) == 31
            return 0.0

        bootstrap_interval(metric, [1.0, 2.0], np.zeros(31), groups, n=50)

    def test_covers_the_truth_where_single_trials_do_not(self):
        # Means of 30 speakers, spread 1, with 10 trials each, spread .2: nearly all of the variance is
        # between speakers, and intervals that take 300 trials for independent are about sqrt(10) too narrow.
        rng = np.random.default_rng(0)
        speakers = np.repeat(np.arange(30), 10)
        hits = {"speaker": 0, "trial": 0}
        for _ in range(60):
            targets = rng.normal(size=30)[speakers] + 0.2 * rng.normal(size=300)
            for kind, groups in (("speaker", speakers), ("trial", np.arange(300))):
                low, high = bootstrap_interval(
                    mean_of_first, targets, [0.0, 0.0], (groups, [1000, 1001]), n=100
                )
                hits[kind] += low <= 0.0 <= high
        assert hits["speaker"] >= 51  # 85 %; nominal 95 %
        assert hits["trial"] <= 36  # 60 %


class TestInterval:
    def test_holds_the_metric_and_narrows_with_the_level(self):
        scores, labels, groups = small_household()
        wide = bootstrap_interval(oscr, scores, labels, groups, n=200)
        narrow = bootstrap_interval(oscr, scores, labels, groups, n=200, level=0.5)
        assert wide[0] < narrow[0] < oscr(scores, labels) < narrow[1] < wide[1]

    def test_seeded(self):
        scores, labels, groups = small_household()
        first = bootstrap_interval(oscr, scores, labels, groups, n=40, seed=1)
        assert bootstrap_interval(oscr, scores, labels, groups, n=40, seed=1) == first
        assert bootstrap_interval(oscr, scores, labels, groups, n=40, seed=2) != first

    def test_the_order_of_trials_changes_nothing(self):
        scores, labels, groups = small_household()
        order = np.random.default_rng(5).permutation(len(labels))
        expected = bootstrap_interval(oscr, scores, labels, groups, n=40)
        assert bootstrap_interval(oscr, scores[order], labels[order], groups[order], n=40) == expected

    def test_names_or_numbers(self):
        scores, labels, groups = small_household()
        numbers = np.unique(groups, return_inverse=True)[1]
        expected = bootstrap_interval(oscr, scores, labels, groups, n=40)
        assert bootstrap_interval(oscr, scores, labels, numbers.tolist(), n=40) == expected

    def test_without_unknown_probes(self):
        scores, labels, groups = small_household()
        known = labels >= 0
        low, high = bootstrap_interval(
            closed_set_accuracy, scores[known], labels[known], groups[known], n=100
        )
        assert low <= closed_set_accuracy(scores, labels) <= high

    def test_verification(self):
        rng = np.random.default_rng(2)
        targets, nontargets = rng.normal(1, 1, 100), rng.normal(-1, 1, 200)
        groups = (np.repeat(np.arange(10), 10), np.repeat(np.arange(10), 20))
        low, high = bootstrap_interval(eer, targets, nontargets, groups, n=100)
        assert 0.0 < low < eer(targets, nontargets) < high < 0.5

    def test_infinite_and_undefined_values(self):
        groups = (["a", "b"], ["a", "b"])
        values = iter([0.0, math.inf] * 10)
        assert bootstrap_interval(lambda *_: next(values), [1.0, 2.0], [0.0, 0.0], groups, n=20) == (
            0.0,
            math.inf,
        )
        low, high = bootstrap_interval(lambda *_: math.nan, [1.0, 2.0], [0.0, 0.0], groups, n=5)
        assert math.isnan(low)
        assert math.isnan(high)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [({"n": 0}, "^n: 0 draws"), ({"level": 1.0}, r"^level: 1\.0"), ({"level": math.nan}, "^level: nan")],
    )
    def test_options(self, options, message):
        with pytest.raises(InputError, match=message):
            bootstrap_interval(oscr, *small_household(), **options)

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            (["a"] * 36, "^groups: one speaker only"),
            (["a", "b"], r"^groups: shape \(2,\); there are 36 trials"),
            (np.array(["a", 1] * 18, dtype=object), "^groups: speakers cannot be sorted"),
        ],
    )
    def test_groups_of_probes(self, groups, message):
        scores, labels, _ = small_household()
        with pytest.raises(InputError, match=message):
            bootstrap_interval(oscr, scores, labels, groups)

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            (["a", "b"], "^groups: give a pair"),
            ((["a", "b"],), "^groups: give a pair"),
            ((["a"], ["b", "c"]), r"^groups\[0\]: shape \(1,\)"),
            ((["a", "b"], ["c"]), r"^groups\[1\]: shape \(1,\)"),
        ],
    )
    def test_groups_of_trials(self, groups, message):
        with pytest.raises(InputError, match=message):
            bootstrap_interval(eer, [1.0, 2.0], [0.0, 1.0], groups)

    def test_scores(self):
        with pytest.raises(InputError, match=r"^targets: NaN"):
            bootstrap_interval(eer, [math.nan], [0.0], (["a"], ["b"]))
        with pytest.raises(InputError, match=r"^labels: 3 at probe 0"):
            bootstrap_interval(oscr, np.zeros((2, 3)), [3, -1], ["a", "b"])
