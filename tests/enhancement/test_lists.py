"""Lists written, and lists read: those made here and those made elsewhere."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.data.trials import read_trials
from openkith.enhancement.lists import FORMS, list_name, make_list, read_list, write_list
from openkith.enhancement.tree import EmbeddingTree
from openkith.errors import ConfigError, InputError, ManifestError

Plant = Callable[[Mapping[str, Mapping[str, int]]], EmbeddingTree]


@pytest.fixture
def tree(plant: Plant) -> EmbeddingTree:
    """8 files: ann/r0/00000.npy, ann/r0/00001.npy, ann/r1/..., bob/..."""
    return plant({"ann": {"r0": 2, "r1": 2}, "bob": {"r0": 2, "r1": 2}})


@pytest.mark.parametrize("form", list(FORMS))
def test_written_and_read(form: str, tree: EmbeddingTree, tmp_path: Path) -> None:
    path = tmp_path / list_name("vox", form)
    assert path.name == f"vox_{form}_list.txt"
    made = make_list(form, tree, 1)
    write_list(path, made)
    assert path.read_bytes().decode() == "".join(made.lines())
    for read in (read_list(path, tree), read_list(path, tree.root, form)):
        assert type(read) is type(made)
        for field in dataclasses.fields(made):
            if field.name != "tree":
                np.testing.assert_array_equal(getattr(read, field.name), getattr(made, field.name))
                assert (
                    np.asarray(getattr(read, field.name)).dtype == np.asarray(getattr(made, field.name)).dtype
                )
    assert [each.name for each in tmp_path.iterdir() if each.suffix] == [path.name]


def test_a_list_is_replaced(tree: EmbeddingTree, tmp_path: Path) -> None:
    path = tmp_path / "x_test_list.txt"
    for seed in (0, 1):
        made = make_list("test", tree, seed)
        write_list(path, made)
        assert path.read_text() == "".join(made.lines())


def test_a_test_list_is_a_trial_list(tree: EmbeddingTree, tmp_path: Path) -> None:
    made = make_list("test", tree)
    write_list(tmp_path / "x_test_list.txt", made)
    trials = read_trials(tmp_path / "x_test_list.txt")
    assert [trial.target for trial in trials] == made.same_speaker.tolist()


OF_ELSEWHERE = {
    "normal": "7 ann/r0/00001.wav\n\n3 bob/r1/00000.wav\n",
    "triplet": "\ufeffbob bob/r0/00000.wav\tann\r\nann ./ann/r0/00000.npy eve\r\n",
    "distribution": "ann ann/r0/00000.wav ann/r0/00001.wav 1\nann ann/r0/00000.wav ann/r1/00001.wav 0\n",
    "test": "1 ann/r0/00000.wav ann/r1/00000.flac\n0 ann/r0/00000.wav bob/r0/00001.npy",
}


@pytest.mark.parametrize("form", list(FORMS))
def test_lists_made_elsewhere(form: str, tree: EmbeddingTree, tmp_path: Path) -> None:
    path = tmp_path / "theirs.txt"
    path.write_bytes(OF_ELSEWHERE[form].encode())
    read: Any = read_list(path, tree, form)
    if form == "normal":  # with names that are not those of the tree
        assert (read.names, read.speakers.tolist(), read.files.tolist()) == (("3", "7"), [1, 0], [1, 6])
    elif form == "triplet":
        assert read.names == ("ann", "bob", "eve")
        assert (read.speakers.tolist(), read.files.tolist(), read.others.tolist()) == ([1, 0], [4, 0], [0, 2])
    elif form == "distribution":
        assert (read.names, read.speakers.tolist()) == (("ann",), [0, 0])
        assert (read.pairs.tolist(), read.same_recording.tolist()) == ([[0, 1], [0, 3]], [True, False])
    else:
        assert (read.pairs.tolist(), read.same_speaker.tolist()) == ([[0, 2], [0, 5]], [True, False])


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("normal", "ann ann/r0/00000.npy\nann\n", ":2: 1 fields, not 2; a line is 'speaker file'"),
        ("normal", "\n\nann ann/r0/9.wav\n", ":3: no embedding of 'ann/r0/9.wav' in .*; embed it"),
        (
            "normal",
            "ann ann/r0/00000.npy\nbob ann/r0/00000.wav\n",
            ":2: 'ann/r0/00000.wav' has the speaker 'bob', and 'ann' in line 1; correct one",
        ),
        ("normal", "\n \n", ": no entries; write one a line, 'speaker file'"),
        ("triplet", "ann ann/r0/00000.npy\n", ":1: 2 fields, not 3"),
        (
            "triplet",
            "ann ann/r0/00000.npy bob\nbob bob/r0/00000.npy bob\n",
            ":2: field 'other_speaker': 'bob' is the speaker; give another one",
        ),
        (
            "distribution",
            "ann ann/r0/00000.npy ann/r0/00001.npy 2\n",
            r":1: field 'same_recording_flag': '2'; give 1 \(same recording\) or 0",
        ),
        (
            "distribution",
            "ann ann/r0/00000.npy ann/r0/00000.wav 1\n",
            ":1: 'ann/r0/00000.npy' is paired with itself",
        ),
        (
            "distribution",
            "ann ann/r0/00000.npy bob/r0/00000.npy 0\nbob bob/r0/00000.npy bob/r0/00001.npy 1\n",
            ":2: 'bob/r0/00000.npy' has the speaker 'bob', and 'ann' in line 1",
        ),
        ("distribution", "ann ann/r0/00000.npy 1\n", ":1: 3 fields, not 4"),
        ("test", "1 ann/r0/00000.npy\n", ":1: 2 fields, not 3"),
        ("test", "ann ann/r0/00000.npy bob\n", r":1: label 'ann'; give 1 \(same speaker\) or 0"),
        ("test", "1 ann/r0/00000.npy ann/r0/00001.npy\n0 gone.wav gone.wav\n", ":2: no embedding of 'gone"),
        ("test", "", "no trials"),
    ],
)
def test_mistakes_are_named_with_their_line(
    form: str, text: str, said: str, tree: EmbeddingTree, tmp_path: Path
) -> None:
    path = tmp_path / list_name("x", form)
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"^{re.escape(str(path))}{said}" if said[0] == ":" else said):
        read_list(path, tree)


def test_what_is_no_list(tree: EmbeddingTree, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("ann ann/r0/00000.npy\n")
    with pytest.raises(
        ConfigError, match=r"call it NAME_\{form\}_list.txt, or say which of: normal, triplet"
    ):
        read_list(path, tree)
    with pytest.raises(ConfigError, match="no list is of the form 'pairs'"):
        read_list(path, tree, "pairs")
    with pytest.raises(InputError, match="no such folder of embeddings"):
        read_list(path, tmp_path / "nowhere", "normal")
    with pytest.raises(ManifestError, match="cannot read"):
        read_list(tmp_path / "x_normal_list.txt", tree)
    path.write_bytes(b"ann ann/r0/00000.npy\n\xff\n")
    with pytest.raises(ManifestError, match=r"train\.txt:2: not UTF-8"):
        read_list(path, tree, "normal")


@pytest.mark.parametrize(
    "shape", [{"ann lee": {"r": 2}, "bob": {"r": 2}}, {"ann": {"r 1": 2}, "bob": {"r": 2}}]
)
@pytest.mark.parametrize("form", ["normal", "triplet", "test"])
def test_names_that_no_list_can_hold(
    form: str, shape: Mapping[str, Mapping[str, int]], plant: Plant, tmp_path: Path
) -> None:
    made = make_list(form, plant(shape))
    with pytest.raises(ManifestError, match="has white space, which parts the fields; rename it"):
        write_list(tmp_path / "x.txt", made)
    assert not (tmp_path / "x.txt").exists()


def test_where_no_list_can_be_written(tree: EmbeddingTree, tmp_path: Path) -> None:
    made = make_list("normal", tree)
    with pytest.raises(ManifestError, match="cannot write: No such file or directory"):
        write_list(tmp_path / "no" / "x.txt", made)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError, match="cannot write: Is a directory"):
        write_list(tmp_path / "folder", made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "tree"]


def test_a_half_written_list_is_not_left(tree: EmbeddingTree, tmp_path: Path) -> None:
    class Breaks:
        form, files, names = "normal", np.array([0]), ("ann",)

        def __init__(self) -> None:
            self.tree = tree
            self.pairs = np.array([[0, 1]])

        def lines(self) -> Any:
            yield "1 a b\n"
            raise OSError(28, "No space left on device")

    path = tmp_path / "x_test_list.txt"
    path.write_text("earlier\n")
    with pytest.raises(ManifestError, match="cannot write: No space left on device"):
        write_list(path, Breaks())  # type: ignore[arg-type]
    assert path.read_text() == "earlier\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tree", path.name]
