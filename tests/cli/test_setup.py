"""doctor and models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith.encoders.weights import models_folder

Run = Callable[..., Any]


def test_doctor(kith: Run, gallery: Path) -> None:
    result = kith("doctor")
    assert result.exit_code == 0, result.stdout
    topics = [line.split()[1] for line in result.stdout.splitlines()[1:-1]]
    assert {"python", "torch", "encoder", "cohort", "migrations", "gallery", "disk"} <= set(topics)
    assert f"{gallery}: nothing there yet" in result.stdout
    assert not gallery.exists()
    assert result.stdout.splitlines()[-1] == "all is well"


def test_doctor_in_a_bare_place(start: Run, tmp_path: Path) -> None:
    """No weights, no network, no home: as after installing a wheel."""
    bare = {
        "HOME": str(tmp_path),
        "KITH_MODELS": str(tmp_path / "models"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
    }
    done = start("doctor", "--json", env=bare, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["healthy"] is True
    [encoder] = [check for check in data["checks"] if check["topic"] == "encoder"]
    assert (encoder["state"], encoder["values"]["cached"]) == ("note", False)
    assert not (tmp_path / "models").exists()


def test_doctor_of_a_broken_gallery(kith: Run, gallery: Path) -> None:
    gallery.write_text("not a gallery\n" * 10)
    result = kith("doctor")
    assert result.exit_code == 2
    assert "problem  gallery" in result.stdout
    assert "see the problems above" in result.stdout
    data = json.loads(kith("doctor", "--json").stdout)
    assert data["healthy"] is False


def test_models_list(kith: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    text = kith("models", "list").stdout
    assert "not fetched yet" in text
    data = json.loads(kith("models", "list", "--json").stdout)["models"]
    [ge2e] = [model for model in data if model["name"] == "ge2e"]
    assert (ge2e["dim"], ge2e["cached"], ge2e["size"]) == (256, False, None)
    assert (ge2e["licence"], ge2e["source"]) == ("Apache-2.0", "Resemblyzer==0.1.4")
    assert any(model["name"] == "bands" and model["source"] is None for model in data)


def test_models_pull(kith: Run, ge2e: Any) -> None:  # noqa: ARG001
    """Here already: nothing is fetched, and the file is checked."""
    path = models_folder() / "ge2e.safetensors"
    assert kith("models", "pull", "ge2e").stdout == f"ge2e: {path}\n"
    data = json.loads(kith("models", "pull", "ge2e", "--json").stdout)
    assert (data["cached"], data["path"], data["size"]) == (True, str(path), path.stat().st_size)


def test_models_pull_what_is_not_there(kith: Run, only_line: Run) -> None:
    assert "no published weights are named 'bands'; there are: ge2e" in only_line(
        kith("models", "pull", "bands")
    )


def test_models_pull_of_damaged_weights(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path))
    (tmp_path / "ge2e.safetensors").write_bytes(b"x" * 100)
    assert "damaged weights" in only_line(kith("models", "pull", "ge2e"))
