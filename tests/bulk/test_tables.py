"""Tab-separated tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from openkith.bulk.tables import cell, read_table, replacing
from openkith.errors import InputError, ManifestError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain é 中.wav", "plain é 中.wav"), ("a\tb\nc", "a\\tb\\nc"), ("x\udcff", "x\\udcff"), ("a b", "a b")],
)
def test_cell(text: str, expected: str) -> None:
    assert cell(text) == expected
    cell(text).encode("utf-8")


def test_read_table(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("#note\na\tb\n1\t2\n\n3\n#4\t5\n")
    columns, rows = read_table(path, needed=("b",), comments=True)
    assert columns == ["a", "b"]
    assert list(rows) == [(3, ["1", "2"]), (5, ["3", ""])]
    path.write_text("a\tb\n#4\t5\n")
    assert list(read_table(path, needed=("a",))[1]) == [(2, ["#4", "5"])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no lines; begin with a header"),
        ("a\tb\n", ":1: header: no column 'c'"),
        ("c\n1\n1\t2\n", ":3: 2 fields under 1 columns"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=said):
        list(read_table(path, needed=("c",))[1])


def test_replacing(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("new")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="middle"):
        fail()
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["out.txt"]
    with pytest.raises(InputError, match="cannot write"), replacing(tmp_path / "no" / "x"):
        pass
