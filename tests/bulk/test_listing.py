"""What there is to embed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from openkith.bulk.listing import Item, list_input, read_keys
from openkith.errors import ManifestError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids(source: Path) -> list[tuple[str, str]]:
    return [(item.utterance, item.speaker) for item in list_input(source)]


def test_a_folder_per_speaker(tmp_path: Path) -> None:
    touch(tmp_path, "ben/2.wav", "ann/x/1.flac", "ann/notes.txt", "ann/.hidden.wav", ".git/a.wav")
    assert ids(tmp_path) == [("ann/x/1.flac", "ann"), ("ben/2.wav", "ben")]
    assert [item.path for item in list_input(tmp_path)] == [tmp_path / "ann/x/1.flac", tmp_path / "ben/2.wav"]


def test_any_tree(tmp_path: Path) -> None:
    """A file in no speaker's folder is embedded too; nobody is said to speak in it."""
    touch(tmp_path, "ben/2.wav", "a.wav")
    assert ids(tmp_path) == [("a.wav", ""), ("ben/2.wav", "ben")]


def test_voxceleb_ids_are_those_of_its_trial_lists(tmp_path: Path) -> None:
    touch(tmp_path, "dev/wav/id10001/v/00001.wav", "test/wav/id10270/w/00002.wav")
    assert ids(tmp_path) == [("id10001/v/00001.wav", "id10001"), ("id10270/w/00002.wav", "id10270")]
    touch(tmp_path, "test/wav/id10001/v/00001.wav")  # which is another file
    assert [name for name, _ in ids(tmp_path)] == [
        "dev/wav/id10001/v/00001.wav",
        "test/wav/id10001/v/00001.wav",
        "test/wav/id10270/w/00002.wav",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_names_with_control_characters(tmp_path: Path) -> None:
    touch(tmp_path, "ann/a\tb\n.wav")
    [item] = list_input(tmp_path)
    assert (item.utterance, item.path.name) == ("ann/a\\tb\\n.wav", "a\tb\n.wav")


def test_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text(
        "path\tspeaker\trole\tstart\tend\nann/1.wav\tann\tenroll\t\t\nann/1.wav\tann\ttest\t1.5\t\n"
        "#ben.wav\tx\nben.wav\tben\ttest\t0\t2\n"
    )
    assert list_input(path) == (
        Item("ann/1.wav", tmp_path / "ann/1.wav", "ann"),
        Item("ann/1.wav#1.5-", tmp_path / "ann/1.wav", "ann", 1.5, None),
        Item("ben.wav#0.0-2.0", tmp_path / "ben.wav", "ben", 0.0, 2.0),
    )


def test_a_manifest_of_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "m.tsv"
    path.write_text(f"path\n../audio/a/1.wav\n{tmp_path}/audio/b/2.wav\n")
    assert ids(path) == [("a/1.wav", ""), ("b/2.wav", "")]
    assert list_input(path)[0].path == tmp_path / "audio/a/1.wav"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speaker\nann\n", "no column 'path'"),
        ("path\tstart\na.wav\tsoon\n", ":2: field 'start': 'soon' is not a time"),
        ("path\tstart\tend\na.wav\t2\t1\n", ":2: field 'end': 1 is not after the start"),
        ("path\tspeaker\n\tann\n", ":2: field 'path': empty"),
        ("path\na.wav\na.wav\n", "'a.wav' is in it twice"),
        ("path\n", "no audio"),
    ],
)
def test_manifests_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "m.tsv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=said):
        list_input(path)


def test_a_kaldi_list(tmp_path: Path) -> None:
    touch(tmp_path, "audio/a b.wav")
    (tmp_path / "wav.scp").write_text("utt2 /data/c.wav\nutt1 audio/a b.wav\n")
    expected = [("utt2", "", Path("/data/c.wav")), ("utt1", "", tmp_path / "audio/a b.wav")]
    for source in (tmp_path, tmp_path / "wav.scp"):
        assert [(i.utterance, i.speaker, i.path) for i in list_input(source)] == expected
    (tmp_path / "utt2spk").write_text("utt1 ann\nutt2 ben\n")
    assert ids(tmp_path) == [("utt2", "ben"), ("utt1", "ann")]


def test_kaldi_segments(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("rec /data/c.wav\n")
    (tmp_path / "segments").write_text("s1 rec 0.5 2.0\ns2 rec 2.5 -1\n")
    (tmp_path / "utt2spk").write_text("s1 ann\ns2 ben\n")
    assert list_input(tmp_path) == (
        Item("s1", Path("/data/c.wav"), "ann", 0.5, 2.0),
        Item("s2", Path("/data/c.wav"), "ben", 2.5, None),
    )


@pytest.mark.parametrize(
    ("scp", "segments", "said"),
    [
        ("u1 sox a.wav -t wav - |\n", "", "wav.scp:1: .* is a command, and openkith runs none"),
        ("u1 raw.ark:17\n", "", "wav.scp:1: .* is in a Kaldi archive"),
        ("u1\n", "", "wav.scp:1: nothing after 'u1'"),
        ("u1 a.wav\nu1 b.wav\n", "", "wav.scp:2: 'u1' appears twice"),
        ("", "", "no audio"),
        ("u1 a.wav\n", "s1 u2 0 1\n", "segments:1: no recording 'u2' in wav.scp"),
        ("u1 a.wav\n", "s1 u1 0\n", "segments:1: 3 fields, not 4"),
        ("u1 a.wav\n", "s1 u1 2 1\n", "segments:1: 1 s is not after 2 s"),
        ("u1 a.wav\n", "s1 u1 x 1\n", "segments:1: field 'start'"),
    ],
)
def test_kaldi_lists_that_are_wrong(tmp_path: Path, scp: str, segments: str, said: str) -> None:
    (tmp_path / "wav.scp").write_text(scp)
    if segments:
        (tmp_path / "segments").write_text(segments)
    with pytest.raises(ManifestError, match=said):
        list_input(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no audio"):
        list_input(tmp_path)
    with pytest.raises(ManifestError, match="cannot read"):
        list_input(tmp_path / "nope")


def test_read_keys(tmp_path: Path) -> None:
    path = tmp_path / "utt2spk"
    path.write_text("a  x y\n\nb z\n")
    assert list(read_keys(path)) == [(1, "a", "x y"), (3, "b", "z")]
