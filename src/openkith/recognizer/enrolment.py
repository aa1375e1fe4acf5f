"""From recordings of people to the sets that back ends learn from, and advice on what to record next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.audio.quality import Quality
from openkith.encoders.clips.copies import copy_groups
from openkith.gallery import Clip
from openkith.scoring.base import EmbeddingSet, normalise

__all__ = ["ClipReport", "EnrolmentReport", "advise", "cohesion", "embedding_set", "report_clips"]

ENOUGH_CLIPS = 3
ENOUGH_SECONDS = 10.0  # of speech in all
LOW_COHESION = 0.6  # mean cosine between the clips of one person


@dataclass(frozen=True)
class EnrolmentReport:
    """What enrolling gave.

    Attributes:
        name: The person.
        added: Clips added now.
        clips: Clips in all.
        seconds: Seconds of speech in all.
        cohesion: Mean cosine between the person's clips, -1 to 1; None for a single clip.
        advice: What to record next, and what was wrong with these clips; may be empty.
    """

    name: str
    added: int
    clips: int
    seconds: float
    cohesion: float | None
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ClipReport:
    """What can be told of an enrolled clip.

    Attributes:
        id: Its number in the gallery.
        seconds: Length of the recording.
        speech_seconds, snr_db, clipped, bandwidth_hz: See `Quality`; None where it was not measured.
        created: When it was enrolled, UTC.
        source: Where it came from.
        has_audio: Whether the recording itself was kept.
        cohesion: Mean cosine with the person's other clips, -1 to 1; None for an only one.
        advice: What was wrong with it; may be empty.
    """

    id: int
    seconds: float
    speech_seconds: float | None
    snr_db: float | None
    clipped: float | None
    bandwidth_hz: float | None
    created: datetime
    source: str
    has_audio: bool
    cohesion: float | None
    advice: tuple[str, ...]


def report_clips(clips: Sequence[Clip]) -> list[ClipReport]:
    """What can be told of each clip of one person."""
    if not clips:
        return []
    unit = normalise(np.stack([clip.arrays["embedding"] for clip in clips]))
    n = len(clips)
    others = ((unit @ unit.T).sum(axis=1) - 1.0) / max(n - 1, 1)
    measured = ("speech_seconds", "snr_db", "clipped", "bandwidth_hz")
    reports = []
    for clip, together in zip(clips, others.tolist(), strict=True):
        numbers: dict[str, Any] = {name: clip.quality.get(name) for name in measured}
        advice: tuple[str, ...] = ()
        if None not in numbers.values():
            advice = Quality(clip.seconds, **numbers).advice
        reports.append(
            ClipReport(
                id=clip.id,
                seconds=clip.seconds,
                created=clip.created,
                source=clip.source,
                has_audio=clip.has_audio,
                cohesion=together if n > 1 else None,
                advice=advice,
                **numbers,
            )
        )
    return reports


def embedding_set(
    clips: Sequence[Mapping[str, npt.NDArray[Any]]], labels: Sequence[int]
) -> tuple[EmbeddingSet, EmbeddingSet | None]:
    """Stored clips as one set, and their halves as another.

    Args:
        clips: Arrays of each clip: ``views`` (V, d), or ``embedding`` (d,) for an encoder with the plain view alone,
            and where there are any ``copies`` (m, V, d), ``halves`` (2, V, d).
        labels: Whose each clip is.

    Returns:
        Clips and copies, embeddings (n, V, d); and the halves (rows 2i and 2i + 1 belong together) or None.
    """
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], [], []]
    halves: list[tuple[npt.NDArray[Any], int, int]] = []
    for i, (arrays, label) in enumerate(zip(clips, labels, strict=True)):
        copies = arrays.get("copies")
        n_copies = 0 if copies is None else len(copies)
        views = arrays.get("views", arrays["embedding"][None])[None]
        rows = [views] if copies is None else [views, copies.reshape(n_copies, *views.shape[1:])]
        columns[0].append(np.concatenate(rows).astype(np.float32))
        columns[1].append(np.full(1 + n_copies, label, np.int64))
        columns[2].append(np.full(1 + n_copies, i, np.int64))
        columns[3].append(np.concatenate([np.zeros(1, np.int64), copy_groups(n_copies)]))
        columns[4].append(np.arange(1 + n_copies) > 0)
        half = arrays.get("halves")
        if half is not None and len(half) == 2:
            halves.append((half.reshape(2, *views.shape[1:]).astype(np.float32), label, i))
    both = None
    if halves:
        plain = EmbeddingSet.plain(
            np.concatenate([half for half, _, _ in halves]), np.repeat([label for _, label, _ in halves], 2)
        )
        numbers = np.repeat([clip for _, _, clip in halves], 2)
        both = EmbeddingSet(plain.embeddings, plain.labels, numbers, plain.groups, plain.copies)
    return EmbeddingSet(*(np.concatenate(column) for column in columns)), both


def cohesion(embeddings: npt.NDArray[Any]) -> float | None:
    """Mean cosine between different clips (n, d) of one person; None for fewer than two."""
    n = len(embeddings)
    if n < 2:
        return None
    unit = normalise(embeddings)
    return float(((unit @ unit.T).sum() - n) / (n * (n - 1)))


def advise(clips: int, seconds: float, together: float | None) -> tuple[str, ...]:
    """What to record next, for a person with so many clips, seconds of speech, and cohesion."""
    advice = []
    if clips < ENOUGH_CLIPS:
        missing = ENOUGH_CLIPS - clips
        advice.append(
            f"record {missing} more clip{'s' if missing > 1 else ''}, best on another day or in another room"
        )
    if seconds < ENOUGH_SECONDS:
        advice.append(
            f"{seconds:.0f} s of speech so far; {ENOUGH_SECONDS:.0f} s or more make short probes surer"
        )
    if together is not None and together < LOW_COHESION:
        advice.append(
            f"the clips differ a lot (mean cosine {together:.2f}): check that all are this person, and not too noisy"
        )
    return tuple(advice)
