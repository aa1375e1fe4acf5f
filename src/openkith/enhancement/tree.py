"""A tree of embeddings, speaker/recording/file.npy, as ``kith embed --format npy-tree`` writes it.

`read_tree` lists it and opens no file. `pack_tree` puts the embeddings of all utterances into one array on the disk,
of which `MappedEmbeddings` reads rows, so that no epoch opens a million files.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.data.corpus import AUDIO_SUFFIXES
from openkith.data.trees import TREES
from openkith.enhancement.utterances import FloatArray, load_crops, load_embedding, load_mean
from openkith.errors import InputError
from openkith.locks import locked
from openkith.scoring.base import normalise

__all__ = [
    "EmbeddingTree",
    "MappedEmbeddings",
    "Progress",
    "load_crops",
    "load_embedding",
    "load_mean",
    "pack_tree",
    "read_tree",
]

IntArray = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

SUFFIX = ".npy"
KIND = "packed-embeddings"
VERSION = 1
ROWS_FILE = "embeddings.npy"
_STEMS = frozenset({*AUDIO_SUFFIXES, SUFFIX})
_STEP = 1000  # files between two words of progress


@dataclass(frozen=True, eq=False)
class EmbeddingTree:
    """The files of a tree, sorted by speaker, recording and name, whatever the order of the file system.

    Attributes:
        root: Its folder.
        files: (n) paths below it, with slashes.
        speakers: (s) names, sorted.
        speaker_of: (n,) the place of each file's speaker among them, never falling.
        recordings: (r) ``speaker/recording``, in the order of the files.
        recording_of: (n,) the place of each file's recording among them, never falling.
        encoder, fingerprint: Of what embedded it, where ``kith embed`` did; else empty.
    """

    root: Path
    files: tuple[str, ...]
    speakers: tuple[str, ...]
    speaker_of: IntArray
    recordings: tuple[str, ...]
    recording_of: IntArray
    encoder: str = ""
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.files)

    def path(self, number: int) -> Path:
        """Where a file is."""
        return self.root / self.files[number]

    @cached_property
    def speaker_starts(self) -> IntArray:
        """(s + 1,): the files of speaker k are those from ``speaker_starts[k]`` up to ``speaker_starts[k + 1]``."""
        return _starts(self.speaker_of, len(self.speakers))

    @cached_property
    def recording_starts(self) -> IntArray:
        """(r + 1,): the same of recordings."""
        return _starts(self.recording_of, len(self.recordings))

    def find(self, entry: str) -> int | None:
        """The number of a file by its path below the root; of audio, the embedding of the same stem.

        None where there is none.
        """
        found = self._by_stem.get(_stem(entry))
        if found is None and entry.startswith("."):
            found = self._by_stem.get(_stem(PurePosixPath(entry).as_posix()))
        return found

    @cached_property
    def _by_stem(self) -> dict[str, int]:
        return {name.removesuffix(SUFFIX): number for number, name in enumerate(self.files)}


def read_tree(root: str | Path) -> EmbeddingTree:
    """List a tree of embeddings; none is opened.

    The first folder is the speaker, the folders below it are the recording; a file that lies in the speaker's own
    folder is a recording of its own. In a VoxCeleb tree the speaker is the folder ``idNNNNN``, at any depth, and the
    recording is the video. Hidden files and folders are passed over, linked folders are followed.

    Raises:
        InputError: No folder, no embedding in it, or one that is in no speaker's folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of embeddings; make one with: kith embed --format npy-tree")
    folders = {folder: names for folder, names in _folders(root) if names}
    if not folders:
        raise InputError(
            f"{root}: no {SUFFIX} file in it; embed with: kith embed --format npy-tree, a file for each utterance"
        )
    voxceleb = TREES["voxceleb"]
    is_voxceleb = voxceleb.fits([PurePosixPath(folder, "x") for folder in folders])
    groups: dict[tuple[str, str], list[str]] = {}
    for folder, names in folders.items():
        if is_voxceleb:
            place = voxceleb.place(PurePosixPath(folder, "x"))
            assert place is not None
            speaker, recording = place.speaker, place.session
        else:
            speaker, _, recording = folder.partition("/")
        if not speaker:
            raise InputError(
                f"{root / names[0]}: is in no speaker's folder; a tree is speaker/recording/file{SUFFIX}"
            )
        speaker = unicodedata.normalize("NFC", speaker)
        if recording:
            groups.setdefault((speaker, recording), []).extend(f"{folder}/{name}" for name in names)
        else:
            for name in names:
                path = f"{folder}/{name}"
                groups[speaker, name if folder == speaker else path] = [path]
    return _indexed(root, groups)


def _indexed(root: Path, groups: dict[tuple[str, str], list[str]]) -> EmbeddingTree:
    keys = sorted(groups)
    speakers = tuple(dict.fromkeys(speaker for speaker, _ in keys))
    numbers = {name: number for number, name in enumerate(speakers)}
    counts = [len(groups[key]) for key in keys]
    owners = np.array([numbers[speaker] for speaker, _ in keys], np.int64)
    encoder, fingerprint = _embedded_by(root)
    return EmbeddingTree(
        root=root,
        files=tuple(name for key in keys for name in sorted(groups[key])),
        speakers=speakers,
        speaker_of=np.repeat(owners, counts),
        recordings=tuple(f"{speaker}/{recording}" for speaker, recording in keys),
        recording_of=np.repeat(np.arange(len(keys)), counts),
        encoder=encoder,
        fingerprint=fingerprint,
    )


