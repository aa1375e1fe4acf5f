"""SpeakerRPL: reciprocal points, class centres, and unknown samples.

Chen et al., SLT 2024 (arXiv 2409.15742) and IEEE TASLP 2025; reciprocal points: Chen et al., ECCV 2020 and
TPAMI 2021.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from openkith.errors import ConfigError
from openkith.losses.base import (
    Loss,
    Shared,
    cross_entropy,
    initial_points,
    not_negative,
    own,
    positive,
    squared_distances,
)
from openkith.losses.unknown import entropy_of_unknown

__all__ = ["VARIANTS", "SpeakerRPLLoss", "entropy_of_unknown"]

VARIANTS = ("openkith", "released")


class SpeakerRPLLoss(Loss):
    r"""The SpeakerRPL objective, with the unknown-sample term of SpeakerRPL+.

    With reciprocal points P and centres Q, both (C, m), a learnable radius R and embeddings x of speakers y::

        logit_k = -x . P_k
        L = CE(logit / T, y) + w max(0, 1 - (R - mean_j (x - P_y)_j^2))
            + CE(-||x - Q||^2 / m, y) + w mean((x - Q_y)^2) / 2
            + beta exp(mean_u sum_k p_k log p_k),     p = softmax(logits of u)

    each term the mean over the batch. A reciprocal point is what speaker k is *not*: far from P_k means
    speaker k. The radius keeps known speakers in a bounded region; the last term drives strangers u to a flat
    posterior.

    ``variant="released"`` is the objective of the published code, for its checkpoints and numbers::

        L = CE(logit / T, y) + w max(0, 1 - (R - mean_j (x - P_y)_j^2))
            + CE(-x . Q / T, y) + w mean((x - P_y)^2) / 2
            + beta exp(mean_u sum_k p_k log p_k),     p = softmax(+||u - P||^2 / m)

    There Q is a second set of reciprocal points, not centres, and the pull is towards P.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        weight: w, of the radius and the pull term.
        temperature: T.
        variant: One of `VARIANTS`.
        shared: See `Loss`; beta is ``unknown_weight``, 0 is SpeakerRPL without +.

    Example:
        >>> loss = SpeakerRPLLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]), unknown=torch.randn(12, 8))
        >>> value.backward()
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        weight: float = 5.0,
        temperature: float = 1.0,
        variant: str = "openkith",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, **shared)
        if variant not in VARIANTS:
            raise ConfigError(f"variant is {variant!r}; there are: {', '.join(VARIANTS)}")
        self.weight = not_negative("weight", weight)
        self.temperature = positive("temperature", temperature)
        self.variant = variant
        shape = (*self._lead, n_speakers, dim)
        self.points = initial_points(shape, shared.get("generator"))
        self.centres = initial_points(shape, shared.get("generator"))
        self.radius = torch.nn.Parameter(torch.zeros(self._lead))

    def logits(self, embeddings: Tensor) -> Tensor:
        """-x . P, larger is more likely: (..., n, m) to (..., n, C)."""
        return self._logits_to(embeddings, self.points)

    def proxies(self) -> Tensor:
        """Reciprocal points P, then centres Q, (..., 2 C, m)."""
        return torch.cat([self.points, self.centres], -2)

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return -embeddings @ proxies.mT

    def _sharpen(self, logits: Tensor) -> Tensor:
        return logits / self.temperature

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        to_point = (embeddings - own(self.points, labels)).square().mean(-1)  # (..., n)
        bounded = F.relu(1.0 - (self.radius.unsqueeze(-1) - to_point)).mean(-1)  # (...)
        if self._released:
            near = -embeddings @ self.centres.mT / self.temperature  # (..., n, C)
            pull = to_point.mean(-1) / 2.0  # (...)
        else:
            near = -squared_distances(embeddings, self.centres) / self.dim
            pull = (embeddings - own(self.centres, labels)).square().mean((-1, -2)) / 2.0
        return cross_entropy(near, labels) + self.weight * (bounded + pull)

    def _unknown_logits(self, unknown: Tensor) -> Tensor:
        if self._released:
            return squared_distances(unknown, self.points) / self.dim
        return self.logits(unknown)

    @property
    def _released(self) -> bool:
        return self.variant == "released"
