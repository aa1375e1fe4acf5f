"""From frames to one vector: statistics over time, plain or weighted by attention.

Features are (batch, channels, frames), or images (batch, channels, frequencies, frames), whose channels and
frequencies become one axis, channel-major. The last axis is time. Sums over time are taken in float32 whatever
the precision of the network is.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["AttentiveStatistics", "TdnnAttentiveStatistics", "TemporalStatistics", "weighted_statistics"]

HIDDEN = 128  # channels of the attention, in all published models


def weighted_statistics(x: torch.Tensor, scores: torch.Tensor, floor: float) -> torch.Tensor:
    """Weighted means and standard deviations over time (Okabe et al., Interspeech 2018, equations 5 and 6).

    Args:
        x: Features (batch, channels, frames).
        scores: Of the same shape; the weights are their softmax over time.
        floor: The variance is at least this.

    Returns:
        Means, then deviations: (batch, 2 * channels), in the type of ``x``.
    """
    weights = torch.softmax(scores.float(), dim=-1)
    values = x.float()
    mean = (weights * values).sum(-1, keepdim=True)
    variance = (weights * (values - mean).square()).sum(-1)
    return torch.cat([mean[..., 0], variance.clamp_min(floor).sqrt()], dim=1).to(x.dtype)


def _flat(x: torch.Tensor) -> torch.Tensor:
    """Images (batch, channels, frequencies, frames) as (batch, channels * frequencies, frames)."""
    return x.flatten(1, -2)


class TemporalStatistics(nn.Module):
    """Means and standard deviations over time (Snyder et al., ICASSP 2018), the variance unbiased.

    Args:
        epsilon: Added to the variance under the root: 1e-7 in WeSpeaker, 1e-8 in 3D-Speaker.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, ..., frames) of 2 frames or more to (batch, 2 * channels): means, then deviations."""
        variance, mean = torch.var_mean(_flat(x).float(), dim=-1)
        return torch.cat([mean, (variance + self.epsilon).sqrt()], dim=1).to(x.dtype)


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling in WeSpeaker's names: ``linear1``, tanh, ``linear2``.

    Attention of each channel by itself, on request with the mean and deviation of the whole utterance beside
    each frame (Desplanques et al., ECAPA-TDNN, Interspeech 2020, section 3.1).

    Args:
        channels: Of the features; of images channels times frequencies.
        hidden: Channels of the attention.
        context: The attention sees the utterance's mean and deviation too.
        epsilon: Added to the variance of the context, and the least weighted variance.
    """

    def __init__(
        self, channels: int, hidden: int = HIDDEN, *, context: bool = False, epsilon: float = 1e-7
    ) -> None:
        super().__init__()
        self.linear1 = nn.Conv1d(3 * channels if context else channels, hidden, kernel_size=1)
        self.linear2 = nn.Conv1d(hidden, channels, kernel_size=1)
        self.context = context
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, ..., frames) to (batch, 2 * channels): means, then deviations."""
        x = _flat(x)
        if self.context:
            variance, mean = torch.var_mean(x.float(), dim=-1, keepdim=True)
            hidden = _with_context(self.linear1, x, mean, (variance + self.epsilon).sqrt())
        else:
            hidden = self.linear1(x)
        return weighted_statistics(x, self.linear2(torch.tanh(hidden)), self.epsilon)


class TdnnAttentiveStatistics(nn.Module):
    """Attentive statistics pooling with context, of the neural scoring paper (Lin et al., arXiv 2410.16428).

    Its names: ``tdnn.conv.conv``, ReLU, ``tdnn.norm.norm``, tanh, ``conv.conv``.

    Args:
        channels: Of the features; of images channels times frequencies.
        hidden: Channels of the attention.
        floor: Of the variances of context and result, which are biased.
    """

    def __init__(self, channels: int, hidden: int = HIDDEN, *, floor: float = 1e-12) -> None:
        super().__init__()
        tdnn = {"conv": _named("conv", nn.Conv1d(3 * channels, hidden, kernel_size=1))}
        tdnn["norm"] = _named("norm", nn.BatchNorm1d(hidden))
        self.tdnn = nn.ModuleDict(tdnn)
        self.conv = _named("conv", nn.Conv1d(hidden, channels, kernel_size=1))
        self.floor = floor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, ..., frames) to (batch, 2 * channels): means, then deviations."""
        x = _flat(x)
        variance, mean = torch.var_mean(x.float(), dim=-1, keepdim=True, correction=0)
        context = variance.clamp_min(self.floor).sqrt()
        tdnn, norm = self.tdnn["conv"].get_submodule("conv"), self.tdnn["norm"].get_submodule("norm")
        hidden = torch.tanh(norm(torch.relu(_with_context(tdnn, x, mean, context))))
        return weighted_statistics(x, self.conv["conv"](hidden), self.floor)


def _with_context(
    layer: nn.Module, x: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor
) -> torch.Tensor:
    """A 1x1 convolution of (x, mean, deviation), the latter two (batch, channels, 1), without repeating them."""
    kernel, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    split = x.shape[1]
    context = torch.cat([mean, deviation], dim=1).to(x.dtype)
    whole = nn.functional.conv1d(context, kernel[:, split:], bias)
    return nn.functional.conv1d(x, kernel[:, :split]) + whole


def _named(name: str, module: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({name: module})
