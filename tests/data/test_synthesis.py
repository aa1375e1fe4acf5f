"""Synthetic people: distinct, the same each time, and recorded as a household would be."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from openkith.audio import load
from openkith.audio.io import Audio
from openkith.data import read_manifest, synthesis
from openkith.data.synthesis import (
    SENTENCES,
    SyntheticClip,
    SyntheticVoice,
    espeak_voices,
    household,
    speak,
    unknown_speakers,
    write_household,
)
from openkith.errors import ConfigError

needs_praat = pytest.mark.skipif(
    importlib.util.find_spec("parselmouth") is None,
    reason="the extra 'synthesis' (praat-parselmouth) is absent",
)


def rms_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(x, dtype=np.float64))))


def median_pitch(audio: Audio) -> float:
    """Median of the autocorrelation's peak lag (Hz) over the loud frames, between 60 and 400 Hz."""
    found = []
    for start in range(0, len(audio.samples) - 1024, 512):
        frame = audio.samples[start : start + 1024].astype(np.float64)
        if rms_db(frame) > -30:
            correlation = scipy.signal.correlate(frame, frame)[1023:]
            lags = np.arange(16_000 // 400, 16_000 // 60)
            found.append(16_000 / lags[correlation[lags].argmax()])
    return float(np.median(found))


def envelope(audio: Audio) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz), and the long-term spectrum (dB) without its harmonics."""
    hz, density = scipy.signal.welch(audio.samples.astype(np.float64), 16_000, nperseg=4096)
    return hz, scipy.ndimage.gaussian_filter1d(10 * np.log10(density), 30)


def third_octaves(audio: Audio) -> np.ndarray:
    """Long-term spectrum in dB in bands of a third of an octave from 200 to 6400 Hz, about its mean."""
    hz, density = scipy.signal.welch(audio.samples.astype(np.float64), 16_000, nperseg=1024)
    edges = 200 * 2 ** (np.arange(16) / 3)
    levels = [10 * np.log10(density[(hz >= low) & (hz < high)].mean()) for low, high in pairwise(edges)]
    return np.array(levels) - np.mean(levels)


# ---- voices


def test_voices_follow_their_seed_and_differ() -> None:
    assert espeak_voices(10, seed=3) == espeak_voices(10, seed=3)
    assert espeak_voices(10, seed=3) != espeak_voices(10, seed=4)
    for n in (1, 16, 40):
        voices = espeak_voices(n, seed=1)
        assert len(voices) == n
        assert len({voice.name for voice in voices}) == n
        for one, two in combinations(voices, 2):
            assert one.espeak_voice != two.espeak_voice or abs(one.formant_shift - two.formant_shift) >= 0.07


def test_few_people_are_drawn_from_the_most_distinct() -> None:
    best = {f"{variant.lower()}-{round(100 * shift)}" for variant, shift in synthesis.VOICES[:16]}
    drawn = {voice.name for seed in range(20) for voice in espeak_voices(10, seed)}
    assert drawn == best


@pytest.mark.parametrize("n", [0, 41])
def test_too_many_people(n: int) -> None:
    with pytest.raises(ConfigError, match=f"{n} synthetic people; ask for 1 to 40"):
        espeak_voices(n)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pitch", 0.2),
        ("pitch", 3.0),
        ("pitch_range", -0.1),
        ("formant_shift", 2.0),
        ("rate", 10.0),
        ("rate", float("nan")),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"voice 'x': {field} is {value}"):
        SyntheticVoice("x", **{field: value})


def test_sentences_are_distinct() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) >= 20


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("people", 0),
        ("people", 21),
        ("strangers", -1),
        ("strangers", 36),
        ("enrol_clips", 0),
        ("later_clips", 0),
        ("later_clips", 26),
        ("seed", -1),
    ],
)
def test_a_household_of_wrong_numbers(number: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{number} is {value}"):
        household(**{number: value})


def test_importing_needs_no_extra() -> None:
    code = "import sys, openkith.data.synthesis; sys.exit(bool({'parselmouth', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- sound


@needs_praat
def test_speech_is_at_its_level_and_rate() -> None:
    audio = speak(SyntheticVoice("x"), SENTENCES[0])
    assert audio.sample_rate == 16_000
    assert audio.source == "eSpeak Male1"
    assert 2 < audio.seconds < 6
    assert rms_db(audio.samples) == pytest.approx(-26, abs=0.01)
    assert np.abs(audio.samples).max() < 1


@needs_praat
def test_pitch_and_formants_are_set_apart() -> None:
    plain = speak(SyntheticVoice("x"), SENTENCES[1])
    high = speak(SyntheticVoice("x", pitch=1.5), SENTENCES[1])
    long_tract = speak(SyntheticVoice("x", formant_shift=0.84), SENTENCES[1])
    assert 1.25 < median_pitch(high) / median_pitch(plain) < 1.6
    assert median_pitch(long_tract) / median_pitch(plain) == pytest.approx(1.0, rel=0.1)
    assert long_tract.seconds == pytest.approx(plain.seconds, rel=0.12)
    frequency = np.geomspace(300, 5000, 200)
    moved_up, as_it_is, moved_down = (
        np.corrcoef(
            np.interp(frequency * factor, *envelope(long_tract)), np.interp(frequency, *envelope(plain))
        )
        for factor in (0.84, 1.0, 1 / 0.84)
    )
    assert moved_up[0, 1] > as_it_is[0, 1] > moved_down[0, 1]


@needs_praat
def test_nothing_to_say() -> None:
    with pytest.raises(ConfigError, match="nothing to say; give a text"):
        speak(SyntheticVoice("x"), "  ")


@pytest.fixture(scope="module")
def clips() -> list[SyntheticClip]:
    if importlib.util.find_spec("parselmouth") is None:
        pytest.skip("the extra 'synthesis' (praat-parselmouth) is absent")
    return household(seed=5)


def test_a_household(clips: list[SyntheticClip]) -> None:
    counts = Counter((clip.speaker, clip.role) for clip in clips)
    people = {speaker for speaker, role in counts if role == "enroll"}
    strangers = {speaker for speaker, _ in counts} - people
    assert people < {*synthesis.WOMEN, *synthesis.MEN}
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


def test_later_clips_have_a_room_and_others_have_none(clips: list[SyntheticClip]) -> None:
    for clip in clips:
        frames = clip.audio.samples[: len(clip.audio.samples) // 160 * 160].reshape(-1, 160)
        quietest = np.sort([rms_db(frame + 1e-9) for frame in frames])[3]
        floor = quietest - rms_db(clip.audio.samples)
        if clip.role == "test":
            assert -34 < floor < -14, clip
        else:
            assert floor < -38, clip


def test_two_people_sound_different(clips: list[SyntheticClip]) -> None:
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


@needs_praat
def test_a_seed_makes_the_same_household() -> None:
    steps: list[tuple[int, int]] = []
    first = household(1, 1, 1, 1, seed=8, progress=lambda done, total: steps.append((done, total)))
    again, other = household(1, 1, 1, 1, seed=8), household(1, 1, 1, 1, seed=9)
    assert steps == [(1, 2), (2, 2)]
    assert [(c.speaker, c.role, c.text, c.audio.sha256) for c in first] == [
        (c.speaker, c.role, c.text, c.audio.sha256) for c in again
    ]
    assert {c.audio.sha256 for c in first}.isdisjoint(c.audio.sha256 for c in other)


@needs_praat
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


@needs_praat
def test_unknown_speakers_are_distinct_voices_that_say_different_things() -> None:
    clips = unknown_speakers(3, clips=2, seed=1)
    again = unknown_speakers(3, clips=2, seed=1)
    names = [name for name, _ in clips]
    assert names == [voice.name for voice in espeak_voices(3, seed=1) for _ in range(2)]
    assert len({audio.sha256 for _, audio in clips}) == 6
    assert [audio.sha256 for _, audio in clips] == [audio.sha256 for _, audio in again]
    assert all(audio.seconds > 1.0 for _, audio in clips)


@pytest.mark.parametrize(("n", "clips"), [(0, 2), (3, 0), (1000, 2), (3, 1000)])
def test_unknown_speakers_out_of_range(n: int, clips: int) -> None:
    with pytest.raises(ConfigError, match="ask for 1 to"):
        unknown_speakers(n, clips=clips)
