"""ARPL: adversarial reciprocal points."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from openkith.losses.base import Loss, Shared, initial_points, not_negative, own, positive, squared_distances

__all__ = ["ARPLLoss"]


class ARPLLoss(Loss):
    r"""Adversarial reciprocal point learning: distance and direction away from what is not speaker k.

    With one reciprocal point P_k per speaker and a learnable radius R::

        logit_k = gamma (||x - P_k||^2 / m - x . P_k)
        L = CE(logit, y) + w max(0, slack + ||x - P_y||^2 / m - R)

    The second term, the adversarial margin constraint, keeps known speakers within R of their reciprocal
    points. Chen et al., "Adversarial Reciprocal Points Learning for Open Set Recognition", IEEE TPAMI 2021,
    equations 6 and 12; there the slack is 0, in the authors' code 1. For the confusing samples of the same
    paper see `openkith.losses.gan`.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        gamma: Hardness of the assignment.
        weight: w, lambda in the paper.
        slack: How far within the radius an embedding has to be to cost nothing.
        shared: See `Loss`.

    Example:
        >>> loss = ARPLLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        gamma: float = 1.0,
        weight: float = 0.1,
        slack: float = 1.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.gamma = positive("gamma", gamma)
        self.weight = not_negative("weight", weight)
        self.slack = not_negative("slack", slack)
        self.points = initial_points((*self._lead, n_speakers, dim), shared.get("generator"))
        self.radius = torch.nn.Parameter(torch.zeros(self._lead))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Per speaker, larger is more likely: (..., n, m) to (..., n, C)."""
        return self._logits_to(embeddings, self.points)

    def proxies(self) -> Tensor:
        """The reciprocal points P, (..., C, m)."""
        return self.points

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        distance = squared_distances(embeddings, proxies) / self.dim
        return self.gamma * (distance - embeddings @ proxies.mT)

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        to_own = (embeddings - own(self.points, labels)).square().mean(-1)  # (..., n)
        return self.weight * F.relu(self.slack + to_own - self.radius.unsqueeze(-1)).mean(-1)
