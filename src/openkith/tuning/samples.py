"""Rows for training: embeddings or padded frames as tensors, and which of them each batch has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openkith.errors import InputError

__all__ = ["Clips", "Samples", "epoch_batches", "weighted_batches"]

#: Embeddings (n, d), frames (n, T, f), or one array (T_i, f) of frames for each clip.
Clips = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]

_STEPS_AT_ONCE = 256  # batches drawn in one call


@dataclass(frozen=True)
class Samples:
    """What an adapter takes.

    Attributes:
        values: Embeddings (n, d), or frames (n, T, f) padded at the end.
        lengths: For frames, each clip's own, shape (n,).
    """

    values: Tensor
    lengths: Tensor | None = None

    @classmethod
    def of(cls, clips: Clips, what: str, frames: bool, dim: int | None = None) -> Samples:
        """Clips of the user's, checked.

        Args:
            clips: See `Clips`.
            what: What they are, for the message.
            frames: Whether the adapter takes frames.
            dim: Length that each embedding or frame must have; None: any.

        Raises:
            InputError: Another shape, or a value is not finite.
        """
        if not frames:
            values = np.asarray(clips)
            if values.ndim != 2 or (dim is not None and values.shape[1] != dim):
                raise InputError(
                    f"{what}: embeddings of shape {values.shape}; give (n, {dim or 'd'}), one row a clip"
                )
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                raise InputError(
                    f"{what}: row {np.argmin(finite)} has NaN or infinite values; leave that clip out"
                )
            return cls(torch.from_numpy(np.ascontiguousarray(values, np.float32)))
        each = [np.asarray(clip, np.float32) for clip in clips]
        length = dim or (each[0].shape[-1] if each and each[0].ndim else 0)
        for i, clip in enumerate(each):
            if clip.ndim != 2 or clip.shape[1] != length or not len(clip):
                raise InputError(
                    f"{what}: clip {i} has frames of shape {clip.shape}; give (T, {length or 'f'}), one row a frame"
                )
            if not np.isfinite(clip).all():
                raise InputError(f"{what}: clip {i} has NaN or infinite values; leave that clip out")
        lengths = torch.tensor([len(clip) for clip in each], dtype=torch.int64)
        padded = np.zeros((len(each), int(lengths.max()) if each else 0, length), np.float32)
        for row, clip in zip(padded, each, strict=True):
            row[: len(clip)] = clip
        return cls(torch.from_numpy(padded), lengths)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """Length of an embedding or of a frame."""
        return self.values.shape[-1]

    def take(self, rows: Tensor | slice) -> tuple[Tensor, ...]:
        """What the adapter is called with for these rows: indices of any shape (..., b), or a slice."""
        if self.lengths is None:
            return (self.values[rows],)
        lengths = self.lengths[rows]
        longest = int(lengths.max()) if lengths.numel() else 0
        return self.values[rows][..., :longest, :], lengths

    def joined(self, others: Samples) -> Samples:
        """These rows, then the others."""
        if self.lengths is None or others.lengths is None:
            return Samples(torch.cat([self.values, others.values]))
        longest = max(self.values.shape[1], others.values.shape[1])
        values = [
            torch.nn.functional.pad(part.values, (0, 0, 0, longest - part.values.shape[1]))
            for part in (self, others)
        ]
        return Samples(torch.cat(values), torch.cat([self.lengths, others.lengths]))


def weighted_batches(
    weights: Tensor, members: int, size: int, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Rows for each member and step, drawn with replacement: (members, size), ``steps`` times.

    Args:
        weights: Of each row, shape (n,).
        members, size, steps: How many are drawn.
        generator: Of the draws.
    """
    for first in range(0, steps, _STEPS_AT_ONCE):
        block = min(_STEPS_AT_ONCE, steps - first)
        drawn = torch.multinomial(weights, block * members * size, replacement=True, generator=generator)
        yield from drawn.view(block, members, size)


def epoch_batches(
    n: int, members: int, size: int, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Rows for each member and step, each row once an epoch in an order of its own: (members, size or fewer).

    Args:
        n: Rows.
        members, size: As for `weighted_batches`; the last batch of an epoch has what is left.
        steps: How many batches, over as many epochs as that takes.
        generator: Of the orders.
    """
    while steps > 0:
        order = torch.rand(members, n, generator=generator).argsort(-1)
        yield from torch.split(order, size, dim=-1)[:steps]
        steps -= -(-n // size)
