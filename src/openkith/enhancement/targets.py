"""Multi-utterance embeddings: what enhancement is to predict, one for each speaker.

Of each utterance the mean over its crops is taken. Type A is the plain mean of these over the speaker's utterances;
type B the mean of them after each was L2-normalised; type C their mean, L2-normalised (Speaker Embedding Enhancement
Model, 2022).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.enhancement.tree import EmbeddingTree, IntArray, MappedEmbeddings, Progress, means_of
from openkith.enhancement.utterances import FloatArray
from openkith.errors import ConfigError, InputError
from openkith.scoring.base import normalise

__all__ = ["TYPES", "Targets", "make_targets", "multi_utterance", "read_targets", "write_targets"]

KIND = "multi-utterance-embeddings"
VERSION = 1
TENSORS_FILE = "targets.safetensors"
TENSOR = "targets"


def _plain(means: FloatArray) -> FloatArray:
    return np.asarray(means.mean(axis=0, dtype=np.float64), np.float32)


TYPES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "A": _plain,
    "B": lambda means: _plain(normalise(means)),
    "C": lambda means: normalise(_plain(means)),
}
"""From the utterances' means over crops (n, d) to the multi-utterance embedding (d,)."""


def multi_utterance(means: npt.ArrayLike, kind: str) -> FloatArray:
    """The multi-utterance embedding of one speaker, (d,).

    Args:
        means: The plain mean over crops of each utterance, (n, d).
        kind: A key of `TYPES`.

    Raises:
        ConfigError: No such type.
        InputError: Not (n, d), or no utterance.
    """
    _check_type(kind)
    rows = np.asarray(means, np.float32)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"embeddings of shape {rows.shape}; give (n, d), a row for each utterance")
    return TYPES[kind](rows)


@dataclass(frozen=True, eq=False)
class Targets:
    """The multi-utterance embeddings of speakers.

    Attributes:
        kind: "A", "B" or "C".
        speakers: (s) names, sorted.
        embeddings: (s, d) float32.
        utterances: (s,) how many utterances each was made of.
        encoder, fingerprint: Of what embedded them; empty where nothing tells.
    """

    kind: str
    speakers: tuple[str, ...]
    embeddings: FloatArray
    utterances: IntArray
    encoder: str = ""
    fingerprint: str = ""

    @property
    def dim(self) -> int:
        """Length of an embedding, d."""
        return int(self.embeddings.shape[1])

    @property
    def single(self) -> tuple[str, ...]:
        """Speakers with one utterance only: their target says nothing that this one utterance does not."""
        return tuple(self.speakers[number] for number in np.flatnonzero(self.utterances == 1))

    def of(self, names: Sequence[str]) -> FloatArray:
        """The targets of speakers by name, (k, d).

        Raises:
            InputError: One has none.
        """
        missing = next((name for name in names if name not in self._numbers), None)
        if missing is not None:
            raise InputError(
                f"speaker {missing!r} has no target; make targets of the tree that has this speaker"
            )
        return self.embeddings[[self._numbers[name] for name in names]]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.speakers)}


def make_targets(
    tree: EmbeddingTree, kind: str, packed: MappedEmbeddings | None = None, progress: Progress | None = None
) -> Targets:
    """The multi-utterance embeddings of all speakers of a tree; one speaker's embeddings are in memory at a time.

    Args:
        tree: The single utterances.
        kind: A key of `TYPES`.
        packed: The tree, packed; None: its files are read one after another.
        progress: Called with what is being done, files or speakers done, and how many there are.

    Raises:
        ConfigError: No such type.
        InputError: A file is no embedding, or not all have one length.
    """
    _check_type(kind)
    starts = tree.speaker_starts.tolist()
    rows = means_of(tree, progress, "reading embeddings") if packed is None else None
    found = []
    for begin, end in pairwise(starts):
        if rows is not None:
            means = np.stack([next(rows) for _ in range(begin, end)])
        else:
            assert packed is not None
            means = packed.means(np.arange(begin, end))
        found.append(TYPES[kind](means))
    return Targets(
        kind, tree.speakers, np.stack(found), np.diff(tree.speaker_starts), tree.encoder, tree.fingerprint
    )


def write_targets(
    tree: EmbeddingTree, kind: str, out: str | Path, progress: Progress | None = None
) -> Targets:
    """Make the targets of a tree, and write them into a folder; earlier ones there are replaced once these are whole.

    Raises:
        ConfigError: No such type.
        InputError: A file is no embedding, or the folder cannot be written or is something else.
    """
    from safetensors.numpy import save_file

    _check_place(out)
    targets = make_targets(tree, kind, progress=progress)
    about = {
        "kind": KIND,
        "version": VERSION,
        "type": kind,
        "dim": targets.dim,
        "encoder": targets.encoder,
        "fingerprint": targets.fingerprint,
        "speakers": list(targets.speakers),
        "utterances": targets.utterances.tolist(),
    }
    write_artefact(out, about, TENSORS_FILE, lambda path: save_file({TENSOR: targets.embeddings}, path))
    return targets


def read_targets(folder: str | Path) -> Targets:
    """Targets that `write_targets` wrote.

    Raises:
        InputError: There are none, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        if about["kind"] != KIND or about["version"] != VERSION:
            raise ValueError("another kind or version")
        _check_type(about["type"])
        targets = Targets(
            about["type"],
            tuple(map(str, about["speakers"])),
            np.asarray(load_file(folder / TENSORS_FILE)[TENSOR], np.float32),
            np.array(about["utterances"], np.int64),
            str(about["encoder"]),
            str(about["fingerprint"]),
        )
        if targets.embeddings.shape != (len(targets.speakers), about["dim"]):
            raise ValueError(f"targets of shape {targets.embeddings.shape}")
        if targets.utterances.shape != (len(targets.speakers),):
            raise ValueError("not a number of utterances for each speaker")
    except (OSError, ValueError, KeyError, TypeError, ConfigError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: no targets ({reason}); make them with: kith enhance targets") from None
    return targets


def _check_place(folder: str | Path) -> None:
    """Refuse a folder that holds something else, before the work and not after it.

    Raises:
        InputError: As said.
    """
    if Path(folder).exists() and not (Path(folder) / TENSORS_FILE).is_file():
        raise InputError(f"{folder}: there is something else; give a new folder")


def _check_type(kind: str) -> None:
    if kind not in TYPES:
        raise ConfigError(f"no target is of type {kind!r}; there are: {', '.join(TYPES)}")
