"""RPL: reciprocal points."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from openkith.losses.base import (
    Loss,
    Shared,
    at_least_one,
    initial_points,
    not_negative,
    own,
    positive,
    squared_distances,
)

__all__ = ["RPLLoss"]


class RPLLoss(Loss):
    r"""Reciprocal point learning: far from what is not speaker k means speaker k.

    With K reciprocal points P_k1..P_kK and a learnable radius R_k per speaker, d(x, P) = ||x - P||^2 / m::

        logit_k = gamma mean_i d(x, P_ki)
        L = CE(logit, y) + w mean_i (d(x, P_yi) - R_y)^2

    The second term, the open-space risk, holds each speaker's embeddings at one distance from their reciprocal
    points, and so in a bounded region. Chen et al., "Learning Open Set Network with Discriminative Reciprocal
    Points", ECCV 2020, with squared distances divided by m.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        points_per_speaker: K.
        gamma: Hardness of the assignment.
        weight: w, lambda in the paper.
        shared: See `Loss`.

    Example:
        >>> loss = RPLLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        points_per_speaker: int = 1,
        gamma: float = 1.0,
        weight: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.points_per_speaker = at_least_one("points_per_speaker", points_per_speaker)
        self.gamma = positive("gamma", gamma)
        self.weight = not_negative("weight", weight)
        shape = (*self._lead, n_speakers * points_per_speaker, dim)  # a speaker's are next to each other
        self.points = initial_points(shape, shared.get("generator"))
        self.radius = torch.nn.Parameter(torch.zeros(*self._lead, n_speakers))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Per speaker, larger is more likely: (..., n, m) to (..., n, C)."""
        return self._per_speaker(self._logits_to(embeddings, self.points)).mean(-1)

    def proxies(self) -> Tensor:
        """The reciprocal points P, (..., C K, m)."""
        return self.points

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return self.gamma * squared_distances(embeddings, proxies) / self.dim

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        distances = squared_distances(embeddings, self.points) / self.dim  # (..., n, C K)
        to_own = own(self._per_speaker(distances), labels.unsqueeze(-1)).squeeze(-2)  # (..., n, K)
        radius = self.radius.gather(-1, labels.long())  # (..., n)
        return self.weight * (to_own - radius.unsqueeze(-1)).square().mean((-1, -2))

    def _per_speaker(self, values: Tensor) -> Tensor:
        """(..., C K) to (..., C, K)."""
        return values.reshape(*values.shape[:-1], self.n_speakers, self.points_per_speaker)
