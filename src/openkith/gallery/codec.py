"""Arrays and plain values to and from the bytes and texts that the database stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from openkith.errors import GalleryError
from openkith.gallery.records import Arrays

__all__ = ["pack_arrays", "pack_json", "unpack_arrays", "unpack_json"]


def pack_arrays(arrays: Mapping[str, NDArray[Any]], label: str) -> bytes:
    """Arrays as one safetensors blob.

    Args:
        arrays: By name, of any shape; numbers or booleans.
        label: What the message calls them.

    Raises:
        GalleryError: An array's type cannot be stored.
    """
    plain: Arrays = {}
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise GalleryError(f"{label}: array {key!r} has type {array.dtype}: only numbers can be stored")
        # safetensors wants C order and the machine's own byte order, and says so for neither
        plain[key] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return safetensors.numpy.save(plain)
    except (SafetensorError, KeyError, ValueError) as error:
        raise GalleryError(f"{label}: the arrays cannot be stored ({error})") from error


def unpack_arrays(blob: bytes, label: str, remedy: str) -> Arrays:
    """The arrays of a blob, as writable copies.

    Raises:
        GalleryError: The blob is damaged; the message ends with `remedy`.
    """
    try:
        return {key: np.array(array) for key, array in safetensors.numpy.load(blob).items()}
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise GalleryError(f"{label}: the stored arrays are damaged: {remedy}") from error


def pack_json(value: object, label: str) -> str:
    """A plain value as JSON text.

    Raises:
        GalleryError: The value, or one inside it, is not a plain one.
    """
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"{label}: only plain JSON values can be stored ({error})") from error


def unpack_json(text: str, label: str, remedy: str) -> Any:
    """The value of a JSON text.

    Raises:
        GalleryError: The text is damaged; the message ends with `remedy`.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"{label}: the stored values are damaged: {remedy}") from error
