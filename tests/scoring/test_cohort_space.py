"""What depends on the cohort alone is learned once, and what is kept is what was learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.scoring import EmbeddingSet, SpeakerSpace, cohort_space
from openkith.scoring.conditions import ConditionGuess

Voices = Callable[..., EmbeddingSet]


@pytest.fixture(autouse=True)
def nothing_in_memory() -> Iterator[None]:
    cohort_space._memory.clear()
    yield
    cohort_space._memory.clear()


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each fit of the conditions saw."""
    seen: list[int] = []
    fit = ConditionGuess.fit

    def counted(self: ConditionGuess, cohort: EmbeddingSet) -> ConditionGuess:
        seen.append(len(cohort))
        return fit(self, cohort)

    monkeypatch.setattr(ConditionGuess, "fit", counted)
    return seen


def test_a_cohort_is_learned_once(voices: Voices, fits: list[int]) -> None:
    cohort = voices(9, 3, copies=3)
    households = [voices(3, 2, copies=3, seed=seed) for seed in (1, 2)]
    spaces = [SpeakerSpace().fit(people, cohort) for people in households]
    assert fits == [len(cohort)]
    assert np.array_equal(spaces[0].whitener, spaces[1].whitener)
    assert not np.array_equal(spaces[0].shift, spaces[1].shift)


@pytest.mark.parametrize("changed", ["embeddings", "labels", "groups"])
def test_another_cohort_is_another(voices: Voices, fits: list[int], changed: str) -> None:
    cohort = voices(9, 3, copies=3)
    other = {
        "embeddings": cohort.embeddings + np.float32(1e-6),
        "labels": np.roll(cohort.labels, 1),
        "groups": np.roll(cohort.groups, 1),
    }[changed]
    for each in (cohort, replace(cohort, **{changed: other}), cohort):
        cohort_space.cohort_space(each)
    assert len(fits) == 2


def test_what_is_on_disk_is_what_was_learned(
    voices: Voices, fits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path))
    cohort = voices(30, 2, copies=3)
    conditions, whitener = cohort_space.cohort_space(cohort)
    [file] = tmp_path.iterdir()
    for content in (file.read_bytes(), b"damaged"):
        file.write_bytes(content)
        cohort_space._memory.clear()
        again, same = cohort_space.cohort_space(cohort)
        assert np.array_equal(same, whitener)
        for name in ("groups", "means", "weights", "bias"):
            assert np.array_equal(getattr(again, name), getattr(conditions, name))
    assert len(fits) == 2  # the damaged file was made again


def test_a_few_voices_are_not_written(
    voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_CLIP_CACHE", str(tmp_path))
    cohort_space.cohort_space(voices(29, 2, copies=1))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded(voices: Voices) -> None:
    for seed in range(70):
        cohort_space.cohort_space(voices(3, 2, seed=seed))
    assert len(cohort_space._memory) == 64
