"""Tokens of clips, against the encoder itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from openkith.audio import Audio, load
from openkith.audio.degrade import add_noise, noise
from openkith.audio.features import power_mel
from openkith.errors import ConfigError
from openkith.neural_scoring import tokens as module
from openkith.neural_scoring.talker_model import LOOKS, Tokens
from openkith.neural_scoring.tokens import PREFIX_FRAMES, clip_tokens, tokens_of_clips

if TYPE_CHECKING:
    from openkith.encoders.networks.ge2e import GE2E

PLAIN, CLEANED = range(len(LOOKS))


@pytest.fixture(scope="module")
def clip(record: Callable[..., Path]) -> Audio:
    return load(record(1, 1, seconds=4.0))


def cut(clip: Audio, start: float, end: float) -> Audio:
    return replace(clip, samples=clip.samples[round(start * 16_000) : round(end * 16_000)])


def test_a_clip_of_four_seconds_has_nine_windows_and_ninety_prefixes(ge2e: GE2E, clip: Audio) -> None:
    tokens = clip_tokens(ge2e, clip)
    assert tokens.windows.shape == (2, 9, 256)
    assert tokens.prefixes.shape == (2, 9, 10, 256)
    assert tokens.windows.dtype == tokens.prefixes.dtype == np.float32
    assert tokens.times == pytest.approx(np.array([[0.3 * i, 0.3 * i + 1.6] for i in range(9)]))
    assert np.linalg.norm(tokens.prefixes, axis=-1) == pytest.approx(np.ones((2, 9, 10)), abs=1e-5)
    assert np.array_equal(tokens.windows, tokens.prefixes[:, :, -1])


def test_the_last_window_ends_with_the_clip(ge2e: GE2E, clip: Audio) -> None:
    tokens = clip_tokens(ge2e, cut(clip, 0, 2.05))
    assert tokens.times == pytest.approx(np.array([[0.0, 1.6], [0.3, 1.9], [0.45, 2.05]]))


def test_windows_are_embeddings_of_what_is_cut_out(ge2e: GE2E, clip: Audio) -> None:
    tokens = clip_tokens(ge2e, clip)
    alone = ge2e.embed([cut(clip, start, end) for start, end in tokens.times])
    # Frames at the edges of a cut see no neighbours.
    assert (tokens.windows[PLAIN] * alone).sum(axis=1).min() > 0.995


def test_prefixes_are_embeddings_of_shorter_stretches(ge2e: GE2E, clip: Audio) -> None:
    tokens = clip_tokens(ge2e, clip)
    mel = power_mel(clip.samples * np.float32(ge2e.gain(float(np.mean(clip.samples**2)))))
    for window, prefix in ((0, 0), (3, 4), (8, 9)):
        stretch = mel[30 * window : 30 * window + PREFIX_FRAMES[prefix] + 1]
        with torch.inference_mode():
            alone = ge2e._network(torch.from_numpy(stretch[None]))[0].numpy()[0]
        assert tokens.prefixes[PLAIN, window, prefix] == pytest.approx(alone, abs=1e-5)


def test_the_second_look_hears_less_of_steady_noise(ge2e: GE2E, clip: Audio) -> None:
    clean = clip_tokens(ge2e, clip)
    noisy = replace(
        clip, samples=add_noise(clip.samples, noise(64_000, "white", np.random.default_rng(0)), 3.0)
    )
    alike = (clip_tokens(ge2e, noisy).windows * clean.windows).sum(axis=-1).mean(axis=1)
    assert alike[CLEANED] > alike[PLAIN] + 0.02


def test_subtraction_keeps_power_and_what_comes_and_goes() -> None:
    mel = np.ones((100, 40), np.float32)
    mel[::2, :5] = 101.0
    less = module._subtract_floor(mel)
    assert less.mean() == pytest.approx(mel.mean(), rel=1e-5)
    # 101 - 2.5 x 1 beside 0.03 x 1 where there is nothing but the floor
    assert less[0, 0] / less[1, 0] == pytest.approx(98.5 / 0.03, rel=1e-4)


def test_a_word_is_not_taken_for_noise(ge2e: GE2E, clip: Audio) -> None:
    tokens = clip_tokens(ge2e, cut(clip, 0.5, 1.2))
    assert tokens.windows.shape == (2, 1, 256)
    assert np.allclose(tokens.windows[PLAIN], tokens.windows[CLEANED], atol=1e-6)
    assert tokens.windows[PLAIN] == pytest.approx(ge2e.embed([cut(clip, 0.5, 1.2)]), abs=0.02)
    assert tokens.prefixes.shape == (2, 1, 1, 256)  # the network has heard 0.7 s of it, and silence
    assert tokens.times == pytest.approx(np.array([[0.0, 0.7]]))
    assert clip_tokens(ge2e, cut(clip, 0.5, 1.7)).prefixes.shape == (2, 1, 5, 256)


def test_clips_together_give_what_each_gives_alone(ge2e: GE2E, clip: Audio) -> None:
    clips = [clip, cut(clip, 0, 1.0), cut(clip, 1, 3.3)]
    for one, many in zip(clips, tokens_of_clips(ge2e, clips), strict=True):
        alone = clip_tokens(ge2e, one)
        assert np.allclose(alone.windows, many.windows, atol=1e-5)
        assert np.allclose(alone.prefixes, many.prefixes, atol=1e-5)
        assert np.array_equal(alone.times, many.times)
    assert tokens_of_clips(ge2e, []) == []


def test_level_is_no_matter(ge2e: GE2E, clip: Audio) -> None:
    quiet = replace(clip, samples=clip.samples * np.float32(0.003))
    level = replace(clip, samples=clip.samples * np.float32(0.03 / np.sqrt(np.mean(clip.samples**2))))
    one, other = clip_tokens(ge2e, quiet), clip_tokens(ge2e, level)
    assert (one.windows * other.windows).sum(axis=-1).min() > 0.99


def test_a_part_has_its_windows_and_their_times() -> None:
    rng = np.random.default_rng(0)
    tokens = Tokens(rng.random((2, 5, 4)), rng.random((2, 5, 3, 4)), rng.random((5, 2)))
    part = tokens.between(1, 3)
    assert (len(tokens), len(part)) == (5, 2)
    assert np.array_equal(part.windows, tokens.windows[:, 1:3])
    assert np.array_equal(part.prefixes, tokens.prefixes[:, 1:3])
    assert np.array_equal(part.times, tokens.times[1:3])


def test_another_encoder_is_refused(bands: object, clip: Audio) -> None:
    with pytest.raises(ConfigError, match=r"'ge2e'.*'bands'"):
        clip_tokens(bands, clip)  # type: ignore[arg-type]


@pytest.mark.slow
def test_tokens_cost_at_most_four_embeddings(ge2e: GE2E, clip: Audio) -> None:
    def fastest(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(15):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    assert fastest(lambda: clip_tokens(ge2e, clip)) <= 4 * fastest(lambda: ge2e.embed([clip]))
