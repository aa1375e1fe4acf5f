from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.errors import GalleryError, UnknownItemError
from openkith.gallery import Gallery, NewClip, ReviewChange, ReviewClips, schema
from openkith.gallery.safekeeping.encryption import is_sealed

MakeClip = Callable[..., NewClip]


@pytest.fixture
def clips(any_gallery: Gallery) -> ReviewClips:
    return ReviewClips(any_gallery)


def keep(clips: ReviewClips, clip: NewClip, **changes: Any) -> int:
    options = {"status": "unknown", "probability": 0.7, "guess": None, "encoder": "e"} | changes
    number = clips.add(clip, **options)
    assert number is not None
    return number


def kept(clips: ReviewClips, make_clip: MakeClip, names: str) -> list[int]:
    return [keep(clips, make_clip(name, audio=name.encode())) for name in names]


def states(clips: ReviewClips, ids: list[int]) -> str:
    """The first letter of each one's state."""
    return "".join(clip.state[0] for clip in clips.get(ids))


def actions(gallery: Gallery) -> list[tuple[str, str, dict[str, Any]]]:
    return [(entry.actor, entry.action, entry.detail) for entry in gallery.audit()]


def test_there_and_back(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    alice = any_gallery.add_person("alice")
    given, before = make_clip("1", audio=b"fLaC\0"), datetime.now(UTC)
    number = keep(clips, given, status="unsure", probability=0.4, guess=alice.id, actor="key 3")
    (clip,) = clips.waiting()
    assert (clip.id, clip.sha256, clip.seconds) == (number, given.sha256, 2.5)
    assert (clip.encoder, clip.status, clip.probability) == ("e", "unsure", 0.4)
    assert (clip.guess_id, clip.guess) == (alice.id, "alice")
    assert (clip.state, clip.enrolment_id, clip.quality) == ("waiting", None, given.quality)
    assert before <= clip.time == clip.changed <= datetime.now(UTC)
    assert clip.arrays.keys() == given.arrays.keys()
    for key, array in given.arrays.items():
        np.testing.assert_array_equal(clip.arrays[key], array)
        assert clip.arrays[key].dtype == array.dtype
    assert clips.audio(number) == b"fLaC\0"
    assert actions(any_gallery)[1:] == [("key 3", "review-keep", {"clip": number, "seconds": 2.5})]
    any_gallery.rename("alice", "Alicia")
    assert clips.waiting()[0].guess == "Alicia"


def test_what_is_there_already(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    any_gallery.add_clips("alice", [make_clip("enrolled")], encoder="e")
    any_gallery.add_background([make_clip("tv")], encoder="e")
    first = keep(clips, make_clip("1", audio=b"1"))
    clips.mark([first], "dismissed")
    entries = any_gallery.audit()
    for name in ("enrolled", "tv", "1"):
        again = make_clip(name, audio=b"1")
        assert clips.add(again, status="unknown", probability=0.5, guess=None, encoder="e") is None
    assert clips.waiting() == []
    assert any_gallery.audit() == entries
    with pytest.raises(GalleryError, match=r"2.wav: a recording is kept for review with its audio"):
        clips.add(make_clip("2"), status="unknown", probability=0.5, guess=None, encoder="e")


def test_a_guess_who_was_forgotten(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    alice = any_gallery.add_person("alice")
    early = keep(clips, make_clip("1", audio=b"1"), guess=alice.id)
    any_gallery.forget("alice")
    late = keep(clips, make_clip("2", audio=b"2"), guess=alice.id)
    assert [clip.guess_id for clip in clips.get([early, late])] == [None, None]
    assert [clip.guess for clip in clips.get([early, late])] == [None, None]


def test_by_number(clips: ReviewClips, make_clip: MakeClip) -> None:
    first, second, third = kept(clips, make_clip, "abc")
    assert [clip.id for clip in clips.get([third, first])] == [third, first]
    assert [clip.id for clip in clips.get([first, first])] == [first, first]
    assert clips.get([]) == []
    for wrong in (99, 0, -1, 10**30):
        with pytest.raises(UnknownItemError, match=f"no recording {wrong} for review"):
            clips.get([second, wrong])
        with pytest.raises(UnknownItemError):
            clips.audio(wrong)
        with pytest.raises(UnknownItemError):
            clips.mark([second, wrong], "dismissed")
    assert len(clips.waiting()) == 3


def test_changes_and_their_undo(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    with pytest.raises(GalleryError, match="nothing to take back in review"):
        clips.undo()
    ids = kept(clips, make_clip, "abcde")
    any_gallery.add_clips("alice", [make_clip("x")], encoder="e")
    event, start = any_gallery.last_enrolment(), len(any_gallery.audit())
    clips.mark(ids[:2], "dismissed", actor="key 1")
    clips.mark(ids[2:4], "enrolled", event, actor="key 2")
    clips.mark(ids[1:2], "dismissed")  # it is so already
    assert states(clips, ids) == "ddeew"
    assert [clip.id for clip in clips.waiting()] == ids[4:]
    last = clips.last_change()
    assert last == ReviewChange("enrolled", clips.get(ids)[2].changed, (ids[2], ids[3]), event)
    assert clips.undo(actor="key 3") == ("enrolled", (ids[2], ids[3]))
    assert states(clips, ids) == "ddwww"
    assert [clip.enrolment_id for clip in clips.get(ids)] == [None] * 5
    assert clips.undo() == ("dismissed", (ids[0], ids[1]))
    assert states(clips, ids) == "wwwww"
    with pytest.raises(GalleryError):
        clips.undo()
    assert actions(any_gallery)[start:] == [
        ("key 1", "review-dismiss", {"clips": 2}),
        ("key 2", "review-enroll", {"clips": 2}),
        ("key 3", "review-undo", {"clips": 2}),
        ("", "review-undo", {"clips": 2}),
    ]


def test_each_change_has_a_moment_of_its_own(
    clips: ReviewClips, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = kept(clips, make_clip, "abc")
    moment = datetime.now(UTC) - timedelta(days=1)  # a clock that stands still, or was set back
    monkeypatch.setattr("openkith.gallery.queries.now", lambda: moment)
    for number in ids:
        clips.mark([number], "dismissed")
    assert [clips.undo() for _ in ids] == [("dismissed", (number,)) for number in reversed(ids)]


def test_enrolled_by_the_gallery_and_marked(
    any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip
) -> None:
    """What the gallery did in its own transaction is not done a second time."""
    (first,) = kept(clips, make_clip, "a")
    any_gallery.add_clips("alice", [make_clip("a")], encoder="e")
    before, entries = clips.last_change(), any_gallery.audit()
    clips.mark([first], "enrolled", any_gallery.last_enrolment())
    assert clips.last_change() == before
    assert any_gallery.audit() == entries
    assert clips.undo() == ("enrolled", (first,))
    assert [clip.source for clip in any_gallery.clips()] == [
        "a.wav"
    ]  # the gallery's own undo takes them back
    any_gallery.undo()
    assert states(clips, [first]) == "w"


def test_purge(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    ids = kept(clips, make_clip, "abcdef")
    any_gallery.add_clips("alice", [make_clip("b")], encoder="e")
    clips.mark(ids[2:3], "dismissed")
    moments = [clip.time for clip in clips.get(ids)]
    assert clips.purge(moments[0], most=6) == 0
    entries = len(any_gallery.audit())
    assert clips.purge(moments[3], actor="timer") == 3  # one of each state
    assert actions(any_gallery)[entries:] == [("timer", "review-purge", {"clips": 3})]
    assert [clip.id for clip in clips.waiting()] == ids[3:]
    assert any_gallery.person("alice").clips == 1
    assert clips.purge(moments[0], most=2) == 1
    assert [clip.id for clip in clips.waiting()] == ids[4:]
    assert clips.purge(moments[0], most=0) == 2


def test_damage(any_gallery: Gallery, clips: ReviewClips, make_clip: MakeClip) -> None:
    first, second = kept(clips, make_clip, "ab")
    with any_gallery.database.write() as connection:
        table = schema.review_clips
        connection.execute(table.update().where(table.c.id == first).values(arrays=b"\0"))
    with pytest.raises(GalleryError, match=f"recording {first} for review: .*dismiss it") as caught:
        clips.waiting()
    assert "\n" not in str(caught.value)
    clips.mark([first], "dismissed")
    assert [clip.id for clip in clips.waiting()] == [second]


def test_erased_audio_is_in_no_byte(gallery: Gallery, path: Path, make_clip: MakeClip) -> None:
    clips, rng = ReviewClips(gallery), np.random.default_rng(5)
    recordings = [rng.bytes(20_000) for _ in range(4)]
    given = [make_clip(f"{number}", audio=audio) for number, audio in enumerate(recordings)]
    ids = [keep(clips, clip) for clip in given]

    def on_disk() -> list[bool]:
        files = [path, path.with_name(path.name + "-wal")]
        content = b"".join(file.read_bytes() for file in files if file.exists())
        return [
            any(audio[at : at + 16] in content for at in range(0, len(audio), 100)) for audio in recordings
        ]

    gallery.add_clips("alice", [dataclasses.replace(given[0], audio=None), make_clip("x")], encoder="e")
    gallery.add_clips("bob", [dataclasses.replace(given[1], audio=None)], encoder="e")
    assert on_disk() == [True, True, True, True]
    gallery.drop_clip("alice", gallery.clips("alice")[0].id)
    assert on_disk() == [False, True, True, True]
    gallery.forget("bob")
    assert on_disk() == [False, False, True, True]
    assert clips.purge(clips.get(ids[3:])[0].time) == 1
    assert on_disk() == [False, False, False, True]


def test_in_an_encrypted_gallery(path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    monkeypatch.setenv("KITH_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    with Gallery(path) as gallery:
        clips = ReviewClips(gallery)
        number = keep(clips, make_clip("1", audio=b"fLaC of a guest"))
        with gallery.database.read() as connection:
            row = connection.execute(schema.review_clips.select()).one()
        assert is_sealed(row.arrays)
        assert is_sealed(row.audio)
        assert clips.audio(number) == b"fLaC of a guest"
        np.testing.assert_array_equal(
            clips.waiting()[0].arrays["embedding"], make_clip("1").arrays["embedding"]
        )
    assert b"fLaC of a guest" not in path.read_bytes()
