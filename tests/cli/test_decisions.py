"""tune, calibrate, identify, verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery, Recognizer

Run = Callable[..., Any]
Clips = dict[tuple[int, int], Path]


@pytest.fixture
def stranger_folder(tmp_path: Path, record: Callable[..., Path]) -> Path:
    """Loose recordings of twelve other people."""
    folder = tmp_path / "others"
    for person in range(100, 112):
        record(person, 0, folder / f"{person}.wav", seconds=1.2)
    return folder


def test_tune(kith: Run, enrolled: Path) -> None:
    result = kith("tune")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "in use: cosine"
    assert lines[1].startswith("cosine: without a cohort for this encoder")
    assert "Errors on held-out clips" in lines
    assert [line.split()[0] for line in lines if line.startswith(("identify", "verify"))] == [
        "identify",
        "verify",
    ]
    assert "90 % interval" in result.stdout
    assert "from 6 held-out clips" in result.stdout
    with Gallery(enrolled) as gallery:
        head = gallery.head()
    assert head is not None
    assert head.method == "cosine"


def test_tune_with_other_people(kith: Run, enrolled: Path, stranger_folder: Path) -> None:  # noqa: ARG001
    result = kith("tune", "--method", "as-norm", "--unknown", stranger_folder, "--seed", 3, "--json")
    report = json.loads(result.stdout)
    assert (report["method"], report["asked"]) == ("as-norm", "as-norm")
    assert set(report["errors"]) == {"as-norm"}
    assert 0.0 <= report["errors"]["as-norm"]["eer"] <= 1.0
    assert 0.0 <= report["errors"]["as-norm"]["detection_eer"] <= 1.0
    assert report["calibration"]["far"] == 0.01
    assert report["calibration"]["unknown_clips"] == 12
    assert report["calibration"]["basis"] == ["clips"] * 3
    assert isinstance(report["findings"], list)


def test_what_is_not_defined_is_null(kith: Run, enrolled: Path) -> None:  # noqa: ARG001
    """Without a cohort there are no strangers to detect."""
    report = json.loads(kith("tune", "--json").stdout)
    assert report["errors"]["cosine"]["detection_eer"] is None


def test_tune_for_nobody(kith: Run, only_line: Run) -> None:
    assert "nobody is enrolled" in only_line(kith("tune"))


def test_no_such_method(kith: Run, only_line: Run, enrolled: Path) -> None:  # noqa: ARG001
    assert "no method is named 'magic'" in only_line(kith("tune", "--method", "magic"))


def test_no_such_folder(kith: Run, only_line: Run, enrolled: Path, tmp_path: Path) -> None:  # noqa: ARG001
    assert "not a folder" in only_line(kith("tune", "--unknown", tmp_path / "nope"))


def test_findings_are_printed(kith: Run, gallery: Path, clips: Clips) -> None:
    for name, takes in (
        ("ann", [(0, 0), (0, 1), (1, 0)]),
        ("ben", [(1, 1), (1, 2)]),
        ("cleo", [(2, 0), (2, 1)]),
    ):
        kith("enroll", name, *(clips[take] for take in takes))
    text = kith("tune").stdout
    assert "To know" in text
    assert "ann" in text[text.index("To know") :]
    assert gallery.exists()


@pytest.mark.parametrize(
    ("text", "far"), [("10%", 0.1), ("20 %", 0.2), ("0.05", 0.05), (" 5 % ", 0.05), ("1e-1", 0.1)]
)
def test_calibrate(kith: Run, enrolled: Path, stranger_folder: Path, text: str, far: float) -> None:
    kith("tune", "--method", "as-norm", "--unknown", stranger_folder)
    result = kith("calibrate", "--far", text, "--verify-far", "30%", "--prior-unknown", "0.25", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["calibration"]["far"] == pytest.approx(far)
    assert report["calibration"]["verify_far"] == pytest.approx(0.3)
    assert report["calibration"]["unknown_prior"] == 0.25
    assert report["basis"] == {"ann": "clips", "ben": "clips", "cleo": "clips"}
    with Gallery(enrolled) as gallery:
        assert gallery.setting("calibration")["far"] == pytest.approx(far)


def test_a_rate_too_small_is_marked(kith: Run, enrolled: Path, stranger_folder: Path) -> None:  # noqa: ARG001
    kith("tune", "--method", "as-norm", "--unknown", stranger_folder)
    text = kith("calibrate", "--far", "0.1%").stdout
    assert "from 12 clips of other people, extrapolated" in text
    assert "cannot show a rate of 0.10%" in text
    assert "0.1 %" in text


@pytest.mark.parametrize("far", ["0", "1", "150%", "-1%", "nan"])
def test_a_rate_out_of_range(kith: Run, only_line: Run, enrolled: Path, far: str) -> None:
    line = only_line(kith("calibrate", f"--far={far}"))
    assert "far is" in line
    with Gallery(enrolled) as gallery:
        assert gallery.setting("calibration") is None


def test_background(kith: Run, enrolled: Path, stranger_folder: Path) -> None:
    text = kith("calibrate", "--background", stranger_folder).stdout
    assert "from 12 clips of other people" in text
    with Gallery(enrolled) as gallery:
        assert len(gallery.background()) == 12


def test_identify(kith: Run, enrolled: Path, clips: Clips, bands: Any) -> None:
    result = kith("identify", clips[0, 3], clips[1, 3], "--json")
    assert result.exit_code == 0
    first, second = json.loads(result.stdout)["results"]
    assert first["file"] == str(clips[0, 3])
    with Recognizer(enrolled, bands) as recognizer:
        expected = [recognizer.identify(clips[0, 3]).to_dict(), recognizer.identify(clips[1, 3]).to_dict()]
    for found, wanted in zip((first, second), expected, strict=True):
        assert {key: found[key] for key in wanted} == wanted
    assert sum(first["probabilities"].values()) == pytest.approx(1.0)

    lines = kith("identify", clips[0, 3]).stdout.splitlines()
    assert lines[0].split() == ["file", "answer", "P", "margin", "speech", "reason"]
    assert lines[1].startswith(str(clips[0, 3]))
    assert expected[0]["reason"] in lines[1]
    answer = expected[0]["name"] or "unknown"
    assert f"  {answer} " in lines[1] or f"  unsure ({answer}?) " in lines[1]
    assert f"{100 * expected[0]['margin']:.1f}" in lines[1]


def test_one_bad_clip_among_many(kith: Run, enrolled: Path, clips: Clips, tmp_path: Path) -> None:  # noqa: ARG001
    empty = tmp_path / "empty.wav"
    empty.touch()
    result = kith("identify", clips[0, 3], empty, tmp_path / "nope.wav", clips[1, 3])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["kith", str(empty)],
        ["kith", str(tmp_path / "nope.wav")],
    ]
    assert [line.split()[0] for line in result.stdout.splitlines()[1:5]] == [
        *(str(clips[0, 3]), str(empty), str(tmp_path / "nope.wav"), str(clips[1, 3]))
    ]
    data = json.loads(kith("identify", clips[0, 3], empty, "--json").stdout)["results"]
    assert data[0]["status"] in ("known", "unsure", "unknown")
    assert data[1]["file"] == str(empty)
    assert "empty file" in data[1]["error"]


def test_a_bad_clip(kith: Run, only_line: Run, enrolled: Path, tmp_path: Path) -> None:  # noqa: ARG001
    line = only_line(kith("identify", tmp_path / "nope.wav"))
    assert line == f"kith: {tmp_path / 'nope.wav'}: no such file; check the path"
    assert kith("identify", tmp_path / "nope.wav").stdout == ""


def test_identify_of_nobody(kith: Run, only_line: Run, clips: Clips) -> None:
    """What would be wrong for every clip is said once."""
    assert "nobody is enrolled" in only_line(kith("identify", clips[0, 0], clips[0, 1]))


def test_verify(kith: Run, enrolled: Path, clips: Clips) -> None:  # noqa: ARG001
    yes = kith("verify", "ann", clips[0, 3])
    no = kith("verify", "ann", clips[1, 3])
    assert (yes.exit_code, yes.stdout.splitlines()[0]) == (0, "yes")
    assert (no.exit_code, no.stdout.splitlines()[0]) == (1, "no")
    assert "P(ann) " in no.stdout
    assert (yes.stderr, no.stderr) == ("", "")
    result = kith("verify", "ann", clips[1, 3], "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert (data["claim"], data["file"], data["accepted"]) == ("ann", str(clips[1, 3]), False)


def test_a_replayed_clip_is_warned_of(kith: Run, enrolled: Path, clips: Clips) -> None:  # noqa: ARG001
    for command in (("identify",), ("verify", "ann")):
        again = kith(*command, clips[0, 0]).stdout.splitlines()[-1]
        assert "replay: the same recording as enrolled clip 1" in again
        assert "replay: the same recording" not in kith(*command, clips[0, 3]).stdout


def test_verify_of_somebody_else(kith: Run, only_line: Run, enrolled: Path, clips: Clips) -> None:  # noqa: ARG001
    assert "'anna' is not enrolled" in only_line(kith("verify", "anna", clips[0, 3]))
    assert "nope.wav" in only_line(kith("verify", "ann", "nope.wav"))


def test_real_speech(kith: Run, speech: Path, ge2e: Any) -> None:  # noqa: ARG001
    """With the default encoder and its cohort."""

    def run(*args: object) -> Any:
        return kith(*args, "--encoder", "ge2e")

    home = sorted((speech / "home").iterdir())
    takes = {folder.name: sorted(folder.glob("*.flac")) for folder in home[:3]}
    first, second, stranger = takes
    for name in (first, second):
        assert run("enroll", name, *takes[name][:2]).exit_code == 0
    result = run("identify", takes[first][5], takes[second][5], takes[stranger][5], "--json")
    results = json.loads(result.stdout)["results"]
    assert [each["name"] for each in results] == [first, second, None]
    assert all("no head is tuned" in each["reason"] for each in results)
    assert run("verify", first, takes[first][6]).exit_code == 0
    assert run("verify", first, takes[stranger][6]).exit_code == 1
