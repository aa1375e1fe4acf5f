"""Trial lists: read, written, and refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from openkith.data.trials import Trial, read_trials, write_trials
from openkith.errors import ManifestError


def test_a_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbf1 a/1.wav a/2.wav\r\n\r\n0\ta/1.wav   b/1.wav\r\n")
    trials = read_trials(path)
    assert trials == (Trial(True, "a/1.wav", "a/2.wav"), Trial(False, "a/1.wav", "b/1.wav"))
    assert [trial.line for trial in trials] == [1, 3]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    trials = (Trial(True, "a/é.wav", "a/2.wav"), Trial(False, "#1.wav", "b.wav"))
    write_trials(path, trials)
    assert path.read_text(encoding="utf-8") == "1 a/é.wav a/2.wav\n0 #1.wav b.wav\n"
    assert read_trials(path) == trials
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b\n1 a\n", r"t\.txt:2: 2 fields, not 3; a line is 'label enrol_path test_path'"),
        ("1 a b c\n", r"t\.txt:1: 4 fields, not 3"),
        ("\ntarget a b\n", r"t\.txt:2: label 'target'; give 1"),
        ("01 a b\n", r"t\.txt:1: label '01'"),
        ("\n \n", r"t\.txt: no trials; write one a line"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_trials(path)


def test_a_list_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"1 a b\n0 a \xff\n")
    with pytest.raises(ManifestError, match=r"t\.txt:2: not UTF-8"):
        read_trials(tmp_path / "t.txt")
    with pytest.raises(ManifestError, match=r"gone\.txt: cannot read"):
        read_trials(tmp_path / "gone.txt")


@pytest.mark.parametrize("path", ["", "my file.wav", "a\tb.wav", " a.wav"])
def test_a_path_that_no_list_can_hold(path: str) -> None:
    with pytest.raises(ManifestError, match=r"field 'test_path'.*white space.*rename"):
        Trial(True, "a.wav", path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"t\.txt: cannot write: No such file"):
        write_trials(tmp_path / "gone" / "t.txt", [Trial(True, "a", "b")])
