"""People who do not exist, for a demonstration without anybody's speech: a household of eSpeak voices.

Needs the extra ``synthesis`` (praat-parselmouth, whose Praat has eSpeak NG built in).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openkith.audio.degrade import add_noise, noise, reverberate
from openkith.audio.io import Audio, load, save
from openkith.data.manifest import Manifest, Row, read_manifest, write_manifest
from openkith.data.praat import SYNTHESIZER_RATE, Phrase, synthesize
from openkith.errors import ConfigError

__all__ = [
    "SENTENCES",
    "SyntheticClip",
    "SyntheticVoice",
    "espeak_voices",
    "household",
    "speak",
    "unknown_speakers",
    "write_household",
]

WOMEN = ("Alice", "Clara", "Emma", "Grace", "Irene", "Julia", "Maya", "Nora", "Rosa", "Vera")
MEN = ("Ben", "David", "Felix", "Henry", "Jonas", "Leon", "Oscar", "Paul", "Simon", "Victor")
MANIFEST_NAME = "household.tsv"

LANGUAGES = (
    "English (Great Britain)",
    "English (America)",
    "English (Scotland)",
    "English (Received Pronunciation)",
)
FEMALE_VOICES = frozenset({"Annie", "Auntie", "Female1", "Female5", "Linda", "Steph"})

# Praat's voice variants, each with a formant shift, in such an order that each is as far as possible from all
# before it by GE2E embeddings: the largest cosine between two of the first 16 is 0.72, between any two 0.84
# (a voice's own sentences: 0.96). Left out: whispers, croaks, robots, and variants that make no speech.
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
)
MOST_DISTINCT = 16  # the rows of VOICES that few people are drawn from
PITCH_PER_SHIFT = 1.5  # a shorter vocal tract goes with a higher voice: pitch = formant shift to this power

LEVEL_DBFS = -26.0  # RMS of every utterance
PITCH_WANDER = 0.04  # one person's pitch and rate differ from sentence to sentence by these shares
RATE_WANDER = 0.07
ROOM_T60 = (0.15, 0.35)  # seconds
ROOM_DIRECT_TO_REVERBERANT = (4.0, 10.0)  # dB
ROOM_SNR = (15.0, 25.0)  # dB, of pink noise

SENTENCES = (
    "The kettle has just boiled, so tell me when you want your tea.",
    "Somebody left the garden gate open again the whole night long.",
    "My sister is coming on Friday and she brings both of her children.",
    "Please turn the heating down a little before you go to bed.",
    "We could take the early train and have breakfast by the harbour.",
    "I found your blue umbrella behind the door of the guest room.",
    "The bread is still warm, but we have run out of butter again.",
    "Remind me to water the tomatoes when the sun has gone down.",
    "There was a long queue at the bakery, so I bought some rolls instead.",
    "Can you play that song from the film we watched on Sunday?",
    "The neighbours are painting their fence a very bright shade of green.",
    "He forgot his football boots and had to borrow a pair at school.",
    "Switch off the lights in the hall when everybody is upstairs.",
    "It will rain until noon, and after that it should clear up.",
    "Her violin lesson was moved to half past four on Wednesday.",
    "I would like to hear the news while I am cooking dinner.",
    "The cat has been sleeping on the warm laundry since this morning.",
    "Let us walk around the lake before it gets too dark to see.",
    "There are three letters for you on the table next to the lamp.",
    "Add apples, rice and a box of candles to the shopping list.",
    "The bus was late, and then it stopped at every single corner.",
    "Grandfather wants to show us how he used to repair old clocks.",
    "Set a timer for twelve minutes, the potatoes are nearly done.",
    "They have moved the piano into the room with the big windows.",
    "I never remember which of these two keys opens the cellar.",
    "Ask him whether the bicycle pump is still in the garage.",
    "The meeting was short, so I came home through the park.",
    "Close the curtains, please, the sun is shining on the screen.",
)


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


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """One recording of a household: who says what in it, and whether it enrols or tests."""

    speaker: str
    role: str
    text: str
    audio: Audio


def espeak_voices(n: int, seed: int = 0) -> list[SyntheticVoice]:
    """Voices of distinct people.

    Few people are drawn from the voices that differ most. Each has an accent, a pitch, a pitch range and a
    rate of his own.

    Raises:
        ConfigError: n is under 1, or more than there are distinct voices, or the seed is negative.
    """
    if not 1 <= n <= len(VOICES):
        raise ConfigError(f"{n} synthetic people; ask for 1 to {len(VOICES)}")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give an integer from 0 up")
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
    return _speak_all([voice], [text])[0]


def unknown_speakers(n: int, clips: int = 2, seed: int = 0) -> list[tuple[str, Audio]]:
    """Clips of synthetic people, to learn what other people sound like.

    Returns:
        (voice name, clip), `clips` of each voice, each a sentence.

    Raises:
        ConfigError: As `espeak_voices`, or ``clips`` is not between 1 and the number of sentences.
        MissingDependencyError: The extra ``synthesis`` is not installed.
    """
    if not 1 <= clips <= len(SENTENCES):
        raise ConfigError(f"{clips} clips of each synthetic person; ask for 1 to {len(SENTENCES)}")
    voices = [voice for voice in espeak_voices(n, seed) for _ in range(clips)]
    rng = np.random.default_rng([seed, n])
    texts = [SENTENCES[i] for _ in range(n) for i in rng.permutation(len(SENTENCES))[:clips]]
    spoken = _speak_all([_wander(voice, rng) for voice in voices], texts)
    return [(voice.name, audio) for voice, audio in zip(voices, spoken, strict=True)]


def household(
    people: int = 5,
    strangers: int = 5,
    enrol_clips: int = 3,
    later_clips: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[SyntheticClip]:
    """Speech of people who live together, and of strangers who call.

    People have first names, clean clips with role enroll, and later clips with role test; strangers
    ("stranger-1" ...) only later clips. Later clips are of other sentences, in a room with pink noise at 15
    to 25 dB. Nobody says a sentence twice.

    Args:
        people: How many enrol.
        strangers: How many do not.
        enrol_clips: Clips that enrol each person.
        later_clips: Test clips of each person and each stranger.
        seed: Decides on voices, names, sentences and noise.
        progress: Called with (voices done, voices in all).

    Raises:
        ConfigError: A number is out of range.
        MissingDependencyError: The extra ``synthesis`` is not installed.
        KithError: The synthesiser refuses, or does not answer in time.
    """
    names_left = {True: list(WOMEN), False: list(MEN)}
    for name, value, low, high in (
        ("people", people, 1, len(WOMEN) + len(MEN)),
        ("strangers", strangers, 0, len(VOICES) - people),
        ("enrol_clips", enrol_clips, 1, len(SENTENCES)),
        ("later_clips", later_clips, 1, len(SENTENCES) - enrol_clips),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value}; give {low} to {high}")
    clips: list[SyntheticClip] = []
    for index, voice in enumerate(espeak_voices(people + strangers, seed)):
        rng = np.random.default_rng([seed, index])
        is_stranger = index >= people
        if is_stranger:
            name = f"stranger-{index - people + 1}"
        else:
            free = names_left[voice.is_female] or names_left[not voice.is_female]
            name = free.pop(int(rng.integers(len(free))))
        roles = ["enroll"] * (0 if is_stranger else enrol_clips) + ["test"] * later_clips
        texts = [SENTENCES[i] for i in rng.permutation(len(SENTENCES))[: len(roles)]]
        spoken = _speak_all([_wander(voice, rng) for _ in texts], texts)
        for role, text, audio in zip(roles, texts, spoken, strict=True):
            heard = _in_room(audio, rng) if role == "test" else audio
            clips.append(SyntheticClip(name, role, text, heard))
        if progress is not None:
            progress(index + 1, people + strangers)
    return clips


def write_household(
    folder: str | Path,
    people: int = 5,
    strangers: int = 5,
    enrol_clips: int = 3,
    later_clips: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write a `household` as WAV files, a folder per speaker, and the manifest ``household.tsv``.

    Args:
        folder: Where to; made if absent, and files of the same names are replaced.
        people: As for `household`, like all that follow.
        strangers: See there.
        enrol_clips: See there.
        later_clips: See there.
        seed: See there.
        progress: See there.
    """
    root = Path(folder)
    rows: list[Row] = []
    for clip in household(people, strangers, enrol_clips, later_clips, seed, progress):
        kind = "enrol" if clip.role == "enroll" else "later"
        number = 1 + sum(row.speaker == clip.speaker and row.role == clip.role for row in rows)
        path = root / clip.speaker / f"{kind}-{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, clip.audio)
        rows.append(Row(path, clip.speaker, clip.role))
    write_manifest(root / MANIFEST_NAME, rows)
    return read_manifest(root / MANIFEST_NAME)


def _speak_all(voices: Sequence[SyntheticVoice], texts: Sequence[str]) -> list[Audio]:
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
        rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        level = np.float32(10 ** (LEVEL_DBFS / 20) / rms)
        clips.append(Audio(samples * level, source=f"eSpeak {voice.espeak_voice}"))
    return clips


def _wander(voice: SyntheticVoice, rng: np.random.Generator) -> SyntheticVoice:
    """The voice as it is in one sentence."""
    return replace(
        voice,
        pitch=voice.pitch * rng.uniform(1 - PITCH_WANDER, 1 + PITCH_WANDER),
        rate=voice.rate * rng.uniform(1 - RATE_WANDER, 1 + RATE_WANDER),
    )


def _in_room(audio: Audio, rng: np.random.Generator) -> Audio:
    wet = reverberate(audio.samples, rng, rng.uniform(*ROOM_T60), rng.uniform(*ROOM_DIRECT_TO_REVERBERANT))
    pink = noise(len(wet), "pink", rng)
    return replace(audio, samples=add_noise(wet, pink, rng.uniform(*ROOM_SNR)))
