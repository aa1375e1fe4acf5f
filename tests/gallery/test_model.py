"""Random sequences of operations against a model of the gallery in plain lists."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openkith.errors import DuplicateClipError, GalleryError, UnknownPersonError
from openkith.gallery import Answers, Gallery, NewClip, ReviewClips

NAMES = st.sampled_from(["alice", "bob", "carol", "dan"])
CLIPS = st.lists(st.integers(0, 15), min_size=1, max_size=3)


def sha(number: int) -> str:
    return f"{number:064x}"


def new_clip(number: int, audio: bytes | None = None) -> NewClip:
    arrays = {"embedding": np.full(4, number, np.float32)}
    return NewClip(sha(number), 1.0 + number, {}, arrays, f"{number}", audio)


@dataclass
class Someone:
    name: str
    events: list[list[int]] = field(default_factory=list)  # clip numbers by enrolment
    by_hand: bool = False  # added without clips

    @property
    def clips(self) -> list[int]:
        return [number for event in self.events for number in event]


class Model(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.gallery = Gallery(Path(self.folder.name) / "gallery.db")
        self.people: list[Someone] = []
        self.order: list[tuple[Someone, list[int]]] = []  # enrolments, oldest first
        self.learned: list[tuple[Someone, int]] | None = None  # what the head learned from
        self.revisions: dict[str, object] = {}
        self.writes = 0
        self.review: dict[int, tuple[str, Someone | None]] = {}  # state and guess by clip number
        self.changes: list[tuple[str, list[int]]] = []  # in review, oldest first
        self.etags: dict[str, object] = {}
        self.answered = False

    def teardown(self) -> None:
        if hasattr(self, "gallery"):
            self.gallery.close()
            self.folder.cleanup()

    def find(self, name: str) -> Someone | None:
        return next((someone for someone in self.people if someone.name == name), None)

    def remove(self, someone: Someone) -> None:
        self.people = [other for other in self.people if other is not someone]
        self.order = [(other, event) for other, event in self.order if other is not someone]
        if self.learned is not None and any(other is someone for other, _ in self.learned):
            self.learned = None
        for number in someone.clips:
            self.leave_review(number)
        for number, (state, guess) in self.review.items():
            self.review[number] = (state, None if guess is someone else guess)
        self.answered = False

    def leave_review(self, number: int) -> None:
        self.review.pop(number, None)
        self.take_from_changes([number])

    def take_from_changes(self, numbers: list[int]) -> None:
        left = [(what, [n for n in of if n not in numbers]) for what, of in self.changes]
        self.changes = [(what, of) for what, of in left if of]

    def settle(self, what: str, numbers: list[int]) -> None:
        """Those of these that are in review, and are not so yet, become so."""
        numbers = [n for n in numbers if n in self.review and self.review[n][0] != what]
        self.take_from_changes(numbers)
        for number in numbers:
            self.review[number] = (what, self.review[number][1])
        if numbers and what != "waiting":
            self.changes.append((what, sorted(numbers)))

    def reviewed(self, numbers: list[int]) -> list[int]:
        """The ids of those of these that are in review."""
        with self.gallery.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT id, sha256 FROM review_clips").all()
        ids = {row.sha256: row.id for row in rows}
        return [ids[sha(number)] for number in numbers if number in self.review]

    @rule(name=NAMES)
    def add_person(self, name: str) -> None:
        if self.find(name) is not None:
            with pytest.raises(GalleryError):
                self.gallery.add_person(name)
            return
        self.gallery.add_person(name)
        self.people.append(Someone(name, by_hand=True))
        self.writes += 1

    @rule(number=st.integers(0, 15), data=st.data())
    def keep(self, number: int, data: st.DataObject) -> None:
        someone = data.draw(st.sampled_from([None, *self.people]))
        guess = None if someone is None else self.gallery.person(someone.name).id
        known = number in self.review or any(number in other.clips for other in self.people)
        clip = new_clip(number, b"%d" % number)
        kept = ReviewClips(self.gallery).add(clip, status="unsure", probability=0.5, guess=guess, encoder="e")
        assert (kept is None) == known
        if not known:
            self.review[number] = ("waiting", someone)
            self.writes += 1

    @precondition(lambda self: self.review)
    @rule(data=st.data())
    def dismiss(self, data: st.DataObject) -> None:
        waiting = [number for number, (state, _) in self.review.items() if state != "enrolled"]
        if not waiting:
            return
        numbers = data.draw(st.lists(st.sampled_from(waiting), min_size=1, max_size=3, unique=True))
        self.writes += any(self.review[number][0] == "waiting" for number in numbers)
        ReviewClips(self.gallery).mark(self.reviewed(numbers), "dismissed")
        self.settle("dismissed", numbers)

    @rule()
    def undo_review(self) -> None:
        clips = ReviewClips(self.gallery)
        if not self.changes:
            with pytest.raises(GalleryError):
                clips.undo()
            return
        what, numbers = self.changes[-1]
        if what == "enrolled":
            return  # the gallery's undo takes it back
        assert clips.undo() == (what, tuple(sorted(self.reviewed(numbers))))
        self.settle("waiting", numbers)
        self.writes += 1

    @rule()
    def answer(self) -> None:
        answers = Answers(self.gallery)
        assert (answers.begin("key", "digest") is not None) == self.answered
        if not self.answered:
            answers.finish("key", 200, {}, b"")
            self.answered = True

    @rule(name=NAMES, numbers=CLIPS)
    def enrol(self, name: str, numbers: list[int]) -> None:
        taken = {number for someone in self.people for number in someone.clips}
        clips = [new_clip(number) for number in numbers]
        if len(set(numbers)) < len(numbers) or taken & set(numbers):
            with pytest.raises(DuplicateClipError):
                self.gallery.add_clips(name, clips, encoder="e")
            return
        self.gallery.add_clips(name, clips, encoder="e")
        someone = self.find(name)
        if someone is None:
            someone = Someone(name)
            self.people.append(someone)
        event = list(numbers)
        someone.events.append(event)
        self.order.append((someone, event))
        self.settle("enrolled", event)
        self.writes += 1

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        someone = self.find(name)
        if someone is None:
            with pytest.raises(UnknownPersonError):
                self.gallery.forget(name)
            return
        knew = self.learned is not None and any(other is someone for other, _ in self.learned)
        receipt = self.gallery.forget(name)
        assert (receipt.clips, receipt.heads) == (len(someone.clips), int(knew))
        assert receipt.seconds == sum(1.0 + number for number in someone.clips)
        self.remove(someone)
        self.writes += 1

    @rule()
    def undo(self) -> None:
        if not self.order:
            with pytest.raises(GalleryError):
                self.gallery.undo()
            return
        someone, event = self.order.pop()
        result = self.gallery.undo()
        someone.events = [other for other in someone.events if other is not event]
        if self.learned is not None and any(
            number in event for other, number in self.learned if other is someone
        ):
            self.learned = None
        self.settle("waiting", event)
        if not someone.clips and not someone.by_hand:
            self.remove(someone)
        elif not someone.clips and self.learned and any(other is someone for other, _ in self.learned):
            self.learned = None
        assert (result.name, result.clips) == (someone.name, len(event))
        assert result.person_removed == (not someone.clips and not someone.by_hand)
        self.writes += 1

    @precondition(lambda self: any(someone.clips for someone in self.people))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        someone = data.draw(st.sampled_from([someone for someone in self.people if someone.clips]))
        number = data.draw(st.sampled_from(someone.clips))
        (clip_id,) = [clip.id for clip in self.gallery.clips(someone.name) if clip.sha256 == sha(number)]
        if len(someone.clips) == 1:
            with pytest.raises(GalleryError):
                self.gallery.drop_clip(someone.name, clip_id)
            return
        self.gallery.drop_clip(someone.name, clip_id)
        for event in someone.events:
            if number in event:
                event.remove(number)
        someone.events = [event for event in someone.events if event]
        self.order = [(other, event) for other, event in self.order if event]
        self.leave_review(number)
        self.writes += 1

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        someone = self.find(old)
        if someone is None or (old != new and self.find(new) is not None):
            with pytest.raises(GalleryError):
                self.gallery.rename(old, new)
            return
        self.gallery.rename(old, new)
        someone.name = new
        self.writes += old != new

    @precondition(lambda self: self.people)
    @rule()
    def tune(self) -> None:
        self.gallery.save_head("rpl", {}, {}, encoder="e", revision=self.gallery.revision())
        self.learned = [(someone, number) for someone in self.people for number in someone.clips]
        self.writes += 1

    @rule()
    def reopen(self) -> None:
        self.gallery.close()
        self.gallery = Gallery(Path(self.folder.name) / "gallery.db")

    @invariant()
    def agrees(self) -> None:
        people = self.gallery.people()
        assert [person.name for person in people] == [someone.name for someone in self.people]
        for person, someone in zip(people, self.people, strict=True):
            clips = self.gallery.clips(person.name)
            assert [clip.sha256 for clip in clips] == [sha(number) for number in someone.clips]
            assert [clip.arrays["embedding"][0] for clip in clips] == someone.clips
            assert (person.clips, person.seconds) == (len(clips), sum(clip.seconds for clip in clips))
            seen = (person.id, person.name, frozenset(clip.id for clip in clips))
            assert self.etags.setdefault(person.etag, seen) == seen
        assert len(set(self.etags.values())) == len(self.etags)
        found = ReviewClips(self.gallery).get(self.reviewed(list(self.review)))
        assert {clip.sha256: (clip.state, clip.guess) for clip in found} == {
            sha(number): (state, guess and guess.name) for number, (state, guess) in self.review.items()
        }
        with self.gallery.database.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM review_clips").scalar() == len(
                self.review
            )
            assert connection.exec_driver_sql("SELECT count(*) FROM answers").scalar() == self.answered
        assert (self.gallery.head() is not None) == (self.learned is not None)
        content: Any = frozenset(
            (person.id, clip) for person, s in zip(people, self.people, strict=True) for clip in s.clips
        )
        assert self.revisions.setdefault(self.gallery.revision(), content) == content
        assert len(set(self.revisions.values())) == len(self.revisions)
        audit = self.gallery.audit()
        assert len(audit) == self.writes
        assert {entry.subject for entry in audit if entry.subject in {"alice", "bob", "carol", "dan"}} == {
            someone.name for someone in self.people
        }


QUICK = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking would take minutes
    suppress_health_check=list(HealthCheck),
)


def run(options: settings) -> None:
    run_state_machine_as_test(Model, settings=options)


def test_random_operations() -> None:
    run(QUICK)


@pytest.mark.slow
def test_many_random_operations() -> None:
    run(settings(QUICK, max_examples=150, stateful_step_count=50, derandomize=False, phases=list(Phase)))
