from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from openkith.gallery import Gallery, NewClip
from openkith.gallery.recordings import BATCH, read_recordings, recording_keys, review_version
from openkith.gallery.review_clips import ReviewClips

MakeClip = Callable[..., NewClip]


def printed(clip: NewClip, number: int) -> NewClip:
    """The clip with a fingerprint of so many words."""
    words = np.arange(number, dtype=np.uint32) + np.uint32(2**31)
    return replace(clip, arrays={**clip.arrays, "fingerprint": words})


def keep(gallery: Gallery, clip: NewClip) -> int:
    number = ReviewClips(gallery).add(
        replace(clip, audio=b"fLaC"), status="unknown", probability=0.9, guess=None, encoder="e"
    )
    assert number is not None
    return number


def test_clips_of_people_and_what_is_kept_for_review(any_gallery: Gallery, make_clip: MakeClip) -> None:
    gallery = any_gallery
    gallery.add_clips("ann", [printed(make_clip("a1"), 5), make_clip("a2")], encoder="e")
    gallery.add_clips("bob", [printed(make_clip("b1"), 3)], encoder="e")
    gallery.add_background([printed(make_clip("tv"), 9)], encoder="e")
    kept = [keep(gallery, printed(make_clip(name), 4)) for name in ("r1", "r2")]
    ids = {clip.sha256: clip.id for clip in gallery.clips()}
    keys = recording_keys(gallery)
    assert keys == {("enrolment", number) for number in ids.values()} | {
        ("review", number) for number in kept
    }

    found = {recording.sha256: recording for recording in read_recordings(gallery, keys)}
    assert found.keys() == {make_clip(name).sha256 for name in ("a1", "a2", "b1", "r1", "r2")}
    people = {person.name: person.id for person in gallery.people()}
    for name, who, words in (("a1", "ann", 5), ("a2", "ann", 0), ("b1", "bob", 3), ("r1", None, 4)):
        recording = found[make_clip(name).sha256]
        assert recording.person_id == (people[who] if who else None)
        assert recording.fingerprint.dtype == np.uint32
        assert recording.fingerprint.tolist() == [2**31 + i for i in range(words)]
        assert recording.quality == {"snr_db": 20.5, "clipped": 0.0}
        assert recording.key == (("enrolment", ids[recording.sha256]) if who else ("review", kept[0]))


def test_what_is_gone_is_left_out(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("ann", [make_clip("a1"), make_clip("a2")], encoder="e")
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    keys = recording_keys(gallery)
    gallery.forget("bob")
    assert len(recording_keys(gallery)) == 2
    assert {found.sha256 for found in read_recordings(gallery, keys)} == {
        make_clip(name).sha256 for name in ("a1", "a2")
    }
    assert read_recordings(gallery, []) == []


def test_a_recording_that_was_enrolled_from_review_is_a_clip(gallery: Gallery, make_clip: MakeClip) -> None:
    one, two = keep(gallery, make_clip("r1")), keep(gallery, make_clip("r2"))
    gallery.add_clips("ann", [make_clip("r1")], encoder="e")
    ReviewClips(gallery).mark([two], "dismissed")
    [clip] = gallery.clips()
    assert recording_keys(gallery) == {("enrolment", clip.id), ("review", two)}
    assert one != two


def test_keeping_and_dropping_for_review_is_seen(gallery: Gallery, make_clip: MakeClip) -> None:
    seen = [review_version(gallery)]
    one = keep(gallery, make_clip("r1"))
    seen.append(review_version(gallery))
    keep(gallery, make_clip("r2"))
    seen.append(review_version(gallery))
    ReviewClips(gallery).mark([one], "enrolled")
    seen.append(review_version(gallery))
    assert len(set(seen)) == 4
    ReviewClips(gallery).purge(datetime.now(UTC) + timedelta(days=1))
    assert review_version(gallery) == seen[0] == (0, 0)


def test_more_than_are_read_at_a_time(gallery: Gallery, make_clip: MakeClip) -> None:
    clips = [printed(make_clip(f"a{i}", dim=4), 1) for i in range(2 * BATCH + 1)]
    gallery.add_clips("ann", clips, encoder="e")
    found = read_recordings(gallery, recording_keys(gallery))
    assert [recording.sha256 for recording in found] == [clip.sha256 for clip in clips]


def test_encrypted_ones_are_read(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_KEY", base64.b64encode(secrets.token_bytes(32)).decode())
    with Gallery(tmp_path / "sealed.db") as gallery:
        gallery.add_clips("ann", [printed(make_clip("a1"), 5)], encoder="e")
        keep(gallery, printed(make_clip("r1"), 2))
        found = read_recordings(gallery, recording_keys(gallery))
        assert sorted(len(recording.fingerprint) for recording in found) == [2, 5]
