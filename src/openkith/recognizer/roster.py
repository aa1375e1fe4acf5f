"""Who is enrolled, and the model that scores them: what the recogniser reads from the gallery.

A gallery may be written to by another process at any time. What belongs together is read as one `Snapshot`, and a
`Roster` that was built of one serves until the next write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
from openkith.encoders import Encoder
from openkith.encoders.clips.views import embed_views
from openkith.enhancement.enhancer import Enhancer
from openkith.errors import EncoderMismatchError, GalleryError, NotEnoughDataError
from openkith.gallery import Clip, Gallery, Person, StoredHead
from openkith.openset.heads import unpack_model, unpack_talkers
from openkith.openset.model import BASELINE, FALLBACK, OpenSetModel, fit_open_set
from openkith.openset.talkers import fit_talkers
from openkith.recognizer.enrolment import embedding_set
from openkith.scoring import EmbeddingSet, find_cohort
from openkith.scoring.calibration import Calibration
from openkith.scoring.holdout import enough_voices

__all__ = [
    "CALIBRATION",
    "OlderHead",
    "Roster",
    "Snapshot",
    "check_encoder",
    "joined",
    "take_snapshot",
    "untuned",
    "version_of",
]

CALIBRATION = "calibration"  # the gallery's setting with the rates and the prior
NOT_TUNED = "no head is tuned: run kith tune"
STALE = "the tuned head is older than the people enrolled: run kith tune"
_TRIES = 10  # at reading a gallery that others write to

Version = int


def version_of(gallery: Gallery) -> Version:
    """Something that another write makes another, read in no time."""
    return gallery.version()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a gallery held at one moment.

    Attributes:
        version: See `version_of`.
        revision: Of the enrolment clips.
        encoder: Fingerprint of their encoder.
        people: Everybody of whom there is a clip, in the order of the columns of scores.
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
            people=tuple(person for person in gallery.people() if person.clips),
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
class OlderHead:
    """A tuned head that somebody was enrolled after: it goes on answering for the people whom it knows.

    Attributes:
        model: The head.
        columns: Of the people whom it knows, in its own order.
        calibration: Its prior and thresholds; where people were enrolled since, for half of the false-accept rate that
            was asked.
        newer: The same of the model for those enrolled since, who have the other half.
    """

    model: OpenSetModel
    columns: tuple[int, ...]
    calibration: Calibration
    newer: Calibration

    @classmethod
    def of(cls, snapshot: Snapshot, everybody: OpenSetModel) -> Self | None:
        """The head of a snapshot; None where it learned from a clip that is gone, or cannot be read.

        Args:
            snapshot: With a stale head.
            everybody: The model that answers for those enrolled since.
        """
        head = snapshot.head
        if head is None or head.encoder != snapshot.encoder:
            return None
        try:
            ids, learned = list(head.config["people"]), set(head.config["clips"])
            if not learned <= {clip.id for clip in snapshot.clips}:
                return None
            at = {person.id: i for i, person in enumerate(snapshot.people)}
            columns = tuple(at[person] for person in ids)
            unheard = _unheard(snapshot.background, head)
            model = unpack_model(head.config, head.arrays, unheard, **snapshot.settings)
        except (GalleryError, KeyError, TypeError):
            return None  # of another version, or damaged: as if there were none
        own, newer = model.calibration, everybody.calibration
        if len(columns) < len(at):
            rates = {"far": own.far / 2.0, "verify_far": own.verify_far}
            own = replace(own.at(model.held_out, **rates), far=own.far)
            newer = replace(newer.at(everybody.held_out, **rates), far=newer.far)
        return cls(model, columns, own, newer)


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
        older: The head from before somebody was enrolled, or more clips of somebody; see `OlderHead`.
    """

    version: Version
    names: tuple[str, ...]
    clip_ids: tuple[int, ...]
    model: OpenSetModel
    talkers: OpenSetModel | None
    note: str
    older: OlderHead | None = None

    def answering(self, column: int) -> tuple[Calibration, str]:
        """Prior and thresholds for the person of a column, and the name of the back end that scores them."""
        older = self.older
        if older is None:
            return self.model.calibration, self.model.method
        if column in older.columns:
            return older.calibration, older.model.method
        return older.newer, self.model.method

    def llrs(self, encoder: Encoder, speech: Audio) -> npt.NDArray[np.float64]:
        """Calibrated natural-log likelihood ratios (C,) of a clip without its silences."""
        models = [self.model] if self.older is None else [self.older.model]
        if self.older is not None and len(self.older.columns) < len(self.names):
            models.insert(0, self.model)
        # Embedded once for all who compare embeddings.
        heard: Any = [] if all(model.listens for model in models) else embed_views(encoder, [speech])
        scored = [
            model.speech_llrs(encoder, [speech])[0] if model.listens else model.llrs(heard)[0]
            for model in models
        ]
        llrs = np.array(scored[0], np.float64)
        if self.older is not None:
            llrs[list(self.older.columns)] = scored[-1]
        return llrs

    @classmethod
    def of(cls, snapshot: Snapshot, fingerprint: str, enhancers: Sequence[Enhancer | None] = (None,)) -> Self:
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
            unheard = _unheard(snapshot.background, head)
            model = unpack_model(head.config, head.arrays, unheard, **snapshot.settings)
            talkers = unpack_talkers(head.config, head.arrays, **snapshot.settings)
            return cls(snapshot.version, snapshot.names, tuple(head.config["clips"]), model, talkers, "")
        model = untuned(snapshot, enhancers)
        talkers = fit_talkers(snapshot.enrolment()[0], fingerprint, **snapshot.settings)
        ids = tuple(clip.id for clip in snapshot.clips)
        note = NOT_TUNED if head is None else STALE
        older = OlderHead.of(snapshot, model)
        return cls(snapshot.version, snapshot.names, ids, model, talkers, note, older)


def untuned(snapshot: Snapshot, enhancers: Sequence[Enhancer | None] = (None,)) -> OpenSetModel:
    """Cosine with AS-norm for everybody, without a cohort cosine: what answers where nothing is tuned.

    Args:
        snapshot: With all clips.
        enhancers: See `openkith.openset.model.fit_open_set`.
    """
    enrolment, halves = snapshot.enrolment()
    cohort = joined(snapshot.others())
    method = FALLBACK if enough_voices(cohort) else BASELINE
    return fit_open_set(method, enrolment, cohort, halves=halves, enhancers=enhancers, **snapshot.settings)


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


def _unheard(background: Sequence[Clip], head: StoredHead) -> EmbeddingSet | None:
    """The background that a head has not learned from."""
    learned = set(head.config.get("background", ()))
    return _voices([clip for clip in background if clip.sha256 not in learned])


def _voices(clips: Sequence[Clip]) -> EmbeddingSet | None:
    """Background clips, each a voice of its own: who speaks on the TV is not known."""
    return embedding_set([clip.arrays for clip in clips], range(len(clips)))[0] if clips else None