def _folders(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder, as its path below the root (the root: empty), and the embeddings that lie in it."""
    top = os.fspath(root)
    seen: set[str] = set()
    for here, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(here, top).replace(os.sep, "/")
        found = [name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]
        yield ("" if below == "." else below), found


def _embedded_by(root: Path) -> tuple[str, str]:
    """Name and fingerprint of the encoder, as ``kith embed`` writes them; empty where it did not."""
    try:
        about = json.loads((root / CONFIG_FILE).read_text("utf-8"))
        return str(about["encoder"]), str(about["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def _starts(numbers: IntArray, kinds: int) -> IntArray:
    return np.searchsorted(numbers, np.arange(kinds + 1)).astype(np.int64)


def _stem(entry: str) -> str:
    name, dot, suffix = entry.rpartition(".")
    return name if dot and f".{suffix.lower()}" in _STEMS else entry


class MappedEmbeddings:
    """The embeddings of a packed tree, in the order of its files, on the disk until they are asked for.

    Rows are read and not mapped: with the large pages that file systems have today, a row that is touched may bring
    2 MB into the memory of the process, and an epoch would bring the whole array. It can be sent to other processes.

    Args:
        folder: What `pack_tree` wrote.

    Attributes:
        dim: d.

    Raises:
        InputError: It is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._path = self.folder / ROWS_FILE
        try:
            array = np.lib.format.open_memmap(self._path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise InputError(f"{self._path}: no packed embeddings: {reason}; pack the tree again") from None
        if array.dtype != np.float32 or array.ndim != 2:
            raise InputError(f"{self._path}: {array.dtype} of shape {array.shape}; pack the tree again")
        self._rows, self.dim = int(array.shape[0]), int(array.shape[1])
        self._offset = int(array.offset)

    def __len__(self) -> int:
        return self._rows

    def gather(self, numbers: npt.ArrayLike) -> FloatArray:
        """Single-utterance embeddings (k, d) of files by number: means over crops, L2-normalised."""
        return normalise(self.means(numbers))

    def means(self, numbers: npt.ArrayLike) -> FloatArray:
        """The plain means over crops, (k, d).

        Raises:
            IndexError: There is no file of that number.
            InputError: The array has become shorter.
        """
        asked = np.asarray(numbers, np.int64)
        wanted, places = np.unique(asked, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self._rows:
            raise IndexError(
                f"rows from {wanted[0]} to {wanted[-1]}; there are rows from 0 to {self._rows - 1}"
            )
        rows = np.empty((len(wanted), self.dim), np.float32)
        starts = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
        with self._path.open("rb", buffering=0) as file:
            for begin, end in pairwise(starts):  # of rows that lie side by side
                if end > begin:
                    self._fill(file, int(wanted[begin]), rows[begin:end])
        if np.array_equal(wanted, asked):  # in order already
            return rows
        return np.asarray(rows[places.reshape(asked.shape)])

    def _fill(self, file: FileIO, first: int, rows: FloatArray) -> None:
        file.seek(self._offset + rows.itemsize * self.dim * first)
        left = rows.data.cast("B")
        while left:
            count = file.readinto(left)
            if not count:
                last = first + len(rows) - 1
                raise InputError(f"{self._path}: it ends before row {last}; pack the tree again")
            left = left[count:]


def pack_tree(tree: EmbeddingTree, out: str | Path, progress: Progress | None = None) -> MappedEmbeddings:
    """Put the embeddings of a tree into one array on the disk: the plain mean over the crops of each file.

    What is packed already is used as it is, unless a file was added, removed or written since. Of several processes one
    packs, and the others wait for it.

    Args:
        tree: What to pack.
        out: A folder for it.
        progress: Called with what is being done, files done and files in all.

    Raises:
        InputError: A file is no embedding, not all have one length, or ``out`` cannot be written or is something else.
    """
    out = Path(out)
    state = _state(tree)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.with_name(f".{out.name}.lock")):
            if _packed_state(out) != state:
                dim = load_crops(tree.path(0)).shape[1]
                about = {"kind": KIND, "version": VERSION, "files": len(tree), "dim": dim, "state": state}
                write_artefact(out, about, ROWS_FILE, lambda path: _pack(tree, dim, path, progress))
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror or error}); give another folder"
        ) from error
    return MappedEmbeddings(out)


def _pack(tree: EmbeddingTree, dim: int, path: Path, progress: Progress | None) -> None:
    """A .npy file, row by row: of a mapped one, what was written would stay in memory."""
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": descr, "fortran_order": False, "shape": (len(tree), dim)}
        )
        for mean in means_of(tree, progress, "packing embeddings"):
            file.write(mean.tobytes())


def means_of(tree: EmbeddingTree, progress: Progress | None, what: str) -> Iterator[FloatArray]:
    """The plain mean over crops of one file after another, each (d,).

    Raises:
        InputError: As `load_crops`, or not all have one length.
    """
    dim = 0
    for number in range(len(tree)):
        mean = load_mean(tree.path(number))
        dim = dim or len(mean)
        if len(mean) != dim:
            raise InputError(
                f"{tree.path(number)}: {len(mean)} numbers, and {tree.path(0)} has {dim}; embed all with one encoder"
            )
        yield mean
        if progress is not None and (number + 1) % _STEP == 0:
            progress(what, number + 1, len(tree))


def _state(tree: EmbeddingTree) -> str:
    """What changes where a file is added, removed, moved or written."""
    digest = hashlib.sha256()
    for number, name in enumerate(tree.files):
        try:
            about = os.stat(tree.path(number))  # noqa: PTH116
        except OSError as error:
            raise InputError(
                f"{tree.path(number)}: cannot read: {error.strerror or error}; list the tree again"
            ) from None
        digest.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _packed_state(folder: Path) -> str | None:
    try:
        about = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        same = about["kind"] == KIND and about["version"] == VERSION and (folder / ROWS_FILE).is_file()
        return str(about["state"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
