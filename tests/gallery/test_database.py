from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from openkith.errors import GalleryError, MissingDependencyError
from openkith.gallery import Gallery, NewClip, schema
from openkith.gallery.database import locate

MakeClip = Callable[..., NewClip]
StartWorker = Callable[..., "subprocess.Popen[str]"]


def refusal(where: object) -> str:
    """What opening says; the message is one line."""
    with pytest.raises(GalleryError) as caught:
        Gallery(where)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_where_a_gallery_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path / "here.db")
    assert locate("here.db").database == here
    assert locate(Path("here.db")).database == here
    assert locate("sqlite:///here.db").database == here
    assert locate(f"sqlite:///{here}").database == here
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/here.db").database == here

    monkeypatch.setenv("KITH_GALLERY", "mine.db")
    assert locate(None).database == str(tmp_path / "mine.db")
    monkeypatch.setenv("KITH_GALLERY", "")
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "data")
    assert locate(None).database == str(tmp_path / "data" / "gallery.db")

    for url in ("postgresql://me:secret@host/kith", "postgres://me:secret@host/kith"):
        assert locate(url).drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["", ":memory:", "sqlite://", "sqlite:///:memory:"])
def test_needs_a_file(url: str) -> None:
    assert "needs a file" in refusal(url)


def test_other_databases_are_refused() -> None:
    assert "'mysql'" in refusal("mysql://me:secret@host/kith")
    assert "secret" not in refusal("mysql://me:secret@host/kith")
    assert "malformed" in refusal("postgresql://me:secret@host:port/kith")
    assert "secret" not in refusal("postgresql://me:secret@host:port/kith")


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[postgresql\]'"):
        Gallery("postgresql://me@localhost/kith")


def test_created_on_first_use(tmp_path: Path) -> None:
    path = tmp_path / "new" / "100% mine?#.db"
    with Gallery(path) as gallery:
        assert gallery.people() == []
        assert gallery.path == path
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_becomes_a_gallery(path: Path) -> None:
    path.touch()
    with Gallery(path) as gallery:
        assert gallery.people() == []


def test_settings_of_every_connection(gallery: Gallery) -> None:
    with gallery.database.read() as first, gallery.database.read() as second:
        for connection in (first, second):
            values = {
                pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                for pragma in ("journal_mode", "foreign_keys", "secure_delete", "synchronous", "busy_timeout")
            }
            assert values == {
                "journal_mode": "wal",
                "foreign_keys": 1,
                "secure_delete": 1,
                "synchronous": 2,
                "busy_timeout": 60_000,
            }


def test_opening_a_current_gallery_does_not_import_alembic(path: Path) -> None:
    Gallery(path).close()
    code = (
        "import sys; from openkith.gallery import Gallery; Gallery(sys.argv[1]).people(); "
        "bad = {'alembic', 'torch', 'matplotlib'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_a_closed_gallery_says_so(path: Path) -> None:
    gallery = Gallery(path)
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="is closed"):
        gallery.people()


def test_a_newer_gallery_is_refused(path: Path) -> None:
    Gallery(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0999'")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    assert "schema 0999" in refusal(path)
    assert "pip install --upgrade openkith" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"path\tspeaker\n" * 500, np.random.default_rng(0).bytes(9000)])
def test_other_files_are_refused_and_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path}: this is not a gallery")
    assert "--gallery" in message
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_database_of_another_program_is_refused_and_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert "'recipes'" in refusal(path)
    assert path.read_bytes() == before


def use(path: Path, clip: NewClip) -> None:
    with Gallery(path) as gallery:
        gallery.people()
        gallery.clips()
        gallery.add_clips("bob", [clip], encoder="e")


@pytest.mark.parametrize(
    "damage", [slice(16, 96), slice(100, 200), slice(4096, None, 4096), slice(6000, None)]
)
def test_a_damaged_file_is_refused(path: Path, make_clip: MakeClip, damage: slice) -> None:
    with Gallery(path) as gallery:
        gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[damage] = 0xA5
    path.write_bytes(content.tobytes())
    with pytest.raises(GalleryError) as caught:
        use(path, make_clip("b1"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_and_impossible_places_are_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    message = refusal(tmp_path / "file" / "gallery.db")
    assert str(tmp_path / "file" / "gallery.db") in message
    assert "--gallery" in message
    assert "cannot be opened" in refusal(tmp_path / "nul\0.db")
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300))
    assert "no such home folder" in refusal("~nobody-of-that-name/gallery.db")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no /dev/null on this system")
def test_devices_are_refused() -> None:
    assert "is not a file" in refusal("/dev/null")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_places_are_refused(path: Path) -> None:
    path.parent.chmod(0o500)
    assert "Permission denied" in refusal(path)
    path.parent.chmod(0o700)
    Gallery(path).close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(GalleryError, match="permissions"), Gallery(path) as gallery:
            gallery.put_setting("a", 1)
    finally:
        path.parent.chmod(0o700)


def test_a_full_disk_loses_nothing(gallery: Gallery, make_clip: MakeClip) -> None:
    gallery.add_clips("alice", [make_clip("a1")], encoder="e")
    with gallery.database.read() as connection:  # the pool hands the same connection to the next one
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(GalleryError, match="the disk is full: make room"):
        gallery.add_clips("bob", [make_clip("b1", audio=bytes(100_000))], encoder="e")
    assert [person.name for person in gallery.people()] == ["alice"]


def test_a_locked_gallery_says_so(gallery: Gallery, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with gallery.database.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    with pytest.raises(GalleryError, match="another process keeps it locked"):
        gallery.put_setting("a", 1)
    other.execute("ROLLBACK")
    other.close()
    gallery.put_setting("a", 1)


def test_many_processes_open_a_new_gallery_at_once(path: Path, start_worker: StartWorker) -> None:
    workers = [start_worker("open-new", path) for _ in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    outputs = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate()[0])
        assert worker.returncode == 0
    assert outputs == ["0\n"] * 4


@pytest.mark.parametrize("same", [True, False])
def test_many_threads_open_new_galleries_at_once(path: Path, same: bool) -> None:
    def use(number: int) -> int:
        with Gallery(path if same else path.with_name(f"{number}.db")) as gallery:
            gallery.put_setting(f"key {number}", number)
            return int(gallery.setting(f"key {number}"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == list(range(8))


def test_many_threads_use_one_gallery(gallery: Gallery, make_clip: MakeClip) -> None:
    def use(number: int) -> int:
        gallery.add_clips("alice", [make_clip(f"clip {number}")], encoder="e")
        return len(gallery.clips("alice"))

    with ThreadPoolExecutor(20) as pool:  # more than the pool has connections
        counts = list(pool.map(use, range(40)))
    assert max(counts) == 40
    assert gallery.person("alice").clips == 40
