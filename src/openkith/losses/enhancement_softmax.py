"""Softmax over speakers as a loss of enhancement, alone and beside MSE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openkith.errors import ConfigError
from openkith.losses.base import not_negative
from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss, given
from openkith.losses.regression import squared_error
from openkith.losses.softmax import SoftmaxLoss

__all__ = ["EnhancementSoftmaxLoss", "MSESoftmaxLoss"]

Weights = Tensor | npt.NDArray[Any] | Sequence[Sequence[float]]


class EnhancementSoftmaxLoss(EnhancementLoss):
    r"""Softmax cross entropy over the speakers that are learned from; see `openkith.losses.SoftmaxLoss`.

    With outputs y of speakers s and one vector W_k per speaker::

        L = -mean_i log(exp(y_i . W_{s_i}) / sum_k exp(y_i . W_k))

    Speaker Embedding Enhancement Model, 2022. The vectors learn with the network; with ``weights`` they start as
    the classifier that the encoder was trained with, which knows the encoder's space, if the speakers are
    the same in the same order.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        weights: W at the start, (C, d); None: 0.1 N(0, 1).

    Raises:
        ConfigError: Sizes or weights do not fit.

    Example:
        >>> y = torch.randn(6, 8)
        >>> batch = EnhancementBatch(outputs=y, inputs=y, labels=torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> value = EnhancementSoftmaxLoss(dim=8, n_speakers=3)(batch)
    """

    uses: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(self, dim: int, n_speakers: int, *, weights: Weights | None = None) -> None:
        super().__init__(dim, n_speakers)
        self.classifier = SoftmaxLoss(n_speakers, dim)
        if weights is not None:
            start = _checked(weights, n_speakers, dim)
            with torch.no_grad():
                self.classifier.vectors.copy_(start)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        value: Tensor = self.classifier(batch.outputs, given(batch.labels))
        return value


class MSESoftmaxLoss(EnhancementSoftmaxLoss):
    r"""MSE+softmax: the sum of `MSELoss` and `EnhancementSoftmaxLoss`.

    With outputs y of speakers s, their targets t, d elements in each, and one vector W_k per speaker::

        L = mean_i 1/d ||y_i - t_i||^2 - w mean_i log(exp(y_i . W_{s_i}) / sum_k exp(y_i . W_k))

    Speaker Embedding Enhancement Model, 2022, with w = 1; targets of type B, as for MSE.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        weights: W at the start; see `EnhancementSoftmaxLoss`.
        softmax_weight: w.

    Raises:
        ConfigError: Sizes, weights or w do not fit.

    Example:
        >>> y, t, s = torch.randn(6, 8), torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])
        >>> batch = EnhancementBatch(outputs=y, inputs=y, targets=t, labels=s)
        >>> value = MSESoftmaxLoss(dim=8, n_speakers=3)(batch)
    """

    target_type = "B"
    uses = ("targets", "labels")

    def __init__(
        self, dim: int, n_speakers: int, *, weights: Weights | None = None, softmax_weight: float = 1.0
    ) -> None:
        super().__init__(dim, n_speakers, weights=weights)
        self.softmax_weight = not_negative("softmax_weight", softmax_weight)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar."""
        return squared_error(batch) + self.softmax_weight * super().value(batch)


def _checked(weights: Weights, n_speakers: int, dim: int) -> Tensor:
    """The weights as a tensor of shape (C, d).

    Raises:
        ConfigError: They are no such thing.
    """
    try:
        start = weights if isinstance(weights, Tensor) else torch.from_numpy(np.array(weights, np.float64))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"weights are no numbers ({error}); give ({n_speakers}, {dim})") from error
    if tuple(start.shape) != (n_speakers, dim):
        raise ConfigError(
            f"weights have shape {tuple(start.shape)}; ({n_speakers}, {dim}) goes with {n_speakers} speakers "
            f"and embeddings of length {dim}"
        )
    if not bool(start.isfinite().all()):
        raise ConfigError("weights have entries that are not finite; give a trained classifier's")
    return start.detach()
