"""The options of tune and evaluate that shape learning and measuring: --members, --styles, --method; --draws."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery
from openkith.data import Row, write_manifest
from openkith.openset.model import AUTO, METHODS

Run = Callable[..., Any]
Clips = dict[tuple[int, int], Path]


@pytest.fixture
def stranger_folder(tmp_path: Path, record: Callable[..., Path]) -> Path:
    """Loose recordings of twelve other people."""
    folder = tmp_path / "others"
    for person in range(100, 112):
        record(person, 0, folder / f"{person}.wav", seconds=1.2)
    return folder


@pytest.fixture
def manifest(tmp_path: Path, clips: Clips) -> Path:
    """Two people, two strangers."""
    path = tmp_path / "home.tsv"
    rows = [
        Row(clip, f"p{person}", "enroll" if person < 2 and take < 2 else "test")
        for (person, take), clip in clips.items()
    ]
    write_manifest(path, rows)
    return path


# tune


def test_the_help_names_every_method(kith: Run) -> None:
    words = set(re.findall(r"[a-z0-9+-]+", kith("tune", "--help").stdout))
    assert {AUTO, *METHODS} <= words


@pytest.mark.parametrize("method", ["s-norm", "plda"])
def test_tune_by_each_method(kith: Run, enrolled: Path, stranger_folder: Path, method: str) -> None:  # noqa: ARG001
    result = kith("tune", "--method", method, "--unknown", stranger_folder, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["method"], report["asked"]) == (method, method)


def test_members(kith: Run, enrolled: Path, stranger_folder: Path) -> None:
    result = kith("tune", "--method", "speaker-rpl", "--members", 2, "--unknown", stranger_folder, "--json")
    assert result.exit_code == 0, result.stderr
    with Gallery(enrolled) as gallery:
        head = gallery.head()
    assert head is not None
    assert head.method == "speaker-rpl"
    assert any(array.shape[0] == 2 for key, array in head.arrays.items() if key.startswith("scorer/"))


def test_no_members(kith: Run, only_line: Run, enrolled: Path) -> None:  # noqa: ARG001
    assert "members is 0; give 1 or more" in only_line(kith("tune", "--members", 0))


def test_styles_without_the_extra(
    kith: Run,
    only_line: Run,
    enrolled: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    assert "openkith[synthesis]" in only_line(kith("tune", "--styles"))


def test_styles_of_somebody_without_audio(
    kith: Run,
    only_line: Run,
    clips: Clips,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", sys)
    gone = tmp_path / "gone.wav"
    shutil.copy(clips[0, 0], gone)
    kith("enroll", "ann", gone)
    gone.unlink()
    line = only_line(kith("tune", "--styles"))
    assert "no speaking styles of ann" in line
    assert str(gone) in line
    assert "--keep-audio" in line


@pytest.mark.slow
def test_styles(kith: Run, enrolled: Path) -> None:
    pytest.importorskip("parselmouth", reason="needs the extra synthesis")
    result = kith("tune", "--styles", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["calibration"]["miss"]["clips"] == 6
    with Gallery(enrolled) as gallery:
        head = gallery.head()
    assert head is not None
    assert head.config["styles"] is True


# evaluate


def test_draws(kith: Run, manifest: Path) -> None:
    text = kith("evaluate", manifest, "--method", "cosine", "--draws", 3, "--json").stdout
    results = json.loads(text)["results"]
    assert [result["draw"] for result in results] == [0, 1, 2]
    assert all(result["n_known"] == 4 for result in results)


def test_means_and_spread(kith: Run, manifest: Path) -> None:
    args = ("evaluate", manifest, "--method", "cosine", "--method", "auto", "--draws", 3, "--seeds", 2)
    results = json.loads(kith(*args, "--json").stdout)["results"]
    assert len(results) == 12
    lines = kith(*args).stdout.splitlines()
    assert lines[0].split()[:5] == ["manifest", "method", "seeds", "draws", "EER"]
    assert lines[1].split()[:4] == ["home", "cosine", "2", "3"]
    assert lines[2].split()[0] == "±"
    assert lines[3].split()[:2] == ["home", "auto"]
    own = [result["cllr"] for result in results if result["method"] == "cosine"]
    assert len(set(own)) > 1
    assert float(lines[1].split()[-3]) == pytest.approx(statistics.fmean(own), abs=0.0051)
    assert float(lines[2].split()[-1]) == pytest.approx(statistics.pstdev(own), abs=0.0051)
    assert "Means over seeds and draws" in lines[-1]


def test_one_run_has_no_spread(kith: Run, manifest: Path) -> None:
    lines = kith("evaluate", manifest, "--method", "cosine").stdout.splitlines()
    assert lines[0].split()[:3] == ["manifest", "method", "EER"]
    assert not any("±" in line for line in lines)


def test_the_report_is_of_the_manifest_as_it_is(kith: Run, manifest: Path, tmp_path: Path) -> None:
    pages = []
    for draws in (1, 2):
        page = tmp_path / f"{draws}.html"
        assert (
            kith("evaluate", manifest, "--method", "cosine", "--draws", draws, "--report", page).exit_code
            == 0
        )
        pages.append(re.sub(r"\d[\d.,]* ?m?s\b", "", page.read_text()))
    assert pages[0] == pages[1]


def test_no_draws(kith: Run, only_line: Run, manifest: Path) -> None:
    assert "draws is 0; give 1 or more" in only_line(kith("evaluate", manifest, "--draws", 0))


def test_evaluating_again_reads_what_was_embedded(
    kith: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("KITH_CLIP_CACHE", str(cache))
    first = json.loads(kith("evaluate", manifest, "--method", "cosine", "--json").stdout)
    assert len(list(cache.glob("*.clip"))) == 16

    def fail(*_: object) -> object:
        raise AssertionError("embedded again")

    monkeypatch.setattr("openkith.encoders.clips.copies.embed_views", fail)
    again = json.loads(kith("evaluate", manifest, "--method", "cosine", "--json").stdout)
    assert again["results"][0]["eer"] == first["results"][0]["eer"]
