"""Small networks on top of frozen embeddings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["MLPAdapter", "adapt"]

HIDDEN = (512, 256, 256)


class MLPAdapter(torch.nn.Module):
    """Bias-free linear layers, each followed by instance norm and ReLU, and a last plain linear layer.

    d -> 512 -> 256 -> 256 -> m, as in SpeakerRPL (Chen et al., SLT 2024). Instance norm: each vector to zero
    mean and unit variance over its features, without parameters, so a vector's output never depends on its
    batch, nor (but for the norm's epsilon) on the embedding's length.

    Args:
        dim: d, length of an embedding.
        out: m, length of an adapted embedding.
        members: S networks side by side: weights (S, in, out), inputs (S, n, d), or (n, d) for all of them.
            None: one, without that dimension.
        hidden: Widths of the layers with norm and ReLU.
        generator: For the initial weights, uniform within 1 / sqrt(fan in).
    """

    def __init__(
        self,
        dim: int,
        out: int = 192,
        *,
        members: int | None = None,
        hidden: Sequence[int] = HIDDEN,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        widths = [dim, *hidden, out]
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter((torch.rand(*lead, a, b, generator=generator) * 2 - 1) / math.sqrt(a))
            for a, b in itertools.pairwise(widths)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., n, d) to (..., n, m)."""
        return adapt(embeddings, list(self.weights))


def adapt(embeddings: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The adapter's forward pass: embeddings (..., n, d), weights (..., in, out) by layer, to (..., n, m)."""
    x = embeddings
    for weight in weights[:-1]:
        x = x @ weight
        x = F.relu(F.layer_norm(x, x.shape[-1:]))
    return x @ weights[-1]
