"""Clips without audio, galleries without people, and real processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from openkith.gallery import Gallery, NewClip

WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def gallery(path: Path) -> Iterator[Gallery]:
    with Gallery(path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> str:
    """Where a new gallery can be: a file, and a database on a server."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("path"))
    return str(request.getfixturevalue("postgresql_database"))


@pytest.fixture
def any_gallery(place: str) -> Iterator[Gallery]:
    with Gallery(place) as opened:
        yield opened


@pytest.fixture
def make_clip() -> Callable[..., NewClip]:
    """`make_clip("a1")`: the same name gives the same clip."""

    def make(name: str, *, audio: bytes | None = None, dim: int = 256) -> NewClip:
        digest = hashlib.sha256(name.encode())
        rng = np.random.default_rng(int.from_bytes(digest.digest()[:8], "big"))
        return NewClip(
            sha256=digest.hexdigest(),
            seconds=2.5,
            quality={"snr_db": 20.5, "clipped": 0.0},
            arrays={
                "embedding": rng.standard_normal(dim).astype(np.float32),
                "copies": rng.standard_normal((3, dim)).astype(np.float16),
            },
            source=f"{name}.wav",
            audio=audio,
        )

    return make


@pytest.fixture
def start_worker() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start_worker("enrol", path, ...)`: worker.py in a process of its own, ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", str(WORKER), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
