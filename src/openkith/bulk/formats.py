"""The files that embeddings are written to: one function per format, from a shard's vectors to where each lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from openkith.bulk.kaldi import encode_ark
from openkith.data.corpus import AUDIO_SUFFIXES
from openkith.errors import ConfigError, ManifestError

__all__ = ["FORMATS", "SCP", "TENSOR", "Format", "Written", "check_names", "get_format", "npy_name", "stem"]

SCP = "xvector.scp"
TENSOR = "embeddings"
"""The tensor of a shard in safetensors, (n, d) float32."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Written:
    """What became of a shard.

    Attributes:
        places: For each utterance the file, relative to the folder, and the row in it.
        scp: Lines for `SCP`; empty in formats without.
    """

    places: list[tuple[str, int]]
    scp: str = ""


@dataclass(frozen=True)
class Format:
    """A form that embeddings are written in.

    Attributes:
        name: Key in `FORMATS`.
        write: From the folder, the shard's number, ids, and vectors to what was written. The same call gives the
            same files, each complete before it takes its name.
        one_file_each: Whether every utterance has a file of its own, named for it; then crops are kept, and else
            their mean is.
        spaces: Whether an id may have white space.
    """

    name: str
    write: Callable[[Path, int, Sequence[str], FloatArray], Written]
    one_file_each: bool = False
    spaces: bool = True


def get_format(name: str) -> Format:
    """A format by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(f"format is {name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def stem(utterance: str) -> str:
    """An id without the suffix of an audio file or of ``.npy``: what both are the embedding of."""
    name, dot, suffix = utterance.rpartition(".")
    return name if dot and f".{suffix.lower()}" in _SUFFIXES else utterance


def npy_name(utterance: str) -> str:
    """The file of an utterance in a mirrored tree, relative to the folder.

    A cut (``clip.wav#1.0-2.5``) comes after the stem of its file; nothing leads out of the folder.
    """
    path, mark, cut = utterance.partition("#")
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..")]
    return f"{stem('/'.join(parts))}{mark}{cut}.npy"


def check_names(name: str, utterances: Sequence[str]) -> None:
    """Refuse ids that a format cannot hold, before anything is embedded.

    Raises:
        ManifestError: An id has white space where it must not, or two would be one file.
    """
    kind = get_format(name)
    if not kind.spaces:
        for utterance in utterances:
            if utterance.split() != [utterance]:
                raise ManifestError(
                    f"{utterance!r} has white space, which ends a key of Kaldi's; rename it, or use another --format"
                )
    if kind.one_file_each:
        files: dict[str, str] = {}
        for utterance in utterances:
            file = npy_name(utterance)
            other = files.setdefault(os.path.normcase(file), utterance)
            if other != utterance:
                raise ManifestError(
                    f"{other!r} and {utterance!r} would both be {file}; rename one, or use --format safetensors"
                )


def put(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, see that it is on the disk, and give it its name."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _safetensors(folder: Path, number: int, utterances: Sequence[str], vectors: FloatArray) -> Written:
    from safetensors.numpy import save

    name = f"embeddings-{number:05d}.safetensors"
    put(folder / name, save({TENSOR: np.ascontiguousarray(vectors, np.float32)}))
    return Written([(name, row) for row in range(len(utterances))])


def _npy_tree(folder: Path, number: int, utterances: Sequence[str], vectors: FloatArray) -> Written:  # noqa: ARG001
    made: set[Path] = set()
    names = [npy_name(utterance) for utterance in utterances]
    for name, vector in zip(names, vectors, strict=True):
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            np.save(file, np.asarray(vector, np.float32), allow_pickle=False)
        temporary.replace(path)
    return Written([(name, 0) for name in names])


def _ark(text: bool) -> Callable[[Path, int, Sequence[str], FloatArray], Written]:
    def write(folder: Path, number: int, utterances: Sequence[str], vectors: FloatArray) -> Written:
        name = f"xvector.{number}.ark"
        content, offsets = encode_ark(utterances, vectors, text=text)
        put(folder / name, content)
        ark = (folder / name).absolute()
        lines = [f"{key} {ark}:{offset}\n" for key, offset in zip(utterances, offsets, strict=True)]
        return Written([(name, row) for row in range(len(utterances))], "".join(lines))

    return write


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("safetensors", _safetensors),
        Format("npy-tree", _npy_tree, one_file_each=True),
        Format("kaldi", _ark(text=False), spaces=False),
        Format("kaldi-text", _ark(text=True), spaces=False),
    )
}
_SUFFIXES = frozenset({*AUDIO_SUFFIXES, ".npy"})
