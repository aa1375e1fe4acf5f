"""Scores to probabilities and thresholds: analytic cases, Bayes by hand, counts of what is above a threshold."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring import Calibration, HeldOutScores, calibration
from openkith.scoring.calibration import _threshold, check_rates, fit_conditions, fit_line


def normal_grid(n: int, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    """A normal sample without chance: its n quantiles."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n, mean, deviation)


def held(
    known: Any = (), labels: Any = (), unknown: Any = (), n_people: int = 2, **changes: Any
) -> HeldOutScores:
    """Every row a clip of its own, of weight 1."""
    known = np.asarray(known, float).reshape(-1, n_people)
    unknown = np.asarray(unknown, float).reshape(-1, n_people)
    whole = HeldOutScores(
        known=known,
        labels=np.asarray(labels, np.int64),
        clips=np.arange(len(known)),
        copies=np.zeros(len(known), bool),
        known_weights=np.ones(len(known)),
        unknown=unknown,
        unknown_clips=np.arange(len(unknown)),
        unknown_weights=np.ones(len(unknown)),
        pseudo=np.zeros(0),
        basis=("clips",) * n_people,
    )
    return dataclasses.replace(whole, **changes)


def household(n: int = 200, gap: float = 3.0, seed: int = 0) -> HeldOutScores:
    """Two people with n clips each: own scores about ``gap``, others about 0; 5 n strangers' clips."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n)
    known = rng.normal(size=(2 * n, 2))
    known[np.arange(2 * n), labels] += gap
    return held(known, labels, rng.normal(size=(5 * n, 2)))


class TestLine:
    @pytest.mark.parametrize(("mean", "deviation"), [(2.0, 1.0), (1.0, 0.5), (30.0, 10.0)])
    def test_known_ratios(self, mean: float, deviation: float) -> None:
        """Of N(m, s) against N(0, s) the ratio is m / s^2 score - m^2 / 2 s^2, whatever the numbers of trials."""
        targets, others = normal_grid(4000, mean, deviation), normal_grid(20000, 0, deviation)
        slope, intercept = fit_line(targets, np.ones(4000), others, np.ones(20000))
        assert slope == pytest.approx(mean / deviation**2, rel=0.01)
        assert intercept == pytest.approx(-(mean**2) / deviation**2 / 2, rel=0.01)

    def test_units_of_the_score_do_not_matter(self) -> None:
        targets, others, ones = normal_grid(50, 2), normal_grid(80), np.ones
        slope, intercept = fit_line(targets, ones(50), others, ones(80))
        scaled, shifted = fit_line(1000 * targets - 70, ones(50), 1000 * others - 70, ones(80))
        assert scaled * 1000 == pytest.approx(slope, rel=1e-3)
        assert shifted - 70 * scaled == pytest.approx(intercept, rel=1e-2)

    def test_a_weight_of_two_is_two_rows(self) -> None:
        targets, others = normal_grid(30, 2), normal_grid(40)
        weighted = fit_line(targets, np.ones(30), others, np.r_[np.full(20, 2.0), np.ones(20)])
        repeated = fit_line(targets, np.ones(30), np.r_[others[:20], others], np.ones(60))
        # Only the centre, which is over rows, moves what the ridge pulls to.
        assert weighted == pytest.approx(repeated, rel=0.02)

    def test_few_clips_make_a_cautious_line(self) -> None:
        slopes = [
            fit_line(np.full(n, 1.0), np.ones(n), np.zeros(50), np.full(50, 1 / 50))[0]
            for n in (1, 3, 30, 1000)
        ]
        assert slopes == sorted(slopes)
        assert 0 < slopes[0] < slopes[-1] < 100

    def test_useless_scores_say_nothing(self) -> None:
        """The wrong way round, or all the same: ratios near 1, rising all the same."""
        for targets, others in ((normal_grid(50, -2), normal_grid(50)), (np.full(5, 0.7), np.full(9, 0.7))):
            slope, intercept = fit_line(targets, np.ones(len(targets)), others, np.ones(len(others)))
            assert slope > 0
            assert np.abs(slope * np.array([-3, 0, 3]) + intercept).max() < 0.1


class TestTrials:
    def test_by_hand(self) -> None:
        scores = held(
            [[1, 2], [3, 4]],
            [0, 1],
            [[5, 6]],
            known_weights=np.array([1.0, 3.0]),
            pseudo=np.array([9.0]),
            pseudo_weights=np.array([0.5]),
        )
        targets, target_weights, others, other_weights = scores.trials()
        assert targets.tolist() == [1, 4, 9]
        assert target_weights.tolist() == [1, 3, 0.5]
        assert others.tolist() == [5, 6, 2, 3]
        np.testing.assert_allclose(other_weights, [1 / 2, 1 / 2, 1 / 4, 3 / 4])

    def test_strangers_alone(self) -> None:
        _, _, others, weights = held([[1.0]], [0], [[5], [6]], n_people=1).trials()
        assert others.tolist() == [5, 6]
        np.testing.assert_allclose(weights, 0.5)

    @pytest.mark.parametrize(
        "nothing",
        [held([[1.0]], [0], n_people=1), held(unknown=[[1.0, 2.0]]), held()],
        ids=["nobody else", "no clip", "nothing"],
    )
    def test_nothing_to_compare(self, nothing: HeldOutScores) -> None:
        with pytest.raises(
            NotEnoughDataError, match=r"held-out clips of enrolled people and of others.*--unknown"
        ):
            nothing.trials()
        with pytest.raises(NotEnoughDataError):
            Calibration.fit(nothing)

    def test_people_are_strangers_to_one_another(self) -> None:
        scores, weights = held([[9, 2, 1], [4, 8, 3], [0, 5, 7]], [0, 1, 2], n_people=3).strangers()
        assert scores.tolist() == [2, 4, 5]
        assert weights.tolist() == [1, 1, 1]
        scores, weights = held(
            [[9, 2]], [0], [[5, 6], [8, 1]], unknown_weights=np.array([0.2, 0.8])
        ).strangers()
        assert scores.tolist() == [6, 8]
        assert weights.tolist() == [0.2, 0.8]


class TestPosteriors:
    def test_bayes_by_hand(self) -> None:
        """Two people at 0.35 each, unknown 0.3; ratios 4 and 1/2 against a stranger's."""
        calibration = dataclasses.replace(Calibration.fit(household(20)), unknown_prior=0.3)
        joint = np.array([0.35 * 4, 0.35 * 0.5, 0.3])
        posterior = calibration.posteriors(np.log([[4.0, 0.5]]))
        np.testing.assert_allclose(posterior, [joint / joint.sum()], rtol=1e-12)

    def test_sums_to_one_at_any_size(self) -> None:
        calibration = Calibration.fit(household(20))
        llrs = np.array([[0, 0], [1e4, -1e4], [-1e4, -1e4], [800, 799]])
        posterior = calibration.posteriors(llrs)
        np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(posterior[0], [0.25, 0.25, 0.5])
        np.testing.assert_allclose(posterior[2], [0, 0, 1])
        assert posterior[3, 0] == pytest.approx(math.e / (1 + math.e))

    def test_prior_moves_it(self) -> None:
        scores = household(20)
        llrs = np.array([[0.0, -1.0]])
        p = [
            Calibration.fit(scores, unknown_prior=prior).posteriors(llrs)[0, -1] for prior in (0.1, 0.5, 0.9)
        ]
        assert p == sorted(p)

    def test_honest_on_fresh_clips(self) -> None:
        """Of fresh clips given a name with probability about p, a share of about p is that person's."""
        calibration, fresh = Calibration.fit(household(400)), household(1000, seed=1)
        scores = np.concatenate([fresh.known, fresh.unknown[: len(fresh.known)]])
        truth = np.concatenate([fresh.labels, np.full(len(fresh.known), 2)])
        posterior = calibration.posteriors(calibration.llr(scores))
        hit = posterior.argmax(axis=1) == truth
        for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
            rows = (posterior.max(axis=1) > low) & (posterior.max(axis=1) <= high)
            assert rows.sum() > 50
            assert hit[rows].mean() == pytest.approx(posterior.max(axis=1)[rows].mean(), abs=0.07)


