"""The network of neural scoring: an enrolment looks at the frames of a test utterance, and says if its owner talks.

Lin et al., "Neural Scoring: A Refreshed End-to-End Approach for Speaker Recognition in Complex Conditions", arXiv
2410.16428 (v3; v1 has the title "Neural Scoring, Not Embedding"). Parameters have the names of the authors' NS-SV.

Enrolments and frames, each through a linear layer of their own, become tokens of one width. A learnable vector says of
which kind a token is; frames alone get sinusoidal positions. Then come post-norm encoder layers (Vaswani et al.,
"Attention is all you need", NeurIPS 2017) in which frames see frames only, and an enrolment sees itself and all frames,
never another enrolment: its score does not depend on who else is asked about. An MLP turns each enrolment token into
one number, the log odds that its owner is heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from openkith.encoders.networks.resnet import (
    FRAME_WIDTH,
    INT16_SCALE,
    N_MELS,
    STRIDE,
    AttentiveResNet34,
    ResNet34Trunk,
)
from openkith.encoders.voxceleb_mel import HOP, WINDOW, normalised_log_mel
from openkith.errors import ConfigError, InputError

__all__ = ["NetworkConfig", "ScoringNetwork", "WholeNetwork", "log_mel", "most_samples", "sinusoids"]

NORM_EPSILON = 1e-6
LONGEST_WAVE = 10_000.0  # of the positions, in tokens per radian

#: Samples (n,) at 16 kHz in [-1, 1] to the features (1 + n // 160, 80) of both encoders of `WholeNetwork`.
log_mel = partial(normalised_log_mel, n_mels=N_MELS, full_scale=INT16_SCALE)


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a scoring network; the defaults are the paper's.

    Attributes:
        enrolment_dim: d, length of an enrolment embedding.
        frame_dim: f, numbers in a frame of the test utterance.
        width: Of a token, and of the MLP.
        heads: Of the attention.
        layers: Encoder layers.
        feed_forward: Hidden numbers in each layer.
        dropout: Share of numbers dropped in training: of the tokens, and of what either half of a layer adds.
        most_frames: The longest test utterance, in frames.

    Raises:
        ConfigError: A value is out of range.
    """

    enrolment_dim: int = 256
    frame_dim: int = FRAME_WIDTH
    width: int = 256
    heads: int = 4
    layers: int = 1
    feed_forward: int = 512
    dropout: float = 0.1
    most_frames: int = 500

    def __post_init__(self) -> None:
        for name in ("enrolment_dim", "frame_dim", "width", "heads", "layers", "feed_forward", "most_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.width % 2 or self.width % self.heads:
            raise ConfigError(f"width is {self.width}; give an even number that {self.heads} heads can share")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; give 0 or more, below 1")


def sinusoids(count: int, width: int) -> torch.Tensor:
    """Positions: sine and cosine by turns, of waves from 1 to 10 000 tokens per radian, shape (count, width)."""
    waves = LONGEST_WAVE ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] / waves
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class _Attention(nn.Module):
    """Attention of both kinds of tokens to the frames, of an enrolment to itself besides."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.WQ = nn.Linear(width, width)
        self.WK = nn.Linear(width, width)
        self.WV = nn.Linear(width, width)
        self.linear = nn.Linear(width, width)

    def forward(
        self, enrolments: torch.Tensor, frames: torch.Tensor, padding: torch.Tensor | None, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What tokens (b, e, w) and (b, T, w) take in, of their shapes; the frames' is left out in the last layer."""
        keys, values = self._split(self.WK(frames)), self._split(self.WV(frames))  # (b, h, T, w/h)
        own_keys, own_values = self._split(self.WK(enrolments)), self._split(self.WV(enrolments))
        query = self._split(self.WQ(enrolments)) * keys.shape[-1] ** -0.5  # (b, h, e, w/h)
        bias = None if padding is None else _bias(padding, keys.dtype)
        scores = query @ keys.mT  # (b, h, e, T)
        scores = scores if bias is None else scores + bias
        own = (query * own_keys).sum(-1, keepdim=True)  # (b, h, e, 1)
        weights = torch.cat([scores, own.to(scores.dtype)], dim=-1).softmax(-1).to(values.dtype)
        seen = self._merge(weights[..., :-1] @ values + weights[..., -1:] * own_values)
        if last:
            return seen, None
        query = self._split(self.WQ(frames))
        return seen, self._merge(functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (b, n, w) -> (b, h, n, w/h)

    def _merge(self, x: torch.Tensor) -> torch.Tensor:
        merged: torch.Tensor = self.linear(x.transpose(1, 2).flatten(2))  # (b, h, n, w/h) -> (b, n, w)
        return merged


def _bias(padding: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Added to the scores of frames, (b, 1, 1, T): the least number there is where they are padding.

    Not minus infinity, with which an utterance that is all padding would have no softmax.
    """
    zeros = torch.zeros(padding.shape, dtype=dtype, device=padding.device)
    return zeros.masked_fill(padding, torch.finfo(dtype).min)[:, None, None]


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear2(torch.relu(self.linear1(x)))
        return result


class _Layer(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.mha = _Attention(config.width, config.heads)
        self.layernorm1 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.ffn = _FeedForward(config.width, config.feed_forward)
        self.layernorm2 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, enrolments: torch.Tensor, frames: torch.Tensor, padding: torch.Tensor | None, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (b, e, w) and (b, T, w) to the same; the frames stay as they are in the last layer."""
        seen, heard = self.mha(enrolments, frames, padding, last)
        enrolments = self._add(enrolments, seen)
        return enrolments, frames if heard is None else self._add(frames, heard)

    def _add(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = self.layernorm1(tokens + self.dropout(attended))
        result: torch.Tensor = self.layernorm2(x + self.dropout(self.ffn(x)))
        return result


class _Transformer(nn.Module):
    positions: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.etype_emb = nn.Parameter(torch.randn(1, config.width))
        self.ttype_emb = nn.Parameter(torch.randn(1, config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.register_buffer("positions", sinusoids(config.most_frames, config.width), persistent=False)

    def forward(
        self, enrolments: torch.Tensor, frames: torch.Tensor, padding: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens (b, e, w) and (b, T, w), where padding is (b, T): enrolment tokens (b, e, w)."""
        enrolments = self.dropout(enrolments + self.etype_emb)
        frames = self.dropout(frames + self.ttype_emb + self.positions[: frames.shape[1]])
        for number, layer in enumerate(self.layers, start=1):
            enrolments, frames = layer(enrolments, frames, padding, last=number == len(self.layers))
        return enrolments


class ScoringNetwork(nn.Module):
    """Enrolment embeddings and frames to log odds, for any encoders.

    Parameters: ``scoring_linear1`` (frames), ``scoring_linear2`` (enrolments), ``transformer_model``, ``mlp``.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: NetworkConfig = NetworkConfig()) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.scoring_linear1 = nn.Linear(config.frame_dim, width)
        self.scoring_linear2 = nn.Linear(config.enrolment_dim, width)
        self.transformer_model = _Transformer(config)
        self.mlp = nn.Sequential(
            *(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        )

    def forward(
        self, enrolments: torch.Tensor, frames: torch.Tensor, padding: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Log odds (b, e) that each enrolled person talks in the test utterance; their sigmoid is the probability.

        Args:
            enrolments: Embeddings (b, e, d).
            frames: Of the test utterances, (b, T, f).
            padding: True where a frame is none, (b, T); without it all are.

        Raises:
            InputError: A shape does not fit, or there are no frames, or too many.
        """
        self._check(enrolments, frames, padding)
        tokens = self.transformer_model(
            self.scoring_linear2(enrolments), self.scoring_linear1(frames), padding
        )
        logits: torch.Tensor = self.mlp(tokens)[..., 0]
        return logits

    def _check(self, enrolments: torch.Tensor, frames: torch.Tensor, padding: torch.Tensor | None) -> None:
        for name, tensor, width in (
            ("frames", frames, self.config.frame_dim),
            ("enrolments", enrolments, self.config.enrolment_dim),
        ):
            if tensor.ndim != 3 or tensor.shape[-1] != width or len(tensor) != len(frames):
                raise InputError(
                    f"{name} have shape {tuple(tensor.shape)}; this network needs ({len(frames)}, ..., {width})"
                )
        count, most = frames.shape[1], self.config.most_frames
        if not 1 <= count <= most:
            raise InputError(f"{count} frames; give from 1 to {most}, a longer utterance cut")
        if padding is not None and (padding.shape != frames.shape[:2] or padding.dtype != torch.bool):
            raise InputError(
                f"padding is {padding.dtype} of shape {tuple(padding.shape)}; give {tuple(frames.shape[:2])} of bool"
            )


class WholeNetwork(ScoringNetwork):
    """A scoring network with both of its encoders: all that an NS-SV checkpoint holds, under its names.

    ``enrollmodel.speaker_encoder`` is the ResNet34 that embeds enrolments, frozen: without gradients, and in evaluation
    mode whatever `train` says. ``testencoder.speaker_encoder`` is the same trunk without pooling, trainable.

    Args:
        config: Sizes; ``frame_dim`` is the trunk's, 2560.

    Raises:
        ConfigError: Another ``frame_dim``.
    """

    def __init__(self, config: NetworkConfig = NetworkConfig()) -> None:
        if config.frame_dim != FRAME_WIDTH:
            raise ConfigError(f"frame_dim is {config.frame_dim}; the test encoder gives {FRAME_WIDTH}")
        super().__init__(config)
        self.enrollmodel = nn.ModuleDict({"speaker_encoder": AttentiveResNet34(config.enrolment_dim)})
        self.testencoder = nn.ModuleDict({"speaker_encoder": ResNet34Trunk("downsample")})
        self.freeze()

    def freeze(self) -> Self:
        """The enrolment encoder without gradients and in evaluation mode."""
        self.enrollmodel.requires_grad_(False).eval()
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode of all but the enrolment encoder."""
        super().train(mode)
        return self.freeze()

    @torch.no_grad()
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Enrolment embeddings (b, d), not normalised, of features (b, T, 80); see `log_mel`."""
        embeddings: torch.Tensor = self.enrollmodel["speaker_encoder"](features)
        return embeddings

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Frames (b, T/8, 2560), T/8 rounded up, of a test utterance's features (b, T, 80)."""
        trunk: Any = self.testencoder["speaker_encoder"]
        frames: torch.Tensor = trunk.frames(features)
        return frames


def most_samples(frames: int) -> int:
    """The longest audio at 16 kHz of which `WholeNetwork.frames` gives so many: 39.9 s for 500."""
    return (frames - 1) * STRIDE * HOP + WINDOW - HOP
