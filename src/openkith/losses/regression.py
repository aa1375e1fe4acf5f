"""Losses of enhancement that pull each output to its speaker's multi-utterance embedding."""

from __future__ import annotations

from torch import Tensor

from openkith.losses.base import not_negative
from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss, cosine, given

__all__ = ["CosineLoss", "MAELoss", "MSECosineLoss", "MSELoss", "cosine_distance", "squared_error"]


class MSELoss(EnhancementLoss):
    r"""MSE: mean squared error, over embeddings and elements.

    With outputs y, their speakers' targets t and d elements in each::

        L = mean_i 1/d ||y_i - t_i||^2

    Speaker Embedding Enhancement Model, 2022, with targets of type B.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.

    Example:
        >>> x, t = torch.randn(6, 8), torch.randn(6, 8)
        >>> value = MSELoss()(EnhancementBatch(outputs=x, inputs=x, targets=t))
    """

    target_type = "B"
    uses = ("targets",)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return squared_error(batch)


class MAELoss(EnhancementLoss):
    r"""MAE: mean absolute error, over embeddings and elements.

    With outputs y, their speakers' targets t and d elements in each::

        L = mean_i 1/d sum_j |y_ij - t_ij|

    Speaker Embedding Enhancement Model, 2022; targets of type B, as for MSE. Where an element is right its
    gradient is 0.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.

    Example:
        >>> x, t = torch.randn(6, 8), torch.randn(6, 8)
        >>> value = MAELoss()(EnhancementBatch(outputs=x, inputs=x, targets=t))
    """

    target_type = "B"
    uses = ("targets",)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return (batch.outputs - given(batch.targets)).abs().mean()


class CosineLoss(EnhancementLoss):
    r"""CS: how far the cosine of output and target is from 1.

    With outputs y and their speakers' targets t::

        L = mean_i (1 - cos(y_i, t_i))

    Speaker Embedding Enhancement Model, 2022, with targets of type C. It leaves the length of an output free. An
    output shorter than 1e-4 counts as one that is nearer a right angle, and keeps a finite gradient; one of all
    zeros has cosine 0.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.

    Example:
        >>> x, t = torch.randn(6, 8), torch.randn(6, 8)
        >>> value = CosineLoss()(EnhancementBatch(outputs=x, inputs=x, targets=t))
    """

    target_type = "C"
    uses = ("targets",)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return cosine_distance(batch)


class MSECosineLoss(EnhancementLoss):
    r"""MSE+CS: the sum of `MSELoss` and `CosineLoss`.

    With outputs y, their speakers' targets t and d elements in each::

        L = mean_i 1/d ||y_i - t_i||^2 + w mean_i (1 - cos(y_i, t_i))

    Speaker Embedding Enhancement Model, 2022, with targets of type B and w = 1.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        cs_weight: w.

    Raises:
        ConfigError: The weight is out of range.

    Example:
        >>> x, t = torch.randn(6, 8), torch.randn(6, 8)
        >>> value = MSECosineLoss()(EnhancementBatch(outputs=x, inputs=x, targets=t))
    """

    target_type = "B"
    uses = ("targets",)

    def __init__(
        self, dim: int | None = None, n_speakers: int | None = None, *, cs_weight: float = 1.0
    ) -> None:
        super().__init__(dim, n_speakers)
        self.cs_weight = not_negative("cs_weight", cs_weight)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return squared_error(batch) + self.cs_weight * cosine_distance(batch)


def squared_error(batch: EnhancementBatch) -> Tensor:
    """Of outputs and targets, mean over embeddings and elements, a scalar."""
    return (batch.outputs - given(batch.targets)).square().mean()


def cosine_distance(batch: EnhancementBatch) -> Tensor:
    """1 - cosine of output and target, mean over embeddings, a scalar."""
    return (1.0 - cosine(batch.outputs, given(batch.targets))).mean()
