"""Other people and other moods out of given recordings, by Praat's change of pitch, formants and tempo.

Formants tell how long a vocal tract is: moved by 12 % or more, a recording is of another person, with a pitch to match;
left within a few percent, it is of the same person in another mood. Needs the extra ``synthesis`` (praat-parselmouth).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from openkith.audio.degrade import match_level, spectral_tilt
from openkith.audio.io import Audio, load
from openkith.audio.vad import trim_silence
from openkith.data.corpus import Utterance
from openkith.data.praat import Change, change_voices
from openkith.data.synthesis.base import SyntheticClip, at_level, check_seed
from openkith.data.synthesis.espeak import PITCH_PER_SHIFT
from openkith.data.synthesis.styles import NEW_PERSON, Style
from openkith.errors import ConfigError

__all__ = ["TransformSource"]

SHIFTS = (1.16, 0.86, 1.24, 0.79)  # of formants: the new people that one person makes, 7 % apart at least
SHIFT_JITTER = 0.01
CLIP_SECONDS = 8.0  # of a longer recording, a stretch
MAX_CLIPS = 100  # of each new person


class TransformSource:
    """Praat's voice transformation of recordings.

    Each person in the recordings makes up to four new people, whose formants are 12 % or more from the
    person's and 7 % from each other's.

    Args:
        recordings: Speaker -> recordings, to make unknown speakers of; they are read when they are needed. Styles need
            none, since they are given theirs.
    """

    name: ClassVar[str] = "transform"

    def __init__(self, recordings: Mapping[str, Sequence[Utterance]] | None = None) -> None:
        self.recordings = {speaker: tuple(found) for speaker, found in (recordings or {}).items() if found}

    @property
    def voices(self) -> int:
        """How many people it can make up."""
        return len(SHIFTS) * len(self.recordings)

    def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:
        """As `SpeechSource.unknown_speakers`; a person with fewer recordings than ``clips`` gives several of some."""
        check_seed(seed)
        if not self.recordings:
            raise ConfigError("the source transform changes recordings; give some with --from")
        if not 1 <= n <= self.voices:
            raise ConfigError(
                f"{n} new people of {len(self.recordings)} people's recordings; ask for 1 to {self.voices}, or give "
                "recordings of more people"
            )
        if not 1 <= clips <= MAX_CLIPS:
            raise ConfigError(f"{clips} clips of each new person; ask for 1 to {MAX_CLIPS}")
        rng = np.random.default_rng(seed)
        people = [sorted(self.recordings)[i] for i in rng.permutation(len(self.recordings))]
        order = {person: rng.permutation(len(SHIFTS)) for person in people}
        for index in range(n):
            person = people[index % len(people)]
            shift = SHIFTS[order[person][index // len(people)]]
            yield from self._new_person(person, shift, clips, np.random.default_rng([seed, index]))

    def _new_person(
        self, person: str, shift: float, clips: int, rng: np.random.Generator
    ) -> Iterator[SyntheticClip]:
        speaker = f"{person}-{round(100 * shift)}"
        formants = shift * (1 + SHIFT_JITTER * rng.uniform(-1, 1))
        assert abs(formants - 1) >= NEW_PERSON
        pitch = formants**PITCH_PER_SHIFT * rng.uniform(0.93, 1.07)
        pitch_range, tempo = rng.uniform(0.8, 1.25), rng.uniform(0.9, 1.1)
        changes = [
            Change(
                pitch=pitch * rng.uniform(0.97, 1.03),
                pitch_range=pitch_range,
                duration=1 / (tempo * rng.uniform(0.95, 1.05)),
                formants=formants,
            )
            for _ in range(clips)
        ]
        found = self.recordings[person]
        order = rng.permutation(len(found))
        pieces = [_stretch(_read(found[order[k % len(found)]]), rng) for k in range(clips)]
        changed = change_voices([piece.samples for piece in pieces], changes, [p.source for p in pieces])
        for piece, samples in zip(pieces, changed, strict=True):
            audio = Audio(at_level(samples), f"{Path(piece.source).name} as {speaker}")
            yield SyntheticClip(speaker, "negative", "", audio)

    def styles(
        self, speaker: str, recordings: Sequence[Audio], styles: Sequence[Style], seed: int = 0
    ) -> Iterator[SyntheticClip]:
        """As `SpeechSource.styles`."""
        check_seed(seed)
        pieces = [
            _stretch(recording, np.random.default_rng([seed, k])) for k, recording in enumerate(recordings)
        ]
        for index, style in enumerate(styles):
            rng = np.random.default_rng([seed, len(pieces), index])
            drawn = [style.drawn(rng) for _ in pieces]
            changes = [
                Change(
                    pitch=one.pitch,
                    pitch_range=one.pitch_range,
                    duration=1 / one.tempo,
                    formants=one.formants,
                )
                for one in drawn
            ]
            changed = change_voices([p.samples for p in pieces], changes, [p.source for p in pieces])
            for piece, one, samples in zip(pieces, drawn, changed, strict=True):
                tilted = match_level(spectral_tilt(samples, one.tilt), piece.samples)
                audio = Audio(tilted, f"{Path(piece.source).name}, {style.name}")
                yield SyntheticClip(speaker, "enroll", "", audio, style.name)


def _read(utterance: Utterance) -> Audio:
    return load(utterance.path, start=utterance.start, end=utterance.end)


def _stretch(recording: Audio, rng: np.random.Generator) -> Audio:
    """The speech of a recording, or 8 seconds of it."""
    speech = trim_silence(recording)
    length = round(CLIP_SECONDS * speech.sample_rate)
    if len(speech.samples) <= length:
        return speech
    start = int(rng.integers(len(speech.samples) - length + 1))
    return Audio(speech.samples[start : start + length], speech.source)
