"""One voice or several, from windows made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.neural_scoring.several_voices import (
    FALSE_ALARMS,
    LENGTHS,
    SeveralVoices,
    _spreads,
    middle_windows,
)
from openkith.scoring.base import normalise

LOOKS, WINDOWS, DIM = 2, 9, 16


def clips(n: int, rng: np.random.Generator, *, several: bool) -> NDArray[np.float32]:
    """Windows of one voice, or of two in turn (even clips) or at once (odd ones), which is a voice in between."""
    voices = rng.standard_normal((n, 2, DIM))
    voices[:, :, 0] = 3.0  # what all single voices have and no pair at once
    found = np.repeat(voices[:, :1], WINDOWS, axis=1)
    if several:
        found[::2, WINDOWS // 2 :] = voices[::2, 1:]
        found[1::2] = voices[1::2].sum(axis=1, keepdims=True)
        found[1::2, :, 0] = -3.0
    noise = 0.3 * rng.standard_normal((n, LOOKS, WINDOWS, DIM))
    return normalise(found[:, None] + noise)


@pytest.fixture(scope="module")
def learned() -> SeveralVoices:
    rng = np.random.default_rng(0)
    windows = np.concatenate([clips(400, rng, several=several) for several in (False, True)])
    return SeveralVoices.learn(windows, np.arange(800) >= 400)


@pytest.mark.parametrize("length", LENGTHS)
def test_turns_and_voices_at_once_are_told_from_one_voice(learned: SeveralVoices, length: int) -> None:
    rng = np.random.default_rng(1)
    one = [learned.score(clip) for clip in middle_windows(clips(200, rng, several=False), length)]
    two = [learned.score(clip) for clip in middle_windows(clips(200, rng, several=True), length)]
    assert np.mean(np.array(one) > 0) < 0.05
    assert np.mean(np.array(two[::2]) > 0) > 0.9
    assert np.mean(np.array(two[1::2]) > 0) > 0.9


def test_a_length_between_two_lies_between(learned: SeveralVoices) -> None:
    clip = clips(1, np.random.default_rng(2), several=True)[0]
    of_six = learned.score(clip[:, :6])
    mean = clip[:, :6].mean(axis=1)
    spread = _spreads(clip[None, :, :6])[0]
    by_hand = (mean * learned.mean).sum() + (spread * learned.spreads[1:3].mean(axis=0)).sum()
    assert of_six == pytest.approx(by_hand + learned.offsets[1:3].mean(), abs=1e-4)
    assert np.isfinite(learned.score(np.repeat(clip, 3, axis=1)))  # longer than any that was learned from


def test_two_windows_are_too_few(learned: SeveralVoices) -> None:
    assert learned.score(clips(1, np.random.default_rng(3), several=True)[0, :, :2]) == float("-inf")


def test_margins_let_two_clips_in_a_hundred_pass(learned: SeveralVoices) -> None:
    one = clips(1000, np.random.default_rng(4), several=False)
    strict = learned.stricter(learned.margins(one))
    for length in LENGTHS:
        alarms = np.mean([strict.score(clip) > 0 for clip in middle_windows(one, length)])
        assert alarms == pytest.approx(FALSE_ALARMS, abs=0.002)


def test_spreads_are_what_they_say() -> None:
    windows = clips(3, np.random.default_rng(5), several=True)
    found = _spreads(windows)
    assert found.shape == (3, LOOKS, 3)
    clip = windows[0, 1].astype(np.float64)
    cosines = [clip[i] @ clip[j] for i in range(WINDOWS) for j in range(i)]
    splits = [
        before @ after / np.linalg.norm(before) / np.linalg.norm(after)
        for before, after in ((clip[:k].sum(axis=0), clip[k:].sum(axis=0)) for k in range(1, WINDOWS))
    ]
    shares = np.linalg.svd(clip, compute_uv=False) ** 2 / WINDOWS
    assert found[0, 1] == pytest.approx([np.mean(cosines), min(splits), shares[1]], abs=1e-5)
