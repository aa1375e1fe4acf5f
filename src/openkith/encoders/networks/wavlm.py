"""WavLM and its kin: x-vector models of the package transformers, on the raw waveform.

A convolutional front end of 20 ms frames, transformer layers, five TDNN layers, statistics pooling, a linear layer of
512 (Chen et al., "WavLM: large-scale self-supervised pre-training for full stack speech processing", IEEE JSTSP 2022;
the head is that of Snyder et al., "X-vectors", ICASSP 2018). transformers computes; here is what surrounds it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from openkith.audio import SAMPLE_RATE
from openkith.encoders.front_ends import waveform
from openkith.encoders.networks.network import FRAME_SAMPLES, NetworkEncoder
from openkith.encoders.weights import sources
from openkith.encoders.weights.checkpoints import load_strictly, read_state
from openkith.encoders.weights.published import state_digest
from openkith.errors import WeightsError, require

__all__ = ["DEFAULT_WEIGHTS", "WavLM"]

DEFAULT_WEIGHTS = "microsoft/wavlm-base-plus-sv"
FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "pytorch_model.bin")
UNUSED = ("classifier.*", "objective.*", "*masked_spec_embed")  # of the training loss, and of masked training
# Weight norm of the positional convolution: the name in older files, and the one that torch gives it now.
WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


class WavLM(NetworkEncoder):
    """An x-vector checkpoint of transformers: WavLM, wav2vec 2.0, UniSpeech-SAT, data2vec audio.

    On a GPU clips of equal length go through the model together; others, and all clips on the processor, one by one:
    the group norm of the base models sees padding. A clip is brought to zero mean and unit variance where the
    checkpoint's preprocessor_config.json says ``do_normalize`` (or has no such file), a piece of a long one by itself
    (see `NetworkEncoder`). `frames` gives the last hidden states of the transformer, 20 ms apart.

    Left out of a checkpoint, and not needed in it: `UNUSED`.

    Args:
        weights: A folder with config.json and the weights (model.safetensors, several safetensors, or
            pytorch_model.bin, of which nothing but tensors is unpickled), or a hub id; default: `DEFAULT_WEIGHTS`.
        device: See `openkith.encoders.networks.network.pick_device`.
        precision: ``"float32"`` or ``"bfloat16"``.
        threads: Torch threads; default: one per physical core.

    Raises:
        ConfigError: An unknown device, precision or number of threads.
        MissingDependencyError: transformers is not installed.
        WeightsError: The checkpoint cannot be had, is damaged, or is no x-vector model on the waveform at 16 kHz.
    """

    name = "wavlm"
    # In samples here. On the processor always one clip: its convolutions take as long over several, in bfloat16 longer.
    batch_frames: ClassVar[dict[str, int]] = {"cpu": 0, "cuda": 300 * SAMPLE_RATE, "mps": 100 * SAMPLE_RATE}

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        transformers = require("transformers", "transformers", f"encoder {self.name!r}")
        folder = sources.fetch(DEFAULT_WEIGHTS if weights is None else weights, files=FILES)
        config = _read_config(transformers, folder)
        normalises = _read_preprocessor(folder)
        model = _build(transformers, config, folder)
        state = _read_weights(folder)
        load_strictly(model, _renamed(state, model), folder)
        hop, field = math.prod(config.conv_stride), _samples_of(1, config)
        super().__init__(
            _Network(model),
            features=partial(waveform, unit_variance=normalises),
            dim=int(config.xvector_output_dim),
            fingerprint=f"wavlm/{_architecture(config)}{'-normalised' if normalises else ''}/{_digest(state)[:32]}",
            device=device,
            precision=precision,
            threads=threads,
            frame_seconds=hop / SAMPLE_RATE,
            min_frames=_fewest_frames(config) + -(-(field - FRAME_SAMPLES) // hop),
            first_centre=field / 2 / SAMPLE_RATE,
        )


class _Network(torch.nn.Module):
    """The model, under the two calls that `NetworkEncoder` makes."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples (b, n) to embeddings (b, dim), not normalised."""
        embeddings: torch.Tensor = self.model(input_values=samples).embeddings
        return embeddings

    def frames(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples (b, n) to the transformer's last hidden states (b, T, hidden)."""
        base: Any = self.model.base_model
        states: torch.Tensor = base(input_values=samples).last_hidden_state
        return states


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not readable as JSON ({error}); give a complete checkpoint folder"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object; give a complete checkpoint folder")
    return content


