"""kith cohort build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.scoring import find_cohort, load_cohort
from openkith.scoring.cohort import user_cohort_path

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where cohorts are kept during the test."""
    monkeypatch.setenv("KITH_COHORTS", str(tmp_path / "cohorts"))
    return tmp_path / "cohorts"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """Three people, two recordings of two seconds each."""
    root = tmp_path_factory.mktemp("others")
    for person in range(10, 13):
        for take in range(2):
            record(person, take, root / f"p{person}" / f"{take}.wav")
    return root


def test_build(kith: Run, others: Path, bands: Any) -> None:
    result = kith("cohort", "build", others)
    path = user_cohort_path(bands.fingerprint)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path}: 3 speakers, 6 stretches with ")
    assert result.stdout.rstrip().endswith("of bands/1")
    cohort = find_cohort(bands.fingerprint)
    assert cohort is not None
    assert cohort.n_clips == 6
    assert cohort.copies.any()


def test_build_elsewhere(kith: Run, others: Path, bands: Any, tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    result = kith(
        *("cohort", "build", others, "--out", out, "--no-copies", "--max-seconds-per-speaker", "4"),
        *("--origin", "us, CC0"),
    )
    assert f"to have it used, copy it to {user_cohort_path(bands.fingerprint)}" in result.stdout
    assert find_cohort(bands.fingerprint) is None
    cohort, fingerprint = load_cohort(out)
    assert (cohort.n_speakers, len(cohort), fingerprint) == (3, 3, bands.fingerprint)
    assert b"us, CC0" in out.read_bytes()


def test_json(kith: Run, others: Path, bands: Any) -> None:
    data = json.loads(kith("--json", "cohort", "build", others, "--no-copies").stdout)
    assert (data["speakers"], data["stretches"], data["embeddings"], data["skipped"]) == (3, 6, 6, [])
    assert (data["encoder"], data["found"]) == (bands.fingerprint, True)
    assert data["path"] == str(user_cohort_path(bands.fingerprint))


def test_what_was_left_out(kith: Run, record: Callable[..., Path], tmp_path: Path) -> None:
    root = tmp_path / "more"
    for person in range(4):
        for take in range(2):
            record(person, take, root / f"p{person}" / f"{take}.wav")
    for person in range(4):
        (root / f"p{person}" / "1.wav").write_bytes(b"")
    result = kith("cohort", "build", root, "--no-copies")
    assert "4 speakers, 4 stretches" in result.stdout
    assert "left out: 4" in result.stdout
    assert result.stdout.count("empty file") == 3


def test_bad_input(kith: Run, only_line: Run, others: Path, tmp_path: Path, kept: Path) -> None:
    assert "there is no folder" in only_line(
        kith("cohort", "build", others, "--out", tmp_path / "no" / "c.safetensors")
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no audio" in only_line(kith("cohort", "build", empty))
    assert "max_seconds is -1" in only_line(kith("cohort", "build", others, "--max-seconds-per-speaker", -1))
    assert not kept.exists()


def test_help(kith: Run) -> None:
    text = kith("cohort", "build", "--help").stdout
    for option in ("--encoder", "--out", "--no-copies", "--max-seconds-per-speaker", "--json"):
        assert option in text
    assert "build" in kith("cohort", "--help").stdout
    assert " cohort " in kith("--help").stdout
