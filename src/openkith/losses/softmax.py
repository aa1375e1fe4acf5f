"""The softmax family: one vector per speaker, and a margin between them or none.

Softmax; A-softmax, an integer factor on the angle (SphereFace); AM-softmax, a margin on the cosine (CosFace);
AAM-softmax, a margin on the angle (ArcFace).
"""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from openkith.errors import ConfigError
from openkith.losses.base import Loss, Shared, at_least_one, initial_points, not_negative, pick, positive

__all__ = ["AAMSoftmaxLoss", "AMSoftmaxLoss", "ASoftmaxLoss", "SoftmaxLoss"]

_SMALLEST_SQUARED_SINE = 1e-7  # keeps the gradient of the sine finite where an embedding is on its vector


class SoftmaxLoss(Loss):
    r"""Softmax cross entropy over bias-free linear logits.

    With one vector W_k per speaker::

        logit_k = x . W_k
        L = -log(exp(logit_y) / sum_k exp(logit_k))

    Background: Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    Without bias, as the adapters are.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        shared: See `Loss`.

    Example:
        >>> loss = SoftmaxLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    def __init__(self, n_speakers: int, dim: int, **shared: Unpack[Shared]) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.vectors = initial_points((*self._lead, n_speakers, dim), shared.get("generator"))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Per speaker, larger is more likely, without any margin: (..., n, m) to (..., n, C)."""
        return self._logits_to(embeddings, self.vectors)

    def proxies(self) -> Tensor:
        """The speakers' vectors W, (..., C, m)."""
        return self.vectors

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return embeddings @ proxies.mT


class ASoftmaxLoss(SoftmaxLoss):
    r"""A-softmax: the angle to the own speaker's vector times an integer q (Liu et al., CVPR 2017).

    With vectors of unit length and theta_k the angle between x and W_k::

        logit_k = ||x|| cos theta_k,     for k = y in training  ||x|| psi(theta_y)
        psi(theta) = (-1)^j cos(q theta) - 2 j,   theta in [j pi / q, (j + 1) pi / q], j = 0..q-1

    psi falls all the way from 1 to 1 - 2 q, and is cos(theta) for q = 1. From a random start q = 4 is hard;
    annealing begins with plain cosines: psi becomes (lambda cos theta + psi) / (1 + lambda) with
    lambda = max(floor, annealing / (1 + rate t)) at step t, a step being a call in training mode that records
    gradients.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        margin: q (the paper's m), a whole number.
        annealing: lambda at the first step; 0: no annealing, the formula as it is.
        annealing_rate: How fast lambda falls.
        annealing_floor: The smallest lambda.
        shared: See `Loss`.

    Example:
        >>> loss = ASoftmaxLoss(n_speakers=3, dim=8, margin=2)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    steps: Tensor

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        margin: int = 4,
        annealing: float = 0.0,
        annealing_rate: float = 0.1,
        annealing_floor: float = 5.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.margin = at_least_one("margin", margin)
        self.annealing = not_negative("annealing", annealing)
        self.annealing_rate = not_negative("annealing_rate", annealing_rate)
        self.annealing_floor = not_negative("annealing_floor", annealing_floor)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return embeddings @ F.normalize(proxies, dim=-1).mT

    def _training_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        logits = self.logits(embeddings)
        length = torch.linalg.vector_norm(embeddings, dim=-1)  # (..., n)
        plain = pick(logits, labels)
        with_margin = length * _psi(plain / length.clamp_min(1e-12), self.margin)
        share = self._annealing_now()
        return _replace_own(logits, labels, (share * plain + with_margin) / (1.0 + share))

    def _annealing_now(self) -> float:
        """lambda, and one step further."""
        if not self.annealing:
            return 0.0
        step = int(self.steps)
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        return max(self.annealing_floor, self.annealing / (1.0 + self.annealing_rate * step))


class _CosineLoss(SoftmaxLoss):
    """Cosines times a scale: embeddings and vectors at unit length."""

    energies = (-10.0, -5.0)  # logits are within -scale..scale

    def __init__(self, n_speakers: int, dim: int, *, scale: float, **shared: Unpack[Shared]) -> None:
        super().__init__(n_speakers, dim, **shared)
        self.scale = positive("scale", scale)

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return self.scale * F.normalize(embeddings, dim=-1) @ F.normalize(proxies, dim=-1).mT


class AMSoftmaxLoss(_CosineLoss):
    r"""AM-softmax, or CosFace: a margin on the cosine (Wang et al., IEEE SPL 2018; Wang et al., CVPR 2018).

    With theta_k the angle between x and the vector W_k::

        logit_k = s cos theta_k,     for k = y in training  s (cos theta_y - margin)

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        margin: On the cosine; 0.35 in the papers on faces, 0.2 is usual for speakers.
        scale: s.
        shared: See `Loss`.

    Example:
        >>> loss = AMSoftmaxLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        margin: float = 0.2,
        scale: float = 15.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, scale=scale, **shared)
        self.margin = not_negative("margin", margin)

    def _training_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        logits = self.logits(embeddings)
        return _replace_own(logits, labels, pick(logits, labels) - self.scale * self.margin)


