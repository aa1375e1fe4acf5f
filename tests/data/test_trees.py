"""Trees of published corpora are told by names, and say who speaks, in which session and style."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from openkith.data.trees import TREES, Place, detect, get_tree, place_in
from openkith.errors import ConfigError, ManifestError


def paths(*names: str) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in names]


HIMIA = paths(*(f"train/s{i}/SV000{i}_{d}_00_N0001.wav" for i in (1, 2) for d in (1, 7)))


@pytest.mark.parametrize(
    ("path", "tree", "place"),
    [
        ("id10001/abc/00001.wav", "voxceleb", Place("id10001", "abc")),
        ("vox1/dev/wav/id10001/id9/00001.m4a", "voxceleb", Place("id10001", "id9")),
        ("wav/id10001/00001.wav", "voxceleb", Place("id10001")),
        ("hey_snapdragon/17/a.wav", "qualcomm", Place("17", style="hey_snapdragon")),
        ("data/Hey Android/17/x/a.wav", "qualcomm", Place("17", style="hey_android")),
        (
            "train/3D_SPK_00001/3D_SPK_00001_007_Device03_Distance12_Dialect00.wav",
            "3d-speaker",
            Place("3D_SPK_00001", "3D_SPK_00001_007", "dialect00"),
        ),
        ("test/0004/0004_Device01_Distance00.wav", "3d-speaker", Place("0004", "0004", "")),
        ("0011/Neutral/0011_000002.wav", "esd", Place("0011", "sentence 2", "neutral")),
        ("ESD/0011/Angry/train/0011_000352.wav", "esd", Place("0011", "sentence 2", "angry")),
        ("0011/Sad/0011_001400.wav", "esd", Place("0011", "sentence 350", "sad")),
        ("anna/happy/odd name.wav", "esd", Place("anna", "", "happy")),
        ("anna/1.wav", "folders", Place("anna")),
        ("anna/hey_snapdragon/1.wav", "folders", Place("anna")),
        ("hey_snapdragon/1.wav", "folders", Place("hey_snapdragon")),
        ("angry/anna/1.wav", "folders", Place("angry")),
        ("ben/IM0001_a.wav", "folders", Place("ben")),
    ],
)
def test_a_place_in_its_tree(path: str, tree: str, place: Place) -> None:
    found = detect(paths(path))
    assert found.name == tree
    assert place_in(found, PurePosixPath(path), path) == place


def test_hi_mia_is_told_by_ids_that_come_back() -> None:
    tree = detect(HIMIA)
    assert tree.name == "hi-mia"
    assert [tree.place(path) for path in HIMIA[:2]] == [Place("SV0001", "N0001")] * 2
    assert detect(HIMIA[:1]).name == "folders"  # a single file proves nothing
    recorder = paths("ben/IM0001_a.wav", "ben/IM0001_b.wav", "ann/IM0002_a.wav", "ann/IM0002_b.wav")
    assert detect(recorder).name == "folders"  # such names are also what recorders give
    assert TREES["hi-mia"].place(recorder[0]) == Place("IM0001", "a")  # where it is chosen by name


def test_one_file_that_does_not_fit_makes_it_a_folder_per_speaker() -> None:
    assert detect(paths("0011/Angry/0011_000351.wav", "0011/readme/x.wav")).name == "folders"
    assert detect([]).name == "folders"


def test_only_corpora_made_for_it_choose_styles() -> None:
    assert TREES["esd"].enrol_styles == {"neutral"}
    assert TREES["qualcomm"].style == "hey_snapdragon"
    assert [tree.name for tree in TREES.values() if tree.enrol_styles or tree.style] == ["qualcomm", "esd"]


def test_the_keys_are_the_names_and_folders_is_asked_last() -> None:
    assert all(key == tree.name for key, tree in TREES.items())
    assert list(TREES)[-1] == "folders"


def test_errors() -> None:
    with pytest.raises(ConfigError, match="no tree is named 'vox'; there are: voxceleb, qualcomm"):
        get_tree("vox")
    with pytest.raises(ManifestError, match=r"x/1\.wav: does not fit the tree voxceleb \(wav/idNNNNN"):
        place_in(TREES["voxceleb"], PurePosixPath("x/1.wav"), "x/1.wav")
    with pytest.raises(ManifestError, match=r"1\.wav: is in no speaker's folder"):
        place_in(TREES["folders"], PurePosixPath("1.wav"), "1.wav")
