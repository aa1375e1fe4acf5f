"""The recogniser: people in, decisions out. Everything that a program needs is a method of `Recognizer`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.audio.fingerprint import fingerprint
from openkith.audio.vad import trim_silence
from openkith.encoders import Encoder, load_encoder
from openkith.encoders.clips.copies import EmbeddedClip, embed_with_copies
from openkith.errors import ConfigError, DuplicateClipError, GalleryError, NotEnoughDataError, require
from openkith.gallery import UNCHANGED, Gallery, NewClip, Receipt, Unchanged
from openkith.gallery.recordings import FINGERPRINT, review_version
from openkith.openset.curves import ErrorCurves, trace_curves
from openkith.openset.decision import Decision, decide, decide_claim
from openkith.openset.enhancers import OFF, ChosenEnhancer, candidate_enhancers
from openkith.openset.findings import (
    CalibrationReport,
    Separability,
    TuneReport,
    confusions,
    find_problems,
    limits,
    why,
)
from openkith.openset.heads import pack_model, unpack_model
from openkith.openset.model import AUTO, Progress, check_encoder_of, check_method, fit_open_set
from openkith.openset.talkers import (
    Voices,
    check_voices,
    decide_talkers,
    fit_talkers,
    sounds_like_several,
    speech_tokens,
)
from openkith.recognizer.enrolment import (
    ClipReport,
    EnrolmentReport,
    advise,
    cohesion,
    embedding_set,
    report_clips,
)
from openkith.recognizer.live import Chunk, LiveEvent, LiveSession
from openkith.recognizer.replay import KnownRecordings, warnings_for
from openkith.recognizer.roster import (
    CALIBRATION,
    Roster,
    check_encoder,
    joined,
    take_snapshot,
    untuned,
    version_of,
)
from openkith.recognizer.speaking_styles import add_styles
from openkith.recognizer.standing import Standing
from openkith.recognizer.strangers import cut_long, stranger_recordings
from openkith.scoring.base import EmbeddingSet
from openkith.scoring.calibration import DEFAULT_FAR, DEFAULT_UNKNOWN_PRIOR, check_rates

__all__ = ["CalibrationReport", "Recognizer", "Source", "TuneReport"]

Source = str | Path | bytes | Audio | npt.NDArray[Any]


class Recognizer:
    """Enrol people, tune a head to them, and say who speaks.

    Args:
        gallery: A `Gallery`, or the path or URL of one; default ``$KITH_GALLERY``, else the user's data folder.
        encoder: An encoder or its name; the weights are loaded on first use.
        threads: Torch threads for embedding; default: one per physical core.
        enhancer: What embeddings go through before they are compared: "off", "shipped", "auto" (tuning takes the one
            that ships where held-out clips get better), the folder of a trained one, or an `Enhancer`. A tuned head
            keeps its own.

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
        enhancer: ChosenEnhancer = OFF,
    ) -> None:
        self._owns_gallery = not isinstance(gallery, Gallery)
        self.gallery = gallery if isinstance(gallery, Gallery) else Gallery(gallery)
        self._encoder = encoder
        self._threads = threads
        self._enhancer = enhancer
        self._roster: Roster | None = None
        self._reading = threading.Lock()
        self._known: KnownRecordings | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery, unless it was given as a `Gallery`; closing twice does no harm."""
        if self._owns_gallery:
            self.gallery.close()

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
        consent: date | Unchanged | None = UNCHANGED,
        note: str | Unchanged = UNCHANGED,
        actor: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> EnrolmentReport:
        """Add clips of a person; all or none of them.

        Args:
            name: The person, new or enrolled already.
            clips: One recording or several: paths, bytes of a file, `Audio`, or 16 kHz arrays.
            keep_audio: Keep the recordings too (FLAC), so that another encoder can embed them later.
            consent: The day on which the person agreed.
            note: About the person, for people to read.
            actor: Who does it, for the audit log.
            progress: Called with clips done and clips in all.

        Raises:
            AudioError: A recording is not usable.
            DuplicateClipError: A recording is enrolled already.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        sources = [clips] if isinstance(clips, str | Path | bytes | Audio | np.ndarray) else list(clips)
        audio = [_load(source) for source in sources]
        check_encoder(self.gallery.encoder(), self.encoder.fingerprint)
        embedded = embed_with_copies(self.encoder, audio, progress=progress)
        new = [_new_clip(*pair, keep_audio=keep_audio) for pair in zip(audio, embedded, strict=True)]
        added = self.gallery.add_clips(
            name, new, encoder=self.encoder.fingerprint, consent=consent, note=note, actor=actor
        )
        stored = self.gallery.clips(name)
        seconds = sum(clip.quality.get("speech_seconds", clip.seconds) for clip in stored)
        together = cohesion(np.stack([clip.arrays["embedding"] for clip in stored]))
        said = [
            f"{Path(heard.source).name}: {hint}"
            for heard, clip in zip(audio, embedded, strict=True)
            for hint in clip.quality.advice
        ]
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
        synthetic: int = 0,
        styles: bool = False,
        members: int | None = None,
        enhancer: ChosenEnhancer | None = None,
        seed: int = 0,
        actor: str = "",
        progress: Progress | None = None,
    ) -> TuneReport:
        """Learn a head for the people enrolled, and calibrate it.

        Args:
            method: "auto" keeps the tuned head unless held-out clips speak clearly against it; or a key of
                `openkith.openset.model.METHODS` or `SPEECH_METHODS`.
            unknown: A folder of other people's recordings, learned from beside the cohort that ships and the
                background given to `calibrate`.
            synthetic: How many synthetic voices to learn from too (extra ``synthesis``).
            styles: Also learn each enrolled clip as the person would say it older, younger, happy, sad, angry, tired,
                fast and slow (extra ``synthesis``). The clips' audio must be in the gallery, or still in their files.
            members: Adapters of the SpeakerRPL methods; in the fusion, on each view. Default: the method's own number.
            enhancer: See `Recognizer`; default: that of the recogniser.
            seed: Of everything random.
            actor: Who does it, for the audit log.
            progress: Called with what is being done, steps done and steps in all.

        Raises:
            ConfigError: No such method, ``members`` below 1, or no enhancer ships for the encoder.
            InputError: There is no such enhancer, or it was trained on another encoder's embeddings.
            NotEnoughDataError: Nobody is enrolled, or there is no cohort for the method.
            DuplicateClipError: A recording of other people is enrolled.
            MissingDependencyError: Synthetic voices or styles without the extra ``synthesis``.
            AudioError: Styles of a clip of which no audio is left.
            GalleryError: Somebody was enrolled or forgotten meanwhile.
        """
        check_method(method, speech=True)  # all is checked before anything is embedded
        if members is not None and members < 1:
            raise ConfigError(
                f"members is {members}; give 1 or more, or leave it out for the method's own number"
            )
        check_encoder_of(method, self.encoder)
        enhancers = candidate_enhancers(self._enhancer if enhancer is None else enhancer, self.encoder)
        if styles:
            require("parselmouth", "synthesis", "tuning with speaking styles")
        snapshot = take_snapshot(self.gallery, all_clips=True)
        check_encoder(snapshot.encoder, self.encoder.fingerprint)
        others = snapshot.others()
        if unknown is not None:
            labels, new = self._strangers(Path(unknown), progress)
            others.append(embedding_set([clip.arrays for clip in new], labels)[0])
        if synthetic:
            others.append(self._synthetic(synthetic, seed, progress))
        enrolment, halves = snapshot.enrolment()
        if styles:
            enrolment = add_styles(enrolment, snapshot.clips, self.gallery, self.encoder, seed, progress)
        model = fit_open_set(
            method,
            enrolment,
            joined(others),
            halves=halves,
            seed=seed,
            members=members,
            enhancers=enhancers,
            progress=progress,
            **snapshot.settings,
        )
        clip_ids = [clip.id for clip in snapshot.clips]
        extra = {
            "people": [person.id for person in snapshot.people],
            "clips": clip_ids,
            "background": [clip.sha256 for clip in snapshot.background],
            "seed": seed,
            "styles": styles,
        }
        plain = snapshot.enrolment()[0] if styles else enrolment
        talkers = fit_talkers(plain, self.encoder.fingerprint, **snapshot.settings)
        config, arrays = pack_model(model, extra, talkers)
        # Numbers are rounded for storing: what is told below is what will be used.
        model = unpack_model(config, arrays, None, **snapshot.settings)
        self.gallery.save_head(
            model.method,
            config,
            arrays,
            encoder=self.encoder.fingerprint,
            revision=snapshot.revision,
            actor=actor,
        )
        return TuneReport(
            method=model.method,
            enhancer=model.enhancer.fingerprint if model.enhancer else None,
            asked=method,
            errors=model.errors,
            kept=why(model),
            calibration=model.calibration,
            findings=find_problems(model.held_out, model.calibration, snapshot.names, clip_ids),
        )

    def calibrate(
        self,
        far: float | None = None,
        *,
        verify_far: float | None = None,
        unknown_prior: float | None = None,
        background: str | Path | None = None,
        actor: str = "",
        progress: Progress | None = None,
    ) -> CalibrationReport:
        """Set the false-accept rates, and learn what the user's own room, TV and guests score.

        Args:
            far: Share of unknown voices that may get a name; default: as it was set before, at first 1 %.
            verify_far: Share of false claims that may pass `verify`; default: as before, at first ``far``.
            unknown_prior: Prior probability that a voice is nobody enrolled; default: as before, at first 0.5.
            background: A folder of recordings without enrolled people; kept (as embeddings) in the gallery, in the
                place of those before.
            actor: Who does it, for the audit log.
            progress: Called with what is being done, steps done and steps in all.

        Raises:
            ConfigError: A rate or the prior is not between 0 and 1.
            NotEnoughDataError: Nobody is enrolled.
            DuplicateClipError: A background recording is enrolled.
        """
        asked = {"far": far, "verify_far": verify_far, "unknown_prior": unknown_prior}
        before: dict[str, Any] = {
            "far": DEFAULT_FAR,
            "verify_far": None,
            "unknown_prior": DEFAULT_UNKNOWN_PRIOR,
            **self.gallery.setting(CALIBRATION, {}),
        }
        settings = {**before, **{name: value for name, value in asked.items() if value is not None}}
        check_rates(**settings)  # all is checked before anything is stored
        check_encoder(take_snapshot(self.gallery).encoder, self.encoder.fingerprint)
        if background is not None:
            _, new = self._strangers(Path(background), progress)
            self.gallery.add_background(new, encoder=self.encoder.fingerprint, actor=actor)
        self.gallery.put_setting(CALIBRATION, settings, actor=actor)
        roster = self._current_roster()
        calibration, names = roster.model.calibration, roster.names
        return CalibrationReport(
            method=roster.model.method,
            calibration=calibration,
            basis=dict(zip(names, calibration.basis, strict=True)),
            notes=(*filter(None, [roster.note]), *limits(calibration, names)),
            findings=find_problems(roster.model.held_out, calibration, names, roster.clip_ids),
        )

    def identify(self, clip: Source, *, voices: Voices = "auto") -> Decision:
        """Who speaks in a recording: one of the people enrolled, or nobody known.

        Where it holds more than one voice, the decision lists everybody enrolled who is among them, with probability
        and times (`Decision.heard`).

        Args:
            clip: The recording.
            voices: "one" or "several", where that is known; else "auto" listens for a second voice (with the default
                encoder, in 2.2 s of speech or more).

        Raises:
            AudioError: The recording is not usable.
            NotEnoughDataError: Nobody is enrolled.
            ConfigError: No such ``voices``; or several, and another encoder than the default one.
        """
        check_voices(voices)
        audio = _load(clip)
        roster = self._current_roster()
        speech = trim_silence(audio)
        if voices == "several" or (voices == "auto" and roster.talkers is not None):
            tokens = speech_tokens(self.encoder, speech)
            assert roster.talkers is not None  # else there are no tokens
            if voices == "several" or sounds_like_several(roster.talkers, tokens):
                decision = decide_talkers(
                    roster.talkers, roster.names, self.encoder, tokens, audio, speech.seconds
                )
                return self._warned(decision, audio, speech, roster)
        llrs = roster.llrs(self.encoder, speech)
        calibration, method = roster.answering(int(llrs.argmax()))
        decision = decide(llrs, roster.names, calibration, speech.seconds, method, roster.note)
        return self._warned(decision, audio, speech, roster)

    def posteriors(self, views: npt.NDArray[Any]) -> dict[str, float]:
        """P(each person) and P("unknown") of one voice, from embeddings of several recordings of it.

        Args:
            views: (n, V, d) as `openkith.encoders.clips.views.embed_views` gives them.

        Returns:
            By name, from the mean log-likelihood ratio of the recordings; they sum to 1. Empty for a method that hears
            the speech itself.

        Raises:
            NotEnoughDataError: Nobody is enrolled.
        """
        roster = self._current_roster()
        if roster.model.listens:
            return {}
        llrs = roster.model.llrs(views).mean(axis=0, keepdims=True)
        p = roster.model.calibration.posteriors(llrs)[0].tolist()
        return dict(zip([*roster.names, "unknown"], p, strict=True))

    def verify(self, name: str, clip: Source) -> Decision:
        """Whether a recording is of the person it is said to be; `Decision.accepted` is the answer.

        Raises:
            UnknownPersonError: Nobody of that name is enrolled.
            NotEnoughDataError: There is no clip of the person yet.
            AudioError: The recording is not usable.
        """
        person = self.gallery.person(name)
        name = person.name
        if not person.clips:
            raise NotEnoughDataError(f"{name!r} has no clip yet; enrol one first")
        audio = _load(clip)
        roster = self._current_roster()
        if name not in roster.names:
            raise GalleryError(f"{name!r} was renamed or forgotten just now; see: kith list")
        speech = trim_silence(audio)
        claimed = roster.names.index(name)
        llrs = roster.llrs(self.encoder, speech)
        calibration, method = roster.answering(claimed)
        decision = decide_claim(llrs, claimed, roster.names, calibration, speech.seconds, method, roster.note)
        return self._warned(decision, audio, speech, roster)

    def listen(self, sample_rate: int = SAMPLE_RATE, **options: Any) -> LiveSession:
        """Begin to listen to a stream that is fed chunk by chunk; see `LiveSession` for the options.

        Example:
            >>> session = recognizer.listen()                                 # doctest: +SKIP
            >>> for chunk in microphone:                                      # doctest: +SKIP
            ...     for event in session.feed(chunk): print(event)

        Raises:
            NotEnoughDataError: Nobody is enrolled.
            AudioError, ConfigError: The rate or an option is out of range.
        """
        session = LiveSession(self, sample_rate, **options)
        self._current_roster()  # what is wrong with the gallery is said before anybody speaks
        return session

    def stream(
        self, chunks: Iterable[Chunk], sample_rate: int = SAMPLE_RATE, **options: Any
    ) -> Iterator[LiveEvent]:
        """Who speaks in a stream: each utterance's start, updates and final decision, as the chunks come in.

        Args:
            chunks: 16-bit little-endian samples as bytes, or arrays (n,), of any length.
            sample_rate: Of the chunks, in Hz.
            options: Of `LiveSession`.

        Raises:
            NotEnoughDataError: Nobody is enrolled.
            AudioError, ConfigError: The rate, an option or a chunk is not usable.
        """
        session = self.listen(sample_rate, **options)
        for chunk in chunks:
            yield from session.feed(chunk)
        yield from session.finish()

    def forget(self, name: str, *, etag: str | None = None, actor: str = "") -> Receipt:
        """Erase a person, and every head that learned from them; see `Gallery.forget`."""
        receipt = self.gallery.forget(name, etag=etag, actor=actor)
        with self._reading:  # not before: another thread may have read the gallery meanwhile
            self._roster = self._known = None  # they hold what the person's clips were made into
        return receipt

    def report_clips(self, name: str) -> list[ClipReport]:
        """Every clip of a person: how good it is, and how like the others.

        Raises:
            UnknownPersonError: Nobody of that name is enrolled.
        """
        return report_clips(self.gallery.clips(name))

    def standing(self) -> Standing:
        """How the gallery answers at present: by which method, and at which rates."""
        try:
            return Standing.of(self._current_roster())
        except NotEnoughDataError as error:
            return Standing.of_nobody(str(error), **self.gallery.setting(CALIBRATION, {}))

    def separability(self) -> Separability:
        """How well the people enrolled can be told apart, on clips that the model did not learn from.

        Raises:
            NotEnoughDataError: Nobody is enrolled.
        """
        roster = self._current_roster()
        held_out, calibration = roster.model.held_out, roster.model.calibration
        return Separability(
            names=roster.names,
            shares=tuple(map(tuple, confusions(held_out, calibration).tolist())),
            findings=find_problems(held_out, calibration, roster.names, roster.clip_ids),
        )

    def error_curves(self) -> ErrorCurves:
        """Scores, errors and thresholds on held-out clips, before tuning and after it.

        Raises:
            NotEnoughDataError: Nobody is enrolled, or one short clip alone.
        """
        roster = self._current_roster()
        before = None
        if not roster.note:  # a fresh head
            enhancers = candidate_enhancers(self._enhancer, self.encoder)
            before = trace_curves(untuned(take_snapshot(self.gallery, all_clips=True), enhancers))
        return ErrorCurves(before, trace_curves(roster.model), roster.model.calibration.far)

    def reembed(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Embed every clip again with this encoder, from the audio that was kept; the number of clips.

        Heads and background are of the old encoder, and are dropped.

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
        updates = {}
        for clip in clips:  # one by one: the recordings of many people would fill the memory
            audio = load(self.gallery.audio(clip.id))
            [embedded] = embed_with_copies(self.encoder, [audio])
            updates[clip.id] = {**embedded.arrays(), FINGERPRINT: fingerprint(audio)}
            if progress:
                progress(len(updates), len(clips))
        self.gallery.replace_arrays(updates, self.encoder.fingerprint)
        self._known = None  # clips from before there were fingerprints have them now
        return len(clips)

    def _current_roster(self) -> Roster:
        """The people enrolled and the model for them, read again only after a write."""
        roster = self._roster
        if roster is None or roster.version != version_of(self.gallery):
            with self._reading:  # one thread makes the model, the others wait for it
                roster = self._roster
                if roster is None or roster.version != version_of(self.gallery):
                    snapshot = take_snapshot(self.gallery)
                    # A tuned head has its own: what was given here need not be there any more.
                    enhancers = (
                        (None,) if snapshot.tuned else candidate_enhancers(self._enhancer, self.encoder)
                    )
                    roster = Roster.of(snapshot, self.encoder.fingerprint, enhancers)
                    self._roster = roster
        return roster

    def _warned(self, decision: Decision, audio: Audio, speech: Audio, roster: Roster) -> Decision:
        """A decision with what speaks for a replay."""
        version, known = (roster.version, review_version(self.gallery)), self._known
        if known is None or known.version != version:
            self._known = known = KnownRecordings.of(self.gallery, version, known)
        return replace(decision, warnings=warnings_for(audio, speech, decision.name, known))

    def _strangers(self, folder: Path, progress: Progress | None) -> tuple[list[int], list[NewClip]]:
        """Number of the speaker of each clip in a folder of other people's recordings, and the clips."""
        recordings = stranger_recordings(folder)
        enrolled = {clip.sha256: clip.person for clip in self.gallery.clips()}
        numbers: dict[str, int] = {}
        labels: list[int] = []
        new: list[NewClip] = []
        for done, recording in enumerate(recordings):
            if progress:
                progress(f"embedding {folder}", done, len(recordings))
            audio = load(recording.path, start=recording.start, end=recording.end)
            if audio.sha256 in enrolled:
                raise DuplicateClipError(
                    f"{audio.source}: enrolled for {enrolled[audio.sha256]}; give recordings of other people only"
                )
            clips = cut_long(audio)
            labels += [numbers.setdefault(recording.speaker, len(numbers))] * len(clips)
            embedded = embed_with_copies(self.encoder, clips)
            new += [_new_clip(*pair, keep_audio=False) for pair in zip(clips, embedded, strict=True)]
        return labels, new

    def _synthetic(self, n: int, seed: int, progress: Progress | None) -> EmbeddingSet:
        """Clips of n synthetic people and their copies."""
        from openkith.data.synthesis import unknown_speakers

        def step(done: int, total: int) -> None:
            if progress:
                progress("embedding synthetic voices", done, total)

        voices, clips = zip(*unknown_speakers(n, seed=seed), strict=True)
        embedded = embed_with_copies(self.encoder, clips, progress=step)
        numbers = {voice: i for i, voice in enumerate(dict.fromkeys(voices))}
        return embedding_set([clip.arrays() for clip in embedded], [numbers[voice] for voice in voices])[0]


def _load(source: Source) -> Audio:
    """Any recording; a bare array is taken to be at 16 kHz."""
    return load(source, SAMPLE_RATE) if isinstance(source, np.ndarray) else load(source)


def _new_clip(audio: Audio, clip: EmbeddedClip, *, keep_audio: bool) -> NewClip:
    quality = {key: float(value) for key, value in asdict(clip.quality).items()}
    return NewClip(
        sha256=audio.sha256,
        seconds=audio.seconds,
        quality={**quality, "speech_seconds": clip.speech_seconds},
        arrays={**clip.arrays(), FINGERPRINT: fingerprint(audio)},
        source=audio.source,
        audio=audio.to_flac() if keep_audio else None,
    )
