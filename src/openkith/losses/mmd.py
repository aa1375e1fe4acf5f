"""Distribution adaptation: pairs from one recording and pairs across recordings are to be equally far apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from openkith.errors import InputError
from openkith.losses.base import not_negative, positive
from openkith.losses.enhancement import EnhancementBatch, EnhancementLoss, cosine, given
from openkith.losses.regression import cosine_distance, squared_error

__all__ = ["MMDCosineLoss", "MMDMSELoss", "squared_mmd"]


class _MMDLoss(EnhancementLoss):
    """Squared MMD between two kinds of distances, and a term to the target; the subclass has both measures."""

    needs = "distribution"
    uses = ("targets", "pairs", "same_recording")

    def __init__(
        self,
        dim: int | None = None,
        n_speakers: int | None = None,
        *,
        sigma: float = 1.0,
        mmd_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, n_speakers)
        self.sigma = positive("sigma", sigma)
        self.mmd_weight = not_negative("mmd_weight", mmd_weight)

    def value(self, batch: EnhancementBatch) -> Tensor:
        """A scalar.

        Raises:
            InputError: A pair is of two speakers, or of a row that is not there.
        """
        first, second = _ends(batch)
        distances = self.distance(batch.outputs[first], batch.outputs[second])  # (p,)
        speakers = None if batch.labels is None else batch.labels[first]
        mmd = squared_mmd(distances, given(batch.same_recording), speakers, self.sigma)
        return self.mmd_weight * mmd + self.to_target(batch)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Of the two of each pair, (p, d), (p, d) to (p,)."""
        raise NotImplementedError

    def to_target(self, batch: EnhancementBatch) -> Tensor:
        """The other term, a scalar."""
        raise NotImplementedError


class MMDCosineLoss(_MMDLoss):
    r"""DA+CS: squared MMD between same-recording and cross-recording cosine distances, plus `CosineLoss`.

    With outputs y, their speakers' targets t, and of one speaker's pairs the distances D of those from one
    recording and D' of those across recordings::

        delta(i, j) = 1 - cos(y_i, y_j)
        MMD^2 = mean_{a, b in D} k(a, b) - 2 mean_{a in D, b in D'} k(a, b) + mean_{a, b in D'} k(a, b)
        k(a, b) = exp(-(a - b)^2 / (2 sigma^2))
        L = w MMD^2 + mean_i (1 - cos(y_i, t_i))

    Speaker Embedding Enhancement Model, 2022, with w = 1, sigma = 1, in some runs 0.1, a batch being one speaker's
    pairs, and targets of type C. MMD is Gretton et al., JMLR 2012, equation 5: the biased estimate, which is never
    negative and takes one pair of a kind. Where a batch has pairs of several speakers (``labels`` tells them apart;
    without labels all are one's), MMD^2 is the mean over speakers, none being compared with another. A
    speaker without pairs of both kinds has nothing to adapt and is left out; if that is all of them, the
    second term remains.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        sigma: Width of the kernel, in units of the distance.
        mmd_weight: w.

    Raises:
        ConfigError: An option is out of range.

    Example:
        >>> y, t = torch.randn(4, 8), torch.randn(4, 8)
        >>> pairs, same = torch.tensor([[0, 1], [2, 3]]), torch.tensor([True, False])
        >>> batch = EnhancementBatch(outputs=y, inputs=y, targets=t, pairs=pairs, same_recording=same)
        >>> value = MMDCosineLoss(sigma=0.1)(batch)
    """

    target_type = "C"

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """1 - cosine, (p, d), (p, d) to (p,)."""
        return 1.0 - cosine(first, second)

    def to_target(self, batch: EnhancementBatch) -> Tensor:
        """CS, a scalar."""
        return cosine_distance(batch)


