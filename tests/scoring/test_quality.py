"""Quality-aware calibration: on generated trials whose true log-likelihood ratios are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import cllr
from openkith.scoring import QualityCalibration
from openkith.scoring.calibration import fit_line
from openkith.scoring.quality import quality_measures, trial_quality

Trials = tuple[np.ndarray, np.ndarray, np.ndarray]


def trials(n: int, seed: int, *, slope: float = 0.8, shift: float = 0.5, noise: int = 0) -> Trials:
    """Trials whose log-likelihood ratio is (2 + slope u) score + shift u, u uniform in -1 to 1.

    Two Gaussians of one variance v and the means m and -m, and so of the ratio 2 m score / v.
    """
    rng = np.random.default_rng(seed)
    u = rng.uniform(-1, 1, n)
    target = np.arange(n) % 5 == 0
    steep = 2 + slope * u
    variance = 1 / steep
    score = np.where(target, 0.5, -0.5) + np.sqrt(variance) * rng.standard_normal(n)
    useless = rng.standard_normal((n, noise))
    return score - shift * u / steep, target, np.concatenate([u[:, None], useless], axis=1)


def test_known_parameters_are_found() -> None:
    score, target, u = trials(200_000, 0)
    model = QualityCalibration.fit(score, target, u)
    at = model.slope - model.slopes[0] * model.centre[0]
    assert at == pytest.approx(2.0, abs=0.05)
    assert model.slopes[0] == pytest.approx(0.8, abs=0.08)
    assert model.intercepts[0] == pytest.approx(0.5, abs=0.05)
    llr = model.llr(score, u)
    np.testing.assert_allclose(llr, (2 + 0.8 * u[:, 0]) * score + 0.5 * u[:, 0], atol=0.4)


def test_better_than_a_line_where_the_scale_depends_on_quality() -> None:
    train, test = trials(3000, 1, slope=1.7, shift=1.0), trials(20_000, 2, slope=1.7, shift=1.0)
    line = fit_line(train[0][train[1]], np.ones(600), train[0][~train[1]], np.ones(2400))
    plain = line[0] * test[0] + line[1]
    model = QualityCalibration.fit(*train)
    llr = model.llr(test[0], test[2])
    assert cllr(llr[test[1]], llr[~test[1]]) < 0.93 * cllr(plain[test[1]], plain[~test[1]])
    additive = QualityCalibration.fit(*train, bilinear=False)
    assert additive.slopes[0] == 0
    fixed = additive.llr(test[0], test[2])
    assert (
        cllr(llr[test[1]], llr[~test[1]])
        < cllr(fixed[test[1]], fixed[~test[1]])
        < cllr(plain[test[1]], plain[~test[1]])
    )


@pytest.mark.parametrize("n", [150, 1500])
def test_no_worse_than_a_line_where_it_does_not(n: int) -> None:
    """Three measures that tell nothing, learned from 30 or 300 target clips."""
    losses = []
    for seed in range(5):
        train, test = (
            trials(n, seed, slope=0, shift=0, noise=2),
            trials(20_000, 99, slope=0, shift=0, noise=2),
        )
        hits = int(train[1].sum())
        line = fit_line(train[0][train[1]], np.ones(hits), train[0][~train[1]], np.ones(n - hits))
        plain = line[0] * test[0] + line[1]
        llr = QualityCalibration.fit(*train).llr(test[0], test[2])
        losses.append(cllr(llr[test[1]], llr[~test[1]]) - cllr(plain[test[1]], plain[~test[1]]))
    assert np.mean(losses) < 10 / n


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_constant_or_missing_measures_leave_the_line(value: float) -> None:
    score, target, _ = trials(500, 3)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 500)
    model = QualityCalibration.fit(score, target, np.full((500, 2), value), weights)
    slope, intercept = fit_line(score[target], weights[target], score[~target], weights[~target])
    assert model.slope == pytest.approx(slope, rel=1e-4)
    assert model.intercept == pytest.approx(intercept, abs=1e-4)
    expected = slope * score + intercept
    for quality_now in (np.full((500, 2), value), np.zeros((500, 2)), None):
        np.testing.assert_allclose(model.llr(score, quality_now), expected, atol=1e-3)


def test_weights_are_repetitions() -> None:
    score, target, u = trials(400, 4)
    times = np.random.default_rng(1).integers(0, 3, 400)
    again = np.repeat(np.arange(400), times)
    weighted = QualityCalibration.fit(score, target, u, times)
    repeated = QualityCalibration.fit(score[again], target[again], u[again])
    # Scores and measures are standardised on rows, whatever their weight, which moves the ridge a little.
    np.testing.assert_allclose(weighted.llr(score, u), repeated.llr(score, u), atol=0.02)


def test_missing_measures_count_as_their_mean() -> None:
    score, target, u = trials(2000, 5)
    holes = u.copy()
    holes[::3] = np.nan
    model = QualityCalibration.fit(score, target, holes)
    assert model.slopes[0] > 0.2
    assert model.centre[0] == pytest.approx(np.nanmean(holes))
    missing = model.llr(score, np.full((2000, 1), np.nan))
    np.testing.assert_allclose(missing, model.llr(score, np.broadcast_to(model.centre, (2000, 1))))
    np.testing.assert_allclose(missing, model.llr(score))


def test_beyond_the_range_seen_nothing_changes() -> None:
    score, target, u = trials(2000, 6)
    model = QualityCalibration.fit(score, target, u)
    for edge, beyond in ((u.max(), 50.0), (u.min(), -50.0)):
        far = model.llr(score, np.full((2000, 1), beyond))
        np.testing.assert_array_equal(far, model.llr(score, np.full((2000, 1), edge)))


def test_a_higher_score_never_gives_a_lower_ratio() -> None:
    """Scores that turn round at poor quality: the best monotone answer there is a constant."""
    rng = np.random.default_rng(7)
    n = 4000
    u = rng.uniform(-1, 1, (n, 2))
    target = np.arange(n) % 2 == 0
    direction = np.where(u[:, 0] + u[:, 1] < -0.3, -1.0, 1.0)
    score = direction * np.where(target, 1.0, -1.0) + rng.standard_normal(n)
    model = QualityCalibration.fit(score, target, u)
    corners = np.array([[a, b] for a in (-9, 9) for b in (-9, 9)], float)
    ladder = np.linspace(-5, 5, 20)
    ratios = model.llr(np.tile(ladder, (4, 1)), corners[:, None])
    assert (np.diff(ratios, axis=1) > 0).all()
    assert np.diff(ratios, axis=1)[0].max() < 0.05 * np.diff(ratios, axis=1)[3].min()


def test_prior_weighting_is_for_the_prior() -> None:
    """Where the line cannot be right everywhere, a low prior makes it right for strong evidence."""
    rng = np.random.default_rng(8)
    target = np.arange(20_000) % 2 == 0
    score = np.where(target, rng.exponential(2.0, 20_000), rng.normal(-1, 1, 20_000))
    none = np.zeros((20_000, 0))

    def cost(model: QualityCalibration, prior: float) -> float:
        margin = model.llr(score) + np.log(prior / (1 - prior))
        hit, miss = np.logaddexp(0, -margin[target]).mean(), np.logaddexp(0, margin[~target]).mean()
        return float(prior * hit + (1 - prior) * miss)

    low, even = (QualityCalibration.fit(score, target, none, prior=p) for p in (0.01, 0.5))
    assert cost(low, 0.01) < cost(even, 0.01)
    assert cost(even, 0.5) < cost(low, 0.5)


def test_one_trial_of_each_kind() -> None:
    model = QualityCalibration.fit(np.array([1.0, 0.0]), np.array([True, False]), np.array([[1.0], [2.0]]))
    llr = model.llr(np.array([1.0, 0.0]), np.array([[1.0], [2.0]]))
    assert llr[0] > 0 > llr[1]
    same = QualityCalibration.fit(np.ones(4), np.arange(4) < 2, np.zeros((4, 1)))
    np.testing.assert_allclose(same.llr(np.ones(2), np.zeros((2, 1))), 0, atol=1e-6)


def test_many_nontargets_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    score, target, u = trials(20_000, 9)
    whole = QualityCalibration.fit(score, target, u)
    monkeypatch.setattr("openkith.scoring.quality._MAX_NONTARGETS", 4000)
    part = QualityCalibration.fit(score, target, u)
    assert part.slope != whole.slope
    assert np.abs(part.llr(score, u) - whole.llr(score, u)).mean() < 0.1


def test_measures_of_probes_and_people() -> None:
    probes = quality_measures([1.0, 0.0], [10.0, np.nan])
    np.testing.assert_allclose(probes, [[0.0, 10.0], [np.log(0.1), np.nan]])
    people = quality_measures([np.e, 1.0, np.e**2], [20, 30, 40])
    both = trial_quality(probes, people)
    assert both.shape == (2, 3, 4)
    np.testing.assert_allclose(both[0, 2], [0.0, 10.0, 2.0, 40.0])
    np.testing.assert_allclose(both[1, 1], [np.log(0.1), np.nan, 0.0, 30.0])


def test_quality_of_the_probe_alone_broadcasts() -> None:
    model = QualityCalibration.fit(*trials(1000, 10))
    scores = np.arange(6.0).reshape(2, 3)
    u = np.array([[0.3], [-0.2]])
    expected = np.stack([model.llr(row, np.tile(q, (3, 1))) for row, q in zip(scores, u, strict=True)])
    np.testing.assert_allclose(model.llr(scores, u[:, None]), expected)


def test_saved_and_restored() -> None:
    score, target, u = trials(1000, 11, noise=1)
    model = QualityCalibration.fit(score, target, u)
    config, arrays = model.state()
    again = QualityCalibration.restore(json.loads(json.dumps(config)), arrays)
    np.testing.assert_array_equal(again.llr(score, u), model.llr(score, u))


def test_what_is_refused() -> None:
    score, target, u = trials(50, 12)
    with pytest.raises(InputError, match=r"quality \(49, 1\) do not fit"):
        QualityCalibration.fit(score, target, u[1:])
    with pytest.raises(InputError, match="not finite"):
        QualityCalibration.fit(np.where(target, np.nan, score), target, u)
    with pytest.raises(InputError, match="not finite"):
        QualityCalibration.fit(score, target, np.where(u > 0, np.inf, u))
    with pytest.raises(NotEnoughDataError, match="of others"):
        QualityCalibration.fit(score, np.ones(50, bool), u)
    with pytest.raises(NotEnoughDataError, match="of others"):
        QualityCalibration.fit(score, target, u, target.astype(float))
    with pytest.raises(ConfigError, match="prior is 1"):
        QualityCalibration.fit(score, target, u, prior=1)
    model = QualityCalibration.fit(score, target, u)
    for wrong in (np.zeros((50, 2)), np.zeros((49, 1)), np.zeros((2, 50, 1))):
        with pytest.raises(InputError, match=r"give \(50, 1\)"):
            model.llr(score, wrong)
