"""Changed recordings: other people where the formants move, the same ones where they stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.io import Audio
from openkith.data.synthesis.recordings import recordings_by_speaker, recordings_of
from openkith.data.synthesis.styles import STYLES
from openkith.data.synthesis.transform import SHIFTS, TransformSource
from openkith.errors import ConfigError


def test_every_shift_makes_a_new_person() -> None:
    reached = sorted(shift * (1 + jitter) for shift in SHIFTS for jitter in (-0.01, 0.01))
    assert all(abs(shift - 1) >= 0.12 for shift in reached)
    assert np.diff(sorted(SHIFTS)).min() > 0.069


def test_how_many_people_there_are_in_recordings(people: Path) -> None:
    source = TransformSource(recordings_by_speaker([people]))
    assert source.voices == 8
    for n in (0, 9):
        with pytest.raises(
            ConfigError, match=rf"{n} new people of 2 people's recordings; ask for 1 to 8, or give"
        ):
            next(source.unknown_speakers(n))
    with pytest.raises(ConfigError, match="changes recordings; give some with --from"):
        next(TransformSource().unknown_speakers(1))
    with pytest.raises(ConfigError, match="0 clips of each new person"):
        next(source.unknown_speakers(1, clips=0))
    with pytest.raises(ConfigError, match="seed is -1"):
        next(source.unknown_speakers(1, seed=-1))


@pytest.mark.usefixtures("praat")
def test_unknown_speakers_of_recordings(people: Path) -> None:
    source = TransformSource(recordings_by_speaker([people]))
    clips, again = (list(source.unknown_speakers(3, clips=3, seed=4)) for _ in range(2))
    assert [clip.audio.sha256 for clip in clips] == [clip.audio.sha256 for clip in again]
    names = list(dict.fromkeys(clip.speaker for clip in clips))
    assert len(names) == 3
    assert {name.split("-")[0] for name in names} == {"ann", "ben"}
    assert all(clip.role == "negative" and not clip.style for clip in clips)
    assert len({clip.audio.sha256 for clip in clips}) == 9
    for clip in clips:
        shift = int(clip.speaker.split("-")[1]) / 100
        assert abs(shift - 1) >= 0.12
        assert 1.2 < clip.audio.seconds < 2.0


@pytest.mark.usefixtures("praat")
def test_styles_are_heard(people: Path, median_pitch: Callable[[Audio], float]) -> None:
    recordings = recordings_of("ann", [people / "ann" / "0.wav"])
    wanted = [STYLES[name] for name in ("happy", "slow", "fast")]
    clips = list(TransformSource().styles("ann", recordings, wanted, seed=1))
    assert [(clip.speaker, clip.role, clip.style) for clip in clips] == [
        ("ann", "enroll", style.name) for style in wanted
    ]
    happy, slow, fast = (clip.audio for clip in clips)
    assert median_pitch(happy) / median_pitch(recordings[0]) == pytest.approx(1.25, rel=0.09)
    assert median_pitch(slow) / median_pitch(recordings[0]) == pytest.approx(0.98, rel=0.09)
    assert slow.seconds / recordings[0].seconds == pytest.approx(1 / 0.75, rel=0.08)
    assert fast.seconds / recordings[0].seconds == pytest.approx(1 / 1.35, rel=0.08)
    for audio in (happy, slow, fast):
        assert np.std(audio.samples) == pytest.approx(np.std(recordings[0].samples), rel=0.05)


@pytest.mark.usefixtures("praat")
def test_of_a_long_recording_a_stretch(record: Callable[..., Path], tmp_path: Path) -> None:
    long = load(record(0, 7, tmp_path / "long.wav", 12.0))
    [clip] = TransformSource().styles("ann", [long], [STYLES["happy"]])
    assert 6.0 < clip.audio.seconds < 9.0
