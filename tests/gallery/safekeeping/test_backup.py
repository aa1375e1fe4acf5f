"""A gallery in one file and back: complete, checked, and at one moment while others write."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from openkith.errors import GalleryError
from openkith.gallery import Gallery, NewClip, database, queries, schema
from openkith.gallery.safekeeping import backup as module
from openkith.gallery.safekeeping.backup import backup, restore
from openkith.gallery.safekeeping.backup_file import Contents, digest_of, read_backup, table_names
from openkith.gallery.safekeeping.encryption import KeySource, is_sealed
from openkith.gallery.safekeeping.wiping import PENDING_SETTING

MakeClip = Callable[..., NewClip]
StartWorker = Callable[..., "subprocess.Popen[str]"]

WORKER_CLIPS = 5


def insert_rows(gallery: Gallery) -> None:
    """A row in each table that has none by way of the gallery itself."""
    database, time = gallery.database, queries.now()
    rows: dict[sa.Table, dict[str, Any]] = {
        schema.decisions: {
            "time": time,
            "actor": "key 1",
            "kind": "identify",
            "status": "known",
            "person_id": 1,
            "probability": 0.1 + 0.2,
            "seconds": 1.5,
            "method": "cosine",
            "reason": "é",
            "detail": "{}",
        },
        schema.review_clips: {
            "time": time,
            "sha256": "ab",
            "seconds": 1.0,
            "encoder": "e",
            "status": "unknown",
            "probability": 0.5,
            "guess_id": 1,
            "state": "waiting",
            "changed": time,
            "quality": "{}",
            "arrays": database.seal(b"arrays", "review_clips.arrays of ab"),
            "audio": database.seal(b"fLaC", "review_clips.audio of ab"),
        },
        schema.api_keys: {"name": "kitchen", "digest": "cd", "scopes": "[]", "created": time},
        schema.jobs: {"kind": "tune", "settings": "{}", "actor": "", "state": "waiting", "created": time},
        schema.answers: {"key": "k", "request": "r", "created": time, "body": b"{}"},
    }
    with database.write() as connection:
        for table, values in rows.items():
            connection.execute(sa.insert(table).values(**values))


def fill(gallery: Gallery, make_clip: MakeClip) -> None:
    """People, one of them gone again, and a row in every table."""
    gallery.add_background([make_clip("tv")], encoder="e")
    gallery.add_clips("alice", [make_clip("a1", audio=b"fLaC of alice"), make_clip("a2")], encoder="e")
    gallery.add_clips("zoé", [make_clip("z1")], encoder="e")
    gallery.add_clips("gone", [make_clip("g1")], encoder="e")
    gallery.forget("gone")
    weights = np.arange(6, dtype=np.float32)
    gallery.save_head("rpl", {"n": 1}, {"W": weights}, encoder="e", revision=gallery.revision())
    gallery.put_setting("far", 0.01)
    insert_rows(gallery)


def contents(gallery: Gallery) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with gallery.database.read() as connection:
        return {
            table.name: [
                dict(row._mapping)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in schema.metadata.sorted_tables
        }


def check_restored(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in before.items():
        if name in ("jobs", "answers"):
            assert after[name] == []
        elif name == "audit":
            assert after[name][:-1] == rows
            assert after[name][-1]["action"] == "restore"
        else:
            assert after[name] == rows
            assert rows, f"the test has no row in {name}"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "2026-11-22.kith"


def test_there_and_back(gallery: Gallery, tmp_path: Path, saved: Path, make_clip: MakeClip) -> None:
    fill(gallery, make_clip)
    before = contents(gallery)
    steps: list[tuple[int, int]] = []
    written = backup(gallery, saved, progress=lambda done, total: steps.append((done, total)))
    assert contents(gallery) == before  # no trace of it in the gallery
    assert written == read_backup(saved)
    assert written.rows == {
        name: 0 if name in ("jobs", "answers") else len(rows) for name, rows in before.items()
    }
    assert steps[-1] == (sum(written.rows.values()),) * 2
    assert (written.schema, written.key_id, written.path) == (schema.SCHEMA_VERSION, None, saved)
    assert abs(written.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert written.bytes == saved.stat().st_size
    assert {file.name for file in tmp_path.iterdir() if "gallery.db" not in file.name} == {saved.name}
    if os.name == "posix":
        assert saved.stat().st_mode & 0o777 == 0o600

    steps.clear()
    digest = hashlib.sha256(saved.read_bytes()).digest()
    result = restore(saved, tmp_path / "new.db", actor="key 2", progress=lambda *step: steps.append(step))
    assert steps[-1] == (sum(written.rows.values()),) * 2
    assert (result.backup, result.replaced, result.note) == (written, 0, "")
    assert hashlib.sha256(saved.read_bytes()).digest() == digest
    with Gallery(tmp_path / "new.db") as new:
        check_restored(before, contents(new))
        assert (new.audit()[-1].actor, new.audit()[-1].detail["replaced"]) == ("key 2", 0)
        np.testing.assert_array_equal(new.clips()[0].arrays["copies"], make_clip("a1").arrays["copies"])
        assert new.audio(new.clips()[0].id) == b"fLaC of alice"
        assert new.revision() == gallery.revision()
        assert new.head() is not None
        new.add_clips("next", [make_clip("n1")], encoder="e")
        assert new.person("next").id == 4  # not the id of the one who is gone
        assert new.clips("next")[0].id == 6


def test_a_backup_is_no_gallery(gallery: Gallery, saved: Path) -> None:
    backup(gallery, saved)
    before = saved.read_bytes()
    with pytest.raises(GalleryError, match="this is a backup: `kith restore`"):
        Gallery(saved)
    with pytest.raises(GalleryError, match="this is a backup: `kith restore`"):
        restore(saved, saved)
    assert saved.read_bytes() == before


def test_where_a_backup_may_go(gallery: Gallery, saved: Path, tmp_path: Path) -> None:
    saved.write_text("something else")
    with pytest.raises(GalleryError, match="is there already"):
        backup(gallery, saved)
    assert saved.read_text() == "something else"
    with pytest.raises(GalleryError, match="cannot be written"):
        backup(gallery, tmp_path / "no folder" / "x.kith")


def test_nothing_is_left_of_a_backup_that_fails(
    gallery: Gallery, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "digest_of", fail)
    with pytest.raises(GalleryError, match=r"2026-11-22\.kith: .*disk is full"):
        backup(gallery, saved)
    assert [file.name for file in tmp_path.iterdir() if "gallery.db" not in file.name] == []


def test_encrypted_values_stay_encrypted(tmp_path: Path, saved: Path, make_clip: MakeClip) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    key, path = secrets.token_bytes(32), tmp_path / "sealed.db"
    with Gallery(path, key=key) as gallery:
        fill(gallery, make_clip)
        before = contents(gallery)
        key_id = gallery.database.key_id
    with Gallery(path, key=KeySource.NOWHERE) as gallery:
        written = backup(gallery, saved)
    assert written.key_id == key_id
    content = saved.read_bytes()
    assert make_clip("a1").arrays["embedding"].tobytes()[:16] not in content
    assert b"fLaC of alice" not in content
    assert restore(saved, tmp_path / "new.db").backup.key_id == key_id
    with pytest.raises(GalleryError, match=f"encrypted with key {key_id}"):
        Gallery(tmp_path / "new.db", key=None)
    with Gallery(tmp_path / "new.db", key=key) as new:
        check_restored(before, contents(new))
        assert all(is_sealed(row["arrays"]) for row in contents(new)["clips"])
        assert len(new.clips("alice")) == 2


def check_moment(path: Path) -> int:
    """That every enrolment is in it whole or not at all; returns how many are."""
    connection = sqlite3.connect(path)
    (people,) = connection.execute("SELECT count(*) FROM people").fetchone()
    for table in ("enrolments", "audit"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (people,)
    found = connection.execute("SELECT person_id, count(*) FROM clips GROUP BY person_id").fetchall()
    assert [count for _, count in found] == [WORKER_CLIPS] * people
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    return int(people)


def check_while_others_write(url: Path | str, folder: Path, start_worker: StartWorker) -> None:
    workers = [start_worker("enrol", url, prefix, 0, WORKER_CLIPS) for prefix in "ab"]
    for worker in workers:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        worker.stdin.write("go\n")
        worker.stdin.flush()
    seen = []
    with Gallery(url) as gallery:
        for number in range(6):
            for worker in workers:  # who goes on writing in between
                assert worker.stdout is not None
                worker.stdout.readline()
            path = folder / f"{number}.kith"
            backup(gallery, path)
            read_backup(path)
            seen.append(check_moment(path))
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]
    for worker in workers:
        worker.kill()
    restore(folder / "5.kith", folder / "restored.db")
    with Gallery(folder / "restored.db") as restored:
        assert len(restored.people()) == seen[-1]


def test_one_moment_while_others_write(path: Path, tmp_path: Path, start_worker: StartWorker) -> None:
    Gallery(path).close()
    check_while_others_write(path, tmp_path, start_worker)


# damage


def test_every_damaged_byte_of_a_value_is_found(gallery: Gallery, saved: Path, make_clip: MakeClip) -> None:
    fill(gallery, make_clip)
    backup(gallery, saved)
    whole = saved.read_bytes()
    sha256 = make_clip("a2").sha256.encode()
    places = [
        whole.index(make_clip("a1").arrays["copies"].tobytes()[:20]),
        whole.index(b"fLaC of alice") + 3,
        whole.index("zoé".encode()),
        whole.index(b'"far"') if b'"far"' in whole else whole.index(b"0.01"),
        whole.index(sha256),
        whole.index(b'"tables"') + 30,  # the list of digests itself
    ]
    for place in places:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryError, match="the backup is damaged"):
            read_backup(saved)
    for length in (len(whole) // 2, len(whole) - 4096, 4096):
        saved.write_bytes(whole[:length])
        with pytest.raises(GalleryError, match="the backup is damaged"):
            read_backup(saved)
    saved.write_bytes(whole)
    read_backup(saved)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM clips WHERE id = 1",
        "UPDATE people SET name = 'mallory' WHERE id = 1",
        "UPDATE decisions SET probability = 0.3",  # it was 0.1 + 0.2
        "DROP TABLE api_keys",
        "CREATE TABLE extra (id INTEGER)",
        "ALTER TABLE people RENAME COLUMN note TO remark",
        "DELETE FROM kith_backup",
        "UPDATE kith_backup SET value = replace(value, '\"rows\"', '')||' '",
    ],
)
def test_a_changed_backup_is_refused(
    gallery: Gallery, saved: Path, tmp_path: Path, make_clip: MakeClip, change: str
) -> None:
    fill(gallery, make_clip)
    backup(gallery, saved)
    connection = sqlite3.connect(saved)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match="the backup is damaged") as caught:
        restore(saved, tmp_path / "new.db")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new.db").exists()


def relabel(path: Path, value: str) -> None:
    """Give a backup another list of its tables, with the digest that goes with it."""
    connection = sqlite3.connect(path)
    row = (value, hashlib.sha256(value.encode()).hexdigest())
    connection.execute("UPDATE kith_backup SET value = ?, sha256 = ?", row)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("value", ["[]", "{}", "nonsense", '{"format": "1"}', "null"])
def test_a_list_of_tables_that_makes_no_sense(gallery: Gallery, saved: Path, value: str) -> None:
    backup(gallery, saved)
    relabel(saved, value)
    with pytest.raises(GalleryError, match="list of tables"):
        read_backup(saved)


def test_what_is_no_backup(gallery: Gallery, path: Path, saved: Path, tmp_path: Path) -> None:
    saved.write_bytes(b"PK\x03\x04" * 100)
    for other in (path, saved):
        with pytest.raises(GalleryError, match="this is no backup"):
            restore(other, tmp_path / "new.db")
    with pytest.raises(GalleryError, match="cannot be read"):
        restore(tmp_path / "nowhere", tmp_path / "new.db")
    with pytest.raises(GalleryError, match="cannot be read"):
        restore(tmp_path, tmp_path / "new.db")
    saved.unlink()
    backup(gallery, saved)
    relabel(saved, '{"format": 1, "schema": "0999"}')
    with pytest.raises(GalleryError, match="newer openkith"):
        restore(saved, tmp_path / "new.db")


def test_the_digest_tells_values_and_their_types_apart() -> None:
    def digest(*rows: tuple[object, object]) -> str:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        count, text = digest_of(connection, "t")
        connection.close()
        assert count == len(rows)
        return text

    tables = [
        [],
        [(None, None)],
        [("", "")],
        [(b"", b"")],
        [("1", 1)],
        [(1, "1")],
        [(1.0, b"1")],
        [(b"1", 1)],
        [("ab", "c")],
        [("a", "bc")],
        [("a", "b"), ("c", "d")],
        [("c", "d"), ("a", "b")],
        [(0.1 + 0.2, 0)],
        [(0.3, 0)],
    ]
    assert len({digest(*rows) for rows in tables}) == len(tables)
    # by hand
    expected = b'["a", "b"]' + b"str 2 \xc3\xa9" + b"NoneType 0 " + b"int 2 -7" + b"bytes 1 \x00"
    assert digest(("é", None), (-7, b"\0")) == hashlib.sha256(expected).hexdigest()


# restoring over something


def test_a_gallery_in_use_is_not_replaced_unasked(
    gallery: Gallery, saved: Path, tmp_path: Path, make_clip: MakeClip
) -> None:
    fill(gallery, make_clip)
    backup(gallery, saved)
    path = tmp_path / "other.db"
    with Gallery(path) as other:
        for number in range(9):
            other.add_clips(f"person {number}", [make_clip(f"p{number}")], encoder="other")
        before = contents(other)
        with pytest.raises(GalleryError, match=r"other\.db: the gallery is not empty: .*--replace"):
            restore(saved, path)
        assert contents(other) == before
        result = restore(saved, path, replace=True)
        assert result.replaced == sum(map(len, before.values()))
        assert result.note == database.WIPED
        embedding = make_clip("p3").arrays["embedding"].tobytes()
        content = b"".join(file.read_bytes() for file in tmp_path.glob("other.db*"))
        assert embedding[:16] not in content
        check_restored(contents(gallery), contents(other))
        other.add_clips("next", [make_clip("n1")], encoder="e")
        assert other.person("next").id == 10  # no id of either gallery is given again


def test_an_empty_gallery_with_a_key_is_no_gallery_in_use(
    gallery: Gallery, saved: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    gallery.put_setting("far", 0.01)
    backup(gallery, saved)
    Gallery(tmp_path / "new.db", key=bytes(32)).close()
    restore(saved, tmp_path / "new.db")
    with Gallery(tmp_path / "new.db", key=None) as new:  # as the backup is
        assert new.setting("far") == 0.01


def test_a_restore_that_fails_changes_nothing(
    gallery: Gallery, saved: Path, tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(gallery, make_clip)
    backup(gallery, saved)
    path = tmp_path / "other.db"
    with Gallery(path) as other:
        other.add_clips("bob", [make_clip("b")], encoder="e")
        before = contents(other)

        def fail(*_: object, **__: object) -> None:
            raise sa.exc.OperationalError("x", {}, sqlite3.OperationalError("disk I/O error"))

        with monkeypatch.context() as patch:
            patch.setattr(queries, "log", fail)
            with pytest.raises(GalleryError, match="disk I/O error"):
                restore(saved, path, replace=True)
        assert contents(other) == before


def test_a_backup_of_an_older_openkith(saved: Path, tmp_path: Path) -> None:
    """Of the first schema, made by hand."""
    engine = sa.create_engine(f"sqlite:///{saved}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(database.MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("INSERT INTO people VALUES (1, 'alice', '2026-01-02 03:04:05.000006')"))
        connection.execute(sa.text(f"DROP TABLE {schema.VERSION_TABLE}"))
    engine.dispose()
    raw = sqlite3.connect(saved, isolation_level=None)
    tables = {name: (*digest_of(raw, name), 7 * (name == "people")) for name in table_names(raw)}
    assert "jobs" not in tables
    Contents(datetime(2026, 2, 3, tzinfo=UTC), "0001", None, tables).store(raw)
    raw.close()
    digest = hashlib.sha256(saved.read_bytes()).digest()
    assert restore(saved, tmp_path / "new.db").backup.schema == "0001"
    assert hashlib.sha256(saved.read_bytes()).digest() == digest
    with Gallery(tmp_path / "new.db") as new:
        (alice,) = new.people()
        assert (alice.name, alice.created) == ("alice", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
        assert new.audit()[-1].action == "restore"
        new.rename("alice", "Alice")
        with new.database.write() as connection:
            assert queries.insert_row(connection, schema.people, name="b", created=queries.now()) == 8


# PostgreSQL


@pytest.mark.slow
def test_from_sqlite_to_postgresql_and_back(
    gallery: Gallery, postgresql_database: str, saved: Path, tmp_path: Path, make_clip: MakeClip
) -> None:
    fill(gallery, make_clip)
    backup(gallery, saved)
    restore(saved, postgresql_database)
    with Gallery(postgresql_database) as server:
        check_restored(contents(gallery), contents(server))
        server.put_setting(PENDING_SETTING, 1)  # is of this database, and not of the gallery in it
        second = tmp_path / "second.kith"
        written = backup(server, second)
        assert written.last_ids["people"] == 3
        with pytest.raises(GalleryError, match="is not empty"):
            restore(saved, postgresql_database)
        server.add_clips("next", [make_clip("n1")], encoder="e")
        assert server.person("next").id == 4
    restore(second, tmp_path / "back.db")
    with Gallery(tmp_path / "back.db") as back:
        before, after = contents(gallery), contents(back)
        for name in before.keys() - {"jobs", "answers", "audit"}:
            assert before[name] == after[name]
        assert [row["action"] for row in after["audit"]][-3:] == ["restore", "setting", "restore"]
    result = restore(saved, postgresql_database, replace=True)
    assert (result.replaced > 0, result.note) == (True, database.WIPED_SERVER)
    with Gallery(postgresql_database) as server:
        check_restored(contents(gallery), contents(server))
        assert server.setting(PENDING_SETTING) is None
        server.add_clips("next", [make_clip("n1")], encoder="e")
        assert server.person("next").id == 5  # 4 was given there already


@pytest.mark.slow
def test_one_moment_of_postgresql_while_others_write(
    postgresql_database: str, tmp_path: Path, start_worker: StartWorker
) -> None:
    Gallery(postgresql_database).close()
    check_while_others_write(postgresql_database, tmp_path, start_worker)
    shutil.rmtree(tmp_path)
