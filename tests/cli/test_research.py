"""evaluate and demo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.data import Row, write_manifest

Run = Callable[..., Any]
Clips = dict[tuple[int, int], Path]
KEYS = {  # of the contract
    *(
        "manifest",
        "method",
        "seed",
        "draw",
        "eer",
        "detection_eer",
        "min_dcf",
        "act_dcf",
        "cllr",
        "oscr",
        "auroc",
        "tnr95",
    ),
    *("accuracy", "fnir_at_fpir_1", "n_speakers", "n_known", "n_unknown", "tune_seconds", "score_seconds"),
}


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


def test_json_is_what_was_promised(kith: Run, manifest: Path) -> None:
    result = kith("evaluate", manifest, "--method", "cosine", "--method", "auto", "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert set(data) == {"results"}
    cosine, auto = data["results"]
    assert set(cosine) - {"chosen"} == KEYS
    assert (cosine["manifest"], cosine["method"], auto["method"]) == ("home", "cosine", "auto")
    assert (cosine["n_speakers"], cosine["n_known"], cosine["n_unknown"]) == (2, 4, 8)
    assert 0.0 <= cosine["eer"] <= 1.0


def test_auto_is_the_default(kith: Run, manifest: Path) -> None:
    [result] = json.loads(kith("evaluate", manifest, "--json").stdout)["results"]
    assert (result["method"], result["seed"]) == ("auto", 0)


def test_seeds(kith: Run, manifest: Path) -> None:
    results = json.loads(kith("evaluate", manifest, "--seeds", 2, "--json").stdout)["results"]
    assert [result["seed"] for result in results] == [0, 1]
    header = kith("evaluate", manifest, "--seeds", 2).stdout.splitlines()[0]
    assert "seed" in header


def test_table(kith: Run, manifest: Path) -> None:
    result = kith("evaluate", manifest, "--method", "cosine")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["manifest", "method", "EER"]
    assert lines[1].split()[:2] == ["home", "cosine"]
    assert "seed" not in lines[0]


def test_several_manifests_and_a_folder(kith: Run, manifest: Path, tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "home.tsv"
    other.parent.mkdir()
    text = manifest.read_text().replace("\t", "\t", 1)
    other.write_text(text.replace("../", "../../") if "../" in text else text)
    lines = [line.split("\t") for line in text.splitlines()]
    rows = [Row((manifest.parent / line[0]).resolve(), line[1], line[2]) for line in lines[1:]]
    write_manifest(other, rows)
    # One person of the folder is held out where there are three or more; here nobody is.
    result = kith("evaluate", manifest, other, manifest, tree, "--method", "cosine", "--json")
    assert result.exit_code == 0, result.stderr
    results = json.loads(result.stdout)["results"]
    assert [each["manifest"] for each in results] == [str(manifest), str(other), tree.name]
    assert results[0]["eer"] == results[1]["eer"]
    assert (results[2]["n_unknown"], results[2]["detection_eer"], results[2]["oscr"]) == (0, None, None)


def test_every_manifest_is_read_before_the_first_is_scored(
    kith: Run, only_line: Run, manifest: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tsv"
    bad.write_text("path\tspeaker\trole\nx.wav\tann\tenrol\n")
    result = kith("evaluate", manifest, bad)
    assert f"{bad}:2: field 'role'" in only_line(result)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--method", "magic"], "no method is named 'magic'"),
        (["--seeds", "0"], "seeds is 0"),
        (["--far", "2"], "far is 2.0"),
        (["--report", "nowhere/x.html"], "there is no folder"),
        (["--report", "."], "is a folder"),
        (["--encoder", "magic"], "no encoder is named 'magic'"),
    ],
)
def test_wrong_options(kith: Run, only_line: Run, manifest: Path, args: list[str], said: str) -> None:
    assert said in only_line(kith("evaluate", manifest, *args))


def test_a_file_of_a_manifest_that_is_no_audio(
    kith: Run, only_line: Run, clips: Clips, tmp_path: Path
) -> None:
    (tmp_path / "b.wav").write_bytes(b"nothing of the kind")
    path = tmp_path / "m.tsv"
    write_manifest(path, [Row(clips[0, 0], "ann", "enroll"), Row(tmp_path / "b.wav", "ann", "test")])
    assert "b.wav" in only_line(kith("evaluate", path))


def test_report(kith: Run, manifest: Path, tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    result = kith("evaluate", manifest, "--method", "cosine", "--method", "auto", "--report", report)
    assert result.stdout.splitlines()[-1] == f"report: {report}"
    assert "<html" in report.read_text(encoding="utf-8")
    result = kith("evaluate", manifest, "--method", "cosine", "--report", report, "--json")
    assert json.loads(result.stdout)["results"]


def test_demo_on_recordings(kith: Run, record: Callable[..., Path], tmp_path: Path) -> None:
    for person in range(4):
        for take in range(5):
            record(person, take, tmp_path / "speech" / f"p{person}" / f"{take}.wav")
    out = tmp_path / "out.html"
    result = kith("demo", "--speech", tmp_path / "speech", "--seed", 1, "--out", out)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("2 people of speech, enrolled from 3 clips each")
    assert "Heard later: people enrolled" in lines
    assert "Heard later: strangers" in lines
    assert sum(line.startswith(("✓", "✗", "?")) for line in lines) == 2 * 2 + 2 * 4
    assert any(line.startswith("Of 4 clips of people you enrolled") for line in lines)
    assert any(line.split() == ["cosine", "auto", "(cosine)"] for line in lines)
    assert lines[-1] == f"report: {out}"
    assert "<html" in out.read_text(encoding="utf-8")

    result = kith("demo", "--speech", tmp_path / "speech", "--seed", 1, "--out", out, "--json")
    data = json.loads(result.stdout)
    assert data["report"] == str(out)
    assert (len(data["people"]), len(data["strangers"]), len(data["decisions"])) == (2, 2, 12)
    assert [each["method"] for each in data["results"]] == ["cosine", "auto"]


def test_demo_writes_where_it_stands(
    kith: Run, record: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in range(3):
        for take in range(4):
            record(person, take, tmp_path / "speech" / f"p{person}" / f"{take}.wav")
    monkeypatch.chdir(tmp_path)
    result = kith("demo", "--speech", "speech")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "kith-report.html").is_file()


def test_demo_errors(kith: Run, only_line: Run, tmp_path: Path, tree: Path, gallery: Path) -> None:
    assert "no such folder" in only_line(
        kith("demo", "--speech", tmp_path / "nope", "--out", tmp_path / "x.html")
    )
    few = tmp_path / "few"
    shutil.copytree(tree, few, ignore=shutil.ignore_patterns("*-3.wav"))
    assert "nobody in it has 4 clips" in only_line(
        kith("demo", "--speech", few, "--out", tmp_path / "x.html")
    )
    assert "there is no folder" in only_line(
        kith("demo", "--speech", tree, "--out", tmp_path / "no" / "x.html")
    )
    assert "seed is -1" in only_line(
        kith("demo", "--speech", tree, "--seed", -1, "--out", tmp_path / "x.html")
    )
    assert not (tmp_path / "x.html").exists()
    assert not gallery.exists()  # the demonstration leaves nobody enrolled


@pytest.mark.slow
def test_demo_of_synthetic_voices(start: Run, ge2e: Any, tmp_path: Path) -> None:  # noqa: ARG001
    pytest.importorskip("parselmouth", reason="pip install 'openkith[synthesis]'")
    done = start("demo", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert (tmp_path / "kith-report.html").is_file()
    people = {person["name"] for person in data["people"]}
    assert (len(people), len(data["strangers"]), len(data["decisions"])) == (5, 5, 40)
    named = [d for d in data["decisions"] if d["speaker"] in people]
    strange = [d for d in data["decisions"] if d["speaker"] not in people]
    assert sum(d["status"] == "known" and d["name"] == d["speaker"] for d in named) >= 17
    assert sum(d["status"] == "unknown" for d in strange) >= 16
    cosine, auto = data["results"]
    assert (cosine["method"], auto["method"]) == ("cosine", "auto")
    assert auto["eer"] <= cosine["eer"] + 0.002
