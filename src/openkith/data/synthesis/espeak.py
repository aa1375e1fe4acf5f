"""Unknown speakers by eSpeak: a hundred voices of people who do not exist, made of nothing but text.

Needs the extra ``synthesis`` (praat-parselmouth, whose Praat has eSpeak NG built in).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from openkith.audio.io import Audio, load
from openkith.data.praat import SYNTHESIZER_RATE, Phrase, synthesize
from openkith.data.synthesis.base import SyntheticClip, at_level, check_clips, check_seed, check_voices
from openkith.data.synthesis.sentences import SENTENCES
from openkith.data.synthesis.styles import Style
from openkith.errors import ConfigError

__all__ = [
    "EspeakSource",
    "SyntheticVoice",
    "espeak_voices",
    "speak",
    "speak_all",
    "unknown_speakers",
    "wander",
]

LANGUAGES = (
    "English (Great Britain)",
    "English (America)",
    "English (Scotland)",
    "English (Received Pronunciation)",
)
FEMALE_VOICES = frozenset(
    {"Annie", "Auntie", "Female1", "Female2", "Female3", "Female4", "Female5", "Linda", "Steph"}
)

# Praat's voice variants, each with a formant shift, in such an order that each is as far as possible from all
# before it by GE2E embeddings: the largest cosine between two of the first 16 is 0.72, between two
# of the first 40 0.84 (a voice's own sentences: 0.96), and of all 100 0.92.
# Left out: whispers, croaks, robots, and variants that make no speech.
VOICES: tuple[tuple[str, float], ...] = (
    *(("Steph", 1.08), ("Travis", 0.84), ("Travis", 1.16), ("Linda", 1.16), ("Iven2", 1.16), ("Iven2", 0.84)),
    *(
        ("Female5", 0.84),
        ("Norbert", 0.84),
        ("Boris", 1.0),
        ("Norbert", 1.0),
        ("Linda", 0.92),
        ("Male5", 1.08),
    ),
    *(("Jacky", 0.92), ("Steph", 0.84), ("Lee", 1.16), ("Andy", 0.84), ("Iven2", 1.0), ("Boris", 1.16)),
    *(("Michel", 1.0), ("Male7", 1.16), ("Storm", 0.84), ("Travis", 1.0), ("Rob", 0.84), ("Rob", 1.0)),
    *(("Male5", 0.84), ("Mr_Serious", 1.08), ("Auntie", 1.0), ("Mr_Serious", 0.92), ("Boris", 0.84)),
    *(("Storm", 1.08), ("Male1", 1.0), ("Lee", 0.84), ("Female1", 1.16), ("Annie", 0.84), ("Michel", 0.84)),
    *(("Female1", 0.92), ("Andy", 1.16), ("Michael", 1.16), ("Quincy", 0.92), ("Annie", 1.0)),
    *(("Zac", 1.2), ("Kaukovalta", 1.2), ("Kaukovalta", 0.96), ("Rob", 1.2), ("Jacky", 1.2), ("Male2", 1.2)),
    *(("Gene", 1.12), ("Female5", 0.96), ("Linda", 0.8), ("Gene", 0.84), ("Michael", 0.84), ("Michel", 1.2)),
    *(
        ("Female5", 1.08),
        ("Kaukovalta", 0.8),
        ("Mr_Serious", 1.2),
        ("Gene2", 0.96),
        ("Norbert", 1.2),
        ("Steph", 0.96),
    ),
    *(
        ("Kaukovalta", 1.04),
        ("Andy", 1.0),
        ("Linda", 1.04),
        ("Tweaky", 0.96),
        ("Male7", 0.92),
        ("Female4", 0.8),
    ),
    *(
        ("Tweaky", 0.84),
        ("Male7", 0.8),
        ("Quincy", 1.04),
        ("Iven", 0.92),
        ("Female1", 1.04),
        ("Female1", 0.8),
    ),
    *(
        ("Female4", 1.16),
        ("Male3", 1.08),
        ("Male2", 0.92),
        ("Zac", 1.04),
        ("Tweaky", 1.12),
        ("Female5", 1.16),
    ),
    *(("Male1", 1.2), ("Female3", 0.88), ("Male5", 0.96), ("Iven", 1.08), ("Annie", 1.12), ("Denis", 0.96)),
    *(("Gene2", 1.2), ("Steph", 1.2), ("Female4", 0.96), ("Male4", 1.2), ("Quincy", 0.8), ("Max", 1.0)),
    *(("Norbert", 1.08), ("Auntie", 0.84), ("Michael", 1.0), ("Denis", 1.12), ("Max", 0.8), ("Male2", 1.04)),
    *(
        ("Male2", 0.8),
        ("Mr_Serious", 0.84),
        ("Female3", 1.04),
        ("Norbert", 0.92),
        ("Quincy", 1.2),
        ("Male5", 1.2),
    ),
)
MOST_DISTINCT = 16  # the rows of VOICES that few people are drawn from
PITCH_PER_SHIFT = 1.5  # a shorter vocal tract goes with a higher voice: pitch = formant shift to this power
PITCH_WANDER = 0.04  # one person's pitch and rate differ from sentence to sentence by these shares
RATE_WANDER = 0.07


@dataclass(frozen=True)
class SyntheticVoice:
    """A person who does not exist.

    Attributes:
        name: What to call the voice.
        language: Praat's name of the language, which is the accent.
        espeak_voice: Praat's name of the voice variant.
        pitch: Multiplier of the variant's pitch, 0.5 to 2 times the formant shift. eSpeak moves low voices by
            less than that.
        pitch_range: Multiplier of how far its pitch moves, 0 to 2.
        formant_shift: Multiplier of its formants, 0.75 to 1.33: below 1 a longer vocal tract, above 1 a
            shorter. Made by playing slower or faster speech of another pitch, which leaves no artefacts.
        rate: Words per minute, 80 to 400.

    Raises:
        ConfigError: A value is outside its range.
    """

    name: str
    language: str = LANGUAGES[0]
    espeak_voice: str = "Male1"
    pitch: float = 1.0
    pitch_range: float = 1.0
    formant_shift: float = 1.0
    rate: float = 175.0

    def __post_init__(self) -> None:
        for field, low, high in (
            ("formant_shift", 0.75, 1.33),
            ("pitch", 0.5 * self.formant_shift, 2.0 * self.formant_shift),
            ("pitch_range", 0.0, 2.0),
            ("rate", 80.0, 400.0),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"voice {self.name!r}: {field} is {value}; give {low:g} to {high:g}")

    @property
    def is_female(self) -> bool:
        """Whether the variant is a woman's voice."""
        return self.espeak_voice in FEMALE_VOICES


