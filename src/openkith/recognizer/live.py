"""Who is speaking, while they speak: a stream of audio in, events out.

`UtteranceCutter` finds utterances. While one goes on, what was heard of it is identified again and again; at its end
`identify` decides on the whole of it, as on a file. In between

- updates come after `FIRST_SECONDS` of speech, then after every half second more, later after every third of what
  there is, and never so often that they take more than `COST_SHARE` of the time: the work for a second of audio is
  bounded, on any machine;
- an answer is *early* when two updates in a row were sure of it; then updates are rarer;
- an answer gives way to another only if that one leads clearly or twice in a row: a name does not flicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import soxr

from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.audio.stream import check_amplitude, check_rate, to_float
from openkith.audio.utterances import Mark, UtteranceCutter
from openkith.errors import AudioError, ConfigError
from openkith.openset.decision import Decision
from openkith.openset.talkers import Voices, check_voices

__all__ = ["Chunk", "LiveEvent", "LiveSession"]

FIRST_SECONDS = 0.8  # of speech, before which nothing is said: most of it would be taken back
UPDATE_SECONDS = 0.5  # of new speech, after which there is another update
GROWTH = 0.3  # of the speech so far: an update of a longer utterance costs more and tells less
COST_SHARE = 0.4  # of the time, that updates may take
EARLY_RARER = 4.0  # times the speech between updates, once an answer was early
SURE = 0.9  # probability of an answer that may be early
CLEAR = 0.5  # by which a probability leads clearly
STREAM = "<stream>"

Chunk = bytes | bytearray | memoryview | npt.NDArray[Any]


@dataclass(frozen=True)
class LiveEvent:
    """Something that was heard in a stream.

    Attributes:
        kind: "start" of an utterance, "update" of what is thought of it, or "final".
        utterance: Its number, from 1.
        start: Where it begins, in seconds of the stream.
        end: Up to where it was heard.
        decision: Who speaks; None at the start, and at the end of what is no usable audio. The name of an update that
            is "unsure" is None where nobody's is the likeliest answer.
        early: Of an update: two in a row were sure of the answer, so it can be acted on before the end.
        audio: At the end the utterance itself.
    """

    kind: Literal["start", "update", "final"]
    utterance: int
    start: float
    end: float
    decision: Decision | None = None
    early: bool = False
    audio: Audio | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without the audio."""
        return {
            "type": self.kind,
            "utterance": self.utterance,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "early": self.early,
            "decision": None if self.decision is None else self.decision.to_dict(),
        }


class Identifier(Protocol):
    """What decides: a `Recognizer`."""

    def identify(self, clip: Audio, *, voices: Voices = "auto") -> Decision:
        """Who speaks in a recording."""
        ...


