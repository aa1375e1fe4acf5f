r"""Kaldi's archives of vectors: ``.ark`` files, binary or text, and ``.scp`` files that say where each vector lies.

An entry of an archive is a key, a space, and a vector. A binary vector is ``\0B``, then ``FV `` (float) or ``DV ``
(double), the byte 4, its length as a 32-bit integer, and its numbers, all little-endian; a text vector is
``[ 0.1 0.2 ]`` and a line's end. A line of an ``.scp`` file is a key and ``path.ark:offset``, the offset of what
follows the key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from openkith.bulk.listing import read_keys
from openkith.errors import InputError

__all__ = ["Place", "encode_ark", "read_ark", "read_scp", "read_vector"]

_BINARY = b"\0B"
_TYPES: dict[bytes, npt.DTypeLike] = {b"FV ": "<f4", b"DV ": "<f8"}
_BYTES = {b"FV ": 4, b"DV ": 8}  # of a number
_LONGEST = 1 << 20  # numbers of a vector: more is no embedding
_LONGEST_KEY = 4096

FloatArray = npt.NDArray[np.float32]


class Place(NamedTuple):
    """Where a vector lies: the archive, and the offset in it."""

    ark: Path
    offset: int


def encode_ark(keys: Sequence[str], vectors: FloatArray, *, text: bool = False) -> tuple[bytes, list[int]]:
    """An archive of vectors (n, d), and the offset of each.

    Raises:
        InputError: A key is empty or has white space, which no archive can hold.
    """
    parts, offsets, size = [], [], 0
    for key, vector in zip(keys, np.asarray(vectors, np.float32), strict=True):
        if key.split() != [key]:
            raise InputError(f"{key!r} has white space, which ends a key of Kaldi's; rename it")
        name = f"{key} ".encode()
        if text:
            body = f" [ {' '.join(format(float(value), '.9g') for value in vector)} ]\n".encode()
        else:
            body = _BINARY + b"FV \4" + struct.pack("<i", len(vector)) + vector.astype("<f4").tobytes()
        offsets.append(size + len(name))
        size += len(name) + len(body)
        parts += [name, body]
    return b"".join(parts), offsets


def read_ark(path: str | Path) -> Iterator[tuple[str, FloatArray]]:
    """The keys and vectors of an archive, in its order.

    Raises:
        InputError: It cannot be read, or has something other than vectors.
    """
    path = Path(path)
    with _opened(path) as file:
        while True:
            key = _key(file, path)
            if key is None:
                return
            yield key, _vector(file, f"{path}: {key!r}")


def read_scp(path: str | Path) -> dict[str, Place]:
    """Where each vector of an ``.scp`` file lies. An archive that is not where it says may lie beside the file.

    Raises:
        ManifestError: The file or a line of it is wrong.
        InputError: A line names no archive and offset.
    """
    path = Path(path)
    places: dict[str, Place] = {}
    archives: dict[str, Path] = {}
    for number, key, entry in read_keys(path):
        name, _, offset = entry.rpartition(":")
        if not name or not offset.isdecimal():
            raise InputError(
                f"{path}:{number}: {entry!r} is no place in an archive; it should be path.ark:offset"
            )
        if name not in archives:
            ark, beside = Path(name), path.parent / Path(name).name
            archives[name] = beside if beside.exists() and not ark.exists() else ark
        places[key] = Place(archives[name], int(offset))
    return places


def read_vector(file: IO[bytes], offset: int, what: str) -> FloatArray:
    """The vector at an offset of an open archive.

    Raises:
        InputError: There is none.
    """
    file.seek(offset)
    return _vector(file, what)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}; check the path") from error


def _key(file: IO[bytes], path: Path) -> str | None:
    """The next key and the space after it; None at the end of the archive."""
    name = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte or len(name) > _LONGEST_KEY:
            if not name.strip():
                return None
            raise InputError(f"{path}: not an archive of Kaldi's, or cut short; write it again")
        name += byte
    return name.lstrip(b"\n").decode("utf-8", "replace")


def _vector(file: IO[bytes], what: str) -> FloatArray:
    bad = InputError(f"{what}: no vector there; it is damaged, or another kind of archive")
    head = file.read(2)
    if head != _BINARY:
        line = (head + file.readline()).split()
        try:
            if line[0] != b"[" or line[-1] != b"]":
                raise bad
            return np.array([float(number) for number in line[1:-1]], np.float32)
        except (ValueError, IndexError):
            raise bad from None
    kind, size = file.read(3), file.read(5)
    if kind not in _TYPES or len(size) != 5 or size[0] != 4:
        raise bad
    count = struct.unpack("<i", size[1:])[0]
    if not 0 < count <= _LONGEST:
        raise bad
    content = file.read(count * _BYTES[kind])
    if len(content) != count * _BYTES[kind]:
        raise bad
    return np.frombuffer(content, _TYPES[kind]).astype(np.float32)
