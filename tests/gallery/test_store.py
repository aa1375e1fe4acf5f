from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from openkith.errors import (
    DuplicateClipError,
    EncoderMismatchError,
    GalleryError,
    UnknownPersonError,
)
from openkith.gallery import Clip, Gallery, NewClip

MakeClip = Callable[..., NewClip]


def names(gallery: Gallery) -> list[str]:
    return [person.name for person in gallery.people()]


def save_head(gallery: Gallery, number: int = 0) -> None:
    arrays = {"W": np.full((3, 4), number, np.float32)}
    gallery.save_head("rpl", {"n": number}, arrays, encoder="e", revision=gallery.revision())


def same(clip: Clip, given: NewClip) -> bool:
    return (
        (clip.sha256, clip.seconds, clip.quality, clip.source)
        == (given.sha256, given.seconds, given.quality, given.source)
        and clip.arrays.keys() == given.arrays.keys()
        and all(
            clip.arrays[key].dtype == array.dtype and np.array_equal(clip.arrays[key], array)
            for key, array in given.arrays.items()
        )
        and clip.has_audio == (given.audio is not None)
    )


def test_what_is_enrolled_comes_back(path: Path, make_clip: MakeClip) -> None:
    before = datetime.now(UTC)
    given = [make_clip("a1", audio=b"fLaC..."), make_clip("a2"), make_clip("b1")]
    with Gallery(path) as gallery:
        assert gallery.encoder() is None
        assert gallery.add_clips(" Alice ", given[:2], encoder="e") == 2
        assert gallery.add_clips("bob", given[2:], encoder="e") == 1
    with Gallery(f"sqlite:///{path}") as gallery:
        assert gallery.encoder() == "e"
        stored = gallery.clips()
        assert [clip.person for clip in stored] == ["Alice", "Alice", "bob"]
        assert all(same(clip, new) for clip, new in zip(stored, given, strict=True))
        for clip in stored:
            assert clip.kind == "enrolment"
            assert clip.encoder == "e"
            assert clip.created.tzinfo is UTC
            assert before - timedelta(seconds=1) <= clip.created <= datetime.now(UTC)
        assert [clip.id for clip in gallery.clips("bob")] == [stored[2].id]
        alice, bob = gallery.people()
        assert (alice.name, alice.clips, alice.seconds) == ("Alice", 2, 5.0)
        assert gallery.person("bob") == bob
        assert gallery.audio(stored[0].id) == b"fLaC..."
        with pytest.raises(GalleryError, match="was not kept: enrol with --keep-audio"):
            gallery.audio(stored[1].id)
        for missing in (99, 10**30):
            with pytest.raises(GalleryError):
                gallery.audio(missing)


