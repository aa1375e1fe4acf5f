"""The synthesiser's process: right samples each time, and an end to every call."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openkith.data import praat
from openkith.data.praat import SYNTHESIZER_RATE, Change, Phrase, change_voices, synthesize
from openkith.errors import ConfigError, KithError, MissingDependencyError

needs_praat = pytest.mark.skipif(
    importlib.util.find_spec("parselmouth") is None,
    reason="the extra 'synthesis' (praat-parselmouth) is absent",
)
HELLO = Phrase("English (Great Britain)", "Male1", 1.0, 1.0, 175.0, "Good morning, everybody.")


@needs_praat
def test_the_same_samples_each_time() -> None:
    first, second = synthesize([HELLO, HELLO]), synthesize([HELLO, HELLO])
    for one, two in zip(first, second, strict=True):
        assert one.dtype == np.float32
        assert 0.8 < len(one) / SYNTHESIZER_RATE < 3
        assert np.abs(one).max() > 0.1
        assert np.array_equal(one, two)


@needs_praat
def test_rate_is_heard() -> None:
    slow, fast = synthesize(
        [Phrase(HELLO.language, HELLO.voice, 1.0, 1.0, rate, HELLO.text) for rate in (120.0, 240.0)]
    )
    assert 1.4 < len(slow) / len(fast) < 2.6


@needs_praat
def test_what_praat_refuses_is_one_line() -> None:
    with pytest.raises(
        KithError,
        match=r"^Praat's speech synthesiser \(voice 'Nobody'\): .*not a valid option.*; run it again",
    ) as caught:
        synthesize([Phrase("English (Great Britain)", "Nobody", 1.0, 1.0, 175.0, "Hello.")])
    assert "\n" not in str(caught.value)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in Praat's place; parselmouth may be absent."""
    program = tmp_path / "program.py"
    monkeypatch.setattr(praat, "PROGRAM", (sys.executable, str(program)))
    monkeypatch.setattr(praat, "require", lambda *_: None)
    return program


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="signal 0 asks for a process on POSIX only")
def test_a_call_that_hangs_is_ended_and_tried_once_more(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    stand_in.write_text(
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(600)\n"
    )
    monkeypatch.setattr(praat, "START_SECONDS", 1.5)
    monkeypatch.setattr(praat, "SECONDS_PER_TEXT", 0.5)
    begin = time.monotonic()
    with pytest.raises(KithError, match=r"gave no answer within 2 s and was stopped; run it again"):
        synthesize([HELLO])
    assert time.monotonic() - begin < 60  # 600 if it were waited for
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert not any(is_alive(pid) for pid in started)


def test_a_crash_is_tried_once_more(tmp_path: Path, stand_in: Path) -> None:
    mark = tmp_path / "mark"
    stand_in.write_text(
        "import os, sys, numpy, pathlib\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n    mark.touch()\n    os._exit(7)\n"
        "numpy.savez(sys.argv[2], **{'0': numpy.ones(3, numpy.float32)})\n"
    )
    assert synthesize([HELLO])[0].tolist() == [1, 1, 1]


def test_a_crash_twice_is_an_error(stand_in: Path) -> None:
    stand_in.write_text("import os\nos._exit(7)\n")
    with pytest.raises(KithError, match="ended with 7"):
        synthesize([HELLO])


def test_the_extra_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[synthesis\]'"):
        synthesize([HELLO])


def vowel(pitch: float, formants: tuple[float, ...] = (700, 1200, 2500), seconds: float = 0.8) -> np.ndarray:
    """A voice of one pitch with formants (Hz), at 16 kHz."""
    t = np.arange(round(seconds * 16_000)) / 16_000
    wander = pitch * (1 + 0.1 * np.sin(2 * np.pi * 2.5 * t))
    phase = 2 * np.pi * np.cumsum(wander) / 16_000
    x = np.zeros_like(t)
    for k in range(1, int(7000 / pitch)):
        level = sum(np.exp(-0.5 * ((k * pitch - f) / 120) ** 2) for f in formants) + 0.003
        x += level * np.sin(k * phase)
    return (0.2 * x / np.abs(x).max()).astype(np.float32)


def formant_peak(x: np.ndarray, low: float, high: float) -> float:
    """Centre (Hz) of the power between two frequencies."""
    power = np.abs(np.fft.rfft(x.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / 16_000)
    inside = (hz > low) & (hz < high)
    return float((hz * power)[inside].sum() / power[inside].sum())


def pitch_track(x: np.ndarray) -> np.ndarray:
    """Pitch (Hz) of frames of 40 ms, by autocorrelation."""
    found = []
    for start in range(1600, len(x) - 2240, 320):
        frame = x[start : start + 640].astype(np.float64)
        correlation = np.correlate(frame, frame, "full")[639:]
        found.append(16_000 / (40 + correlation[40:266].argmax()))
    return np.array(found)


@needs_praat
def test_a_change_of_pitch_range_tempo_and_formants() -> None:
    x = vowel(150)
    higher, flat, longer, shifted = change_voices(
        [x] * 4,
        [Change(pitch=1.3), Change(pitch_range=0.0), Change(duration=1.4), Change(formants=1.2)],
    )
    assert np.median(pitch_track(higher)) / np.median(pitch_track(x)) == pytest.approx(1.3, rel=0.04)
    assert np.std(pitch_track(flat)) < 0.4 * np.std(pitch_track(x))
    assert len(longer) / len(x) == pytest.approx(1.4, rel=0.02)
    assert np.median(pitch_track(shifted)) / np.median(pitch_track(x)) == pytest.approx(1.0, rel=0.04)
    assert formant_peak(x, 1800, 3600) == pytest.approx(2500, rel=0.03)
    assert formant_peak(higher, 1800, 3600) == pytest.approx(2500, rel=0.03)
    assert formant_peak(shifted, 1900, 4200) == pytest.approx(3000, rel=0.03)


@needs_praat
def test_changes_are_the_same_each_time_and_stand_noise_and_silence() -> None:
    rng = np.random.default_rng(0)
    clips = [vowel(120), (0.1 * rng.standard_normal(8000)).astype(np.float32), np.zeros(8000, np.float32)]
    wanted = [Change(1.2, 1.5, 0.9, 1.15)] * 3
    first, second = change_voices(clips, wanted), change_voices(clips, wanted)
    for clip, one, two in zip(clips, first, second, strict=True):
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert np.array_equal(one, two)
        assert len(one) / len(clip) == pytest.approx(0.9, rel=0.02)


@needs_praat
def test_a_clip_too_short_to_change_is_named() -> None:
    with pytest.raises(KithError, match=r"^short\.wav: 0\.050 s is too short to change a voice"):
        change_voices([np.ones(800, np.float32)], [Change()], ["short.wav"])
    assert len(change_voices([vowel(150, seconds=0.1)], [Change(1.1)])[0]) > 1000


def test_nothing_to_do(stand_in: Path) -> None:
    stand_in.write_text("raise SystemExit(3)\n")
    assert change_voices([], []) == []
    assert synthesize([]) == []


def test_a_change_that_crashes_names_the_clip(stand_in: Path) -> None:
    stand_in.write_text("import os\nos._exit(7)\n")
    with pytest.raises(KithError, match=r"Praat's change of a voice \(ann\.wav and others\): ended with 7"):
        change_voices([np.ones(4000, np.float32)] * 2, [Change()] * 2, ["ann.wav", "ben.wav"])


@pytest.mark.parametrize(
    ("field", "value"), [("pitch", 3.0), ("pitch_range", -1.0), ("duration", 0.0), ("formants", float("nan"))]
)
def test_a_change_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"change of a voice: {field} is {value}"):
        Change(**{field: value})
