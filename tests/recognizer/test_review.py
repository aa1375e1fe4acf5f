"""Recordings of nobody known: what is kept, how it is grouped, and how it becomes clips of somebody, and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import openkith.recognizer.review
import openkith.recognizer.roster
from openkith.errors import ChangedError, ConfigError, GalleryError, UnknownItemError
from openkith.openset.decision import Decision
from openkith.recognizer import Recognizer
from openkith.recognizer.review import Review, ReviewSettings, group_voices, likeness
from openkith.recognizer.roster import version_of

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, voice


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recognizer]:
    for module in (openkith.recognizer.roster, openkith.recognizer.review):
        monkeypatch.setattr(module, "find_cohort", fake_cohort)
    with Recognizer(tmp_path / "home.db", FakeEncoder()) as recognizer:  # type: ignore[arg-type]
        for who in ("ann", "bob"):
            recognizer.enroll(who, [voice(who, take) for take in range(3)])
        yield recognizer


@pytest.fixture
def review(home: Recognizer) -> Review:
    review = Review(home)
    review.change_settings(ReviewSettings(keep=True))
    return review


def hear(review: Review, home: Recognizer, who: str, take: int) -> int | None:
    audio = voice(who, take)
    return review.offer(audio, home.identify(audio), actor="key 1")


def test_nothing_is_kept_unless_asked(home: Recognizer) -> None:
    review = Review(home)
    assert review.settings == ReviewSettings(keep=False, days=30)
    assert hear(review, home, "eve", 0) is None
    assert review.groups() == []


def test_what_is_kept(review: Review, home: Recognizer) -> None:
    number = hear(review, home, "eve", 0)
    assert number is not None
    assert hear(review, home, "eve", 0) is None  # the same recording once
    stranger = home.identify(voice("eve", 1))
    for reason in ({"accepted": True}, {"several": True}, {"speech_seconds": 0.4}):
        assert review.offer(voice("eve", 1), Decision(**{**vars(stranger), **reason})) is None
    from openkith.audio import load

    assert load(review.audio(number)).sha256 == voice("eve", 0).sha256
    assert [entry.actor for entry in home.gallery.audit() if entry.action == "review-keep"] == ["key 1"]


def test_keeping_does_not_make_the_model_anew(review: Review, home: Recognizer) -> None:
    before = version_of(home.gallery)
    hear(review, home, "eve", 0)
    assert version_of(home.gallery) == before


def test_groups_are_voices(review: Review, home: Recognizer) -> None:
    for who, takes in (("eve", range(3)), ("mallory", range(2))):
        for take in takes:
            assert hear(review, home, who, take) is not None
    groups = review.groups()
    assert [len(group.clips) for group in groups] == [3, 2]
    assert groups[0].clips[0].time > groups[0].clips[1].time
    assert all(group.likely is None or 0 < group.probability <= 1 for group in groups)


def test_a_group_of_a_known_voice_says_so(review: Review, home: Recognizer) -> None:
    """Two recordings of Ann that were answered "unsure" while the threshold was too high."""
    for take in (5, 6):
        audio = voice("ann", take)
        decision = home.identify(audio)
        unsure = Decision(**{**vars(decision), "status": "unsure", "accepted": False})
        assert review.offer(audio, unsure) is not None
    [group] = review.groups()
    assert (group.likely, [clip.guess for clip in group.clips]) == ("ann", ["ann", "ann"])
    assert group.probability > 0.5


def test_enrol_and_take_it_back(review: Review, home: Recognizer) -> None:
    ids = [hear(review, home, "eve", take) for take in range(2)]
    report = review.enroll(ids, "eve", actor="key 1")  # type: ignore[arg-type]
    assert (report.name, report.added) == ("eve", 2)
    assert review.groups() == []
    assert home.identify(voice("eve", 7)).probabilities["eve"] > 0.1
    with pytest.raises(GalleryError, match="is enrolled already"):
        review.enroll(ids, "eve")  # type: ignore[arg-type]
    undone = review.undo()
    assert undone.to_dict() == {"undone": "enrolled", "clips": tuple(ids)}
    assert [person.name for person in home.gallery.people()] == ["ann", "bob"]
    assert [len(group.clips) for group in review.groups()] == [2]


def test_a_recording_out_of_a_stream_is_known_again(review: Review, home: Recognizer) -> None:
    """Cut by hand, with a mean that `load` would take away."""
    audio = voice("eve", 0)
    cut = replace(audio, samples=audio.samples[3000:] + np.float32(0.01))
    number = review.offer(cut, home.identify(cut))
    review.enroll([number], "eve")  # type: ignore[list-item]
    assert review.groups() == []
    assert review.undo().clips == (number,)


def test_what_somebody_else_enrolled_since_is_not_taken_back(review: Review, home: Recognizer) -> None:
    review.enroll([hear(review, home, "eve", 0)], "eve")  # type: ignore[list-item]
    home.enroll("cat", voice("cat"))
    with pytest.raises(ChangedError, match="not the last one"):
        review.undo()
    assert {person.name for person in home.gallery.people()} == {"ann", "bob", "eve", "cat"}


def test_dismiss_and_take_it_back(review: Review, home: Recognizer) -> None:
    first, second = (hear(review, home, "eve", take) for take in range(2))
    review.dismiss([first])  # type: ignore[list-item]
    assert [clip.id for group in review.groups() for clip in group.clips] == [second]
    assert review.undo().clips == (first,)
    assert {clip.id for group in review.groups() for clip in group.clips} == {first, second}
    with pytest.raises(GalleryError, match="nothing to take back"):
        review.undo()
    with pytest.raises(UnknownItemError, match="no recording 99"):
        review.dismiss([99])


def test_old_recordings_go(review: Review, home: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    hear(review, home, "eve", 0)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return datetime.now(UTC) + timedelta(days=8)

    monkeypatch.setattr(openkith.recognizer.review, "datetime", Later)
    review.change_settings(ReviewSettings(keep=True, days=9))
    assert len(review.groups()) == 1
    review.change_settings(ReviewSettings(keep=True, days=7))
    assert review.groups() == []


def test_days_out_of_range() -> None:
    with pytest.raises(ConfigError, match="days is 0"):
        ReviewSettings(days=0)


def test_group_voices() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(3, 16)
    labels = np.array([0, 1, 1, 2, 0, 2, 2])
    found = group_voices(centres[labels] + 0.05 * rng.standard_normal((7, 16)), 0.75)
    assert len(set(found)) == 3
    assert all((found[i] == found[j]) == (labels[i] == labels[j]) for i in range(7) for j in range(7))
    assert group_voices(np.ones((1, 4)), 0.5).tolist() == [0]
    assert group_voices(np.ones((3, 4)), 0.5).tolist() == [0, 0, 0]


def test_likeness_is_what_few_strangers_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openkith.recognizer.review, "find_cohort", fake_cohort)
    cohort = fake_cohort()
    assert cohort is not None
    cosines = cohort.embeddings[:, 0] @ cohort.embeddings[:, 0].T
    different = cohort.labels[:, None] != cohort.labels
    assert np.mean(cosines[different] >= likeness("fake/1")) == pytest.approx(0.01, abs=0.002)
    assert likeness("fake/none") == 0.75