def espeak_voices(n: int, seed: int = 0) -> list[SyntheticVoice]:
    """Voices of distinct people.

    Few people are drawn from the voices that differ most. Each has an accent, a pitch, a pitch range and a
    rate of his own.

    Raises:
        ConfigError: n is under 1, or more than there are distinct voices, or the seed is negative.
    """
    if not 1 <= n <= len(VOICES):
        raise ConfigError(f"{n} synthetic people; ask for 1 to {len(VOICES)}")
    check_seed(seed)
    rng = np.random.default_rng(seed)
    voices = []
    for index in rng.permutation(max(n, MOST_DISTINCT))[:n]:
        variant, shift = VOICES[index]
        voices.append(
            SyntheticVoice(
                name=f"{variant.lower()}-{round(100 * shift)}",
                language=LANGUAGES[rng.integers(len(LANGUAGES))],
                espeak_voice=variant,
                pitch=shift**PITCH_PER_SHIFT * rng.uniform(0.93, 1.07),
                pitch_range=rng.uniform(0.8, 1.3),
                formant_shift=shift,
                rate=rng.uniform(155, 190),
            )
        )
    return voices


def speak(voice: SyntheticVoice, text: str) -> Audio:
    """A text in a synthetic voice, at -26 dBFS RMS.

    Raises:
        ConfigError: The text is empty.
        MissingDependencyError: The extra ``synthesis`` is not installed.
        KithError: The synthesiser refuses, or does not answer in time.
    """
    return speak_all([voice], [text])[0]


