"""Embeddings read back: a folder of ``kith embed``, a tree of ``.npy`` files, or archives of Kaldi's."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from openkith.bulk.formats import SCP, TENSOR, stem
from openkith.bulk.kaldi import Place, read_scp, read_vector
from openkith.bulk.listing import read_keys
from openkith.bulk.store import CONFIG, ERRORS, INDEX, JOURNAL, committed_sizes, read_config
from openkith.bulk.tables import cell, read_table
from openkith.data.trees import detect
from openkith.encoders.clips.crops import mean_of_crops
from openkith.errors import InputError, NotEnoughDataError

__all__ = ["Embeddings", "read_embeddings"]

FloatArray = npt.NDArray[np.float32]
Reader = Callable[[Path, Sequence[int]], FloatArray]  # a file, and rows or offsets in it, to (n, d)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of utterances, by id; vectors are read when they are asked for.

    Attributes:
        folder: Where they are.
        utterances: (n) ids.
        speakers: (n) who speaks; empty where nothing tells.
        fingerprint: Of the encoder; empty where nothing tells.
        places: (n) the file of each, and the row or offset in it.
        reader: Reads vectors of one file.
    """

    folder: Path
    utterances: tuple[str, ...]
    speakers: tuple[str, ...]
    fingerprint: str
    places: tuple[tuple[Path, int], ...]
    reader: Reader

    def __len__(self) -> int:
        return len(self.utterances)

    def find(self, utterance: str) -> int | None:
        """The number of an utterance; None where there is none of that id.

        An id may lack the suffix of an audio file or of ``.npy``, or have another one, where that leaves no doubt.
        """
        exact = self._numbers.get(utterance)
        return self._by_stem.get(stem(utterance)) if exact is None else exact

    def gather(self, numbers: npt.ArrayLike | None = None) -> FloatArray:
        """The embeddings of some utterances, or of all, (n, d); of crops their L2-normalised mean.

        Raises:
            InputError: A file is missing or damaged, has NaN or infinite values, or vectors of another length.
        """
        wanted = np.arange(len(self)) if numbers is None else np.asarray(numbers, np.int64)
        by_file: dict[Path, list[int]] = {}
        for position, number in enumerate(wanted):
            by_file.setdefault(self.places[number][0], []).append(position)
        result: FloatArray | None = None
        for path, positions in by_file.items():
            vectors = self.reader(path, [self.places[wanted[position]][1] for position in positions])
            if not np.isfinite(vectors).all():
                raise InputError(f"{path}: has NaN or infinite values; embed it again")
            if result is None:
                result = np.empty((len(wanted), vectors.shape[1]), np.float32)
            if vectors.shape[1] != result.shape[1]:
                raise InputError(
                    f"{path}: {vectors.shape[1]} numbers, and others have {result.shape[1]}; embed all with one encoder"
                )
            result[positions] = vectors
        return np.zeros((0, 0), np.float32) if result is None else result

    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) the number of each speaker, in the order of their names.

        Raises:
            NotEnoughDataError: It is not told who speaks in all of them.
        """
        if not all(self.speakers):
            first = self.utterances[self.speakers.index("")]
            raise NotEnoughDataError(
                f"{self.folder}: it is not told who speaks in {first!r}; embed a folder with one folder per speaker, "
                "or a manifest"
            )
        return np.unique(np.array(self.speakers, dtype=object).astype(str), return_inverse=True)[1].astype(
            np.int64
        )

    def why_not(self, utterance: str) -> str:
        """Why an utterance has no embedding, as the errors have it; empty where they do not."""
        path = self.folder / ERRORS
        if not path.is_file():
            return ""
        columns, rows = read_table(path, needed=("utterance", "reason"))
        name, reason = columns.index("utterance"), columns.index("reason")
        return next((cells[reason] for _, cells in rows if stem(cells[name]) == stem(utterance)), "")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.utterances)}

    @cached_property
    def _by_stem(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for name, number in self._numbers.items():
            key = stem(name)
            found[key] = None if key in found else number
        return found


def read_embeddings(path: str | Path) -> Embeddings:
    """What is in a folder of ``kith embed``, finished or not; an ``.scp`` file or its folder; or a tree of ``.npy``.

    Beside an ``.scp`` file ``utt2spk`` may say who speaks; of a tree, the folders do. Nothing is unpickled.

    Raises:
        InputError: There are no embeddings, or what says where they are is damaged.
    """
    path = Path(path)
    if path.is_dir() and (path / INDEX).is_file() and (path / CONFIG).is_file():
        return _own(path)
    if path.suffix == ".scp" and path.is_file():
        return _kaldi(path)
    if (path / SCP).is_file():
        return _kaldi(path / SCP)
    if path.is_dir():
        return _tree(path)
    raise InputError(f"{path}: no such folder of embeddings; make one with: kith embed")


def _own(folder: Path) -> Embeddings:
    config = read_config(folder)
    columns, rows = read_table(folder / INDEX, needed=("utterance", "speaker", "shard", "row"))
    at = [columns.index(name) for name in ("utterance", "speaker", "shard", "row")]
    last = _last_line(folder)
    files: dict[str, Path] = {}
    names, speakers, places = [], [], []
    for number, cells in rows:
        if number > last:
            break
        name, speaker, shard, row = (cells[index] for index in at)
        if not row.isdecimal():
            raise InputError(f"{folder / INDEX}:{number}: row {row!r} is no number; the index was changed")
        names.append(name)
        speakers.append(speaker)
        places.append((files.setdefault(shard, folder / shard), int(row)))
    if not names:
        raise InputError(f"{folder}: no embeddings in it yet; run kith embed to its end")
    reader = _READERS[config.format]
    if reader is _archive:
        archives = read_scp(folder / SCP)
        places = [(place.ark, place.offset) for place in (_place(archives, name, folder) for name in names)]
    return Embeddings(folder, tuple(names), tuple(speakers), config.fingerprint, tuple(places), reader)


def _last_line(folder: Path) -> float:
    """The last line of the index that belongs to a finished shard; without a journal, any does."""
    if not (folder / JOURNAL).is_file():
        return math.inf
    with (folder / INDEX).open("rb") as file:
        return file.read(committed_sizes(folder).get(INDEX, 0)).count(b"\n")


def _place(archives: dict[str, Place], name: str, folder: Path) -> Place:
    if name not in archives:
        raise InputError(
            f"{folder / SCP}: no line for {name!r}, which is in the index; embed into a new folder"
        )
    return archives[name]


def _kaldi(scp: Path) -> Embeddings:
    archives = read_scp(scp)
    if not archives:
        raise InputError(f"{scp}: no lines; a line is a key and path.ark:offset")
    beside = scp.parent / "utt2spk"
    speakers = {key: cell(entry) for _, key, entry in read_keys(beside)} if beside.is_file() else {}
    return Embeddings(
        scp.parent,
        tuple(archives),
        tuple(speakers.get(key, "") for key in archives),
        "",
        tuple((place.ark, place.offset) for place in archives.values()),
        _archive,
    )


def _tree(folder: Path) -> Embeddings:
    paths = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*.npy")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise InputError(
            f"{folder}: no embeddings in it ({INDEX}, {SCP} or .npy files); make some with: kith embed"
        )
    tree = detect(paths)
    places = [tree.place(path) for path in paths]
    return Embeddings(
        folder,
        tuple(cell(path.as_posix()) for path in paths),
        tuple("" if each is None else cell(unicodedata.normalize("NFC", each.speaker)) for each in places),
        "",
        tuple((folder / path, 0) for path in paths),
        _npy,
    )


def _shard(path: Path, rows: Sequence[int]) -> FloatArray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            vectors = file.get_tensor(TENSOR)
        return np.asarray(vectors[list(rows)], np.float32)
    except (SafetensorError, OSError, IndexError) as error:
        raise InputError(f"{path}: no shard of embeddings ({error}); embed into a new folder") from None


def _npy(path: Path, rows: Sequence[int]) -> FloatArray:
    try:  # mapped: the file's length is held against its header before anything is allocated
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path}: no embedding: {reason}; embed it again") from None
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size:
        raise InputError(
            f"{path}: {array.dtype} of shape {array.shape}; an embedding is floats, (d,) or (crops, d)"
        )
    vector = np.array(array, np.float32)
    if vector.ndim == 2:
        vector = mean_of_crops(vector) if len(vector) > 1 else vector[0]
    return np.repeat(vector[None], len(rows), axis=0)


def _archive(path: Path, offsets: Sequence[int]) -> FloatArray:
    try:
        file: IO[bytes] = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}; check the path") from error
    with file:
        vectors = [read_vector(file, offset, f"{path}:{offset}") for offset in offsets]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        raise InputError(
            f"{path}: vectors of {min(lengths)} and of {max(lengths)} numbers; embed all with one encoder"
        )
    return np.stack(vectors)


_READERS: dict[str, Reader] = {
    "safetensors": _shard,
    "npy-tree": _npy,
    "kaldi": _archive,
    "kaldi-text": _archive,
}
