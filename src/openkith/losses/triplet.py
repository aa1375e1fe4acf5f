"""The triplet loss of enhancement: towards the own speaker's target, away from another's."""

from __future__ import annotations

from torch import Tensor

from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss, cosine, given
from openkith.losses.regression import cosine_distance

__all__ = ["TripletCosineLoss"]


class TripletCosineLoss(EnhancementLoss):
    r"""Triplet+CS: the cosine with the own speaker's target up, that with another speaker's down.

    With outputs y, their speakers' targets t and another speaker's target o for each::

        L = mean_i ((1 - cos(y_i, t_i)) + cos(y_i, o_i))

    Speaker Embedding Enhancement Model, 2022, with targets of type C. There is no margin: a negative cosine with
    the other goes on paying, down to -1.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.

    Example:
        >>> x, t, o = torch.randn(6, 8), torch.randn(6, 8), torch.randn(6, 8)
        >>> value = TripletCosineLoss()(EnhancementBatch(outputs=x, inputs=x, targets=t, others=o))
    """

    needs = "triplet"
    target_type = "C"
    uses = ("targets", "others")

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return cosine_distance(batch) + cosine(batch.outputs, given(batch.others)).mean()
