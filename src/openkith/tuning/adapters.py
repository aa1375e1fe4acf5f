"""Small networks on top of frozen embeddings. One that takes frames is in `openkith.tuning.frames`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from openkith.errors import ConfigError

__all__ = ["HIDDEN", "NORMS", "Adapter", "BatchNorm", "InstanceNorm", "MLPAdapter", "ResidualAdapter"]

HIDDEN = (512, 256, 256)
DEFAULT_OUT = 192
_EPSILON = 1e-5  # added to variances
_MOMENTUM = 0.1  # of the newest batch in the running statistics


class Adapter(torch.nn.Module):
    """What every adapter offers; with ``members=S`` every parameter and buffer leads with S.

    Attributes:
        dim: d, length of an embedding (of a frame, where ``takes_frames``).
        out: m, length of an adapted embedding.
        members: S, or None.
        batch_dependent: Whether in training a sample's output depends on its batch; known and unknown samples
            are then passed separately, the unknown ones with ``auxiliary=True``.
    """

    takes_frames: ClassVar[bool] = False
    dim: int
    out: int
    members: int | None
    batch_dependent: bool = False

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        members: int | None = None,
        hidden: Sequence[int] | None = None,
        norm: str = "instance",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        del out, hidden, norm, generator  # each adapter's own
        self.dim = dim
        self.members = members

    @property
    def _lead(self) -> tuple[int, ...]:
        """The leading dimensions of every parameter."""
        return () if self.members is None else (self.members,)


class InstanceNorm(torch.nn.Module):
    """Each vector to zero mean and unit variance over its features, without parameters."""

    batch_dependent: ClassVar[bool] = False

    def __init__(self, width: int, lead: tuple[int, ...] = ()) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor, auxiliary: bool = False) -> Tensor:  # noqa: ARG002
        """(..., n, h) to the same."""
        return F.layer_norm(x, x.shape[-1:], eps=_EPSILON)


class BatchNorm(torch.nn.Module):
    """Batch norm (Ioffe & Szegedy, ICML 2015) for known samples, and an auxiliary one for unknown samples.

    In training each feature is normalised over the batch, known samples by ``known``, unknown ones (auxiliary)
    by ``auxiliary``, each with its own running statistics, scale and shift, so that strangers do not
    move the statistics that people are recognised with (auxiliary norm: Xie et al., CVPR 2020). In evaluation
    the running statistics of the known samples count.
    """

    batch_dependent: ClassVar[bool] = True

    def __init__(self, width: int, lead: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.known = _RunningNorm(width, lead)
        self.auxiliary = _RunningNorm(width, lead)

    def forward(self, x: Tensor, auxiliary: bool = False) -> Tensor:
        """(..., n, h) to the same."""
        norm: _RunningNorm = self.auxiliary if auxiliary else self.known
        result: Tensor = norm(x)
        return result


class _RunningNorm(torch.nn.Module):
    """Batch norm with a scale and a shift, and running statistics for evaluation, for each member."""

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, lead: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(*lead, width))
        self.shift = torch.nn.Parameter(torch.zeros(*lead, width))
        self.register_buffer("mean", torch.zeros(*lead, width))
        self.register_buffer("variance", torch.ones(*lead, width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = x.mean(-2), x.var(-2, correction=0)  # (..., h)
            n = x.shape[-2]
            with torch.no_grad():
                self.mean.lerp_(mean, _MOMENTUM)
                self.variance.lerp_(variance * (n / max(n - 1, 1)), _MOMENTUM)
        factor = self.scale * (variance + _EPSILON).rsqrt()
        return x * factor.unsqueeze(-2) + (self.shift - mean * factor).unsqueeze(-2)


#: Name to the norm after each hidden layer.
NORMS: dict[str, type[InstanceNorm] | type[BatchNorm]] = {"instance": InstanceNorm, "batch": BatchNorm}


class MLPAdapter(Adapter):
    """Bias-free linear layers, each followed by a norm and ReLU, and a last plain linear layer.

    d -> 512 -> 256 -> 256 -> m, as in SpeakerRPL (Chen et al., SLT 2024). With instance norm (each vector to
    zero mean and unit variance over its features, without parameters) a vector's output never depends on its
    batch, nor (but for the norm's epsilon) on the embedding's length. With batch norm see `BatchNorm`.

    Args:
        dim: d, length of an embedding.
        out: m, length of an adapted embedding; None: 192. 0: no last layer, m is the width of the last hidden
            one, whose norm and ReLU end the network.
        members: S networks side by side: weights (S, in, out), inputs (S, n, d), or (n, d) for all of them.
            None: one, without that dimension.
        hidden: Widths of the layers with norm and ReLU; None: 512, 256, 256.
        norm: A key of `NORMS`.
        generator: For the initial weights, uniform within 1 / sqrt(fan in).

    Raises:
        ConfigError: No such norm, or no layer at all.
    """

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        members: int | None = None,
        hidden: Sequence[int] | None = None,
        norm: str = "instance",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim, members=members)
        hidden = HIDDEN if hidden is None else tuple(hidden)
        out = DEFAULT_OUT if out is None else out
        if norm not in NORMS:
            raise ConfigError(f"norm is {norm!r}; there are: {', '.join(NORMS)}")
        widths = [dim, *hidden, out] if out else [dim, *hidden]
        if len(widths) < 2:
            raise ConfigError("hidden is empty and out 0, which leaves no layer; give one of the two")
        self.out = widths[-1]
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter((torch.rand(*self._lead, a, b, generator=generator) * 2 - 1) / math.sqrt(a))
            for a, b in itertools.pairwise(widths)
        )
        self.norms = torch.nn.ModuleList(NORMS[norm](width, self._lead) for width in hidden)
        self.batch_dependent = NORMS[norm].batch_dependent and bool(hidden)

    def forward(self, embeddings: Tensor, auxiliary: bool = False) -> Tensor:
        """(..., n, d) to (..., n, m); ``auxiliary``: these are unknown samples of training."""
        x = embeddings
        for i, weight in enumerate(self.weights):
            x = x @ weight
            if i < len(self.norms):
                x = F.relu(self.norms[i](x, auxiliary))
        return x


class ResidualAdapter(MLPAdapter):
    """The embedding itself plus what an `MLPAdapter` adds to it, which at the start is nothing.

    x = e + f(e) with the last layer of f zero at the start, so that tuning sets out from the frozen encoder's own
    embedding; m = d.

    Args:
        dim, members, hidden, norm, generator: See `MLPAdapter`.
        out: None, or d.

    Raises:
        ConfigError: ``out`` is another length, or there is no such norm.
    """

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        members: int | None = None,
        hidden: Sequence[int] | None = None,
        norm: str = "instance",
        generator: torch.Generator | None = None,
    ) -> None:
        if out not in (None, dim):
            raise ConfigError(f"out is {out}; the residual adapter keeps the length {dim}, leave out away")
        super().__init__(dim, dim, members=members, hidden=hidden, norm=norm, generator=generator)
        with torch.no_grad():
            self.weights[-1].zero_()

    def forward(self, embeddings: Tensor, auxiliary: bool = False) -> Tensor:
        """(..., n, d) to (..., n, d)."""
        return embeddings + super().forward(embeddings, auxiliary)
