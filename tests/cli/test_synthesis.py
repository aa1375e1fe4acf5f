"""kith synthesize."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.data import read_manifest

Run = Callable[..., Any]


@pytest.fixture
def praat() -> None:
    pytest.importorskip("parselmouth", reason="pip install 'openkith[synthesis]'")


@pytest.mark.usefixtures("praat")
def test_unknown_speakers_of_espeak(kith: Run, tmp_path: Path, only_line: Run) -> None:
    out = tmp_path / "out"
    texts = tmp_path / "texts.txt"
    texts.write_text("Good morning.\nGood night.\n")
    result = kith("synthesize", "unknown", "--n", 2, "--clips", 1, "--texts", texts, "--seed", 4, out)
    assert result.stdout == f"2 speakers: 2 recordings by espeak\nmanifest: {out / 'unknown.tsv'}\n"
    rows = read_manifest(out / "unknown.tsv").rows
    assert [row.role for row in rows] == ["negative"] * 2
    first = rows[0].path.read_bytes()
    line = only_line(kith("synthesize", "unknown", "--n", 2, out))
    assert (
        line == f"kith: {out / 'unknown.tsv'}: exists already; give --force to replace it, or another folder"
    )
    again = ("unknown", "--n", 1, "--clips", 1, "--texts", texts, "--seed", 4, "--force", "--json", out)
    data = json.loads(kith("synthesize", *again).stdout)
    assert data["source"] == "espeak"
    assert len(data["clips"]) == len(data["speakers"]) == 1
    assert (
        Path(data["clips"][0]["path"]).read_bytes() == first
    )  # another number of people, the same first one
    assert sorted(path.name for path in out.iterdir()) == sorted([data["speakers"][0], "unknown.tsv"])


@pytest.mark.usefixtures("praat")
def test_unknown_speakers_of_recordings(kith: Run, tmp_path: Path, tree: Path) -> None:
    result = kith(
        "synthesize",
        "unknown",
        "--source",
        "transform",
        "--from",
        tree,
        "--n",
        2,
        "--clips",
        1,
        tmp_path / "o",
        "--json",
    )
    assert {name.split("-")[0] for name in json.loads(result.stdout)["speakers"]} == {"p0", "p1"}


@pytest.mark.usefixtures("praat", "enrolled")
def test_styles_of_an_enrolled_person(kith: Run, tmp_path: Path, only_line: Run) -> None:
    out = tmp_path / "out"
    result = kith("synthesize", "styles", "--of", "ann", out, "--styles", "happy,slow")
    assert result.stdout == f"ann: 4 recordings by transform\nmanifest: {out / 'styles-ann.tsv'}\n"
    manifest = read_manifest(out / "styles-ann.tsv")
    assert manifest.speakers == ("ann",)
    assert [row.path.name for row in manifest.enroll] == [
        "happy-1.wav",
        "happy-2.wav",
        "slow-1.wav",
        "slow-2.wav",
    ]
    assert "'zoe' is not enrolled" in only_line(kith("synthesize", "styles", "--of", "zoe", tmp_path / "z"))


@pytest.mark.usefixtures("praat")
def test_styles_of_files(kith: Run, tmp_path: Path, tree: Path, gallery: Path) -> None:
    clip = next(iter(sorted((tree / "p0").iterdir())))
    kith("--json", "synthesize", "styles", "--of", "zoe", "--from", clip, "--styles", "sad", tmp_path / "out")
    assert [row.speaker for row in read_manifest(tmp_path / "out" / "styles-zoe.tsv").rows] == ["zoe"]
    assert not gallery.exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ("unknown", "OUT", "--source", "espeek"),
            "source 'espeek' is unknown; use espeak, transform, server",
        ),
        (("unknown", "OUT", "--n", "101"), "101 synthetic people; ask for 1 to 100"),
        (("unknown", "OUT", "--source", "transform"), "give some with --from"),
        (("unknown", "OUT", "--source", "server"), "give --url"),
        (("unknown", "OUT", "--source", "server", "--url", "nowhere", "--voices", "a"), "is no address"),
        (
            ("unknown", "OUT", "--source", "server", "--url", "http://h", "--field", "x"),
            "'x' is not KEY=VALUE",
        ),
        (("unknown", "OUT", "--from", "nothing"), "nothing: no such file or folder"),
        (("styles", "--of", "ann", "OUT", "--styles", "merry"), "style 'merry' is unknown"),
        (("styles", "--of", "ann", "OUT"), "ann"),
    ],
)
def test_bad_input(kith: Run, only_line: Run, tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    out = tmp_path / "out"
    line = only_line(kith("synthesize", *(out if arg == "OUT" else arg for arg in args)))
    assert says in line
    assert not out.exists()
