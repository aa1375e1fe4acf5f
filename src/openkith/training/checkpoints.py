"""Checkpoints: folders that appear whole or not at all, with nothing in them that is ever unpickled.

``RUN/checkpoints/step-00000120/`` has

    config.json            what the caller says of the model, and how it was trained
    model.safetensors      the weights, by the names of the model's state dict
    optimiser.safetensors  NUMBER.NAME: of the parameter of that number, such as 0.exp_avg
    random.safetensors     states of the random number generators, a row for each process
    state.json             counters: where in the data the training stands, best measure, loss scale
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openkith.errors import InputError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MODEL",
    "Checkpoint",
    "checkpoint_path",
    "discard",
    "list_checkpoints",
    "read_checkpoint",
    "read_weights",
    "sweep",
    "write_checkpoint",
    "write_weights",
]

CONFIG = "config.json"
MODEL = "model.safetensors"
FOLDER = "checkpoints"
_OPTIMISER = "optimiser.safetensors"
_RANDOM = "random.safetensors"
_STATE = "state.json"

_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.step-\d+\.[0-9a-f]+\.tmp")  # being written, or being deleted


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint has.

    Attributes:
        model: Weights by name.
        optimiser: Parameter number to the optimiser's tensors by name.
        random: States of the random number generators by name, shape (processes, ...).
        state: Counters, as JSON has them.
        config: What the caller says of the model, and how it was trained, as JSON has them.
    """

    model: Mapping[str, Tensor]
    optimiser: Mapping[int, Mapping[str, Tensor]]
    random: Mapping[str, Tensor]
    state: Mapping[str, Any]
    config: Mapping[str, Any]


def list_checkpoints(run: str | Path) -> list[Path]:
    """The checkpoints of a training, the oldest first.

    Args:
        run: The folder that was given to `train`, or the one of checkpoints in it.
    """
    run = Path(run)
    inner = run / FOLDER
    folder = inner if inner.is_dir() else run
    found = {path: _NAME.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ())}
    steps = {path: int(match[1]) for path, match in found.items() if match and path.is_dir()}
    return sorted(steps, key=lambda path: steps[path])


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, on the CPU.

    Args:
        path: A checkpoint, a folder with ``model.safetensors``, or a safetensors file.

    Raises:
        WeightsError: There are none, or the file cannot be read.
    """
    path = Path(path)
    return _read_tensors(path / MODEL if path.is_dir() else path)


def write_weights(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write weights as a safetensors file, which appears whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_tensors(state, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / FOLDER / f"step-{step:08d}"


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, in place of one of the same step where there is one.

    Raises:
        InputError: It cannot be written, as on a full disk; nothing of it is left then.
    """
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        try:
            _write_tensors(checkpoint.model, temporary / MODEL)
            flat = {
                f"{number}.{name}": tensor
                for number, tensors in checkpoint.optimiser.items()
                for name, tensor in tensors.items()
            }
            _write_tensors(flat, temporary / _OPTIMISER)
            _write_tensors(checkpoint.random, temporary / _RANDOM)
            _write_json(checkpoint.config, temporary / CONFIG)
            _write_json(checkpoint.state, temporary / _STATE)
            discard(path)
            temporary.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, tensors on the CPU.

    Raises:
        WeightsError: A file of it is missing or damaged.
    """
    optimiser: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _read_tensors(path / _OPTIMISER).items():
        number, _, name = key.partition(".")
        optimiser.setdefault(int(number), {})[name] = tensor
    return Checkpoint(
        model=_read_tensors(path / MODEL),
        optimiser=optimiser,
        random=_read_tensors(path / _RANDOM),
        state=_read_json(path / _STATE),
        config=_read_json(path / CONFIG),
    )


def discard(path: Path) -> None:
    """Delete a checkpoint; half of one is never seen under its name."""
    if path.exists():
        shutil.rmtree(path.rename(_temporary(path)), ignore_errors=True)


def sweep(run: Path) -> None:
    """Delete what a killed training left half written or half deleted."""
    folder = run / FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        if _UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Each a copy of its own: tensors that share memory are refused, and tied weights do.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(copies, path, metadata={"format": "pt"})
    except SafetensorError as error:  # on a full disk
        raise OSError(str(error)) from error
    _sync(path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give a checkpoint of a training, or a safetensors file")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error}); give another") from error
    return tensors


def _write_json(values: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    _sync(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not readable JSON ({error}); delete this checkpoint") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: no keys and values; delete this checkpoint")
    return values


def _sync(path: Path) -> None:
    """Have what was written on the disk before it is renamed: a power cut must not leave an empty file."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot write ({error.strerror or error}); free space there, or choose another folder"
    )
