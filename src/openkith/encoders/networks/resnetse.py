"""ResNetSE34V2 of the VoxCeleb trainer, 512-d, on which the embedding enhancement experiments stand.

A ResNet34 of 32 to 256 channels whose blocks rescale their channels (squeeze and excitation), on 64 normalised
log-mel bands, with attentive statistics pooling (Heo et al., arXiv 2009.14153). Unlike in
`openkith.encoders.networks.resnet`, ReLU comes before the batch norm after the first convolution of the network and of
each block.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from openkith.encoders.base import FloatArray
from openkith.encoders.networks.network import NetworkEncoder
from openkith.encoders.networks.pooling import weighted_statistics
from openkith.encoders.voxceleb_mel import HOP_SECONDS, hamming_window, htk_filterbank, normalised_log_mel
from openkith.encoders.weights.checkpoints import find_checkpoint, load_strictly, read_state
from openkith.encoders.weights.published import state_digest
from openkith.encoders.weights.sources import fetch_checkpoint
from openkith.errors import WeightsError

__all__ = ["ResNetSE34V2", "softmax_weights"]

N_MELS = 64
STAGES = ((32, 3, 1), (64, 4, 2), (128, 6, 2), (256, 3, 2))  # channels, blocks, stride of the first block
STRIDE = 8  # frames of the features to one of the network's
FRAME_WIDTH = STAGES[-1][0] * N_MELS // STRIDE  # 2048
REDUCTION = 8  # of the channels between the two layers that rescale
ATTENTION = 128  # channels of the attention
MIN_FRAMES = 4  # the trainer mirrors 256 samples at either end, so a clip needs more than that
_STD_FLOOR = 1e-5  # the least variance under the root
_ENCODER, _CLASSIFIER = "__S__.", "__L__.softmax.fc."


class _Rescaled(nn.Module):
    """Squeeze and excitation: each channel times a number in (0, 1) that the means of all decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale: torch.Tensor = self.fc(x.float().mean(dim=(2, 3)).to(x.dtype))
        return x * scale[:, :, None, None]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = _Rescaled(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(self.bn1(torch.relu(self.conv1(x)))))
        return torch.relu(self.se(inner) + self.downsample(x))


