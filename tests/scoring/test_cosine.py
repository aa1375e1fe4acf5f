"""Cosine to the class mean, by the definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from openkith.scoring import Cosine, EmbeddingSet


def test_by_hand() -> None:
    """People at (1, 0) and at the mean of (0, 1) and (0.8, 0.6); probes at 0 and 45 degrees, any length."""
    items = EmbeddingSet.plain(np.array([[1, 0], [0, 1], [0.8, 0.6]]), np.array([0, 1, 1]))
    scores = Cosine().fit(items).score(np.array([[5.0, 0.0], [0.1, 0.1]]))
    length = np.hypot(0.4, 0.8)
    root = np.sqrt(0.5)
    np.testing.assert_allclose(scores, [[1, 0.4 / length], [root, root * 1.2 / length]], rtol=1e-6)
    assert scores.dtype == np.float32


def test_by_definition(voices: Callable[..., EmbeddingSet]) -> None:
    people, probes = voices(4, 3, copies=2), voices(5, 2, seed=1)
    scores = Cosine().fit(people, voices(6, 2, seed=2)).score(probes.embeddings)
    for i, probe in enumerate(probes.embeddings):
        for person in range(4):
            own = [
                x
                for x, label, copy in zip(people.embeddings, people.labels, people.copies, strict=True)
                if label == person and not copy
            ]
            mean = sum(own) / len(own)
            expected = probe @ mean / np.linalg.norm(probe) / np.linalg.norm(mean)
            np.testing.assert_allclose(scores[i, person], expected, rtol=1e-5, atol=1e-6)


def test_copies_and_cohort_change_nothing(voices: Callable[..., EmbeddingSet]) -> None:
    people, probes = voices(3, 2, copies=3), voices(2, 2, seed=1).embeddings
    with_all = Cosine().fit(people, voices(6, 2, seed=2)).score(probes)
    np.testing.assert_array_equal(with_all, Cosine().fit(people.originals()).score(probes))
    assert not Cosine.needs_cohort


def test_saved_and_restored(voices: Callable[..., EmbeddingSet]) -> None:
    scorer, probes = Cosine().fit(voices(3, 2)), voices(2, 2, seed=1).embeddings
    np.testing.assert_array_equal(Cosine.restore(*scorer.state()).score(probes), scorer.score(probes))


def test_one_person_one_clip_and_a_silent_row() -> None:
    scorer = Cosine().fit(EmbeddingSet.plain(np.array([[0.0, 2.0]]), np.array([0])))
    np.testing.assert_allclose(scorer.score(np.array([[0, 1], [0, 0], [0, -1]])), [[1], [0], [-1]])
    assert scorer.score(np.zeros((0, 2))).shape == (0, 1)
