"""What goes in and what comes out, for validation and for OpenAPI."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from openkith.gallery.records import MAX_NAME_CHARACTERS, MAX_NOTE_CHARACTERS

__all__ = [
    "PROBLEM_RESPONSES",
    "AuditPage",
    "CalibrateBody",
    "ClipList",
    "DecisionOut",
    "DecisionPage",
    "EnrolmentOut",
    "Id",
    "JobList",
    "JobOut",
    "MeasureOut",
    "QualityOut",
    "ReceiptOut",
    "ReviewBody",
    "ReviewClipsBody",
    "ReviewOut",
    "ReviewSettings",
    "ReviewUndoOut",
    "SeparabilityOut",
    "SpeakerBody",
    "SpeakerChange",
    "SpeakerList",
    "SpeakerOut",
    "StatusOut",
    "TuneBody",
    "UndoOut",
]

LARGEST_ID = 2**31 - 1
MOST_SYNTHETIC = 1000
MOST_MEMBERS = 200
MOST_CLIPS = 1000

Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Number = Annotated[int, Field(ge=1, le=LARGEST_ID, strict=True)]  # true is no number
Name = Annotated[str, Field(max_length=4 * MAX_NAME_CHARACTERS, examples=["Alice"])]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]


class _In(BaseModel):
    """A request body; a field that it does not have is an error that names it."""

    model_config = ConfigDict(extra="forbid")


class _Out(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="allow")


class ProblemOut(BaseModel):
    """Problem Details, RFC 9457."""

    type: str = Field(examples=["urn:openkith:problem:unusable-audio"])
    title: str = Field(examples=["The recording is not usable"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["clip.wav: empty (0 bytes); record it again"])
    field: str | None = None


def _problem(text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    return {"description": text, "content": content}


#: Of every route.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: _problem("No key, or none of this gallery"),
    403: _problem("The key lacks the scope, or a page of another site asks"),
    422: _problem("A field or a recording is not valid"),
    429: _problem("Too many requests; Retry-After says when to come again"),
    "default": _problem("Any other problem"),
}


class SpeakerBody(_In):
    """A new person, without clips yet."""

    name: Name
    consent: date | None = Field(
        default=None, description="The day on which the person agreed.", examples=["2026-03-01"]
    )
    note: str = Field(default="", max_length=2 * MAX_NOTE_CHARACTERS)


class SpeakerChange(_In):
    """What is to change of a person; what is left out stays."""

    name: Name | None = None
    consent: date | None = Field(default=None, description="null takes it away.")
    note: str | None = Field(default=None, max_length=2 * MAX_NOTE_CHARACTERS)


class SpeakerOut(_Out):
    """A person."""

    id: int = Field(examples=[3])
    name: str = Field(examples=["Alice"])
    created: datetime
    consent: date | None
    note: str
    clips: int
    seconds: float
    last_heard: datetime | None
    etag: str


class SpeakerList(_Out):
    """Everybody."""

    speakers: list[SpeakerOut]


class ReceiptOut(_Out):
    """What was erased."""

    name: str
    clips: int
    seconds: float
    heads: int
    files: list[str]
    time: datetime
    note: str


class MeasureOut(_Out):
    """How good a recording is."""

    seconds: float
    speech_seconds: float
    snr_db: float
    clipped: float
    bandwidth_hz: float
    advice: list[str]


class ClipOut(_Out):
    """A clip of a person."""

    id: int
    seconds: float
    speech_seconds: float | None
    snr_db: float | None
    clipped: float | None
    bandwidth_hz: float | None
    created: datetime
    source: str
    has_audio: bool
    advice: list[str]
    cohesion: float | None = Field(description="Mean cosine with the person's other clips.")


class ClipList(_Out):
    """The clips of a person."""

    clips: list[ClipOut]


class EnrolmentOut(_Out):
    """What enrolling gave."""

    name: str
    added: int
    clips: int
    seconds: float
    cohesion: float | None
    advice: list[str]


class UndoOut(_Out):
    """What was taken back."""

    name: str
    clips: int
    person_removed: bool


class TuneBody(_In):
    """How to tune."""

    method: str = Field(default="auto", max_length=100, examples=["auto"])
    synthetic: int = Field(
        default=0, strict=True, ge=0, le=MOST_SYNTHETIC, description="Synthetic voices to learn from too."
    )
    styles: bool = Field(
        default=False,
        strict=True,
        description="Learn each clip as said older, younger, tired, angry and so on.",
    )
    members: int | None = Field(default=None, strict=True, ge=1, le=MOST_MEMBERS)
    seed: int = Field(default=0, strict=True, ge=0, le=LARGEST_ID)


class CalibrateBody(_In):
    """Rates to set; what is left out stays."""

    far: Share | None = Field(
        default=None, description="Share of unknown voices that may get a name.", examples=[0.01]
    )
    verify_far: Share | None = None
    unknown_prior: Share | None = None


class JobOut(_Out):
    """Tuning or calibrating in the background."""

    id: int
    kind: Literal["tune", "calibrate"]
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    stage: str
    done: int
    total: int
    result: Any
    error: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None


class JobList(_Out):
    """The latest jobs."""

    jobs: list[JobOut]


class HeardOut(_Out):
    """One of several voices."""

    name: str
    probability: float
    times: list[tuple[float, float]]


class DecisionOut(_Out):
    """Who speaks."""

    id: int
    speaker_id: int | None
    status: Literal["known", "unsure", "unknown"]
    name: str | None = Field(examples=["Alice"])
    probability: float = Field(examples=[0.97])
    probabilities: dict[str, float | None]
    margin: float | None
    speech_seconds: float
    reason: str = Field(examples=["Alice's voice, from 1.8 s of speech"])
    method: str
    score: float | None
    threshold: float | None
    accepted: bool
    several: bool
    heard: list[HeardOut]
    warnings: list[str]


class DecisionEntry(_Out):
    """A decision that was kept."""

    id: int
    time: datetime
    kind: str
    status: str
    speaker_id: int | None
    name: str | None
    probability: float
    seconds: float
    method: str
    reason: str
    actor: str
    warnings: list[str]


class DecisionPage(_Out):
    """Decisions, newest first; `next` is what `before` must be for the page after."""

    decisions: list[DecisionEntry]
    next: int | None


class Guess(_Out):
    """Whom a voice is most like."""

    id: int
    name: str


class LikelyOut(Guess):
    """Whom the voice of a group is most like."""

    probability: float | None


class ReviewClipOut(_Out):
    """A recording that got no name."""

    id: int
    time: datetime
    seconds: float
    status: str
    probability: float
    guess: Guess | None


class VoiceGroupOut(_Out):
    """Recordings of what seems to be one voice."""

    clips: list[ReviewClipOut]
    likely: LikelyOut | None
    seconds: float


class ReviewOut(_Out):
    """What waits for somebody to say who it is."""

    keep: bool
    days: int
    groups: list[VoiceGroupOut]


class ReviewSettings(_In):
    """Whether recordings without a name are kept, and for how many days."""

    keep: bool = Field(strict=True)
    days: int = Field(strict=True, ge=1, le=365)


class ReviewClipsBody(_In):
    """Recordings."""

    clips: list[Number] = Field(min_length=1, max_length=MOST_CLIPS)


class ReviewBody(ReviewClipsBody):
    """Recordings, and whose they are."""

    name: Name
    consent: date | None = None


class ReviewUndoOut(_Out):
    """What was taken back."""

    undone: Literal["dismissed", "enrolled"]
    clips: list[int]


class FindingOut(_Out):
    """Something that no threshold mends."""

    kind: str
    names: list[str]
    clip: int | None
    text: str


class SeparabilityOut(_Out):
    """How well people can be told apart."""

    names: list[str]
    ids: list[int | None]
    matrix: list[list[float | None]]
    findings: list[FindingOut]


class QualityOut(_Out):
    """Scores and errors on held-out clips, before and after tuning."""

    before: dict[str, Any] | None
    after: dict[str, Any]
    far: float


class AuditEntryOut(_Out):
    """One write to the gallery."""

    id: int
    time: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class AuditPage(_Out):
    """Writes to the gallery, newest first."""

    entries: list[AuditEntryOut]


class ReviewState(_Out):
    """See `ReviewSettings`."""

    keep: bool
    days: int


class Limits(_Out):
    """What an upload may be."""

    max_bytes: int
    max_seconds: float


class StatusOut(_Out):
    """How the daemon stands."""

    version: str
    encoder: str
    method: str | None
    tuned: bool
    note: str
    people: int
    far: float
    verify_far: float
    unknown_prior: float
    miss: float | None
    review: ReviewState
    limits: Limits
    scopes: list[str]
