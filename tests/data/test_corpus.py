"""Corpora: their forms are read, and split so that nobody's test clips are learnt from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from openkith.data import Utterance, read_corpus, read_manifest, split_corpus, write_manifest
from openkith.data.corpus import load_corpus
from openkith.errors import ConfigError, ManifestError, NotEnoughDataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def household(folder: Path, clips: dict[str, int]) -> Path:
    return touch(folder, *(f"{name}/{index}.wav" for name, count in clips.items() for index in range(count)))


def test_a_folder_per_speaker_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "ben/a/b/c/2.FLAC", "anna/1.wav", "anna/session 2/1.mp3")
    touch(tmp_path, "anna/notes.txt", "anna/.hidden.wav", ".git/x/1.wav", "README.md")
    assert [(u.speaker, u.path.relative_to(tmp_path).as_posix()) for u in read_corpus(tmp_path)] == [
        ("anna", "anna/1.wav"),
        ("anna", "anna/session 2/1.mp3"),
        ("ben", "ben/a/b/c/2.FLAC"),
    ]


@pytest.mark.parametrize("prefix", ["", "wav/", "vox1/dev/wav/"])
def test_a_voxceleb_tree_from_any_root(tmp_path: Path, prefix: str) -> None:
    touch(
        tmp_path,
        f"{prefix}id10002/xyz/00001.wav",
        f"{prefix}id10001/abc/00001.wav",
        f"{prefix}id10001/id9/00002.m4a",
    )
    assert [u.speaker for u in read_corpus(tmp_path)] == ["id10001", "id10001", "id10002"]


def test_one_folder_that_is_no_voxceleb_id_makes_it_a_folder_per_speaker(tmp_path: Path) -> None:
    touch(tmp_path, "dev/id10002/1.wav", "anna/1.wav")
    assert [u.speaker for u in read_corpus(tmp_path)] == ["anna", "dev"]


def test_a_published_tree_is_recognised(tmp_path: Path) -> None:
    touch(tmp_path, "data/hey_snapdragon/17/a.wav", "data/hi_galaxy/17/b.wav", "data/hi_galaxy/18/c.wav")
    found = load_corpus(tmp_path)
    assert (found.source, found.tree) == (tmp_path, "qualcomm")
    assert [(u.speaker, u.path.name, u.session, u.style) for u in found.utterances] == [
        ("17", "a.wav", "", "hey_snapdragon"),
        ("17", "b.wav", "", "hi_galaxy"),
        ("18", "c.wav", "", "hi_galaxy"),
    ]
    assert read_corpus(tmp_path) == found.utterances


def test_a_video_is_a_session(tmp_path: Path) -> None:
    touch(tmp_path, "wav/id10001/abc/00001.wav")
    assert load_corpus(tmp_path).utterances == (
        Utterance("id10001", tmp_path / "wav/id10001/abc/00001.wav", session="abc"),
    )


def test_a_tree_can_be_chosen(tmp_path: Path) -> None:
    touch(tmp_path, "id10001/abc/00001.wav", "id10002/abc/00001.wav")
    found = load_corpus(tmp_path, "folders")
    assert (found.tree, [u.session for u in found.utterances]) == ("folders", ["", ""])
    with pytest.raises(ManifestError, match=r"id10001/abc/00001\.wav: does not fit the tree esd"):
        load_corpus(tmp_path, "esd")
    with pytest.raises(ConfigError, match="no tree is named 'vox'"):
        load_corpus(tmp_path, "vox")


def test_what_form_a_corpus_has(tmp_path: Path) -> None:
    assert load_corpus(touch(tmp_path / "a", "anna/1.wav")).tree == "folders"
    assert load_corpus(touch(tmp_path / "b", "id10001/v/1.wav")).tree == "voxceleb"
    assert (
        load_corpus(kaldi(tmp_path / "c", wav_scp="u1 audio/r1.wav\n", utt2spk="u1 anna\n")).tree == "kaldi"
    )


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "store/anna/1.wav")
    root = touch(tmp_path / "root", "ben/1.wav")
    (root / "anna").symlink_to(tmp_path / "store" / "anna", target_is_directory=True)
    (root / "ben" / "loop").symlink_to(root, target_is_directory=True)
    assert [u.speaker for u in read_corpus(root)] == ["anna", "ben"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no audio"),
        (("anna/notes.txt",), "no audio"),
        (("anna/1.wav", "loose.wav"), r"loose\.wav: is in no speaker's folder; move it"),
    ],
)
def test_a_tree_that_is_no_corpus(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_corpus(touch(tmp_path, *files))


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder; give a folder"):
        read_corpus(tmp_path / "gone")


# ---- Kaldi


def kaldi(folder: Path, **tables: str) -> Path:
    touch(folder, "audio/r1.wav", "audio/r 2.flac")
    for name, text in tables.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_kaldi_without_segments(tmp_path: Path) -> None:
    kaldi(
        tmp_path, wav_scp=f"u1 audio/r1.wav\nu2   {tmp_path}/audio/r 2.flac \n", utt2spk="u2 ben\nu1 anna\n"
    )
    assert read_corpus(tmp_path) == (
        Utterance("ben", tmp_path / "audio" / "r 2.flac"),
        Utterance("anna", tmp_path / "audio" / "r1.wav"),
    )


def test_kaldi_with_segments(tmp_path: Path) -> None:
    kaldi(
        tmp_path,
        wav_scp="r1 audio/r1.wav\n",
        utt2spk="r1-a anna\nr1-b ben\n\n",
        segments="r1-a r1 0.5 2.25\nr1-b r1 3 -1\n",
    )
    path = tmp_path / "audio" / "r1.wav"
    assert read_corpus(tmp_path) == (Utterance("anna", path, 0.5, 2.25), Utterance("ben", path, 3.0, None))


def test_kaldi_paths_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaldi(tmp_path / "data", wav_scp="u1 corpus/1.wav\n", utt2spk="u1 anna\n")
    touch(tmp_path, "corpus/1.wav")
    monkeypatch.chdir(tmp_path)
    assert read_corpus("data") == (Utterance("anna", tmp_path / "corpus" / "1.wav"),)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"wav_scp": "u1 sph2pipe -f wav a.sph |\n"},
            r"wav\.scp:1: 'sph2pipe -f wav a\.sph \|' is a command.*convert",
        ),
        ({"wav_scp": "u1 raw/wav.ark:812\n"}, r"wav\.scp:1: 'raw/wav\.ark:812' is in a Kaldi archive; copy"),
        ({"wav_scp": "u1 gone.wav\n"}, r"wav\.scp:1: no file 'gone\.wav'"),
        ({"wav_scp": "u1\n"}, r"wav\.scp:1: 1 fields, not 2"),
        ({"wav_scp": "u1 audio/r1.wav\nu1 audio/r1.wav\n"}, r"wav\.scp:2: 'u1' appears twice"),
        ({"utt2spk": "u1 anna ben\n"}, r"utt2spk:1: 3 fields, not 2"),
        ({"utt2spk": "u1 anna\nu2 ben\n"}, r"utt2spk:2: 'u2' has no line in wav\.scp"),
        ({"utt2spk": ""}, r"wav\.scp: 'u1' has no line in utt2spk"),
        ({"segments": "u1 r9 0 1\n"}, r"segments:1: no recording 'r9'"),
        ({"segments": "u1 u1 0 one\n"}, r"segments:1: '0 one' are not two numbers"),
        ({"segments": "u1 u1 2 1\n"}, r"segments:1: 2\.0 to 1\.0 is no part"),
        ({"segments": "u1 u1 nan 1\n"}, r"segments:1: nan to 1\.0 is no part"),
        ({"segments": "u1 u1 0\n"}, r"segments:1: 3 fields, not 4"),
        ({"segments": "u2 u1 0 1\n"}, r"segments: 'u2' has no line in utt2spk"),
    ],
)
def test_kaldi_errors_name_file_and_line(tmp_path: Path, tables: dict[str, str], message: str) -> None:
    kaldi(tmp_path, **{"wav_scp": "u1 audio/r1.wav\n", "utt2spk": "u1 anna\n", **tables})
    with pytest.raises(ManifestError, match=message):
        read_corpus(tmp_path)


def test_kaldi_with_a_file_missing(tmp_path: Path) -> None:
    kaldi(tmp_path, utt2spk="u1 anna\n")
    with pytest.raises(ManifestError, match=r"wav\.scp: cannot read"):
        read_corpus(tmp_path)


# ---- splitting


def test_split_enrols_some_and_holds_out_the_others(tmp_path: Path) -> None:
    root = household(tmp_path, {"anna": 6, "ben": 5, "cleo": 5, "dan": 4, "eva": 7, "finn": 4})
    manifest = split_corpus(root, enroll_clips=3, seed=1)
    assert manifest.name == tmp_path.name
    assert len(manifest.speakers) == 4
    assert len(manifest.unknown_speakers) == 2  # a third
    assert not manifest.negative
    assert Counter(row.speaker for row in manifest.enroll) == dict.fromkeys(manifest.speakers, 3)
    assert len(manifest.rows) == 31  # every clip has one role
    assert {row.path for row in manifest.enroll}.isdisjoint(row.path for row in manifest.test)
    manifest.check_evaluable()
    write_manifest(root / "set.tsv", manifest.rows)
    assert read_manifest(root / "set.tsv").rows == manifest.rows


def test_split_follows_its_seed(tmp_path: Path) -> None:
    root = household(tmp_path, dict.fromkeys("abcdef", 9))
    assert split_corpus(root, seed=1).rows == split_corpus(read_corpus(root), seed=1).rows
    splits = [split_corpus(root, seed=seed) for seed in range(8)]
    assert len({split.rows for split in splits}) == 8
    assert len({split.speakers for split in splits}) > 1
    picked = {
        tuple(row.path.name for row in splits[0].enroll if row.speaker == name) for name in splits[0].speakers
    }
    assert len(picked) > 1  # each speaker is shuffled on his own


def test_one_more_speaker_changes_nobodys_clips(tmp_path: Path) -> None:
    before = split_corpus(household(tmp_path, {"anna": 8, "ben": 8}), unknown=0)
    after = split_corpus(household(tmp_path, {"zoe": 8}), unknown=0)
    assert set(before.rows) < set(after.rows)


def test_who_has_too_few_clips_is_unknown(tmp_path: Path) -> None:
    root = household(tmp_path, {"anna": 4, "ben": 3, "cleo": 1, "unknown": 9})
    manifest = split_corpus(root)
    assert manifest.speakers == ("anna",)
    assert manifest.unknown_speakers == ("ben", "cleo", "unknown")
    assert len(split_corpus(root, unknown=1).unknown_speakers) == 1
    assert split_corpus(root, unknown=0).unknown_speakers == ()
    assert split_corpus(root, unknown=0).speakers == ("anna",)


def test_test_clips_are_limited_for_each_speaker(tmp_path: Path) -> None:
    manifest = split_corpus(household(tmp_path, {"a": 9, "b": 9, "c": 4}), enroll_clips=2, test_clips=3)
    assert Counter(row.speaker for row in manifest.test) == {
        "a": 3,
        "b": 3,
        "c": min(3, 4 - 2 * ("c" in manifest.speakers)),
    }


def test_nobody_left_to_enrol(tmp_path: Path) -> None:
    root = household(tmp_path, {"anna": 3, "ben": 2})
    with pytest.raises(NotEnoughDataError, match="nobody to enrol: of 2 speakers 0 have more than 3 clips"):
        split_corpus(root)
    with pytest.raises(NotEnoughDataError, match="2 are held out"):
        split_corpus(root, enroll_clips=1, unknown=2)


@pytest.mark.parametrize(
    ("name", "value"), [("enroll_clips", 0), ("test_clips", 0), ("unknown", -1), ("seed", -1)]
)
def test_numbers_out_of_range(tmp_path: Path, name: str, value: int) -> None:
    root = household(tmp_path, {"anna": 4})
    with pytest.raises(ManifestError, match=f"{name} is {value}"):
        split_corpus(root, **{name: value})


def test_a_name_that_no_manifest_can_hold(tmp_path: Path) -> None:
    root = household(tmp_path, {"anna ": 4})
    with pytest.raises(ManifestError, match="field 'speaker': 'anna ' has"):
        split_corpus(root)


def test_the_real_tree(speech: Path) -> None:
    manifest = split_corpus(speech / "home", test_clips=2)
    assert (len(manifest.speakers), len(manifest.unknown_speakers)) == (7, 3)
    assert (len(manifest.enroll), len(manifest.test)) == (21, 20)
