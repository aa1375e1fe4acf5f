"""The speaker space: condition centring, WCCN and the household's shift, each recomputed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from openkith.errors import NotEnoughDataError
from openkith.scoring import EmbeddingSet, SpeakerSpace, WhitenedCosine
from openkith.scoring.norm import as_norm, cohort_statistics

Voices = Callable[..., EmbeddingSet]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def centred_by_definition(x: np.ndarray, cohort: EmbeddingSet) -> np.ndarray:
    """Gaussian classes of equal prior and covariance; posteriors at temperature 2; less the posterior mean."""
    y = cohort.embeddings.astype(float)
    groups = np.unique(cohort.groups)
    means = np.stack([y[cohort.groups == g].mean(axis=0) for g in groups])
    residual = y - means[np.searchsorted(groups, cohort.groups)]
    covariance = sum(np.outer(r, r) for r in residual) / len(residual)
    covariance = covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    precision = np.linalg.inv(covariance)
    out = []
    for row in x.astype(float):
        log_likelihood = np.array([-0.5 * (row - m) @ precision @ (row - m) for m in means]) / 2.0
        posterior = np.exp(log_likelihood - log_likelihood.max())
        out.append(row - posterior @ means / posterior.sum())
    return np.array(out)


def test_condition_centring_by_definition(voices: Voices) -> None:
    people, cohort = voices(3, 2, copies=3), voices(9, 3, copies=3, seed=1)
    space = SpeakerSpace().fit(people, cohort)
    space.shift[:] = 0
    space.whitener = np.eye(12, dtype=np.float32)
    expected = unit(centred_by_definition(people.embeddings, cohort))
    np.testing.assert_allclose(space.transform(people.embeddings), expected, atol=2e-5)


def test_conditions_are_taken_off(voices: Voices) -> None:
    """A copy comes nearer to its own clip than it was."""
    cohort, people = voices(12, 3, copies=3), voices(4, 2, copies=3, seed=1)
    space = SpeakerSpace().fit(people, cohort)

    def similarity(x: np.ndarray) -> float:
        first = x[~people.copies][people.clips]
        return float((first * x)[people.copies].sum(axis=1).mean())

    assert similarity(space.transform(people.embeddings)) > similarity(people.embeddings) + 0.1


def test_within_class_covariance_is_whitened(voices: Voices) -> None:
    """B (S + tr(S)/d I) B = I, with S of the centred cohort around its speakers' means."""
    people, cohort = voices(3, 2), voices(9, 4, copies=2, seed=1)
    space = SpeakerSpace().fit(people, cohort)
    centred = unit(centred_by_definition(cohort.embeddings, cohort))
    residual = np.concatenate(
        [
            centred[cohort.labels == s] - centred[cohort.labels == s].mean(axis=0)
            for s in np.unique(cohort.labels)
        ]
    )
    within = residual.T @ residual / len(residual)
    shrunk = within + np.trace(within) / 12 * np.eye(12)
    np.testing.assert_allclose(space.whitener @ shrunk @ space.whitener, np.eye(12), atol=2e-3)
    np.testing.assert_allclose(space.whitener, space.whitener.T, atol=1e-4)


def test_shift_of_the_household(voices: Voices) -> None:
    """C / (C + 2) of the mean of the people's means, of clips as recorded."""
    people, cohort = voices(3, 2, copies=2), voices(9, 3, copies=2, seed=1)
    space = SpeakerSpace().fit(people, cohort)
    originals = people.originals()
    centred = centred_by_definition(originals.embeddings, cohort)
    means = [centred[originals.labels == person].mean(axis=0) for person in range(3)]
    np.testing.assert_allclose(space.shift, np.mean(means, axis=0) * 3 / 5, atol=1e-5)
    one = SpeakerSpace().fit(people.select(people.labels == 0), cohort)
    np.testing.assert_allclose(one.shift, means[0] / 3, atol=1e-5)


def test_one_clip_a_speaker_leaves_nothing_to_whiten(voices: Voices) -> None:
    space = SpeakerSpace().fit(voices(2, 2), voices(20, 1, seed=1))
    np.testing.assert_array_equal(space.whitener, np.eye(12))


@pytest.mark.parametrize("dim", [1, 4])
def test_small_and_constant(voices: Voices, dim: int) -> None:
    people, cohort = voices(2, 2, dim=dim), voices(5, 1, dim=dim, seed=1)
    constant = EmbeddingSet.plain(np.ones((5, dim)), np.arange(5))
    for others in (cohort, constant):
        scores = WhitenedCosine().fit(people, others).score(people.embeddings)
        assert scores.shape == (4, 2)
        assert np.isfinite(scores).all()


def test_score_is_as_norm_in_the_space(voices: Voices) -> None:
    people, cohort, probes = voices(3, 2, copies=2), voices(9, 3, copies=2, seed=1), voices(2, 2, seed=2)
    scorer = WhitenedCosine().fit(people, cohort)
    space = SpeakerSpace().fit(people, cohort)
    weights = np.where(people.copies, 0.3, 0.4)[:, None] * space.transform(people.embeddings)
    prototypes = unit(np.stack([weights[people.labels == k].sum(axis=0) for k in range(3)]))
    others = space.transform(cohort.embeddings)
    expected = as_norm(
        space.transform(probes.embeddings),
        prototypes.astype(np.float32),
        others,
        cohort_statistics(prototypes.astype(np.float32), others),
    )
    np.testing.assert_allclose(scorer.score(probes.embeddings), expected, rtol=0.01, atol=0.01)


def test_saved_and_restored(voices: Voices) -> None:
    scorer = WhitenedCosine().fit(voices(3, 2, copies=1), voices(8, 3, copies=1, seed=1))
    probes = voices(4, 2, seed=2).embeddings
    np.testing.assert_array_equal(WhitenedCosine.restore(*scorer.state()).score(probes), scorer.score(probes))


def test_no_cohort(voices: Voices) -> None:
    with pytest.raises(NotEnoughDataError, match="whitened needs clips of other people"):
        WhitenedCosine().fit(voices(2, 2))
