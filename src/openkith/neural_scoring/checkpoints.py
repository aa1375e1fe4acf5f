"""Checkpoints of NS-SV, the code of the neural scoring paper, read strictly into `WholeNetwork`.

A whole model has ``enrollmodel.speaker_encoder.*``, ``testencoder.speaker_encoder.*``, ``scoring_linear1.*``,
``scoring_linear2.*``, ``transformer_model.*`` and ``mlp.*``; a stand-alone enrolment model ``speaker_encoder.*`` alone.
Left out by name are the tables of the front end (``mel_trans.*``, ``instancenorm.*``) and a training loss (``loss.*``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from openkith.encoders.weights.checkpoints import find_checkpoint, load_strictly, read_state
from openkith.errors import ConfigError, WeightsError
from openkith.neural_scoring.network import NetworkConfig, WholeNetwork

if TYPE_CHECKING:
    import torch

__all__ = ["FILES", "IGNORED", "network_of", "read_model", "read_names", "start_from_enrolment_model"]

FILES = ("*.ckpt", "*.safetensors", "*.pt")
IGNORED = ("mel_trans.*", "*.mel_trans.*", "instancenorm.*", "*.instancenorm.*", "loss.*")
HEADS = 4  # the one size that no tensor's shape tells
ALONE = "speaker_encoder."
ENROLMENT = f"enrollmodel.{ALONE}"
_ENROLMENTS, _HIDDEN = "scoring_linear2.weight", "transformer_model.layers.0.ffn.linear1.weight"
_LAYER = re.compile(r"transformer_model\.layers\.(\d+)\.")

State = Mapping[str, "torch.Tensor"]


def read_names(path: str | Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The checkpoint, or the one in a folder, and its tensors by name, without those that nothing needs.

    Raises:
        WeightsError: No checkpoint there, or one that cannot be read.
    """
    path = find_checkpoint(path, FILES)
    return path, read_state(path, IGNORED)


def read_model(path: str | Path, *, heads: int = HEADS) -> WholeNetwork:
    """A whole model, in evaluation mode; its sizes are read off its tensors.

    Args:
        path: A checkpoint of NS-SV, or the folder that has it.
        heads: Of its attention.

    Raises:
        WeightsError: It cannot be read, holds an enrolment model alone, or names are missing, unknown or of other
            shapes; the message has some of them.
        ConfigError: The width is not a multiple of ``heads``.
    """
    file, state = read_names(path)
    if _is_enrolment_model(state):
        raise WeightsError(
            f"{file}: an enrolment model alone, without a scoring network; give a whole model, or train from this one"
        )
    return network_of(state, file, heads=heads)


def network_of(state: State, source: str | Path, *, heads: int = HEADS) -> WholeNetwork:
    """The network with these tensors, as `read_model`."""
    network = WholeNetwork(_config(state, source, heads))
    load_strictly(network, state, source)
    return network.freeze().eval()


def start_from_enrolment_model(
    path: str | Path,
    config: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
) -> WholeNetwork:
    """Where training begins: both encoders are an enrolment model's, the scoring network is new.

    Args:
        path: A stand-alone enrolment model, or a whole model, of which the enrolment encoder is taken; or the folder
            that has it.
        config: Sizes of the scoring network.

    Raises:
        WeightsError: It cannot be read, or is not such a model.
        ConfigError: ``config`` has other sizes than the enrolment model.
    """
    file, state = read_names(path)
    if any(name.startswith(ENROLMENT) for name in state):
        state = {name: tensor for name, tensor in state.items() if name.startswith(ENROLMENT)}
    encoder = {name.removeprefix("enrollmodel.").removeprefix(ALONE): state[name] for name in state}
    network = WholeNetwork(config)
    dim = encoder["fc.weight"].shape[0] if "fc.weight" in encoder else config.enrolment_dim
    if dim != config.enrolment_dim:
        raise ConfigError(f"enrolment_dim is {config.enrolment_dim}; {file} gives embeddings of {dim}")
    load_strictly(network.enrollmodel["speaker_encoder"], encoder, file)
    trunk = network.testencoder["speaker_encoder"]
    # Copies: this one is trained, the other stays as it is.
    load_strictly(
        trunk, {name: encoder[name].clone() for name in trunk.state_dict() if name in encoder}, file
    )
    return network.freeze()


def _is_enrolment_model(state: State) -> bool:
    return all(name.startswith(ALONE) for name in state)


def _config(state: State, source: str | Path, heads: int) -> NetworkConfig:
    """Sizes, from the shapes of the tensors that have them."""
    for name in (_ENROLMENTS, _HIDDEN):
        if name not in state or state[name].ndim != 2:
            raise WeightsError(
                f"{source}: not a whole model of neural scoring (without {name}); give a checkpoint of NS-SV"
            )
    width, enrolment_dim = state[_ENROLMENTS].shape
    layers = {found[1] for found in map(_LAYER.match, state) if found}
    return NetworkConfig(
        enrolment_dim=enrolment_dim,
        width=width,
        heads=heads,
        layers=len(layers),
        feed_forward=len(state[_HIDDEN]),
    )
