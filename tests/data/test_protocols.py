"""Households and open sets: who has which role, and that nothing leaks from enrolment to test."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from openkith.data import Manifest, read_manifest
from openkith.data.corpus import Corpus, Utterance
from openkith.data.protocols import (
    Household,
    OpenSetList,
    household_manifests,
    open_set_manifest,
    write_manifests,
)
from openkith.errors import ConfigError, ManifestError, NotEnoughDataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def corpus(speakers: int, clips: int = 6, tree: str = "folders", **few: int) -> Corpus:
    """Speakers s00, s01, ... with so many clips each; ``few`` names those with another number."""
    counts = {f"s{i:02d}": clips for i in range(speakers)} | few
    return Corpus(
        Path("corpus"),
        tree,
        tuple(
            Utterance(name, Path(f"/c/{name}/{i}.wav"))
            for name, count in counts.items()
            for i in range(count)
        ),
    )


def negatives(manifest: Manifest) -> set[str]:
    return {row.speaker for row in manifest.negative}


SMALL = Household(targets=(2, 4), unknown=3, folds=3, enrol=2)


def test_a_manifest_for_each_size_and_fold() -> None:
    manifests = household_manifests(corpus(12), SMALL)
    assert [manifest.name for manifest in manifests] == [
        *(f"corpus-02-fold{fold}" for fold in (1, 2, 3)),
        *(f"corpus-04-fold{fold}" for fold in (1, 2, 3)),
    ]
    for manifest, size in zip(manifests, [2] * 3 + [4] * 3, strict=True):
        manifest.check_evaluable()
        assert len(manifest.speakers) == size
        assert len(manifest.unknown_speakers) == 3
        assert len(negatives(manifest)) == 12 - 3 - size
        assert len(manifest.rows) == 12 * 6  # every clip of every speaker has one role
        assert Counter(row.speaker for row in manifest.enroll) == dict.fromkeys(manifest.speakers, 2)
        assert set(manifest.unknown_speakers).isdisjoint(negatives(manifest))


def test_folds_share_no_unknown_speaker_and_turn_the_targets() -> None:
    manifests = household_manifests(corpus(12), SMALL)
    for three in (manifests[:3], manifests[3:]):
        for one, other in combinations(three, 2):
            assert set(one.unknown_speakers).isdisjoint(other.unknown_speakers)
            assert one.speakers != other.speakers
    # 3 folds of 4 targets are all 12 speakers: each is a target once.
    assert sorted(name for manifest in manifests[3:] for name in manifest.speakers) == [
        f"s{i:02d}" for i in range(12)
    ]


def test_a_small_household_is_part_of_the_large_one_of_its_fold() -> None:
    manifests = household_manifests(corpus(12), SMALL)
    for small, large in zip(manifests[:3], manifests[3:], strict=True):
        assert set(small.speakers) < set(large.speakers)
        assert small.unknown_speakers == large.unknown_speakers
        assert set(small.enroll) < set(large.enroll)


def test_a_number_of_negatives_is_the_same_people_for_every_size() -> None:
    options = Household(targets=(2, 4), unknown=3, folds=2, enrol=2, negatives=5, negative_clips=2)
    manifests = household_manifests(corpus(12), options)
    for small, large in zip(manifests[:2], manifests[2:], strict=True):
        assert len(negatives(small)) == 5
        assert small.negative == large.negative
        assert set(Counter(row.speaker for row in small.negative).values()) == {2}
    none = household_manifests(corpus(12), Household(targets=(2,), unknown=3, negatives=0))
    assert not any(manifest.negative for manifest in none)


def test_test_clips_are_limited_for_each_speaker() -> None:
    options = Household(targets=(3,), unknown=3, folds=1, enrol=2, test_clips=3)
    [manifest] = household_manifests(corpus(8), options)
    assert set(Counter(row.speaker for row in manifest.test).values()) == {3}


def test_the_seed_decides() -> None:
    options = [Household(targets=(3,), unknown=2, folds=1, seed=seed) for seed in (0, 0, 1, 2, 3)]
    first, again, *others = (household_manifests(corpus(12), each)[0] for each in options)
    assert first.rows == again.rows
    assert len({first.speakers, *(other.speakers for other in others)}) > 1
    assert len({first.unknown_speakers, *(other.unknown_speakers for other in others)}) > 1
    reversed_clips = Corpus(Path("corpus"), "folders", corpus(12).utterances[::-1])
    assert household_manifests(reversed_clips, options[0])[0].rows == first.rows


def test_who_has_too_few_clips_is_no_target() -> None:
    poor = {f"s{i:02d}": 2 for i in range(6)}  # two clips: none is left to be tested
    for manifest in household_manifests(corpus(14, **poor), Household(targets=(4,), unknown=2, enrol=2)):
        assert set(manifest.speakers).isdisjoint(poor)
        assert len(manifest.speakers) == 4
        assert set(manifest.speakers) | set(manifest.unknown_speakers) | negatives(manifest) == {
            f"s{i:02d}" for i in range(14)
        }


def test_nobody_enrols_under_the_name_unknown() -> None:
    people = corpus(2, unknown=6)
    for seed in range(6):
        for manifest in household_manifests(people, Household(targets=(1,), unknown=1, folds=1, seed=seed)):
            assert manifest.speakers != ("unknown",)


@pytest.mark.parametrize(
    ("people", "options", "message"),
    [
        (corpus(20), Household(), r"corpus: 20 speakers, and 30 are needed: 3 folds with 10 unknown.*fewer"),
        (corpus(40), Household(targets=(31,)), r"40 speakers, and 41 are needed.*up to 31 targets"),
        (
            corpus(12, clips=3),
            Household(targets=(2,), unknown=2),
            r"fold 1 has 0 speakers.*to enrol 3 and.*2 are needed",
        ),
        (
            corpus(12),
            Household(targets=(2, 5), unknown=4, negatives=4),
            r"12 speakers; 5 targets and 4 unknown leave 3, and 4 negatives are needed",
        ),
        (corpus(12), Household(style="shout"), r"no clip has the style 'shout'; there are: none"),
    ],
)
def test_a_corpus_that_is_too_small(people: Corpus, options: Household, message: str) -> None:
    with pytest.raises(NotEnoughDataError, match=message):
        household_manifests(people, options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"targets": ()}, "targets is empty"),
        ({"targets": (5, 0)}, "targets is 0"),
        ({"targets": (5, 5)}, "targets has a size twice: 5 5"),
        ({"unknown": 0}, "unknown is 0; give 1 or more"),
        ({"folds": 0}, "folds is 0"),
        ({"enrol": 0}, "enrol is 0"),
        ({"negatives": -1}, "negatives is -1; give 0 or more"),
        ({"test_clips": 0}, "test_clips is 0"),
        ({"negative_clips": 0}, "negative_clips is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_out_of_range(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Household(**values)
    if "enrol" in values or "seed" in values:
        with pytest.raises(ConfigError, match=message):
            OpenSetList(**values)


# ---- trees


def test_no_video_on_both_sides(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(
            f"wav/id1000{i}/v{video}/{clip:05d}.wav"
            for i in range(6)
            for video in range(4)
            for clip in range(3)
        ),
    )
    for manifest in household_manifests(tmp_path, Household(targets=(2, 3), unknown=2, folds=2)):
        for name in manifest.speakers:
            enrolled = [row.path.parent.name for row in manifest.enroll if row.speaker == name]
            tested = [row.path.parent.name for row in manifest.test if row.speaker == name]
            assert len(set(enrolled)) == 3  # a clip of each of three videos
            assert set(tested).isdisjoint(enrolled)
            assert len(tested) == 3  # all of the fourth


def test_two_videos_suffice_and_one_does_not(tmp_path: Path) -> None:
    touch(tmp_path, *(f"id10001/v1/{clip}.wav" for clip in range(9)))
    touch(tmp_path, *(f"id10002/v{video}/{clip}.wav" for video in (1, 2) for clip in range(3)))
    touch(tmp_path, "id10003/v1/1.wav")
    built = 0
    for seed in range(8):
        try:
            [manifest] = household_manifests(tmp_path, Household((1,), unknown=1, folds=1, seed=seed))
        except NotEnoughDataError:  # id10002 is the unknown speaker
            continue
        built += 1
        assert manifest.speakers == ("id10002",)
        enrolled = {row.path.parent.name for row in manifest.enroll}
        tested = {row.path.parent.name for row in manifest.test if row.speaker == "id10002"}
        assert (len(enrolled), len(tested), len(enrolled | tested)) == (1, 1, 2)
    assert 0 < built < 8


def test_esd_enrols_neutral_and_tests_every_emotion_on_other_sentences(tmp_path: Path) -> None:
    emotions = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
    touch(
        tmp_path,
        *(
            f"000{i}/{emotion}/000{i}_{350 * block + sentence:06d}.wav"
            for i in range(1, 6)
            for block, emotion in enumerate(emotions)
            for sentence in range(1, 7)
        ),
    )
    for manifest in household_manifests(tmp_path, Household(targets=(2,), unknown=1, folds=3)):
        assert {row.path.parent.name for row in manifest.enroll} == {"Neutral"}
        assert {row.path.parent.name for row in manifest.test} == set(emotions)
        for name in manifest.speakers:
            enrolled = {int(row.path.stem[-6:]) % 350 for row in manifest.enroll if row.speaker == name}
            tested = {int(row.path.stem[-6:]) % 350 for row in manifest.test if row.speaker == name}
            assert len(enrolled) == 3
            assert enrolled.isdisjoint(tested)
    sad = Household(targets=(2,), unknown=1, folds=1, style="Sad")
    [manifest] = household_manifests(tmp_path, sad)
    assert {row.path.parent.name for row in manifest.rows} == {"Sad"}


def test_qualcomm_uses_one_keyword(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(
            f"{keyword}/{i}/{clip}.wav"
            for keyword in ("hey_snapdragon", "hi_galaxy")
            for i in range(6)
            for clip in range(5)
        ),
    )
    options = Household(targets=(2,), unknown=1, folds=1)
    [manifest] = household_manifests(tmp_path, options)
    assert len(manifest.rows) == 30
    assert {row.path.parts[-3] for row in manifest.rows} == {"hey_snapdragon"}
    [manifest] = household_manifests(tmp_path, Household(targets=(2,), unknown=1, folds=1, style="hi_galaxy"))
    assert {row.path.parts[-3] for row in manifest.rows} == {"hi_galaxy"}
    with pytest.raises(
        NotEnoughDataError, match="no clip has the style 'alexa'; there are: hey_snapdragon, hi_"
    ):
        household_manifests(tmp_path, Household(style="alexa"))


def test_an_utterance_of_several_microphones_is_on_one_side(tmp_path: Path) -> None:
    words = [f"N000{said}" for said in range(5)]
    touch(
        tmp_path,
        *(
            f"train/session{i}/SV000{i}_{device}_00_{said}.wav"
            for i in range(1, 6)
            for device in (1, 7)
            for said in words
        ),
    )
    for manifest in household_manifests(tmp_path, Household(targets=(3,), unknown=1, folds=2)):
        for name in manifest.speakers:
            enrolled = [row.path.stem[-5:] for row in manifest.enroll if row.speaker == name]
            tested = [row.path.stem[-5:] for row in manifest.test if row.speaker == name]
            assert len(set(enrolled)) == 3
            assert sorted(tested) == sorted(2 * [said for said in words if said not in enrolled])


# ---- an open set out of a trial list


@pytest.fixture
def vox(tmp_path: Path) -> Path:
    """A list of all pairs of the files of six speakers, three videos of two files each."""
    files = [f"id1000{i}/v{video}/0000{clip}.wav" for i in range(6) for video in range(3) for clip in (1, 2)]
    touch(tmp_path / "wav", *files)
    lines = [f"{int(a[:7] == b[:7])} {a} {b}\n" for a, b in combinations(files, 2)]
    (tmp_path / "veri.txt").write_text("".join(lines))
    return tmp_path


def test_a_list_is_split_in_known_and_unknown(vox: Path) -> None:
    manifest = open_set_manifest(vox / "veri.txt", vox / "wav", OpenSetList(enrol=2))
    assert manifest.name == "veri-open-set"
    assert (len(manifest.speakers), len(manifest.unknown_speakers)) == (3, 3)
    assert not manifest.negative
    assert Counter(row.speaker for row in manifest.enroll) == dict.fromkeys(manifest.speakers, 2)
    for name in manifest.speakers:
        enrolled = {row.path.parent.name for row in manifest.enroll if row.speaker == name}
        tested = {row.path.parent.name for row in manifest.test if row.speaker == name}
        assert (len(enrolled), len(tested)) == (2, 1)
        assert enrolled.isdisjoint(tested)
    for name in manifest.unknown_speakers:
        assert sum(row.speaker == name for row in manifest.test) == 6  # each file once, however many trials


def test_numbers_of_known_and_unknown(vox: Path) -> None:
    options = OpenSetList(known=4, unknown=1, enrol=2, seed=3)
    manifest = open_set_manifest(vox / "veri.txt", vox / "wav", options)
    assert (len(manifest.speakers), len(manifest.unknown_speakers)) == (4, 1)
    assert manifest.rows == open_set_manifest(vox / "veri.txt", vox / "wav", options).rows
    speakers = {
        open_set_manifest(vox / "veri.txt", vox / "wav", OpenSetList(seed=seed)).speakers for seed in range(5)
    }
    assert len(speakers) > 1


def test_negatives_are_speakers_outside_the_list(vox: Path) -> None:
    touch(vox / "wav", *(f"id2000{i}/v/{clip}.wav" for i in range(3) for clip in range(5)))
    manifest = open_set_manifest(vox / "veri.txt", vox / "wav", OpenSetList(negatives=2, negative_clips=4))
    assert len(negatives(manifest)) == 2
    assert {name[:4] for name in negatives(manifest)} == {"id20"}
    assert len(manifest.negative) == 8
    with pytest.raises(NotEnoughDataError, match="wav: 3 speakers who are not in the list, and 4 negatives"):
        open_set_manifest(vox / "veri.txt", vox / "wav", OpenSetList(negatives=4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OpenSetList(known=6), "6 speakers, 6 of them.*6 known and 1 unknown are needed"),
        (OpenSetList(known=4, unknown=3), "4 known and 3 unknown are needed"),
        (OpenSetList(enrol=5), "6 speakers, 0 of them with clips enough to enrol 5"),
    ],
)
def test_a_list_that_is_too_small(vox: Path, options: OpenSetList, message: str) -> None:
    with pytest.raises(NotEnoughDataError, match=message):
        open_set_manifest(vox / "veri.txt", vox / "wav", options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 id10000/v0/00001.wav id10000/v9/00001.wav", r"veri\.txt:1: no file .*v9/00001\.wav; paths are"),
        ("1 anna/1.wav id10000/v0/00001.wav", r"veri\.txt:1: anna/1\.wav: does not fit the tree voxceleb"),
        ("1 id10000/v0/00001.wav id10001/v0/00001.wav", r"veri\.txt:1: label 1, and the folders say id10000"),
        ("0 id10000/v0/00001.wav id10000/v1/00001.wav", r"veri\.txt:1: label 0, and the folders say id10000"),
    ],
)
def test_errors_of_a_list_name_the_line(vox: Path, line: str, message: str) -> None:
    (vox / "veri.txt").write_text(line + "\n")
    with pytest.raises(ManifestError, match=message):
        open_set_manifest(vox / "veri.txt", vox / "wav")


def test_no_such_root(vox: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"gone: no such folder; give the one that the paths of .*veri\.txt"
    ):
        open_set_manifest(vox / "veri.txt", vox / "gone")


# ---- writing


def test_manifests_are_written_and_read_again(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", *(f"s{i}/{clip}.wav" for i in range(6) for clip in range(5)))
    manifests = household_manifests(root, Household(targets=(2, 3), unknown=1, folds=2))
    paths = write_manifests(tmp_path / "out" / "deep", manifests)
    assert [path.name for path in paths] == [f"set-0{n}-fold{fold}.tsv" for n in (2, 3) for fold in (1, 2)]
    for path, manifest in zip(paths, manifests, strict=True):
        assert read_manifest(path).rows == manifest.rows
        assert path.read_text().splitlines()[0] == "path\tspeaker\trole\tstart\tend"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="file/out: cannot make this folder: Not a directory"):
        write_manifests(tmp_path / "file" / "out", [])


def test_real_speech(speech: Path) -> None:
    options = Household(targets=(3, 5), unknown=2)
    for manifest in household_manifests(speech / "home", options):
        assert len(manifest.rows) == 100
        assert len(manifest.test) == 20 + 7 * len(manifest.speakers)
