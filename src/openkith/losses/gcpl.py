"""GCPL: class prototypes."""

from __future__ import annotations

from typing import Unpack

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

__all__ = ["GCPLLoss"]


class GCPLLoss(Loss):
    r"""Generalised convolutional prototype learning: near one of its prototypes means speaker k.

    With K prototypes M_k1..M_kK per speaker and d(x, M) = ||x - M||^2 / m::

        logit_k = log sum_i exp(-gamma d(x, M_ki))
        L = CE(logit, y) + w min_i d(x, M_yi)

    The first term is the paper's distance-based cross entropy, the second its prototype loss, on the nearest
    prototype of the own speaker. Yang et al., CVPR 2018, with squared distances divided by m, so that gamma
    and w mean the same for every dimension.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        prototypes_per_speaker: K.
        gamma: Hardness of the assignment.
        weight: w.
        shared: See `Loss`.

    Example:
        >>> loss = GCPLLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    energies = (0.0, 2.0)  # logits are 0 at most, with one prototype each

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        prototypes_per_speaker: int = 1,
        gamma: float = 1.0,
        weight: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.prototypes_per_speaker = at_least_one("prototypes_per_speaker", prototypes_per_speaker)
        self.gamma = positive("gamma", gamma)
        self.weight = not_negative("weight", weight)
        shape = (*self._lead, n_speakers * prototypes_per_speaker, dim)  # a speaker's are next to each other
        self.prototypes = initial_points(shape, shared.get("generator"))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Per speaker, larger is more likely: (..., n, m) to (..., n, C)."""
        return self._per_speaker(self._logits_to(embeddings, self.prototypes)).logsumexp(-1)

    def proxies(self) -> Tensor:
        """The prototypes M, (..., C K, m)."""
        return self.prototypes

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return -self.gamma * squared_distances(embeddings, proxies) / self.dim

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        sets = self.prototypes.reshape(*self._lead, self.n_speakers, -1)  # (..., C, K m)
        to = own(sets, labels).reshape(*labels.shape, -1, self.dim)  # (..., n, K, m)
        distances = (embeddings.unsqueeze(-2) - to).square().mean(-1)  # (..., n, K)
        return self.weight * distances.amin(-1).mean(-1)

    def _per_speaker(self, values: Tensor) -> Tensor:
        """(..., C K) to (..., C, K)."""
        return values.reshape(*values.shape[:-1], self.n_speakers, self.prototypes_per_speaker)
