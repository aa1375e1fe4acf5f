"""backup, restore, encryption make-key, encryption rotate, encryption status."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery
from openkith.gallery.safekeeping.backup import backup
from openkith.gallery.safekeeping.backup_file import read_backup
from openkith.gallery.safekeeping.encryption import Cipher, is_sealed, read_key_file

Run = Callable[..., Any]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved.kith"


def names(path: Path) -> list[str]:
    with Gallery(path) as gallery:
        return [person.name for person in gallery.people()]


def test_backup_and_restore(kith: Run, enrolled: Path, saved: Path, tmp_path: Path) -> None:
    result = kith("backup", saved)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"3 people with 6 clips written to {saved} (")
    assert "not encrypted: keep it where only you can read it" in result.stdout
    assert read_backup(saved).rows["people"] == 3
    result = kith("restore", saved, "--gallery", tmp_path / "new.db")
    assert result.exit_code == 0
    assert result.stdout.startswith("3 people with 6 clips restored, as of ")
    assert names(tmp_path / "new.db") == names(enrolled)


def test_restore_in_the_place_of_a_gallery(kith: Run, only_line: Run, enrolled: Path, saved: Path) -> None:
    kith("backup", saved)
    kith("forget", "ann", "--yes")
    assert "--replace" in only_line(kith("restore", saved))
    result = kith("restore", saved, "--replace", input="n\n")
    assert (result.exit_code, names(enrolled)) == (1, ["ben", "cleo"])
    assert "Erase what is in the gallery, and put 3 people with 6 clips of" in result.stderr
    assert "nothing was changed" in result.stdout
    result = kith("restore", saved, "--replace", "--yes")
    assert (result.exit_code, names(enrolled)) == (0, ["ann", "ben", "cleo"])
    assert "rows erased that were there" in result.stdout


def test_json(kith: Run, enrolled: Path, saved: Path, tmp_path: Path) -> None:  # noqa: ARG001
    written = json.loads(kith("backup", saved, "--json").stdout)
    assert (written["path"], written["rows"]["clips"], written["key_id"]) == (str(saved), 6, None)
    restored = json.loads(kith("restore", saved, "--json", "--gallery", tmp_path / "new.db").stdout)
    assert restored == {"backup": written, "replaced": 0, "note": ""}


def test_refusals(kith: Run, only_line: Run, enrolled: Path, saved: Path, tmp_path: Path) -> None:
    assert "is there already" in only_line(kith("backup", enrolled))
    assert "is no backup" in only_line(kith("restore", enrolled, "--gallery", tmp_path / "new.db"))
    with Gallery(enrolled) as gallery:
        backup(gallery, saved)
    saved.write_bytes(saved.read_bytes()[:-5000])
    assert "is damaged" in only_line(kith("restore", saved, "--replace", "--yes"))
    assert names(enrolled) == ["ann", "ben", "cleo"]


def test_one_person(kith: Run, gallery: Path, clips: dict[tuple[int, int], Path], saved: Path) -> None:  # noqa: ARG001
    kith("enroll", "ann", clips[0, 0])
    assert kith("backup", saved).stdout.startswith("1 person with 1 clip written")


@pytest.fixture
def keys(tmp_path: Path, kith: Run) -> tuple[Path, Path]:
    """Two files with keys."""
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    files = tmp_path / "first.key", tmp_path / "second.key"
    for file in files:
        result = kith("encryption", "make-key", file)
        assert result.exit_code == 0
        assert f"kith encryption rotate --new-key {file}" in result.stdout
        assert f"KITH_KEY_FILE={file}" in result.stdout
    return files


def test_make_key(kith: Run, only_line: Run, keys: tuple[Path, Path]) -> None:
    first, second = map(read_key_file, keys)
    assert first != second
    if os.name == "posix":
        assert keys[0].stat().st_mode & 0o777 == 0o600
    assert "is there already" in only_line(kith("encryption", "make-key", keys[0]))
    assert read_key_file(keys[0]) == first


def test_rotation(
    kith: Run,
    only_line: Run,
    enrolled: Path,
    keys: tuple[Path, Path],
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [Cipher(read_key_file(key)).key_id for key in keys]
    assert kith("encryption", "status").stdout == "the gallery is not encrypted\n"
    assert "no new key was given" in only_line(kith("encryption", "rotate"))

    result = kith("encryption", "rotate", "--new-key", keys[0])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"the gallery is encrypted with key {ids[0]} from now on: 6 values")
    assert "start every daemon on it again, with KITH_KEY_FILE" in result.stdout
    assert "backups made before are not encrypted" in result.stdout
    assert f"encrypted with key {ids[0]}: start again with KITH_KEY_FILE" in only_line(kith("list"))
    result = kith("encryption", "status")
    assert result.stdout == f"the gallery is encrypted with key {ids[0]}\nthe environment gives no key\n"
    assert "no new key was given" in only_line(kith("encryption", "rotate"))
    assert f"with key {ids[0]}" in only_line(
        kith("encryption", "rotate", "--new-key", keys[1])
    )  # which one so far?
    assert f"encrypted with key {ids[0]}" in kith("backup", saved).stdout  # without any key

    monkeypatch.setenv("KITH_KEY_FILE", str(keys[0]))
    assert kith("list").exit_code == 0
    assert kith("encryption", "status").stdout.endswith("the environment gives it\n")
    result = kith("encryption", "rotate", "--new-key", keys[1], "--json")
    report = json.loads(result.stdout)
    assert (report["before"], report["after"], report["values"]) == (ids[0], ids[1], 6)
    assert f"{ids[1]}, not with {ids[0]}" in only_line(kith("list"))
    assert json.loads(kith("encryption", "status", "--json").stdout) == {"key": ids[1], "given": ids[0]}
    assert kith("encryption", "status").stdout.endswith(f"the environment gives key {ids[0]}\n")

    # the environment has the next key already
    assert kith("encryption", "rotate", "--old-key", keys[1]).exit_code == 0
    assert kith("list").exit_code == 0

    result = kith("encryption", "rotate", "--off")
    assert result.stdout.startswith("the gallery is not encrypted any more: 6 values")
    assert "without KITH_KEY_FILE" in result.stdout
    assert "`kith encryption rotate`" in only_line(kith("list"))
    assert kith("encryption", "rotate").exit_code == 0  # which takes the key that the environment gives
    with Gallery(enrolled) as gallery:
        assert gallery.database.key_id == ids[0]
        with gallery.database.read() as connection:
            blobs = connection.exec_driver_sql("SELECT arrays FROM clips").scalars().all()
        assert all(map(is_sealed, blobs))
        assert len(gallery.clips()) == 6


def test_rotation_refusals(kith: Run, only_line: Run, enrolled: Path, keys: tuple[Path, Path]) -> None:  # noqa: ARG001
    assert kith("encryption", "rotate", "--new-key", keys[0], "--off").exit_code == 2
    assert "not encrypted: `kith" in only_line(
        kith("encryption", "rotate", "--old-key", keys[0], "--new-key", keys[1])
    )
    assert "is plain already" in only_line(kith("encryption", "rotate", "--off"))
    assert "cannot be read" in only_line(kith("encryption", "rotate", "--new-key", "nowhere.key"))
