"""Review: recordings of nobody known, kept where the owner wants it, grouped by voice, enrolled by saying who it is.

A profile gets better this way without recording sessions. Nothing is kept unless `ReviewSettings.keep` is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, load, measure_quality, trim_silence
from openkith.audio.fingerprint import fingerprint
from openkith.encoders.clips.views import embed_views
from openkith.errors import ConfigError, GalleryError, NotEnoughDataError
from openkith.gallery import UNCHANGED, NewClip, Unchanged
from openkith.gallery.recordings import FINGERPRINT
from openkith.gallery.review_clips import ReviewClip, ReviewClips
from openkith.openset.decision import Decision
from openkith.recognizer.enrolment import EnrolmentReport
from openkith.recognizer.recognizer import Recognizer
from openkith.scoring import find_cohort
from openkith.scoring.base import normalise

__all__ = ["Review", "ReviewSettings", "ReviewUndo", "VoiceGroup", "group_voices"]

SETTING = "review"
LEAST_SPEECH = 1.0  # seconds; a shorter recording makes no profile better
MOST_KEPT = 500  # recordings; the oldest go first
STRANGERS_ALIKE = 0.01  # share of pairs of different cohort speakers that are as alike as clips of one group
USUAL_COSINE = 0.75  # where there is no cohort to ask
DAYS = 30


@dataclass(frozen=True)
class ReviewSettings:
    """What is kept, and for how long.

    Attributes:
        keep: Whether recordings of unknown and unsure voices are kept, with their audio.
        days: After how many days they are erased, whatever became of them.

    Raises:
        ConfigError: ``days`` is not from 1 to 365.
    """

    keep: bool = False
    days: int = DAYS

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 365:
            raise ConfigError(f"days is {self.days}; give a number of days from 1 to 365")


@dataclass(frozen=True)
class VoiceGroup:
    """Recordings that sound like one voice.

    Attributes:
        clips: The newest first.
        likely: Who of the people enrolled it may be; None for nobody.
        probability: Of ``likely``, from all recordings together; 0 for nobody.
    """

    clips: tuple[ReviewClip, ...]
    likely: str | None
    probability: float


@dataclass(frozen=True)
class ReviewUndo:
    """What an undo took back: "dismissed" or "enrolled", and the recordings that wait again."""

    undone: str
    clips: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Review:
    """The recordings that wait for their owner.

    Args:
        recognizer: Whose gallery keeps them.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._clips = ReviewClips(recognizer.gallery)

    @property
    def settings(self) -> ReviewSettings:
        """What is kept."""
        return ReviewSettings(**self._recognizer.gallery.setting(SETTING, {}))

    def change_settings(self, settings: ReviewSettings, *, actor: str = "") -> None:
        """Keep from now on, or no longer; what is kept already stays until it is dismissed or too old."""
        self._recognizer.gallery.put_setting(SETTING, asdict(settings), actor=actor)
        self.purge(actor=actor)

    def offer(self, audio: Audio, decision: Decision, *, actor: str = "") -> int | None:
        """Keep a recording where the owner wants that, and somebody could be enrolled with it.

        Args:
            audio: As it was identified.
            decision: What was answered.
            actor: Who sent it.

        Returns:
            Its number in review; None where it is not kept: nothing is kept, the voice is known, several voices talk,
            there is too little speech, or the recording is in the gallery already.
        """
        settings = self.settings
        if not settings.keep or decision.accepted or decision.several:
            return None
        if decision.speech_seconds < LEAST_SPEECH:
            return None
        # What is kept is what will be enrolled: a recording cut out of a stream has not been through `load`.
        audio = replace(load(audio.to_flac()), source=audio.source)
        recognizer = self._recognizer
        views = embed_views(recognizer.encoder, [trim_silence(audio)])[0]
        guess = max(
            (name for name in decision.probabilities if name != "unknown"),
            key=decision.probabilities.__getitem__,
            default=None,
        )
        clip = NewClip(
            sha256=audio.sha256,
            seconds=audio.seconds,
            quality={key: float(value) for key, value in asdict(measure_quality(audio)).items()},
            arrays={"embedding": np.array(views[0]), "views": views, FINGERPRINT: fingerprint(audio)},
            source=audio.source,
            audio=audio.to_flac(),
        )
        people = {person.name: person.id for person in recognizer.gallery.people()}
        number = self._clips.add(
            clip,
            status=decision.status,
            probability=decision.probability,
            guess=people.get(guess or ""),
            encoder=recognizer.encoder.fingerprint,
            actor=actor,
        )
        self.purge(actor=actor)
        return number

    def groups(self) -> list[VoiceGroup]:
        """What waits, a group for each voice, the largest first; recordings of another encoder are left out."""
        recognizer = self._recognizer
        fingerprint = recognizer.encoder.fingerprint
        clips = [clip for clip in self._clips.waiting() if clip.encoder == fingerprint]
        if not clips:
            return []
        embeddings = np.stack([clip.arrays["embedding"] for clip in clips])
        labels = group_voices(embeddings, likeness(fingerprint))
        found = []
        for label in range(labels.max() + 1):
            own = [clip for clip, of in zip(clips, labels, strict=True) if of == label]
            own.sort(key=lambda clip: clip.time, reverse=True)
            found.append(VoiceGroup(tuple(own), *self._likely(own)))
        return sorted(found, key=lambda group: (-len(group.clips), -group.clips[0].time.timestamp()))

    def audio(self, clip_id: int) -> bytes:
        """A recording, as FLAC.

        Raises:
            UnknownItemError: There is none of this number.
        """
        return self._clips.audio(clip_id)

    def enroll(
        self,
        ids: Sequence[int],
        name: str,
        *,
        consent: date | Unchanged | None = UNCHANGED,
        actor: str = "",
    ) -> EnrolmentReport:
        """Say who it is: the recordings become clips of that person, new or enrolled already.

        Args:
            ids: Recordings that wait.
            name: The person.
            consent: The day on which the person agreed.
            actor: Who says it.

        Raises:
            UnknownItemError: There is none of one of these numbers.
            GalleryError: One does not wait any more, or the name cannot be used.
        """
        clips = self._clips.get(list(dict.fromkeys(ids)))
        for clip in clips:
            if clip.state != "waiting":
                raise GalleryError(
                    f"recording {clip.id} is {clip.state} already: take that back first, or leave it out"
                )
        audio = [replace(load(self.audio(clip.id)), source=f"review {clip.id}") for clip in clips]
        return self._recognizer.enroll(name, audio, consent=consent, actor=actor)

    def dismiss(self, ids: Sequence[int], *, actor: str = "") -> None:
        """Say that nobody is to be enrolled with these.

        Raises:
            UnknownItemError: There is none of one of these numbers.
        """
        self._clips.mark(ids, "dismissed", actor=actor)

    def undo(self, *, actor: str = "") -> ReviewUndo:
        """Take back the last enrolment from here, or the last dismissal: the recordings wait again.

        Raises:
            ChangedError: Somebody was enrolled since.
            GalleryError: Nothing is left to take back.
        """
        last = self._clips.last_change()
        if last is not None and last.enrolment_id is not None:
            self._recognizer.gallery.undo(enrolment=last.enrolment_id, actor=actor)
            return ReviewUndo(last.what, last.ids)
        return ReviewUndo(*self._clips.undo(actor=actor))

    def purge(self, *, actor: str = "") -> int:
        """Erase what is too old, and the oldest beyond `MOST_KEPT`; the number of recordings."""
        before = datetime.now(UTC) - timedelta(days=self.settings.days)
        return self._clips.purge(before, most=MOST_KEPT, actor=actor)

    def _likely(self, clips: Sequence[ReviewClip]) -> tuple[str | None, float]:
        """Who of the people enrolled the voice may be, and how probable that is."""
        try:
            posteriors = self._recognizer.posteriors(np.stack([clip.arrays["views"] for clip in clips]))
        except NotEnoughDataError:
            return None, 0.0
        name = max(posteriors, key=posteriors.__getitem__, default="unknown")
        return (None, 0.0) if name == "unknown" else (name, posteriors[name])


