"""Network and loss that learn together, their first weights, and the enhancer that a checkpoint of them is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from openkith.encoders.weights.checkpoints import read_state
from openkith.enhancement.data import FloatArray, Transform, mean_embedding
from openkith.enhancement.enhancer import Enhancer, NetSpec
from openkith.enhancement.material import Material
from openkith.enhancement.settings import EnhancementConfig, LossConfig
from openkith.errors import ConfigError, WeightsError
from openkith.losses import EnhancementBatch, EnhancementLoss
from openkith.training import read_weights, seed_everything

__all__ = ["Learned", "enhancer_of", "learn_from", "mean_output", "net_spec", "start_learned", "transform_of"]

_MOST_FOR_MEAN = 20_000  # utterances that the mean of outputs is of
_NET = "net."  # before the names of the network's weights in a checkpoint


class Learned(nn.Module):
    """Network and loss, and what is taken off the embeddings before.

    Args:
        net: (b, d) to (b, d).
        loss: With its own weights.
        input_mean: (d,), or None.
    """

    input_mean: Tensor | None

    def __init__(self, net: nn.Module, loss: EnhancementLoss, input_mean: FloatArray | None) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.register_buffer("input_mean", None if input_mean is None else torch.from_numpy(input_mean))

    def prepare(self, embeddings: Tensor) -> Tensor:
        """What the network gets of embeddings (b, d) of unit length."""
        if self.input_mean is None:
            return embeddings
        return F.normalize(embeddings - self.input_mean, dim=-1)


def learn_from(model: Learned, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss of a batch of `openkith.enhancement.data.Entries`, a scalar."""
    rest = dict(batch)
    inputs = model.prepare(rest.pop("inputs"))
    value: Tensor = model.loss(EnhancementBatch(outputs=model.net(inputs), inputs=inputs, **rest))
    return value


def start_learned(config: EnhancementConfig, material: Material, input_mean: FloatArray | None) -> Learned:
    """The model with its first weights."""
    seed_everything(config.train.seed)
    names, dim = material.entries.names, material.embeddings.dim
    more: dict[str, Any] = {}
    if config.loss.weights is not None:
        more["weights"] = _classifier(config.loss, names, dim)
    loss = config.loss.build(dim, len(names), **more)
    return Learned(net_spec(config, material).build(), loss, input_mean)


def _classifier(config: LossConfig, names: tuple[str, ...], dim: int) -> FloatArray:
    """The vectors (s, d) that a classifier was trained with, in the order of the list's speakers."""
    assert config.weights is not None
    state = read_state(config.weights)
    fitting = {name: tensor for name, tensor in state.items() if tensor.ndim == 2 and tensor.shape[1] == dim}
    if config.weights_tensor is not None:
        if config.weights_tensor not in fitting:
            raise WeightsError(
                f"{config.weights}: no tensor {config.weights_tensor!r} of shape (speakers, {dim}); there are: "
                f"{', '.join(fitting) or 'none'}"
            )
        vectors = fitting[config.weights_tensor]
    elif len(fitting) == 1:
        (vectors,) = fitting.values()
    else:
        raise WeightsError(
            f"{config.weights}: {len(fitting)} tensors of shape (speakers, {dim}); name one of them in "
            "loss.weights_tensor"
        )
    if config.weights_speakers is None:
        order = list(names)
    else:
        try:
            order = config.weights_speakers.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{config.weights_speakers}: cannot be read ({reason}); give a file with a speaker a line"
            ) from error
    places = {name: place for place, name in enumerate(order)}
    missing = [name for name in names if name not in places]
    if missing or len(order) != len(vectors):
        what = f"none of them is {missing[0]!r}" if missing else "that is another number"
        raise ConfigError(
            f"{config.weights}: vectors of {len(vectors)} speakers, the names are {len(order)}, and {what}; name "
            "them in loss.weights_speakers, one a line, in the order of the rows"
        )
    return np.asarray(vectors.numpy()[[places[name] for name in names]], np.float32)


def net_spec(config: EnhancementConfig, material: Material) -> NetSpec:
    """Which network a configuration has for these embeddings."""
    net = config.net
    return NetSpec(net.name, material.embeddings.dim, net.activation, dict(net.options))


def transform_of(model: Learned, output_mean: FloatArray | None = None) -> Transform:
    """What a model that is being trained makes of embeddings of unit length, on its device."""
    device = next(model.parameters()).device

    def transform(embeddings: FloatArray) -> FloatArray:
        with torch.no_grad():
            made = model.net(model.prepare(torch.from_numpy(embeddings).to(device))).float()
        found: FloatArray = made.cpu().numpy()
        return found if output_mean is None else found - output_mean

    return transform


def enhancer_of(
    checkpoint: Path, config: EnhancementConfig, spec: NetSpec, material: Material | None
) -> Enhancer:
    """The enhancer of a checkpoint; the material is needed where the mean of outputs is taken off."""
    state = read_weights(checkpoint)
    weights = {
        name.removeprefix(_NET): tensor.numpy() for name, tensor in state.items() if name.startswith(_NET)
    }
    info = {"loss": config.loss.name, "checkpoint": checkpoint.name}
    if config.data.list is not None:
        info["list"] = config.data.list.name
    mean = state.get("input_mean")
    encoder = json.loads((checkpoint / "config.json").read_text("utf-8")).get("encoder", "")
    kept = {"input_mean": None if mean is None else mean.numpy(), "encoder": encoder, "info": info}
    enhancer = Enhancer(weights, spec, **kept)
    if not config.centre_output:
        return enhancer
    assert material is not None
    net = spec.build()
    net.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model = Learned(net.eval(), EnhancementLoss(), kept["input_mean"])
    return Enhancer(weights, spec, output_mean=mean_output(material, transform_of(model)), **kept)


def mean_output(material: Material, transform: Transform) -> FloatArray:
    """The mean of what a transform makes of the utterances that are learned from, of some where they are many."""
    files = material.files
    return mean_embedding(files[:: -(-len(files) // _MOST_FOR_MEAN)], material.embeddings, transform)
