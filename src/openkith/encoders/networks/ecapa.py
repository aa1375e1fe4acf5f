"""ECAPA-TDNN in WeSpeaker's names, 192-d (Desplanques et al., Interspeech 2020).

Dilated convolutions over time on 80 mel bands. Three blocks, each a residual around channels split in eight groups
(every group also gets the output of the one before) and rescaled by what their mean over time says; the outputs of
all three together make the frames, which attentive statistics pooling brings to one vector.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from openkith.audio.features import kaldi_fbank
from openkith.encoders.networks.network import NetworkEncoder
from openkith.encoders.networks.pooling import AttentiveStatistics
from openkith.encoders.weights.checkpoints import load_strictly, read_state
from openkith.encoders.weights.published import state_digest
from openkith.encoders.weights.sources import fetch_checkpoint
from openkith.errors import WeightsError

__all__ = ["ECAPA"]

N_MELS = 80
GROUPS = 8
BLOCK_DILATIONS = {"layer2": 2, "layer3": 3, "layer4": 4}
SQUEEZED = 128  # channels between the two layers that rescale
MIN_FRAMES = 2  # so that there is a deviation over time
INT16_SCALE = 32768.0
_EPSILON = 1e-7  # of the variances in pooling


class _ConvReluNorm(nn.Module):
    """Convolution over time that keeps the length, ReLU, batch norm, in this order."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.bn(torch.relu(self.conv(x)))
        return normed


class _GroupedConvs(nn.Module):
    """Channels in eight groups: each but the last is convolved, with the output of the one before added to it."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        width = channels // GROUPS
        convs = (nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for _ in range(GROUPS - 1))
        self.convs = nn.ModuleList(convs)
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(GROUPS - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *groups, last = x.chunk(GROUPS, dim=1)
        outputs: list[torch.Tensor] = []
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            into = group + outputs[-1] if outputs else group
            outputs.append(bn(torch.relu(conv(into))))
        return torch.cat([*outputs, last], dim=1)


class _Rescaled(nn.Module):
    """Squeeze and excitation: each channel times a number in (0, 1) that the means over time decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, SQUEEZED)
        self.linear2 = nn.Linear(SQUEEZED, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.float().mean(dim=2).to(x.dtype)
        return x * torch.sigmoid(self.linear2(torch.relu(self.linear1(mean)))).unsqueeze(2)


class _Block(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.se_res2block = nn.Sequential(
            _ConvReluNorm(channels, channels),
            _GroupedConvs(channels, dilation),
            _ConvReluNorm(channels, channels),
            _Rescaled(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.se_res2block(x)
        return x + changed


class _Network(nn.Module):
    """The layers, under WeSpeaker's names.

    Args:
        channels: Of the blocks, 512 or 1024.
        width: Of the frames, 1536.
        dim: Of an embedding, 192.
        context: The attention also sees mean and deviation of the whole clip.
        last_norm: A batch norm follows the last layer.
    """

    def __init__(self, channels: int, width: int, dim: int, *, context: bool, last_norm: bool) -> None:
        super().__init__()
        self.layer1 = _ConvReluNorm(N_MELS, channels, kernel=5)
        for name, dilation in BLOCK_DILATIONS.items():
            self.add_module(name, _Block(channels, dilation))
        self.conv = nn.Conv1d(len(BLOCK_DILATIONS) * channels, width, 1)
        self.pool = AttentiveStatistics(width, context=context, epsilon=_EPSILON)
        self.bn = nn.BatchNorm1d(2 * width)
        self.linear = nn.Linear(2 * width, dim)
        self.bn2 = nn.BatchNorm1d(dim) if last_norm else nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to embeddings (b, dim)."""
        embeddings: torch.Tensor = self.bn2(self.linear(self.bn(self.pool(self._channels(features)))))
        return embeddings

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to frames (b, T, width)."""
        return self._channels(features).transpose(1, 2)

    def _channels(self, features: torch.Tensor) -> torch.Tensor:
        x = self.layer1(features.transpose(1, 2))
        blocks: list[torch.Tensor] = []
        for name in BLOCK_DILATIONS:
            x = self.get_submodule(name)(x)
            blocks.append(x)
        return torch.relu(self.conv(torch.cat(blocks, dim=1)))  # (b, width, T)


class ECAPA(NetworkEncoder):
    """ECAPA-TDNN as WeSpeaker publishes it, 192-d, with 512 or 1024 channels (Wang et al., ICASSP 2023).

    80 Kaldi mel bands, each less its mean over the clip. The number of channels, and whether the pooling attends
    with global context, follow from the checkpoint. `frames` (T, 1536) are what is pooled.

    A classifier (``projection.*``) in the checkpoint is left out.

    Args:
        weights: WeSpeaker's ``avg_model.pt`` or the folder that has it, the same tensors as ``.safetensors``, a hub
            id or a URL; default: `DEFAULT_WEIGHTS`, 512 channels, trained on VoxCeleb2;
            ``"Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM"`` has 1024.
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        WeightsError: The weights cannot be had, or are those of another network.
        ConfigError: An unknown device, precision or number of threads.
    """

    name = "ecapa"
    DEFAULT_WEIGHTS = "Wespeaker/wespeaker-ecapa-tdnn512-LM"
    FILES = ("avg_model.pt", "avg_model", "*.safetensors", "*.pt")
    IGNORED = ("projection.*",)

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        path = fetch_checkpoint(weights or self.DEFAULT_WEIGHTS, files=self.FILES)
        state = read_state(path, self.IGNORED)
        network = _network_of(state, path)
        load_strictly(network, state, path)
        super().__init__(
            network,
            features=partial(kaldi_fbank, window="hamming", scale=INT16_SCALE),
            dim=network.linear.out_features,
            fingerprint=f"ecapa/wespeaker-fbank80/{state_digest(network.state_dict())[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            min_frames=MIN_FRAMES,
        )


def _network_of(state: dict[str, torch.Tensor], source: Path) -> _Network:
    """A network of the sizes of a state dict."""
    sizes: dict[str, tuple[int, int]] = {}
    for name in ("layer1.conv.weight", "conv.weight", "pool.linear1.weight", "linear.weight"):
        if name not in state or state[name].ndim < 2:
            raise WeightsError(
                f"{source}: not ECAPA weights (without {name}); give a checkpoint of its layout"
            )
        sizes[name] = state[name].shape[0], state[name].shape[1]
    channels, width = sizes["layer1.conv.weight"][0], sizes["conv.weight"][0]
    if channels < GROUPS or channels % GROUPS:
        raise WeightsError(
            f"{source}: layer1.conv.weight has {channels} channels, which {GROUPS} does not divide; "
            "give a checkpoint of ECAPA-TDNN"
        )
    return _Network(
        channels,
        width,
        sizes["linear.weight"][0],
        context=sizes["pool.linear1.weight"][1] == 3 * width,
        last_norm="bn2.weight" in state,
    )