def test_more_clips_go_to_the_same_person(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("Zo\u00eb", [make_clip("1")], encoder="e")
    gallery.add_clips("Zoe\u0308", [make_clip("2")], encoder="e")
    (zoe,) = gallery.people()
    assert zoe.clips == 2
    assert gallery.person(" Zoe\u0308") == zoe


def test_a_source_that_is_not_utf8(gallery: Gallery, make_clip: MakeClip) -> None:
    clip = make_clip("1")
    odd = NewClip(clip.sha256, 1.0, {}, clip.arrays, "a\udcff.wav")
    gallery.add_clips("alice", [odd], encoder="e")
    assert gallery.clips()[0].source == "a\\udcff.wav"


@pytest.mark.parametrize("name", ["", "unknown", "a\nb", "x" * 200])
def test_names_that_cannot_be_enrolled(gallery: Gallery, make_clip: MakeClip, name: str) -> None:
    gallery.add_clips("alice", [make_clip("0")], encoder="e")
    with pytest.raises(GalleryError):
        gallery.add_clips(name, [make_clip("1")], encoder="e")
    with pytest.raises(GalleryError):
        gallery.rename("alice", name)
    assert names(gallery) == ["alice"]


def test_no_clips(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="no clip was given for 'alice'"):
        gallery.add_clips("alice", [], encoder="e")
    assert gallery.people() == []


def test_unknown_people_and_the_nearest_names(gallery: Gallery, make_clip: MakeClip) -> None:
    with pytest.raises(UnknownPersonError, match=r"'alice' is not enrolled in .*: nobody is, yet"):
        gallery.person("alice")
    gallery.add_clips("Alice", [make_clip("1")], encoder="e")
    gallery.add_clips("Alicia", [make_clip("2")], encoder="e")
    gallery.add_clips("Bob", [make_clip("3")], encoder="e")
    for call in (gallery.person, gallery.clips, gallery.forget):
        with pytest.raises(UnknownPersonError, match=r"did you mean 'Alice' or 'Alicia'\?"):
            call("alice")
    with pytest.raises(UnknownPersonError, match="did you mean 'Bob'"):
        gallery.rename("Bobb", "Robert")
    with pytest.raises(UnknownPersonError, match=r"kith list"):
        gallery.drop_clip("Zacharias", 1)
    assert len(gallery.people()) == 3


def test_the_same_clip_twice(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    since = f"{gallery.clips()[0].created:%Y-%m-%d %H:%M} UTC"
    log = gallery.audit()
    with pytest.raises(
        DuplicateClipError, match=r"a1.wav: this recording is enrolled for 'alice' since"
    ) as caught:
        gallery.add_clips("bob", [make_clip("b1"), make_clip("a1"), make_clip("a2")], encoder="e")
    assert since in str(caught.value)
    assert "1 more" in str(caught.value)
    with pytest.raises(DuplicateClipError, match="'alice'"):
        gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    with pytest.raises(DuplicateClipError, match=r"b1.wav: the same recording as b1.wav"):
        gallery.add_clips("bob", [make_clip("b1"), make_clip("b1")], encoder="e")
    assert names(gallery) == ["alice"]
    assert len(gallery.clips()) == 2
    assert gallery.audit() == log


def test_many_clips_at_once_and_their_repeat(gallery: Gallery, make_clip: MakeClip) -> None:
    many = [make_clip(f"{number}", dim=4) for number in range(1200)]
    assert gallery.add_clips("alice", many, encoder="e") == 1200
    with pytest.raises(DuplicateClipError, match=r"1199.wav"):
        gallery.add_clips("bob", [make_clip(f"new {n}", dim=4) for n in range(1200)] + many[-1:], encoder="e")
    assert names(gallery) == ["alice"]


def test_another_encoder(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="ge2e-1")
    for name in ("alice", "bob"):
        with pytest.raises(EncoderMismatchError, match=r"ge2e-1, these by wavlm-2.*kith reembed.*--gallery"):
            gallery.add_clips(name, [make_clip("x")], encoder="wavlm-2")
    with pytest.raises(EncoderMismatchError):
        gallery.add_background([make_clip("x")], encoder="wavlm-2")
    with pytest.raises(EncoderMismatchError):
        gallery.save_head("rpl", {}, {}, encoder="wavlm-2", revision=gallery.revision())
    assert len(gallery.clips()) == 1
    assert gallery.background() == []
    assert gallery.head() is None


def test_background(gallery: Gallery, make_clip: MakeClip) -> None:
    assert gallery.add_background([make_clip("tv"), make_clip("tv"), make_clip("radio")], encoder="e") == 2
    assert gallery.encoder() == "e"
    revision = gallery.revision()
    assert gallery.add_background([make_clip("tv"), make_clip("guest")], encoder="e", replace=False) == 1
    stored = gallery.background()
    assert [clip.source for clip in stored] == ["tv.wav", "radio.wav", "guest.wav"]
    assert {clip.kind for clip in stored} == {"background"}
    assert {clip.person for clip in stored} == {None}
    assert same(stored[2], make_clip("guest"))
    assert gallery.clips() == []
    assert gallery.revision() == revision
    assert gallery.add_background([make_clip("tv")], encoder="e") == 1
    assert [clip.source for clip in gallery.background()] == ["tv.wav"]

    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    with pytest.raises(DuplicateClipError, match=r"a1.wav: this recording is enrolled for 'alice'"):
        gallery.add_background([make_clip("x"), make_clip("a1")], encoder="e")
    with pytest.raises(DuplicateClipError, match=r"tv.wav: this recording is among the background clips"):
        gallery.add_clips("bob", [make_clip("tv")], encoder="e")
    assert [clip.source for clip in gallery.background()] == ["tv.wav"]
    gallery.add_background([], encoder="e")
    assert gallery.background() == []


def test_background_of_an_encoder_that_is_left(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_background([make_clip("tv")], encoder="old")
    with pytest.raises(EncoderMismatchError):
        gallery.add_background([make_clip("radio")], encoder="new", replace=False)
    gallery.add_clips("alice", [make_clip("a1")], encoder="new")  # nobody was enrolled: no dead end
    assert gallery.background() == []
    assert gallery.encoder() == "new"


def test_rename(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    save_head(gallery)
    alice, revision = gallery.person("alice"), gallery.revision()
    gallery.rename("alice", "  Alicia ")
    assert names(gallery) == ["Alicia", "bob"]
    assert gallery.person("Alicia").id == alice.id
    assert [clip.person for clip in gallery.clips()] == ["Alicia", "bob"]
    assert gallery.revision() == revision
    assert gallery.head() is not None
    with pytest.raises(GalleryError, match="'bob' is enrolled already"):
        gallery.rename("Alicia", "bob")
    with pytest.raises(UnknownPersonError):
        gallery.rename("alice", "x")
    entries = len(gallery.audit())
    gallery.rename("bob", "bob")
    assert len(gallery.audit()) == entries


def test_drop_clip(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    gallery.add_clips("alice", [make_clip("a3")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    save_head(gallery)
    revision = gallery.revision()
    a1, a2, a3, b1 = [clip.id for clip in gallery.clips()]
    for wrong in (b1, 99, 10**30):
        with pytest.raises(
            GalleryError, match=f"'alice' has no clip {wrong}: the clips are {a1}, {a2}, {a3}"
        ):
            gallery.drop_clip("alice", wrong)
    with pytest.raises(GalleryError, match="is the last one of 'bob': forget"):
        gallery.drop_clip("bob", b1)
    assert gallery.revision() == revision
    gallery.drop_clip("alice", a3)
    assert [clip.id for clip in gallery.clips()] == [a1, a2, b1]
    head = gallery.head()
    assert head is not None
    assert head.revision == revision != gallery.revision()  # stale
    # the second event of alice is empty now: undo goes from bob's to the first one
    assert gallery.undo().name == "bob"
    gallery.drop_clip("alice", a1)
    result = gallery.undo()
    assert (result.name, result.clips, result.person_removed) == ("alice", 1, True)
    assert gallery.people() == []


def test_a_dropped_clip_can_be_enrolled_again(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    revision, last = gallery.revision(), gallery.clips()[-1].id
    gallery.drop_clip("alice", last)
    gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    assert gallery.revision() == revision
    assert gallery.clips()[-1].id > last  # ids are not used again


def test_revision(gallery: Gallery, make_clip: MakeClip) -> None:
    seen = [gallery.revision()]
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    seen.append(gallery.revision())
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    seen.append(gallery.revision())
    gallery.add_clips("alice", [make_clip("a3")], encoder="e")
    seen.append(gallery.revision())
    assert len(set(seen)) == 4
    for expected in reversed(seen[:-1]):
        gallery.undo()
        assert gallery.revision() == expected
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    assert gallery.revision() not in seen  # a new person, whatever the name and the clips


def test_undo(gallery: Gallery, make_clip: MakeClip) -> None:
    with pytest.raises(GalleryError, match="no enrolment to undo"):
        gallery.undo()
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    save_head(gallery, 1)
    gallery.add_clips("alice", [make_clip("a2"), make_clip("a3")], encoder="e")
    gallery.rename("alice", "Alicia")
    result = gallery.undo()
    assert (result.name, result.clips, result.person_removed) == ("Alicia", 2, False)
    assert [clip.source for clip in gallery.clips()] == ["a1.wav"]
    head = gallery.head()
    assert head is not None  # it never saw what was taken back
    assert head.revision == gallery.revision()  # and fits again
    result = gallery.undo()
    assert (result.name, result.clips, result.person_removed) == ("Alicia", 1, True)
    assert gallery.people() == []
    assert gallery.head() is None
    with pytest.raises(GalleryError, match="no enrolment to undo"):
        gallery.undo()


def test_undo_erases_heads_that_learned_from_the_clips(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    save_head(gallery)
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    gallery.undo()
    assert gallery.head() is not None
    gallery.undo()
    assert gallery.head() is None
    assert names(gallery) == ["alice"]


def test_undo_of_a_person_erases_heads_that_learned_from_a_dropped_clip(
    gallery: Gallery, make_clip: MakeClip
) -> None:
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    save_head(gallery)
    gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    gallery.drop_clip("alice", gallery.clips("alice")[0].id)
    assert gallery.head() is not None
    assert gallery.undo().person_removed
    assert gallery.head() is None


def test_undo_never_revives(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    gallery.add_clips("bob", [make_clip("b2")], encoder="e")
    gallery.forget("bob")
    assert gallery.undo().name == "alice"  # bob's enrolments are gone with him
    with pytest.raises(GalleryError):
        gallery.undo()
    assert gallery.people() == []
    assert gallery.clips() == []


def test_forget(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips(
        "alice", [make_clip("a1", audio=b"x"), make_clip("a2"), make_clip("a3", audio=b"y")], encoder="e"
    )
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    save_head(gallery)
    gallery.add_clips("carol", [make_clip("c1")], encoder="e")
    receipt = gallery.forget("carol")
    assert (receipt.name, receipt.clips, receipt.heads, receipt.files) == ("carol", 1, 0, ())
    assert gallery.head() is not None  # it never knew her
    receipt = gallery.forget(" alice")
    assert (receipt.name, receipt.clips, receipt.seconds, receipt.heads) == ("alice", 3, 7.5, 1)
    assert receipt.files == ("a1.wav", "a3.wav")
    assert abs(datetime.now(UTC) - receipt.time) < timedelta(minutes=1)
    assert "gone from the file" in receipt.note
    assert gallery.head() is None
    assert names(gallery) == ["bob"]
    with pytest.raises(UnknownPersonError):
        gallery.forget("alice")
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    assert gallery.person("alice").id > 3


def test_a_stale_head_is_forgotten_too(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    save_head(gallery)
    first, second = gallery.clips("alice")
    gallery.add_clips("alice", [make_clip("a3")], encoder="e")
    gallery.drop_clip("alice", first.id)
    gallery.drop_clip("alice", second.id)  # no clip is left that the head learned from
    assert gallery.forget("alice").heads == 1


def test_heads(gallery: Gallery, path: Path, make_clip: MakeClip) -> None:
    assert gallery.head() is None
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    revision = gallery.revision()
    arrays = {"W": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.array([1]), "b": np.array(0.5)}
    config = {"alpha": 0.1, "people": [1], "nested": {"x": None}}
    saved = gallery.save_head("speaker-rpl", config, arrays, encoder="e", revision=revision)
    with Gallery(path) as other:
        head = other.head()
    assert head is not None
    for one in (saved, head):
        assert (one.method, one.encoder, one.revision, one.config) == ("speaker-rpl", "e", revision, config)
        assert one.created.tzinfo is UTC
        assert one.arrays.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(one.arrays[key], array)
            assert one.arrays[key].shape == array.shape
    save_head(gallery, 2)
    second = gallery.head()
    assert second is not None
    assert second.config == {"n": 2}
    assert second.id > head.id
    with gallery.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM heads").scalar() == 1


def test_a_head_of_an_older_gallery_is_refused(gallery: Gallery, path: Path, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    save_head(gallery, 1)
    revision = gallery.revision()
    with Gallery(path) as other:
        other.add_clips("bob", [make_clip("b1")], encoder="e")
    with pytest.raises(GalleryError, match="the gallery changed while tuning: tune again"):
        gallery.save_head("rpl", {"n": 2}, {}, encoder="e", revision=revision)
    head = gallery.head()
    assert head is not None
    assert head.config == {"n": 1}


@pytest.mark.parametrize(("config", "arrays"), [({"x": {1, 2}}, {}), ({}, {"W": np.array(["a"])})])
def test_a_head_that_cannot_be_stored(
    gallery: Gallery, config: dict[str, object], arrays: dict[str, np.ndarray]
) -> None:
    with pytest.raises(GalleryError, match="head rpl"):
        gallery.save_head("rpl", config, arrays, encoder="e", revision=gallery.revision())
    assert gallery.head() is None


def test_reembedding(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="old")
    gallery.add_background([make_clip("tv"), make_clip("radio")], encoder="old")
    save_args = {"encoder": "old", "revision": gallery.revision()}
    gallery.save_head("rpl", {}, {}, **save_args)
    first, second = gallery.clips()
    tv = gallery.background()[0]
    new = {clip.id: make_clip(f"new {clip.id}", dim=192).arrays for clip in (first, second, tv)}
    for wrong in ({first.id: new[first.id]}, new | {99: new[first.id]}):
        with pytest.raises(GalleryError, match="not those that were embedded again"):
            gallery.replace_arrays(wrong, "new")
    with pytest.raises(GalleryError, match=f"clip {first.id}: arrays has no 'embedding'"):
        gallery.replace_arrays(new | {first.id: {}}, "new")
    assert gallery.encoder() == "old"
    assert len(gallery.background()) == 2
    gallery.replace_arrays(new, "new")
    assert gallery.encoder() == "new"
    for clip in gallery.clips() + gallery.background():
        assert clip.encoder == "new"
        assert clip.arrays.keys() == new[clip.id].keys()
        np.testing.assert_array_equal(clip.arrays["embedding"], new[clip.id]["embedding"])
    assert [clip.id for clip in gallery.background()] == [tv.id]
    assert gallery.head() is None
    assert gallery.revision() != save_args["revision"]
    gallery.add_clips("bob", [make_clip("b1", dim=192)], encoder="new")


def test_settings(gallery: Gallery, path: Path) -> None:
    assert gallery.setting("far") is None
    assert gallery.setting("far", 0.01) == 0.01
    gallery.put_setting("far", 0.05)
    gallery.put_setting("calibration", {"a": [1.5, -2.0], "by": {"1": 0.25}})
    gallery.put_setting("far", None)
    with Gallery(path) as other:
        assert other.setting("far", 0.01) is None
        assert other.setting("calibration") == {"a": [1.5, -2.0], "by": {"1": 0.25}}
    with pytest.raises(GalleryError, match="setting 'bad'"):
        gallery.put_setting("bad", np.zeros(3))
    assert gallery.setting("bad") is None


def test_audit(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    gallery.rename("bob", "Robert")
    gallery.add_background([make_clip("tv")], encoder="e")
    save_head(gallery)
    gallery.put_setting("far", 0.01)
    gallery.drop_clip("alice", gallery.clips("alice")[0].id)
    gallery.add_clips("carol", [make_clip("c1")], encoder="e")
    gallery.undo()
    gallery.forget("alice")
    gallery.replace_arrays({clip.id: clip.arrays for clip in gallery.clips()}, "new")
    entries = gallery.audit()
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("enroll", "person 1"),
        ("enroll", "Robert"),
        ("rename", "Robert"),
        ("background", ""),
        ("tune", ""),
        ("setting", ""),
        ("drop-clip", "person 1"),
        ("enroll", "person 3"),
        ("undo", "person 3"),
        ("forget", "person 1"),
        ("reembed", ""),
    ]
    assert entries[0].detail == {"clips": 2, "seconds": 5.0}
    assert entries[9].detail == {"clips": 1, "heads": 1}
    assert all(entry.time.tzinfo is UTC for entry in entries)
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)
    assert gallery.audit(limit=2) == entries[-2:]


@pytest.mark.parametrize(
    ("damage", "call", "said"),
    [
        (
            "UPDATE clips SET arrays = x'0011'",
            lambda g: g.clips(),
            "clip 1 of alice: .*kith drop-clip alice 1",
        ),
        ("UPDATE clips SET quality = '{'", lambda g: g.clips(), "clip 1 of alice"),
        ("UPDATE clips SET created = 'yesterday'", lambda g: g.clips(), "gallery.db: a value cannot be read"),
        ("UPDATE clips SET seconds = 'long'", lambda g: g.clips(), "gallery.db: a value cannot be read"),
        ("UPDATE clips SET source = cast(x'ff' AS TEXT)", lambda g: g.clips(), "gallery.db"),
        ("UPDATE heads SET arrays = x''", lambda g: g.head(), "head 1 .*kith tune"),
        ("UPDATE heads SET config = ''", lambda g: g.head(), "head 1 .*kith tune"),
        ("UPDATE settings SET value = '['", lambda g: g.setting("far"), "setting 'far'"),
        ("UPDATE audit SET detail = '['", lambda g: g.audit(), "audit entry 1"),
    ],
)
def test_damaged_rows(
    gallery: Gallery,
    path: Path,
    make_clip: MakeClip,
    damage: str,
    call: Callable[[Gallery], object],
    said: str,
) -> None:
    gallery.add_clips("alice", [make_clip("a1"), make_clip("a2")], encoder="e")
    gallery.put_setting("far", 0.01)
    save_head(gallery)
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=said) as caught:
        call(gallery)
    assert "\n" not in str(caught.value)
    gallery.forget("alice")  # damage never stands in the way of that
    assert gallery.clips() == []


def test_a_missing_table(gallery: Gallery, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE settings")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=r"gallery\.db: no such table"):
        gallery.setting("far")
