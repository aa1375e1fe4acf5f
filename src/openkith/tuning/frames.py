"""An adapter that takes an encoder's frames in place of its embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from openkith.errors import ConfigError
from openkith.tuning.adapters import Adapter

__all__ = ["GRUAdapter"]

HIDDEN = 512
DEFAULT_OUT = 256


class GRUAdapter(Adapter):
    """A GRU over the frames, the mean of its states over time, and a linear layer with bias.

    Frames (n, T, f) -> GRU of 512 -> mean over each clip's own frames -> m = 256, the frame-level adapter of
    SpeakerRPL (Chen et al., IEEE TASLP 2025). The weights are those of torch.nn.GRU and torch.nn.Linear, stacked
    over members.

    Args:
        dim: f, length of a frame.
        out: m, length of an adapted embedding; None: 256.
        members: S networks side by side; None: one, without that dimension.
        hidden: The width of the GRU, one number; None: 512.
        norm: There is none; "instance", which every configuration starts from, is let pass.
        generator: For the initial weights, uniform within 1 / sqrt(width).

    Raises:
        ConfigError: Not one width, or batch norm.
    """

    takes_frames: ClassVar[bool] = True

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
        widths = (HIDDEN,) if hidden is None else tuple(hidden)
        if len(widths) != 1:
            raise ConfigError(f"hidden is {list(widths)}; the gru adapter has one width, for example [512]")
        if norm != "instance":
            raise ConfigError(f"norm is {norm!r}; the gru adapter has none, leave it away")
        self.out = DEFAULT_OUT if out is None else out
        if not self.out:
            raise ConfigError("out is 0; the gru adapter ends in a linear layer, give 1 or more")
        (width,) = widths
        self.width = width

        def uniform(*shape: int) -> torch.nn.Parameter:
            values = torch.rand(*self._lead, *shape, generator=generator) * 2 - 1
            return torch.nn.Parameter(values / math.sqrt(width))

        self.weight_ih = uniform(3 * width, dim)
        self.weight_hh = uniform(3 * width, width)
        self.bias_ih = uniform(3 * width)
        self.bias_hh = uniform(3 * width)
        self.weight_out = uniform(width, self.out)
        self.bias_out = uniform(self.out)

    def forward(self, frames: Tensor, lengths: Tensor | None = None, auxiliary: bool = False) -> Tensor:  # noqa: ARG002
        """Frames to adapted embeddings.

        Args:
            frames: (n, T, f), or (S, n, T, f) with members; clips shorter than T are padded at the end.
            lengths: Each clip's own frames, 1 to T, shape (n,) or (S, n); None: all T.
            auxiliary: For unknown samples of training; without a norm it changes nothing.

        Returns:
            (n, m), or (S, n, m).
        """
        if self.members is None:
            return self._one(frames, lengths, None)
        each = []
        for s in range(self.members):
            own = frames[s] if frames.ndim == 4 else frames
            length = lengths[s] if lengths is not None and lengths.ndim == 2 else lengths
            each.append(self._one(own, length, s))
        return torch.stack(each)

    def _one(self, frames: Tensor, lengths: Tensor | None, member: int | None) -> Tensor:
        """One member: (n, T, f) to (n, m)."""

        def of(parameter: Tensor) -> Tensor:
            return parameter if member is None else parameter[member]

        weights = [of(p) for p in (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)]
        start = frames.new_zeros(1, len(frames), self.width)
        states, _ = torch.gru(frames, start, weights, True, 1, 0.0, False, False, True)  # (n, T, h)
        if lengths is None:
            mean = states.mean(1)
        else:
            counted = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(-1)  # (n, T)
            mean = (states * counted.unsqueeze(-1)).sum(1) / lengths.unsqueeze(-1)
        return mean @ of(self.weight_out) + of(self.bias_out)
