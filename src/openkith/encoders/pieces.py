"""Clips cut into pieces and windows, and those of equal length put together; knows nothing of torch.

What an encoder of whole clips does around its network, whatever computes that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio
from openkith.encoders.base import FloatArray

__all__ = ["PieceEncoder", "normalised"]


class PieceEncoder(ABC):
    """An encoder that computes one embedding from the features of a piece of a clip.

    A clip longer than ``whole_seconds`` is embedded in even pieces of at most ``piece_seconds``, whose normalised
    mean is its embedding, so that memory does not grow with its length. Samples too few for the network are
    repeated until there are enough. Pieces with features of equal length are computed together, all others one by
    one, so that no padding touches an embedding.

    Attributes:
        features: Mono float32 samples (n,) in [-1, 1] at 16 kHz to features (T, f), or to samples (n,).
        fewest_samples: The fewest samples that the network can embed.
        batch_length: Length of features that are computed together, at most; a single piece may have more.
        whole_seconds: The longest clip that is embedded as one.
        piece_seconds: The longest piece of a longer one.
        window_seconds, window_step_seconds: The windows of `embed_windows`.
    """

    dim: int
    features: Callable[[FloatArray], FloatArray]
    fewest_samples: int
    batch_length: int
    whole_seconds: ClassVar[float] = 60.0
    piece_seconds: ClassVar[float] = 15.0
    window_seconds: ClassVar[float] = 1.5
    window_step_seconds: ClassVar[float] = 0.75

    @abstractmethod
    def _run(self, features: FloatArray) -> FloatArray:
        """Embeddings (b, dim), not normalised, of features (b, T, f) or samples (b, n)."""

    def embed(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips.

        Args:
            clips: Speech, best with its silences already cut out (`openkith.audio.trim_silence`).

        Returns:
            Shape (len(clips), dim), float32; a clip longer than ``whole_seconds`` has the normalised mean of
            its pieces.
        """
        pieces = [self._pieces(clip.samples) for clip in clips]
        owner = np.repeat(np.arange(len(clips)), [len(part) for part in pieces])
        total = np.zeros((len(clips), self.dim), np.float32)
        np.add.at(total, owner, self._embed([piece for part in pieces for piece in part]))
        return normalised(total)

    def embed_windows(self, clip: Audio) -> tuple[npt.NDArray[np.float64], FloatArray]:
        """Embeddings of windows of ``window_seconds``, one every ``window_step_seconds``; the last ends with the clip.

        Each is what `embed` gives for those samples alone. A shorter clip is one window.

        Returns:
            Start and end of each window in seconds (w, 2), and L2-normalised embeddings (w, dim).
        """
        n, size = len(clip.samples), round(self.window_seconds * SAMPLE_RATE)
        starts = np.arange(0, max(1, n - size + 1), round(self.window_step_seconds * SAMPLE_RATE))
        if starts[-1] + size < n:
            starts = np.append(starts, n - size)
        ends = np.minimum(starts + size, n)
        windows = [clip.samples[start:end] for start, end in zip(starts, ends, strict=True)]
        return np.stack([starts, ends], axis=1) / SAMPLE_RATE, self._embed(windows)

    def _pieces(self, samples: FloatArray) -> list[FloatArray]:
        if len(samples) <= round(self.whole_seconds * SAMPLE_RATE):
            return [samples]
        return np.array_split(samples, -(-len(samples) // round(self.piece_seconds * SAMPLE_RATE)))

    def _features(self, samples: FloatArray) -> FloatArray:
        if len(samples) < self.fewest_samples:
            samples = np.resize(samples, self.fewest_samples)
        return self.features(np.ascontiguousarray(samples, np.float32))

    def _embed(self, pieces: Sequence[FloatArray]) -> FloatArray:
        """Normalised embeddings (n, dim) of pieces."""
        embeddings = np.zeros((len(pieces), self.dim), np.float32)
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
        for rows, batch in self._batches((i, self._features(pieces[i])) for i in order):
            embeddings[rows] = self._run(np.stack(batch))
        return normalised(embeddings)

    def _batches(
        self, rows: Iterable[tuple[int, FloatArray]]
    ) -> Iterator[tuple[list[int], list[FloatArray]]]:
        """Consecutive features of equal length, together until they fill a batch."""
        numbers: list[int] = []
        batch: list[FloatArray] = []
        for number, features in rows:
            full = (len(batch) + 1) * len(features) > self.batch_length
            if batch and (full or len(features) != len(batch[0])):
                yield numbers, batch
                numbers, batch = [], []
            numbers.append(number)
            batch.append(features)
        if batch:
            yield numbers, batch


def normalised(x: FloatArray) -> FloatArray:
    """Rows of unit length, float32."""
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    result: FloatArray = (x / np.maximum(norms, 1e-9)).astype(np.float32)
    return result
