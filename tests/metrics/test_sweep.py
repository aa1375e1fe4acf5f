from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openkith.metrics.sweep import Costs, Sweep

SCORES = st.lists(st.integers(-3, 3) | st.sampled_from([-math.inf, math.inf]), max_size=10)


def test_by_hand():
    sweep = Sweep.of(np.array([2.0, 1.0, math.inf]), np.array([1.0, 0.0, 1.0]))
    assert sweep.thresholds.tolist() == [0, 1, 2, math.inf, math.inf]
    assert sweep.misses.tolist() == [0, 0, 1, 2, 3]
    assert sweep.false_alarms.tolist() == [3, 2, 0, 0, 0]
    assert sweep.target_counts.tolist() == [0, 1, 1, 1]
    assert sweep.nontarget_counts.tolist() == [1, 2, 0, 0]


def test_the_two_zeros_are_one_score():
    assert Sweep.of(np.array([0.0]), np.array([-0.0])).thresholds.tolist() == [0, math.inf]


@given(SCORES, st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_counts_at_each_threshold(targets, nontargets):
    sweep = Sweep.of(np.array(targets, dtype=float), np.array(nontargets, dtype=float))
    distinct = sorted({*targets, *nontargets})
    assert sweep.thresholds.tolist() == [*distinct, math.inf]
    assert sweep.misses.tolist() == [*(sum(s < t for s in targets) for t in distinct), len(targets)]
    assert sweep.false_alarms.tolist() == [*(sum(s >= t for s in nontargets) for t in distinct), 0]


def test_bayes_threshold():
    # Odds of (.9 x 2) to (.1 x 3) against a target.
    assert Costs(0.1, 3.0, 2.0).llr_threshold == pytest.approx(math.log(6))