def group_voices(embeddings: npt.NDArray[Any], least_cosine: float) -> npt.NDArray[np.int64]:
    """Cluster by average linkage (UPGMA; Sokal & Michener, 1958) on cosines.

    Args:
        embeddings: (n, d).
        least_cosine: Mean cosine between two groups below which they stay two.

    Returns:
        (n,) labels from 0 on, without gaps.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(embeddings)
    if n < 2:
        return np.zeros(n, np.int64)
    unit = normalise(embeddings)
    distances = np.clip(1.0 - unit @ unit.T, 0.0, 2.0).astype(np.float64)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform((distances + distances.T) / 2.0, checks=False), method="average")
    return np.asarray(fcluster(tree, 1.0 - least_cosine, criterion="distance") - 1, np.int64)


def likeness(fingerprint: str) -> float:
    """The cosine that few pairs of different people of the encoder's cohort reach."""
    cohort = find_cohort(fingerprint)
    if cohort is None:
        return USUAL_COSINE
    plain = ~cohort.copies
    embeddings = cohort.embeddings[plain]
    unit = normalise(embeddings[:, 0] if embeddings.ndim == 3 else embeddings)
    labels = cohort.labels[plain]
    different = labels[:, None] != labels
    if not different.any():
        return USUAL_COSINE
    return float(np.quantile((unit @ unit.T)[different], 1.0 - STRANGERS_ALIKE))
