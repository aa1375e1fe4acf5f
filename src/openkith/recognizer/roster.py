"""Who is enrolled, and the model that scores them: what the recogniser reads from the gallery.

A gallery may be written to by another process at any time. What belongs together is read as one `Snapshot`, and a
`Roster` that was built of one serves until the next write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openkith.enhancement.enhancer import Enhancer
from openkith.errors import EncoderMismatchError, GalleryError, NotEnoughDataError
from openkith.gallery import AuditEntry, Clip, Gallery, Person, StoredHead
from openkith.openset.heads import unpack_model, unpack_talkers
from openkith.openset.model import BASELINE, FALLBACK, OpenSetModel, fit_open_set
from openkith.openset.talkers import fit_talkers
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet, find_cohort
from openkith.scoring.holdout import enough_voices

__all__ = ["CALIBRATION", "Roster", "Snapshot", "check_encoder", "joined", "take_snapshot", "version_of"]

CALIBRATION = "calibration"  # the gallery's setting with the rates and the prior
NOT_TUNED = "no head is tuned: run kith tune"
STALE = "the tuned head is older than the people enrolled: run kith tune"
_TRIES = 10  # at reading a gallery that others write to

Version = list[AuditEntry]


def version_of(gallery: Gallery) -> Version:
    """Something that another write makes another, read in no time: the last entry of the audit log."""
    return gallery.audit(limit=1)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a gallery held at one moment.

    Attributes:
        version: See `version_of`.
        revision: Of the enrolment clips.
        encoder: Fingerprint of their encoder.
        people: Everybody enrolled, in the order of the columns of scores.
        clips: Their clips; left out where a fresh head makes them needless.
        background: Clips of nobody in particular.
        head: The newest head, fresh or stale.
        settings: Of the calibration, where they were set.
    """

    version: Version
    revision: str
    encoder: str | None
    people: tuple[Person, ...]
    clips: tuple[Clip, ...]
    background: tuple[Clip, ...]
    head: StoredHead | None
    settings: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody enrolled."""
        return tuple(person.name for person in self.people)

    @property
    def tuned(self) -> bool:
        """Whether the head is of the clips as they are now."""
        return self.head is not None and self.head.revision == self.revision

    def enrolment(self) -> tuple[EmbeddingSet, EmbeddingSet | None]:
        """The clips with their copies, and their halves."""
        column = {name: i for i, name in enumerate(self.names)}
        return embedding_set(
            [clip.arrays for clip in self.clips], [column[clip.person or ""] for clip in self.clips]
        )

    def others(self) -> list[EmbeddingSet | None]:
        """The cohort for the encoder, the user's own or the one that ships, and the background."""
        return [find_cohort(self.encoder or ""), _voices(self.background)]


def take_snapshot(gallery: Gallery, *, all_clips: bool = False) -> Snapshot:
    """Read a gallery, again if it was written to meanwhile.

    Args:
        gallery: Any gallery.
        all_clips: Read the enrolment clips even where a fresh head makes them needless.

    Raises:
        NotEnoughDataError: Nobody is enrolled.
        GalleryError: It is written to without a pause.
    """
    for _ in range(_TRIES):
        version, revision, head = version_of(gallery), gallery.revision(), gallery.head()
        fresh = head is not None and head.revision == revision
        snapshot = Snapshot(
            version=version,
            revision=revision,
            encoder=gallery.encoder(),
            people=tuple(gallery.people()),
            clips=() if fresh and not all_clips else tuple(gallery.clips()),
            background=tuple(gallery.background()),
            head=head,
            settings=gallery.setting(CALIBRATION, {}),
        )
        if version_of(gallery) == version:
            if not snapshot.people:
                raise NotEnoughDataError("nobody is enrolled; begin with: kith enroll NAME CLIP...")
            return snapshot
    raise GalleryError(f"{gallery.url}: others keep writing to it; try again when they are done")


@dataclass(frozen=True, eq=False)
class Roster:
    """The people of a gallery with a calibrated model for them.

    Attributes:
        version: Of the gallery that it was built of, see `version_of`.
        names: The C people, in the order of the model's columns.
        clip_ids: The gallery's number of each enrolment clip, in the order of the model's held-out scores.
        model: The tuned head where there is a fresh one; else cosine with AS-norm.
        talkers: The multi-talker scorer for them, see `openkith.openset.talkers`; None where none is for the encoder.
        note: What a decision must say of the model; may be empty.
    """

    version: Version
    names: tuple[str, ...]
    clip_ids: tuple[int, ...]
    model: OpenSetModel
    talkers: OpenSetModel | None
    note: str

    @classmethod
    def of(
        cls, snapshot: Snapshot, fingerprint: str, enhancers: Sequence[Enhancer | None] = (None,)
    ) -> Roster:
        """Restore or fit the model.

        Args:
            snapshot: What the gallery holds.
            fingerprint: Of the encoder of the probes.
            enhancers: See `openkith.openset.model.fit_open_set`; a tuned head has its own.

        Raises:
            EncoderMismatchError: The clips are of another encoder.
            GalleryError: The head is damaged, or another version wrote it.
        """
        check_encoder(snapshot.encoder, fingerprint)
        head = snapshot.head
        if head is not None and snapshot.tuned:
            learned = set(head.config.get("background", ()))
            unheard = _voices([clip for clip in snapshot.background if clip.sha256 not in learned])
            model = unpack_model(head.config, head.arrays, unheard, **snapshot.settings)
            talkers = unpack_talkers(head.config, head.arrays, **snapshot.settings)
            return cls(snapshot.version, snapshot.names, tuple(head.config["clips"]), model, talkers, "")
        enrolment, halves = snapshot.enrolment()
        cohort = joined(snapshot.others())
        method = FALLBACK if enough_voices(cohort) else BASELINE
        model = fit_open_set(
            method, enrolment, cohort, halves=halves, enhancers=enhancers, **snapshot.settings
        )
        talkers = fit_talkers(enrolment, fingerprint, **snapshot.settings)
        ids = tuple(clip.id for clip in snapshot.clips)
        note = NOT_TUNED if head is None else STALE
        return cls(snapshot.version, snapshot.names, ids, model, talkers, note)


def check_encoder(stored: str | None, fingerprint: str) -> None:
    """Refuse to compare embeddings of two encoders.

    Raises:
        EncoderMismatchError: The gallery's clips were embedded by another one.
    """
    if stored is not None and stored != fingerprint:
        raise EncoderMismatchError(
            f"the gallery holds embeddings of {stored}, and this encoder is {fingerprint}; use the same encoder, "
            "another gallery, or, where audio was kept, run: kith reembed"
        )


def joined(parts: Sequence[EmbeddingSet | None]) -> EmbeddingSet | None:
    """All parts that there are as one set, their speakers kept apart; None if there are none."""
    present = [part for part in parts if part is not None]
    return EmbeddingSet.concatenate(present) if present else None


def _voices(clips: Sequence[Clip]) -> EmbeddingSet | None:
    """Background clips, each a voice of its own: who speaks on the TV is not known."""
    return embedding_set([clip.arrays for clip in clips], range(len(clips)))[0] if clips else None
