"""The recordings that a gallery knows, by what a copy of one would be noticed by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, func, select

from openkith.gallery import schema
from openkith.gallery.codec import unpack_arrays, unpack_json
from openkith.gallery.safekeeping.encryption import context_of
from openkith.gallery.store import Gallery

__all__ = ["FINGERPRINT", "Recording", "RecordingKey", "read_recordings", "recording_keys", "review_version"]

FINGERPRINT = "fingerprint"  # the array of a clip that holds it
BATCH = 100  # recordings that are read at a time: their arrays are much larger than what is kept of them

Kind = Literal["enrolment", "review"]
RecordingKey = tuple[Kind, int]

TABLES: dict[Kind, Table] = {"enrolment": schema.clips, "review": schema.review_clips}


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that the gallery knows.

    Attributes:
        key: Whether it is the clip of a person or was kept for review, and its number there.
        person_id: Whose clip it is; None for review.
        sha256: Of the audio.
        quality: Measurements of it by name.
        fingerprint: (n,) uint32, see `openkith.audio.fingerprint`; empty where none was made.
    """

    key: RecordingKey
    person_id: int | None
    sha256: str
    quality: dict[str, float]
    fingerprint: NDArray[np.uint32]


def recording_keys(gallery: Gallery) -> set[RecordingKey]:
    """Every clip of a person, and every recording that was kept for review and is no clip."""
    clips, review = schema.clips, schema.review_clips
    with gallery.database.read() as connection:
        enrolled = connection.execute(select(clips.c.id).where(clips.c.kind == "enrolment")).scalars()
        found: set[RecordingKey] = {("enrolment", number) for number in enrolled}
        kept = connection.execute(select(review.c.id).where(review.c.state != "enrolled")).scalars()
        return found | {("review", number) for number in kept}


def review_version(gallery: Gallery) -> tuple[int, int]:
    """Something that keeping or erasing a recording for review makes another one: no audit entry tells of that."""
    table = schema.review_clips
    query = select(func.count(), func.coalesce(func.max(table.c.id), 0)).where(table.c.state != "enrolled")
    with gallery.database.read() as connection:
        count, newest = connection.execute(query).one()
    return int(count), int(newest)


def read_recordings(gallery: Gallery, keys: Collection[RecordingKey]) -> list[Recording]:
    """Some of the recordings, in order of key; those that were erased meanwhile are left out.

    Raises:
        GalleryError: A stored one is damaged.
    """
    found: list[Recording] = []
    for kind, table in TABLES.items():
        numbers = sorted(number for other, number in keys if other == kind)
        for start in range(0, len(numbers), BATCH):
            found += _read(gallery, kind, table, numbers[start : start + BATCH])
    return found


def _read(gallery: Gallery, kind: Kind, table: Table, numbers: Sequence[int]) -> list[Recording]:
    columns: list[Any] = [table.c.id, table.c.sha256, table.c.quality, table.c.arrays]
    if kind == "enrolment":
        columns.append(table.c.person_id)
    query = select(*columns).where(table.c.id.in_(numbers)).order_by(table.c.id)
    with gallery.database.read() as connection:
        rows = connection.execute(query).all()
    found = []
    for row in rows:
        label, remedy = f"recording {row.id} ({kind})", "drop it and enrol it again"
        packed = gallery.database.unseal(row.arrays, context_of(table.c.arrays, row.sha256))
        words = unpack_arrays(packed, label, remedy).get(FINGERPRINT, np.zeros(0, np.uint32))
        quality = unpack_json(row.quality, label, remedy)
        person = row.person_id if kind == "enrolment" else None
        found.append(Recording((kind, row.id), person, row.sha256, quality, words.astype(np.uint32)))
    return found
