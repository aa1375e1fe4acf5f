"""Enrolling everybody in a folder or a manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Recognizer
from openkith.bulk import enroll_all
from openkith.data import Row, write_manifest
from openkith.errors import EncoderMismatchError, ManifestError


@pytest.fixture
def corpus(tmp_path: Path, record: Callable[..., Path]) -> Path:
    root = tmp_path / "corpus"
    for person in range(3):
        for take in range(2):
            record(person, take, root / f"p{person}" / f"{take}.wav")
    return root


@pytest.fixture
def recognizer(tmp_path: Path, bands: Any) -> Any:
    with Recognizer(tmp_path / "g.db", bands) as opened:
        yield opened


def test_everybody(recognizer: Recognizer, corpus: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    outcomes = list(enroll_all(recognizer, corpus, progress=lambda *step: steps.append(step)))
    assert [(o.name, o.skipped, o.error) for o in outcomes] == [(f"p{i}", 0, None) for i in range(3)]
    assert all(o.report is not None and o.report.clips == 2 for o in outcomes)
    assert steps[0] == ("enrolling p0", 0, 6)
    assert steps[-1] == ("enrolling p2", 6, 6)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert [person.clips for person in recognizer.gallery.people()] == [2, 2, 2]
    assert outcomes[0].to_dict()["report"]["name"] == "p0"


def test_again_adds_what_is_new(recognizer: Recognizer, corpus: Path, record: Callable[..., Path]) -> None:
    list(enroll_all(recognizer, corpus))
    record(1, 2, corpus / "p1" / "2.wav")
    outcomes = list(enroll_all(recognizer, corpus))
    assert [o.skipped for o in outcomes] == [2, 2, 2]
    assert [o.report is None for o in outcomes] == [True, False, True]
    assert [person.clips for person in recognizer.gallery.people()] == [2, 3, 2]


def test_one_who_cannot_be_enrolled(recognizer: Recognizer, corpus: Path) -> None:
    """Of that person nothing is stored, and of the others everything."""
    bad = corpus / "p1" / "zz.wav"
    bad.write_bytes(b"\0" * 100)
    outcomes = list(enroll_all(recognizer, corpus))
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert str(bad) in (outcomes[1].error or "")
    assert outcomes[1].report is None
    assert [person.name for person in recognizer.gallery.people()] == ["p0", "p2"]


def test_a_clip_of_somebody_else(recognizer: Recognizer, corpus: Path) -> None:
    shutil.copy(corpus / "p0" / "0.wav", corpus / "p2" / "copy.wav")
    outcomes = list(enroll_all(recognizer, corpus))
    assert "enrolled for 'p0'" in (outcomes[2].error or "")
    assert [person.name for person in recognizer.gallery.people()] == ["p0", "p1"]


def test_a_name_that_is_reserved(recognizer: Recognizer, corpus: Path) -> None:
    (corpus / "p0").rename(corpus / "unknown")
    outcomes = list(enroll_all(recognizer, corpus))
    assert "reserved" in (outcomes[-1].error or "")
    assert [person.name for person in recognizer.gallery.people()] == ["p1", "p2"]


def test_another_encoder_is_wrong_for_everybody(recognizer: Recognizer, corpus: Path, bands: Any) -> None:
    list(enroll_all(recognizer, corpus))
    bands.fingerprint = "bands/2"
    shutil.rmtree(corpus / "p0")
    (corpus / "p1").rename(corpus / "p9")
    with Recognizer(recognizer.gallery, bands) as other, pytest.raises(EncoderMismatchError):
        list(enroll_all(other, corpus))


def test_the_enroll_rows_of_a_manifest(
    recognizer: Recognizer, tmp_path: Path, record: Callable[..., Path]
) -> None:
    clip = record(0, 0)
    path = tmp_path / "m.tsv"
    rows = [
        Row(clip, "ann", "enroll", 0.0, 0.8),
        Row(clip, "ann", "enroll", 1.0, None),
        Row(record(1, 0), "ben", "test"),
        Row(record(2, 0), "cleo", "negative"),
    ]
    write_manifest(path, rows)
    [outcome] = enroll_all(recognizer, path, keep_audio=True)
    assert outcome.name == "ann"
    clips = recognizer.gallery.clips("ann")
    assert [round(clip.seconds, 3) for clip in clips] == [0.8, 1.0]
    assert [stored.source for stored in clips] == [f"{clip} [0-0.8 s]", f"{clip} [1- s]"]
    assert all(clip.has_audio for clip in clips)


def test_nobody_to_enrol(recognizer: Recognizer, tmp_path: Path, record: Callable[..., Path]) -> None:
    path = tmp_path / "m.tsv"
    write_manifest(path, [Row(record(1, 0), "ben", "test")])
    with pytest.raises(ManifestError, match="no row is 'enroll'"):
        list(enroll_all(recognizer, path))
    with pytest.raises(ManifestError, match="cannot read"):
        list(enroll_all(recognizer, tmp_path / "nope"))