def accepted_share(scores: np.ndarray, weights: np.ndarray, threshold: float) -> float:
    return float(weights[scores >= threshold].sum() / weights.sum())


class TestThreshold:
    @given(
        st.lists(st.tuples(st.integers(-5, 5), st.sampled_from([0.05, 0.5, 1.0])), min_size=1, max_size=60),
        st.sampled_from([0.001, 0.01, 0.1, 0.25, 0.5, 0.9]),
        st.booleans(),
    )
    def test_never_above_the_rate_and_close_to_it(
        self, rows: list[tuple[int, float]], far: float, many: bool
    ) -> None:
        scores, weights = np.array(rows, float).T
        threshold = _threshold(scores, weights, far, 10**6 if many else len(rows))
        assert accepted_share(scores, weights, threshold) <= far + 1e-9
        lower = scores[scores < threshold]
        if many and len(lower):  # the next lower score would be too many
            assert accepted_share(scores, weights, lower.max()) > far - 1e-12

    def test_by_hand(self) -> None:
        scores = np.array([1.0, 9, 8, 7, 6, 5, 4, 3, 2, 0])
        for far, accepted in ((0.1, 1), (0.25, 2), (0.3, 3), (0.05, 0)):
            threshold = _threshold(scores, np.ones(10), far, 1000)
            assert (scores >= threshold).sum() == accepted
        weights = np.r_[np.ones(1), 0.1, np.ones(8)]  # the best one counts a tenth: of 9.1 in all
        assert (scores >= _threshold(scores, weights, 0.02, 1000)).sum() == 1

    def test_a_tie_is_all_or_nothing(self) -> None:
        scores = np.array([5.0] * 3 + [1.0] * 7)
        assert (scores >= _threshold(scores, np.ones(10), 0.2, 1000)).sum() == 0
        assert (scores >= _threshold(scores, np.ones(10), 0.3, 1000)).sum() == 3

    @pytest.mark.parametrize("far", [0.01, 0.001, 1e-4])
    def test_extrapolated_to_the_prediction_limit(self, far: float) -> None:
        """Mean + t s sqrt(1 + 1/n); copies, which are no clips of their own, change the weights alone."""
        scores = np.random.default_rng(0).normal(3, 2, size=40)
        limit = scores.mean() + stats.t(39).isf(far) * scores.std(ddof=1) * math.sqrt(1 + 1 / 40)
        assert limit > scores.max()
        assert _threshold(scores, np.ones(40), far, 40) == pytest.approx(limit)
        assert _threshold(np.repeat(scores, 2), np.full(80, 0.5), far, 40) == pytest.approx(limit)

    def test_the_limit_holds_the_rate(self) -> None:
        """Over many small cohorts, one fresh stranger in a hundred is above."""
        rng = np.random.default_rng(0)
        above = [
            rng.normal(size=50) >= _threshold(rng.normal(size=15), np.ones(15), 0.01, 15) for _ in range(400)
        ]
        assert np.mean(above) == pytest.approx(0.01, abs=0.003)

    def test_an_outlier_is_not_overruled(self) -> None:
        scores = np.r_[np.zeros(50) + np.linspace(0, 0.1, 50), 9.0]
        assert _threshold(scores, np.ones(51), 0.01, 51) > 9.0
        assert _threshold(scores[-1:], np.ones(1), 0.01, 1) > 9.0

    def test_a_smaller_rate_is_a_higher_threshold(self) -> None:
        rng = np.random.default_rng(0)
        for scores in (rng.normal(size=163), np.round(rng.normal(size=30)), rng.normal(size=3), np.zeros(1)):
            rates = np.geomspace(1e-5, 0.9, 40)
            thresholds = [_threshold(scores, np.ones(len(scores)), far, len(scores)) for far in rates]
            assert np.all(np.diff(thresholds) <= 1e-12)

    @pytest.mark.parametrize(
        ("far", "clips", "marked"),
        [(0.001, 163, True), (0.001, 500, True), (0.001, 1000, False), (0.01, 163, False), (0.01, 99, True)],
    )
    def test_what_clips_can_support(self, far: float, clips: int, marked: bool) -> None:
        scores = household(20)
        rng = np.random.default_rng(0)
        scores = dataclasses.replace(
            scores,
            unknown=rng.normal(size=(2 * clips, 2)),
            unknown_clips=np.repeat(np.arange(clips), 2),  # a clip and a copy are one clip
            unknown_weights=np.full(2 * clips, 0.5),
        )
        calibration = Calibration.fit(scores, far=far)
        assert calibration.extrapolated is marked
        assert calibration.unknown_clips == clips

    def test_verification_is_per_trial(self) -> None:
        """10 clips of strangers against 20 people are 200 trials; they support 1 % per trial, not per clip."""
        rng = np.random.default_rng(0)
        labels = np.arange(20)
        known = rng.normal(size=(20, 20)) + 5 * np.eye(20)
        scores = held(known, labels, rng.normal(size=(10, 20)), n_people=20)
        assert Calibration.fit(scores, far=0.1, verify_far=0.01).extrapolated is False
        assert Calibration.fit(scores, far=0.01, verify_far=0.01).extrapolated is True
        assert Calibration.fit(scores, far=0.1, verify_far=0.001).extrapolated is True


