from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import SAMPLE_RATE
from openkith.audio.utterances import Mark, UtteranceCutter
from openkith.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parents[1]))
from voices import voice

FAINT = 10 ** (-75 / 20)


def pause(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (FAINT * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def talk(seconds: float, level: float = 0.2) -> np.ndarray:
    return np.float32(level) * voice("ann", 0, seconds).samples


def marks(stream: np.ndarray, chunk: int = 1600, **options: float) -> list[tuple[Mark, int, float]]:
    """Starts and ends, each with the samples and the speech that are held then."""
    cutter = UtteranceCutter(**options)
    found = []
    for start in range(0, len(stream), chunk):
        found += [
            (mark, len(cutter.samples), cutter.speech_seconds)
            for mark in cutter.feed(stream[start : start + chunk])
            if mark.kind != "speech"
        ]
    return found + [(mark, len(cutter.samples), cutter.speech_seconds) for mark in cutter.finish()]


def spans(stream: np.ndarray, **options: float) -> list[tuple[float, float]]:
    return [(mark.start, mark.end) for mark, _, _ in marks(stream, **options) if mark.kind == "end"]


def test_utterances_with_a_pause_between_them() -> None:
    stream = np.concatenate([pause(2), talk(2), pause(1.5, 1), talk(1), pause(2, 2)])
    found = marks(stream)
    assert [mark.kind for mark, _, _ in found] == ["start", "end", "start", "end"]
    (_, _, _), (first, held, heard), _, (second, _, _) = found
    assert first.start == pytest.approx(2.0, abs=0.5)
    assert first.start <= 2.0
    assert first.end == pytest.approx(4.4, abs=0.3)
    assert heard == pytest.approx(2.0, abs=0.3)
    assert held == round((first.end - first.start) * SAMPLE_RATE)
    assert second.start <= 5.5
    assert second.start > first.end
    assert second.end == pytest.approx(6.9, abs=0.3)


def test_samples_are_those_of_the_stream() -> None:
    stream = np.concatenate([pause(1.03), talk(2), pause(2)])
    cutter = UtteranceCutter()
    for mark in cutter.feed(stream):
        part = stream[round(mark.start * SAMPLE_RATE) : round(mark.end * SAMPLE_RATE)]
        assert np.array_equal(cutter.samples, part)
    assert mark.kind == "end"


@pytest.mark.parametrize("chunk", [7, 480, 4096, 10**6])
def test_the_size_of_chunks_does_not_matter(chunk: int) -> None:
    stream = np.concatenate([pause(1), talk(1), pause(0.5), talk(0.5), pause(1.2)])[: 40_000 + chunk % 2]
    assert marks(stream, chunk) == marks(stream, 1600)


def test_a_short_pause_is_part_of_an_utterance() -> None:
    stream = np.concatenate([pause(1), talk(1), pause(0.6), talk(1), pause(2)])
    assert len(spans(stream)) == 1
    assert len(spans(stream, pause=0.3)) == 2


def test_the_end_of_the_stream_is_the_end_of_the_utterance() -> None:
    stream = np.concatenate([pause(1), talk(1.5)])
    [(start, end)] = spans(stream)
    assert start < 1.0
    assert end == pytest.approx(2.5, abs=0.031)
    cutter = UtteranceCutter()
    list(cutter.feed(stream))
    assert [mark.kind for mark in cutter.finish()] == ["end"]
    assert list(cutter.finish()) == []


def test_nobody_talks_for_ever() -> None:
    cutter, ends, most = UtteranceCutter(longest=3.0), [], 0
    for _ in range(10):
        for mark in cutter.feed(talk(1.0)):
            most = max(most, len(cutter.samples))
            if mark.kind == "end":
                ends.append((mark.start, mark.end))
    assert most == 3 * SAMPLE_RATE
    assert len(ends) == 3
    assert all(end - start == pytest.approx(3.0) for start, end in ends)
    assert [start for start, _ in ends[1:]] == [pytest.approx(end) for _, end in ends[:-1]]  # nothing is lost


def test_hours_of_silence_hold_no_memory() -> None:
    cutter = UtteranceCutter()
    for seed in range(20):
        assert list(cutter.feed(pause(3, seed))) == []
        assert len(cutter.samples) <= 0.51 * SAMPLE_RATE
    assert list(cutter.finish()) == []


@pytest.mark.parametrize("level", [0.2, 0.02, 0.004])
def test_quiet_speech_is_heard_too(level: float) -> None:
    stream = np.concatenate([pause(2), talk(2, level), pause(2, 1)])
    [(start, end)] = spans(stream)
    assert 1.3 <= start <= 2.1
    assert end >= 3.8


@pytest.mark.parametrize("level", [1e-5, 1e-4, 1e-3])
def test_steady_noise_is_no_speech(level: float) -> None:
    stream = level * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE)
    assert sum(end - start for start, end in spans(stream.astype(np.float32))) < 1.5  # while it settles


def test_digital_silence_and_too_loud_are_fine() -> None:
    assert spans(np.zeros(3 * SAMPLE_RATE, np.float32)) == []
    assert len(spans(np.concatenate([pause(1), talk(1, 5.0), pause(1.5)]))) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pause": 0.0}, "pause is 0.0; give 0.1 to 10 s"),
        ({"pause": 11.0}, "pause is 11.0; give 0.1 to 10 s"),
        ({"longest": 0.5}, "longest is 0.5; give 1 to 600 s"),
        ({"longest": float("nan")}, "longest is nan; give 1 to 600 s"),
    ],
)
def test_lengths_out_of_range(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        UtteranceCutter(**options)
    assert str(error.value) == said