class _Network(nn.Module):
    """The layers, under the trainer's names without ``__S__.``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inputs = STAGES[0][0]
        self.conv1 = nn.Conv2d(1, inputs, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(inputs)
        for number, (outputs, blocks, stride) in enumerate(STAGES, start=1):
            others = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(_Block(inputs, outputs, stride), *others))
            inputs = outputs
        self.attention = nn.Sequential(
            nn.Conv1d(FRAME_WIDTH, ATTENTION, 1),
            nn.ReLU(),
            nn.BatchNorm1d(ATTENTION),
            nn.Conv1d(ATTENTION, FRAME_WIDTH, 1),
        )
        self.fc = nn.Linear(2 * FRAME_WIDTH, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 64) to embeddings (b, dim)."""
        x = self._trunk(features)
        embeddings: torch.Tensor = self.fc(weighted_statistics(x, self.attention(x), _STD_FLOOR))
        return embeddings

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, T, 64) to frames (b, T/8, 2048), channel by channel."""
        return self._trunk(features).transpose(1, 2)

    def _trunk(self, features: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = features.transpose(1, 2).unsqueeze(1)  # (b, 1, 64, T)
        x = self.bn1(torch.relu(self.conv1(x)))
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.flatten(1, 2)  # (b, 256, 8, T/8) -> (b, 2048, T/8)


class ResNetSE34V2(NetworkEncoder):
    """ResNetSE34V2 of the VoxCeleb trainer, 512-d.

    64 normalised log-mel bands (`openkith.encoders.voxceleb_mel`), pooling by attentive statistics (the trainer's
    ``--encoder_type ASP --n_mels 64``). `frames` (T/8, 2048) are what is pooled.

    The trainer scores with the mean over crops of 4 s; `embed` takes the whole clip.

    Left out: the training loss (``__L__.*``, see `softmax_weights`), and the tables of the front end
    (``torchfb.*``), once they are found to be those of this one.

    Args:
        weights: A checkpoint of the trainer (``.model``) or the folder that has it, the same tensors as
            ``.safetensors``, a hub id or a URL; default: `DEFAULT_WEIGHTS`, trained on VoxCeleb2.
        device, precision, threads: See `NetworkEncoder`.

    Raises:
        WeightsError: The weights cannot be had, or are those of another network or front end.
        ConfigError: An unknown device, precision or number of threads.
    """

    name = "resnetse34v2"
    DEFAULT_WEIGHTS = "https://www.robots.ox.ac.uk/~joon/data/baseline_v2_smproto.model"
    FILES = ("*.model", "*.safetensors", "*.pt")
    IGNORED = ("__L__.*", "instancenorm.*")

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        path = fetch_checkpoint(weights or self.DEFAULT_WEIGHTS, files=self.FILES)
        state = read_state(path, self.IGNORED, strip=("module." + _ENCODER, _ENCODER, "module."))
        front_end = {name: state.pop(name) for name in list(state) if name.startswith("torchfb.")}
        _check_front_end(front_end, path)
        if "fc.weight" not in state or state["fc.weight"].ndim != 2:
            raise WeightsError(
                f"{path}: not ResNetSE34V2 weights (without fc.weight); give a checkpoint of its layout"
            )
        dim = len(state["fc.weight"])
        network = _Network(dim)
        load_strictly(network, state, path)
        super().__init__(
            network,
            features=partial(normalised_log_mel, n_mels=N_MELS),
            dim=dim,
            fingerprint=f"resnetse34v2/log-mel64/{state_digest(network.state_dict())[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            frame_seconds=HOP_SECONDS,
            min_frames=MIN_FRAMES,
            stride=STRIDE,
            first_centre=0.0,
        )


def softmax_weights(path: str | Path) -> tuple[FloatArray, FloatArray]:
    """The speaker classifier in a checkpoint of the VoxCeleb trainer (``__L__.softmax.fc``).

    Args:
        path: A local checkpoint of a training with ``--trainfunc softmaxproto``, or the folder that has it.

    Returns:
        Weight (speakers, 512) and bias (speakers,): ``weight @ embedding + bias`` are the logits, for the embedding
        before its L2 norm.

    Raises:
        WeightsError: No such file, or no classifier in it.
    """
    path = find_checkpoint(path, ResNetSE34V2.FILES)
    state = read_state(path, (_ENCODER + "*",), strip=("module." + _CLASSIFIER, _CLASSIFIER))
    weight, bias = state.get("weight"), state.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise WeightsError(
            f"{path}: no {_CLASSIFIER}weight and {_CLASSIFIER}bias; give a checkpoint of a training with softmaxproto"
        )
    return weight.numpy(), bias.numpy()


def _check_front_end(tables: dict[str, torch.Tensor], source: Path) -> None:
    """Refuse a checkpoint whose own tables say that it was trained on other features."""
    ours = {
        "torchfb.0.flipped_filter": torch.tensor([[[-0.97, 1.0]]]),
        "torchfb.1.spectrogram.window": torch.from_numpy(hamming_window().copy()),
        "torchfb.1.mel_scale.fb": torch.from_numpy(htk_filterbank(N_MELS).copy()),
    }
    for name, table in tables.items():
        if name not in ours:
            raise WeightsError(
                f"{source}: unknown {name}; give a checkpoint of ResNetSE34V2 with 64 mel bands"
            )
        if table.shape != ours[name].shape or not torch.allclose(table, ours[name], atol=1e-4):
            raise WeightsError(
                f"{source}: {name} is that of another front end; give a checkpoint with 64 mel bands of 25/10 ms"
            )
