"""Threads make the copies: as one would, and no more of them than the user allowed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import openkith.encoders.clips.copies
from openkith.encoders.clips.copies import embed_with_copies
from openkith.errors import AudioError, ConfigError

sys.path.insert(0, str(Path(__file__).parents[2]))
from voices import FakeEncoder, voice

CLIPS = [voice("ann", take, seconds=0.4 + 0.15 * take) for take in range(11)]


def test_any_number_of_threads_gives_the_same() -> None:
    one, four = (embed_with_copies(FakeEncoder(), CLIPS, threads=threads) for threads in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert (a.quality, a.speech_seconds) == (b.quality, b.speech_seconds)
        for key, array in a.arrays().items():
            np.testing.assert_array_equal(array, b.arrays()[key])


@pytest.mark.parametrize(
    ("given", "of_encoder", "expected"), [(None, None, 3), (None, 2, 2), (1, 2, 0), (2, 1, 2)]
)
def test_threads_that_are_used(
    given: int | None, of_encoder: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0: no thread but the one that asks."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    used: set[str] = set()
    trim = openkith.encoders.clips.copies.trim_silence
    gate = threading.Barrier(max(expected, 1))

    def record(clip: object) -> object:
        name = threading.current_thread().name
        if name not in used:
            used.add(name)
            gate.wait(timeout=10)  # until as many are at work
        return trim(clip)  # type: ignore[arg-type]

    monkeypatch.setattr(openkith.encoders.clips.copies, "trim_silence", record)
    encoder = FakeEncoder()
    encoder.threads = of_encoder  # type: ignore[attr-defined]
    embed_with_copies(encoder, CLIPS, copies=False, threads=given)
    if expected:
        assert len(used) == expected
        assert threading.current_thread().name not in used
    else:
        assert used == {threading.current_thread().name}


def test_no_threads_are_refused() -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        embed_with_copies(FakeEncoder(), CLIPS, threads=0)


def test_an_error_in_a_thread_is_raised_and_the_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(clip: object) -> object:  # noqa: ARG001
        raise AudioError("ann-0: broken")

    monkeypatch.setattr(openkith.encoders.clips.copies, "trim_silence", fail)
    before = threading.active_count()
    with pytest.raises(AudioError, match="ann-0: broken"):
        embed_with_copies(FakeEncoder(), CLIPS, threads=2)
    assert threading.active_count() == before


def test_what_was_embedded_before_is_not_embedded_again() -> None:
    clips = CLIPS[-3:]
    encoder = FakeEncoder()
    expected = embed_with_copies(FakeEncoder(), clips)
    plain = embed_with_copies(FakeEncoder(), clips, copies=False)
    found = embed_with_copies(encoder, clips, plain=[plain[0], None, plain[2]])
    assert encoder.embedded == sum(len(clip.copies) + len(clip.halves) for clip in expected) + 1
    for a, b in zip(found, expected, strict=True):
        assert a.has_copies
        for key, array in a.arrays().items():
            np.testing.assert_array_equal(array, b.arrays()[key])
    assert not plain[0].has_copies
    alone = expected[0].alone()
    assert (len(alone.copies), len(alone.halves), alone.quality) == (0, 0, plain[0].quality)
    np.testing.assert_array_equal(alone.views, plain[0].views)
