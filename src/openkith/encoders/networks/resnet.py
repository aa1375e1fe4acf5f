"""ResNet34 in two published layouts: WeSpeaker's, and that of neural scoring.

Both take the 80 mel bands of a clip as an image of one channel: a 3x3 convolution to 32 channels, then 3, 4, 6 and 3
basic blocks of 32, 64, 128 and 256 channels, halving time and frequency three times (He et al., "Deep residual
learning for image recognition", CVPR 2016; Zeinali et al., "BUT system description to VoxCeleb speaker recognition
challenge 2019", arXiv 1910.12592). What is left is 2560 numbers (channel by channel, 10 frequencies each) every 80 ms.
They differ in the front end, in the pooling over time and in the names of their parameters.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from openkith.audio.features import kaldi_fbank
from openkith.encoders.networks.network import NetworkEncoder
from openkith.encoders.networks.pooling import TdnnAttentiveStatistics, TemporalStatistics
from openkith.encoders.voxceleb_mel import HOP_SECONDS, normalised_log_mel
from openkith.encoders.weights.checkpoints import load_strictly, read_state
from openkith.encoders.weights.published import state_digest
from openkith.encoders.weights.sources import fetch_checkpoint
from openkith.errors import WeightsError

__all__ = ["FRAME_WIDTH", "AttentiveResNet34", "ResNet34", "ResNet34NS", "ResNet34Trunk"]

N_MELS = 80
STAGES = ((32, 3, 1), (64, 4, 2), (128, 6, 2), (256, 3, 2))  # channels, blocks, stride of the first block
STRIDE = 8  # frames of the features to one of the trunk's
FRAME_WIDTH = STAGES[-1][0] * N_MELS // STRIDE  # 2560
MIN_FRAMES = STRIDE + 1  # of the features, so that there are two to take a deviation of
INT16_SCALE = 32768.0
_EPSILON = 1e-7  # added to the variance under the root by WeSpeaker


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, whose published name differs between the two layouts."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self._shortcut = shortcut if stride != 1 or inputs != outputs else ""
        if self._shortcut:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.add_module(shortcut, nn.Sequential(projection, nn.BatchNorm2d(outputs)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed = self.get_submodule(self._shortcut)(x) if self._shortcut else x
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + passed)


class ResNet34Trunk(nn.Module):
    """All that comes before pooling.

    Args:
        shortcut: What the shortcuts are called in the checkpoint: ``shortcut`` (WeSpeaker) or ``downsample``.
    """

    def __init__(self, shortcut: str) -> None:
        super().__init__()
        inputs = STAGES[0][0]
        self.conv1 = nn.Conv2d(1, inputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for number, (outputs, blocks, stride) in enumerate(STAGES, start=1):
            first = _Block(inputs, outputs, stride, shortcut)
            others = [_Block(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *others))
            inputs = outputs

    def trunk(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to frames (b, 2560, T/8), channel by channel, T/8 rounded up."""
        x = features.transpose(1, 2).unsqueeze(1)  # (b, 1, 80, T)
        x = torch.relu(self.bn1(self.conv1(x)))
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.flatten(1, 2)  # (b, 256, 10, T/8) -> (b, 2560, T/8)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to frames (b, T/8, 2560)."""
        return self.trunk(features).transpose(1, 2)


