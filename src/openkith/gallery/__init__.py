"""The gallery: people, their clips as embeddings, tuned heads, decision settings and an audit log.

A gallery is one SQLite file, or a PostgreSQL database by URL::

    records         what goes in and what comes out, as frozen dataclasses
    store           Gallery: every operation on people, clips, heads and settings, each of them one transaction
    decisions       what was answered: who was heard, when, and why
    recordings      what a copy of a known recording is noticed by
    review_clips    recordings of nobody known, kept until somebody says who they are
    api_keys        who may use the service
    jobs            tuning and calibrating in the background
    answers         what was answered to a request that may come again
    people          what adding, changing and erasing a person means for the tables
    pseudonyms      numbers for names in texts that are kept
    queries         what several operations ask of an open transaction
    codec           arrays and plain values as bytes and text
    safekeeping     encryption, erasure and backups
    database        opening, locking and migrating
    schema          the tables

It keeps arrays and model fingerprints, never models, and no audio unless asked.
"""

from __future__ import annotations

from openkith.gallery.answers import Answer, Answers
from openkith.gallery.api_keys import SCOPES, ApiKey, ApiKeys
from openkith.gallery.decisions import DecisionLog, DecisionRecord, NewDecision
from openkith.gallery.jobs import Job, Jobs
from openkith.gallery.records import (
    UNCHANGED,
    AuditEntry,
    Clip,
    NewClip,
    Person,
    Receipt,
    StoredHead,
    Unchanged,
    UndoResult,
)
from openkith.gallery.review_clips import ReviewChange, ReviewClip, ReviewClips
from openkith.gallery.store import Gallery

__all__ = [
    "SCOPES",
    "UNCHANGED",
    "Answer",
    "Answers",
    "ApiKey",
    "ApiKeys",
    "AuditEntry",
    "Clip",
    "DecisionLog",
    "DecisionRecord",
    "Gallery",
    "Job",
    "Jobs",
    "NewClip",
    "NewDecision",
    "Person",
    "Receipt",
    "ReviewChange",
    "ReviewClip",
    "ReviewClips",
    "StoredHead",
    "Unchanged",
    "UndoResult",
]
