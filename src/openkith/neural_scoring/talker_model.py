"""The arrays of the multi-talker scorer, and the scores that they give: embeddings and tokens in, numbers out.

No voice can be heard from them: they are means of people of a cohort, and matrices.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.encoders.base import FloatArray
from openkith.errors import InputError
from openkith.neural_scoring.several_voices import LENGTHS, SPREADS, SeveralVoices
from openkith.scoring.base import normalise

__all__ = [
    "ARTEFACT",
    "LOOKS",
    "NEAREST",
    "CohortTrials",
    "Line",
    "TalkerModel",
    "Tokens",
    "one_token",
    "shipped_model",
]

NEAREST = 30  # voices of the cohort whose scores are taken off
_FORMAT = "openkith multi-talker 2"

LOOKS = ("as it is", "without steady noise")
ARTEFACT = "multi-talker-ge2e.safetensors"
PIECE_WINDOWS, PIECE_STEP = 9, 5  # a longer clip is scored in pieces of 4 s, 1.5 s apart

Line = tuple[float, float]  # log odds = first * score + second


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one clip.

    Attributes:
        windows: (V, w, d) L2-normalised embeddings of windows of 1.6 s in each of the V `LOOKS`, in order of time.
        prefixes: (V, w, p, d) L2-normalised embeddings of each window's first 0.88, 0.96 ... 1.6 s; p is 10, or for a
            clip under 1.6 s as many as lie within it, at least 1.
        times: (w, 2) start and end of each window in seconds.
    """

    windows: FloatArray
    prefixes: FloatArray
    times: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    def between(self, first: int, last: int) -> Tokens:
        """The windows ``first`` to ``last`` (excluded), with their prefixes, at their times in the whole clip."""
        return Tokens(self.windows[:, first:last], self.prefixes[:, first:last], self.times[first:last])


