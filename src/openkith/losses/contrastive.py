"""The supervised contrastive loss of enhancement, with an anchor to the input."""

from __future__ import annotations

import torch
from torch import Tensor

from openkith.losses.base import not_negative, positive
from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss, given, unit

__all__ = ["ContrastiveLoss"]


class ContrastiveLoss(EnhancementLoss):
    r"""Supervised contrastive loss, and an anchor that keeps each output near its input.

    With outputs y of inputs x, z = y / ||y||, P_i the others of i's speaker in the batch, and I the embeddings
    that have any::

        L = -mean_{i in I} mean_{p in P_i} log(exp(z_i . z_p / tau) / sum_{a != i} exp(z_i . z_a / tau))
            + w mean_i ||y_i - x_i||^2

    The first term is Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2 (the sum over
    the positives outside the logarithm); where no two embeddings of a batch are of one speaker there is nothing
    to contrast, and it is 0. It sees directions only and is blind to a rotation of all; the second, openkith's own,
    holds the outputs to the space and the scale of the inputs, so that what the network has not learned stays as
    it was.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        temperature: tau.
        anchor: w.

    Raises:
        ConfigError: An option is out of range.

    Example:
        >>> x = torch.randn(6, 8)
        >>> batch = EnhancementBatch(outputs=2.0 * x, inputs=x, labels=torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> value = ContrastiveLoss()(batch)
    """

    uses = ("labels",)
    together = 2

    def __init__(
        self,
        dim: int | None = None,
        n_speakers: int | None = None,
        *,
        temperature: float = 0.1,
        anchor: float = 0.01,
    ) -> None:
        super().__init__(dim, n_speakers)
        self.temperature = positive("temperature", temperature)
        self.anchor = not_negative("anchor", anchor)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        moved = (batch.outputs - batch.inputs).square().sum(-1).mean()
        return self._contrast(unit(batch.outputs), given(batch.labels)) + self.anchor * moved

    def _contrast(self, z: Tensor, labels: Tensor) -> Tensor:
        """The first term of (b, d) and (b,), a scalar."""
        self_pairs = torch.eye(len(z), dtype=torch.bool, device=z.device)
        positives = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~self_pairs  # (b, b)
        counts = positives.sum(-1)  # (b,)
        if len(z) < 2:  # the only row would have no other in its sum
            return z.sum() * 0.0
        logits = (z @ z.mT / self.temperature).masked_fill(self_pairs, -torch.inf)
        surprise = -logits.log_softmax(-1).masked_fill(~positives, 0.0).sum(-1) / counts.clamp_min(1)
        return surprise.sum() / (counts > 0).sum().clamp_min(1)
