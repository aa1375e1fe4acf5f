"""The same gallery on a PostgreSQL server of its own, where psycopg and the server are installed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from openkith.errors import DuplicateClipError, EncoderMismatchError, GalleryError, UnknownPersonError
from openkith.gallery import Gallery, NewClip, database, schema

MakeClip = Callable[..., NewClip]

pytestmark = pytest.mark.slow


@pytest.fixture
def server(postgresql: str) -> str:
    """URL of the server, without a database's name."""
    return postgresql


@pytest.fixture
def url(postgresql_database: str) -> str:
    """URL of a new database."""
    return postgresql_database


def test_the_whole_way(url: str, make_clip: MakeClip) -> None:
    with Gallery(url) as gallery:
        assert "secret" not in gallery.url + repr(gallery)
        assert gallery.path is None
        assert gallery.encoder() is None
        with pytest.raises(GalleryError, match="no enrolment to undo"):
            gallery.undo()
        gallery.add_background([make_clip("tv"), make_clip("radio")], encoder="e")
        given = [make_clip("a1", audio=b"fLaC\0"), make_clip("a2")]
        gallery.add_clips("alice", given, encoder="e")
        first = gallery.revision()
        gallery.add_clips("bob", [make_clip("b1"), make_clip("b2")], encoder="e")
        for clip, new in zip(gallery.clips("alice"), given, strict=True):
            assert clip.sha256 == new.sha256
            assert clip.quality == new.quality
            np.testing.assert_array_equal(clip.arrays["copies"], new.arrays["copies"])
        assert gallery.audio(gallery.clips()[0].id) == b"fLaC\0"
        assert [(person.name, person.clips, person.seconds) for person in gallery.people()] == [
            ("alice", 2, 5.0),
            ("bob", 2, 5.0),
        ]
        with pytest.raises(DuplicateClipError, match="'alice' since"):
            gallery.add_clips("carol", [make_clip("c1"), make_clip("a1")], encoder="e")
        with pytest.raises(EncoderMismatchError):
            gallery.add_clips("carol", [make_clip("c1")], encoder="f")
        with pytest.raises(UnknownPersonError, match="did you mean 'alice'"):
            gallery.forget("alicia")

        second = gallery.revision()
        gallery.save_head("rpl", {"n": 1}, {"W": np.eye(3)}, encoder="e", revision=second)
        with pytest.raises(GalleryError, match="tune again"):
            gallery.save_head("rpl", {}, {}, encoder="e", revision=first)
        gallery.rename("bob", "Robert")
        with pytest.raises(GalleryError, match="enrolled already"):
            gallery.rename("Robert", "alice")
        gallery.drop_clip("Robert", gallery.clips("Robert")[0].id)
        assert gallery.head() is not None
        gallery.put_setting("far", 0.01)
        gallery.put_setting("far", 0.02)
        assert gallery.setting("far") == 0.02
    with Gallery(url) as gallery:
        result = gallery.undo()
        assert (result.name, result.clips, result.person_removed) == ("Robert", 1, True)
        assert gallery.head() is None
        assert gallery.revision() == first
        receipt = gallery.forget("alice")
        assert receipt.files == ("a1.wav",)
        assert receipt.note == database.WIPED_SERVER
        assert gallery.clips() == []
        assert len(gallery.background()) == 2
        assert [(entry.action, entry.subject) for entry in gallery.audit()][-2:] == [
            ("undo", "person 2"),
            ("forget", "person 1"),
        ]
        gallery.replace_arrays({clip.id: clip.arrays for clip in gallery.background()}, "new")
        assert gallery.encoder() == "new"


def test_the_same_schema(url: str) -> None:
    Gallery(url).close()
    engine = sa.create_engine(database.locate(url))
    with engine.connect() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_writers_at_once_on_a_new_gallery(url: str, make_clip: MakeClip) -> None:
    def enrol(number: int) -> None:
        with Gallery(url) as gallery:
            for part in range(10):
                gallery.add_clips("alice", [make_clip(f"{number}/{part}")], encoder="e")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enrol, range(6)))
    with Gallery(url) as gallery:
        assert gallery.person("alice").clips == 60
        assert len(gallery.audit()) == 60


def test_refusals(url: str, server: str) -> None:
    engine = sa.create_engine(database.locate(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE recipes (id int)"))  # other tables do no harm
        Gallery(url).close()
        connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0999'"))
        with pytest.raises(GalleryError, match="pip install --upgrade openkith") as caught:
            Gallery(url)
        assert "secret" not in str(caught.value)
        connection.execute(sa.text(f"DROP TABLE {schema.VERSION_TABLE}"))
        with pytest.raises(GalleryError, match="another program"):
            Gallery(url)
    engine.dispose()
    for wrong in (f"{server}/nowhere", "postgresql://kith:secret@127.0.0.1:1/kith"):
        with pytest.raises(GalleryError, match="check that the server runs") as caught:
            Gallery(wrong)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
