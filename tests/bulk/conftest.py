"""Corpora of noise, and an encoder that counts what it embeds, in this process and in others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio, save

DIM = 8
ENCODER = '''
import os, signal, time
from pathlib import Path
import numpy as np

class Counting:
    """Writes down every clip that it embeds, and dies when it is told to."""

    name, dim, sample_rate = "counting", 8, 16000

    def __init__(self, weights=None, threads=None):
        self.fingerprint = f"counting/{weights or 1}"
        if weights == "deadly":
            os._exit(3)

    def embed(self, clips):
        log = Path(os.environ["KITH_TEST_LOG"])
        done = log.read_text().count("\\n") if log.exists() else 0
        if done >= int(os.environ.get("KITH_TEST_KILL_AT", 10**9)):
            os.kill(os.getpid(), signal.SIGKILL)
        for clip in clips:
            if clip.source.endswith(os.environ.get("KITH_TEST_DEADLY", "nothing")):
                os.kill(os.getpid(), signal.SIGKILL)
        meeting = Path(os.environ.get("KITH_TEST_MEET", "nowhere"))
        if meeting.is_dir():  # until two processes have come
            (meeting / str(os.getpid())).touch()
            deadline = time.monotonic() + 30
            while len(list(meeting.iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
        time.sleep(float(os.environ.get("KITH_TEST_SLEEP", 0)))
        with log.open("a") as file:
            file.write("".join(f"{os.getpid()} {clip.source}\\n" for clip in clips))
        return np.stack([self._one(clip.samples) for clip in clips])

    def _one(self, samples):
        power = np.abs(np.fft.rfft(samples, 4000))[:2000].reshape(8, -1).mean(axis=1)
        return (power / np.linalg.norm(power)).astype(np.float32)

    embed_windows = frames = None
'''


class Fake:
    """The same embeddings, and a list of the clips that were embedded."""

    name, dim, sample_rate = "fake", DIM, 16_000

    def __init__(self, fingerprint: str = "fake/1") -> None:
        self.fingerprint = fingerprint
        self.heard: list[str] = []

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        self.heard += [Path(clip.source).name for clip in clips]
        return np.stack([self.one(clip.samples) for clip in clips])

    @staticmethod
    def one(samples: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(samples, 4000))[:2000].reshape(DIM, -1).mean(axis=1)
        return (power / np.linalg.norm(power)).astype(np.float32)

    def embed_windows(self, clip: Audio) -> Any:
        raise NotImplementedError

    def frames(self, clip: Audio) -> Any:
        raise NotImplementedError


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def make_fake() -> Callable[..., Fake]:
    return Fake


@pytest.fixture(scope="session")
def noise() -> Callable[..., Path]:
    """noise(path, seed, seconds=0.3) -> path: a WAV file of coloured noise."""

    def make(path: Path, seed: int | Sequence[int], seconds: float = 0.3) -> Path:
        rng = np.random.default_rng(seed)
        n = round(16_000 * seconds)
        shape = np.interp(np.linspace(0, 1, n // 2 + 1), np.linspace(0, 1, DIM), rng.uniform(0.05, 1.0, DIM))
        x = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, (0.2 * x / np.abs(x).max()).astype(np.float32))
        return path

    return make


@pytest.fixture(scope="session")
def voxceleb(tmp_path_factory: pytest.TempPathFactory, noise: Callable[..., Path]) -> Path:
    """A VoxCeleb tree of 3 speakers with 7 clips each, of which one is no audio. Read only."""
    root = tmp_path_factory.mktemp("vox") / "wav"
    for speaker in range(3):
        for clip in range(7):
            noise(root / f"id1000{speaker}" / f"video{clip % 2}" / f"{clip:05d}.wav", [speaker, clip])
    (root / "id10001" / "video1" / "00003.wav").write_bytes(b"nothing of the kind")
    return root


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """An encoder "counting" that an entry point registers, for other processes too; gives what was embedded so far."""
    site, log = tmp_path / "site", tmp_path / "embedded.log"
    about = site / "kith_counting-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "kith_counting.py").write_text(ENCODER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kith-counting\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[openkith.encoders]\ncounting = kith_counting:Counting\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("KITH_TEST_LOG", str(log))

    def embedded() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    return embedded


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder and what is in it, its own path left out where it stands in one."""

    def read(folder: Path) -> dict[str, bytes]:
        own = str(folder.absolute()).encode()
        return {
            path.relative_to(folder).as_posix(): path.read_bytes().replace(own, b"OUT")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read
