"""SpeakerRPL v2: LogitNorm and adaptive anchors (arXiv 2604.13605)."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from openkith.losses.base import Shared, not_negative, pick, positive
from openkith.losses.speaker_rpl import SpeakerRPLLoss

__all__ = ["SpeakerRPLv2Loss"]

_SMALLEST_NORM = 1e-7  # added to the norm of a logit vector, as LogitNorm's authors do


class SpeakerRPLv2Loss(SpeakerRPLLoss):
    r"""SpeakerRPL with LogitNorm on the reciprocal-point logits and an adaptive anchor per speaker.

    With z = -x . P the logits of `SpeakerRPLLoss`, and learnable anchors A_1..A_C in logit space, A_k = alpha
    times the one-hot vector of k at the start, d_j = ||z - A_j||::

        L = L_SpeakerRPL, its CE(z / T, y) replaced by CE(z / (tau ||z||), y),
            + log(1 + sum_{j != y} exp(d_y - d_j)) + lambda d_y
        score_k = -d_k (1 - softmin(d)_k)

    SpeakerRPL v2, arXiv 2604.13605, 2026; LogitNorm: Wei et al., ICML 2022; class-anchor clustering: Miller et
    al., WACV 2021. With one speaker softmin is 1 whatever the distance, and the score is -d alone. The
    entropy and the energy margin of unknown samples are those of z, without LogitNorm; with a background
    class LogitNorm is over C + 1 logits, and the anchors know nothing of it.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        weight: w, of the radius and the pull term.
        tau: Temperature of LogitNorm.
        alpha: Length of the anchors at the start.
        anchor_pull: lambda.
        shared: See `Loss`.

    Example:
        >>> loss = SpeakerRPLv2Loss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]), unknown=torch.randn(12, 8))
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        weight: float = 5.0,
        tau: float = 0.04,
        alpha: float = 10.0,
        anchor_pull: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, weight=weight, **shared)
        self.tau = positive("tau", tau)
        self.alpha = positive("alpha", alpha)
        self.anchor_pull = not_negative("anchor_pull", anchor_pull)
        anchors = self.alpha * torch.eye(n_speakers)
        self.anchors = torch.nn.Parameter(anchors.expand(*self._lead, -1, -1).clone())

    def scores(self, embeddings: Tensor) -> Tensor:
        """Minus the rejection score, -d_k (1 - softmin(d)_k): (..., n, m) to (..., n, C)."""
        distances = self._to_anchors(self.logits(embeddings))
        if self.n_speakers == 1:
            return -distances
        return -distances * (1.0 - (-distances).softmax(-1))

    def _sharpen(self, logits: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(logits, dim=-1, keepdim=True)
        return logits / (self.tau * (norm + _SMALLEST_NORM))

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        distances = self._to_anchors(self.logits(embeddings))  # (..., n, C)
        to_own = pick(distances, labels)  # (..., n)
        # log(1 + sum_{j != y} exp(d_y - d_j)): the exponent is 0 for j = y, which is the 1.
        clustering = (to_own.unsqueeze(-1) - distances).logsumexp(-1)
        anchored = (clustering + self.anchor_pull * to_own).mean(-1)
        return super()._further_terms(embeddings, labels) + anchored

    def _to_anchors(self, logits: Tensor) -> Tensor:
        """Euclidean distance of a logit vector to each anchor, (..., n, C) to (..., n, C)."""
        return torch.cdist(logits, self.anchors, compute_mode="donot_use_mm_for_euclid_dist")