def unknown_speakers(n: int, clips: int = 2, seed: int = 0) -> list[tuple[str, Audio]]:
    """Clips of synthetic people, to learn what other people sound like.

    Returns:
        (voice name, clip), `clips` of each voice, each a sentence.

    Raises:
        ConfigError: As `espeak_voices`, or ``clips`` is not between 1 and the number of sentences.
        MissingDependencyError: The extra ``synthesis`` is not installed.
    """
    return [(clip.speaker, clip.audio) for clip in EspeakSource().unknown_speakers(n, clips, seed)]


class EspeakSource:
    """Unknown speakers by eSpeak, each with an accent, a pitch, a pitch range and a rate of his own.

    Args:
        texts: What they say; nobody says a text twice.
    """

    name: ClassVar[str] = "espeak"

    def __init__(self, texts: Sequence[str] = SENTENCES) -> None:
        self.texts = tuple(texts)

    @property
    def voices(self) -> int:
        """How many people it can make up."""
        return len(VOICES)

    def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:
        """As `SpeechSource.unknown_speakers`; also raises ConfigError for more clips than there are texts."""
        check_voices(n, self.voices, "synthetic people")
        check_clips(clips, len(self.texts))
        for index, voice in enumerate(espeak_voices(n, seed)):
            rng = np.random.default_rng([seed, index])
            texts = [self.texts[i] for i in rng.permutation(len(self.texts))[:clips]]
            spoken = speak_all([wander(voice, rng) for _ in texts], texts)
            for text, audio in zip(texts, spoken, strict=True):
                yield SyntheticClip(voice.name, "negative", text, audio)

    def styles(
        self,
        speaker: str,
        recordings: Sequence[Audio],  # noqa: ARG002
        styles: Sequence[Style],  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
    ) -> Iterator[SyntheticClip]:
        """Refused: eSpeak has voices of its own only.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"eSpeak cannot speak in the voice of {speaker}; use the source transform, or a server that clones voices"
        )


def speak_all(voices: Sequence[SyntheticVoice], texts: Sequence[str]) -> list[Audio]:
    """A text in each voice, all by one process of the synthesiser; errors as of `speak`."""
    for text in texts:
        if not text.strip():
            raise ConfigError("a synthetic voice has nothing to say; give a text")
    sounds = synthesize(
        [
            # Played faster by the formant shift, this has the pitch and the rate that were asked for.
            Phrase(
                language=voice.language,
                voice=voice.espeak_voice,
                pitch=voice.pitch / voice.formant_shift,
                pitch_range=voice.pitch_range,
                rate=voice.rate / voice.formant_shift,
                text=text,
            )
            for voice, text in zip(voices, texts, strict=True)
        ]
    )
    clips = []
    for voice, sound in zip(voices, sounds, strict=True):
        samples = load(sound, sample_rate=round(SYNTHESIZER_RATE * voice.formant_shift)).samples
        clips.append(Audio(at_level(samples), source=f"eSpeak {voice.espeak_voice}"))
    return clips


def wander(voice: SyntheticVoice, rng: np.random.Generator) -> SyntheticVoice:
    """The voice as it is in one sentence."""
    return replace(
        voice,
        pitch=voice.pitch * rng.uniform(1 - PITCH_WANDER, 1 + PITCH_WANDER),
        rate=voice.rate * rng.uniform(1 - RATE_WANDER, 1 + RATE_WANDER),
    )
