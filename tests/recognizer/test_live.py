from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

import openkith.recognizer.roster
from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.data import read_manifest
from openkith.encoders import Encoder
from openkith.errors import AudioError, ConfigError, NotEnoughDataError
from openkith.openset.decision import Decision, Status
from openkith.recognizer import Recognizer
from openkith.recognizer.live import LiveEvent, LiveSession, ShownAnswer

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import FakeEncoder, fake_cohort, same_decision, voice

Answers = Callable[[float], Decision]


def decided(status: Status = "known", seconds: float = 1.0, **people: float) -> Decision:
    """The likeliest of some people and, with what is left, nobody."""
    probabilities = {"ann": 0.0, "bob": 0.0, **people}
    probabilities["unknown"] = 1.0 - sum(probabilities.values())
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    name = max(people, key=people.__getitem__) if status != "unknown" else None
    probability = probabilities[name or "unknown"]
    others = [p for other, p in probabilities.items() if other != (name or "unknown")]
    assert name == (None if ranked[0] == "unknown" else ranked[0])
    return Decision(
        *(status, name, probability, probabilities, probability - max(others), seconds, "because"),
        *("fusion", 1.0, 0.5, status == "known"),
    )


ANN, BOB, NOBODY = decided(ann=0.97), decided(bob=0.97), decided("unknown", ann=0.02)
PERHAPS_ANN, PERHAPS_BOB = decided("unsure", ann=0.55, bob=0.4), decided("unsure", ann=0.4, bob=0.55)


class Scripted:
    """A recogniser that answers by a rule, and keeps what it was asked."""

    def __init__(self, answers: Answers = lambda seconds: ANN) -> None:  # noqa: ARG005
        self.answers = answers
        self.asked: list[tuple[float, str]] = []
        self.clips: list[Audio] = []

    def identify(self, clip: Audio, *, voices: str = "auto") -> Decision:
        self.asked.append((clip.seconds, voices))
        self.clips.append(clip)
        return self.answers(clip.seconds)


def pause(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (2e-4 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def talk(seconds: float, who: str = "ann", take: int = 0) -> np.ndarray:
    return np.float32(0.3) * voice(who, take, seconds).samples


def run(session: LiveSession, stream: np.ndarray, chunk: int = 1600) -> list[LiveEvent]:
    events: list[LiveEvent] = []
    for start in range(0, len(stream), chunk):
        events += session.feed(stream[start : start + chunk])
    return events + session.finish()


def kinds(events: list[LiveEvent]) -> str:
    """Such as "suuf": start, two updates, final."""
    return "".join(event.kind[0] for event in events)


# what is shown of the updates


def shown(*decisions: Decision) -> list[str | None]:
    answer = ShownAnswer()
    return [answer.take(decision).name for decision in decisions]


def test_an_answer_gives_way_to_one_that_leads_clearly_or_twice() -> None:
    assert shown(ANN, BOB) == ["ann", "bob"]
    assert shown(PERHAPS_ANN, PERHAPS_BOB) == ["ann", "ann"]
    assert shown(PERHAPS_ANN, PERHAPS_BOB, PERHAPS_BOB) == ["ann", "ann", "bob"]
    assert shown(PERHAPS_ANN, PERHAPS_BOB, PERHAPS_ANN, PERHAPS_BOB) == ["ann"] * 4
    likely_nobody = decided("unknown", ann=0.45)
    assert shown(ANN, likely_nobody, ANN) == ["ann"] * 3
    assert shown(ANN, likely_nobody, PERHAPS_BOB) == ["ann"] * 3  # two others, each once
    assert shown(likely_nobody, *[decided("unsure", ann=0.5, bob=0.2)] * 2) == [None, None, "ann"]
    assert shown(NOBODY, ANN) == [None, "ann"]


def test_a_held_answer_has_the_numbers_of_now() -> None:
    answer = ShownAnswer()
    answer.take(decided(ann=0.6, bob=0.3))
    now = decided(seconds=2.5, ann=0.35, bob=0.6)
    held = answer.take(now)
    assert (held.status, held.name, held.accepted) == ("unsure", "ann", False)
    assert (held.probability, held.margin) == (0.35, pytest.approx(-0.25))
    assert (held.probabilities, held.speech_seconds) == (now.probabilities, 2.5)
    assert held.reason == "ann so far, now rather bob"
    answer = ShownAnswer()
    answer.take(decided("unknown", ann=0.4))
    held = answer.take(decided(ann=0.55))
    assert (held.status, held.name, held.probability) == ("unknown", None, pytest.approx(0.45))
    assert held.reason == "nobody enrolled so far, now rather ann"


def test_a_guess_that_is_not_the_likeliest_answer_has_no_name() -> None:
    answer = ShownAnswer()
    guess = Decision(
        **{**vars(decided("unknown", ann=0.2)), "status": "unsure", "name": "ann", "probability": 0.2}
    )
    first = answer.take(guess)
    assert (first.status, first.name, first.probability, first.margin) == (
        "unsure",
        None,
        0.8,
        pytest.approx(0.6),
    )
    held = answer.take(decided("unsure", ann=0.5, bob=0.2))
    assert (held.status, held.name, held.probability) == ("unsure", None, pytest.approx(0.3))


def test_somebody_who_was_forgotten_is_not_held() -> None:
    answer = ShownAnswer()
    answer.take(ANN)
    left = Decision(**{**vars(PERHAPS_BOB), "probabilities": {"bob": 0.55, "unknown": 0.45}})
    assert answer.take(left) is left


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([ANN, ANN, ANN], [False, True, True]),
        ([ANN, PERHAPS_ANN, ANN, ANN], [False, False, False, True]),
        ([ANN, ANN, PERHAPS_ANN], [False, True, True]),
        ([ANN, BOB, BOB], [False, False, True]),
        ([ANN, ANN, BOB, BOB], [False, True, False, True]),
        ([NOBODY, NOBODY], [False, True]),
        ([decided(ann=0.89)] * 3, [False] * 3),
        ([decided("unsure", ann=0.95)] * 3, [False] * 3),
    ],
)
def test_early_is_sure_of_the_same_twice(decisions: list[Decision], expected: list[bool]) -> None:
    answer = ShownAnswer()
    found = []
    for decision in decisions:
        answer.take(decision)
        found.append(answer.early)
    assert found == expected