@dataclass(frozen=True, eq=False)
class CohortTrials:
    """Scores of people whom the model was not learned from, which thresholds stand on.

    Attributes:
        targets: (t,) of people who talk in a clip.
        nontargets: (u, m) of m voices that do not talk in each of u clips.
    """

    targets: FloatArray
    nontargets: FloatArray


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
        several: Tells several voices from one.
        trials: Scores of held-out people, a fifth of the clips of each scenario.
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
    several: SeveralVoices
    trials: CohortTrials
    fingerprint: str
    source: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all arrays, which tells one model from another."""
        found = hashlib.sha256(self.fingerprint.encode())
        for name in _ARRAYS:
            found.update(np.ascontiguousarray(attrgetter(name)(self), np.float16).tobytes())
        return found.hexdigest()

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

    def best_scores(self, people: FloatArray, tokens: Tokens) -> npt.NDArray[np.float64]:
        """Scores (n,) of people (V, n, d): those of the clip, or in one over 4 s of each one's best piece."""
        pieces = [tokens.between(first, last) for first, last in _pieces(len(tokens))]
        return np.asarray(np.max([self.scores(people, piece) for piece in pieces], axis=0), np.float64)

    def window_log_odds(self, enrolments: npt.NDArray[Any], tokens: Tokens) -> npt.NDArray[np.float64]:
        """Log odds (w, n) at equal priors that each of some people (n, d) talks in each window."""
        people = self.people(enrolments)
        scores = [self.scores(people, tokens.between(i, i + 1)) for i in range(len(tokens))]
        return np.asarray(self.window_line[0] * np.stack(scores) + self.window_line[1])

    def several_voices(self, tokens: Tokens) -> float:
        """Above 0 where a clip holds more than one voice, as 2 % of clips of one voice do; natural log.

        Of a clip over 4 s the likeliest piece, less the logarithm of the number of pieces. Minus infinity with fewer
        than three windows (2.2 s), where nothing can be told.
        """
        windows, pieces = self.whitened(tokens.windows), _pieces(len(tokens))
        scores = [self.several.score(windows[:, first:last]) for first, last in pieces]
        return max(scores) - math.log(len(pieces))

    def scores(self, people: FloatArray, tokens: Tokens) -> npt.NDArray[np.float64]:
        """Scores (n,) of people (V, n, d), less the mean of the largest scores of the cohort."""
        n = people.shape[1]
        s = self._compare(np.concatenate([people, self._cohort], axis=1), tokens)
        k = min(NEAREST, len(s) - n)
        nearest = np.partition(s[n:], len(s) - n - k)[len(s) - n - k :]
        return np.asarray(s[:n] - nearest.mean())

    def whitened(self, windows: npt.NDArray[Any]) -> FloatArray:
        """Windows (..., V, w, d) as they are compared."""
        return normalise((windows - self.token_centres[:, None]) @ self.token_maps)

    def _compare(self, people: FloatArray, tokens: Tokens) -> npt.NDArray[np.float64]:
        """Weighted sums (n,) for people (V, n, d), before the cohort's are taken off."""
        centre = self.token_centres[:, None]
        windows = self.whitened(tokens.windows)
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

        arrays = {name: np.ascontiguousarray(attrgetter(name)(self), np.float16) for name in _ARRAYS}
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
            expected = _shapes(
                len(arrays["centre"]), len(arrays["centroids"]), arrays["trials.nontargets"].shape
            )
            if shapes != {**expected, "trials.targets": (arrays["trials.targets"].size,)}:
                raise ValueError(f"shapes are {shapes}")
            return cls(
                **{name: value for name, value in arrays.items() if "." not in name},
                several=SeveralVoices(**_below(arrays, "several")),
                trials=CohortTrials(**_below(arrays, "trials")),
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


def one_token(embedding: FloatArray) -> Tokens:
    """The embedding (d,) of a whole clip as if it were one window of both looks."""
    windows = np.broadcast_to(embedding, (len(LOOKS), 1, len(embedding)))
    return Tokens(windows, windows[:, :, None], np.zeros((1, 2)))


@lru_cache(maxsize=1)
def shipped_model() -> TalkerModel:
    """The model that ships, for the default encoder."""
    with resources.as_file(resources.files("openkith.neural_scoring").joinpath(ARTEFACT)) as path:
        return TalkerModel.load(path)


def _pieces(n_windows: int) -> list[tuple[int, int]]:
    """First and last (excluded) window of each piece of 4 s; the last piece ends with the clip."""
    last = max(n_windows - PIECE_WINDOWS, 0)
    starts = [*range(0, last, PIECE_STEP), last]
    return [(start, min(start + PIECE_WINDOWS, n_windows)) for start in starts]


def _softpool(
    people: FloatArray, tokens: FloatArray, temperature: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Cosines of people (V, n, d) with tokens (V, t, d) of all looks, averaged by softmax(temperature cos): (n,)."""
    cosines = (people @ tokens.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(people.shape[1], -1)
    weights = np.exp(temperature * (cosines - cosines.max(axis=1, keepdims=True)))
    return np.asarray((weights * cosines).sum(axis=1) / weights.sum(axis=1), np.float32)


def _shapes(d: int, voices: int, nontargets: tuple[int, ...] = ()) -> dict[str, tuple[int, ...]]:
    v = len(LOOKS)
    return {
        "centre": (d,),
        "token_centres": (v, d),
        "maps": (v, d, d),
        "token_maps": (v, d, d),
        "centroids": (voices, d),
        "weights": (3,),
        "temperatures": (2,),
        "several.mean": (v, d),
        "several.spreads": (len(LENGTHS), v, SPREADS),
        "several.offsets": (len(LENGTHS),),
        "trials.targets": (),
        "trials.nontargets": nontargets,
    }


def _below(arrays: dict[str, FloatArray], part: str) -> dict[str, FloatArray]:
    return {
        name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")
    }


_ARRAYS = tuple(_shapes(0, 0))
