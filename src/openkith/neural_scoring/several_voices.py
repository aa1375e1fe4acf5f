"""Is it one voice or several? Told from the windows of a clip, without knowing who might be talking.

Two things give several voices away: windows that differ more than those of one voice do, where people talk in turn, and
a mean that no single voice has, where they talk at once. Both are weighed by logistic regression on mixtures of a
cohort's people (`openkith.neural_scoring.cohort_mixtures`); babble and other noise under a voice counts as one voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.encoders.base import FloatArray
from openkith.scoring.base import normalise

__all__ = ["LENGTHS", "SPREADS", "SeveralVoices", "middle_windows"]

LENGTHS = (3, 5, 7, 9)
"""Windows of the clips that are learned from; fewer are too few to tell."""
SPREADS = 3
FALSE_ALARMS = 0.02  # share of the held-out clips of one voice that is taken for several
_RIDGE = 1 / 0.003
_MEAN_SHARE = 1 / 3  # how much of a standard deviation the mean window counts, beside one of a spread


@dataclass(frozen=True, eq=False)
class SeveralVoices:
    """Weights, V looks and d numbers to a window.

    Attributes:
        mean: (V, d) of the mean window.
        spreads: (4, V, 3) of the spreads of a clip with as many windows as `LENGTHS` says; in between, in between.
        offsets: (4,) added to the sum.
    """

    mean: FloatArray
    spreads: FloatArray
    offsets: FloatArray

    def score(self, windows: FloatArray) -> float:
        """Of whitened windows (V, w, d): above 0 where there are several voices, log odds beside a rate of 2 %.

        With fewer than 3 windows (2.2 s) nothing can be told: minus infinity.
        """
        w = windows.shape[1]
        if w < LENGTHS[0]:
            return float("-inf")
        return float(self._scores(windows[None])[0])

    def _scores(self, windows: FloatArray) -> npt.NDArray[np.float64]:
        """Of clips (n, V, w, d) of one length."""
        at = np.interp(windows.shape[2], LENGTHS, np.arange(len(LENGTHS)))
        low = min(int(at), len(LENGTHS) - 2)
        share = at - low
        weights = (1 - share) * self.spreads[low] + share * self.spreads[low + 1]
        offset = (1 - share) * self.offsets[low] + share * self.offsets[low + 1]
        found = np.einsum("nvk,vk->n", _spreads(windows), weights, dtype=np.float64)
        found += np.einsum("nvd,vd->n", windows.mean(axis=2), self.mean, dtype=np.float64)
        return np.asarray(found + offset)

    @classmethod
    def learn(cls, windows: FloatArray, several: npt.NDArray[np.bool_]) -> Self:
        """Learn from clips.

        Args:
            windows: (n, V, 9, d), whitened; their middles stand for shorter clips.
            several: (n,) whether a clip holds more than one voice.
        """
        from sklearn.linear_model import LogisticRegression

        n, looks, _, d = windows.shape
        share = several.mean()
        weights = np.where(several, 0.5 / share, 0.5 / (1.0 - share))  # one voice and several count alike
        scale = _MEAN_SHARE * d**0.5
        columns, scales = [], []
        for i, length in enumerate(LENGTHS):
            cut = middle_windows(windows, length)
            spreads = _spreads(cut).reshape(n, -1)
            centre, deviation = spreads.mean(axis=0), spreads.std(axis=0)
            scales.append((centre, deviation))
            lengths = np.zeros((n, len(LENGTHS)))
            lengths[:, i] = 1.0
            means = cut.mean(axis=2).reshape(n, -1) * scale
            columns.append(np.concatenate([(spreads - centre) / deviation, means, lengths], axis=1))
        model = LogisticRegression(C=1.0 / _RIDGE, max_iter=3000, tol=1e-6)
        model.fit(
            np.concatenate(columns),
            np.tile(several, len(LENGTHS)),
            sample_weight=np.tile(weights, len(LENGTHS)),
        )
        spread, mean, lengths = np.split(model.coef_[0], [looks * SPREADS, looks * (SPREADS + d)])
        each = np.stack([spread / deviation for _, deviation in scales])
        offsets = [
            model.intercept_[0] + at - centre @ own
            for at, own, (centre, _) in zip(lengths, each, scales, strict=True)
        ]
        return cls(
            np.asarray(mean.reshape(looks, d) * scale, np.float32),
            np.asarray(each.reshape(len(LENGTHS), looks, SPREADS), np.float32),
            np.asarray(offsets, np.float32),
        )

    def stricter(self, margins: npt.NDArray[Any]) -> Self:
        """With so much (4,) taken off the score of each length."""
        return replace(self, offsets=np.asarray(self.offsets - margins, np.float32))

    def margins(self, windows: FloatArray) -> npt.NDArray[np.float64]:
        """The scores (4,) of each length above which 2 % of clips of one voice (n, V, 9, d) are."""
        scores = [self._scores(middle_windows(windows, length)) for length in LENGTHS]
        return np.asarray([np.quantile(own, 1.0 - FALSE_ALARMS) for own in scores])


def middle_windows(windows: FloatArray, length: int) -> FloatArray:
    """The ``length`` windows in the middle of clips (n, V, w, d): (n, V, length, d)."""
    first = (windows.shape[2] - length) // 2
    return windows[:, :, first : first + length]


def _spreads(windows: FloatArray) -> npt.NDArray[np.float64]:
    """How much the windows of clips (n, V, w, d) differ: (n, V, 3).

    The mean cosine of two windows, the least cosine of what is before a moment with what is after it, and the second
    largest share of the windows' energy in one direction.
    """
    cosines = np.einsum("nvid,nvjd->nvij", windows, windows)
    w = windows.shape[2]
    pairs = np.triu_indices(w, 1)
    sums = np.cumsum(windows, axis=2)
    before, after = normalise(sums[:, :, :-1]), normalise(sums[:, :, -1:] - sums[:, :, :-1])
    shares = np.linalg.eigvalsh(cosines) / w
    found: Sequence[npt.NDArray[Any]] = (
        cosines[:, :, pairs[0], pairs[1]].mean(axis=-1),
        (before * after).sum(axis=-1).min(axis=-1),
        shares[..., -2],
    )
    return np.stack(found, axis=-1).astype(np.float64)