class AAMSoftmaxLoss(_CosineLoss):
    r"""AAM-softmax, or ArcFace: a margin on the angle (Deng et al., CVPR 2019).

    With theta_k the angle between x and the vector W_k::

        logit_k = s cos theta_k,     for k = y in training  s phi(theta_y)
        phi(theta) = cos(theta + margin)                     where theta <= pi - margin
                   = cos(theta) - margin sin(margin)         beyond

    Beyond pi - margin cos(theta + margin) would rise again, rewarding a larger angle; the second branch, the
    paper's own code's, falls on. ``easy_margin`` gives the margin only to embeddings that are less than a right
    angle from their vector, phi(theta) = cos(theta) elsewhere: gentler at a random start, when half of all
    embeddings point away from their speaker's vector.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        margin: On the angle in radians, below pi.
        scale: s.
        easy_margin: See above.
        shared: See `Loss`.

    Example:
        >>> loss = AAMSoftmaxLoss(n_speakers=3, dim=8)
        >>> value = loss(torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    """

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        margin: float = math.pi / 6,
        scale: float = 15.0,
        easy_margin: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(n_speakers, dim, scale=scale, **shared)
        self.margin = not_negative("margin", margin)
        if self.margin >= math.pi:
            raise ConfigError(f"margin is {margin}; give an angle in radians below pi")
        self.easy_margin = easy_margin

    def _training_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        logits = self.logits(embeddings)
        cosine = pick(logits, labels) / self.scale
        sine = (1.0 - cosine.square()).clamp_min(_SMALLEST_SQUARED_SINE).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)  # cos(theta + margin)
        if self.easy_margin:
            phi = torch.where(cosine > 0, moved, cosine)
        else:
            beyond = cosine - self.margin * math.sin(self.margin)
            phi = torch.where(cosine >= -math.cos(self.margin), moved, beyond)
        return _replace_own(logits, labels, self.scale * phi)


def _psi(cosine: Tensor, q: int) -> Tensor:
    """psi(theta) of A-softmax from cos(theta); cos(q theta) as the Chebyshev polynomial of that order."""
    before, chebyshev = torch.ones_like(cosine), cosine
    for _ in range(q - 1):
        before, chebyshev = chebyshev, 2.0 * cosine * chebyshev - before
    angle = cosine.detach().clamp(-1.0, 1.0).acos()
    j = (angle * q / math.pi).floor().clamp_max(q - 1)
    sign = 1.0 - 2.0 * (j % 2)
    return sign * chebyshev - 2.0 * j


def _replace_own(logits: Tensor, labels: Tensor, values: Tensor) -> Tensor:
    """The logits (..., n, C) with each sample's own speaker's replaced by a value (..., n)."""
    return logits.scatter(-1, labels.long().unsqueeze(-1), values.unsqueeze(-1))