def _read_config(transformers: Any, folder: Path) -> Any:
    """The checkpoint's configuration; nothing that it may name is run."""
    if not folder.is_dir():
        raise WeightsError(f"{folder}: not a folder; give one with config.json and the weights")
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: no config.json there; give the folder of a transformers checkpoint")
    _read_json(folder / "config.json")
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # it raises what it likes on a bad file
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder / 'config.json'}: transformers cannot read it ({reason})") from error
    if getattr(config, "add_adapter", False):
        raise WeightsError(
            f"{folder / 'config.json'}: add_adapter is true; give a checkpoint without adapter layers"
        )
    return config


def _read_preprocessor(folder: Path) -> bool:
    """Whether a clip is to be normalised, by preprocessor_config.json or, without one, by transformers' default."""
    path = folder / "preprocessor_config.json"
    settings = _read_json(path) if path.is_file() else {}
    rate = settings.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise WeightsError(f"{path}: sampling_rate is {rate}; give a checkpoint for {SAMPLE_RATE} Hz")
    return bool(settings.get("do_normalize", True))


def _build(transformers: Any, config: Any, folder: Path) -> torch.nn.Module:
    """The model with no weights yet, in float32, without the parts that only training uses."""
    try:
        with torch.random.fork_rng(devices=[]):  # it draws weights, which the caller's seed should not notice
            model: Any = transformers.AutoModelForAudioXVector.from_config(config)
    except ValueError as error:
        raise WeightsError(
            f"{folder / 'config.json'}: transformers has no x-vector model of the type {config.model_type!r}; "
            "give a checkpoint of WavLM, wav2vec2, UniSpeech-SAT or the like"
        ) from error
    if model.main_input_name != "input_values":
        raise WeightsError(
            f"{folder / 'config.json'}: a {config.model_type} takes {model.main_input_name}, not the waveform; "
            "give a checkpoint of WavLM, wav2vec2, UniSpeech-SAT or the like"
        )
    model.classifier, model.objective = torch.nn.Identity(), torch.nn.Identity()
    if hasattr(model.base_model, "masked_spec_embed"):
        del model.base_model.masked_spec_embed
    network: torch.nn.Module = model.float()
    return network


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of a folder, under the names that it has there, without the `UNUSED`."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model.bin"))
    if not files:
        raise WeightsError(
            f"{folder}: no *.safetensors and no pytorch_model.bin there; give a folder with weights"
        )
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= read_state(file, ignored=UNUSED, strip=())
    return state


def _renamed(state: Mapping[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """With the names of weight norm that this version of transformers gives it."""
    wanted = model.state_dict()
    swaps = [*WEIGHT_NORM.items(), *((new, old) for old, new in WEIGHT_NORM.items())]
    renamed = {}
    for name, tensor in state.items():
        others = (name.removesuffix(a) + b for a, b in swaps if name.endswith(a))
        renamed[name if name in wanted else next((o for o in others if o in wanted), name)] = tensor
    return renamed


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """`state_digest`, the same for the older and the newer names of weight norm."""
    older = {}
    for name, tensor in state.items():
        for old, new in WEIGHT_NORM.items():
            name = name.removesuffix(new) + old if name.endswith(new) else name
        older[name] = tensor
    return state_digest(older)


def _architecture(config: Any) -> str:
    """What the shapes of the weights do not tell."""
    return f"{config.model_type}-{config.num_hidden_layers}x{config.num_attention_heads}"


def _samples_of(frames: int, config: Any) -> int:
    """The samples that so many frames of the convolutional front end look at."""
    n = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        n = (n - 1) * stride + kernel
    return n


def _fewest_frames(config: Any) -> int:
    """The frames that the TDNN layers need so that two come out, of which there is a standard deviation."""
    reach = sum(
        (kernel - 1) * dilation
        for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
    )
    return 2 + int(reach)
