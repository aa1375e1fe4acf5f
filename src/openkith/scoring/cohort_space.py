"""What a space owes to the cohort alone: its conditions and the covariance within a speaker.

Learned once for each cohort, and kept: in memory, and for cohorts of many people in the user's cache folder, so that
tuning a household again, or another one, begins where the first ended. No voice can be read from either: both are means
over all speakers.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from openkith.cache import FolderCache, cache_folder
from openkith.scoring.base import SCORED_IN, Arrays, EmbeddingSet, FloatArray, class_sums, normalise
from openkith.scoring.conditions import ConditionGuess, covariance, shrunk

__all__ = ["cohort_conditions", "cohort_space"]

SHRINKAGE = 1.0  # of the within-class covariance, towards a multiple of the identity
LEAST_SPEAKERS = 30  # of a cohort whose statistics are kept on disk
MAX_BYTES = 100_000_000
_MOST_IN_MEMORY = 64  # a cohort has a few folds, each with a few views
_CONDITIONS, _WHITENER = "conditions.", "whitener"

_memory: OrderedDict[str, tuple[ConditionGuess, FloatArray]] = OrderedDict()
_lock = Lock()


def cohort_space(cohort: EmbeddingSet) -> tuple[ConditionGuess, FloatArray]:
    """The condition guess of a cohort (n, d), and the matrix (d, d) that whitens its within-class covariance."""
    name = _digest(cohort)
    with _lock:
        if name in _memory:
            _memory.move_to_end(name)
            return _memory[name]
    folder = cache_folder("cohorts") if cohort.n_speakers >= LEAST_SPEAKERS else None
    files = None if folder is None else FolderCache(folder, ".space", MAX_BYTES)
    found = None if files is None else _unpack(files.get(name))
    if found is None:
        conditions = ConditionGuess().fit(cohort)
        found = conditions, _whitener(cohort, conditions)
        if files is not None:
            files.put(name, _pack(*found))
    with _lock:
        _memory[name] = found
        while len(_memory) > _MOST_IN_MEMORY:
            _memory.popitem(last=False)
    return found


def cohort_conditions(cohort: EmbeddingSet) -> ConditionGuess:
    """The condition guess of a cohort (n, d)."""
    return cohort_space(cohort)[0]


def _whitener(cohort: EmbeddingSet, conditions: ConditionGuess) -> FloatArray:
    """The inverse square root of the covariance of unit-length, condition-centred rows around their speaker's mean."""
    centred = normalise(conditions.centre(cohort.embeddings)).astype(SCORED_IN)
    speaker = np.unique(cohort.labels, return_inverse=True)[1]
    means = class_sums(centred, speaker) / np.bincount(speaker)[:, None]
    within = covariance(centred - means[speaker])
    if np.trace(within) <= 0:
        return np.eye(cohort.embeddings.shape[1], dtype=np.float32)
    values, vectors = np.linalg.eigh(shrunk(within, SHRINKAGE))
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T, np.float32)


def _digest(cohort: EmbeddingSet) -> str:
    """Of all that the statistics depend on, the source code of this package among it."""
    digest = hashlib.sha256(_code_version().encode())
    arrays: tuple[npt.NDArray[np.generic], ...] = (cohort.embeddings, cohort.labels, cohort.groups)
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code_version() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pack(conditions: ConditionGuess, whitener: FloatArray) -> bytes:
    from safetensors.numpy import save

    return save({**conditions.arrays(_CONDITIONS), _WHITENER: np.ascontiguousarray(whitener)})


def _unpack(content: bytes | None) -> tuple[ConditionGuess, FloatArray] | None:
    """What `_pack` was given; None for anything else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: Arrays = load(content) if content else {}
        return ConditionGuess.from_arrays(arrays, _CONDITIONS), np.asarray(arrays[_WHITENER], np.float32)
    except (SafetensorError, KeyError):
        return None
