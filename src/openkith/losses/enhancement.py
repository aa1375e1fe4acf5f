"""What every loss of embedding enhancement shares: the batch it is called with, and the call."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from openkith.errors import ConfigError, InputError

__all__ = ["EnhancementBatch", "EnhancementLoss", "cosine", "unit"]

_SHORTEST = 1e-4  # a vector that is shorter has no direction worth following


@dataclass(frozen=True, eq=False)
class EnhancementBatch:
    """A batch as the network answered it; what a loss has no use for may be None.

    Attributes:
        outputs: What the network made of each embedding, (b, d).
        inputs: The embeddings that went in, (b, d).
        targets: The multi-utterance embedding of each one's speaker, (b, d).
        labels: Each one's speaker in 0..C-1, integers, (b,).
        others: Another speaker's multi-utterance embedding for each, (b, d).
        pairs: Rows of ``outputs`` that are of one speaker, integers, (p, 2).
        same_recording: Whether the two of a pair are from one recording, (p,), bool.

    Raises:
        InputError: A shape or a type does not fit; the message names the tensor.
    """

    outputs: Tensor
    inputs: Tensor
    targets: Tensor | None = None
    labels: Tensor | None = None
    others: Tensor | None = None
    pairs: Tensor | None = None
    same_recording: Tensor | None = None

    def __post_init__(self) -> None:
        if self.outputs.ndim != 2 or not self.outputs.shape[0]:
            raise InputError(f"outputs has shape {tuple(self.outputs.shape)}; give (b, d), one row or more")
        b, d = self.outputs.shape
        p: int | str = "p" if self.pairs is None or not self.pairs.ndim else len(self.pairs)
        for name, wanted in (
            ("inputs", (b, d)),
            ("targets", (b, d)),
            ("others", (b, d)),
            ("labels", (b,)),
            ("pairs", (p, 2)),
            ("same_recording", (p,)),
        ):
            tensor: Tensor | None = getattr(self, name)
            if tensor is None:
                continue
            if tuple(tensor.shape) != wanted:
                whole = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
                raise InputError(f"{name} has shape {tuple(tensor.shape)}; give ({whole}), as the rest has")
            if name in ("labels", "pairs") and (tensor.is_floating_point() or tensor.dtype == torch.bool):
                raise InputError(f"{name} is {tensor.dtype}; give integers")


class EnhancementLoss(torch.nn.Module):
    """Base class of the losses that enhancement networks learn from.

    A loss of one's own is a subclass with `value`, the class attributes that differ, its options as keyword-only
    arguments of ``__init__``, and a line in `openkith.losses.ENHANCEMENT_LOSSES`.

    Args:
        dim: d, length of an embedding.
        n_speakers: C, speakers that are learned from.

    Attributes:
        needs: The form of list that it learns from: ``"normal"``, ``"triplet"`` or ``"distribution"``.
        target_type: Type of the multi-utterance embeddings that it was published with, ``"A"``, ``"B"`` or
            ``"C"``; None where it has no use for targets.
        uses: What must not be None in its batches, beside outputs and inputs.
        together: How many embeddings of a speaker must meet in a batch for the loss to see any difference.
    """

    needs: ClassVar[str] = "normal"
    target_type: ClassVar[str | None] = None
    uses: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[int] = 1

    def __init__(self, dim: int | None = None, n_speakers: int | None = None) -> None:
        super().__init__()
        for name, count in (("dim", dim), ("n_speakers", n_speakers)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} is {count}; give 1 or more")
        self.dim = dim
        self.n_speakers = n_speakers

    def forward(self, batch: EnhancementBatch) -> Tensor:
        """The loss, a scalar, in float32 or better whatever the network computes in.

        Raises:
            InputError: The batch lacks what this loss needs.
        """
        for name in self.uses:
            if getattr(batch, name) is None:
                raise InputError(f"{type(self).__name__} needs {name}; the batch has none")
        with torch.autocast(batch.outputs.device.type, enabled=False):
            return self.value(_at_least_float32(batch))

    def value(self, batch: EnhancementBatch) -> Tensor:
        """The loss of a batch that has what the loss needs, a scalar."""
        raise NotImplementedError


def unit(x: Tensor) -> Tensor:
    """Vectors (..., d) at unit length; one shorter than 1e-4 is divided by that, so that its gradient is finite."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(_SHORTEST)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of each vector with its partner, (..., d), (..., d) to (...); 0 where one of them is all zeros."""
    return (unit(x) * unit(y)).sum(-1)


def given(tensor: Tensor | None) -> Tensor:
    """A field of a batch that `EnhancementLoss.uses` names, and which is there for that reason."""
    assert tensor is not None
    return tensor


def _at_least_float32(batch: EnhancementBatch) -> EnhancementBatch:
    halves: dict[str, Any] = {
        field.name: tensor.float()
        for field in fields(batch)
        if (tensor := getattr(batch, field.name)) is not None
        and tensor.dtype in (torch.float16, torch.bfloat16)
    }
    return replace(batch, **halves) if halves else batch
