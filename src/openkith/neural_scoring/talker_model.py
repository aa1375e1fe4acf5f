"""The arrays of the multi-talker scorer, and the scores that they give: embeddings and tokens in, numbers out.

No voice can be heard from them: they are means of people of a cohort, and matrices.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.encoders.base import FloatArray
from openkith.errors import InputError
from openkith.neural_scoring.tokens import LOOKS, Tokens
from openkith.scoring.base import normalise

__all__ = ["NEAREST", "Line", "TalkerModel"]

NEAREST = 30  # voices of the cohort whose scores are taken off
_FORMAT = "openkith multi-talker 1"

Line = tuple[float, float]  # log odds = first * score + second


@dataclass(frozen=True, eq=False)
class TalkerModel:
    """What is learned of a cohort, V looks (`openkith.neural_scoring.tokens.LOOKS`) and d numbers to an embedding.

    Attributes:
        centre: (d,) taken off embeddings of enrolled people.
        token_centres: (V, d) taken off tokens.
        maps: (V, d, d) which centred embeddings of people are multiplied by.
        token_maps: (V, d, d) the same of tokens.
        centroids: (C, d) mean embedding of each voice of the cohort, L2-normalised.
        weights: (3,) of the mean window, the windows and the prefixes.
        temperatures: (2,) of the softpool of windows and of prefixes.
        line: From scores to log odds at equal priors.
        window_line: The same of a single window.
        fingerprint: Of the encoder.
        source: Where the voices are from, and under which licence.
    """

    centre: FloatArray
    token_centres: FloatArray
    maps: FloatArray
    token_maps: FloatArray
    centroids: FloatArray
    weights: FloatArray
    temperatures: FloatArray
    line: Line
    window_line: Line
    fingerprint: str
    source: str

    @cached_property
    def _cohort(self) -> FloatArray:
        return self.people(self.centroids)

    def people(self, enrolments: npt.NDArray[Any]) -> FloatArray:
        """Plain embeddings (n, d), of any length, as they are compared with tokens: (V, n, d).

        Raises:
            InputError: Another shape, or not finite.
        """
        d = len(self.centre)
        if enrolments.ndim != 2 or enrolments.shape[1] != d:
            raise InputError(f"enrolments of shape {enrolments.shape}; give (n, {d}), a row a person")
        if not np.isfinite(enrolments).all():
            raise InputError("enrolments have NaN or infinite values; embed those people again")
        return normalise((normalise(enrolments) - self.centre) @ self.maps)

    def scores(self, people: FloatArray, tokens: Tokens) -> npt.NDArray[np.float64]:
        """Scores (n,) of people (V, n, d), less the mean of the largest scores of the cohort."""
        n = people.shape[1]
        s = self._compare(np.concatenate([people, self._cohort], axis=1), tokens)
        k = min(NEAREST, len(s) - n)
        nearest = np.partition(s[n:], len(s) - n - k)[len(s) - n - k :]
        return np.asarray(s[:n] - nearest.mean())

    def _compare(self, people: FloatArray, tokens: Tokens) -> npt.NDArray[np.float64]:
        """Weighted sums (n,) for people (V, n, d), before the cohort's are taken off."""
        centre = self.token_centres[:, None]
        windows = normalise((tokens.windows - centre) @ self.token_maps)  # (V, w, d)
        flat = tokens.prefixes.reshape(len(windows), -1, windows.shape[2])
        prefixes = normalise((flat - centre) @ self.token_maps)  # (V, w p, d)
        means = normalise(windows.mean(axis=1))  # (V, d)
        parts = (
            np.einsum("vnd,vd->n", people, means) / len(means),
            _softpool(people, windows, self.temperatures[0]),
            _softpool(people, prefixes, self.temperatures[1]),
        )
        return np.asarray(np.tensordot(self.weights, np.stack(parts), axes=1), np.float64)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, in half precision; it is complete before it takes its name.

        Raises:
            InputError: It cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in _ARRAYS}
        metadata = {
            "format": _FORMAT,
            "encoder": self.fingerprint,
            "source": self.source,
            "lines": json.dumps([self.line, self.window_line]),
        }
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            try:
                save_file(arrays, str(temporary), metadata=metadata)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{target}: cannot write ({reason}); choose a folder that exists and is writable"
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: Not such a file, or one of another version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
                arrays = {name: file.get_tensor(name).astype(np.float32) for name in _ARRAYS}
            (slope, offset), (window_slope, window_offset) = json.loads(metadata["lines"])
            shapes = {name: array.shape for name, array in arrays.items()}
            if shapes != _shapes(len(arrays["centre"]), len(arrays["centroids"])):
                raise ValueError(f"shapes are {shapes}")
            return cls(
                **arrays,
                line=(float(slope), float(offset)),
                window_line=(float(window_slope), float(window_offset)),
                fingerprint=metadata["encoder"],
                source=metadata.get("source", ""),
            )
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path}: no model of the multi-talker scorer ({reason}); make one with MultiTalker.fit"
            ) from error


def _softpool(
    people: FloatArray, tokens: FloatArray, temperature: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Cosines of people (V, n, d) with tokens (V, t, d) of all looks, averaged by softmax(temperature cos): (n,)."""
    cosines = (people @ tokens.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(people.shape[1], -1)
    weights = np.exp(temperature * (cosines - cosines.max(axis=1, keepdims=True)))
    return np.asarray((weights * cosines).sum(axis=1) / weights.sum(axis=1), np.float32)


def _shapes(d: int, voices: int) -> dict[str, tuple[int, ...]]:
    v = len(LOOKS)
    return {
        "centre": (d,),
        "token_centres": (v, d),
        "maps": (v, d, d),
        "token_maps": (v, d, d),
        "centroids": (voices, d),
        "weights": (3,),
        "temperatures": (2,),
    }


_ARRAYS = tuple(_shapes(0, 0))
