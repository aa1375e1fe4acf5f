"""SpeakerRPL: reciprocal points, class centres, and unknown samples.

Chen et al., SLT 2024 (arXiv 2409.15742) and IEEE TASLP 2025; reciprocal points: Chen et al., ECCV 2020 and
TPAMI 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["SpeakerRPLLoss", "entropy_of_unknown"]

_INIT_SCALE = 0.1  # standard deviation of points and centres at the start


class SpeakerRPLLoss(torch.nn.Module):
    r"""The SpeakerRPL objective, with the unknown-sample term of SpeakerRPL+.

    With reciprocal points P and centres Q, both (C, m), a learnable radius R and embeddings x of speakers y::

        logit_k = -x . P_k
        L = CE(logit / T, y) + w max(0, 1 - (R - mean_j (x - P_y)_j^2))
            + CE(-||x - Q||^2 / m, y) + w mean((x - Q_y)^2) / 2
            + beta exp(mean_u sum_k p_k log p_k),     p = softmax(logits of u)

    each term the mean over the batch. A reciprocal point is what speaker k is *not*: far from P_k means
    speaker k. The radius keeps known speakers in a bounded region; the last term drives strangers u to a flat
    posterior.

    With ``members=S`` the parameters are (S, C, m), the embeddings (S, n, m), the labels (S, n), and the
    result is the sum over the members, so that S losses with their own points train in one computation, none
    touching another's gradient.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        members: S, or None for a single loss without a member dimension.
        weight: w, of the radius and the pull term.
        temperature: T.
        unknown_weight: beta; 0 leaves the unknown samples out (SpeakerRPL without +).
        generator: For the initial points.

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
        members: int | None = None,
        weight: float = 5.0,
        temperature: float = 1.0,
        unknown_weight: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        shape = (*lead, n_speakers, dim)
        self.points = torch.nn.Parameter(_INIT_SCALE * torch.randn(shape, generator=generator))
        self.centres = torch.nn.Parameter(_INIT_SCALE * torch.randn(shape, generator=generator))
        self.radius = torch.nn.Parameter(torch.zeros(lead))
        self.weight = weight
        self.temperature = temperature
        self.unknown_weight = unknown_weight

    def logits(self, embeddings: Tensor) -> Tensor:
        """Scores per speaker, larger is more likely: (..., n, m) to (..., n, C)."""
        return -embeddings @ self.points.mT

    def forward(self, embeddings: Tensor, labels: Tensor, unknown: Tensor | None = None) -> Tensor:
        """The loss, summed over members.

        Args:
            embeddings: Adapted embeddings x, shape (..., n, m).
            labels: Speakers y in 0..C-1, shape (..., n).
            unknown: Adapted embeddings of other speakers, shape (..., u, m).
        """
        own = labels.unsqueeze(-1).expand(*labels.shape, embeddings.shape[-1])
        to_point = (embeddings - self.points.gather(-2, own)).square().mean(-1)  # (..., n)
        to_centre = (embeddings - self.centres.gather(-2, own)).square().mean((-1, -2))  # (...)
        bounded = F.relu(1.0 - (self.radius.unsqueeze(-1) - to_point)).mean(-1)  # (...)
        near = -_squared_distances(embeddings, self.centres) / embeddings.shape[-1]  # (..., n, C)
        total = self._classify(self.logits(embeddings) / self.temperature, labels)
        total = total + self._classify(near, labels) + self.weight * (bounded + to_centre / 2.0)
        if unknown is not None and unknown.shape[-2] and self.unknown_weight:
            total = total + self.unknown_weight * entropy_of_unknown(self.logits(unknown))
        return total.sum()

    @staticmethod
    def _classify(logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, mean over samples: (..., n, C), (..., n) to (...)."""
        return -logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(-1)


def entropy_of_unknown(logits: Tensor) -> Tensor:
    """exp(mean over samples of sum_k p_k log p_k): 1 for certain posteriors, 1 / C for flat ones.

    Args:
        logits: Shape (..., u, C).

    Returns:
        Shape (...).
    """
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean(-1).exp()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(..., n, m), (..., C, m) to (..., n, C), by the expanded square (one matrix product)."""
    return x.square().sum(-1, keepdim=True) - 2.0 * x @ y.mT + y.square().sum(-1).unsqueeze(-2)
