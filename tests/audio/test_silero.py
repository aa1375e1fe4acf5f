"""Silero's detector: from probabilities to flags by hand, the network's memory, and real speech."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio, load, trim_silence
from openkith.audio import silero as module
from openkith.audio.silero import SILERO, flags_of, silero_flags, speech_probabilities
from openkith.audio.vad import speech_mask, speech_segments
from openkith.errors import MissingDependencyError, WeightsError
from openkith.wheels import wheel_file

RATE = 16_000


@pytest.fixture
def silero() -> None:
    """Skipped where onnxruntime is not installed or neither the models folder nor an index has the network."""
    pytest.importorskip("onnxruntime")
    try:
        wheel_file(SILERO)
    except WeightsError as error:
        if not str(error).startswith("no "):
            raise
        pytest.skip(str(error))


@pytest.fixture
def fresh_session() -> Iterator[None]:
    module._session.cache_clear()
    yield
    module._session.cache_clear()


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ("0" * 20, "0" * 20),
        ("9" * 20, "1" * 20),
        # Frames 4 to 11 are 8 of speech, just enough; one more on either side.
        ("0" * 4 + "9" * 8 + "0" * 8, "0" * 3 + "1" * 10 + "0" * 7),
        ("0" * 4 + "9" * 7 + "0" * 9, "0" * 20),
        # It begins at 0.5 and goes on at 0.4; three silent frames are bridged, four are not.
        ("4" * 5 + "5" + "4" * 9 + "0" * 5, "0" * 4 + "1" * 12 + "0" * 4),
        ("9" * 8 + "000" + "9" * 4 + "00000", "1" * 16 + "0000"),
        ("9" * 8 + "0000" + "9" * 8 + "0" * 4, "1" * 9 + "00" + "1" * 10 + "000"),
        # At the end of the clip there is silence.
        ("0" * 10 + "9" * 9, "0" * 9 + "1" * 10),
        ("", ""),
    ],
)
def test_flags_by_hand(probabilities: str, expected: str) -> None:
    flags = flags_of(np.array([int(p) / 10 for p in probabilities], np.float32))
    assert "".join("1" if flag else "0" for flag in flags) == expected


class Counting:
    """A session whose hidden state counts frames, and whose probability is the first sample of the frame."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[np.ndarray]:
        assert outputs == ["speech_probs", "hn", "cn"]
        self.heard.append(inputs["input"])
        return [inputs["input"][:, 64], inputs["h"] + len(inputs["input"]), inputs["c"]]


def test_frames_have_what_is_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Counting()
    monkeypatch.setattr(module, "_session", lambda: session)
    monkeypatch.setattr(module, "BLOCK_FRAMES", 4)
    samples = np.arange(1, 10 * 512 + 300, dtype=np.float32)
    probabilities = speech_probabilities(samples)
    np.testing.assert_array_equal(probabilities, samples[: 10 * 512 : 512])
    assert [block.shape for block in session.heard] == [(4, 576), (4, 576), (2, 576)]
    frames = np.concatenate(session.heard)
    np.testing.assert_array_equal(frames[0], np.r_[np.zeros(64), samples[:512]])
    np.testing.assert_array_equal(frames[7], samples[7 * 512 - 64 : 8 * 512])
    assert speech_probabilities(samples[:511]).shape == (0,)


@pytest.mark.usefixtures("fresh_session")
def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"'silero' needs .* 'openkith\[onnx\]'"):
        trim_silence(Audio(np.ones(RATE, np.float32), "x"), "silero")


@pytest.mark.usefixtures("silero", "fresh_session")
def test_a_damaged_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    (tmp_path / SILERO.name).write_bytes(b"x")
    with pytest.raises(WeightsError, match="not the published file; delete it"):
        silero_flags(np.zeros(RATE, np.float32))


@pytest.mark.usefixtures("silero")
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, voice: Callable[..., np.ndarray]) -> None:
    samples = (voice(6.0) / 32768).astype(np.float32)
    whole = speech_probabilities(samples)
    assert whole.shape == (len(samples) // 512,)
    monkeypatch.setattr(module, "BLOCK_FRAMES", 17)
    np.testing.assert_allclose(speech_probabilities(samples), whole, atol=1e-5)


@pytest.mark.usefixtures("silero")
@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
def test_there_is_no_speech(kind: str) -> None:
    t = np.arange(4 * RATE) / RATE
    made = {
        "silence": np.zeros(len(t)),
        "noise": 0.05 * np.random.default_rng(0).standard_normal(len(t)),
        "hum": 0.05 * np.sin(2 * np.pi * 50 * t),
    }
    audio = Audio(made[kind].astype(np.float32), kind)
    assert speech_mask(audio, "silero").mean() < 0.05
    assert trim_silence(audio, "silero") is audio


@pytest.mark.usefixtures("silero")
def test_real_speech_between_pauses(speech: Path) -> None:
    clip = load(sorted(speech.glob("home/*/*.flac"))[0]).samples[: 3 * RATE]
    pause = np.zeros(2 * RATE, np.float32)
    audio = Audio(np.concatenate([pause, clip, pause]), "x")
    segments = speech_segments(audio, "silero")
    assert 1.9 < segments[0][0] < 2.7
    assert 4.3 < segments[-1][1] < 5.2
    assert 1.5 < trim_silence(audio, "silero").seconds < 3.2


@pytest.mark.usefixtures("silero")
def test_both_detectors_mostly_agree_on_real_speech(speech: Path) -> None:
    for path in sorted(speech.glob("home/*/*.flac"))[::15]:
        audio = load(path)
        both = [speech_mask(audio, detector) for detector in ("webrtc", "silero")]
        assert np.mean(both[0] == both[1]) > 0.75
        assert both[1].mean() > 0.5