class MMDMSELoss(_MMDLoss):
    r"""DA+MSE: squared MMD between same-recording and cross-recording RMS differences, plus `MSELoss`.

    As `MMDCosineLoss`, with d elements in an embedding, targets of type B, and::

        delta(i, j) = sqrt(1/d ||y_i - y_j||^2)
        L = w MMD^2 + mean_i 1/d ||y_i - t_i||^2

    Speaker Embedding Enhancement Model, 2022. The RMS difference of two outputs that are the same has
    the gradient 0.

    Args:
        dim: d, length of an embedding.
        n_speakers: C.
        sigma: Width of the kernel, in units of the distance.
        mmd_weight: w.

    Raises:
        ConfigError: An option is out of range.

    Example:
        >>> y, t = torch.randn(4, 8), torch.randn(4, 8)
        >>> pairs, same = torch.tensor([[0, 1], [2, 3]]), torch.tensor([True, False])
        >>> batch = EnhancementBatch(outputs=y, inputs=y, targets=t, pairs=pairs, same_recording=same)
        >>> value = MMDMSELoss()(batch)
    """

    target_type = "B"

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Root of the mean squared difference, (p, d), (p, d) to (p,)."""
        length: Tensor = torch.linalg.vector_norm(first - second, dim=-1)  # whose gradient at 0 is 0
        return length / math.sqrt(first.shape[-1])

    def to_target(self, batch: EnhancementBatch) -> Tensor:
        """MSE, a scalar."""
        return squared_error(batch)


def squared_mmd(
    distances: Tensor, same_recording: Tensor, speakers: Tensor | None = None, sigma: float = 1.0
) -> Tensor:
    """Squared MMD between the distances of same-recording pairs and those of cross-recording pairs.

    The biased estimate with a Gaussian kernel; see `MMDCosineLoss`.

    Args:
        distances: (p,).
        same_recording: Whether a pair is from one recording, (p,).
        speakers: Whose each pair is, integers, (p,); None: all of one speaker.
        sigma: Width of the kernel.

    Returns:
        The mean over the speakers who have pairs of both kinds, a scalar; 0 where nobody has.
    """
    if speakers is None:
        speakers = torch.zeros(distances.shape, dtype=torch.long, device=distances.device)
    alike = speakers.unsqueeze(0) == speakers.unsqueeze(1)  # (p, p), pairs of one speaker
    of_one = same_recording.bool()
    n_same, n_cross = (  # (p,), of the speaker
        (alike & kind).sum(-1).to(distances.dtype) for kind in (of_one, ~of_one)
    )
    both = (n_same > 0) & (n_cross > 0)
    # MMD^2 is w^T K w, with w = 1 / n in one kind and -1 / n in the other. As w sums to 0, K - 1 gives the same,
    # and keeps the digits that are lost in K where all distances are small beside sigma.
    weights = torch.where(of_one, 1.0 / n_same.clamp_min(1.0), -1.0 / n_cross.clamp_min(1.0)) * both
    gaps = distances.unsqueeze(0) - distances.unsqueeze(1)
    kernel = torch.expm1(-gaps.square() / (2.0 * sigma**2)) * alike  # K - 1
    n_speakers = (both / (n_same + n_cross)).sum().round().clamp_min(1.0)
    return weights @ kernel @ weights / n_speakers


def _ends(batch: EnhancementBatch) -> tuple[Tensor, Tensor]:
    """Rows of the first and of the second of each pair, (p,), (p,)."""
    first, second = given(batch.pairs).long().unbind(-1)
    if not len(first):
        return first, second
    low, high = (int(edge) for edge in given(batch.pairs).aminmax())
    if low < 0 or high >= len(batch.outputs):
        raise InputError(
            f"pairs name row {low if low < 0 else high}; give rows from 0 to {len(batch.outputs) - 1}"
        )
    if batch.labels is not None and bool((batch.labels[first] != batch.labels[second]).any()):
        raise InputError("pairs join two speakers' embeddings; give pairs of one speaker each")
    return first, second
