"""Synthetic speech on disk: a folder of WAV files, one folder per speaker, with a manifest."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from openkith.audio.io import Audio, save
from openkith.data.manifest import Manifest, Row, read_manifest, write_manifest
from openkith.data.synthesis.base import SpeechSource, SyntheticClip
from openkith.data.synthesis.styles import Style
from openkith.errors import ConfigError, InputError, ManifestError

__all__ = ["UNKNOWN_MANIFEST", "styles_manifest", "write_styles", "write_unknown"]

UNKNOWN_MANIFEST = "unknown.tsv"
USUAL_VOICES = 50  # where nobody says how many, and the source has as many

Progress = Callable[[int, int], None]  # clips done, clips in all


def styles_manifest(speaker: str) -> str:
    """Name of the manifest of a person's styles."""
    return f"styles-{_file_name(speaker)}.tsv"


def write_unknown(
    out: str | Path,
    source: SpeechSource,
    n: int | None = None,
    clips: int = 2,
    seed: int = 0,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write unknown speakers as ``OUT/SPEAKER/1.wav`` and so on, and ``OUT/unknown.tsv`` with role negative.

    Everything is made in a hidden folder of OUT first, and moves to its place when all is there; the manifest comes
    last. Where it is interrupted, OUT is as it was.

    Args:
        out: The folder; made if absent.
        source: Who speaks.
        n: How many people; default 50, or as many as the source has.
        clips: Clips of each.
        seed: Which people, and what they say.
        force: Replace what an earlier run wrote there.
        progress: Called with (clips done, clips in all).

    Raises:
        InputError: There is a manifest or a clip of these names already, and ``force`` is not set.
        ConfigError: A number is out of range.
        KithError: The source refuses, or does not answer in time.
    """
    if n is None:
        n = max(1, min(USUAL_VOICES, source.voices))
    made = source.unknown_speakers(n, clips, seed)
    return _write(Path(out), UNKNOWN_MANIFEST, made, n * clips, force, progress)


def write_styles(
    out: str | Path,
    source: SpeechSource,
    speaker: str,
    recordings: Sequence[Audio],
    styles: Sequence[Style],
    seed: int = 0,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write styles of a person as ``OUT/SPEAKER/happy-1.wav`` and so on, and ``OUT/styles-SPEAKER.tsv``, role enroll.

    Args:
        out: The folder; made if absent.
        source: Who speaks.
        speaker: Whose recordings they are.
        recordings: Speech of this person alone.
        styles: What to make of each.
        seed: How far each style goes in each clip.
        force: As of `write_unknown`, like all that follows.
        progress: See there.

    Raises:
        ConfigError: There are no recordings or styles, or the source cannot speak in a given voice.
        InputError: See `write_unknown`.
        KithError: See there.
    """
    if not recordings or not styles:
        raise ConfigError(f"no {'styles' if recordings else f'recordings of {speaker}'}; give one or more")
    made = source.styles(speaker, recordings, styles, seed)
    return _write(Path(out), styles_manifest(speaker), made, len(recordings) * len(styles), force, progress)


def _write(
    out: Path, name: str, made: Iterator[SyntheticClip], total: int, force: bool, progress: Progress | None
) -> Manifest:
    manifest = out / name
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if manifest.exists() and not force:
        raise InputError(f"{manifest}: exists already; give --force to replace it, or another folder")
    with _staging(out) as staging:
        rows: list[Row] = []
        numbers: dict[tuple[str, str], int] = {}
        if progress is not None:
            progress(0, total)
        for done, clip in enumerate(made, start=1):
            folder = _file_name(clip.speaker)  # two speakers may share one, and none of their files
            number = numbers[folder, clip.style] = numbers.get((folder, clip.style), 0) + 1
            place = Path(folder, f"{clip.style}-{number}.wav" if clip.style else f"{number}.wav")
            if (out / place).exists() and not force:
                raise InputError(
                    f"{out / place}: exists already; give --force to replace it, or another folder"
                )
            (staging / place).parent.mkdir(exist_ok=True)
            save(staging / place, clip.audio)
            rows.append(Row(out / place, clip.speaker, clip.role))
            if progress is not None:
                progress(done, total)
        write_manifest(staging / name, rows)  # whatever is wrong with them shows before anything is replaced
        if force:
            _remove_earlier(out, manifest)
        for row in rows:
            row.path.parent.mkdir(exist_ok=True)
            place = row.path.relative_to(row.path.parents[1])
            (staging / place).replace(row.path)
        write_manifest(manifest, rows)
    return read_manifest(manifest)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A hidden folder in OUT, which is gone afterwards, as is OUT itself where it was made for nothing."""
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".kith-", dir=out))
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed:
            with suppress(OSError):  # what is written stays
                out.rmdir()


def _remove_earlier(out: Path, manifest: Path) -> None:
    """Remove an earlier manifest, then the WAV files it names inside OUT: fewer voices leave none behind."""
    if not manifest.is_file():
        return
    try:
        earlier = [row.path for row in read_manifest(manifest).rows]
    except ManifestError:  # a file of it is gone: the others are still replaced where names agree
        earlier = []
    manifest.unlink()
    root = out.resolve()
    for path in earlier:
        if path.suffix == ".wav" and path.resolve().parent.parent == root:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                path.parent.rmdir()


def _file_name(speaker: str) -> str:
    """A speaker's name as the name of a folder, on every system."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", speaker).strip(" .")
    return f"_{name}" if not name or name.startswith((".", "-")) else name
