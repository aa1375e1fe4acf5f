"""First encrypting a gallery, another key, and back, with others at work in it."""

from __future__ import annotations

import itertools
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.errors import ConfigError, EncryptionError, GalleryError
from openkith.gallery import Gallery, NewClip, database, queries, schema
from openkith.gallery.safekeeping.encryption import SEALED, context_of, is_sealed
from openkith.gallery.safekeeping.rotation import rotate

pytest.importorskip("cryptography", reason="cryptography is not installed")

MakeClip = Callable[..., NewClip]
FIRST, SECOND = secrets.token_bytes(32), secrets.token_bytes(32)


def fill(gallery: Gallery, make_clip: MakeClip) -> None:
    """A row in every table with encrypted columns."""
    gallery.add_background([make_clip("tv")], encoder="e")
    gallery.add_clips("alice", [make_clip("a1", audio=b"fLaC of alice"), make_clip("a2")], encoder="e")
    weights = np.arange(6, dtype=np.float32)
    gallery.save_head("rpl", {"n": 1}, {"W": weights}, encoder="e", revision=gallery.revision())
    review = schema.review_clips.c
    with gallery.database.write() as connection:
        queries.insert_row(
            connection,
            schema.review_clips,
            time=queries.now(),
            sha256="ab",
            seconds=1.0,
            encoder="e",
            status="unknown",
            probability=0.5,
            state="waiting",
            changed=queries.now(),
            quality="{}",
            arrays=gallery.database.seal(b"arrays of a guest", context_of(review.arrays, "ab")),
            audio=gallery.database.seal(b"fLaC of a guest", context_of(review.audio, "ab")),
        )


def contents(gallery: Gallery) -> object:
    """All that is encrypted, in the clear."""
    head = gallery.head()
    assert head is not None
    columns = schema.review_clips.c
    with gallery.database.read() as connection:
        review = connection.execute(schema.review_clips.select()).one()
    return (
        [
            (clip.id, clip.person, clip.sha256, {key: array.tolist() for key, array in clip.arrays.items()})
            for clip in gallery.clips() + gallery.background()
        ],
        [gallery.audio(clip.id) for clip in gallery.clips() if clip.has_audio],
        (head.id, head.config, head.arrays["W"].tolist(), head.revision),
        gallery.database.unseal(review.arrays, context_of(columns.arrays, "ab")),
        gallery.database.unseal(review.audio, context_of(columns.audio, "ab")),
        gallery.revision(),
    )


class Steps:
    """Counts the calls of a progress function."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.calls.append((done, total))


def stored(path: Path) -> list[bytes | str]:
    connection = sqlite3.connect(path)
    values = [
        value
        for table, column, _ in SEALED
        for (value,) in connection.execute(
            f"SELECT {column.name} FROM {table.name} WHERE {column.name} NOT NULL"
        )
    ]
    connection.close()
    return values


def test_there_and_back(path: Path, make_clip: MakeClip) -> None:
    with Gallery(path) as gallery:
        fill(gallery, make_clip)
        expected = contents(gallery)
    assert len(stored(path)) == 8
    assert not any(map(is_sealed, stored(path)))
    keys: list[bytes | None] = [None, FIRST, SECOND, None]
    for old, new in itertools.pairwise(keys):
        before = stored(path)
        steps = Steps()
        with Gallery(path, key=old) as gallery:
            report = rotate(gallery, new, actor="key 1", progress=steps)
        assert steps.calls == [(done, 8) for done in range(9)]
        assert report.values == 8
        assert report.note == database.WIPED
        assert all(map(is_sealed, stored(path))) == (new is not None)
        content = path.read_bytes()
        for value in before:  # what was there is in no byte of the file
            raw = value.encode() if isinstance(value, str) else value
            assert raw == b'{"n": 1}' or raw not in content or new is None
        with Gallery(path, key=new) as gallery:
            assert contents(gallery) == expected
            assert gallery.database.key_id == report.after
            entry = gallery.audit()[-1]
            assert (entry.action, entry.actor, entry.detail["values"]) == ("rotate-key", "key 1", 8)


def test_the_bytes_of_the_plain_gallery_are_gone(path: Path, make_clip: MakeClip) -> None:
    with Gallery(path) as gallery:
        fill(gallery, make_clip)
        embedding = make_clip("a1").arrays["embedding"].tobytes()
        rotate(gallery, FIRST)
        content = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
        assert embedding[:16] not in content
        assert b"fLaC of a" not in content


def test_a_daemon_with_the_key_of_before(path: Path, make_clip: MakeClip) -> None:
    Gallery(path, key=FIRST).close()
    with Gallery(path, key=FIRST) as daemon, Gallery(path, key=FIRST) as operator:
        fill(operator, make_clip)
        assert len(daemon.clips()) == 2
        rotate(operator, SECOND)
        for late in (daemon, operator):
            before = path.read_bytes()
            with pytest.raises(EncryptionError, match="start again with KITH_KEY_FILE"):
                late.database.check_key()
            with pytest.raises(GalleryError, match="start again with KITH_KEY_FILE"):
                late.add_clips("bob", [make_clip("b")], encoder="e")
            with pytest.raises(GalleryError, match="start again with KITH_KEY_FILE"):
                late.put_setting("far", 0.01)
            with pytest.raises(GalleryError, match="start again with KITH_KEY_FILE"):
                late.clips()
            assert path.read_bytes() == before
    with Gallery(path, key=SECOND) as gallery:
        assert [person.name for person in gallery.people()] == ["alice"]
        rotate(gallery, None)
        with pytest.raises(GalleryError, match="`kith encryption rotate`"):
            gallery.put_setting("far", 0.01)
        with pytest.raises(GalleryError, match="is not encrypted"):
            gallery.clips()


def test_a_daemon_without_a_key(path: Path, make_clip: MakeClip) -> None:
    with Gallery(path) as daemon, Gallery(path) as operator:
        fill(operator, make_clip)
        rotate(operator, FIRST)
        with pytest.raises(GalleryError, match="is encrypted with key"):
            daemon.add_clips("bob", [make_clip("b")], encoder="e")
        with pytest.raises(GalleryError, match="the gallery was not when it was opened"):
            daemon.clips()
        with pytest.raises(GalleryError, match="the gallery was not when it was opened"):
            daemon.head()
    assert all(map(is_sealed, stored(path)))


def test_refusals(path: Path, make_clip: MakeClip) -> None:
    with Gallery(path) as gallery:
        fill(gallery, make_clip)
        with pytest.raises(GalleryError, match="is plain already"):
            rotate(gallery, None)
        with pytest.raises(ConfigError, match="32 bytes"):
            rotate(gallery, bytes(5))
        rotate(gallery, FIRST)
    with (
        Gallery(path, key=FIRST) as gallery,
        pytest.raises(GalleryError, match=r"encrypted with key .* already"),
    ):
        rotate(gallery, FIRST)


def test_one_damaged_value_changes_nothing(path: Path, make_clip: MakeClip) -> None:
    with Gallery(path, key=FIRST) as gallery:
        fill(gallery, make_clip)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE review_clips SET audio = arrays")
    connection.commit()
    connection.close()
    before = stored(path)
    with Gallery(path, key=FIRST) as gallery:
        with pytest.raises(GalleryError, match=r"review_clips\.audio of ab: does not open"):
            rotate(gallery, SECOND)
        assert stored(path) == before
        assert len(gallery.clips()) == 2
