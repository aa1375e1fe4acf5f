"""A household: distinct people, the same each time, and recorded as one would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from openkith.audio import load
from openkith.audio.io import Audio
from openkith.data import read_manifest
from openkith.data.synthesis import SyntheticClip, household, write_household
from openkith.data.synthesis.household import MEN, WOMEN
from openkith.errors import ConfigError


def third_octaves(audio: Audio) -> np.ndarray:
    """Long-term spectrum in dB in bands of a third of an octave from 200 to 6400 Hz, about its mean."""
    hz, density = scipy.signal.welch(audio.samples.astype(np.float64), 16_000, nperseg=1024)
    edges = 200 * 2 ** (np.arange(16) / 3)
    levels = [10 * np.log10(density[(hz >= low) & (hz < high)].mean()) for low, high in pairwise(edges)]
    return np.array(levels) - np.mean(levels)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("people", 0),
        ("people", 21),
        ("strangers", -1),
        ("strangers", 96),
        ("enrol_clips", 0),
        ("later_clips", 0),
        ("later_clips", 26),
        ("seed", -1),
    ],
)
def test_a_household_of_wrong_numbers(number: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{number} is {value}"):
        household(**{number: value})


@pytest.fixture(scope="module")
def clips(praat: None) -> list[SyntheticClip]:  # noqa: ARG001
    return household(seed=5)


def test_a_household(clips: list[SyntheticClip]) -> None:
    counts = Counter((clip.speaker, clip.role) for clip in clips)
    people = {speaker for speaker, role in counts if role == "enroll"}
    strangers = {speaker for speaker, _ in counts} - people
    assert people < {*WOMEN, *MEN}
    assert strangers == {f"stranger-{index}" for index in range(1, 6)}
    assert [counts[name, "enroll"] for name in people] == [3] * 5
    assert [counts[name, "test"] for name in people | strangers] == [4] * 10
    for name in people | strangers:
        texts = [clip.text for clip in clips if clip.speaker == name]
        assert len(set(texts)) == len(texts)
    assert len({clip.audio.sha256 for clip in clips}) == len(clips)
    seconds = [clip.audio.seconds for clip in clips]
    assert min(seconds) > 2
    assert 2.5 < np.mean(seconds) < 4.5
    assert max(seconds) < 6.5


def test_later_clips_have_a_room_and_others_have_none(
    clips: list[SyntheticClip], rms_db: Callable[[np.ndarray], float]
) -> None:
    for clip in clips:
        frames = clip.audio.samples[: len(clip.audio.samples) // 160 * 160].reshape(-1, 160)
        quietest = np.sort([rms_db(frame + 1e-9) for frame in frames])[3]
        floor = quietest - rms_db(clip.audio.samples)
        if clip.role == "test":
            assert -34 < floor < -14, clip
        else:
            assert floor < -38, clip


def test_two_people_sound_different(
    clips: list[SyntheticClip], median_pitch: Callable[[Audio], float]
) -> None:
    """By spectrum and pitch alone, every clean sentence is nearest to the others of its speaker."""
    clean = [clip for clip in clips if clip.role == "enroll"]
    marks = [
        np.append(third_octaves(clip.audio) / 3, 12 * np.log2(median_pitch(clip.audio))) for clip in clean
    ]
    for index, clip in enumerate(clean):
        means = {
            name: np.mean([m for i, m in enumerate(marks) if clean[i].speaker == name and i != index], axis=0)
            for name in {other.speaker for other in clean}
        }
        distances = {name: float(np.linalg.norm(marks[index] - mean)) for name, mean in means.items()}
        assert min(distances, key=distances.__getitem__) == clip.speaker, distances


@pytest.mark.usefixtures("praat")
def test_a_seed_makes_the_same_household() -> None:
    steps: list[tuple[int, int]] = []
    first = household(1, 1, 1, 1, seed=8, progress=lambda done, total: steps.append((done, total)))
    again, other = household(1, 1, 1, 1, seed=8), household(1, 1, 1, 1, seed=9)
    assert steps == [(1, 2), (2, 2)]
    assert [(c.speaker, c.role, c.text, c.audio.sha256) for c in first] == [
        (c.speaker, c.role, c.text, c.audio.sha256) for c in again
    ]
    assert {c.audio.sha256 for c in first}.isdisjoint(c.audio.sha256 for c in other)


@pytest.mark.usefixtures("praat")
def test_a_household_on_disk(tmp_path: Path) -> None:
    manifest = write_household(tmp_path / "home", people=2, strangers=1, enrol_clips=2, later_clips=1, seed=2)
    assert manifest == read_manifest(tmp_path / "home" / "household.tsv")
    assert (len(manifest.enroll), len(manifest.test), len(manifest.negative)) == (4, 3, 0)
    assert manifest.unknown_speakers == ("stranger-1",)
    manifest.check_evaluable()
    made = household(people=2, strangers=1, enrol_clips=2, later_clips=1, seed=2)
    for row, clip in zip(manifest.rows, made, strict=True):
        assert (row.speaker, row.role) == (clip.speaker, clip.role)
        read = load(row.path)
        assert len(read.samples) == len(clip.audio.samples)
        assert np.abs(read.samples - clip.audio.samples).max() < 1e-3
    assert sorted(path.name for path in tmp_path.glob("home/stranger-1/*")) == ["later-1.wav"]
