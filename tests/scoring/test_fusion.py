"""Fusion: each member standardised on the cohort, then averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest

from openkith.errors import NotEnoughDataError
from openkith.openset import restore_scorer
from openkith.scoring import AsNorm, Cosine, EmbeddingSet, Fusion, WhitenedCosine, fusion

Voices = Callable[..., EmbeddingSet]


class Constant(Cosine):
    """7 for what has unit length, as the cohort has; a thousandth more for what has not."""

    def score(self, embeddings: Any) -> Any:
        long = np.linalg.norm(embeddings, axis=1, keepdims=True) > 1.5
        return np.repeat(7 + 0.001 * long, len(self.prototypes), axis=1).astype(np.float32)


class Reversed(Cosine):
    """Far off in scale, and the wrong way round."""

    def score(self, embeddings: Any) -> Any:
        return 300 - 100 * super().score(embeddings)

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        assert cohort is not None
        return super().fit(enrolment, cohort)


def test_by_definition(voices: Voices) -> None:
    people, cohort, probes = voices(3, 2), voices(10, 2, seed=1), voices(4, 2, seed=2).embeddings
    members = [AsNorm().fit(people, cohort), Cosine().fit(people, cohort)]
    expected = []
    for member in members:
        on_cohort = member.score(cohort.embeddings).astype(float)
        expected.append((member.score(probes) - on_cohort.mean()) / on_cohort.std())
    fused = Fusion([AsNorm(), Cosine()]).fit(people, cohort).score(probes)
    np.testing.assert_allclose(fused, sum(expected) / 2, rtol=1e-4, atol=1e-4)
    assert fused.dtype == np.float32


def test_scale_of_a_member_does_not_matter(voices: Voices) -> None:
    """A member and its mirror image, at a hundred times the scale, cancel out."""
    people, cohort, probes = voices(3, 2), voices(10, 2, seed=1), voices(4, 2, seed=2).embeddings
    fused = Fusion([Cosine(), Reversed()]).fit(people, cohort).score(probes)
    np.testing.assert_allclose(fused, 0, atol=1e-4)


def test_a_constant_member_says_nothing(voices: Voices) -> None:
    people, cohort, probes = voices(3, 2), voices(10, 2, seed=1), voices(4, 2, seed=2).embeddings
    alone = Fusion([Cosine()]).fit(people, cohort).score(probes)
    both = Fusion([Cosine(), Constant()]).fit(people, cohort)
    np.testing.assert_allclose(both.score(probes), alone / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both.score(2 * probes), alone / 2, atol=1e-3)


def test_standardised_on_evenly_spaced_rows(voices: Voices, monkeypatch: pytest.MonkeyPatch) -> None:
    people, cohort = voices(3, 2), voices(10, 2, seed=1)
    monkeypatch.setattr(fusion, "_STANDARDISE_ROWS", 3)
    fused = Fusion([Cosine()]).fit(people, cohort)
    some = Cosine().fit(people).score(cohort.embeddings[[0, 10, 19]])  # 0, 9.5, 19, rounded to even
    np.testing.assert_allclose(fused.means, [some.mean()], rtol=1e-5)
    np.testing.assert_allclose(fused.deviations, [some.std()], rtol=1e-5)


def test_saved_and_restored_with_its_members(voices: Voices) -> None:
    people, cohort, probes = voices(3, 2, copies=1), voices(8, 3, copies=1, seed=1), voices(4, 2, seed=2)
    fused = Fusion([WhitenedCosine(), Cosine(), AsNorm()]).fit(people, cohort)
    restored = restore_scorer("fusion", *fused.state())
    assert isinstance(restored, Fusion)
    assert [member.name for member in restored.members] == ["whitened", "cosine", "as-norm"]
    np.testing.assert_array_equal(restored.score(probes.embeddings), fused.score(probes.embeddings))


def test_no_cohort(voices: Voices) -> None:
    with pytest.raises(NotEnoughDataError, match="fusion needs clips of other people"):
        Fusion([Cosine()]).fit(voices(2, 2))
