"""What a loss does with samples of unknown speakers.

- ``entropy``: their posteriors are driven flat (SpeakerRPL+, Chen et al., SLT 2024; the idea: outlier
  exposure, Hendrycks et al., ICLR 2019).
- ``background``: they are a class of their own, C, with a learnable proxy, against which known samples
  compete too.
- ``energy-margin``: the free energy of known samples is held below one margin, theirs above another (Liu
  et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["UNKNOWN_TERMS", "background_of_unknown", "energy_margin", "entropy_of_unknown", "free_energy"]


def entropy_of_unknown(logits: Tensor) -> Tensor:
    """exp(mean over samples of sum_k p_k log p_k): 1 for certain posteriors, 1 / C for flat ones.

    Args:
        logits: Shape (..., u, C).

    Returns:
        Shape (...).
    """
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean(-1).exp()


def background_of_unknown(logits: Tensor) -> Tensor:
    """Cross entropy of unknown samples as the last class: mean over samples of -log p_C.

    Args:
        logits: Shape (..., u, C + 1), the background class last.

    Returns:
        Shape (...).
    """
    return -logits.log_softmax(-1)[..., -1].mean(-1)


def free_energy(logits: Tensor) -> Tensor:
    """E = -log sum_k exp(logit_k), (..., n, C) to (..., n): low where some speaker is likely."""
    return -logits.logsumexp(-1)


def energy_margin(known: Tensor, unknown: Tensor, known_energy: float, unknown_energy: float) -> Tensor:
    """Squared hinges on the free energy E of known samples x and unknown samples u.

    mean_x max(0, E(x) - known_energy)^2 + mean_u max(0, unknown_energy - E(u))^2 (Liu et al., NeurIPS 2020,
    equations 7 and 8).

    Args:
        known: Logits of known samples, shape (..., n, C).
        unknown: Logits of unknown samples, shape (..., u, C).
        known_energy: Known samples pay above it.
        unknown_energy: Unknown samples pay below it.

    Returns:
        Shape (...).
    """
    above = F.relu(free_energy(known) - known_energy).square().mean(-1)
    below = F.relu(unknown_energy - free_energy(unknown)).square().mean(-1)
    return above + below


class _TakesUnknown(Protocol):
    """What the terms need of a loss; `openkith.losses.base.Loss` is one."""

    known_energy: float
    unknown_energy: float

    def logits(self, embeddings: Tensor) -> Tensor: ...

    def background_logits(self, embeddings: Tensor) -> Tensor: ...

    def _unknown_logits(self, unknown: Tensor) -> Tensor: ...

    def _sharpen(self, logits: Tensor) -> Tensor: ...


def _entropy(loss: _TakesUnknown, embeddings: Tensor, unknown: Tensor) -> Tensor:  # noqa: ARG001
    return entropy_of_unknown(loss._unknown_logits(unknown))


def _background(loss: _TakesUnknown, embeddings: Tensor, unknown: Tensor) -> Tensor:  # noqa: ARG001
    logits = torch.cat([loss.logits(unknown), loss.background_logits(unknown)], -1)  # (..., u, C + 1)
    return background_of_unknown(loss._sharpen(logits))


def _energy(loss: _TakesUnknown, embeddings: Tensor, unknown: Tensor) -> Tensor:
    return energy_margin(
        loss.logits(embeddings), loss.logits(unknown), loss.known_energy, loss.unknown_energy
    )


#: Name to the term, called with the loss, known embeddings (..., n, m) and unknown ones (..., u, m).
UNKNOWN_TERMS: dict[str, Callable[[_TakesUnknown, Tensor, Tensor], Tensor]] = {
    "entropy": _entropy,
    "background": _background,
    "energy-margin": _energy,
}
