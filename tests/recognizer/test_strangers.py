"""Folders of other people's recordings, in every form that users have them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.errors import ManifestError
from openkith.recognizer.strangers import MAX_PIECES, cut_long, stranger_recordings

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import voice, write_voice


def listed(folder: Path) -> list[tuple[str, str]]:
    return [(recording.speaker, recording.path.name) for recording in stranger_recordings(folder)]


def test_loose_files_are_a_voice_each(tmp_path: Path) -> None:
    for who in ("tv", "guest"):
        write_voice(tmp_path, who)
    (tmp_path / "notes.txt").write_text("not audio")
    (tmp_path / ".tv-9.wav").write_bytes(b"hidden")
    (tmp_path / ".cache").mkdir()
    assert listed(tmp_path) == [("guest-0.wav", "guest-0.wav"), ("tv-0.wav", "tv-0.wav")]


def test_a_folder_per_speaker(tmp_path: Path) -> None:
    for who, take in (("guest", 0), ("guest", 1), ("tv", 0)):
        write_voice(tmp_path / who, who, take)
    assert listed(tmp_path) == [("guest", "guest-0.wav"), ("guest", "guest-1.wav"), ("tv", "tv-0.wav")]


def test_a_kaldi_folder_beside_its_files(tmp_path: Path) -> None:
    write_voice(tmp_path, "tv", seconds=3.0)
    (tmp_path / "wav.scp").write_text("rec tv-0.wav\n")
    (tmp_path / "segments").write_text("one rec 0.0 1.0\ntwo rec 1.5 3.0\n")
    (tmp_path / "utt2spk").write_text("one news\ntwo film\n")
    cuts = [(each.speaker, each.start, each.end) for each in stranger_recordings(tmp_path)]
    assert cuts == [("news", 0.0, 1.0), ("film", 1.5, 3.0)]


def test_errors_name_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere: not a folder"):
        stranger_recordings(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("not audio")
    with pytest.raises(ManifestError, match=f"{tmp_path.name}: no audio"):
        stranger_recordings(tmp_path)
    with pytest.raises(ManifestError, match="not a folder"):
        stranger_recordings(tmp_path / "notes.txt")
    write_voice(tmp_path, "loose")
    write_voice(tmp_path / "guest", "guest")
    with pytest.raises(ManifestError, match=r"loose-0\.wav: is in no speaker's folder"):
        stranger_recordings(tmp_path)


def ramp(seconds: float) -> Audio:
    """Samples that tell where they are from."""
    return Audio(np.arange(round(seconds * 16000), dtype=np.float32) / 1e8, "ramp")


@pytest.fixture
def all_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.recognizer.strangers.trim_silence", lambda audio: audio)


@pytest.mark.usefixtures("all_speech")
@pytest.mark.parametrize(
    ("seconds", "pieces"),
    [
        (7.9, [7.9]),
        (8.0, [4.0, 4.0]),
        (8.9, [4.0, 4.0]),
        (9.5, [4.0, 4.0, 1.5]),
        (13.0, [4.0, 4.0, 4.0, 1.0]),
    ],
)
def test_long_recordings_are_cut(seconds: float, pieces: list[float]) -> None:
    cut = cut_long(ramp(seconds))
    assert [piece.seconds for piece in cut] == pieces
    assert [round(float(piece.samples[0]) * 1e8) for piece in cut] == [64000 * i for i in range(len(pieces))]
    assert {piece.source for piece in cut} == {"ramp"}


@pytest.mark.usefixtures("all_speech")
@pytest.mark.parametrize("seconds", [100.0, 101.0, 320.0, 1000.0])
def test_pieces_come_from_all_over_a_very_long_recording(seconds: float) -> None:
    cut = cut_long(ramp(seconds))
    assert MAX_PIECES / 2 < len(cut) <= MAX_PIECES
    starts = np.array([float(piece.samples[0]) * 1e8 / 16000 for piece in cut])
    assert np.ptp(np.diff(starts)) < 0.01  # even
    assert starts[-1] > 0.85 * seconds - 4.0


def test_only_speech_is_cut_up() -> None:
    talk = voice("tv", seconds=9.0)
    silence = np.zeros(5 * 16000, np.float32)
    recording = replace(talk, samples=np.concatenate([silence, talk.samples, silence]))
    cut = cut_long(recording)
    assert len(cut) in (2, 3)
    assert sum(piece.seconds for piece in cut) < 10.0
    loudness = np.sqrt(np.mean(talk.samples**2))
    for piece in cut:
        assert np.sqrt(np.mean(piece.samples**2)) > 0.7 * loudness


def test_a_short_recording_stays_as_it_is() -> None:
    recording = voice("guest")
    assert cut_long(recording) == [recording]
