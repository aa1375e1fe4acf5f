"""The gallery: people, their clips as embeddings, tuned heads, decision settings and an audit log.

A gallery is one SQLite file, or a PostgreSQL database by URL::

    records     what goes in and what comes out, as frozen dataclasses
    store       Gallery: every operation, each of them one transaction
    queries     what several operations ask of an open transaction
    codec       arrays and plain values as bytes and text
    database    opening, locking, migrating and wiping
    schema      the tables

It keeps arrays and model fingerprints, never models, and no audio unless asked.
"""

from __future__ import annotations

from openkith.gallery.records import (
    AuditEntry,
    Clip,
    NewClip,
    Person,
    Receipt,
    StoredHead,
    UndoResult,
)
from openkith.gallery.store import Gallery

__all__ = [
    "AuditEntry",
    "Clip",
    "Gallery",
    "NewClip",
    "Person",
    "Receipt",
    "StoredHead",
    "UndoResult",
]
