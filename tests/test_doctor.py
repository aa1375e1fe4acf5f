"""What is looked at, and that looking changes nothing."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery, doctor
from openkith.doctor import Check, Diagnosis, examine
from openkith.wheels import models_folder

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a gallery's name in it, and no weights."""
    monkeypatch.setenv("KITH_GALLERY", str(tmp_path / "data" / "g.db"))
    monkeypatch.setenv("KITH_MODELS", str(tmp_path / "models"))
    return tmp_path


def check(topic: str, gallery: str | Path | None = None) -> Check:
    [found] = [each for each in examine(gallery).checks if each.topic == topic]
    return found


def test_all_is_well_without_weights(place: Path) -> None:
    diagnosis = examine()
    assert diagnosis.healthy
    states = {each.topic: each.state for each in diagnosis.checks}
    assert states["encoder"] == states["gallery"] == "note"
    assert {topic for topic, state in states.items() if state != "ok"} <= {
        *("encoder", "gallery", "disk", *(f"extra {extra}" for extra, _, _ in doctor.EXTRAS))
    }
    assert list(place.iterdir()) == []  # nothing is made by looking


def test_dependencies_and_extras_are_those_of_the_project() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]

    def name(requirement: str) -> str:
        return re.split(r"[^A-Za-z0-9-]", requirement)[0]

    assert set(doctor.DEPENDENCIES) == {name(text) for text in project["dependencies"]}
    extras = project["optional-dependencies"].keys() - {"all", "dev"}
    assert {extra for extra, _, _ in doctor.EXTRAS} == extras


def test_versions(place: Path) -> None:  # noqa: ARG001
    import numpy

    assert check("numpy").values == {"version": numpy.__version__}
    assert check("python").values["version"] == ".".join(map(str, sys.version_info[:3]))
    assert check("threads").values["torch"] >= 1


def test_a_missing_package(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setitem(doctor.DEPENDENCIES, "soxr", "no_such_module_of_soxr")
    diagnosis = examine()
    [soxr] = [each for each in diagnosis.checks if each.topic == "soxr"]
    assert (soxr.state, soxr.text) == ("problem", "not installed: pip install soxr")
    assert not diagnosis.healthy


def test_a_broken_package(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "kith_broken.py").write_text("import kith_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(doctor.DEPENDENCIES, "soxr", "kith_broken")
    found = check("soxr")
    assert found.state == "problem"
    assert found.text == "ModuleNotFoundError: No module named 'kith_not_there'"


def test_an_extra_that_is_absent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setitem(sys.modules, "av", None)
    found = check("extra media")
    assert (found.state, found.values["present"]) == ("note", False)
    assert "pip install 'openkith[media]'" in found.text


def test_weights_that_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ge2e: Any) -> None:
    monkeypatch.setenv("KITH_GALLERY", str(tmp_path / "g.db"))
    found = check("encoder")
    assert found.state == "ok"
    assert found.values["fingerprint"] == ge2e.fingerprint
    assert found.values["cached"] is True


def test_weights_without_a_cohort(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ge2e: Any,  # noqa: ARG001
) -> None:
    monkeypatch.setenv("KITH_GALLERY", str(tmp_path / "g.db"))
    monkeypatch.setattr("openkith.scoring.shipped_cohort", lambda _: None)
    assert check("encoder").state == "problem"


def test_damaged_weights(place: Path, ge2e: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    (place / "models").mkdir()
    (place / "models" / "ge2e.safetensors").write_bytes(b"x" * 1000)
    found = check("encoder")
    assert found.state == "problem"
    assert "damaged weights" in found.text
    monkeypatch.delenv("KITH_MODELS")
    shutil.copy(models_folder() / "ge2e.safetensors", place / "models")
    monkeypatch.setenv("KITH_MODELS", str(place / "models"))
    assert check("encoder").state == "ok"


def test_no_pip_to_fetch_weights_with(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "pip" else object())
    assert "-m ensurepip" in check("encoder").text


def test_the_cohort_that_ships(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [cohort] = check("cohort").values["cohorts"]
    assert cohort["encoder"].startswith("ge2e/")
    assert cohort["speakers"] == 63
    assert cohort["embeddings"] > cohort["clips"] > 63
    monkeypatch.setattr(doctor.resources, "files", lambda _: place / "empty")
    for topic in ("cohort", "report"):
        found = check(topic)
        assert found.state == "problem"
        assert "install openkith anew" in found.text


def test_migrations(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "0001_gallery" in check("migrations").values["found"]
    monkeypatch.setattr("openkith.gallery.database.MIGRATIONS", place / "none")
    assert check("migrations").state == "problem"


def test_a_gallery(place: Path) -> None:
    path = place / "g.db"
    with Gallery(path):
        pass
    found = check("gallery", path)
    assert (found.state, found.text) == ("ok", f"{path}: opens, 0 enrolled")
    assert found.values == {"url": str(path), "exists": True, "people": 0, "encoder": None}


def test_an_empty_file_stays_empty(place: Path) -> None:
    path = place / "g.db"
    path.touch()
    assert check("gallery", path).state == "note"
    assert path.stat().st_size == 0


@pytest.mark.parametrize("kind", ["text", "folder", "url"])
def test_what_is_no_gallery(place: Path, kind: str) -> None:
    path: Any = place / "thing"
    if kind == "text":
        path.write_text("hello " * 100)
    elif kind == "folder":
        path.mkdir()
    else:
        path = "oracle://x/y"
    found = check("gallery", path)
    assert found.state == "problem"
    assert len(found.text.splitlines()) == 1
    assert "Error:" not in found.text  # openkith's own words


def test_a_server_that_is_not_there(place: Path) -> None:  # noqa: ARG001
    """With or without its driver: one line, and no password in it."""
    found = check("gallery", "postgresql://me:secret@127.0.0.1:9/kith")
    assert found.state == "problem"
    assert "secret" not in found.text
    assert len(found.text.splitlines()) == 1


def test_a_folder_that_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: Path(path) != place)  # noqa: ARG005
    found = check("gallery", place / "deep" / "er" / "g.db")
    assert found.state == "problem"
    assert f"change the permissions of {place}" in found.text


def test_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check("disk")
    assert found.state == "ok"
    assert set(found.values["free_bytes"]) == {str(place / "models"), str(place / "data")}
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    assert check("disk").state == "note"


def test_one_problem_is_enough() -> None:
    fine, note, bad = (Check("x", state, "") for state in ("ok", "note", "problem"))
    assert Diagnosis((fine, note)).healthy
    assert not Diagnosis((fine, bad, note)).healthy
    assert Diagnosis((bad,)).to_dict() == {
        "healthy": False,
        "checks": [{"topic": "x", "state": "problem", "text": "", "values": {}}],
    }
