"""Tokens: what a clip sounds like at each time, in the space of the encoder's embeddings.

A clip in which several people talk has no embedding worth the name, but short stretches of it do. Two kinds of token
are taken from the same pass of the network: the embeddings of windows of 1.6 s, 0.3 s apart, and those of the windows'
beginnings (prefixes), which are the hidden states on the way to a window's last one, put through the same last layer.
A prefix ends earlier than its window, so where one person takes over from another some prefix ends before that.

The clip is looked at in two ways (`openkith.neural_scoring.talker_model.LOOKS`), as it is and without its steady
noise: two and a half times the tenth percentile of each mel band over the whole clip is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.features import power_mel
from openkith.encoders.base import Encoder, FloatArray
from openkith.encoders.networks.ge2e import (
    ESTIMATE_FROM,
    ESTIMATE_WHOLLY,
    GE2E,
    HOP_SECONDS,
    N_MELS,
    WINDOW_FRAMES,
)
from openkith.errors import ConfigError
from openkith.neural_scoring.talker_model import Tokens

__all__ = ["PREFIX_FRAMES", "STEP_SECONDS", "clip_tokens", "tokens_of_clips"]

STEP_FRAMES = 30
STEP_SECONDS = STEP_FRAMES * HOP_SECONDS
PREFIX_FRAMES = tuple(range(87, WINDOW_FRAMES, 8))  # the last frame of each: 0.88 s of context and more
FLOOR_QUANTILE = 0.1  # of the frames of a mel band: its noise floor
FLOOR_FACTOR = 2.5
FLOOR_KEPT = 0.03  # of each power, at the least
_HOP = round(HOP_SECONDS * SAMPLE_RATE)
_TINY = 1e-9


def clip_tokens(encoder: Encoder, clip: Audio) -> Tokens:
    """The tokens of one clip; see `tokens_of_clips`."""
    return tokens_of_clips(encoder, [clip])[0]


def tokens_of_clips(encoder: Encoder, clips: Sequence[Audio]) -> list[Tokens]:
    """The tokens of clips, all windows going through the network together.

    Windows begin every 0.3 s; a last one ends with the clip. A clip under 1.6 s has one window, followed by silence.

    Args:
        encoder: GE2E. A quiet clip is raised to its level as a whole.
        clips: Speech, best with its silences already cut out (`openkith.audio.trim_silence`).

    Raises:
        ConfigError: Another encoder, whose hidden states are no embeddings.
    """
    if not isinstance(encoder, GE2E):
        raise ConfigError(
            f"tokens are the hidden states of the encoder 'ge2e', and this one is {encoder.name!r}; load that one"
        )
    if not clips:
        return []
    mels = [_windows(encoder, clip) for clip in clips]  # of each clip (V, w, 160, 40), (w,)
    flat = np.concatenate([windows.reshape(-1, WINDOW_FRAMES, N_MELS) for windows, _ in mels])
    embedded = encoder.embed_states(flat, PREFIX_FRAMES)
    tokens, done = [], 0
    for clip, (windows, starts) in zip(clips, mels, strict=True):
        looks, n = windows.shape[:2]
        own = embedded[done : done + looks * n].reshape(looks, n, *embedded.shape[1:])  # (V, w, p, d)
        done += looks * n
        begin = starts * HOP_SECONDS
        end = np.minimum(begin + WINDOW_FRAMES * HOP_SECONDS, max(clip.seconds, HOP_SECONDS))
        within = sum(frame < _n_frames(clip) for frame in PREFIX_FRAMES)
        tokens.append(Tokens(own[:, :, -1], own[:, :, : max(within, 1)], np.stack([begin, end], axis=1)))
    return tokens


def _n_frames(clip: Audio) -> int:
    return -(-len(clip.samples) // _HOP)


def _windows(encoder: GE2E, clip: Audio) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Mel powers (V, w, 160, 40) of a clip's windows in each look, and the first frame of each (w,)."""
    power = float(np.mean(np.square(clip.samples, dtype=np.float64))) if len(clip.samples) else 0.0
    samples = clip.samples * np.float32(encoder.gain(power))
    heard = max(1, _n_frames(clip))
    n_frames = max(heard, WINDOW_FRAMES)
    mel = power_mel(np.pad(samples, (0, n_frames * _HOP - len(samples))), n_mels=N_MELS)[:n_frames]
    # The floor of a word is the word itself.
    known = (clip.seconds - ESTIMATE_FROM) / (ESTIMATE_WHOLLY - ESTIMATE_FROM)
    cleaned = mel.copy()
    cleaned[:heard] += min(max(known, 0.0), 1.0) * (_subtract_floor(mel[:heard]) - mel[:heard])
    last = n_frames - WINDOW_FRAMES
    starts = np.arange(0, last + 1, STEP_FRAMES)
    if starts[-1] != last:
        starts = np.append(starts, last)
    return np.stack([mel, cleaned])[:, starts[:, None] + np.arange(WINDOW_FRAMES)], starts


def _subtract_floor(mel: FloatArray) -> FloatArray:
    """Mel powers (T, 40) without what is there all the time, with the mean power that they had."""
    floor = np.quantile(mel, FLOOR_QUANTILE, axis=0, keepdims=True)
    less = np.maximum(mel - FLOOR_FACTOR * floor, FLOOR_KEPT * mel)
    return np.asarray(less * (mel.mean() / max(float(less.mean()), _TINY)), np.float32)
