"""The file of one utterance: the embeddings of its crops, or one embedding of all of it."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import InputError
from openkith.scoring.base import normalise

__all__ = ["load_crops", "load_embedding", "load_mean"]

FloatArray = npt.NDArray[np.float32]


def load_crops(path: str | Path) -> FloatArray:
    """The embeddings of an utterance's crops, (crops, d); of one that was embedded whole, (1, d).

    Raises:
        InputError: It cannot be read, is no array (d,) or (crops, d) of floats, or has NaN or infinite values.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (a million times)
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror or error}; embed it again") from None
    try:
        start, shape, fortran, dtype = _header(content[: _header_length(content)])
        array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    except (ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: no embedding: {reason}; embed it again") from None
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size:
        raise InputError(
            f"{path}: {array.dtype} of shape {array.shape}; an embedding is floats, (d,) or (crops, d)"
        )
    with np.errstate(over="ignore"):  # a number too large for float32 is refused below
        crops = np.array(np.atleast_2d(array), np.float32)
    if not np.isfinite(crops).all():
        raise InputError(f"{path}: has NaN or infinite values; embed it again")
    return crops


def load_mean(path: str | Path) -> FloatArray:
    """The plain mean over an utterance's crops, (d,).

    Raises:
        InputError: As `load_crops`.
    """
    return np.asarray(load_crops(path).mean(axis=0, dtype=np.float64), np.float32)


def load_embedding(path: str | Path) -> FloatArray:
    """The single-utterance embedding, (d,): the mean over crops, L2-normalised.

    Raises:
        InputError: As `load_crops`.
    """
    return normalise(load_mean(path))


def _header_length(content: bytes) -> int:
    """Bytes before the numbers of a .npy file."""
    np.lib.format.read_magic(BytesIO(content[:8]))
    size = 2 if content[6] == 1 else 4
    return 8 + size + int.from_bytes(content[8 : 8 + size], "little")


@lru_cache(maxsize=64)
def _header(header: bytes) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Where the numbers begin, their shape, whether columns come first, and their type; kept, for all files agree."""
    file = BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    return len(header), shape, fortran, dtype
