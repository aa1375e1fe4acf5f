"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from openkith.audio import Audio, save
from openkith.encoders.base import ENCODERS
from openkith.errors import WeightsError

if TYPE_CHECKING:
    from openkith.encoders.networks.ge2e import GE2E

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["KITH_CLIP_CACHE"] = "off"  # tests that need a cache have one of their own

# A cohort that a developer has built is nothing that a test may find.
os.environ.setdefault("KITH_COHORTS", str(Path(tempfile.gettempdir()) / "kith-no-cohorts"))

SPEECH = Path(os.environ.get("KITH_TEST_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech with its manifests; skipped where it is absent."""
    if not (SPEECH / "home-clean.tsv").is_file():
        pytest.skip(f"no real speech at {SPEECH}; set KITH_TEST_SPEECH to a folder that has it")
    return SPEECH


@pytest.fixture(scope="session")
def ge2e() -> GE2E:
    """The default encoder, published weights; skipped where neither the cache nor an index has them."""
    from openkith.encoders import load_encoder
    from openkith.encoders.networks.ge2e import GE2E

    try:
        encoder = load_encoder("ge2e", threads=1)
    except WeightsError as error:
        if str(error).startswith("no weights"):
            pytest.skip(str(error))
        raise
    assert isinstance(encoder, GE2E)
    return encoder


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """record(person, take, path=None) -> a WAV file: the voice of a person, vowels of one pitch and three formants."""

    def make(person: int, take: int, path: Path | None = None, seconds: float = 2.0) -> Path:
        who, rng = np.random.default_rng(person), np.random.default_rng([person, take])
        pitch, formants = who.uniform(90, 240), who.uniform([300, 900, 2000], [800, 1900, 3200])
        t = np.arange(round(seconds * 16_000)) / 16_000
        wander = 1 + 0.03 * np.sin(2 * np.pi * rng.uniform(2, 4) * t + rng.uniform(0, 6))
        phase = 2 * np.pi * np.cumsum(pitch * wander) / 16_000
        x = np.zeros_like(t)
        for k in range(1, int(7000 / pitch)):
            level = np.exp(-0.5 * ((k * pitch - formants) / 150) ** 2).sum() + 0.01
            x += level * np.sin(k * phase + rng.uniform(0, 6))
        x *= 0.55 + 0.45 * np.sin(2 * np.pi * 3 * t + rng.uniform(0, 6))
        x += 0.02 * np.abs(x).max() * rng.standard_normal(len(t))
        path = path or tmp_path_factory.mktemp("record") / f"{person}-{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, (0.1 * x / np.abs(x).max()).astype(np.float32))
        return path

    return make


class Bands:
    """An encoder that needs no weights: log powers of 28 bands of 250 Hz, which tell the voices of `record` apart."""

    name, dim, sample_rate, fingerprint = "bands", 28, 16_000, "bands/1"

    def __init__(self, weights: object = None, threads: int | None = None) -> None:  # noqa: ARG002
        self.threads = threads

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        return np.array([self._embed(clip.samples) for clip in clips], np.float32).reshape(-1, self.dim)

    def _embed(self, samples: np.ndarray) -> np.ndarray:
        x = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)
        power = np.mean(np.abs(np.fft.rfft(x * np.hanning(512))) ** 2, axis=0)
        bands = np.log(power[1:225].reshape(self.dim, 8).mean(axis=1) + 1e-8)
        return (bands - bands.mean()) / np.linalg.norm(bands - bands.mean())

    def embed_windows(self, clip: Audio) -> Any:
        raise NotImplementedError

    def frames(self, clip: Audio) -> Any:
        raise NotImplementedError


@pytest.fixture
def bands(monkeypatch: pytest.MonkeyPatch) -> Bands:
    """An encoder without weights, which `load_encoder("bands")` knows during the test."""
    module: Any = ModuleType("kith_test_bands")
    module.Bands = Bands
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(ENCODERS, "bands", f"{module.__name__}:Bands")
    return Bands()
