"""Models of neural scoring in all the forms that they are kept in: read, averaged, written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openkith.artefact import CONFIG_FILE
from openkith.config import from_dict, to_dict
from openkith.encoders.weights.checkpoints import load_strictly
from openkith.errors import ConfigError, InputError, KithError, WeightsError
from openkith.neural_scoring.checkpoints import (
    ALONE,
    HEADS,
    network_of,
    read_names,
    start_from_enrolment_model,
)
from openkith.neural_scoring.enrol_model import ENROL_MODEL, ENROL_MODEL_FILE, write_enrol_model
from openkith.neural_scoring.network import NetworkConfig, WholeNetwork
from openkith.neural_scoring.scorer import KIND, WEIGHTS_FILE, NeuralScorer
from openkith.training import average, list_checkpoints, read_weights

__all__ = ["average_run", "load_network", "start_network"]


def start_network(path: str | Path, config: NetworkConfig) -> WholeNetwork:
    """Where a training begins.

    Args:
        path: An enrolment model, whose scoring network is new; or, to go on from it, a model of neural scoring: what
            `load_network` takes.
        config: Sizes.

    Raises:
        WeightsError: It cannot be read, or is no such model.
        ConfigError: The model has other sizes.
    """
    if _own_form(Path(path)) is None:
        file, state = read_names(path)
        if all(name.startswith(ALONE) for name in state):
            return start_from_enrolment_model(file, config)
    network = load_network(path, heads=config.heads)
    has, wanted = to_dict(network.config), to_dict(config)
    for name in wanted:
        if name not in ("dropout", "most_frames") and has[name] != wanted[name]:
            raise ConfigError(f"network.{name} is {wanted[name]}, and {path} has {has[name]}; give that")
    fresh = WholeNetwork(config)
    load_strictly(fresh, network.state_dict(), path)
    return fresh.freeze()


def load_network(path: str | Path, *, heads: int = HEADS) -> WholeNetwork:
    """A model of neural scoring, in evaluation mode.

    Args:
        path: The folder of a training (its last checkpoint is taken), a checkpoint of one, the folder that
            `average_run` or `NeuralScorer.save` wrote, or a checkpoint of NS-SV.
        heads: Of the attention, for a checkpoint of NS-SV, which does not say.

    Raises:
        WeightsError: It cannot be read, or is no such model.
    """
    form = _own_form(Path(path))
    if form is None:
        file, state = read_names(path)
        if all(name.startswith(ALONE) for name in state):
            raise WeightsError(
                f"{file}: an enrolment model alone, without a scoring network; give a trained scorer"
            )
        return network_of(state, file, heads=heads)
    if (form / WEIGHTS_FILE).is_file():
        network = NeuralScorer.load(form, device="cpu").network
        if not isinstance(network, WholeNetwork):
            raise WeightsError(
                f"{form}: a scorer for another encoder's embeddings; give one with encoders of its own"
            )
        return network
    about = _about(form)
    if about.get("kind") != KIND:
        raise WeightsError(
            f"{form}: no checkpoint of neural scoring, but of {about.get('kind')}; give another"
        )
    return _network(about, read_weights(form), form)


def average_run(run: str | Path, out: str | Path, last: int = 10) -> tuple[str, int]:
    """Write the mean of a training's last checkpoints: a scorer's folder, or an enrolment model.

    Args:
        run: The folder of the training.
        out: A folder to write: what `openkith.neural_scoring.load_scorer` reads; of an enrolment model,
            ``model.safetensors`` in it.
        last: How many checkpoints; where there are fewer, all.

    Returns:
        What was written, "neural-scorer" or "enrolment-model", and how many checkpoints it is the mean of.

    Raises:
        ConfigError: Less than one is asked for.
        WeightsError: There are no checkpoints, or they are of something else.
        InputError: It cannot be written.
    """
    checkpoints = list_checkpoints(run)
    state = average(run, last)
    about = _about(checkpoints[-1])
    kind = str(about.get("kind"))
    if kind not in _WRITERS:
        raise WeightsError(f"{run}: a training of {kind}; give one of {' or '.join(_WRITERS)}")
    _WRITERS[kind](about, state, Path(out))
    return kind, min(last, len(checkpoints))


def _write_scorer(about: dict[str, Any], state: dict[str, torch.Tensor], out: Path) -> None:
    NeuralScorer(_network(about, state, out), device="cpu").save(out)


def _write_enrol_model(_: dict[str, Any], state: dict[str, torch.Tensor], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: there is a file; give a folder")
    write_enrol_model(state, out / ENROL_MODEL_FILE)


_WRITERS: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor], Path], None]] = {
    KIND: _write_scorer,
    ENROL_MODEL: _write_enrol_model,
}


def _own_form(path: Path) -> Path | None:
    """The folder of a scorer or of a checkpoint that openkith wrote: the last one of a training; None for neither."""
    checkpoints = list_checkpoints(path) if path.is_dir() else []
    if checkpoints and _about(checkpoints[-1]).get("kind") == KIND:
        return checkpoints[-1]
    return path if (path / CONFIG_FILE).is_file() else None


def _about(checkpoint: Path) -> dict[str, Any]:
    try:
        about = json.loads((checkpoint / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"{checkpoint / CONFIG_FILE}: cannot be read ({reason}); give another checkpoint"
        ) from error
    if not isinstance(about, dict):
        raise WeightsError(f"{checkpoint / CONFIG_FILE}: no keys and values; give another checkpoint")
    return about


def _network(about: dict[str, Any], state: dict[str, torch.Tensor], source: Path) -> WholeNetwork:
    try:
        network = WholeNetwork(from_dict(NetworkConfig, about.get("network", {})))
    except KithError as error:
        raise WeightsError(f"{source}: network: {error}; give another checkpoint") from error
    load_strictly(network, state, source)
    return network.freeze().eval()
