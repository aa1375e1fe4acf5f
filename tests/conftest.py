"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
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

for name in ("KITH_KEY", "KITH_KEY_FILE"):  # galleries of tests are plain, unless they say otherwise
    os.environ.pop(name, None)

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


def find_postgresql(name: str) -> str:
    """Where a program of PostgreSQL is; the test is skipped where it is not installed."""
    found = shutil.which(name) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return found


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server of this run's own, without a database's name; skipped where there is no server."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, pg_ctl = find_postgresql("initdb"), find_postgresql("pg_ctl")
    as_owner: list[str] = []
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:  # the server refuses to run as root
        as_owner = ["runuser", "-u", "postgres", "--"]
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("root cannot run PostgreSQL, and there is no user postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*command: str) -> None:
        subprocess.run([*as_owner, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    data = str(folder / "data")
    call(initdb, "-D", data, "-U", "kith", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c timezone=Asia/Tokyo"
    call(pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    yield f"postgresql://kith:secret@127.0.0.1:{port}"
    call(pg_ctl, "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def postgresql_database(postgresql: str) -> str:
    """URL of a new database on that server."""
    import sqlalchemy as sa

    from openkith.gallery.database import locate

    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(locate(f"{postgresql}/postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{postgresql}/{name}"
