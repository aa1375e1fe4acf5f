"""Recordings of people who are not enrolled, from a folder as users have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from openkith.audio import Audio, load
from openkith.audio.vad import trim_silence
from openkith.data import read_corpus
from openkith.data.corpus import AUDIO_SUFFIXES
from openkith.errors import ManifestError

__all__ = ["stranger_clips"]

PIECE_SECONDS = 4.0  # a long recording is cut into clips of about this much speech
MIN_PIECE_SECONDS = 1.0
MAX_PIECES = 25  # of one recording


def stranger_clips(folder: Path) -> tuple[list[int], list[Audio]]:
    """Labels and clips of a folder: of loose files, a folder per speaker, a VoxCeleb tree or a Kaldi data folder.

    A loose file counts as a voice of its own. Long recordings are cut into pieces of 4 s of speech.

    Raises:
        ManifestError: No such folder, or no audio in it.
        AudioError: A file is not usable.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: not a folder; give one with recordings of other people")
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    loose = [path for path in visible if path.suffix.lower() in AUDIO_SUFFIXES]
    if loose and not any(path.is_dir() for path in visible) and not (folder / "wav.scp").is_file():
        recordings = [(path.name, load(path)) for path in loose]
    else:
        recordings = [
            (speaker, load(path, start=start, end=end)) for speaker, path, start, end in read_corpus(folder)
        ]
    labels: list[int] = []
    clips: list[Audio] = []
    numbers: dict[str, int] = {}
    for speaker, audio in recordings:
        for piece in _pieces(audio):
            labels.append(numbers.setdefault(speaker, len(numbers)))
            clips.append(piece)
    return labels, clips


def _pieces(audio: Audio) -> list[Audio]:
    """A recording as it is, or, if it is long, pieces of its speech."""
    speech = trim_silence(audio)
    if speech.seconds < 2 * PIECE_SECONDS:
        return [audio]
    size = round(PIECE_SECONDS * audio.sample_rate)
    starts = range(0, len(speech.samples), size)[:MAX_PIECES]
    parts = [speech.samples[start : start + size] for start in starts]
    return [
        replace(speech, samples=part) for part in parts if len(part) >= MIN_PIECE_SECONDS * audio.sample_rate
    ]
