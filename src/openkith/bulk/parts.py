"""What became of utterances, and the files that it is kept in until a shard is written.

A part is a file of safetensors: the vectors of a group, and in its metadata what else is told of each utterance. It is
named for the utterances, and complete before it has its name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["SUFFIX", "Measures", "Outcome", "drop_parts", "read_part", "write_part"]

SUFFIX = ".part"
_VECTORS, _ABOUT = "vectors", "outcomes"

FloatArray = npt.NDArray[np.float32]


class Measures(NamedTuple):
    """What is told of a recording, see `openkith.audio.Quality`; NaN where it was not measured."""

    seconds: float
    speech_seconds: float
    snr_db: float = float("nan")
    clipped: float = float("nan")
    bandwidth_hz: float = float("nan")

    def cells(self) -> list[str]:
        """As the index has them."""
        precise = (3, 2, 1, 5, 0)
        return ["" if x != x else f"{x:.{digits}f}" for x, digits in zip(self, precise, strict=True)]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of an utterance: a vector (d,) or crops (N, d) and its measures, or an error.

    Attributes:
        utterance, path, speaker: As the tables have them.
        vector: float32; None: it could not be embedded.
        measures: None with it.
        error: Why not, in one line; empty where it was.
    """

    utterance: str
    path: str
    speaker: str
    vector: FloatArray | None
    measures: Measures | None
    error: str = ""


def write_part(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """Keep the outcomes of a group."""
    from safetensors.numpy import save

    about = [[o.utterance, o.path, o.speaker, o.measures, o.error] for o in outcomes]
    vectors = [outcome.vector for outcome in outcomes if outcome.vector is not None]
    arrays = {_VECTORS: np.stack(vectors)} if vectors else {}
    name = hashlib.sha256("\n".join(outcome.utterance for outcome in outcomes).encode()).hexdigest()[:32]
    path = folder / f"{name}{SUFFIX}"
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    temporary.write_bytes(save(arrays, {_ABOUT: json.dumps(about)}))
    temporary.replace(path)
    return path


def read_part(path: Path) -> list[Outcome] | None:
    """The outcomes that `write_part` kept; None where the file is damaged or gone."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        vectors = iter(load(content).get(_VECTORS, ()))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"][_ABOUT])
        outcomes = []
        for utterance, source, speaker, measures, error in about:
            vector = None if error else next(vectors)
            measured = None if error else Measures(*measures)
            outcomes.append(Outcome(utterance, source, speaker, vector, measured, error))
        return outcomes
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, StopIteration):
        return None


def drop_parts(paths: Iterable[Path]) -> None:
    """Remove parts whose shard is finished."""
    for path in set(paths):
        path.unlink(missing_ok=True)
