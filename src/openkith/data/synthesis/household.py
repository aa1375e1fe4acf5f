"""A household of people who do not exist, for a demonstration without anybody's speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from openkith.audio.degrade import add_noise, noise, reverberate
from openkith.audio.io import Audio, save
from openkith.data.manifest import Manifest, Row, read_manifest, write_manifest
from openkith.data.synthesis.base import SyntheticClip
from openkith.data.synthesis.espeak import VOICES, espeak_voices, speak_all, wander
from openkith.data.synthesis.sentences import SENTENCES
from openkith.errors import ConfigError

__all__ = ["household", "write_household"]

WOMEN = ("Alice", "Clara", "Emma", "Grace", "Irene", "Julia", "Maya", "Nora", "Rosa", "Vera")
MEN = ("Ben", "David", "Felix", "Henry", "Jonas", "Leon", "Oscar", "Paul", "Simon", "Victor")
MANIFEST_NAME = "household.tsv"

ROOM_T60 = (0.15, 0.35)  # seconds
ROOM_DIRECT_TO_REVERBERANT = (4.0, 10.0)  # dB
ROOM_SNR = (15.0, 25.0)  # dB, of pink noise


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
        spoken = speak_all([wander(voice, rng) for _ in texts], texts)
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


def _in_room(audio: Audio, rng: np.random.Generator) -> Audio:
    wet = reverberate(audio.samples, rng, rng.uniform(*ROOM_T60), rng.uniform(*ROOM_DIRECT_TO_REVERBERANT))
    pink = noise(len(wet), "pink", rng)
    return replace(audio, samples=add_noise(wet, pink, rng.uniform(*ROOM_SNR)))
