"""The two-covariance model against joint Gaussian densities written out in full."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring import TwoCovariance, two_covariance
from openkith.scoring.two_covariance import log_ratios


def covariance(dim: int, seed: int, size: float = 1.0) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(dim, 2 * dim))
    return size * a @ a.T / (2 * dim)


def model(dim: int, seed: int = 0) -> TwoCovariance:
    mean = np.random.default_rng(seed).normal(size=dim)
    return TwoCovariance(mean, covariance(dim, seed + 1, 2.0), covariance(dim, seed + 2))


def sample(m: TwoCovariance, counts: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    speakers = rng.multivariate_normal(m.mean, m.between, len(counts))
    return speakers[labels] + rng.multivariate_normal(np.zeros(len(m.mean)), m.within, len(labels)), labels


def joint_log_density(m: TwoCovariance, x: np.ndarray) -> float:
    """Of embeddings of one speaker: one Gaussian in n d dimensions, B everywhere and W on the diagonal blocks."""
    n = len(x)
    full = np.kron(np.ones((n, n)), m.between) + np.kron(np.eye(n), m.within)
    return float(multivariate_normal(np.tile(m.mean, n), full).logpdf(x.ravel()))


def test_likelihood_by_definition() -> None:
    m = model(3)
    x, labels = sample(m, np.array([1, 4, 2, 1, 3]))
    expected = sum(joint_log_density(m, x[labels == s]) for s in range(5))
    assert m.log_likelihood(x, labels) == pytest.approx(expected, abs=1e-8)
    shuffled = np.random.default_rng(0).permutation(len(x))
    assert m.log_likelihood(x[shuffled], 10 - 3 * labels[shuffled]) == pytest.approx(expected, abs=1e-8)


def test_weights_are_exponents() -> None:
    """Twice a weight of one half is one row; the constants are those of the rows."""
    m = model(3)
    x, labels = sample(m, np.array([2, 3]))
    whole = m.log_likelihood(x, labels)
    halves = m.log_likelihood(np.repeat(x, 2, axis=0), np.repeat(labels, 2), np.full(10, 0.5))
    assert halves == pytest.approx(whole, abs=1e-8)
    assert m.log_likelihood(x, labels, np.array([2, 1, 1, 1, 1])) == pytest.approx(
        m.log_likelihood(np.concatenate([x, x[:1]]), np.append(labels, labels[0])), abs=1e-8
    )


@pytest.mark.parametrize("block", [1, 1024])
def test_ratio_by_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """log p(enrolment, probe | one speaker) - log p(enrolment) - log p(probe)."""
    monkeypatch.setattr(two_covariance, "_BLOCK", block)
    m = model(4)
    counts = np.array([1, 3, 2])
    x, labels = sample(m, counts)
    probes, _ = sample(m, np.array([1, 1, 1, 1, 1]), seed=1)
    means = np.stack([x[labels == k].mean(axis=0) for k in range(3)])
    ratios = m.llr(probes, means, counts)
    assert ratios.shape == (5, 3)
    for i, probe in enumerate(probes):
        for k in range(3):
            own = x[labels == k]
            same = joint_log_density(m, np.concatenate([own, probe[None]]))
            apart = joint_log_density(m, own) + joint_log_density(m, probe[None])
            assert ratios[i, k] == pytest.approx(same - apart, abs=1e-8)


def test_each_probe_is_scored_alone() -> None:
    rng = np.random.default_rng(0)
    probes, people = rng.normal(size=(7, 5)), rng.normal(size=(4, 5))
    counts, spread = np.array([1, 2, 5, 1]), np.array([9.0, 4, 1, 0.1, 0])
    together = log_ratios(probes, people, counts, spread)
    alone = np.concatenate([log_ratios(probe[None], people, counts, spread) for probe in probes])
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert log_ratios(probes[:0], people, counts, spread).shape == (0, 4)


def test_moments_are_unbiased() -> None:
    """Over many small cohorts, the estimates without EM are right on average."""
    truth = TwoCovariance(np.zeros(2), np.diag([4.0, 1.0]), np.array([[1.0, 0.3], [0.3, 2.0]]))
    found = []
    for seed in range(300):
        counts = np.random.default_rng(seed).integers(1, 5, 40)
        found.append(TwoCovariance.fit(*sample(truth, counts, seed), shrinkage=0, iterations=0))
    np.testing.assert_allclose(np.mean([m.within for m in found], axis=0), truth.within, atol=0.06)
    np.testing.assert_allclose(np.mean([m.between for m in found], axis=0), truth.between, atol=0.25)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_em_never_lowers_the_objective(shrinkage: float, weighted: bool) -> None:
    counts = np.random.default_rng(1).integers(1, 6, 30)
    x, labels = sample(model(5), counts)
    weights = np.random.default_rng(2).uniform(0.1, 1, len(x)) if weighted else None
    history: list[float] = []
    TwoCovariance.fit(x, labels, weights, shrinkage=shrinkage, iterations=40, history=history)
    assert len(history) == 41
    assert all(after >= before - 1e-8 for before, after in pairwise(history))
    assert history[-1] > history[0] + 0.01
    assert history[-1] - history[-2] < 0.01 * (history[1] - history[0])


def test_the_objective_is_the_likelihood_where_nothing_is_shrunk() -> None:
    x, labels = sample(model(4), np.full(50, 3))
    history: list[float] = []
    fitted = TwoCovariance.fit(x, labels, shrinkage=0, iterations=3, history=history)
    assert history[-1] == pytest.approx(fitted.log_likelihood(x, labels), abs=0.05)


def test_no_other_parameters_are_likelier() -> None:
    """After many steps, a small change of any kind lowers the likelihood."""
    x, labels = sample(model(3), np.random.default_rng(0).integers(1, 5, 60))
    best = TwoCovariance.fit(x, labels, shrinkage=0, iterations=400)
    top = best.log_likelihood(x, labels)
    for seed in range(10):
        change = 0.02 * covariance(3, seed)
        for other in (
            TwoCovariance(best.mean + 0.05 * np.eye(3)[seed % 3], best.between, best.within),
            *(TwoCovariance(best.mean, best.between + s * change, best.within) for s in (1, -1)),
            *(TwoCovariance(best.mean, best.between, best.within + s * change) for s in (1, -1)),
        ):
            assert other.log_likelihood(x, labels) < top


def test_parameters_are_recovered() -> None:
    truth = model(4)
    counts = np.random.default_rng(3).integers(2, 7, 4000)
    found = TwoCovariance.fit(*sample(truth, counts), shrinkage=0, iterations=20)
    np.testing.assert_allclose(found.mean, truth.mean, atol=0.1)
    np.testing.assert_allclose(found.between, truth.between, atol=0.15)
    np.testing.assert_allclose(found.within, truth.within, atol=0.05)


def test_shrinkage_is_towards_a_multiple_of_the_identity() -> None:
    x, labels = sample(model(4), np.full(40, 4))
    plain = TwoCovariance.fit(x, labels, shrinkage=0, iterations=0)
    shrunk = TwoCovariance.fit(x, labels, shrinkage=0.3, iterations=0)
    for name in ("between", "within"):
        was = getattr(plain, name)
        expected = 0.7 * was + 0.3 * np.trace(was) / 4 * np.eye(4)
        np.testing.assert_allclose(getattr(shrunk, name), expected, atol=1e-4)


def test_one_clip_of_each_speaker_cannot_tell_the_two_apart() -> None:
    x, labels = sample(model(3), np.ones(200, int))
    fitted = TwoCovariance.fit(x, labels, shrinkage=0)
    total = np.cov(x.T, bias=True)
    np.testing.assert_allclose(fitted.between + fitted.within, total, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(fitted.between, fitted.within, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
@pytest.mark.parametrize("counts", [[2, 2], [1, 1, 1], [5], [3, 1, 4, 2]])
def test_fewer_speakers_than_dimensions(counts: list[int], shrinkage: float) -> None:
    """Singular at every turn, and still covariances, a rising objective and finite ratios."""
    x, labels = sample(model(20), np.array(counts))
    history: list[float] = []
    fitted = TwoCovariance.fit(x, labels, shrinkage=shrinkage, history=history)
    assert np.linalg.eigvalsh(fitted.within).min() > 0
    assert np.linalg.eigvalsh(fitted.between).min() > 0
    assert all(after >= before - 1e-6 * abs(before) for before, after in pairwise(history))
    ratios = fitted.llr(x, x, np.ones(len(x)))
    assert np.isfinite(ratios).all()
    assert (np.diag(ratios) > 0).all()


def test_constant_embeddings() -> None:
    fitted = TwoCovariance.fit(np.ones((6, 3)), np.arange(6) // 2)
    assert np.isfinite(fitted.llr(np.ones((2, 3)), np.ones((1, 3)), np.ones(1))).all()


def test_supervised_adaptation_moves_towards_the_domain() -> None:
    old, new = model(4), model(4, seed=9)
    x, labels = sample(new, np.full(400, 4))
    probe, others = sample(new, np.full(200, 3), seed=5)
    fitted = TwoCovariance.fit(x, labels, shrinkage=0, iterations=30)
    likelihoods = [old.log_likelihood(probe, others)]
    for share in (0.3, 0.6, 0.99):
        adapted = old.adapted(x, labels, share=share, iterations=30)
        likelihoods.append(adapted.log_likelihood(probe, others))
    assert likelihoods == sorted(likelihoods)
    np.testing.assert_allclose(adapted.within, fitted.within, atol=0.05)
    np.testing.assert_allclose(adapted.mean, fitted.mean, atol=0.05)
    assert old.adapted(x, labels, share=0) is old
    assert old.adapted(x[:0], labels[:0]) is old


def test_one_clip_of_a_new_domain_says_little() -> None:
    """Covariances stay almost where the clip tells nothing of them, and the objective rises."""
    old = model(4)
    history: list[float] = []
    TwoCovariance.fit(
        old.mean[None] + 1, np.zeros(1), shrinkage=0.5, prior=old, history=history, iterations=9
    )
    assert all(after >= before - 1e-9 for before, after in pairwise(history))
    near = old.adapted(old.mean[None], np.zeros(1), share=0.3, iterations=1)
    np.testing.assert_allclose(near.mean, old.mean)
    assert np.trace(near.between) < np.trace(old.between)
    direction = np.linalg.eigvalsh(np.linalg.solve(old.between, near.between)).real
    assert direction.min() > 0.69


def test_the_objective_with_a_prior_never_falls() -> None:
    x, labels = sample(model(4, seed=9), np.array([1, 3, 2, 5]))
    history: list[float] = []
    TwoCovariance.fit(x, labels, shrinkage=0.6, iterations=30, prior=model(4), history=history)
    assert all(after >= before - 1e-8 for before, after in pairwise(history))
    assert history[-1] > history[0] + 1


def test_unsupervised_adaptation_takes_the_total_covariance() -> None:
    """Of many rows of the new domain; the share of B in it stays."""
    old = TwoCovariance(np.zeros(3), np.diag([4.0, 2, 1]), np.eye(3))
    scale = np.array([1.0, 3.0, 0.5])
    new = TwoCovariance(
        np.array([5.0, 0, 0]), old.between * np.outer(scale, scale), old.within * np.outer(scale, scale)
    )
    x, _ = sample(new, np.full(3000, 2))
    adapted = old.adapted(x, share=0.999)
    np.testing.assert_allclose(adapted.between, new.between, atol=0.6)
    np.testing.assert_allclose(adapted.within, new.within, atol=0.5)
    np.testing.assert_allclose(adapted.mean, new.mean, atol=0.2)
    half = old.adapted(x, share=0.5)
    np.testing.assert_allclose(half.mean, adapted.mean / 0.999 / 2, atol=1e-9)


def test_few_rows_hardly_recolour() -> None:
    """One row has no spread: the total is averaged with the old one, which counts for three rows."""
    old = TwoCovariance(np.zeros(3), np.diag([4.0, 2, 1]), np.eye(3))
    few = old.adapted(np.ones((1, 3)), share=0.8)
    expected = (0.2 + 0.8 * 0.75) * (old.between + old.within)
    np.testing.assert_allclose(few.between + few.within, expected, atol=1e-9)
    np.testing.assert_allclose(few.mean, 0.8)


def test_what_is_refused() -> None:
    x, labels = sample(model(2), np.array([2, 2]))
    for shrinkage in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="shrinkage is"):
            TwoCovariance.fit(x, labels, shrinkage=shrinkage)
    with pytest.raises(ConfigError, match="iterations is -1"):
        TwoCovariance.fit(x, labels, iterations=-1)
    with pytest.raises(ConfigError, match=r"share is 1\.0"):
        model(2).adapted(x, share=1.0)
    with pytest.raises(NotEnoughDataError, match="was given 1"):
        TwoCovariance.fit(x[:1], labels[:1])
