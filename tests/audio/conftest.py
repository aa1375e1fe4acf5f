"""Signals and containers that the tests of openkith.audio share."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def voice() -> Callable[..., np.ndarray]:
    """voice(seconds, rate, seed) -> int16: voiced bursts with formants between pauses."""

    def make(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        t = np.arange(round(seconds * rate)) / rate
        pitch = 110 + 15 * np.sin(2 * np.pi * 0.7 * t)
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        x = np.zeros_like(t)
        for k in range(1, 30):
            f = 110 * k
            if f < 0.45 * rate:
                level = sum(np.exp(-(((f - formant) / 200) ** 2)) for formant in (500, 1500, 2500)) + 0.01
                x += level * np.sin(k * phase)
        x *= np.clip(np.sin(2 * np.pi * 2.5 * t), 0, None)
        x += 0.002 * rng.standard_normal(len(t))
        return np.rint(x / np.abs(x).max() * 12_000).astype(np.int16)

    return make


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """encode(samples, rate, format, subtype) -> the bytes of a file that soundfile writes."""

    def make(samples: np.ndarray, rate: int, fmt: str, subtype: str | None = None, **options: str) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=fmt, subtype=subtype, **options)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def mux() -> Callable[..., bytes]:
    """mux(int16 samples, rate, container, codec) -> the bytes of a file that av writes."""
    av = pytest.importorskip("av")

    def make(samples: np.ndarray, rate: int, container: str, codec: str, **options: str) -> bytes:
        layout = "mono" if samples.ndim == 1 else "stereo"
        file = io.BytesIO()
        with av.open(file, "w", format=container, options=options) as out:
            stream = out.add_stream(codec, rate=rate, layout=layout)
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate = rate
            for packet in (*stream.encode(frame), *stream.encode(None)):
                out.mux(packet)
        return file.getvalue()

    return make