# a session


def test_an_utterance_begins_is_followed_and_ends() -> None:
    scripted = Scripted()
    events = run(LiveSession(scripted), np.concatenate([pause(1.5), talk(4), pause(2, 1)]))
    assert kinds(events) == "suuuf"  # after 0.8 and 1.3 s of speech, and since it is early, 2 s later
    assert {event.utterance for event in events} == {1}
    assert [event.early for event in events] == [False, False, True, True, False]
    assert events[0].decision is None
    assert all(event.decision == ANN for event in events[1:])
    assert [voices for _, voices in scripted.asked] == ["one", "one", "one", "auto"]
    ends = [event.end for event in events]
    assert ends == sorted(ends)
    assert all(event.start == events[0].start for event in events)
    final = events[-1]
    assert final.audio is scripted.clips[-1]
    assert final.audio.seconds == pytest.approx(final.end - final.start)
    assert 1.0 <= final.start <= 1.5
    assert final.end == pytest.approx(5.8, abs=0.3)


def test_updates_come_after_new_speech_only() -> None:
    scripted = Scripted(lambda seconds: PERHAPS_ANN)  # noqa: ARG005
    events = run(
        LiveSession(scripted), np.concatenate([pause(1), talk(1.3), pause(0.7), talk(1.3), pause(2)])
    )
    assert kinds(events) == "suuuuf"
    updates = [event.end for event in events if event.kind == "update"]
    assert not [end for end in updates if 2.6 < end < 3.0]  # nobody spoke
    events = run(LiveSession(Scripted(), update_seconds=2.0), np.concatenate([pause(1), talk(3), pause(1)]))
    assert kinds(events) == "suf"


def test_updates_of_a_long_utterance_become_rarer() -> None:
    scripted = Scripted(lambda seconds: PERHAPS_ANN)  # noqa: ARG005
    session = LiveSession(scripted)
    run(session, np.concatenate([pause(1), *[talk(2.0)] * 14, pause(2)]))
    heard = [seconds for seconds, voices in scripted.asked if voices == "one"]
    assert len(heard) <= 16
    assert np.diff(heard).max() > 4.0
    assert sum(heard) < 5 * 28.0  # work in all: a few times that of the whole


