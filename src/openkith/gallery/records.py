"""What goes into a gallery and what comes out of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openkith.errors import GalleryError

__all__ = [
    "MAX_NAME_CHARACTERS",
    "MAX_NOTE_CHARACTERS",
    "RESERVED_NAME",
    "UNCHANGED",
    "Arrays",
    "AuditEntry",
    "Clip",
    "NewClip",
    "Person",
    "Receipt",
    "StoredHead",
    "Unchanged",
    "UndoResult",
    "check_consent",
    "check_embedding",
    "clean_name",
    "clean_note",
]

Arrays = dict[str, NDArray[Any]]

MAX_NAME_CHARACTERS = 100
MAX_NOTE_CHARACTERS = 2000
ETAG_DIGITS = 16  # hexadecimal: 64 bits of a hash
RESERVED_NAME = "unknown"  # what a decision says of a stranger

_SHA256 = re.compile(r"[0-9a-f]{64}")
_JOINERS = "\u200c\u200d"  # format characters that Persian and Indic names are spelled with
_FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph ends


class Unchanged(Enum):
    """The type of `UNCHANGED`, which stands for a value that is to stay as it is; None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, eq=False)
class NewClip:
    """A clip to be stored.

    Attributes:
        sha256: Of the audio, 64 hexadecimal digits in lower case; the same recording has the same one.
        seconds: Length of the recording.
        quality: Measurements of the recording by name.
        arrays: ``"embedding"`` of shape (d,) float32, and any other arrays that belong to the clip.
        source: Where the recording came from, for people to read.
        audio: The encoded recording (FLAC or WAV), when it is to be kept.
    """

    sha256: str
    seconds: float
    quality: Mapping[str, float]
    arrays: Mapping[str, NDArray[Any]]
    source: str
    audio: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise GalleryError(f"{self.source}: sha256 must be 64 hexadecimal digits, not {self.sha256!r}")
        if not (np.isfinite(self.seconds) and self.seconds > 0):
            raise GalleryError(f"{self.source}: seconds must be a positive number, not {self.seconds!r}")
        check_embedding(self.arrays, self.source)


def check_embedding(arrays: Mapping[str, NDArray[Any]], label: str) -> None:
    """Refuse arrays without a usable ``"embedding"``.

    Args:
        arrays: Arrays of one clip.
        label: What the message calls the clip.

    Raises:
        GalleryError: There is none, or it is not a finite (d,) float32 array.
    """
    embedding = arrays.get("embedding")
    if embedding is None:
        raise GalleryError(f"{label}: arrays has no 'embedding'; every clip needs one")
    if embedding.ndim != 1 or embedding.size == 0 or embedding.dtype != np.float32:
        raise GalleryError(
            f"{label}: embedding must be a (d,) float32 array, not {embedding.shape} {embedding.dtype}"
        )
    if not np.isfinite(embedding).all():
        raise GalleryError(f"{label}: embedding has NaN or infinite values; embed the recording again")


@dataclass(frozen=True, eq=False)
class Clip:
    """A stored clip.

    Attributes:
        id: Unique in the gallery, never used again.
        person: Whose it is; None for background.
        kind: Of an enrolled person, or background (the user's own room, TV and guests).
        sha256: Of the audio.
        seconds: Length of the recording.
        quality: Measurements of the recording by name.
        arrays: ``"embedding"`` of shape (d,) float32, and whatever else was stored with it.
        encoder: Fingerprint of the encoder that made the arrays.
        created: When it was stored, UTC.
        source: Where the recording came from.
        has_audio: Whether the recording itself was kept.
    """

    id: int
    person: str | None
    kind: Literal["enrolment", "background"]
    sha256: str
    seconds: float
    quality: dict[str, float]
    arrays: Arrays
    encoder: str
    created: datetime
    source: str
    has_audio: bool


@dataclass(frozen=True)
class Person:
    """A person in the gallery, enrolled or still without clips.

    Attributes:
        id: Unique in the gallery, never used again.
        name: At present.
        created: When they were first enrolled, or added without clips, UTC.
        clips: How many.
        seconds: Their total length.
        consent: The day on which they agreed, where somebody noted it.
        note: Whatever the owner wrote about them.
        newest_clip: Number of their newest clip, 0 where there is none.
    """

    id: int
    name: str
    created: datetime
    clips: int
    seconds: float
    consent: date | None = None
    note: str = ""
    newest_clip: int = 0

    @property
    def etag(self) -> str:
        """A short hash that is another one after any change of the person or of which clips are theirs.

        Clip numbers are never used again, and so the count and the newest one tell any two sets of clips
        apart that a person ever had: with the same newest clip, a set can only have shrunk.
        """
        seen = (self.id, self.name, str(self.consent), self.note, self.clips, self.newest_clip)
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:ETAG_DIGITS]


