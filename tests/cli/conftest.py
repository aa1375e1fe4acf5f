"""The command in this process and in its own, and a gallery with people in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from openkith import Recognizer
from openkith.cli import app


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's gallery is, or will be; the commands know it from KITH_GALLERY."""
    path = tmp_path / "gallery.db"
    monkeypatch.setenv("KITH_GALLERY", str(path))
    return path


@pytest.fixture
def kith(gallery: Path, bands: Any) -> Callable[..., Result]:  # noqa: ARG001
    """kith("list", "--json", input="y\\n"): run a command in this process, with an encoder that needs no weights."""

    def run(*args: object, input: str | None = None) -> Result:
        result = CliRunner().invoke(
            app, ["--encoder", "bands", *map(str, args)], input=input, prog_name="kith"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def start(gallery: Path) -> Callable[..., subprocess.CompletedProcess[str]]:  # noqa: ARG001
    """start("list"): run a command in a process of its own, where warnings are errors."""

    def run(
        *args: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "openkith", *map(str, args)]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )

    return run


@pytest.fixture(scope="session")
def clips(record: Callable[..., Path]) -> dict[tuple[int, int], Path]:
    """(person, take) -> a WAV file, for people 0 to 3 and takes 0 to 3."""
    return {(person, take): record(person, take) for person in range(4) for take in range(4)}


@pytest.fixture
def enrolled(gallery: Path, bands: Any, clips: dict[tuple[int, int], Path]) -> Path:
    """The gallery with ann, ben and cleo, two clips each."""
    with Recognizer(gallery, bands) as recognizer:
        for person, name in enumerate(("ann", "ben", "cleo")):
            recognizer.enroll(name, [clips[person, 0], clips[person, 1]])
    return gallery


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, clips: dict[tuple[int, int], Path]) -> Path:
    """A folder per person, four clips each, for two people."""
    root = tmp_path_factory.mktemp("tree")
    for (person, _), clip in clips.items():
        if person < 2:
            folder = root / f"p{person}"
            folder.mkdir(exist_ok=True)
            shutil.copy(clip, folder)
    return root


@pytest.fixture
def only_line() -> Callable[[Result | subprocess.CompletedProcess[str]], str]:
    """Check that a command failed for bad input with one line on standard error, and give the line."""

    def check(result: Any) -> str:
        code = result.returncode if hasattr(result, "returncode") else result.exit_code
        assert code == 2, result.stderr
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("kith: ")
        assert "Traceback" not in result.stdout + result.stderr
        return str(lines[0])

    return check
