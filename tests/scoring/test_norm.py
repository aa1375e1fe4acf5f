"""AS-norm and S-norm against a plain loop over probes, people and cohort."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from openkith.errors import NotEnoughDataError
from openkith.scoring import AsNorm, EmbeddingSet, SNorm, norm
from openkith.scoring.norm import as_norm, cohort_statistics, to_half

Voices = Callable[..., EmbeddingSet]


def unit(n: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def top_by_definition(x: np.ndarray, cohort: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the largest 8 % of the cosines, of 10 at least, of all if there are fewer."""
    cosines = sorted((float(x.astype(float) @ other.astype(float)) for other in cohort), reverse=True)
    count = min(len(cohort), max(10, round(0.08 * len(cohort))))
    top = np.array(cosines[:count])
    return float(top.mean()), max(float(np.sqrt(((top - top.mean()) ** 2).mean())), 1e-3)


@pytest.mark.parametrize("size", [5, 10, 60, 300])
def test_statistics_by_definition(size: int) -> None:
    probes, cohort = unit(7, 6, 0), unit(size, 6, 1)
    mean, deviation = cohort_statistics(probes, cohort)
    expected = np.array([top_by_definition(x, cohort) for x in probes])
    np.testing.assert_allclose(mean, expected[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(deviation, expected[:, 1], rtol=1e-4, atol=1e-6)


def test_statistics_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    probes, cohort = unit(11, 6, 0), unit(40, 6, 1)
    whole = cohort_statistics(probes, cohort)
    monkeypatch.setattr(norm, "_BLOCK", 4)
    np.testing.assert_allclose(cohort_statistics(probes, cohort), whole, rtol=1e-5)


def test_statistics_of_nothing_and_of_identical_voices() -> None:
    assert [len(part) for part in cohort_statistics(unit(0, 6, 0), unit(4, 6, 1))] == [0, 0]
    same = np.repeat(unit(1, 6, 0), 20, axis=0)
    mean, deviation = cohort_statistics(same[:2], same)
    np.testing.assert_allclose(mean, 1, rtol=1e-5)
    np.testing.assert_allclose(deviation, 1e-3, rtol=1e-5)


def test_as_norm_by_definition() -> None:
    probes, people, cohort = unit(5, 6, 0), unit(3, 6, 1), unit(200, 6, 2)
    scores = as_norm(probes, people, cohort, cohort_statistics(people, cohort))
    for i, probe in enumerate(probes):
        probe_mean, probe_deviation = top_by_definition(probe, cohort)
        for k, person in enumerate(people):
            person_mean, person_deviation = top_by_definition(person, cohort)
            s = float(probe @ person)
            by_both = ((s - probe_mean) / probe_deviation + (s - person_mean) / person_deviation) / 2
            np.testing.assert_allclose(scores[i, k], by_both, rtol=1e-4, atol=1e-4)


def test_prototypes_have_the_copies(voices: Voices) -> None:
    """A clip counts 0.4 and its copies 0.6 together; every clip of a person alike."""
    people, cohort = voices(3, 2, copies=3), voices(8, 3, seed=1)
    scorer = AsNorm().fit(people, cohort)
    for person in range(3):
        clips = []
        for clip in np.unique(people.clips[people.labels == person]):
            rows = people.embeddings[people.clips == clip].astype(float)
            clips.append(0.4 * rows[0] + 0.6 * rows[1:].mean(axis=0))
        mean = np.mean(clips, axis=0)
        np.testing.assert_allclose(
            scorer.prototypes[person], mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(scorer.cohort, cohort.embeddings, atol=1e-3)
    expected = as_norm(
        cohort.embeddings,
        scorer.prototypes,
        scorer.cohort,
        cohort_statistics(scorer.prototypes, scorer.cohort),
    )
    np.testing.assert_allclose(scorer.score(3 * cohort.embeddings), expected, rtol=1e-4, atol=1e-4)


def test_saved_and_restored(voices: Voices) -> None:
    """To the last bit, though the cohort is stored in half precision."""
    scorer = AsNorm().fit(voices(3, 2, copies=1), voices(8, 3, seed=1))
    config, arrays = scorer.state()
    assert arrays["cohort"].dtype == np.float16
    probes = voices(4, 2, seed=2).embeddings
    np.testing.assert_array_equal(AsNorm.restore(config, arrays).score(probes), scorer.score(probes))


@pytest.mark.parametrize("size", [4, 200])
def test_s_norm_by_definition(voices: Voices, size: int) -> None:
    """The mean of both standardised scores, with every row of the cohort."""
    people, cohort, probes = (
        voices(3, 2),
        EmbeddingSet.plain(unit(size, 12, 3), np.arange(size)),
        unit(5, 12, 4),
    )
    scorer = SNorm().fit(people, cohort)
    scores = scorer.score(probes)
    for i, probe in enumerate(probes.astype(float)):
        for k, person in enumerate(scorer.prototypes.astype(float)):
            with_probe, with_person = (scorer.cohort.astype(float) @ x for x in (probe, person))
            s = probe @ person
            expected = (
                (s - with_probe.mean()) / with_probe.std() + (s - with_person.mean()) / with_person.std()
            ) / 2
            np.testing.assert_allclose(scores[i, k], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scorer.prototypes, AsNorm().fit(people, cohort).prototypes)
    restored = SNorm.restore(*scorer.state())
    np.testing.assert_array_equal(restored.score(probes), scores)
    assert SNorm.name == "s-norm"


def test_s_norm_is_as_norm_with_the_whole_cohort(voices: Voices) -> None:
    """With ten rows or fewer AS-norm takes them all; with more the two differ."""
    people, probes = voices(3, 2), unit(5, 12, 4)
    for size, same in ((10, True), (200, False)):
        cohort = EmbeddingSet.plain(unit(size, 12, 3), np.arange(size))
        scores = [make().fit(people, cohort).score(probes) for make in (AsNorm, SNorm)]
        assert np.array_equal(*scores) is same


def test_half_precision_is_kept_by_half_precision() -> None:
    x = unit(20, 6, 0)
    np.testing.assert_array_equal(to_half(to_half(x)), to_half(x))
    assert to_half(x).dtype == np.float32
    assert 0 < np.abs(to_half(x) - x).max() < 1e-3


def test_no_cohort(voices: Voices) -> None:
    for make in (AsNorm, SNorm):
        with pytest.raises(NotEnoughDataError, match=f"{make.name} needs clips of other people"):
            make().fit(voices(2, 2))
