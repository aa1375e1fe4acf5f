"""Guessing the condition of a probe: the linear discriminant by its definition, and what it is sure of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from openkith.audio.augment import GROUPS
from openkith.scoring import EmbeddingSet
from openkith.scoring.conditions import SHORT, ConditionGuess, covariance, shrunk

Voices = Callable[..., EmbeddingSet]


def posterior_by_definition(x: np.ndarray, cohort: EmbeddingSet) -> np.ndarray:
    """Gaussians of equal prior and covariance, at temperature 2."""
    y = cohort.embeddings.astype(float)
    groups = np.unique(cohort.groups)
    means = np.stack([y[cohort.groups == g].mean(axis=0) for g in groups])
    residual = y - means[np.searchsorted(groups, cohort.groups)]
    within = sum(np.outer(r, r) for r in residual) / len(residual)
    precision = np.linalg.inv(within + 0.1 * np.trace(within) / len(within) * np.eye(len(within)))
    rows = []
    for row in x.astype(float):
        likelihood = np.array([-0.5 * (row - m) @ precision @ (row - m) for m in means]) / 2.0
        rows.append(np.exp(likelihood - likelihood.max()))
    return np.array([row / row.sum() for row in rows])


def test_posterior_by_definition(voices: Voices) -> None:
    cohort, probes = voices(9, 3, copies=3), voices(4, 2, copies=3, seed=1)
    guess = ConditionGuess().fit(cohort)
    posterior = guess.posterior(probes.embeddings)
    np.testing.assert_allclose(posterior, posterior_by_definition(probes.embeddings, cohort), atol=1e-5)
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0)
    assert posterior.max() < 1.0


def test_conditions_are_told_apart_in_voices_never_heard(voices: Voices) -> None:
    cohort, probes = voices(40, 3, copies=3, dim=48), voices(8, 2, copies=3, dim=48, seed=1)
    posterior = ConditionGuess().fit(cohort).posterior(probes.embeddings)
    assert (posterior.argmax(axis=1) == probes.groups).mean() > 0.9


def test_groups_keep_their_numbers(voices: Voices) -> None:
    """A cohort need not have every condition: columns are those that it has, in order."""
    people = voices(9, 3, copies=8)
    some = people.select(np.isin(people.groups, [2, 5, 8]))
    guess = ConditionGuess().fit(some)
    assert guess.groups.tolist() == [2, 5, 8]
    assert guess.posterior(people.embeddings).shape == (len(people), 3)
    for column, group in enumerate((2, 5, 8)):
        expected = people.embeddings[people.groups == group].mean(axis=0)
        np.testing.assert_allclose(guess.means[column], expected, atol=1e-6)


def test_short_is_the_sum_of_the_short_conditions(voices: Voices) -> None:
    assert {GROUPS[group] for group in SHORT} == {"short", "short-band"}
    cohort = voices(20, 3, copies=8, dim=32)
    guess = ConditionGuess().fit(cohort)
    probes = voices(6, 2, copies=8, dim=32, seed=1)
    short = guess.short(probes.embeddings)
    posterior = guess.posterior(probes.embeddings)
    np.testing.assert_allclose(
        short, posterior[:, GROUPS.index("short")] + posterior[:, GROUPS.index("short-band")]
    )
    is_short = np.isin(probes.groups, SHORT)
    assert short[is_short].mean() > 0.8
    assert short[~is_short].mean() < 0.2


def test_a_cohort_without_short_copies_guesses_none(voices: Voices) -> None:
    guess = ConditionGuess().fit(voices(9, 3, copies=3))
    np.testing.assert_array_equal(guess.short(voices(3, 2, seed=1).embeddings), np.zeros(6))


def test_one_condition_is_certain(voices: Voices) -> None:
    guess = ConditionGuess().fit(voices(5, 2))
    np.testing.assert_array_equal(guess.posterior(voices(3, 2, seed=1).embeddings), np.ones((6, 1)))


def test_each_probe_alone(voices: Voices) -> None:
    guess, probes = ConditionGuess().fit(voices(9, 3, copies=3)), voices(9, 3, copies=3, seed=1).embeddings
    alone = np.concatenate([guess.posterior(row[None]) for row in probes])
    np.testing.assert_allclose(guess.posterior(probes), alone, rtol=1e-9)
    assert guess.posterior(probes[:0]).shape == (0, 4)


def test_embeddings_that_are_all_the_same() -> None:
    same = EmbeddingSet(
        np.ones((4, 3), np.float32), np.arange(4), np.arange(4), np.array([0, 0, 1, 1]), np.zeros(4, bool)
    )
    np.testing.assert_allclose(ConditionGuess().fit(same).posterior(np.ones((2, 3))), 0.5)


def test_saved_and_restored(voices: Voices) -> None:
    guess, probes = ConditionGuess().fit(voices(9, 3, copies=8)), voices(4, 2, copies=8, seed=1).embeddings
    arrays = guess.arrays("here.")
    assert set(arrays) == {"here.groups", "here.means", "here.weights", "here.bias"}
    assert all(array.flags.c_contiguous for array in arrays.values())
    restored = ConditionGuess.from_arrays({**arrays, "groups": np.zeros(3)}, "here.")
    np.testing.assert_array_equal(restored.posterior(probes), guess.posterior(probes))
    np.testing.assert_array_equal(restored.short(probes), guess.short(probes))
    with pytest.raises(KeyError):
        ConditionGuess.from_arrays(arrays, "there.")


def test_covariance_by_hand() -> None:
    np.testing.assert_allclose(covariance(np.array([[1.0, 2.0], [-1.0, 0.0]])), [[1.0, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(covariance(np.zeros((0, 2))), np.zeros((2, 2)))


def test_shrunk_by_hand() -> None:
    """So much of the mean variance, 3, is added to the diagonal; of nothing at all, a trifle."""
    np.testing.assert_allclose(shrunk(np.array([[4.0, 1.0], [1.0, 2.0]]), 0.5), [[5.5, 1.0], [1.0, 3.5]])
    np.testing.assert_allclose(shrunk(np.zeros((2, 2)), 0.1), 1e-10 * np.eye(2))