def test_updates_take_a_share_of_the_time_at_most() -> None:
    """On a machine where every decision takes a second."""
    now = [0.0]

    def slowly(seconds: float) -> Decision:  # noqa: ARG001
        now[0] += 1.0
        return PERHAPS_ANN

    scripted = Scripted(slowly)
    session = LiveSession(scripted, clock=lambda: now[0])
    run(session, np.concatenate([pause(1), *[talk(2.0)] * 10, pause(2)]))
    updates = [seconds for seconds, voices in scripted.asked if voices == "one"]
    assert 5 <= len(updates) <= 0.4 * 20 + 1
    assert np.diff(updates).min() >= 2.4


def test_two_utterances_and_a_hold_that_does_not_outlive_the_first() -> None:
    answers = iter([ANN] * 5)
    scripted = Scripted(lambda seconds: next(answers, BOB))  # noqa: ARG005
    stream = np.concatenate([pause(1), talk(2), pause(1.5), talk(2, "bob"), pause(2)])
    events = run(LiveSession(scripted, update_seconds=0.5), stream)
    second = [event for event in events if event.utterance == 2]
    assert [event.utterance for event in events] == sorted(event.utterance for event in events)
    assert {event.utterance for event in events} == {1, 2}
    assert kinds(second)[0] == "s"
    assert kinds(second)[-1] == "f"
    assert second[1].early is False
    assert second[-1].decision == BOB


def test_an_endless_talk_is_cut() -> None:
    scripted = Scripted()
    events = run(LiveSession(scripted, longest=4.0), np.concatenate([talk(2.0)] * 5))
    finals = [event for event in events if event.kind == "final"]
    assert len(finals) == 3
    assert max(seconds for seconds, _ in scripted.asked) == pytest.approx(4.0, abs=0.031)


def test_the_end_of_the_stream_is_final_and_said_once() -> None:
    session = LiveSession(Scripted())
    events = session.feed(np.concatenate([pause(1), talk(2)]))
    assert "f" not in kinds(events)
    assert kinds(session.finish()) == "f"
    assert session.finish() == []
    with pytest.raises(ConfigError, match=r"^the stream has ended; listen\(\) begins another one$"):
        session.feed(pause(1))
    assert LiveSession(Scripted()).finish() == []


def times(events: list[LiveEvent]) -> list[tuple[str, float, float]]:
    return [(event.kind, event.start, event.end) for event in events]


def test_bytes_may_be_cut_anywhere() -> None:
    stream = np.concatenate([pause(1), talk(2), pause(1.5)])
    integers = np.rint(stream * 32767).astype("<i2")
    expected = run(LiveSession(one := Scripted()), integers)
    data, session, events = integers.tobytes(), LiveSession(two := Scripted()), []
    for start in range(0, len(data), 1001):
        part: Any = data[start : start + 1001]
        events += session.feed(memoryview(part) if start % 2 else bytearray(part))
    events += session.finish()
    assert times(events) == times(expected)
    assert np.array_equal(one.clips[-1].samples, two.clips[-1].samples)
    floats = run(LiveSession(three := Scripted()), integers / np.float64(32768))
    assert times(floats) == times(expected)
    assert np.allclose(one.clips[-1].samples, three.clips[-1].samples, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates(rate: int) -> None:
    stream = np.concatenate([pause(1), talk(2), pause(1.5)])
    plain = run(LiveSession(Scripted()), stream)
    other = soxr.resample(stream, SAMPLE_RATE, rate)
    events = run(LiveSession(Scripted(), rate), other, rate // 10)
    assert [event.kind for event in events] == [event.kind for event in plain]
    assert events[-1].end == pytest.approx(plain[-1].end, abs=0.1)


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (np.array([np.nan]), "<stream>: NaN or infinite samples; repair what made them"),
        (np.zeros((2, 5)), "<stream>: a chunk of shape (2, 5); give one channel of shape (n,)"),
        (np.array([1e4]), "<stream>: samples of up to 10000"),
        (np.array([1j]), "<stream>: numbers of type complex128"),
    ],
)
def test_chunks_that_are_no_audio(chunk: np.ndarray, said: str) -> None:
    session = LiveSession(Scripted())
    with pytest.raises(AudioError) as error:
        session.feed(chunk)
    assert str(error.value).startswith(said)
    assert session.feed(b"") == []
    assert session.feed(np.zeros(0)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"update_seconds": 0.0}, "update_seconds is 0.0; give 0.1 to 30 s"),
        ({"pause": 0.0}, "pause is 0.0; give 0.1 to 10 s"),
        ({"voices": "two"}, "voices is 'two'; give one of: auto, one, several"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        LiveSession(Scripted(), **options)
    assert str(error.value) == said
    with pytest.raises(AudioError, match="sample rate 100 Hz is outside"):
        LiveSession(Scripted(), 100)


def test_an_utterance_that_is_no_usable_audio_has_no_decision() -> None:
    def refuse(seconds: float) -> Decision:  # noqa: ARG001
        raise AudioError("x: digital silence")

    events = run(LiveSession(Scripted(refuse)), np.concatenate([pause(1), talk(2), pause(1.5)]))
    assert kinds(events) == "sf"
    assert events[-1].decision is None


def test_events_as_json() -> None:
    event = LiveEvent("update", 2, 1.23456, 2.0, ANN, early=True, audio=Audio(talk(1), "x"))
    values = json.loads(json.dumps(event.to_dict(), allow_nan=False))
    assert values.pop("decision") == json.loads(json.dumps(ANN.to_dict()))
    assert values == {"type": "update", "utterance": 2, "start": 1.235, "end": 2.0, "early": True}
    assert LiveEvent("start", 1, 0.0, 0.5).to_dict()["decision"] is None


# with a recogniser


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recognizer]:
    monkeypatch.setattr(openkith.recognizer.roster, "find_cohort", fake_cohort)
    with Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer:
        for who in ("ann", "bob", "cat"):
            recognizer.enroll(who, [voice(who, take) for take in range(3)])
        yield recognizer


