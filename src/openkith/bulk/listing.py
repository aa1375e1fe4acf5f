"""What there is to embed: a folder of audio, a manifest, a Kaldi list.

Every utterance has an id without control characters, the name that trial lists know it by:

- of a folder, the path below it (of a VoxCeleb tree, the path from the speaker on: ``id10270/5r0dWxy17C8/00001.wav``);
- of a manifest, the path as it stands there, below the folder of all its files where it leaves the manifest's own, and
  for a cut ``#start-end`` in seconds;
- of a Kaldi list, its key.

Whether the files are there is found out when they are embedded, so that one that is missing stops nothing.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from openkith.bulk.tables import cell, read_table
from openkith.data.corpus import AUDIO_SUFFIXES, audio_below
from openkith.data.manifest import read_lines
from openkith.data.trees import TREES, detect
from openkith.errors import ManifestError

__all__ = ["Item", "list_input", "read_keys"]

_KALDI_ARCHIVE = re.compile(r".*\.ark:\d+", re.ASCII)


class Item(NamedTuple):
    """An utterance to embed.

    Attributes:
        utterance: Its id.
        path: The file, absolute.
        speaker: Who speaks; empty where nothing tells.
        start, end: The cut, in seconds; None: the file's beginning, its end.
    """

    utterance: str
    path: Path
    speaker: str
    start: float | None = None
    end: float | None = None


def list_input(source: str | Path) -> tuple[Item, ...]:
    """The utterances of a folder of audio, a Kaldi folder, a ``.scp`` file or a manifest.

    A folder is searched at any depth; the speaker is told by the form of its tree, see `openkith.data.trees`, and is
    empty for files in no speaker's folder. A manifest needs the column ``path``, and may have ``speaker``, ``start``
    and ``end``; its roles do not matter. Beside ``wav.scp`` may lie ``utt2spk`` and ``segments``.

    Returns:
        In the order of the list; of a folder, sorted by path.

    Raises:
        ManifestError: There is nothing to embed, a list is malformed, or two utterances have one id.
    """
    source = Path(source)
    if source.is_dir():
        items = _kaldi(source / "wav.scp") if (source / "wav.scp").is_file() else _tree(source)
    else:
        items = _kaldi(source) if source.suffix == ".scp" else _manifest(source)
    if not items:
        raise ManifestError(
            f"{source}: no audio; give a folder with audio below it ({' '.join(AUDIO_SUFFIXES)}), a manifest, or a "
            "wav.scp"
        )
    counts = Counter(item.utterance for item in items)
    if len(counts) < len(items):
        twice = next(name for name, count in counts.items() if count > 1)
        raise ManifestError(f"{source}: {twice!r} is in it twice; keep one")
    return tuple(items)


def read_keys(path: Path) -> Iterator[tuple[int, str, str]]:
    """The lines of a Kaldi table: number, key, and what follows it.

    Raises:
        ManifestError: It cannot be read, a line has nothing after its key, or a key appears twice.
    """
    seen: set[str] = set()
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        key, *rest = line.strip().split(maxsplit=1)
        if not rest:
            raise ManifestError(
                f"{path}:{number}: nothing after {key!r}; a line is a key and what it stands for"
            )
        if key in seen:
            raise ManifestError(f"{path}:{number}: {key!r} appears twice; keep one")
        seen.add(key)
        yield number, key, rest[0]


def _tree(folder: Path) -> list[Item]:
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (links stay as the user named them)
    paths = sorted((path.relative_to(root) for path in audio_below(root)), key=PurePath.as_posix)
    if not paths:
        return []
    tree = detect(paths)
    places = [tree.place(path) for path in paths]
    speakers = ["" if place is None else place.speaker for place in places]
    names = [path.as_posix() for path in paths]
    if tree is TREES["voxceleb"]:
        short = [_from_speaker(path, speaker) for path, speaker in zip(paths, speakers, strict=True)]
        names = short if len(set(short)) == len(short) else names
    return [
        Item(cell(name), root / path, cell(unicodedata.normalize("NFC", speaker)))
        for name, path, speaker in zip(names, paths, speakers, strict=True)
    ]


def _from_speaker(path: PurePath, speaker: str) -> str:
    return PurePosixPath(*path.parts[path.parts.index(speaker) :]).as_posix()


def _manifest(source: Path) -> list[Item]:
    columns, rows = read_table(source, needed=("path",), comments=True)
    at = {name: columns.index(name) for name in ("path", "speaker", "start", "end") if name in columns}
    found = []
    for number, cells in rows:
        values = {name: cells[index].strip(" ") for name, index in at.items()}
        where = f"{source}:{number}"
        if not values["path"]:
            raise ManifestError(f"{where}: field 'path': empty; every row needs a path")
        start, end = (_seconds(values.get(name, ""), name, where) for name in ("start", "end"))
        if end is not None and end <= (start or 0.0):
            raise ManifestError(f"{where}: field 'end': {end:g} is not after the start; give a later end")
        found.append((values["path"], values.get("speaker", ""), start, end))
    folder = source.absolute().parent
    paths = [Path(os.path.abspath(folder / path)) for path, *_ in found]  # noqa: PTH100
    if not all(path.is_relative_to(folder) for path in paths):
        try:
            folder = Path(os.path.commonpath([path.parent for path in paths]))
        except ValueError:  # several drives
            folder = Path()
    return [
        Item(
            cell((path.relative_to(folder) if folder.parts else path).as_posix()) + _cut(start, end),
            path,
            cell(unicodedata.normalize("NFC", speaker)),
            start,
            end,
        )
        for path, (_, speaker, start, end) in zip(paths, found, strict=True)
    ]


def _cut(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return ""
    return f"#{start or 0.0!r}-{'' if end is None else repr(end)}"


def _seconds(text: str, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise ManifestError(f"{where}: field {name!r}: {text!r} is not a time; give seconds, such as 1.5")
    return seconds


def _kaldi(scp: Path) -> list[Item]:
    """The recordings of a list, or where ``segments`` lies beside ``wav.scp`` the segments of them."""
    folder = scp.parent
    speakers = {key: entry for _, key, entry in _beside(folder / "utt2spk")}
    recordings = {key: _recording(entry, folder, f"{scp}:{n}") for n, key, entry in read_keys(scp)}
    segments = list(_beside(folder / "segments")) if scp.name == "wav.scp" else []
    if not segments:
        return [Item(key, path, cell(speakers.get(key, ""))) for key, path in recordings.items()]
    items = []
    for number, key, entry in segments:
        where = f"{folder / 'segments'}:{number}"
        fields = entry.split()
        if len(fields) != 3:
            raise ManifestError(f"{where}: {len(fields) + 1} fields, not 4: segment, recording, start, end")
        recording, *times = fields
        if recording not in recordings:
            raise ManifestError(f"{where}: no recording {recording!r} in {scp.name}; add it there")
        start = _seconds(times[0], "start", where)
        end = None if times[1] in ("-1", "-1.0") else _seconds(times[1], "end", where)
        if end is not None and end <= (start or 0.0):
            raise ManifestError(f"{where}: {end:g} s is not after {start:g} s; give an end after the start")
        items.append(Item(key, recordings[recording], cell(speakers.get(key, "")), start, end))
    return items


def _beside(path: Path) -> Iterator[tuple[int, str, str]]:
    return read_keys(path) if path.is_file() else iter(())


def _recording(entry: str, folder: Path, where: str) -> Path:
    if entry.endswith("|"):
        raise ManifestError(
            f"{where}: {entry!r} is a command, and openkith runs none; convert it to WAV or FLAC files"
        )
    if _KALDI_ARCHIVE.fullmatch(entry):
        raise ManifestError(f"{where}: {entry!r} is in a Kaldi archive; copy it out to WAV or FLAC files")
    beside = folder / entry
    found = os.path.exists(beside)  # noqa: PTH110  (Path.exists() raises for a name too long)
    return Path(os.path.abspath(beside if found else entry))  # noqa: PTH100