class LiveSession:
    """One stream. Chunks are fed from one thread at a time, and the work is done in that call.

    It holds one utterance at most, and nothing else that grows.

    Args:
        recognizer: What decides.
        sample_rate: Of the chunks, in Hz.
        voices: For the decision at the end, see `Recognizer.identify`; updates suppose one voice.
        update_seconds: Of new speech, after which there is an update, 0.1 to 30.
        pause: Seconds without speech that end an utterance, 0.1 to 10.
        longest: Seconds after which an utterance ends in any case, 1 to 600.
        clock: Tells the seconds that updates take.

    Raises:
        AudioError: The rate is outside 8 to 192 kHz.
        ConfigError: One of the others is out of range.
    """

    def __init__(
        self,
        recognizer: Identifier,
        sample_rate: int = SAMPLE_RATE,
        *,
        voices: Voices = "auto",
        update_seconds: float = UPDATE_SECONDS,
        pause: float = 0.8,
        longest: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_voices(voices)
        if not 0.1 <= update_seconds <= 30.0:
            raise ConfigError(f"update_seconds is {update_seconds}; give 0.1 to 30 s")
        rate = check_rate(sample_rate, STREAM)
        self._recognizer = recognizer
        self._voices = voices
        self._update_seconds = update_seconds
        self._clock = clock
        self._cutter = UtteranceCutter(pause=pause, longest=longest)
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1)
        self._odd = b""  # half a sample
        self._ended = False
        self._utterance = 0
        self._begin()

    def feed(self, chunk: Chunk) -> list[LiveEvent]:
        """More of the stream, of any length.

        Args:
            chunk: 16-bit little-endian samples as bytes, which may be cut anywhere; or an array (n,) of integers or of
                floating point with full scale 1.

        Raises:
            AudioError: The samples are not finite, not scaled to full scale 1, or not (n,).
            ConfigError: The stream has ended.
            KithError: As `Recognizer.identify`.
        """
        if self._ended:
            raise ConfigError("the stream has ended; listen() begins another one")
        samples = self._samples(chunk)
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        return self._hear(self._cutter.feed(samples))

    def finish(self) -> list[LiveEvent]:
        """The end of the stream, and of the utterance in which it comes; a second call gives nothing."""
        if self._ended:
            return []
        self._ended = True
        events: list[LiveEvent] = []
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            events = self._hear(self._cutter.feed(rest))
        return events + self._hear(self._cutter.finish())

    def _samples(self, chunk: Chunk) -> npt.NDArray[np.float32]:
        if isinstance(chunk, np.ndarray):
            if chunk.ndim != 1:
                raise AudioError(f"{STREAM}: a chunk of shape {chunk.shape}; give one channel of shape (n,)")
            samples = to_float(chunk, STREAM)
            if not np.isfinite(samples).all():
                raise AudioError(f"{STREAM}: NaN or infinite samples; repair what made them")
            check_amplitude(float(np.abs(samples).max(initial=0.0)), STREAM)
            return samples.astype(np.float32)
        data = self._odd + bytes(chunk)
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768)

    def _hear(self, marks: Iterator[Mark]) -> list[LiveEvent]:
        events: list[LiveEvent] = []
        for mark in marks:
            if mark.kind == "start":
                self._utterance += 1
                self._begin()
                events.append(LiveEvent("start", self._utterance, mark.start, mark.end))
            elif mark.kind == "end":
                events.append(self._final(mark))
            elif self._cutter.speech_seconds >= self._due:
                events += self._update(mark)
        return events

    def _begin(self) -> None:
        self._answer = ShownAnswer()
        self._due = max(
            FIRST_SECONDS, self._update_seconds
        )  # seconds of speech at which the next update comes

    def _update(self, mark: Mark) -> list[LiveEvent]:
        began = self._clock()
        _, decision = self._identify("one")
        cost = self._clock() - began
        speech = self._cutter.speech_seconds
        events = []
        if decision is not None:
            shown = self._answer.take(decision)
            early = self._answer.early
            events = [LiveEvent("update", self._utterance, mark.start, mark.end, shown, early)]
        spacing = max(self._update_seconds, GROWTH * speech) * (EARLY_RARER if self._answer.early else 1.0)
        self._due = speech + max(spacing, cost / COST_SHARE)
        return events

    def _final(self, mark: Mark) -> LiveEvent:
        audio, decision = self._identify(self._voices)
        return LiveEvent("final", self._utterance, mark.start, mark.end, decision, audio=audio)

    def _identify(self, voices: Voices) -> tuple[Audio | None, Decision | None]:
        """The utterance as a file would be loaded, and who speaks in it; None where it is no usable audio."""
        try:
            audio = load(self._cutter.samples, SAMPLE_RATE)
            return audio, self._recognizer.identify(audio, voices=voices)
        except AudioError:
            return None, None


class ShownAnswer:
    """What is shown of the updates of one utterance: the latest, but for an answer that leads once and by little.

    Attributes:
        early: Two updates in a row were sure of the answer that is shown.
    """

    def __init__(self) -> None:
        self.early = False
        self._shown: Decision | None = None
        self._rival: str | None = None  # what led the last time, where that is not shown
        self._sure: str | None = None  # what the last update was sure of

    def take(self, decision: Decision) -> Decision:
        """The decision to show when this one was made."""
        decision = _leaning(decision)
        answer = _key(decision)
        shown = self._shown
        if shown is not None and answer != _key(shown) and not self._gives_way(shown, decision):
            self._rival, self._sure = answer, None
            self._shown = _held(shown, decision)
            return self._shown
        if shown is not None and answer != _key(shown):
            self.early = False
        sure = decision.status != "unsure" and decision.probability >= SURE and decision.margin >= CLEAR
        self.early = self.early or (sure and self._sure == answer)
        self._sure, self._rival, self._shown = (answer if sure else None), None, decision
        return decision

    def _gives_way(self, shown: Decision, decision: Decision) -> bool:
        """Whether the shown answer gives way to another one."""
        of = decision.probabilities
        if _key(shown) not in of or self._rival == _key(decision):
            return True
        return of[_key(decision)] - of[_key(shown)] >= CLEAR


def _key(decision: Decision) -> str:
    """The answer, as the probabilities name it."""
    return "unknown" if decision.name is None else decision.name


def _leaning(decision: Decision) -> Decision:
    """The decision, without the name of somebody who is not the likeliest answer."""
    of = decision.probabilities
    if decision.name is None or decision.accepted or of[decision.name] >= of["unknown"]:
        return decision
    people = max(p for name, p in of.items() if name != "unknown")
    return replace(decision, name=None, probability=of["unknown"], margin=of["unknown"] - people)


def _held(shown: Decision, decision: Decision) -> Decision:
    """The answer that is shown, with the numbers of a decision that leans to another one."""
    of, key = decision.probabilities, _key(shown)
    return replace(
        decision,
        status=shown.status if shown.name is None else "unsure",
        name=shown.name,
        probability=of[key],
        margin=of[key] - max(p for name, p in of.items() if name != key),
        reason=f"{shown.name or 'nobody enrolled'} so far, now rather {decision.name or 'nobody enrolled'}",
        accepted=False,
    )
