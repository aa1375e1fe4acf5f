"""PLDA for trials: the two-covariance model on embeddings of unit length, learned from a folder, saved as a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.bulk.reading import Embeddings, read_embeddings
from openkith.errors import InputError, NotEnoughDataError
from openkith.scoring import TwoCovariance
from openkith.scoring.base import normalise

__all__ = ["PairPLDA", "is_model", "load_or_learn"]

ARRAYS_FILE = "plda.safetensors"
KIND = "plda"
VERSION = 1
_ARRAYS = ("mean", "between", "within")


@dataclass(frozen=True, eq=False)
class PairPLDA:
    """A model that tells whether two embeddings are of one speaker: `openkith.scoring.PLDA` in the raw space.

    Attributes:
        model: On embeddings of unit length.
        fingerprint: Of the encoder; empty where nothing tells.
        n_speakers, n_clips: What it was learned from.
    """

    model: TwoCovariance
    fingerprint: str
    n_speakers: int
    n_clips: int

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return len(self.model.mean)

    @classmethod
    def learn(cls, embeddings: Embeddings) -> Self:
        """Learn from embeddings of which it is told who speaks.

        Raises:
            NotEnoughDataError: Nothing tells who speaks, there are fewer than two speakers, or nobody has two clips.
            InputError: The embeddings cannot be read.
        """
        labels = embeddings.labels()
        counts = np.bincount(labels)
        if len(counts) < 2 or counts.max() < 2:
            raise NotEnoughDataError(
                f"{embeddings.folder}: {len(counts)} speakers, at most {counts.max()} clips each; PLDA learns from "
                "several clips of each of many speakers"
            )
        model = TwoCovariance.fit(normalise(embeddings.gather()), labels)
        return cls(model, embeddings.fingerprint, len(counts), len(labels))

    def save(self, folder: str | Path) -> None:
        """Write the model as a folder; an earlier model there is replaced, and nothing is left half-written.

        Raises:
            InputError: Something else is there, or the place cannot be written.
        """
        from safetensors.numpy import save_file

        config = {
            "kind": KIND,
            "version": VERSION,
            "dim": self.dim,
            "fingerprint": self.fingerprint,
            "n_speakers": self.n_speakers,
            "n_clips": self.n_clips,
        }
        arrays = {name: np.ascontiguousarray(getattr(self.model, name), np.float64) for name in _ARRAYS}
        write_artefact(folder, config, ARRAYS_FILE, lambda path: save_file(arrays, path))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model that `save` wrote: the same scores, bit by bit.

        Raises:
            InputError: There is no model, it is damaged, or another version wrote it.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            if config["kind"] != KIND or config["version"] != VERSION:
                raise ValueError("another kind or version")
            arrays = load_file(folder / ARRAYS_FILE)
            mean, between, within = (arrays[name] for name in _ARRAYS)
            dim = config["dim"]
            if mean.shape != (dim,) or between.shape != (dim, dim) or within.shape != (dim, dim):
                raise ValueError("arrays of another shape")
            return cls(
                TwoCovariance(mean, between, within),
                str(config["fingerprint"]),
                int(config["n_speakers"]),
                int(config["n_clips"]),
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise InputError(f"{folder}: not a PLDA model ({reason}); save one with --save-plda") from error

    def sides(self, embeddings: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Rows (n, d + 2) whose inner products are log-likelihood ratios: as enrolment, and as test.

        With one clip on either side the ratio of `openkith.scoring.two_covariance.ratios_of` is ``l_e . z_t + q . z_t^2
        + c_e``: an inner product of ``(l_e, c_e, 1)`` and ``(z_t, 1, q . z_t^2)``.
        """
        from openkith.scoring.two_covariance import ratio_terms

        basis, spread = self.model.basis()
        z = (normalise(embeddings).astype(np.float64) - self.model.mean) @ basis
        linear, square, constant = ratio_terms(z, np.ones(len(z)), spread)
        ones = np.ones((len(z), 1))
        enrol = np.concatenate([linear, constant[:, None], ones], axis=1)
        test = np.concatenate([z, ones, (z * z) @ square[:1].T], axis=1)
        return enrol, test


def is_model(folder: Path) -> bool:
    """Whether a folder has a model in it, as far as names tell."""
    return (folder / ARRAYS_FILE).is_file() and (folder / CONFIG_FILE).is_file()


def load_or_learn(folder: str | Path) -> PairPLDA:
    """The model in a folder; of a folder of embeddings, what is learned from them.

    Raises:
        InputError: It is neither.
        NotEnoughDataError: Too few speakers or clips to learn from, or nothing tells who speaks.
    """
    folder = Path(folder)
    return PairPLDA.load(folder) if is_model(folder) else PairPLDA.learn(read_embeddings(folder))
