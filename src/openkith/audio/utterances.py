"""Utterances of a stream: where somebody begins to speak, and where they have ended, while the audio comes in.

WebRTC's detector decides on frames of 30 ms, as in `openkith.audio.vad`, one after the other. Speech is where more than
half of the last 8 frames are; an utterance begins a little before that, and ends when there was none for a while.
Quiet speech is raised for the decision by what the loudest half second of late was below -30 dBFS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openkith.audio.stream import SAMPLE_RATE
from openkith.audio.vad import AVERAGE_FRAMES, STRICTEST, TARGET_DBFS, WEBRTC_FRAME
from openkith.errors import ConfigError

__all__ = ["Mark", "UtteranceCutter"]

FRAME_SECONDS = WEBRTC_FRAME / SAMPLE_RATE
LEAD_SECONDS = 0.5  # before the frame at which speech was noticed, that belong to the utterance
TAIL_SECONDS = 0.3  # after the last speech
LEVEL_FRAMES = 17  # 0.5 s: one level is measured over so many
LEVELS = 20  # that are looked back on: 10 s
MOST_GAIN = 31.6  # 30 dB: further down there is noise alone


@dataclass(frozen=True)
class Mark:
    """Something that happened in a stream.

    Attributes:
        kind: "start" of an utterance, "speech": a frame of it was heard, or its "end".
        start: Where the utterance begins, in seconds of the stream.
        end: Up to where it goes, as far as it was heard.
    """

    kind: Literal["start", "speech", "end"]
    start: float
    end: float


class UtteranceCutter:
    """Cuts a stream into utterances. It holds one of them at a time, and none that is longer than ``longest``.

    Args:
        pause: Seconds without speech that end an utterance.
        longest: Seconds after which an utterance ends in any case; the next one begins there.

    Attributes:
        speech_seconds: Seconds of the utterance, as far as it was heard, in which there was speech.

    Raises:
        ConfigError: ``pause`` is not from 0.1 to 10 s, or ``longest`` not from 1 to 600 s.
    """

    def __init__(self, *, pause: float = 0.8, longest: float = 30.0) -> None:
        import webrtcvad

        for name, value, least, most in (("pause", pause, 0.1, 10.0), ("longest", longest, 1.0, 600.0)):
            if not least <= value <= most:
                raise ConfigError(f"{name} is {value}; give {least:g} to {most:g} s")
        self._detector = webrtcvad.Vad(STRICTEST)
        self._pause = round(pause / FRAME_SECONDS)  # frames
        self._longest = round(longest / FRAME_SECONDS)
        self._lead = round(LEAD_SECONDS / FRAME_SECONDS)
        self._tail = round(TAIL_SECONDS / FRAME_SECONDS)
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._flags: deque[bool] = deque([False] * AVERAGE_FRAMES, AVERAGE_FRAMES)
        self._powers: deque[float] = deque(maxlen=LEVEL_FRAMES)
        self._levels: deque[float] = deque(maxlen=LEVELS)
        self._heard = 0  # frames of the stream
        self._frames: list[NDArray[np.float32]] = []  # of the utterance, or what came just before one
        self._inside = False
        self._silence = 0  # frames since the last speech
        self.speech_seconds = 0.0

    def feed(self, samples: NDArray[np.float32]) -> Iterator[Mark]:
        """More of the stream, (n,) at 16 kHz.

        Yields:
            What happens in it, in order. `samples` and `speech_seconds` are those at the mark until the next one is
            asked for; all of them must be asked for before more is fed.
        """
        held = np.concatenate([self._rest, samples])
        whole = len(held) // WEBRTC_FRAME * WEBRTC_FRAME
        self._rest = held[whole:].copy()
        for frame in held[:whole].reshape(-1, WEBRTC_FRAME):
            yield from self._take(frame)

    def finish(self) -> Iterator[Mark]:
        """The end of the stream ends the utterance in which it comes."""
        self._rest = self._rest[:0]
        if self._inside:
            yield from self._end()

    @property
    def samples(self) -> NDArray[np.float32]:
        """The utterance as far as it was heard, (n,)."""
        return np.concatenate([np.zeros(0, np.float32), *self._frames])

    def _take(self, frame: NDArray[np.float32]) -> Iterator[Mark]:
        self._heard += 1
        self._frames.append(frame.copy())
        speaking = self._is_speech(frame)
        if not self._inside:
            del self._frames[: -self._lead]
            if not speaking:
                return
            self._inside, self.speech_seconds, self._silence = True, 0.0, 0
            yield self._mark("start")
        self._silence = 0 if speaking else self._silence + 1
        if speaking:
            self.speech_seconds += FRAME_SECONDS
            yield self._mark("speech")
        if self._silence >= self._pause or len(self._frames) >= self._longest:
            yield from self._end()

    def _end(self) -> Iterator[Mark]:
        beyond = max(0, self._silence - self._tail)
        tail = self._frames[len(self._frames) - beyond :]
        del self._frames[len(self._frames) - beyond :]
        self._heard -= beyond  # for the mark alone
        yield self._mark("end")
        self._heard += beyond
        self._frames, self._inside = tail, False

    def _mark(self, kind: Literal["start", "speech", "end"]) -> Mark:
        return Mark(kind, (self._heard - len(self._frames)) * FRAME_SECONDS, self._heard * FRAME_SECONDS)

    def _is_speech(self, frame: NDArray[np.float32]) -> bool:
        """Whether there is speech in most of the last frames, this one included."""
        raised = np.clip(frame * np.float32(self._gain(frame)), -1.0, 1.0)
        data = np.rint(raised * np.float32(32767)).astype("<i2").tobytes()
        self._flags.append(bool(self._detector.is_speech(data, SAMPLE_RATE)))
        return sum(self._flags) > AVERAGE_FRAMES / 2

    def _gain(self, frame: NDArray[np.float32]) -> float:
        """1 or more; what raises the loudest half second of the last ones to the level."""
        self._powers.append(float(np.square(frame).mean()))
        level = sum(self._powers) / LEVEL_FRAMES
        if self._heard % LEVEL_FRAMES == 0:
            self._levels.append(level)
        loudest = float(np.sqrt(max([level, *self._levels])))
        wanted = 10 ** (TARGET_DBFS / 20)
        return min(max(1.0, wanted / loudest), MOST_GAIN) if loudest > 0 else 1.0
