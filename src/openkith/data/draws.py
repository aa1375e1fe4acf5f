"""The same set of recordings, enrolled with other clips: how much does a result owe to the clips that were chosen?"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from openkith.data.manifest import Manifest, Row

__all__ = ["redraw_enrolment"]


def redraw_enrolment(manifest: Manifest, draw: int) -> Manifest:
    """A manifest in which each person is enrolled with as many clips as before, drawn from all of theirs.

    The clips are drawn from the rows of the person that enrol or test; the others test. A row that shares a stretch of
    a file with a drawn one is left out, since it could do neither honestly. Strangers' rows and negative rows stay.
    What a person is enrolled with depends on the draw, the person's name and the order of the person's rows alone.

    Args:
        manifest: Any.
        draw: Which draw, from 1; 0 is the manifest as it is.
    """
    if draw == 0:
        return manifest
    roles = dict.fromkeys(range(len(manifest.rows)), "")
    for name in manifest.speakers:
        own = [i for i, row in enumerate(manifest.rows) if row.speaker == name]
        wanted = sum(manifest.rows[i].role == "enroll" for i in own)
        rng = np.random.default_rng([draw, zlib.crc32(name.encode())])
        drawn = {own[k] for k in rng.permutation(len(own))[:wanted]}
        roles.update({i: "enroll" if i in drawn else "test" for i in own})
        for i in set(own) - drawn:
            if _shares(manifest.rows[i], [manifest.rows[k] for k in drawn]):
                del roles[i]
    rows = [replace(manifest.rows[i], role=role or manifest.rows[i].role) for i, role in roles.items()]
    return Manifest(manifest.name, tuple(rows), manifest.source)


def _shares(row: Row, others: Sequence[Row]) -> bool:
    """Whether a row has a stretch of its file in common with one of the others."""
    start, end = _span(row)
    return any(
        other.path == row.path and start < _span(other)[1] and _span(other)[0] < end for other in others
    )


def _span(row: Row) -> tuple[float, float]:
    return row.start or 0.0, math.inf if row.end is None else row.end
