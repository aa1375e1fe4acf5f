"""Invented voices, and an encoder that tells them apart: no weights, no torch, milliseconds.

A voice is a spectral envelope on a train of pulses; a take differs a little from the next one of the same voice. Used
by the tests, and by the processes that they start.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from openkith.audio import SAMPLE_RATE, Audio, save
from openkith.encoders.clips.copies import embed_with_copies
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet
from openkith.scoring.base import normalise

BANDS = 24
VOICE_DB, TAKE_DB = 8.0, 1.0  # spread of envelopes between voices, and between takes of one
EDGES = np.geomspace(300.0, 3400.0, BANDS + 1)  # Hz: a telephone passes it


def voice(who: str, take: int = 0, seconds: float = 1.7) -> Audio:
    """A take of a voice: syllables of 0.25 s."""
    person = np.random.default_rng(zlib.crc32(who.encode()))
    rng = np.random.default_rng([zlib.crc32(who.encode()), take])
    envelope = person.normal(0.0, VOICE_DB, BANDS) + rng.normal(0.0, TAKE_DB, BANDS)
    n = round(seconds * SAMPLE_RATE)
    pulses = 0.05 * rng.standard_normal(n)
    pulses[:: int(SAMPLE_RATE / person.uniform(100, 220))] += 1.0
    spectrum = np.fft.rfft(pulses)
    hertz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    tilt = np.interp(
        np.log(hertz + 1.0), np.log((EDGES[1:] * EDGES[:-1]) ** 0.5), envelope - np.arange(BANDS)
    )
    x = np.fft.irfft(spectrum * 10 ** (tilt / 20), n)
    x *= 0.55 - 0.45 * np.cos(2 * np.pi * 4 * np.arange(n) / SAMPLE_RATE)
    x -= x.mean()
    return Audio((0.5 * x / np.abs(x).max()).astype(np.float32), f"{who}-{take}")


def write_voice(folder: Path, who: str, take: int = 0, seconds: float = 1.7) -> Path:
    """The same in a file WHO-TAKE.wav."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{who}-{take}.wav"
    save(path, voice(who, take, seconds))
    return path


class FakeEncoder:
    """Loudness in bands, projected: the `Encoder` protocol.

    Attributes:
        embedded: How many clips were embedded so far.
    """

    name = "fake"
    sample_rate = SAMPLE_RATE

    def __init__(self, fingerprint: str = "fake/1", dim: int = 32) -> None:
        self.fingerprint = fingerprint
        self.dim = dim
        self.embedded = 0
        self._projection = np.random.default_rng(zlib.crc32(fingerprint.encode())).standard_normal(
            (BANDS, dim)
        )

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        self.embedded += len(clips)
        return (
            np.stack([self._one(clip.samples) for clip in clips])
            if clips
            else np.zeros((0, self.dim), np.float32)
        )

    def embed_windows(self, clip: Audio) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[0.0, clip.seconds]]), self.embed([clip])

    def frames(self, clip: Audio) -> tuple[np.ndarray, np.ndarray]:
        return self.embed([clip]), np.zeros(1)

    def _one(self, samples: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
        at = np.searchsorted(EDGES, np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)) - 1
        inside = (at >= 0) & (at < BANDS)
        energy = np.bincount(at[inside], power[inside], minlength=BANDS) / len(samples)
        loudness = energy**0.25  # a root, not the logarithm: what is loud counts, not the noise between
        shape = loudness / max(np.linalg.norm(loudness), 1e-9) - BANDS**-0.5
        return normalise((shape @ self._projection)[None])[0]


class TwoViews(FakeEncoder):
    """The same, which also hears the differences between samples: a `ViewEncoder`."""

    views = ("plain", "differences")

    def embed_views(self, clips: Sequence[Audio]) -> np.ndarray:
        other = [replace(clip, samples=np.diff(clip.samples, prepend=np.float32(0.0))) for clip in clips]
        return np.stack([self.embed(clips), self.embed(other)], axis=1)


def fake_cohort(fingerprint: str = "fake/1") -> EmbeddingSet | None:
    """What would ship for the encoder "fake/1": 40 voices, two takes of each; None for any other."""
    return _cohort() if fingerprint == "fake/1" else None


@lru_cache(maxsize=1)
def _cohort(voices: int = 40, takes: int = 2) -> EmbeddingSet:
    heard = [voice(f"cohort {i}", take) for i in range(voices) for take in range(takes)]
    clips = embed_with_copies(FakeEncoder(), heard, copies=False)
    return embedding_set([clip.arrays() for clip in clips], [i // takes for i in range(len(heard))])[0]


def same_decision(a: Any, b: Any, within: float = 1e-5) -> bool:
    """Whether two decisions agree, up to rounding."""
    close = all(abs(getattr(a, key) - getattr(b, key)) < within for key in ("score", "probability", "margin"))
    return close and (a.status, a.name, a.reason) == (b.status, b.name, b.reason)
