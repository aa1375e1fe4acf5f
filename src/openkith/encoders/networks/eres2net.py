"""ERes2NetV2 and ERes2Net, in the layout of 3D-Speaker, whose checkpoints they load by their own names.

Residual networks on the filter bank as a picture of one channel, 80 high and T wide. A block splits its
channels into groups that follow one another (Res2Net); the later stages fuse groups, and stages, by attention.
ERes2Net: Chen et al., "An enhanced Res2Net with local and global feature fusion for speaker verification",
Interspeech 2023. ERes2NetV2: Chen et al., "ERes2NetV2: boosting short-duration speaker verification performance
with computational efficiency", Interspeech 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from openkith.audio.features import kaldi_fbank
from openkith.encoders.networks.network import NetworkEncoder
from openkith.encoders.networks.pooling import TemporalStatistics
from openkith.encoders.weights.checkpoints import COUNTERS, load_strictly, read_state
from openkith.encoders.weights.published import state_digest
from openkith.encoders.weights.sources import fetch_checkpoint
from openkith.errors import WeightsError

__all__ = ["ERes2Net", "ERes2NetNetwork", "ERes2NetV2", "ERes2NetV2Network", "Layout"]

N_MELS = 80
BLOCKS = (3, 4, 6, 3)  # of the four stages
CLIP = 20.0  # the blocks' ReLU ends here
EPSILON = 1e-8  # of the statistics pooling
STRIDE = 8  # frames of the filter bank to one of the last stage


@dataclass(frozen=True)
class Layout:
    """The sizes in which published models differ; see `Layout.of`.

    Attributes:
        channels: Of the stem; the stages have 1, 2, 4 and 8 times as many planes.
        base_width: Channels of a group, for 64 planes.
        scale: Groups of a block.
        expansion: Channels that a block gives, for one plane.
        dim: Length of an embedding.
        two_layers: A second linear layer makes the embedding.
    """

    channels: int = 64
    base_width: int = 26
    scale: int = 2
    expansion: int = 2
    dim: int = 192
    two_layers: bool = False

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor], source: str | Path) -> Layout:
        """The sizes of a state dict, from the shapes of a few of its weights.

        Raises:
            WeightsError: One of those weights is not there.
        """
        named = ("conv1.weight", "layer1.0.conv3.weight", "layer4.0.convs.0.weight", "seg_1.weight")
        if missing := [name for name in named if name not in state]:
            raise WeightsError(
                f"{source}: not ERes2Net weights (without {', '.join(missing)}); give those of 3D-Speaker"
            )
        channels, expanded, width, dim = (len(state[name]) for name in named)
        return cls(
            channels=channels,
            base_width=8 * width // channels,
            scale=sum(name.startswith("layer1.0.convs.") for name in state),
            expansion=expanded // channels,
            dim=len(state["seg_2.weight"]) if "seg_2.weight" in state else dim,
            two_layers="seg_2.weight" in state,
        )


def _clipped(x: torch.Tensor) -> torch.Tensor:
    return x.clamp_(0.0, CLIP)


class _Fusion(nn.Module):
    """Attentional fusion of two feature maps (Chen et al. 2023, section 2.2), by the names ``local_att.*``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 4
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.SiLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """A t + b (2 - t) with t = 1 + tanh(attention), all (batch, channels, frequencies, frames)."""
        lean = torch.tanh(self.local_att(torch.cat([a, b], dim=1)))
        return a + b + lean * (a - b)


