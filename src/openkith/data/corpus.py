"""Corpora as they come: a folder per speaker, the tree of a published corpus, a Kaldi data folder."""

from __future__ import annotations

import os
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openkith.data.manifest import UNKNOWN, Manifest, Row, read_lines
from openkith.data.trees import detect, get_tree, place_in
from openkith.errors import ManifestError, NotEnoughDataError

__all__ = [
    "AUDIO_SUFFIXES",
    "KALDI",
    "Corpus",
    "Utterance",
    "load_corpus",
    "read_corpus",
    "shuffle_clips",
    "split_corpus",
]

AUDIO_SUFFIXES = (
    *(".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".mp4"),
    *(".ogg", ".opus", ".sph", ".w64", ".wav", ".webm"),
)
UNKNOWN_SHARE = 1 / 3
"""Share of a corpus's speakers that `split_corpus` holds out as unknown, unless told a number."""

KALDI = "kaldi"
"""What `Corpus.tree` says of a Kaldi data folder, which is no tree."""

_KALDI_ARCHIVE = re.compile(r".*\.ark:\d+", re.ASCII)
_FIX_KALDI = "mend the folder with Kaldi's utils/fix_data_dir.sh"


class Utterance(NamedTuple):
    """One clip of a corpus: who speaks, in which file, from when to when in seconds (None: its end).

    Session and style are what the corpus's tree tells of them, see `openkith.data.trees.Place`; empty: nothing.
    """

    speaker: str
    path: Path
    start: float | None = None
    end: float | None = None
    session: str = ""
    style: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus, listed.

    Attributes:
        source: Its folder.
        tree: The form that it has: a key of `openkith.data.trees.TREES`, or "kaldi".
        utterances: The clips, sorted by path (Kaldi: in the order of ``utt2spk``).
    """

    source: Path
    tree: str
    utterances: tuple[Utterance, ...]


def load_corpus(path: str | Path, tree: str | None = None) -> Corpus:
    """List a corpus, whichever form it has.

    - A Kaldi data folder: it has ``wav.scp`` and ``utt2spk``, and may have ``segments``. Relative paths are
      looked for from the data folder, then from the working folder. Commands (entries that end in ``|``) are
      refused: openkith runs none.
    - The tree of a published corpus, if every file fits it (`openkith.data.trees`): VoxCeleb, where every file
      lies below a folder ``idNNNNN``, which is the speaker, at any depth (``dev/wav/id10001/video/00001.wav``);
      Qualcomm Keyword Speech, 3D-Speaker, ESD, HI-MIA.
    - A folder per speaker, named for the speaker, with audio at any depth below.

    Hidden files, and files that are not audio by their suffix, are passed over.

    Args:
        path: Its folder.
        tree: The form, a key of `openkith.data.trees.TREES`; None: told by the names of the files.

    Raises:
        ConfigError: No such tree.
        ManifestError: It is no folder, has no audio, or has a file or a line that does not fit the form.
    """
    folder = Path(path)
    if tree is not None:
        get_tree(tree)
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; give a folder with one folder of clips per speaker")
    if tree is None and ((folder / "wav.scp").is_file() or (folder / "utt2spk").is_file()):
        return Corpus(folder, KALDI, tuple(_read_kaldi(folder)))
    return _read_tree(folder, tree)


def read_corpus(path: str | Path, tree: str | None = None) -> tuple[Utterance, ...]:
    """The clips of a corpus, see `load_corpus`."""
    return load_corpus(path, tree).utterances


def split_corpus(
    corpus: str | Path | Sequence[Utterance],
    *,
    enroll_clips: int = 3,
    test_clips: int | None = None,
    unknown: int | None = None,
    seed: int = 0,
) -> Manifest:
    """Make a manifest out of a corpus: some speakers enrol and test, the others only test, as unknown.

    A known speaker's first ``enroll_clips`` clips enrol, in an order shuffled by the seed and the name: one
    more speaker in the corpus changes nobody else's order. A speaker with too few clips to enrol and to test,
    or with the name "unknown", is never enrolled.

    Args:
        corpus: A folder that `read_corpus` reads, or its clips.
        enroll_clips: Clips to enrol each known speaker with.
        test_clips: At most so many test clips of each speaker; None takes all.
        unknown: How many speakers are held out as unknown, those who cannot enrol first; None holds out all
            who cannot enrol, and a third of the speakers at least.
        seed: Decides which clips enrol and which speakers are held out.

    Raises:
        ManifestError: The corpus is malformed, or a number is out of range.
        NotEnoughDataError: No speaker is left to enrol.
    """
    for name, value, least in (
        ("enroll_clips", enroll_clips, 1),
        ("test_clips", test_clips, 1),
        ("unknown", unknown, 0),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise ManifestError(f"{name} is {value}; give {least} or more")
    if isinstance(corpus, str | Path):
        source, utterances = Path(corpus), read_corpus(corpus)
    else:
        source, utterances = Path("corpus"), tuple(corpus)
    clips: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        clips.setdefault(utterance.speaker, []).append(utterance)

    names = sorted(clips)
    shuffled = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    can_enroll = [name for name in shuffled if len(clips[name]) > enroll_clips and name != UNKNOWN]
    cannot = [name for name in shuffled if len(clips[name]) <= enroll_clips or name == UNKNOWN]
    held_out = max(len(cannot), int(len(names) * UNKNOWN_SHARE)) if unknown is None else unknown
    outside = (cannot + can_enroll)[:held_out]
    known = set(can_enroll) - set(outside)
    if not known:
        raise NotEnoughDataError(
            f"{source}: nobody to enrol: of {len(names)} speakers {len(can_enroll)} have more than "
            f"{enroll_clips} clips, and {held_out} are held out as unknown; ask for fewer of either"
        )
    rows: list[Row] = []
    for name in sorted([*known, *outside]):
        enrolled = enroll_clips if name in known else 0
        last = None if test_clips is None else enrolled + test_clips
        for index, clip in enumerate(shuffle_clips(clips[name], seed)[:last]):
            role = "enroll" if index < enrolled else "test"
            try:
                rows.append(Row(clip.path, name, role, clip.start, clip.end))
            except ManifestError as error:
                raise ManifestError(f"{clip.path}: {error}") from None
    return Manifest(name=source.resolve().name, rows=tuple(rows), source=source)


def shuffle_clips(clips: Sequence[Utterance], seed: int) -> list[Utterance]:
    """The clips of one speaker, in an order that depends on the seed, the name and the clips alone."""
    clips = sorted(clips, key=lambda clip: (clip.path.as_posix(), clip.start or 0.0))
    name = zlib.crc32(clips[0].speaker.encode(errors="surrogateescape"))
    return [clips[index] for index in np.random.default_rng([seed, name]).permutation(len(clips))]


def _read_tree(folder: Path, name: str | None) -> Corpus:
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (links stay as the user named them)
    files = sorted(audio_below(root), key=Path.as_posix)
    if not files:
        raise ManifestError(
            f"{folder}: no audio ({' '.join(AUDIO_SUFFIXES)}); "
            "give a folder with one folder of clips per speaker"
        )
    paths = [file.relative_to(root) for file in files]
    tree = detect(paths) if name is None else get_tree(name)
    utterances = []
    for file, path in zip(files, paths, strict=True):
        speaker, session, style = place_in(tree, path, file)
        speaker = unicodedata.normalize("NFC", speaker)
        utterances.append(Utterance(speaker, file, session=session, style=style))
    return Corpus(folder, tree.name, tuple(utterances))


def audio_below(root: Path) -> Iterator[Path]:
    """All audio below a folder; linked folders are followed, each folder once, and what is hidden is passed over."""
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(here, name)


def _read_kaldi(folder: Path) -> Iterator[Utterance]:
    speakers = _read_table(folder / "utt2spk", fields=1)
    recordings = {
        key: _recording(entry[0], folder, where)
        for key, (where, entry) in _read_table(folder / "wav.scp", fields=1).items()
    }
    parts = {key: Utterance("", path) for key, path in recordings.items()}
    if (folder / "segments").exists():
        parts = {
            key: _segment(entry, recordings, where)
            for key, (where, entry) in _read_table(folder / "segments", fields=3).items()
        }
    listing = folder / ("segments" if (folder / "segments").exists() else "wav.scp")
    for key in parts:
        if key not in speakers:
            raise ManifestError(f"{listing}: {key!r} has no line in utt2spk; {_FIX_KALDI}")
    for key, (where, entry) in speakers.items():
        if key not in parts:
            raise ManifestError(f"{where}: {key!r} has no line in {listing.name}; {_FIX_KALDI}")
        yield parts[key]._replace(speaker=unicodedata.normalize("NFC", entry[0]))


def _read_table(path: Path, fields: int) -> dict[str, tuple[str, list[str]]]:
    """A Kaldi table: key -> (file:line, the ``fields`` fields after the key)."""
    table: dict[str, tuple[str, list[str]]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        key, *rest = line.strip().split(
            maxsplit=1 if path.name == "wav.scp" else -1
        )  # a path may hold spaces
        if len(rest) != fields:
            raise ManifestError(f"{path}:{number}: {len(rest) + 1} fields, not {fields + 1}; {_FIX_KALDI}")
        if key in table:
            raise ManifestError(f"{path}:{number}: {key!r} appears twice; {_FIX_KALDI}")
        table[key] = (f"{path}:{number}", rest)
    return table


def _recording(entry: str, folder: Path, where: str) -> Path:
    if entry.endswith("|"):
        raise ManifestError(
            f"{where}: {entry!r} is a command, and openkith runs none; convert it to WAV or FLAC files"
        )
    if _KALDI_ARCHIVE.fullmatch(entry):
        raise ManifestError(f"{where}: {entry!r} is in a Kaldi archive; copy it out to WAV or FLAC files")
    for path in (folder / entry, Path(entry)):
        if os.path.isfile(path):  # noqa: PTH113  (Path.is_file() raises for a name too long)
            return Path(os.path.abspath(path))  # noqa: PTH100
    raise ManifestError(f"{where}: no file {entry!r}, neither from {folder} nor from here; correct the path")


def _segment(entry: list[str], recordings: dict[str, Path], where: str) -> Utterance:
    recording, *times = entry
    if recording not in recordings:
        raise ManifestError(f"{where}: no recording {recording!r} in wav.scp; {_FIX_KALDI}")
    try:
        start, end = map(float, times)
    except ValueError:
        raise ManifestError(f"{where}: {' '.join(times)!r} are not two numbers; give seconds") from None
    if not (0 <= start < float("inf") and (end == -1 or start < end < float("inf"))):
        raise ManifestError(
            f"{where}: {start} to {end} is no part of a recording; give seconds, the end after the start"
        )
    return Utterance("", recordings[recording], start, None if end == -1 else end)
