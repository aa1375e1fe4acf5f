"""People without clips, consent, notes, etags, actors, and what erasing and undoing means for them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from openkith.errors import (
    ChangedError,
    DuplicateClipError,
    GalleryError,
    UnknownItemError,
    UnknownPersonError,
)
from openkith.gallery import Answers, Gallery, NewClip, ReviewClips, UndoResult, schema

MakeClip = Callable[..., NewClip]

DAY = date(2026, 3, 1)


def count(gallery: Gallery, table: sa.Table) -> int:
    with gallery.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def last_entry(gallery: Gallery) -> tuple[str, str, str, dict[str, Any]]:
    (entry,) = gallery.audit(limit=1)
    return entry.actor, entry.action, entry.subject, entry.detail


def test_somebody_without_clips(any_gallery: Gallery, make_clip: MakeClip) -> None:
    added = any_gallery.add_person("  Zoe\u0308 ", consent=DAY, note=" from\r\nnext door ", actor="key 3")
    assert (added.name, added.consent, added.note) == ("Zo\u00eb", DAY, "from\nnext door")
    assert (added.clips, added.seconds, added.newest_clip) == (0, 0.0, 0)
    assert last_entry(any_gallery) == ("key 3", "add-person", "Zo\u00eb", {})
    assert any_gallery.people() == [added]
    assert any_gallery.person("Zo\u00eb") == added == any_gallery.person_of_id(added.id)
    assert any_gallery.clips("Zo\u00eb") == []
    assert any_gallery.last_enrolment() is None
    with pytest.raises(UnknownItemError, match="has no clip 1: none was given yet"):
        any_gallery.drop_clip("Zo\u00eb", 1)
    with pytest.raises(GalleryError, match="no enrolment to undo"):
        any_gallery.undo()
    revision = any_gallery.revision()
    any_gallery.add_clips("Zo\u00eb", [make_clip("z")], encoder="e")
    person = any_gallery.person("Zo\u00eb")
    assert (person.id, person.consent, person.clips) == (added.id, DAY, 1)
    any_gallery.undo()
    assert any_gallery.revision() == revision
    receipt = any_gallery.forget("Zo\u00eb", actor="key 4")
    assert (receipt.clips, receipt.heads, receipt.files) == (0, 0, ())
    assert last_entry(any_gallery)[:3] == ("key 4", "forget", f"person {added.id}")
    assert any_gallery.people() == []


def test_nobody_is_added_twice(any_gallery: Gallery, make_clip: MakeClip) -> None:
    any_gallery.add_clips("alice", [make_clip("a")], encoder="e")
    any_gallery.add_person("bob")
    entries = any_gallery.audit()
    for name in ("alice", " bob "):
        with pytest.raises(GalleryError, match=f"'{name.strip()}' is enrolled already"):
            any_gallery.add_person(name, note="x")
    for name in ("", "unknown", "a\nb"):
        with pytest.raises(GalleryError):
            any_gallery.add_person(name)
    assert any_gallery.audit() == entries


def test_people_by_number(any_gallery: Gallery) -> None:
    alice = any_gallery.add_person("alice")
    any_gallery.rename("alice", "Alicia")
    assert any_gallery.person_of_id(alice.id).name == "Alicia"
    for number in (alice.id + 1, 0, -1, 10**30):
        with pytest.raises(UnknownPersonError, match=f"no person {number} in"):
            any_gallery.person_of_id(number)


def test_editing(any_gallery: Gallery) -> None:
    alice = any_gallery.add_person("alice", consent=DAY, note="tall")
    any_gallery.add_person("bob")
    edited = any_gallery.edit_person("alice", new_name=" Alicia ", note="taller", actor="key 1")
    assert edited == any_gallery.person_of_id(alice.id)
    assert (edited.name, edited.consent, edited.note) == ("Alicia", DAY, "taller")
    assert last_entry(any_gallery) == ("key 1", "edit", "Alicia", {"changed": ["name", "note"]})
    edited = any_gallery.edit_person("Alicia", consent=None, note="")
    assert (edited.consent, edited.note) == (None, "")
    any_gallery.edit_person("Alicia", new_name="Ali")
    assert last_entry(any_gallery) == ("", "rename", "Ali", {})
    entries = any_gallery.audit()
    assert any_gallery.edit_person("Ali", new_name="Ali", consent=None, note=" ") == any_gallery.person("Ali")
    assert any_gallery.edit_person("Ali").name == "Ali"
    with pytest.raises(GalleryError, match="'bob' is enrolled already"):
        any_gallery.edit_person("Ali", new_name="bob", note="lost")
    with pytest.raises(UnknownPersonError):
        any_gallery.edit_person("alice", note="x")
    assert any_gallery.person("Ali").note == ""
    assert any_gallery.audit() == entries


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"note": "x" * 2001}, "2001 characters: give one of at most 2000"),
        ({"note": "a\x00b"}, "control character"),
        ({"note": "a\u202eb"}, "control character"),
        ({"note": "a\ud800b"}, "control character"),
        ({"consent": "2026-03-01"}, "consent must be a date"),
        ({"consent": datetime(2026, 3, 1)}, "consent must be a date"),
    ],
)
def test_details_that_are_refused(
    gallery: Gallery, make_clip: MakeClip, details: dict[str, Any], said: str
) -> None:
    gallery.add_person("bob")
    for call in (
        lambda: gallery.add_person("alice", **details),
        lambda: gallery.edit_person("bob", **details),
        lambda: gallery.add_clips("alice", [make_clip("a")], encoder="e", **details),
    ):
        with pytest.raises(GalleryError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert [person.name for person in gallery.people()] == ["bob"]
    assert gallery.edit_person("bob", note="x" * 2000).note == "x" * 2000


def test_enrolling_with_consent(any_gallery: Gallery, make_clip: MakeClip) -> None:
    any_gallery.add_clips("alice", [make_clip("a1")], encoder="e", consent=DAY, note="n", actor="key 2")
    assert last_entry(any_gallery)[:2] == ("key 2", "enroll")
    any_gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    alice = any_gallery.person("alice")
    assert (alice.consent, alice.note) == (DAY, "n")
    any_gallery.add_clips("alice", [make_clip("a3")], encoder="e", consent=None)
    alice = any_gallery.person("alice")
    assert (alice.consent, alice.note, alice.clips) == (None, "n", 3)


def test_the_etag_changes_with_everything(any_gallery: Gallery, make_clip: MakeClip) -> None:
    seen: list[str] = []

    def see() -> None:
        seen.append(any_gallery.people()[0].etag)

    any_gallery.add_person("alice")
    see()
    any_gallery.add_clips("alice", [make_clip("a1"), make_clip("a2"), make_clip("a3")], encoder="e")
    see()
    first, second, third = (clip.id for clip in any_gallery.clips())
    for dropped, again in ((first, "a1"), (second, "a2"), (third, "a3")):
        any_gallery.drop_clip("alice", dropped)
        see()
        any_gallery.add_clips("alice", [make_clip(again)], encoder="e")  # as many seconds as before
        see()
    any_gallery.edit_person("alice", consent=DAY)
    see()
    any_gallery.edit_person("alice", note="x")
    see()
    any_gallery.rename("alice", "Alicia")
    see()
    any_gallery.forget("Alicia")
    any_gallery.add_person("Alicia", consent=DAY, note="x")
    see()
    assert len(set(seen)) == len(seen)
    see()
    any_gallery.add_person("bob")
    any_gallery.put_setting("far", 0.1)
    see()
    assert seen[-1] == seen[-2] == seen[-3]


def test_only_what_was_read_is_changed(any_gallery: Gallery) -> None:
    read = any_gallery.add_person("alice")
    now = any_gallery.edit_person("alice", note="first", etag=read.etag)
    for call in (any_gallery.edit_person, any_gallery.forget):
        with pytest.raises(ChangedError, match="'alice' was changed since you read it"):
            call("alice", etag=read.etag)
    assert any_gallery.person("alice") == now
    any_gallery.forget("alice", etag=now.etag)
    assert any_gallery.people() == []


def test_one_of_many_editors_wins(any_gallery: Gallery) -> None:
    read = any_gallery.add_person("alice")

    def edit(number: int) -> bool:
        try:
            any_gallery.edit_person("alice", note=str(number), etag=read.etag)
        except ChangedError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(edit, range(8))) == 1


def test_undo_leaves_who_was_added_by_hand(any_gallery: Gallery, make_clip: MakeClip) -> None:
    any_gallery.add_person("alice", consent=DAY)
    any_gallery.add_clips("bob", [make_clip("b")], encoder="e")
    any_gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    any_gallery.save_head("rpl", {}, {"W": np.eye(2)}, encoder="e", revision=any_gallery.revision())
    any_gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    any_gallery.drop_clip("alice", any_gallery.clips("alice")[0].id)
    result = any_gallery.undo(actor="key 5")
    assert (result.name, result.clips, result.person_removed) == ("alice", 1, False)
    assert last_entry(any_gallery) == ("key 5", "undo", "alice", {"clips": 1, "heads": 1})
    assert any_gallery.head() is None  # it learned from the clip that was dropped
    alice = any_gallery.person("alice")
    assert (alice.clips, alice.consent) == (0, DAY)
    assert any_gallery.undo() == UndoResult("bob", 1, True)
    assert [person.name for person in any_gallery.people()] == ["alice"]


def test_undo_of_one_enrolment_and_no_other(any_gallery: Gallery, make_clip: MakeClip) -> None:
    any_gallery.add_clips("alice", [make_clip("a")], encoder="e")
    first = any_gallery.last_enrolment()
    any_gallery.add_clips("bob", [make_clip("b")], encoder="e")
    second = any_gallery.last_enrolment()
    with pytest.raises(ChangedError, match="not the last one any more"):
        any_gallery.undo(enrolment=first)
    assert any_gallery.undo(enrolment=second).name == "bob"
    assert any_gallery.undo(enrolment=first).name == "alice"
    with pytest.raises(ChangedError):
        any_gallery.undo(enrolment=first)


def review(gallery: Gallery, clip: NewClip, guess: int | None) -> int:
    number = ReviewClips(gallery).add(
        clip, status="unsure", probability=0.4, guess=guess, encoder="e", actor="key 9"
    )
    assert number is not None
    return number


def test_forgetting_erases_recordings_and_answers(any_gallery: Gallery, make_clip: MakeClip) -> None:
    clips, answers = ReviewClips(any_gallery), Answers(any_gallery)
    any_gallery.add_clips("alice", [make_clip("a", audio=b"x")], encoder="e")
    any_gallery.add_clips("bob", [make_clip("b")], encoder="e")
    alice, bob = any_gallery.people()
    theirs = review(any_gallery, make_clip("hers", audio=b"1"), bob.id)
    guessed = review(any_gallery, make_clip("guessed", audio=b"2"), alice.id)
    dismissed = review(any_gallery, make_clip("dismissed", audio=b"3"), alice.id)
    other = review(any_gallery, make_clip("other", audio=b"4"), bob.id)
    elsewhere = review(any_gallery, make_clip("elsewhere", audio=b"5"), alice.id)
    clips.mark([dismissed], "dismissed")
    any_gallery.add_clips("alice", [make_clip("hers")], encoder="e")
    any_gallery.add_clips("bob", [make_clip("elsewhere")], encoder="e")
    cut = review(any_gallery, make_clip("of the same event, with another digest", audio=b"6"), None)
    clips.mark([cut], "enrolled", clips.get([theirs])[0].enrolment_id)
    answers.begin("done", "1")
    answers.finish("done", 201, {}, b'{"name": "alice"}')
    answers.begin("running", "2")

    receipt = any_gallery.forget("alice")
    assert receipt.files == ("a.wav", f"recording {theirs} for review", f"recording {cut} for review")
    left = {clip.id: clip for clip in clips.get([guessed, dismissed, other, elsewhere])}
    assert count(any_gallery, schema.review_clips) == 4
    assert [left[number].state for number in left] == ["waiting", "dismissed", "waiting", "enrolled"]
    assert [left[number].guess for number in left] == [None, None, "bob", None]
    assert count(any_gallery, schema.answers) == 0
    assert not answers.finish("running", 201, {}, b'{"name": "alice"}')
    assert count(any_gallery, schema.answers) == 0


def test_undoing_a_whole_person_erases_answers(any_gallery: Gallery, make_clip: MakeClip) -> None:
    answers = Answers(any_gallery)
    any_gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    any_gallery.add_clips("alice", [make_clip("a2")], encoder="e")
    answers.begin("key", "1")
    any_gallery.undo()
    assert count(any_gallery, schema.answers) == 1
    any_gallery.undo()
    assert count(any_gallery, schema.answers) == 0


def test_enrolling_settles_review_and_undo_reopens_it(any_gallery: Gallery, make_clip: MakeClip) -> None:
    clips = ReviewClips(any_gallery)
    first = review(any_gallery, make_clip("1", audio=b"1"), None)
    second = review(any_gallery, make_clip("2", audio=b"2"), None)
    third = review(any_gallery, make_clip("3", audio=b"3"), None)
    any_gallery.add_clips("alice", [make_clip("1"), make_clip("new"), make_clip("2")], encoder="e")
    event = any_gallery.last_enrolment()
    assert [clip.id for clip in clips.waiting()] == [third]
    assert [(clip.state, clip.enrolment_id) for clip in clips.get([second, first])] == [
        ("enrolled", event)
    ] * 2
    change = clips.last_change()
    assert change is not None
    assert (change.what, change.ids, change.enrolment_id) == ("enrolled", (first, second), event)
    with pytest.raises(DuplicateClipError):
        any_gallery.add_clips("bob", [make_clip("3"), make_clip("1")], encoder="e")
    assert [clip.id for clip in clips.waiting()] == [third]
    any_gallery.undo(enrolment=event)
    assert [clip.id for clip in clips.waiting()] == [first, second, third]
    assert clips.audio(first) == b"1"
    assert clips.last_change() is None


def test_dropping_a_clip_erases_its_recording(any_gallery: Gallery, make_clip: MakeClip) -> None:
    first = review(any_gallery, make_clip("1", audio=b"1"), None)
    second = review(any_gallery, make_clip("2", audio=b"2"), None)
    any_gallery.add_clips("alice", [make_clip("0")], encoder="e")
    any_gallery.add_clips("alice", [make_clip("1"), make_clip("2")], encoder="e")
    event = any_gallery.last_enrolment()
    cut = review(any_gallery, make_clip("cut", audio=b"3"), None)
    ReviewClips(any_gallery).mark([cut], "enrolled", event)
    _, one, two = (clip.id for clip in any_gallery.clips())
    any_gallery.drop_clip("alice", one, actor="key 6")
    assert last_entry(any_gallery)[0] == "key 6"
    with pytest.raises(UnknownItemError):
        ReviewClips(any_gallery).get([first])
    assert len(ReviewClips(any_gallery).get([second, cut])) == 2
    any_gallery.drop_clip("alice", two)  # nothing of that enrolment is left
    assert count(any_gallery, schema.review_clips) == 0


def test_who_did_it(any_gallery: Gallery, make_clip: MakeClip) -> None:
    any_gallery.add_clips("alice", [make_clip("a")], encoder="e", actor="key 1")
    any_gallery.add_background([make_clip("tv")], encoder="e", actor="key 2")
    any_gallery.save_head("m", {}, {}, encoder="e", revision=any_gallery.revision(), actor="job 3")
    any_gallery.put_setting("far", 1, actor="key 4")
    any_gallery.rename("alice", "Alicia", actor="key 5")
    any_gallery.replace_arrays({clip.id: clip.arrays for clip in any_gallery.clips()}, "new", actor="key 6")
    any_gallery.forget("Alicia")
    entries = any_gallery.audit()
    assert [entry.actor for entry in entries] == ["key 1", "key 2", "job 3", "key 4", "key 5", "key 6", ""]
    assert [entry.id for entry in entries] == sorted({entry.id for entry in entries})
    assert any_gallery.audit(before=entries[4].id) == entries[:4]
    assert any_gallery.audit(limit=2, before=entries[4].id) == entries[2:4]
    assert any_gallery.audit(before=0) == any_gallery.audit(before=-1) == []
    assert any_gallery.audit(before=10**30) == entries


def test_the_version_is_that_of_what_decisions_are_made_of(any_gallery: Gallery, make_clip: MakeClip) -> None:
    seen = [any_gallery.version()]

    def grows() -> bool:
        seen.append(any_gallery.version())
        return seen[-1] > seen[-2]

    assert seen == [0]
    any_gallery.add_person("alice")
    assert grows()
    any_gallery.add_clips("alice", [make_clip("a")], encoder="e")
    assert grows()
    any_gallery.put_setting("far", 1)
    assert grows()
    number = review(any_gallery, make_clip("r", audio=b"r"), None)
    ReviewClips(any_gallery).mark([number], "dismissed")
    assert not grows()
    assert any_gallery.audit(limit=1)[0].action == "review-dismiss"
    any_gallery.forget("alice")
    assert grows()


def test_numbers_no_database_gives(any_gallery: Gallery) -> None:
    with pytest.raises(UnknownItemError, match="no clip"):
        any_gallery.audio(10**30)
