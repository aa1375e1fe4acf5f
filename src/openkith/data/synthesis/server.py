"""Synthetic speech by a server that speaks OpenAI's ``POST /v1/audio/speech``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from openkith.audio.io import Audio, load
from openkith.audio.vad import trim_silence
from openkith.data.corpus import Utterance
from openkith.data.synthesis.base import SyntheticClip, check_clips, check_seed
from openkith.data.synthesis.http import SpeechServer
from openkith.data.synthesis.sentences import SENTENCES
from openkith.data.synthesis.styles import Style
from openkith.errors import ConfigError

__all__ = ["ServerSource"]

REFERENCE_SECONDS = 10.0  # of a recording to clone; longer ones help no model and slow most
SPEEDS = (0.25, 4.0)  # of OpenAI's field


class ServerSource:
    """Synthetic speech by a server.

    Unknown speakers are the server's own voices, or, where it clones voices and recordings are given, the people in
    them. Styles of a person need a server that clones voices: it gets a recording of the person, the style in words
    (``instructions``) and the tempo (``speed``).

    Args:
        server: Which.
        voice_names: Its voices by name; the first is sent along with a voice to clone.
        recordings: Speaker -> recordings of people to clone as unknown speakers.
        texts: What is said; nobody says a text twice.
    """

    name: ClassVar[str] = "server"

    def __init__(
        self,
        server: SpeechServer,
        voice_names: Sequence[str] = (),
        recordings: Mapping[str, Sequence[Utterance]] | None = None,
        texts: Sequence[str] = SENTENCES,
    ) -> None:
        self.server = server
        self.voice_names = tuple(dict.fromkeys(voice_names))
        self.recordings = {speaker: tuple(found) for speaker, found in (recordings or {}).items() if found}
        self.texts = tuple(texts)

    @property
    def voices(self) -> int:
        """How many people it can make up."""
        return len(self.recordings or self.voice_names)

    def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:
        """As `SpeechSource.unknown_speakers`."""
        check_seed(seed)
        if not self.voices:
            raise ConfigError(
                "the source server needs the names of the server's voices (--voices), or recordings to clone (--from)"
            )
        if not 1 <= n <= self.voices:
            what = "people to clone" if self.recordings else "voices of the server"
            raise ConfigError(
                f"{n} people out of {self.voices} {what}; ask for 1 to {self.voices}, or name more"
            )
        check_clips(clips, len(self.texts))
        people = sorted(self.recordings) or list(self.voice_names)
        order = np.random.default_rng(seed).permutation(len(people))[:n]
        for index, person in enumerate(people[i] for i in order):
            rng = np.random.default_rng([seed, index])
            for text in self._draw_texts(clips, rng):
                yield SyntheticClip(person, "negative", text, self._say_as(person, text, rng))

    def styles(
        self, speaker: str, recordings: Sequence[Audio], styles: Sequence[Style], seed: int = 0
    ) -> Iterator[SyntheticClip]:
        """As `SpeechSource.styles`: a sentence of the texts for each recording in each style."""
        check_seed(seed)
        if not self.server.reference_field:
            raise ConfigError(
                f"a server speaks in the voice of {speaker} only where it clones voices; name the field that takes the "
                "recording (--reference-field), or use the source transform"
            )
        for index, style in enumerate(styles):
            rng = np.random.default_rng([seed, len(recordings), index])
            texts = self._draw_texts(len(recordings), rng)
            for recording, text in zip(recordings, texts, strict=True):
                tempo = round(float(np.clip(style.drawn(rng).tempo, *SPEEDS)), 2)
                audio = self.server.say(
                    text,
                    voice=self.voice_names[0] if self.voice_names else "",
                    reference=_reference(recording),
                    instructions=style.instructions,
                    speed=tempo,
                )
                yield SyntheticClip(speaker, "enroll", text, audio, style.name)

    def _draw_texts(self, n: int, rng: np.random.Generator) -> list[str]:
        order = rng.permutation(len(self.texts))
        return [self.texts[order[i % len(order)]] for i in range(n)]

    def _say_as(self, person: str, text: str, rng: np.random.Generator) -> Audio:
        if not self.recordings:
            return self.server.say(text, voice=person)
        found = self.recordings[person]
        chosen = found[int(rng.integers(len(found)))]
        recording = load(chosen.path, start=chosen.start, end=chosen.end)
        voice = self.voice_names[0] if self.voice_names else ""
        return self.server.say(text, voice=voice, reference=_reference(recording))


def _reference(recording: Audio) -> Audio:
    """The first ten seconds of speech in a recording."""
    speech = trim_silence(recording)
    return Audio(speech.samples[: round(REFERENCE_SECONDS * speech.sample_rate)], speech.source)