class TestFit:
    @pytest.mark.parametrize("far", [0.3, 0.05, 0.01, 0.001])
    def test_the_rates_asked_for(self, far: float) -> None:
        scores = household(300)
        calibration = Calibration.fit(scores, far=far, verify_far=far / 2)
        best = calibration.llr(scores.unknown).max(axis=1)
        assert far - 0.002 <= (best >= calibration.threshold).mean() <= far
        _, _, others, weights = scores.trials()
        share = accepted_share(calibration.llr(others), weights, calibration.verify_threshold)
        assert far / 2 - 0.002 <= share <= far / 2 + 1e-9
        assert (calibration.far, calibration.verify_far) == (far, far / 2)

    def test_fresh_strangers(self) -> None:
        calibration, fresh = Calibration.fit(household(300), far=0.05), household(2000, seed=5)
        assert (calibration.llr(fresh.unknown).max(axis=1) >= calibration.threshold).mean() == pytest.approx(
            0.05, abs=0.02
        )

    @given(st.integers(0, 10**6))
    def test_a_tied_stranger_never_slips_through_by_rounding(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scores = household(5, seed=seed)
        unknown = np.repeat(rng.normal(size=(3, 2)).astype(np.float32), [4, 20, 20], axis=0)
        scores = dataclasses.replace(
            scores, unknown=unknown, unknown_clips=np.arange(44), unknown_weights=np.ones(44)
        )
        calibration = Calibration.fit(scores, far=0.05)
        assert (calibration.llr(unknown).max(axis=1) >= calibration.threshold).mean() <= 0.05

    def test_expected_miss_by_hand(self) -> None:
        """Of four clips of weight 1, 1, 1 and 2: one too low, and one under another's name; 20 strangers at 0."""
        known = [[5, 0], [0.5, 0], [0, 6], [7, 4]]
        scores = held(
            known, [0, 0, 1, 1], np.zeros((20, 2)) + np.linspace(0, 1, 20)[:, None],
            known_weights=np.array([1.0, 1, 1, 2]),
        )  # fmt: skip
        calibration = Calibration.fit(scores, far=0.1)
        assert calibration.miss.rate == pytest.approx(3 / 5)
        assert calibration.miss.clips == 4
        low, high = stats.beta(0.6 * 4 + 0.5, 0.4 * 4 + 0.5).interval(0.9)
        assert (calibration.miss.low, calibration.miss.high) == pytest.approx((low, high))

    @pytest.mark.parametrize(("gap", "rate"), [(50.0, 0.0), (-50.0, 1.0)])
    def test_interval_holds_the_rate(self, gap: float, rate: float) -> None:
        calibration = Calibration.fit(household(10, gap))
        for estimate in (calibration.miss, calibration.verify_miss):
            assert estimate.rate == rate
            assert estimate.low <= rate <= estimate.high
            assert 0 <= estimate.low < estimate.high <= 1
            expected = stats.beta(20 * rate + 0.5, 20 * (1 - rate) + 0.5).interval(0.9)
            assert (estimate.high if rate == 0 else estimate.low) == pytest.approx(
                expected[1 if rate == 0 else 0]
            )

    def test_copies_do_not_make_it_surer(self) -> None:
        scores = household(10)
        calibration = Calibration.fit(scores)
        twice = dataclasses.replace(
            scores,
            known=np.repeat(scores.known, 2, axis=0),
            labels=np.repeat(scores.labels, 2),
            clips=np.repeat(scores.clips, 2),
            copies=np.tile([False, True], 20),
            known_weights=np.full(40, 0.5),
        )
        assert Calibration.fit(twice).miss == calibration.miss

    def test_pseudo_targets_stand_in(self) -> None:
        rng = np.random.default_rng(0)
        pseudo = 3 + rng.normal(size=60)
        scores = held(
            unknown=rng.normal(size=(500, 2)),
            pseudo=pseudo,
            pseudo_weights=np.full(60, 0.5),
            basis=("cohort", "cohort"),
        )
        calibration = Calibration.fit(scores)
        assert calibration.slope == pytest.approx(3, rel=0.5)
        assert calibration.miss.clips == 30
        assert calibration.miss.rate == pytest.approx(
            (calibration.llr(pseudo) < calibration.threshold).mean()
        )
        assert calibration.verify_miss.rate <= calibration.miss.rate
        assert calibration.basis == ("cohort", "cohort")

    def test_a_guess_is_not_sure_of_anything(self) -> None:
        calibration = Calibration.fit(held([[5, 0], [0, 5]], [0, 1], basis=("none", "none")))
        assert calibration.miss.clips == 0
        assert (calibration.miss.low, calibration.miss.high) == pytest.approx(
            (0, stats.beta(0.5, 0.5).ppf(0.95))
        )

    def test_without_strangers(self) -> None:
        """The threshold is where people are taken for one another: at their own scores everybody would be refused."""
        scores = household(100)
        alone = held(scores.known, scores.labels)
        calibration = Calibration.fit(alone, far=0.05)
        others = calibration.llr(alone.known[~alone.own()])
        assert (others >= calibration.threshold).mean() <= 0.05
        assert calibration.miss.rate < 0.4
        assert calibration.extrapolated
        assert calibration.unknown_clips == 0

    @pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
    @pytest.mark.parametrize("name", ["far", "verify_far", "unknown_prior"])
    def test_wrong_rates_are_named(self, name: str, value: float) -> None:
        with pytest.raises(ConfigError, match=f"^{name} is {value}; give a share between 0 and 1"):
            Calibration.fit(household(3), **{name: value})
        check_rates(0.5, None, 0.5)

    def test_as_json(self) -> None:
        values = json.loads(json.dumps(Calibration.fit(household(5)).to_dict()))
        assert values["miss"]["clips"] == 10
        assert values["basis"] == ["clips", "clips"]

    def test_arrays_are_all_but_the_basis(self) -> None:
        scores = household(5)
        assert dataclasses.asdict(HeldOutScores(**scores.arrays(), basis=scores.basis)).keys() == (
            dataclasses.asdict(scores).keys()
        )
        assert "basis" not in scores.arrays()


def test_the_line_of_a_million_non_targets_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(3, 1, 500), rng.normal(0, 1, 40_000)
    trials = (targets, np.ones(500), nontargets, np.ones(40_000))
    whole = fit_line(*trials)
    monkeypatch.setattr(calibration, "_MAX_NONTARGETS", 4000)
    assert fit_line(*trials) == pytest.approx(whole, rel=0.05)


def in_conditions(shift: float, seed: int = 0) -> HeldOutScores:
    """Two people and strangers, half of the rows in noise, which takes ``shift`` off every score of a row."""
    rng = np.random.default_rng(seed)
    n = 400
    labels = np.arange(n) % 2
    noisy = np.arange(n) // 2 % 2
    known = rng.normal(size=(n, 2)) + 4.0 * np.eye(2)[labels] - shift * noisy[:, None]
    unknown = rng.normal(size=(n, 2)) - shift * noisy[:, None]
    ones, rows = np.ones(n), np.arange(n)
    return HeldOutScores(
        *(known, labels, rows, np.zeros(n, np.bool_), ones, unknown, rows, ones, np.zeros(0)),
        ("clips", "clips"),
        known_conditions=np.eye(2)[noisy],
        unknown_conditions=np.eye(2)[noisy],
    )


def test_offsets_put_back_what_a_condition_takes_off() -> None:
    gains, offsets = fit_conditions(in_conditions(2.0))
    at_the_line = 1.0  # halfway between strangers and people in noise
    moved = gains * np.array([at_the_line + 2.0, at_the_line]) + offsets
    assert moved[1] - moved[0] == pytest.approx(0.0, abs=0.3)
    gains, offsets = fit_conditions(in_conditions(0.0))
    assert abs(np.diff(2.0 * gains + offsets)[0]) < 0.3


def test_gains_make_up_for_what_a_condition_shrinks() -> None:
    held_out = in_conditions(0.0)
    held_out.known[held_out.own()] -= 2.5  # so near to strangers that the slope is well seen
    noisy = held_out.known_conditions[:, 1] > 0
    held_out.known[noisy] *= 0.5
    held_out.unknown[noisy] *= 0.5
    gains, offsets = fit_conditions(held_out)
    assert gains[1] / gains[0] == pytest.approx(2.0, rel=0.25)
    assert np.abs(offsets).max() < 0.5


def test_scores_without_spread_have_no_lines_of_their_own() -> None:
    held_out = in_conditions(0.0)
    same = replace(held_out, known=np.ones_like(held_out.known), unknown=np.ones_like(held_out.unknown))
    gains, offsets = fit_conditions(same)
    assert (gains.tolist(), offsets.tolist()) == ([1.0, 1.0], [0.0, 0.0])


def test_the_weight_on_targets_does_not_move_a_line_that_is_right() -> None:
    """Two Gaussians of one variance: the line is known, whatever the share of targets."""
    rng = np.random.default_rng(0)
    targets, others = rng.normal(2.0, 1.0, 20_000), rng.normal(0.0, 1.0, 20_000)
    for share in (0.5, 0.2):
        slope, intercept = fit_line(targets, np.ones(20_000), others, np.ones(20_000), share)
        assert slope == pytest.approx(2.0, rel=0.05)
        assert intercept == pytest.approx(-2.0, rel=0.05)


def test_offsets_better_the_ratios_of_other_clips() -> None:
    learned, asked = in_conditions(2.0), in_conditions(2.0, seed=1)
    own = asked.own()
    losses = []
    for fitted, conditions in (
        (Calibration.fit(learned), asked.known_conditions),
        (
            Calibration.fit(
                replace(learned, known_conditions=np.zeros((0, 0)), unknown_conditions=np.zeros((0, 0)))
            ),
            None,
        ),
    ):
        llrs = fitted.llr(asked.known, conditions)
        losses.append(np.logaddexp(0, -llrs[own]).mean() + np.logaddexp(0, llrs[~own]).mean())
    assert losses[0] < 0.8 * losses[1]


def test_a_ratio_is_the_line_of_the_moved_score() -> None:
    held_out = in_conditions(2.0)
    calibration = Calibration.fit(held_out)
    assert len(calibration.offsets) == 2
    gains = (held_out.known_conditions @ np.array(calibration.gains))[:, None]
    moved = gains * held_out.known + (held_out.known_conditions @ np.array(calibration.offsets))[:, None]
    np.testing.assert_allclose(
        calibration.llr(held_out.known, held_out.known_conditions),
        calibration.slope * moved + calibration.intercept,
    )


def test_rows_without_conditions_have_no_offsets() -> None:
    plain = replace(in_conditions(2.0), unknown_conditions=np.zeros((0, 0)))
    assert not plain.has_conditions
    assert Calibration.fit(plain).offsets == ()