def test_the_final_decision_is_that_of_the_file(home: Recognizer) -> None:
    for who, take in (("ann", 7), ("bob", 8), ("eve", 1)):
        stream = np.concatenate([pause(1), talk(2.5, who, take), pause(1.5)])
        events = list(home.stream(np.array_split(stream, 37)))
        final = events[-1]
        assert kinds(events)[0] + kinds(events)[-1] == "sf"
        assert final.decision is not None
        assert final.audio is not None
        assert same_decision(final.decision, home.identify(final.audio))
        file = home.identify(voice(who, take, 2.5))
        assert (final.decision.status, final.decision.name) == (file.status, file.name)


def test_nobody_is_enrolled(tmp_path: Path) -> None:
    with (
        Recognizer(tmp_path / "gallery.db", FakeEncoder()) as recognizer,
        pytest.raises(NotEnoughDataError, match="nobody is enrolled"),
    ):
        recognizer.listen()


def test_somebody_enrolled_meanwhile_is_known_in_the_next_utterance(home: Recognizer) -> None:
    session = home.listen()
    stranger = [np.concatenate([pause(1), talk(2.5, "fay", take), pause(1.5)]) for take in (5, 6)]
    [first] = [event for event in session.feed(stranger[0]) if event.kind == "final"]
    home.enroll("fay", [voice("fay", take) for take in range(3)])
    [second] = [event for event in session.feed(stranger[1]) if event.kind == "final"]
    assert first.decision is not None
    assert second.decision is not None
    assert (first.decision.name, second.decision.name) == (None, "fay")


@pytest.mark.slow
def test_real_speech(speech: Path, ge2e: Encoder, tmp_path: Path) -> None:
    """Three people: every clip is decided as its file is, the right name is shown before the end, and none flickers."""
    manifest = read_manifest(speech / "home-clean.tsv")
    people = manifest.speakers[:3]
    with Recognizer(tmp_path / "gallery.db", ge2e) as recognizer:
        for name in people:
            recognizer.enroll(name, [load(row.path) for row in manifest.enroll if row.speaker == name][:3])
        for name in people:
            row = next(row for row in manifest.test if row.speaker == name)
            audio = load(row.path)
            stream = np.concatenate([pause(1), audio.samples, pause(1.5)])
            events = list(recognizer.stream(np.array_split(stream, 50), longest=60.0, pause=3.0))
            [final] = [event for event in events if event.kind == "final"]
            assert final.decision is not None
            reference = recognizer.identify(audio)
            assert (final.decision.status, final.decision.name) == (reference.status, reference.name)
            names = [event.decision.name for event in events if event.decision]
            assert names[-1] == name
            assert sum(a != b for a, b in pairwise(names)) <= 1