class _WeSpeakerNetwork(ResNet34Trunk):
    def __init__(self, dim: int, two_layers: bool) -> None:
        super().__init__("shortcut")
        self.pool = TemporalStatistics(_EPSILON)
        self.seg_1 = nn.Linear(2 * FRAME_WIDTH, dim)
        self.two_layers = two_layers
        if two_layers:
            self.seg_bn_1 = nn.BatchNorm1d(dim, affine=False)
            self.seg_2 = nn.Linear(dim, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to embeddings (b, dim)."""
        x: torch.Tensor = self.seg_1(self.pool(self.trunk(features)))
        return self.seg_2(self.seg_bn_1(torch.relu(x))) if self.two_layers else x


class AttentiveResNet34(ResNet34Trunk):
    """The network of neural scoring's enrolment model, under its published names; trainable.

    Args:
        dim: Length of an embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__("downsample")
        self.pooling = nn.Sequential()
        self.pooling.add_module("pooling", TdnnAttentiveStatistics(FRAME_WIDTH))
        self.bn2 = nn.BatchNorm1d(2 * FRAME_WIDTH)
        self.fc = nn.Linear(2 * FRAME_WIDTH, dim)
        self.bn3 = nn.BatchNorm1d(dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 80) to embeddings (b, dim)."""
        embeddings: torch.Tensor = self.bn3(self.fc(self.bn2(self.pooling(self.trunk(features)))))
        return embeddings


class ResNet34(NetworkEncoder):
    """ResNet34 as WeSpeaker publishes it, 256-d (Wang et al., ICASSP 2023).

    80 Kaldi mel bands, each less its mean over the clip; pooling by mean and standard deviation over time; one linear
    layer, or two with ReLU and a batch norm between them, as the checkpoint has it. `frames` are what is pooled.

    A classifier (``projection.*``) in the checkpoint is left out.

    Args:
        weights: WeSpeaker's ``avg_model.pt`` or the folder that has it, the same tensors as ``.safetensors``, a hub
            id or a URL; default: `DEFAULT_WEIGHTS`, trained on VoxCeleb2.
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        WeightsError: The weights cannot be had, or are those of another network.
        ConfigError: An unknown device, precision or number of threads.
    """

    name = "resnet34"
    DEFAULT_WEIGHTS = "Wespeaker/wespeaker-voxceleb-resnet34-LM"
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
        dim = _rows(state, "seg_1.weight", path)
        network = _WeSpeakerNetwork(dim, two_layers="seg_2.weight" in state)
        load_strictly(network, state, path)
        super().__init__(
            network,
            features=partial(kaldi_fbank, window="hamming", scale=INT16_SCALE),
            dim=dim,
            fingerprint=f"resnet34/wespeaker-fbank80/{state_digest(network.state_dict())[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            min_frames=MIN_FRAMES,
            stride=STRIDE,
        )


class ResNet34NS(NetworkEncoder):
    """The enrolment encoder of neural scoring: ResNet34 with attentive statistics pooling, 256-d (arXiv 2410.16428).

    Its features are those of `openkith.encoders.voxceleb_mel` with 80 bands, on 16-bit numbers. `frames` (T/8, 2560)
    are what the test encoder of neural scoring gives, if the trunk is the same.

    Takes the enrolment model's own checkpoint (``speaker_encoder.*``) and a whole neural scoring model
    (``enrollmodel.speaker_encoder.*``). Left out: the tables of the front end (``mel_trans.*``), the training loss
    (``loss.*``), and, of a whole model, all that does not embed an enrolment.

    Args:
        weights: A checkpoint, or the folder that has it, a hub id or a URL. Must be given: no published one is known.
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        WeightsError: No weights are given, they cannot be had, or are those of another network.
        ConfigError: An unknown device, precision or number of threads.
    """

    name = "resnet34-ns"
    FILES = ("*.ckpt", "*.safetensors", "*.pt")
    IGNORED = ("mel_trans.*", "instancenorm.*", "loss.*")
    OF_WHOLE_MODEL = (
        "testencoder.*",
        "scoring_linear1.*",
        "scoring_linear2.*",
        "mlp.*",
        "transformer_model.*",
    )

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        if weights is None:
            raise WeightsError(
                f"{self.name}: no published weights of this encoder are known; give weights= a checkpoint of the "
                "enrolment model of neural scoring"
            )
        path = fetch_checkpoint(weights, files=self.FILES)
        state = read_state(
            path,
            (*self.IGNORED, *self.OF_WHOLE_MODEL),
            strip=("enrollmodel.speaker_encoder.", "speaker_encoder.", "enrollmodel.", "module."),
        )
        dim = _rows(state, "fc.weight", path)
        network = AttentiveResNet34(dim)
        load_strictly(network, state, path)
        super().__init__(
            network,
            features=partial(normalised_log_mel, n_mels=N_MELS, full_scale=INT16_SCALE),
            dim=dim,
            fingerprint=f"resnet34-ns/log-mel80/{state_digest(network.state_dict())[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            frame_seconds=HOP_SECONDS,
            min_frames=MIN_FRAMES,
            stride=STRIDE,
            first_centre=0.0,
        )


def _rows(state: dict[str, torch.Tensor], name: str, source: Path) -> int:
    """Outputs of the last linear layer: the length of an embedding."""
    if name not in state or state[name].ndim != 2:
        raise WeightsError(
            f"{source}: not ResNet34 weights (without {name}); give a checkpoint of its layout"
        )
    return len(state[name])
