"""enroll, list, show, rename, drop-clip, forget, undo, reembed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery, Recognizer
from openkith.data import Row, write_manifest

Run = Callable[..., Any]
Clips = dict[tuple[int, int], Path]


def names(path: Path) -> list[str]:
    with Gallery(path) as gallery:
        return [person.name for person in gallery.people()]


def test_enroll(kith: Run, gallery: Path, clips: Clips) -> None:
    result = kith("enroll", "ann", clips[0, 0])
    assert result.exit_code == 0
    assert result.stdout.startswith("ann: 1 clip added; 1 clip with 2.0 s of speech in all\n")
    assert "  - record 2 more clips" in result.stdout
    result = kith("enroll", "ann", clips[0, 1], clips[0, 2], "--json")
    report = json.loads(result.stdout)
    assert (report["name"], report["added"], report["clips"]) == ("ann", 2, 3)
    assert 0.9 < report["cohesion"] <= 1.0
    assert 5.0 < report["seconds"] <= 6.0
    assert "6 s of speech so far; 10 s or more make short probes surer" in report["advice"]
    with Gallery(gallery) as opened:
        assert [clip.has_audio for clip in opened.clips("ann")] == [False] * 3
        assert opened.encoder() == "bands/1"


def test_cohesion_is_printed(kith: Run, gallery: Path, clips: Clips) -> None:  # noqa: ARG001
    assert "mean cosine between them 1.00" in kith("enroll", "ann", clips[0, 0], clips[0, 1]).stdout


def test_the_same_clip_twice(kith: Run, only_line: Run, enrolled: Path, clips: Clips) -> None:
    line = only_line(kith("enroll", "ben", clips[0, 0]))
    assert str(clips[0, 0]) in line
    assert "enrolled for 'ann'" in line
    assert names(enrolled) == ["ann", "ben", "cleo"]


def test_all_or_none(kith: Run, only_line: Run, gallery: Path, clips: Clips, tmp_path: Path) -> None:
    assert "nope.wav" in only_line(kith("enroll", "ann", clips[0, 0], tmp_path / "nope.wav"))
    assert names(gallery) == []


def test_another_encoder(start: Run, only_line: Run, enrolled: Path, clips: Clips, ge2e: Any) -> None:
    line = only_line(start("enroll", "dora", clips[3, 0]))
    assert "bands/1" in line
    assert ge2e.fingerprint in line
    assert "kith reembed" in line
    assert names(enrolled) == ["ann", "ben", "cleo"]


def test_no_such_encoder(kith: Run, only_line: Run, clips: Clips) -> None:
    assert "'nonsense'" in only_line(kith("enroll", "ann", clips[0, 0], "--encoder", "nonsense"))


def test_no_threads(kith: Run, only_line: Run, clips: Clips) -> None:
    assert "threads is 0" in only_line(kith("enroll", "ann", clips[0, 0], "--threads", 0))


def test_enroll_from_a_folder(kith: Run, gallery: Path, tree: Path) -> None:
    result = kith("enroll", "--from", tree)
    assert result.exit_code == 0
    assert "p0: 4 clips added" in result.stdout
    assert "p1: 4 clips added" in result.stdout
    assert names(gallery) == ["p0", "p1"]


def test_one_of_many_fails(kith: Run, gallery: Path, tree: Path, clips: Clips, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(tree, corpus)
    (corpus / "lost").mkdir()
    shutil.copy(clips[3, 0], corpus / "lost" / "a.wav")
    bad = corpus / "lost" / "b.wav"
    bad.write_bytes(b"RIFF, not really")
    result = kith("enroll", "--from", corpus)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"kith: lost is not enrolled: {bad}: ")
    assert "2 of 3 people are enrolled, 1 not" in result.stdout
    assert names(gallery) == ["p0", "p1"]
    # After it was mended the same command enrols who is left.
    shutil.copy(clips[3, 1], bad)
    result = kith("enroll", "--from", corpus)
    assert result.exit_code == 0
    assert "p0: all 4 clips enrolled already" in result.stdout
    assert "lost: 2 clips added" in result.stdout


def test_enroll_from_a_folder_as_json(kith: Run, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "c")
    (tmp_path / "c" / "p1" / "bad.wav").write_bytes(b"")
    result = kith("enroll", "--from", tmp_path / "c", "--json")
    assert result.exit_code == 2
    data = json.loads(result.stdout)
    assert [person["name"] for person in data["people"]] == ["p0", "p1"]
    assert data["people"][0]["report"]["clips"] == 4
    assert data["people"][1]["report"] is None
    assert "bad.wav" in data["people"][1]["error"]
    assert data["failed"] == 1


def test_enroll_from_a_manifest(kith: Run, gallery: Path, clips: Clips, tmp_path: Path) -> None:
    manifest = tmp_path / "home.tsv"
    write_manifest(
        manifest,
        [
            Row(clips[0, 0], "ann", "enroll", 0.5, 1.75),
            Row(clips[1, 0], "ben", "enroll"),
            Row(clips[1, 1], "ben", "test"),
        ],
    )
    assert kith("enroll", "--from", manifest, "--keep-audio").exit_code == 0
    with Gallery(gallery) as opened:
        [ann], [ben] = opened.clips("ann"), opened.clips("ben")
        assert ann.seconds == pytest.approx(1.25)
        assert ann.source.endswith("0-0.wav [0.5-1.75 s]")
        assert ann.has_audio
        assert ben.seconds == pytest.approx(2.0)


def test_enroll_from_nothing(kith: Run, only_line: Run, tmp_path: Path) -> None:
    assert "nope" in only_line(kith("enroll", "--from", tmp_path / "nope"))
    (tmp_path / "empty").mkdir()
    assert "no audio" in only_line(kith("enroll", "--from", tmp_path / "empty"))


def test_list(kith: Run, enrolled: Path, bands: Any) -> None:
    text = kith("list").stdout
    assert [line.split()[:2] for line in text.splitlines()[1:4]] == [
        ["ann", "2"],
        ["ben", "2"],
        ["cleo", "2"],
    ]
    assert "no head is tuned yet: kith tune" in text
    with Recognizer(enrolled, bands) as recognizer:
        recognizer.tune("cosine")
    assert "tuned head: cosine, of 20" in kith("list").stdout
    data = json.loads(kith("list", "--json").stdout)
    assert [person["name"] for person in data["people"]] == ["ann", "ben", "cleo"]
    assert data["people"][0]["clips"] == 2
    assert data["people"][0]["seconds"] == pytest.approx(4.0)
    assert (data["head"]["method"], data["head"]["fresh"]) == ("cosine", True)
    with Gallery(enrolled) as opened:
        opened.drop_clip("ann", 1)
    assert "older than the clips" in kith("list").stdout
    assert json.loads(kith("list", "--json").stdout)["head"]["fresh"] is False


def test_list_of_nobody(kith: Run, gallery: Path) -> None:
    assert kith("list").stdout == f"nobody is enrolled in {gallery}; begin with: kith enroll NAME CLIP...\n"


def test_consent_is_shown(kith: Run, clips: Clips) -> None:
    assert kith("enroll", "ann", clips[0, 0], "--consent", "2026-11-20").exit_code == 0
    assert kith("show", "ann").stdout.splitlines()[0].endswith(", consent of 2026-11-20")
    assert kith("enroll", "ann", clips[0, 1]).exit_code == 0  # another clip leaves it as it is
    assert json.loads(kith("show", "ann", "--json").stdout)["consent"] == "2026-11-20"
    assert kith("enroll", "ben", clips[1, 0], "--consent", "yesterday").exit_code == 2


def test_show(kith: Run, enrolled: Path, clips: Clips) -> None:  # noqa: ARG001
    lines = kith("show", "ben").stdout.splitlines()
    assert lines[0].startswith("ben, enrolled 20")
    assert [line.split()[0] for line in lines[2:]] == ["3", "4"]
    assert lines[2].endswith(str(clips[1, 0]))
    assert " 2.0 " in lines[2]
    assert "not kept" in lines[2]
    data = json.loads(kith("show", "ben", "--json").stdout)
    assert (data["name"], [clip["id"] for clip in data["clips"]]) == ("ben", [3, 4])
    assert data["clips"][0]["encoder"] == "bands/1"
    assert data["clips"][0]["quality"]["speech_seconds"] > 1.5
    assert "arrays" not in data["clips"][0]


def test_nobody_of_that_name(kith: Run, only_line: Run, enrolled: Path) -> None:
    for command in (
        ["show", "anne"],
        ["forget", "anne", "--yes"],
        ["drop-clip", "anne", 1],
        ["rename", "anne", "x"],
    ):
        assert "did you mean 'ann'?" in only_line(kith(*command))
    assert names(enrolled) == ["ann", "ben", "cleo"]


def test_rename(kith: Run, only_line: Run, enrolled: Path) -> None:
    assert kith("rename", "ann", "anna").stdout == "ann is called anna from now on\n"
    assert names(enrolled) == ["anna", "ben", "cleo"]
    assert "'ben' is enrolled already" in only_line(kith("rename", "anna", "ben"))


def test_drop_clip(kith: Run, only_line: Run, enrolled: Path) -> None:
    assert kith("drop-clip", "ann", 1).stdout.startswith("clip 1 of ann is erased")
    with Gallery(enrolled) as opened:
        assert [clip.id for clip in opened.clips("ann")] == [2]
    assert "the last one" in only_line(kith("drop-clip", "ann", 2))
    assert "has no clip 3" in only_line(kith("drop-clip", "ann", 3))


def test_forget_asks(kith: Run, enrolled: Path) -> None:
    result = kith("forget", "ann", input="n\n")
    assert result.exit_code == 1
    assert "Erase ann with 2 clips (4 s) for good?" in result.stderr
    assert "nothing was changed" in result.stderr
    assert names(enrolled) == ["ann", "ben", "cleo"]
    result = kith("forget", "ann", input="y\n")
    assert result.exit_code == 0
    assert "ann is forgotten" in result.stdout
    assert "2 clips erased, 4.0 s" in result.stdout
    assert "0 tuned heads erased" in result.stdout
    assert "the bytes are gone" in result.stdout
    assert names(enrolled) == ["ben", "cleo"]


def test_forget_as_json(kith: Run, enrolled: Path) -> None:
    receipt = json.loads(kith("forget", "ben", "--yes", "--json").stdout)
    assert (receipt["name"], receipt["clips"], receipt["heads"], receipt["files"]) == ("ben", 2, 0, [])
    assert receipt["time"].startswith("20")
    assert names(enrolled) == ["ann", "cleo"]


@pytest.mark.parametrize("command", [["forget", "ann"], ["undo"]])
def test_nobody_is_there_to_answer(start: Run, enrolled: Path, command: list[str]) -> None:
    done = start(*command)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("kith: no answer, and nothing was changed; give --yes")
    assert "Traceback" not in done.stderr
    assert names(enrolled) == ["ann", "ben", "cleo"]


def test_undo(kith: Run, only_line: Run, enrolled: Path, clips: Clips) -> None:
    kith("enroll", "ann", clips[0, 2])
    result = kith("undo", input="n\n")
    assert result.exit_code == 1
    assert "which gave clips to ann on 20" in result.stderr
    assert clips[0, 2].name in result.stderr
    result = kith("undo", input="y\n")
    assert result.exit_code == 0
    assert result.stdout.endswith("1 clip of ann taken back\n")
    assert kith("undo", "--yes").stdout == "2 clips of cleo taken back; cleo is not enrolled any more\n"
    taken = json.loads(kith("undo", "--yes", "--json").stdout)
    assert taken == {"name": "ben", "clips": 2, "person_removed": True}
    kith("undo", "--yes")
    assert names(enrolled) == []
    assert "no enrolment to undo" in only_line(kith("undo"))


def test_reembed(kith: Run, only_line: Run, gallery: Path, clips: Clips) -> None:
    kith("enroll", "ann", clips[0, 0], clips[0, 1], "--keep-audio")
    assert kith("reembed").stdout == "2 clips embedded again by bands/1; tune again: kith tune\n"
    assert json.loads(kith("reembed", "--json").stdout) == {"clips": 2, "encoder": "bands/1"}
    kith("enroll", "ben", clips[1, 0])
    assert "--keep-audio" in only_line(kith("reembed"))
    assert names(gallery) == ["ann", "ben"]


def test_names_are_no_markup(kith: Run, gallery: Path, clips: Clips) -> None:
    name = "[bold]x[/bold] :smile:"
    assert kith("enroll", name, clips[0, 0]).stdout.startswith(f"{name}: 1 clip added")
    assert name in kith("list").stdout
    assert names(gallery) == [name]
