"""Recordings to start from: files, folders and manifests as users have them, and the clips of a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openkith.audio.io import Audio, load
from openkith.data.corpus import AUDIO_SUFFIXES, Utterance, read_corpus
from openkith.data.manifest import read_manifest
from openkith.errors import AudioError, ManifestError

if TYPE_CHECKING:
    from openkith.gallery import Gallery

__all__ = ["gallery_recordings", "recordings_by_speaker", "recordings_of"]

MANIFEST_SUFFIX = ".tsv"


def recordings_by_speaker(paths: Iterable[str | Path]) -> dict[str, list[Utterance]]:
    """The people in files, folders and manifests, with their recordings.

    A file is a voice of its own, called by its name without suffix; so is each in a folder of loose files. Other
    folders are corpora (a folder per speaker, VoxCeleb, Kaldi). A manifest (.tsv) gives all its rows but those that
    test.

    Raises:
        ManifestError: Something is missing, or not what it should be.
    """
    people: dict[str, list[Utterance]] = {}
    for path in map(Path, paths):
        for utterance in _read(path):
            people.setdefault(utterance.speaker, []).append(utterance)
    return people


def recordings_of(speaker: str, paths: Iterable[str | Path]) -> list[Audio]:
    """Recordings of one person: all files, whatever is in the folders, and the person's rows of the manifests.

    Raises:
        ManifestError: Something is missing, or a manifest has no row of the person that enrols.
        AudioError: A recording is not usable.
    """
    found: list[Utterance] = []
    for path in map(Path, paths):
        if path.suffix == MANIFEST_SUFFIX and path.is_file():
            rows = [row for row in read_manifest(path).enroll if row.speaker == speaker]
            if not rows:
                raise ManifestError(
                    f"{path}: no row enrols {speaker!r}; give another manifest, or the person's clips"
                )
            found += [Utterance(row.speaker, row.path, row.start, row.end) for row in rows]
        elif path.is_dir():
            found += _files_below(path)
        else:
            found += _read(path)
    return [load(one.path, start=one.start, end=one.end) for one in found]


def gallery_recordings(gallery: Gallery, name: str) -> list[Audio]:
    """The recordings that a person was enrolled with: those kept in the gallery, the others from their files.

    A file counts only if it still holds the audio that was enrolled.

    Raises:
        UnknownPersonError: Nobody of that name is enrolled.
        AudioError: A recording was not kept, and its file is gone or another one now.
    """
    recordings: list[Audio] = []
    for clip in gallery.clips(gallery.person(name).name):
        if clip.has_audio:
            recordings.append(load(gallery.audio(clip.id)))
            continue
        try:
            audio = load(Path(clip.source))
        except AudioError as error:
            reason = "gone or unreadable"
            raise AudioError(_lost(clip.id, name, clip.source, reason)) from error
        if audio.sha256 != clip.sha256:
            raise AudioError(
                _lost(clip.id, name, clip.source, "another recording now, or a part of it was enrolled")
            )
        recordings.append(audio)
    return recordings


def _lost(clip: int, name: str, source: str, reason: str) -> str:
    return (
        f"clip {clip} of {name}: its audio was not kept, and {source} is {reason}; "
        f"give recordings of {name} with --from"
    )


def _read(path: Path) -> Sequence[Utterance]:
    if path.is_dir():
        visible = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
        loose = [entry for entry in visible if entry.suffix.lower() in AUDIO_SUFFIXES and entry.is_file()]
        if loose and not any(entry.is_dir() for entry in visible) and not (path / "wav.scp").is_file():
            return [Utterance(entry.stem, entry) for entry in loose]
        return read_corpus(path)
    if not path.exists():
        raise ManifestError(f"{path}: no such file or folder; check the path")
    if path.suffix == MANIFEST_SUFFIX:
        rows = [row for row in read_manifest(path).rows if row.role != "test"]
        if not rows:
            raise ManifestError(
                f"{path}: all its rows test, and those are not learned from; give another manifest"
            )
        return [Utterance(row.speaker, row.path, row.start, row.end) for row in rows]
    return [Utterance(path.stem, path)]


def _files_below(folder: Path) -> list[Utterance]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise ManifestError(
            f"{folder}: no audio ({' '.join(AUDIO_SUFFIXES)}); give the folder with the person's clips"
        )
    return [Utterance(folder.name, path) for path in files]
