"""The recogniser: people in, decisions out. Everything that a program needs is a method of `Recognizer`."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.audio.vad import trim_silence
from openkith.decision import Decision, decide, decide_claim
from openkith.encoders import Encoder, load_encoder
from openkith.encoders.copies import EmbeddedClip, embed_with_copies
from openkith.enrolment import EnrolmentReport, Finding, advise, cohesion, embedding_set, find_problems
from openkith.errors import EncoderMismatchError, GalleryError, NotEnoughDataError
from openkith.gallery import Clip, Gallery, NewClip, Person, Receipt
from openkith.heads import pack_model, unpack_model
from openkith.openset import AUTO, FALLBACK, HeldOutErrors, OpenSetModel, Progress, fit_open_set
from openkith.scoring import Calibration, EmbeddingSet, shipped_cohort
from openkith.strangers import stranger_clips

__all__ = ["CalibrationReport", "Recognizer", "Source", "TuneReport"]

Source = str | Path | bytes | Audio | npt.NDArray[Any]

_SETTINGS = "calibration"
_DEFAULTS = {"far": 0.01, "verify_far": None, "unknown_prior": 0.5}
_NOT_TUNED = "no head is tuned yet"
_STALE = "the tuned head is older than the people enrolled: run kith tune"


@dataclass(frozen=True)
class TuneReport:
    """What tuning gave.

    Attributes:
        method: The method in use from now on.
        asked: The method that was asked for.
        errors: Held-out error rates of every method that was tried.
        kept: Why this method, in words.
        calibration: Thresholds, and what they are expected to cost.
        findings: People too alike, and clips that disagree.
    """

    method: str
    asked: str
    errors: dict[str, HeldOutErrors]
    kept: str
    calibration: Calibration
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CalibrationReport:
    """What calibrating gave.

    Attributes:
        method: The back end that is calibrated.
        calibration: Thresholds, and what they are expected to cost.
        basis: How each person was held out, by name: "clips", "crops" or "cohort" (see `HeldOutScores`).
        notes: What limits the numbers, in words.
        findings: People too alike, and clips that disagree.
    """

    method: str
    calibration: Calibration
    basis: dict[str, str]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Ready:
    """A model for the people of one revision of the gallery."""

    key: tuple[Any, ...]
    people: list[Person]
    clips: list[Clip]
    model: OpenSetModel
    note: str


class Recognizer:
    """Enrol people, tune a head to them, and say who speaks.

    Args:
        gallery: A `Gallery`, or the path or URL of one; default ``$KITH_GALLERY``, else the user's data folder.
        encoder: An encoder or its name; the weights are loaded on first use.
        threads: Torch threads for embedding; default: one per physical core.

    Example:
        >>> recognizer = Recognizer("family.db")                          # doctest: +SKIP
        >>> recognizer.enroll("alice", ["a1.wav", "a2.wav", "a3.wav"])    # doctest: +SKIP
        >>> recognizer.tune()                                             # doctest: +SKIP
        >>> recognizer.identify("who.wav").name                           # doctest: +SKIP
        'alice'
    """

    def __init__(
        self,
        gallery: Gallery | str | Path | None = None,
        encoder: str | Encoder = "ge2e",
        threads: int | None = None,
    ) -> None:
        self.gallery = gallery if isinstance(gallery, Gallery) else Gallery(gallery)
        self._encoder = encoder
        self._threads = threads
        self._ready: _Ready | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, loaded on first use."""
        if isinstance(self._encoder, str):
            return load_encoder(self._encoder, threads=self._threads)
        return self._encoder

    def enroll(
        self,
        name: str,
        clips: Source | Sequence[Source],
        *,
        keep_audio: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> EnrolmentReport:
        """Add clips of a person; all or none of them.

        Args:
            name: The person, new or enrolled already.
            clips: One recording or several: paths, bytes of a file, `Audio`, or 16 kHz arrays.
            keep_audio: Keep the recordings too (FLAC), so that another encoder can embed them later.
            progress: Called with clips done and clips in all.

        Raises:
            AudioError: A recording is not usable.
            DuplicateClipError: A recording is enrolled already.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        sources = [clips] if isinstance(clips, str | Path | bytes | Audio | np.ndarray) else list(clips)
        audio = [_load(source) for source in sources]
        self._check_encoder()
        embedded = embed_with_copies(self.encoder, audio, progress=progress)
        added = self.gallery.add_clips(
            name, [_new_clip(clip, keep_audio) for clip in embedded], encoder=self.encoder.fingerprint
        )
        stored = self.gallery.clips(name)
        seconds = sum(clip.quality.get("speech_seconds", clip.seconds) for clip in stored)
        together = cohesion(np.stack([clip.arrays["embedding"] for clip in stored]))
        said = [f"{Path(c.audio.source).name}: {hint}" for c in embedded for hint in c.quality.advice]
        return EnrolmentReport(
            name=stored[0].person or name,
            added=added,
            clips=len(stored),
            seconds=seconds,
            cohesion=together,
            advice=(*said, *advise(len(stored), seconds, together)),
        )

    def tune(
        self,
        method: str = AUTO,
        *,
        unknown: str | Path | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> TuneReport:
        """Learn a head for the people enrolled, and calibrate it.

        Args:
            method: "auto" keeps the tuned head only if it beats cosine and AS-norm on held-out clips; or a key of
                `openkith.openset.METHODS`.
            unknown: A folder of other people's recordings, learned from beside the cohort that ships and the
                background given to `calibrate`.
            seed: Of everything random.
            progress: Called with what is being done, steps done and steps in all.

        Raises:
            NotEnoughDataError: Nobody is enrolled, or there is no cohort for the method.
            GalleryError: Somebody was enrolled or forgotten meanwhile.
        """
        revision = self.gallery.revision()
        people, clips, enrolment, halves = self._enrolment()
        parts = self._cohort_parts()
        if unknown is not None:
            parts.append(self._strangers_in(Path(unknown), progress))
        model = fit_open_set(
            method, enrolment, _joined(parts), halves=halves, seed=seed, progress=progress, **self._settings()
        )
        learned = [clip.sha256 for clip in self.gallery.background()]
        extra = {
            "people": [person.id for person in people],
            "clips": [clip.id for clip in clips],
            "seed": seed,
        }
        config, arrays = pack_model(model, {**extra, "background": learned})
        self.gallery.save_head(
            model.method, config, arrays, encoder=self.encoder.fingerprint, revision=revision
        )
        self._ready = None
        names = [person.name for person in people]
        return TuneReport(
            method=model.method,
            asked=method,
            errors=model.errors,
            kept=_why(model),
            calibration=model.calibration,
            findings=find_problems(model.held_out, model.calibration, names),
        )

    def calibrate(
        self,
        far: float = 0.01,
        *,
        verify_far: float | None = None,
        unknown_prior: float = 0.5,
        background: str | Path | None = None,
        progress: Progress | None = None,
    ) -> CalibrationReport:
        """Set the false-accept rates, and learn what the user's own room, TV and guests score.

        Args:
            far: Share of unknown voices that may get a name.
            verify_far: Share of false claims that may pass `verify`; default: ``far``.
            unknown_prior: Prior probability that a voice is nobody enrolled.
            background: A folder of recordings without enrolled people; kept (as embeddings) in the gallery.
            progress: Called with what is being done, steps done and steps in all.

        Raises:
            ConfigError: A rate or the prior is not between 0 and 1.
        """
        settings = {"far": far, "verify_far": verify_far, "unknown_prior": unknown_prior}
        ready = self._model(settings)  # before anything is stored: a wrong rate changes nothing
        if background is not None:
            _, embedded = self._embed_strangers(Path(background), progress)
            self.gallery.add_background(
                [_new_clip(clip, False) for clip in embedded], encoder=self.encoder.fingerprint
            )
        self.gallery.put_setting(_SETTINGS, settings)
        if background is not None:
            ready = self._model()
        model, names = ready.model, [person.name for person in ready.people]
        return CalibrationReport(
            method=model.method,
            calibration=model.calibration,
            basis=dict(zip(names, model.calibration.basis, strict=True)),
            notes=_notes(model, names, ready.note),
            findings=find_problems(model.held_out, model.calibration, names),
        )

    def identify(self, clip: Source) -> Decision:
        """Who speaks in a recording: one of the people enrolled, or nobody known.

        Raises:
            AudioError: The recording is not usable.
            NotEnoughDataError: Nobody is enrolled.
        """
        ready = self._model()
        llrs, seconds = self._llrs(ready, clip)
        names = [person.name for person in ready.people]
        return decide(llrs, names, ready.model.calibration, seconds, ready.model.method, ready.note)

    def verify(self, name: str, clip: Source) -> Decision:
        """Whether a recording is of the person it is said to be; `Decision.accepted` is the answer.

        Raises:
            UnknownPersonError: Nobody of that name is enrolled.
            AudioError: The recording is not usable.
        """
        person = self.gallery.person(name)
        ready = self._model()
        llrs, seconds = self._llrs(ready, clip)
        names = [each.name for each in ready.people]
        claimed = [each.id for each in ready.people].index(person.id)
        return decide_claim(
            llrs, claimed, names, ready.model.calibration, seconds, ready.model.method, ready.note
        )

    def forget(self, name: str) -> Receipt:
        """Erase a person, and every head that learned from them."""
        self._ready = None
        return self.gallery.forget(name)

    def reembed(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Embed every clip again with this encoder, from the audio that was kept; the number of clips.

        Raises:
            GalleryError: The audio of a clip was not kept.
        """
        clips = self.gallery.clips()
        missing = [clip for clip in clips if not clip.has_audio]
        if missing:
            raise GalleryError(
                f"clip {missing[0].id} of {missing[0].person} was enrolled without --keep-audio ({len(missing)} of "
                f"{len(clips)} clips); enrol these people again in a new gallery"
            )
        audio = [load(self.gallery.audio(clip.id)) for clip in clips]
        embedded = embed_with_copies(self.encoder, audio, progress=progress)
        updates = {clip.id: new.arrays() for clip, new in zip(clips, embedded, strict=True)}
        self.gallery.replace_arrays(updates, self.encoder.fingerprint)
        self._ready = None
        return len(clips)

    def _settings(self) -> dict[str, Any]:
        return {**_DEFAULTS, **self.gallery.setting(_SETTINGS, {})}

    def _check_encoder(self) -> None:
        stored = self.gallery.encoder()
        if stored is not None and stored != self.encoder.fingerprint:
            raise EncoderMismatchError(
                f"the gallery holds embeddings of {stored}, and this encoder is {self.encoder.fingerprint}; use the "
                "same encoder, another gallery, or run: kith reembed"
            )

    def _enrolment(self) -> tuple[list[Person], list[Clip], EmbeddingSet, EmbeddingSet | None]:
        """People in the order of the score's columns, their clips, and these as sets."""
        people, clips = self.gallery.people(), self.gallery.clips()
        if not clips:
            raise NotEnoughDataError("nobody is enrolled; begin with: kith enroll NAME CLIP...")
        self._check_encoder()
        column = {person.name: i for i, person in enumerate(people)}
        enrolment, halves = embedding_set(
            [clip.arrays for clip in clips], [column[clip.person or ""] for clip in clips]
        )
        return people, clips, enrolment, halves

    def _cohort_parts(self) -> list[EmbeddingSet | None]:
        """The cohort that ships for this encoder, and the user's background."""
        return [shipped_cohort(self.encoder.fingerprint), _background_set(self.gallery.background())]

    def _model(self, settings: dict[str, Any] | None = None) -> _Ready:
        """The tuned head where there is a fresh one, else cosine with AS-norm; calibrated."""
        settings = settings or self._settings()
        head = self.gallery.head()
        background = self.gallery.background()
        revision = self.gallery.revision()
        names = tuple(person.name for person in self.gallery.people())
        key = (revision, head and head.id, tuple(c.id for c in background), tuple(settings.values()), names)
        if self._ready is not None and self._ready.key == key:
            return self._ready
        people, clips, enrolment, halves = self._enrolment()
        if head is not None and head.revision == revision and head.encoder == self.encoder.fingerprint:
            learned = set(head.config.get("background", ()))
            strangers = _background_set([clip for clip in background if clip.sha256 not in learned])
            model = unpack_model(head.config, head.arrays, strangers, **settings)
            note = ""
        else:
            cohort = _joined(self._cohort_parts())
            method = FALLBACK if cohort is not None else "cosine"
            model = fit_open_set(method, enrolment, cohort, halves=halves, **settings)
            note = _NOT_TUNED if head is None else _STALE
        self._ready = _Ready(key, people, clips, model, note)
        return self._ready

    def _llrs(self, ready: _Ready, clip: Source) -> tuple[npt.NDArray[np.float64], float]:
        """Calibrated ratios (C,) and seconds of speech of one recording."""
        speech = trim_silence(_load(clip))
        return ready.model.llrs(self.encoder.embed([speech]))[0], speech.seconds

    def _embed_strangers(
        self, folder: Path, progress: Progress | None
    ) -> tuple[list[int], list[EmbeddedClip]]:
        labels, clips = stranger_clips(folder)

        def step(done: int, total: int) -> None:
            if progress:
                progress(f"embedding {folder}", done, total)

        self._check_encoder()
        return labels, embed_with_copies(self.encoder, clips, progress=step)

    def _strangers_in(self, folder: Path, progress: Progress | None) -> EmbeddingSet:
        labels, embedded = self._embed_strangers(folder, progress)
        return embedding_set([clip.arrays() for clip in embedded], labels)[0]


def _load(source: Source) -> Audio:
    """Any recording; a bare array is taken to be at 16 kHz."""
    return load(source, SAMPLE_RATE) if isinstance(source, np.ndarray) else load(source)


def _new_clip(clip: EmbeddedClip, keep_audio: bool) -> NewClip:
    quality = {key: float(value) for key, value in asdict(clip.quality).items()}
    return NewClip(
        sha256=clip.audio.sha256,
        seconds=clip.audio.seconds,
        quality={**quality, "speech_seconds": clip.speech_seconds},
        arrays=clip.arrays(),
        source=clip.audio.source,
        audio=_flac(clip.audio) if keep_audio else None,
    )


def _flac(audio: Audio) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, audio.samples, audio.sample_rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _background_set(clips: Sequence[Clip]) -> EmbeddingSet | None:
    """Background clips, each its own voice: who speaks in the TV is not known."""
    return embedding_set([clip.arrays for clip in clips], range(len(clips)))[0] if clips else None


def _joined(parts: Sequence[EmbeddingSet | None]) -> EmbeddingSet | None:
    present = [part for part in parts if part is not None]
    return EmbeddingSet.concatenate(present) if present else None


def _why(model: OpenSetModel) -> str:
    rates = ", ".join(f"{name} {errors.mean:.1%}" for name, errors in model.errors.items())
    if model.asked != AUTO:
        return f"{model.method}, as asked; held-out errors: {rates}"
    if len(model.errors) == 1:
        return (
            f"{model.method}: without a cohort for this encoder there is nothing to tune with (--unknown DIR)"
        )
    if model.method == FALLBACK:
        return f"cosine with AS-norm stays: the tuned head was no better on held-out clips ({rates})"
    return f"the tuned head wins on held-out clips ({rates})"


def _notes(model: OpenSetModel, names: Sequence[str], note: str) -> tuple[str, ...]:
    calibration, notes = model.calibration, [note] if note else []
    if calibration.extrapolated:
        notes.append(
            f"{calibration.unknown_clips} clips of other people cannot show a rate of {calibration.far:.2%}: the "
            "threshold is extrapolated from the tail of their scores; give more with --background DIR"
        )
    for basis, text in (
        ("crops", "calibrated from two halves of the only clip; a second clip makes it honest"),
        ("cohort", "one short clip: calibrated from how other people's clips vary; record a second one"),
    ):
        people = [name for name, kind in zip(names, calibration.basis, strict=True) if kind == basis]
        if people:
            notes.append(f"{', '.join(people)}: {text}")
    return tuple(notes)
