"""Crops of a cohort: how many, of whom, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio, load
from openkith.enhancement.cohort_crops import CLEAN, make_crops, negative_people
from openkith.errors import NotEnoughDataError

PEOPLE = 13
SPEEDS = (1.0, 0.8)


@pytest.fixture(scope="module")
def people(record: Callable[..., Path]) -> list[list[Audio]]:
    """Twelve with two clips of 2 s, and one with a single clip."""
    return [
        [load(record(person, take)) for take in range(2 if person < 12 else 1)] for person in range(PEOPLE)
    ]


def test_each_voice_has_its_crops_and_a_quarter_is_clean(bands: Any, people: list[list[Audio]]) -> None:
    crops = make_crops(bands, people, speeds=SPEEDS, per_voice=8)
    voices = len(crops.persons)
    assert voices == 24  # the last has 2 s only
    np.testing.assert_array_equal(np.unique(crops.persons), np.arange(12))
    assert len(crops) == 8 * voices
    assert crops.embeddings.shape == (8 * voices, bands.dim)
    assert crops.wholes.shape == (voices, bands.dim)
    np.testing.assert_array_equal(np.bincount(crops.voices), 8)
    assert crops.degraded.mean() == 1 - 1 / CLEAN


def test_clean_crops_are_nearest_their_own_voice_and_degraded_ones_farther(
    bands: Any, people: list[list[Audio]]
) -> None:
    crops = make_crops(bands, people, speeds=SPEEDS, per_voice=8)
    cosines = crops.embeddings @ crops.wholes.T
    own = cosines[np.arange(len(crops)), crops.voices]
    clean = ~crops.degraded
    assert (cosines[clean].argmax(axis=1) == crops.voices[clean]).mean() > 0.9
    assert own[clean].mean() > own[~clean].mean() + 0.05


def test_equal_seeds_give_equal_crops(bands: Any, people: list[list[Audio]]) -> None:
    one, two, other = (make_crops(bands, people, speeds=SPEEDS, per_voice=4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.embeddings, two.embeddings)
    assert not np.array_equal(one.embeddings, other.embeddings)


def test_few_people_are_refused(bands: Any, people: list[list[Audio]]) -> None:
    with pytest.raises(NotEnoughDataError, match=r"11 people of the cohort say 3\.0 s or more; give 12"):
        make_crops(bands, people[1:], speeds=(1.0,))


def test_negative_people_of_a_manifest_come_by_name(tmp_path: Path, record: Callable[..., Path]) -> None:
    rows = ["path\tspeaker\trole\tstart\tend"]
    for name, role, take in (
        ("b", "negative", 0),
        ("a", "negative", 1),
        ("b", "negative", 2),
        ("c", "test", 3),
    ):
        record(0, take, tmp_path / f"{take}.wav")
        rows.append(f"{take}.wav\t{name}\t{role}\t\t")
    rows[-1] = "3.wav\tc\ttest\t0.5\t1.5"
    rows.append("3.wav\tc\tenroll\t0\t0.5")
    (tmp_path / "set.tsv").write_text("\n".join(rows) + "\n")
    found = negative_people(tmp_path / "set.tsv")
    assert [[Path(clip.source).name for clip in clips] for clips in found] == [["1.wav"], ["0.wav", "2.wav"]]