@dataclass(frozen=True, eq=False)
class StoredHead:
    """A tuned head.

    Attributes:
        id: Unique in the gallery.
        method: Name of the method that made it.
        encoder: Fingerprint of the encoder whose embeddings it reads.
        revision: The gallery's revision that it learned from; another one means that the head is stale.
        config: Plain JSON values.
        arrays: Its parameters.
        created: When it was stored, UTC.
    """

    id: int
    method: str
    encoder: str
    revision: str
    config: dict[str, Any]
    arrays: Arrays
    created: datetime


@dataclass(frozen=True)
class Receipt:
    """What a ``forget`` erased.

    Attributes:
        name: Whom (this receipt is the last place that says so).
        clips: Number of clips erased.
        seconds: Their total length.
        heads: Number of tuned heads erased because they learned from them.
        files: Sources of the clips whose kept audio was erased, and recordings for review that were theirs.
        time: When, UTC.
        note: What became of the bytes on the disk.
    """

    name: str
    clips: int
    seconds: float
    heads: int
    files: tuple[str, ...]
    time: datetime
    note: str


@dataclass(frozen=True)
class UndoResult:
    """What an ``undo`` took back: whose enrolment, how many clips, and whether the person went with them."""

    name: str
    clips: int
    person_removed: bool


@dataclass(frozen=True)
class AuditEntry:
    """One write to the gallery.

    Attributes:
        id: Larger than those of all entries before.
        time: When, UTC.
        actor: Who did it, as the caller named them, for example ``key 3``; empty for the command line or a
            program.
        action: ``add-person``, ``enroll``, ``background``, ``drop-clip``, ``rename``, ``edit``, ``forget``,
            ``undo``, ``reembed``, ``tune``, ``setting``, ``review-keep``, ``review-dismiss``,
            ``review-enroll``, ``review-undo``, ``review-purge``, ``key-create`` or ``key-revoke``.
        subject: The person's present name, ``person 3`` of one who is gone, empty where it is about nobody.
        detail: Counts and the like; never a name, never an embedding.
    """

    id: int
    time: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


def clean_name(name: str, *, new: bool = False) -> str:
    """A person's name as the gallery spells it: NFC-normalised, without white space at the ends.

    Args:
        name: As it was given.
        new: Whether it is to become somebody's name; the reserved name is then refused.

    Raises:
        GalleryError: The name is empty, too long, reserved, or has characters that cannot be seen.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean:
        raise GalleryError("a person's name is empty: give at least one letter")
    if len(clean) > MAX_NAME_CHARACTERS:
        raise GalleryError(
            f"the name {clean[:20] + '...'!r} has {len(clean)} characters: "
            f"give one of at most {MAX_NAME_CHARACTERS}"
        )
    hidden = _hidden_character(clean)
    if hidden:
        raise GalleryError(f"the name {clean!a} has the control character {hidden!a}: leave it out")
    if new and clean.casefold() == RESERVED_NAME:
        raise GalleryError(f"the name {clean!r} is reserved for voices that nobody enrolled: choose another")
    return clean


def clean_note(note: str) -> str:
    """A note about a person as the gallery keeps it: NFC-normalised, trimmed, lines ended by newlines.

    Raises:
        GalleryError: It is too long, or has characters that cannot be seen.
    """
    clean = unicodedata.normalize("NFC", note.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if len(clean) > MAX_NOTE_CHARACTERS:
        raise GalleryError(f"the note has {len(clean)} characters: give one of at most {MAX_NOTE_CHARACTERS}")
    hidden = _hidden_character(clean.replace("\n", ""))
    if hidden:
        raise GalleryError(f"the note has the control character {hidden!a}: leave it out")
    return clean


def check_consent(consent: date | None) -> None:
    """Refuse what is not a day.

    Raises:
        GalleryError: It is a text, a moment or something else.
    """
    if consent is not None and (not isinstance(consent, date) or isinstance(consent, datetime)):
        raise GalleryError(f"consent must be a date, not {consent!r}: give the day, such as 2026-03-01")


def _hidden_character(text: str) -> str | None:
    """The first character that cannot be seen, or that turns the text around."""
    for character in text:
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES and character not in _JOINERS:
            return character
    return None
