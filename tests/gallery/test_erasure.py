"""What is forgotten is in no byte of the database file, its log or its index of the log."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from openkith.gallery import Gallery, NewClip, database

MakeClip = Callable[..., NewClip]
StartWorker = Callable[..., "subprocess.Popen[str]"]

WINDOW = 16  # bytes; an embedding may be cut in two by a page's end, but not every piece of it
NAME = "Wilhelmina Quartermaine"


def on_disk(path: Path) -> bytes:
    files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
    return b"".join(file.read_bytes() for file in files if file.exists())


def traces(secrets: Iterable[bytes], path: Path) -> list[int]:
    """How many of up to a hundred pieces of each secret are on the disk."""
    content = on_disk(path)
    return [
        sum(
            secret[at : at + WINDOW] in content
            for at in range(0, len(secret) - WINDOW + 1, max(WINDOW, len(secret) // 100))
        )
        for secret in secrets
    ]


def secrets_of(*clips: NewClip) -> list[bytes]:
    found = [array.tobytes() for clip in clips for array in clip.arrays.values()]
    found += [clip.audio for clip in clips if clip.audio]
    found += [clip.sha256.encode() for clip in clips]
    return [
        *found,
        *(clip.source.encode().ljust(WINDOW)[:WINDOW] for clip in clips if len(clip.source) >= WINDOW),
    ]


def head_arrays(seed: int) -> dict[str, np.ndarray]:
    return {"W": np.random.default_rng(seed).standard_normal((20, 256)).astype(np.float32)}


def save_head(gallery: Gallery, seed: int) -> bytes:
    arrays = head_arrays(seed)
    gallery.save_head("rpl", {}, arrays, encoder="e", revision=gallery.revision())
    return arrays["W"].tobytes()


@pytest.fixture
def wilhelmina(make_clip: MakeClip) -> list[NewClip]:
    recording = np.random.default_rng(7).bytes(30_000)
    return [
        make_clip("kitchen talk of wilhelmina", audio=recording),
        make_clip("phone call of wilhelmina"),
        make_clip("garden party of wilhelmina"),
    ]


@pytest.fixture
def filled(gallery: Gallery, make_clip: MakeClip, wilhelmina: list[NewClip]) -> list[bytes]:
    """A gallery of many people with her among them; returns all that has to go with her."""
    for number in range(10):
        gallery.add_clips(f"before {number}", [make_clip(f"{number} before")], encoder="e")
    gallery.add_clips(NAME, wilhelmina[:2], encoder="e")
    for number in range(10):
        gallery.add_clips(f"after {number}", [make_clip(f"{number} after")], encoder="e")
    old_head = save_head(gallery, 1)
    gallery.add_clips(NAME, wilhelmina[2:], encoder="e")
    head = save_head(gallery, 2)
    secrets = [*secrets_of(*wilhelmina), NAME.encode(), head, old_head]
    assert gallery.path is not None
    assert all(traces(secrets[:-1], gallery.path))
    return secrets


def test_forget_leaves_no_byte(gallery: Gallery, path: Path, filled: list[bytes]) -> None:
    receipt = gallery.forget(NAME)
    assert receipt.note == database.WIPED
    assert not any(traces(filled, path))  # while it is open
    assert gallery.audit()[-1].action == "forget"
    assert len(gallery.people()) == 20
    gallery.close()
    assert not any(traces(filled, path))


def test_a_name_of_the_past_goes_too(gallery: Gallery, path: Path, filled: list[bytes]) -> None:
    gallery.rename(NAME, "Another Name Of Hers")
    gallery.forget("Another Name Of Hers")
    assert not any(traces([*filled, b"Another Name Of Hers"], path))


def test_undo_leaves_no_byte(gallery: Gallery, path: Path, make_clip: MakeClip) -> None:
    clip = make_clip("the only clip of hers", audio=np.random.default_rng(3).bytes(9000))
    gallery.add_clips("bob", [make_clip("b1")], encoder="e")
    gallery.add_clips(NAME, [clip], encoder="e")
    secrets = [*secrets_of(clip), NAME.encode(), save_head(gallery, 1)]
    assert all(traces(secrets, path))
    assert gallery.undo().person_removed
    assert not any(traces(secrets, path))


def test_dropping_a_clip_leaves_no_byte_of_it(
    gallery: Gallery, path: Path, filled: list[bytes], wilhelmina: list[NewClip]
) -> None:
    gallery.drop_clip(NAME, gallery.clips(NAME)[0].id)
    assert not any(traces(secrets_of(wilhelmina[0]), path))
    assert all(traces([filled[-2], *secrets_of(*wilhelmina[1:])], path))
    gallery.forget(NAME)
    assert not any(traces(filled, path))  # the stale head among them


def test_others_have_it_open(gallery: Gallery, path: Path, filled: list[bytes]) -> None:
    idle = sqlite3.connect(path)  # open, with the state before in its cache, but not reading
    idle.execute("SELECT count(*) FROM clips").fetchone()
    with Gallery(path) as other:
        other.clips()
        assert gallery.forget(NAME).note == database.WIPED
        assert not any(traces(filled, path))
        assert len(other.people()) == 20
    idle.close()


def test_a_reader_that_ends_in_time_is_waited_for(
    gallery: Gallery, path: Path, filled: list[bytes], start_worker: StartWorker
) -> None:
    reader = start_worker("read", path)
    assert reader.stdout is not None
    assert reader.stdin is not None
    assert reader.stdout.readline() == "ready\n"
    stop = threading.Timer(0.5, lambda: reader.communicate("stop\n"))
    stop.start()
    assert gallery.forget(NAME).note == database.WIPED
    stop.join()
    assert not any(traces(filled, path))


def test_a_reader_that_does_not_end_is_confessed(
    gallery: Gallery,
    path: Path,
    filled: list[bytes],
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "WIPE_SECONDS", 0.3)
    reader = start_worker("read", path)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    note = gallery.forget(NAME).note
    assert "still in" in note
    assert str(path) in note
    assert "another process is reading it" in note
    assert any(traces(filled, path))
    with Gallery(path) as other:  # opening tries again, and does not wait
        assert len(other.people()) == 20
    assert any(traces(filled, path))
    reader.communicate("stop\n")
    Gallery(path).close()
    assert not any(traces(filled, path))


def test_closing_finishes_what_a_reader_prevented(
    gallery: Gallery,
    path: Path,
    filled: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "WIPE_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM clips").fetchone()
    assert "still in" in gallery.forget(NAME).note
    other.execute("COMMIT")
    gallery.close()  # the other one still has it open, so SQLite itself leaves the log
    assert not any(traces(filled, path))
    other.close()


def test_a_writer_in_the_way_is_confessed(
    gallery: Gallery, path: Path, filled: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WIPE_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    wipe = database.Database.wipe

    def wipe_while_another_writes(self: database.Database, patience: float | None = None) -> str:
        other.execute("BEGIN IMMEDIATE")
        try:
            return wipe(self, patience)
        finally:
            other.execute("ROLLBACK")

    with monkeypatch.context() as patch:
        patch.setattr(database.Database, "wipe", wipe_while_another_writes)
        assert "another process is writing to it" in gallery.forget(NAME).note
    other.close()
    Gallery(path).close()
    assert not any(traces(filled, path))


def test_killed_before_the_wipe(path: Path, make_clip: MakeClip, start_worker: StartWorker) -> None:
    clip = make_clip("the only clip of alice")
    with Gallery(path) as gallery:
        gallery.add_clips("alice", [clip], encoder="test-encoder")
    worker = start_worker("hang-in", path, "wipe")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "inside\n"
    worker.kill()
    worker.wait()
    assert all(traces(secrets_of(clip)[:2], path))  # deleted, but there
    with Gallery(path) as gallery:
        assert gallery.people() == []
        assert not any(traces(secrets_of(clip), path))
