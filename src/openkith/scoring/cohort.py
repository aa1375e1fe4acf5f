"""Impostor cohorts: embeddings of people who are nobody's family.

One ships with openkith for the default encoder: embeddings (no audio) of 63 speakers of LibriSpeech
train-clean-100 (CC BY 4.0), some four-second stretches of each, as they are and in the conditions of
`openkith.audio.augment`. For any other encoder, or other people, ``kith cohort build`` makes one and keeps it in the
user's data folder; there is one for each encoder, and the user's own goes before the one that ships.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openkith.audio.augment import GROUPS
from openkith.errors import InputError
from openkith.scoring.base import BUILD_COHORT, Arrays, EmbeddingSet, class_sums

__all__ = [
    "cohorts_folder",
    "find_cohort",
    "load_cohort",
    "save_cohort",
    "shipped_cohort",
    "user_cohort_path",
    "voice_groups",
]

SUFFIX = ".safetensors"
SAME_VOICE = 0.85  # cosine of mean embeddings above which two labels may be one voice
_LARGEST = 127  # of the numbers in a cohort file
_TINY = 1e-9
_BLOCK = 1024  # labels compared with all others at once


def cohorts_folder() -> Path:
    """Where the user's cohorts are kept: ``$KITH_COHORTS``, else ``cohorts`` in the user's data folder."""
    import platformdirs

    override = os.environ.get("KITH_COHORTS", "").strip()
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_data_path("openkith", appauthor=False)) / "cohorts"


def user_cohort_path(fingerprint: str) -> Path:
    """Where the user's cohort for an encoder is looked for, whether there is one or not."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", fingerprint)[:40].strip("-.")
    return cohorts_folder() / f"{readable}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:12]}{SUFFIX}"


def save_cohort(path: str | Path, cohort: EmbeddingSet, fingerprint: str, source: str) -> None:
    """Write a cohort as one safetensors file, embeddings of any shape as 8-bit numbers with a scale for each.

    Args:
        path: The file; it is complete under a temporary name before it takes its own.
        cohort: Any.
        fingerprint: Of the encoder that gave the embeddings.
        source: Where the recordings are from, and under which licence.

    Raises:
        InputError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    scales = np.maximum(np.abs(cohort.embeddings).max(axis=-1, keepdims=True) / _LARGEST, _TINY).astype(
        np.float32
    )
    arrays: Arrays = {
        "embeddings": np.rint(cohort.embeddings / scales).astype(np.int8),
        "scales": scales,
        "labels": cohort.labels.astype(np.int32),
        "clips": cohort.clips.astype(np.int32),
        "groups": cohort.groups.astype(np.int8),
        "copies": cohort.copies.astype(np.uint8),
    }
    # A condition is stored as a number: the names tell a later version which one it was.
    metadata = {"encoder": fingerprint, "source": source, "groups": json.dumps(GROUPS)}
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            save_file(arrays, str(temporary), metadata=metadata)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # the latter on a full disk or a missing folder
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{target}: cannot write ({reason}); choose a folder that exists and is writable"
        ) from error


def load_cohort(path: str | Path) -> tuple[EmbeddingSet, str]:
    """A cohort and the fingerprint of its encoder.

    Raises:
        InputError: Not a cohort file, or one of a version with other conditions.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        names = json.loads(metadata["groups"]) if "groups" in metadata else list(GROUPS)
        renumbered = np.array([GROUPS.index(name) for name in names], np.int64)
        cohort = EmbeddingSet(
            arrays["embeddings"] * arrays["scales"],
            arrays["labels"].astype(np.int64),
            arrays["clips"].astype(np.int64),
            renumbered[arrays["groups"].astype(np.int64)],
            arrays["copies"].astype(np.bool_),
        )
        if cohort.embeddings.ndim < 2 or any(len(values) != len(cohort) for values in arrays.values()):
            raise KeyError("arrays of different lengths")
        return cohort, metadata["encoder"]
    except (SafetensorError, OSError, KeyError, ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a cohort file, or one of another version ({reason}); build one with: "
            f"{BUILD_COHORT.format(encoder='NAME')}"
        ) from error


def find_cohort(fingerprint: str) -> EmbeddingSet | None:
    """The cohort for an encoder: the user's own if there is one, else the one that ships, else None.

    Raises:
        InputError: The user's is damaged, or of another encoder.
    """
    path = user_cohort_path(fingerprint)
    try:
        written = path.stat()
    except OSError:
        return shipped_cohort(fingerprint)
    return _user_cohort(path, fingerprint, written.st_mtime_ns, written.st_size)


@lru_cache(maxsize=2)
def _user_cohort(path: Path, fingerprint: str, _time: int, _size: int) -> EmbeddingSet:
    cohort, encoder = load_cohort(path)
    if encoder != fingerprint:
        raise InputError(f"{path}: a cohort of {encoder}, where one of {fingerprint} belongs; move it away")
    return cohort


@lru_cache(maxsize=4)
def shipped_cohort(fingerprint: str) -> EmbeddingSet | None:
    """The cohort that ships for an encoder, or None."""
    folder = resources.files("openkith.scoring").joinpath("cohorts")
    for item in folder.iterdir() if folder.is_dir() else ():
        if item.name.endswith(SUFFIX):
            with resources.as_file(item) as path:
                cohort, encoder = load_cohort(path)
            if encoder == fingerprint:
                return cohort
    return None


def voice_groups(cohort: EmbeddingSet) -> npt.NDArray[np.int64]:
    """A group for each row, such that labels that may be the same voice are in one group.

    A user's folder of strangers may hold one person twice, or people of the shipped cohort; held-out scores would be
    too good if one of the two were learned from.
    """
    labels, index = np.unique(cohort.labels, return_inverse=True)
    originals = ~cohort.copies
    whole = cohort.embeddings.reshape(len(cohort), math.prod(cohort.embeddings.shape[1:]))  # all views as one
    embeddings = whole[originals]
    means = class_sums(embeddings, index[originals], n_classes=len(labels))
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    from scipy.sparse import csr_array, vstack
    from scipy.sparse.csgraph import connected_components

    alike = [
        csr_array(means[i : i + _BLOCK] @ means.T > SAME_VOICE) for i in range(0, max(len(means), 1), _BLOCK)
    ]
    group = connected_components(vstack(alike), directed=False)[1]
    return np.asarray(group[index], np.int64)
