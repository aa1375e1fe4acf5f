"""Impostor cohorts: embeddings of people who are nobody's family.

One ships with openkith for the default encoder: embeddings (no audio) of 63 speakers of LibriSpeech
train-clean-100 (CC BY 4.0), some four-second stretches of each, as they are and in the conditions of
`openkith.audio.augment`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openkith.errors import InputError
from openkith.scoring.base import Arrays, EmbeddingSet

__all__ = ["load_cohort", "save_cohort", "shipped_cohort", "voice_groups"]

SAME_VOICE = 0.85  # cosine of mean embeddings above which two labels may be one voice
_BLOCK = 1024  # labels compared with all others at once


def save_cohort(path: str | Path, cohort: EmbeddingSet, fingerprint: str, source: str) -> None:
    """Write a cohort as one safetensors file, embeddings in half precision."""
    from safetensors.numpy import save_file

    arrays: Arrays = {
        "embeddings": cohort.embeddings.astype(np.float16),
        "labels": cohort.labels.astype(np.int32),
        "clips": cohort.clips.astype(np.int32),
        "groups": cohort.groups.astype(np.int8),
        "copies": cohort.copies.astype(np.uint8),
    }
    save_file(arrays, str(path), metadata={"encoder": fingerprint, "source": source})


def load_cohort(path: str | Path) -> tuple[EmbeddingSet, str]:
    """A cohort and the fingerprint of its encoder.

    Raises:
        InputError: Not a cohort file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        cohort = EmbeddingSet(
            arrays["embeddings"].astype(np.float32),
            arrays["labels"].astype(np.int64),
            arrays["clips"].astype(np.int64),
            arrays["groups"].astype(np.int64),
            arrays["copies"].astype(np.bool_),
        )
        if cohort.embeddings.ndim != 2 or any(len(values) != len(cohort) for values in arrays.values()):
            raise KeyError("arrays of different lengths")
        return cohort, metadata["encoder"]
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(
            f"{path}: not a cohort file ({error}); build one with tools/build_cohort.py"
        ) from error


@lru_cache(maxsize=4)
def shipped_cohort(fingerprint: str) -> EmbeddingSet | None:
    """The cohort that ships for an encoder, or None."""
    folder = resources.files("openkith.scoring").joinpath("cohorts")
    for item in folder.iterdir() if folder.is_dir() else ():
        if item.name.endswith(".safetensors"):
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
    means = np.zeros((len(labels), cohort.embeddings.shape[1]))
    originals = ~cohort.copies
    np.add.at(means, index[originals], cohort.embeddings[originals])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    from scipy.sparse import csr_array, vstack
    from scipy.sparse.csgraph import connected_components

    alike = [
        csr_array(means[i : i + _BLOCK] @ means.T > SAME_VOICE) for i in range(0, max(len(means), 1), _BLOCK)
    ]
    group = connected_components(vstack(alike), directed=False)[1]
    return np.asarray(group[index], np.int64)
