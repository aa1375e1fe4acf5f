"""Recordings of people who are not enrolled, from a folder as users have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from openkith.audio import Audio
from openkith.audio.vad import trim_silence
from openkith.data import read_corpus
from openkith.data.corpus import AUDIO_SUFFIXES, Utterance
from openkith.errors import ManifestError

__all__ = ["cut_long", "stranger_recordings"]

PIECE_SECONDS = 4.0  # a long recording is cut into clips of this much speech
MIN_PIECE_SECONDS = 1.0
MAX_PIECES = 25  # of one recording


def stranger_recordings(folder: Path) -> list[Utterance]:
    """What is in a folder of loose files, a folder per speaker, a VoxCeleb tree or a Kaldi data folder.

    A loose file counts as a voice of its own.

    Raises:
        ManifestError: No such folder, or no audio in it.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: not a folder; give one with recordings of other people")
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    loose = [path for path in visible if path.suffix.lower() in AUDIO_SUFFIXES and not path.is_dir()]
    if loose and not any(path.is_dir() for path in visible) and not (folder / "wav.scp").is_file():
        return [Utterance(path.name, path) for path in loose]
    return list(read_corpus(folder))


def cut_long(recording: Audio) -> list[Audio]:
    """A recording as it is, or, with 8 s of speech or more, up to 25 pieces of 4 s from all over its speech."""
    speech = trim_silence(recording)
    if speech.seconds < 2 * PIECE_SECONDS:
        return [recording]
    size = round(PIECE_SECONDS * recording.sample_rate)
    least = round(MIN_PIECE_SECONDS * recording.sample_rate)
    starts = range(0, len(speech.samples) - least + 1, size)
    starts = starts[:: -(-len(starts) // MAX_PIECES)]
    return [replace(speech, samples=speech.samples[start : start + size]) for start in starts]
