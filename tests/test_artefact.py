"""Folders that appear whole: what was there before is lost only to what is complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import SafetensorError

from openkith.artefact import write_artefact
from openkith.errors import InputError


def write(folder: Path, text: str) -> None:
    write_artefact(folder, {"text": text}, "x.safetensors", lambda path: path.write_text(text) and None)


def test_a_folder_and_one_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    for text in ("one", "two"):
        write(folder, text)
        assert (folder / "x.safetensors").read_text() == text
        assert json.loads((folder / "config.json").read_text()) == {"text": text}
        assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [SafetensorError("No space left"), OSError(28, "No space left")])
def test_what_fails_leaves_the_earlier_one(tmp_path: Path, error: Exception) -> None:
    folder = tmp_path / "model"
    write(folder, "one")

    def full(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(InputError, match=r"model: cannot be written \(No space left\); give another folder"):
        write_artefact(folder, {}, "x.safetensors", full)
    assert (folder / "x.safetensors").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_earlier_one_comes_back_where_the_new_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    write(folder, "one")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        write(folder, "two")
    assert (folder / "x.safetensors").read_text() == "one"


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="there is something else; give a new folder"):
        write(tmp_path, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]