class _Block(nn.Module):
    """A residual block of groups, each with its predecessor's output added or fused to it."""

    def __init__(self, before: int, planes: int, stride: int, layout: Layout, *, fused: bool) -> None:
        super().__init__()
        width, after = planes * layout.base_width // 64, planes * layout.expansion
        groups = range(layout.scale)
        self.conv1 = nn.Conv2d(before, width * layout.scale, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * layout.scale)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in groups)
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in groups)
        self.fuse_models = nn.ModuleList(_Fusion(width) for _ in groups[1:]) if fused else None
        self.conv3 = nn.Conv2d(width * layout.scale, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, before, frequencies, frames) to (batch, planes * expansion, frequencies / s, frames / s)."""
        groups = _clipped(self.bn1(self.conv1(x))).chunk(len(self.convs), dim=1)
        done: list[torch.Tensor] = []
        for i, (conv, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            group = groups[i]
            if i:
                group = (
                    done[-1] + group if self.fuse_models is None else self.fuse_models[i - 1](done[-1], group)
                )
            done.append(_clipped(norm(conv(group))))
        out = self.bn3(self.conv3(torch.cat(done, dim=1)))
        return _clipped(out.add_(self.shortcut(x)))


class _Network(nn.Module):
    """What both have: the stem, four stages, statistics over time, one or two linear layers."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, layout.channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(layout.channels)
        after = layout.channels * layout.expansion
        self.layer1 = _stage(BLOCKS[0], layout.channels, layout.channels, 1, layout)
        self.layer2 = _stage(BLOCKS[1], after, 2 * layout.channels, 2, layout)
        self.layer3 = _stage(BLOCKS[2], 2 * after, 4 * layout.channels, 2, layout, fused=True)
        self.layer4 = _stage(BLOCKS[3], 4 * after, 8 * layout.channels, 2, layout, fused=True)
        self.pool = TemporalStatistics(EPSILON)
        self.seg_1 = nn.Linear(2 * 8 * after * N_MELS // STRIDE, layout.dim)
        self.seg_2: nn.Module | None = None
        if layout.two_layers:
            self.seg_bn_1 = nn.BatchNorm1d(layout.dim, affine=False)
            self.seg_2 = nn.Linear(layout.dim, layout.dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Filter banks (batch, frames, 80) to embeddings (batch, dim)."""
        embedding: torch.Tensor = self.seg_1(self.pool(self._last(features)))
        if self.seg_2 is not None:
            embedding = self.seg_2(self.seg_bn_1(torch.relu(embedding)))
        return embedding

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Filter banks (batch, frames, 80) to what is pooled: (batch, frames / 8, channels * 10), channel-major."""
        return self._last(features).flatten(1, 2).transpose(1, 2)

    def _stem(self, features: torch.Tensor) -> torch.Tensor:
        picture = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, 80, frames)
        return torch.relu_(self.bn1(self.conv1(picture)))

    def _last(self, features: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def _stage(
    blocks: int, before: int, planes: int, stride: int, layout: Layout, *, fused: bool = False
) -> nn.Sequential:
    after = planes * layout.expansion
    rest = [_Block(after, planes, 1, layout, fused=fused) for _ in range(blocks - 1)]
    return nn.Sequential(_Block(before, planes, stride, layout, fused=fused), *rest)


def _downsample(channels: int) -> nn.Conv2d:
    """To half the frequencies and frames, and twice the channels."""
    return nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)


class ERes2NetV2Network(_Network):
    """The layers of ERes2NetV2, under 3D-Speaker's names."""

    def __init__(self, layout: Layout | None = None) -> None:
        layout = layout or Layout()
        super().__init__(layout)
        third = 4 * layout.channels * layout.expansion
        self.layer3_ds = _downsample(third)
        self.fuse34 = _Fusion(2 * third)

    def _last(self, features: torch.Tensor) -> torch.Tensor:
        third = self.layer3(self.layer2(self.layer1(self._stem(features))))
        fused: torch.Tensor = self.fuse34(self.layer4(third), self.layer3_ds(third))
        return fused


class ERes2NetNetwork(_Network):
    """The layers of ERes2Net, under 3D-Speaker's names."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        first = layout.channels * layout.expansion
        self.layer1_downsample = _downsample(first)
        self.layer2_downsample = _downsample(2 * first)
        self.layer3_downsample = _downsample(4 * first)
        self.fuse_mode12 = _Fusion(2 * first)
        self.fuse_mode123 = _Fusion(4 * first)
        self.fuse_mode1234 = _Fusion(8 * first)

    def _last(self, features: torch.Tensor) -> torch.Tensor:
        first = self.layer1(self._stem(features))
        second = self.layer2(first)
        two = self.fuse_mode12(second, self.layer1_downsample(first))
        third = self.layer3(second)
        three = self.fuse_mode123(third, self.layer2_downsample(two))
        four: torch.Tensor = self.fuse_mode1234(self.layer4(third), self.layer3_downsample(three))
        return four


class _ThreeDSpeaker(NetworkEncoder):
    """A network of 3D-Speaker with its front end and its checkpoints."""

    published: ClassVar[str]
    architecture: ClassVar[type[_Network]]
    files: ClassVar[tuple[str, ...]] = ("*.safetensors", "*.ckpt", "*.pt", "*.bin")
    ignored: ClassVar[tuple[str, ...]] = (COUNTERS,)

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        path = fetch_checkpoint(self.published if weights is None else weights, files=self.files)
        state = read_state(path, ignored=self.ignored)
        layout = Layout.of(state, path)
        with torch.device("meta"):
            network = self.architecture(layout)
        load_strictly(network, state, path)
        super().__init__(
            network,
            features=kaldi_fbank,
            dim=layout.dim,
            fingerprint=f"{self.name}/kaldi-povey/{state_digest(state)[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            min_frames=STRIDE + 1,  # two frames are left to take the variance of
            stride=STRIDE,
        )


class ERes2NetV2(_ThreeDSpeaker):
    """ERes2NetV2 of 3D-Speaker, 192-d: 17.9 M parameters, or 53.5 M in the width w24s4ep4; the weights say which.

    The front end is 80 log mel powers of Kaldi (Povey window, waveform in [-1, 1]), without their mean over the
    utterance. The published weights (Apache-2.0) are trained on 200,000 speakers of Mandarin.

    Args:
        weights: A checkpoint or folder of 3D-Speaker, a hub id, or ``"modelscope:..."``; default: the published
            base model. ``"modelscope:iic/speech_eres2netv2w24s4ep4_sv_zh-cn_16k-common"`` is the other width.
            All names must be there and no others, but for the ``num_batches_tracked`` of batch norms.
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        ConfigError: An unknown device, precision or number of threads.
        WeightsError: The weights cannot be had, are damaged, or are those of another network.
    """

    name = "eres2netv2"
    published = "modelscope:iic/speech_eres2netv2_sv_zh-cn_16k-common"
    architecture = ERes2NetV2Network


class ERes2Net(_ThreeDSpeaker):
    """ERes2Net of 3D-Speaker: base (32 channels), large (64), and the huge one of expansion 4; the weights say which.

    The front end is that of `ERes2NetV2`. The published weights (Apache-2.0) of the base network with 192-d
    embeddings are trained on VoxCeleb2.

    Args:
        weights: As of `ERes2NetV2`; other published ones are ``"modelscope:iic/speech_eres2net_sv_zh-cn_16k-common"``
            (huge, 192-d) and ``"modelscope:iic/speech_eres2net_large_sv_zh-cn_3dspeaker_16k"`` (512-d).
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        ConfigError: An unknown device, precision or number of threads.
        WeightsError: The weights cannot be had, are damaged, or are those of another network.
    """

    name = "eres2net"
    published = "modelscope:iic/speech_eres2net_sv_en_voxceleb_16k"
    architecture = ERes2NetNetwork
