"""What goes into a gallery and what comes out of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openkith.errors import GalleryError

__all__ = [
    "MAX_NAME_CHARACTERS",
    "RESERVED_NAME",
    "Arrays",
    "AuditEntry",
    "Clip",
    "NewClip",
    "Person",
    "Receipt",
    "StoredHead",
    "UndoResult",
    "check_embedding",
    "clean_name",
]

Arrays = dict[str, NDArray[Any]]

MAX_NAME_CHARACTERS = 100
RESERVED_NAME = "unknown"  # what a decision says of a stranger

_SHA256 = re.compile(r"[0-9a-f]{64}")
_JOINERS = "\u200c\u200d"  # format characters that Persian and Indic names are spelled with
_FORBIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph ends


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
    """An enrolled person: when they were first enrolled (UTC), how many clips, and their total seconds."""

    id: int
    name: str
    created: datetime
    clips: int
    seconds: float


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
        files: Sources of the clips whose kept audio was erased.
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
        time: When, UTC.
        action: ``enroll``, ``background``, ``drop-clip``, ``rename``, ``forget``, ``undo``, ``reembed``,
            ``tune`` or ``setting``.
        subject: The person's present name, ``person 3`` of one who is gone, empty where it is about nobody.
        detail: Counts and the like; never a name, never an embedding.
    """

    time: datetime
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
    for character in clean:
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES and character not in _JOINERS:
            raise GalleryError(f"the name {clean!a} has the control character {character!a}: leave it out")
    if new and clean.casefold() == RESERVED_NAME:
        raise GalleryError(f"the name {clean!r} is reserved for voices that nobody enrolled: choose another")
    return clean
