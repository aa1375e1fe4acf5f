"""Voices of eSpeak: distinct, the same each time, and at their level."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from openkith.audio.io import Audio
from openkith.data.synthesis.espeak import (
    VOICES,
    EspeakSource,
    SyntheticVoice,
    espeak_voices,
    speak,
    unknown_speakers,
)
from openkith.data.synthesis.sentences import SENTENCES
from openkith.data.synthesis.styles import STYLES
from openkith.errors import ConfigError


def envelope(audio: Audio) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz), and the long-term spectrum (dB) without its harmonics."""
    hz, density = scipy.signal.welch(audio.samples.astype(np.float64), 16_000, nperseg=4096)
    return hz, scipy.ndimage.gaussian_filter1d(10 * np.log10(density), 30)


# ---- voices


def test_voices_follow_their_seed_and_differ() -> None:
    assert espeak_voices(10, seed=3) == espeak_voices(10, seed=3)
    assert espeak_voices(10, seed=3) != espeak_voices(10, seed=4)
    for n in (1, 16, 40, 100):
        voices = espeak_voices(n, seed=1)
        assert len(voices) == n
        assert len({voice.name for voice in voices}) == n
        for one, two in combinations(voices, 2):
            assert one.espeak_voice != two.espeak_voice or abs(one.formant_shift - two.formant_shift) >= 0.07


def test_few_people_are_drawn_from_the_most_distinct() -> None:
    best = {f"{variant.lower()}-{round(100 * shift)}" for variant, shift in VOICES[:16]}
    drawn = {voice.name for seed in range(20) for voice in espeak_voices(10, seed)}
    assert drawn == best


@pytest.mark.parametrize("n", [0, 101])
def test_too_many_people(n: int) -> None:
    with pytest.raises(ConfigError, match=f"{n} synthetic people; ask for 1 to 100"):
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


def test_importing_needs_no_extra() -> None:
    code = "import sys, openkith.data.synthesis; sys.exit(bool({'parselmouth', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- sound


@pytest.mark.usefixtures("praat")
def test_speech_is_at_its_level_and_rate(rms_db: Callable[[np.ndarray], float]) -> None:
    audio = speak(SyntheticVoice("x"), SENTENCES[0])
    assert audio.sample_rate == 16_000
    assert audio.source == "eSpeak Male1"
    assert 2 < audio.seconds < 6
    assert rms_db(audio.samples) == pytest.approx(-26, abs=0.01)
    assert np.abs(audio.samples).max() < 1


@pytest.mark.usefixtures("praat")
def test_pitch_and_formants_are_set_apart(median_pitch: Callable[[Audio], float]) -> None:
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


@pytest.mark.usefixtures("praat")
def test_nothing_to_say() -> None:
    with pytest.raises(ConfigError, match="nothing to say; give a text"):
        speak(SyntheticVoice("x"), "  ")


@pytest.mark.usefixtures("praat")
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


@pytest.mark.usefixtures("praat")
def test_the_source_gives_negatives_who_say_what_they_are_told() -> None:
    texts = ["One two three.", "Four five six."]
    clips = list(EspeakSource(texts).unknown_speakers(2, clips=2, seed=3))
    assert [clip.role for clip in clips] == ["negative"] * 4
    assert [sorted(clip.text for clip in clips[i : i + 2]) for i in (0, 2)] == [sorted(texts)] * 2


def test_the_source_has_a_hundred_voices_and_no_styles() -> None:
    assert EspeakSource().voices == len(VOICES) == 100
    with pytest.raises(
        ConfigError, match="eSpeak cannot speak in the voice of ann; use the source transform"
    ):
        EspeakSource().styles("ann", [], list(STYLES.values()))
