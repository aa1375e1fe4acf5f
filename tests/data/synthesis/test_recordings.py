"""Recordings to start from, as users have them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import load, save
from openkith.data import Row, write_manifest
from openkith.data.synthesis.recordings import gallery_recordings, recordings_by_speaker, recordings_of
from openkith.errors import AudioError, ManifestError, UnknownPersonError
from openkith.gallery import Gallery, NewClip


def test_people_of_folders_files_and_manifests(people: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("x.wav", "y.wav"):
        shutil.copy(people / "ann" / "0.wav", loose / name)
    rows = [
        Row(people / "ann" / "0.wav", "zoe", "negative", 0.0, 0.5),
        Row(people / "ann" / "1.wav", "yan", "enroll"),
        Row(people / "ben" / "0.wav", "yan", "test"),
    ]
    write_manifest(tmp_path / "m.tsv", rows)
    found = recordings_by_speaker([people, loose, tmp_path / "m.tsv", people / "ben" / "1.wav"])
    assert {name: len(clips) for name, clips in found.items()} == {
        **{"ann": 3, "ben": 2, "x": 1, "y": 1, "zoe": 1, "yan": 1},
        "1": 1,
    }
    assert found["zoe"][0].end == 0.5


def test_recordings_of_one_person(people: Path, tmp_path: Path) -> None:
    write_manifest(
        tmp_path / "m.tsv",
        [Row(people / "ann" / "0.wav", "ann", "enroll"), Row(people / "ben" / "0.wav", "ben", "enroll")],
    )
    assert len(recordings_of("ann", [people / "ann"])) == 3
    assert [clip.source for clip in recordings_of("ann", [tmp_path / "m.tsv"])] == [
        str(people / "ann" / "0.wav")
    ]
    with pytest.raises(ManifestError, match="no row enrols 'cleo'"):
        recordings_of("cleo", [tmp_path / "m.tsv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="empty: no audio"):
        recordings_of("ann", [tmp_path / "empty"])
    with pytest.raises(ManifestError, match="nothing: no such file or folder"):
        recordings_of("ann", [tmp_path / "nothing"])


def test_a_manifest_of_tests_teaches_nothing(people: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.tsv", [Row(people / "ann" / "0.wav", "ann", "test")])
    with pytest.raises(ManifestError, match="all its rows test"):
        recordings_by_speaker([tmp_path / "m.tsv"])


def new_clip(path: Path, *, keep: bool) -> NewClip:
    audio = load(path)
    arrays = {"embedding": np.ones(4, np.float32)}
    kept = path.read_bytes() if keep else None
    return NewClip(audio.sha256, audio.seconds, {}, arrays, source=str(path), audio=kept)


def test_clips_of_a_gallery(tmp_path: Path, record: Callable[..., Path]) -> None:
    kept, filed = (record(0, take, tmp_path / f"{take}.wav", 1.5) for take in range(2))
    expected = {load(kept).sha256, load(filed).sha256}
    with Gallery(tmp_path / "g.db") as gallery:
        gallery.add_clips("ann", [new_clip(kept, keep=True), new_clip(filed, keep=False)], encoder="x/1")
        kept.unlink()
        assert {clip.sha256 for clip in gallery_recordings(gallery, "ann")} == expected
        with pytest.raises(UnknownPersonError):
            gallery_recordings(gallery, "ben")
        save(filed, load(record(1, 0, seconds=1.5)))
        with pytest.raises(
            AudioError, match=r"clip 2 of ann: .*1\.wav is another recording now.*with --from"
        ):
            gallery_recordings(gallery, "ann")
        filed.unlink()
        with pytest.raises(AudioError, match=r"clip 2 of ann: its audio was not kept, and .* is gone"):
            gallery_recordings(gallery, "ann")
