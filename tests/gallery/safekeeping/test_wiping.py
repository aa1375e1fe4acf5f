"""What is forgotten on a PostgreSQL server is in no file of its tables; test_erasure.py has the same of SQLite."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from openkith.gallery import Gallery, NewClip, database
from openkith.gallery.database import locate
from openkith.gallery.safekeeping.rotation import rotate
from openkith.gallery.safekeeping.wiping import PENDING_SETTING, REWRITTEN

MakeClip = Callable[..., NewClip]

pytestmark = pytest.mark.slow

WINDOW = 16  # bytes of a secret that are looked for
NAME = "Wilhelmina Quartermaine"


@contextmanager
def connected(url: str, **options: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(locate(url), **options)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def folder_of(url: str) -> Path:
    """Where the server has the database's files, written to the last page."""
    with connected(url, isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")
        data = connection.exec_driver_sql("SHOW data_directory").scalar_one()
        oid = connection.exec_driver_sql("SELECT oid FROM pg_database WHERE datname = current_database()")
        folder = Path(data) / "base" / str(oid.scalar_one())
    try:
        next(folder.iterdir())
    except PermissionError:
        pytest.skip("the files of the server belong to another user")
    return folder


def traces(url: str, secrets: list[bytes]) -> list[bool]:
    """Whether any of a hundred pieces of each secret is in a file of the database."""
    content = b"".join(file.read_bytes() for file in folder_of(url).iterdir())
    return [
        any(
            secret[at : at + WINDOW] in content
            for at in range(0, max(1, len(secret) - WINDOW), max(WINDOW, len(secret) // 100))
        )
        for secret in secrets
    ]


@pytest.fixture
def filled(postgresql_database: str, make_clip: MakeClip) -> list[bytes]:
    """A gallery of many people with her among them; returns all that has to go with her."""
    clips = [make_clip(f"{part} of hers", audio=np.random.default_rng(7).bytes(9000)) for part in "abc"]
    small = make_clip("a small embedding of hers", dim=64)  # small enough for the planner's statistics
    with Gallery(postgresql_database) as gallery:
        for number in range(10):
            gallery.add_clips(f"person {number}", [make_clip(f"{number}")], encoder="e")
        gallery.add_clips(NAME, [*clips, small], encoder="e")
        weights = np.random.default_rng(1).standard_normal((20, 256)).astype(np.float32)
        gallery.save_head("rpl", {}, {"W": weights}, encoder="e", revision=gallery.revision())
    found = [array.tobytes() for clip in [*clips, small] for array in clip.arrays.values()]
    found += [clip.sha256.encode() for clip in clips] + [
        clips[0].audio or b"",
        weights.tobytes(),
        NAME.encode(),
    ]
    assert all(traces(postgresql_database, found))
    return found


def test_forget_leaves_no_byte(postgresql_database: str, filled: list[bytes]) -> None:
    with connected(postgresql_database, isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    with Gallery(postgresql_database) as gallery:
        receipt = gallery.forget(NAME)
        assert receipt.note == database.WIPED_SERVER
        for left in ("write-ahead log", "base backups", "replicas", "dumps", "kith backups"):
            assert left in receipt.note
        assert not any(traces(postgresql_database, filled))
        assert len(gallery.clips()) == 10
        assert gallery.setting(PENDING_SETTING) is None
    wal = folder_of(postgresql_database).parents[1] / "pg_wal"
    assert filled[0][:WINDOW] in b"".join(file.read_bytes() for file in wal.iterdir() if file.is_file())


def test_the_last_person_leaves_no_statistics(postgresql_database: str, make_clip: MakeClip) -> None:
    """ANALYZE keeps the old statistics of a table that has become empty."""
    with Gallery(postgresql_database) as gallery:
        gallery.add_clips(NAME, [make_clip("a small one", dim=64), make_clip("another", dim=64)], encoder="e")
        with connected(postgresql_database, isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        gallery.rename(NAME, "Wil")
        gallery.forget("Wil")
    assert not any(traces(postgresql_database, [NAME.encode(), *map(bytes, [b"a small one.wav"])]))


def test_undo_and_drop_clip(postgresql_database: str, make_clip: MakeClip) -> None:
    with Gallery(postgresql_database) as gallery:
        gallery.add_clips(NAME, [make_clip("first"), make_clip("second")], encoder="e")
        gallery.drop_clip(NAME, gallery.clips()[0].id)
        both = [make_clip(name).arrays["embedding"].tobytes() for name in ("first", "second")]
        assert traces(postgresql_database, both) == [False, True]
        gallery.undo()
        assert traces(postgresql_database, [*both, NAME.encode()]) == [False, False, False]


@pytest.mark.parametrize("table", ["people", "recipes"])
def test_a_reader_of_an_older_state_is_confessed(
    postgresql_database: str, filled: list[bytes], monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Whether it has read a table of the gallery, or only might."""
    monkeypatch.setattr(database, "WIPE_SECONDS", 0.3)
    with connected(postgresql_database) as connection:
        connection.exec_driver_sql("CREATE TABLE recipes (id int)")
        connection.commit()
    with connected(postgresql_database, isolation_level="REPEATABLE READ") as reader:
        reader.exec_driver_sql(f"SELECT count(*) FROM {table}")
        with Gallery(postgresql_database) as gallery:
            note = gallery.forget(NAME).note
            assert "still in the tables' files on the server (another process is reading it)" in note
            assert gallery.setting(PENDING_SETTING) == 1
        with Gallery(postgresql_database) as gallery:  # opening tries again, and does not wait
            assert len(gallery.people()) == 10
        assert any(traces(postgresql_database, filled))
    Gallery(postgresql_database).close()
    assert not any(traces(postgresql_database, filled))


def test_a_reader_that_ends_in_time_is_waited_for(postgresql_database: str, filled: list[bytes]) -> None:
    with connected(postgresql_database, isolation_level="REPEATABLE READ") as reader:
        reader.exec_driver_sql("SELECT count(*) FROM clips")
        stop = threading.Timer(0.5, reader.rollback)
        stop.start()
        with Gallery(postgresql_database) as gallery:
            assert gallery.forget(NAME).note == database.WIPED_SERVER
        stop.join()
    assert not any(traces(postgresql_database, filled))


def test_killed_before_the_wipe(
    postgresql_database: str, filled: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> str:
        raise KeyboardInterrupt

    with Gallery(postgresql_database) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(database.Database, "wipe", die)
            with pytest.raises(KeyboardInterrupt):
                gallery.forget(NAME)
        assert any(traces(postgresql_database, filled))
        with Gallery(postgresql_database) as other:
            assert other.setting(PENDING_SETTING) is None
    assert not any(traces(postgresql_database, filled))


def test_a_role_that_may_not_vacuum(postgresql_database: str, filled: list[bytes]) -> None:
    role = f"clerk_{secrets.token_hex(4)}"
    with connected(postgresql_database, isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        connection.exec_driver_sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    with Gallery(postgresql_database.replace("kith:secret", role)) as gallery:
        note = gallery.forget(NAME).note
        assert "the gallery's role may not vacuum the table" in note
    assert any(traces(postgresql_database, filled))


def test_the_settings_of_a_connection_are_put_back(postgresql_database: str, make_clip: MakeClip) -> None:
    with Gallery(postgresql_database) as gallery:
        gallery.add_clips(NAME, [make_clip("a")], encoder="e")
        gallery.forget(NAME)
        with gallery.database.read() as connection:
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"
    assert {table.name for table in REWRITTEN} >= {"people", "clips", "heads", "review_clips", "answers"}


def test_a_rotation_leaves_no_plain_byte(postgresql_database: str, make_clip: MakeClip) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    clip = make_clip("a", audio=np.random.default_rng(7).bytes(9000))
    found = [clip.arrays["embedding"].tobytes(), clip.audio or b""]
    with Gallery(postgresql_database) as gallery, Gallery(postgresql_database) as daemon:
        gallery.add_clips("alice", [clip], encoder="e")
        assert all(traces(postgresql_database, found))
        report = rotate(gallery, first)
        assert (report.values, report.note) == (2, database.WIPED_SERVER)
        assert not any(traces(postgresql_database, found))
        with pytest.raises(database.GalleryError, match="start again with KITH_KEY_FILE"):
            daemon.add_clips("bob", [make_clip("b")], encoder="e")
    with Gallery(postgresql_database, key=first) as gallery:
        rotate(gallery, second)
    with Gallery(postgresql_database, key=second) as gallery:
        (read,) = gallery.clips()
        np.testing.assert_array_equal(read.arrays["embedding"], clip.arrays["embedding"])
        assert gallery.audio(read.id) == clip.audio
