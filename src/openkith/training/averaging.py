"""The mean of several checkpoints' weights, which often does better than the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openkith.encoders.weights.checkpoints import read_state
from openkith.errors import ConfigError, WeightsError
from openkith.training.checkpoints import MODEL, list_checkpoints

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["average"]


def average(source: str | Path | Sequence[str | Path], last: int = 10) -> dict[str, Tensor]:
    """The mean of the last checkpoints' weights (Izmailov et al., "Averaging weights leads to wider optima", 2018).

    Counters, such as those of batch norms, are the last checkpoint's.

    Args:
        source: The folder of a training, or files and checkpoints in the order of their training: folders with
            ``model.safetensors``, safetensors files, or state dicts of torch.
        last: How many; where there are fewer, all of them.

    Raises:
        ConfigError: Less than one is asked for.
        WeightsError: There are none, or they are not of one model.
    """
    import torch

    if last < 1:
        raise ConfigError(f"last is {last}; give 1 or more")
    paths = [Path(path) for path in (list_checkpoints(source) if isinstance(source, str | Path) else source)][
        -last:
    ]
    if not paths:
        raise WeightsError(f"{source}: no checkpoints to average; give the folder of a training")
    sums: dict[str, Tensor] = {}
    newest: dict[str, Tensor] = {}
    for path in paths:
        file = path / MODEL if path.is_dir() else path
        newest = read_state(file, strip=())
        _check_same(newest, sums, file, paths[0])
        for name, tensor in newest.items():
            wide = tensor.to(torch.float64) if tensor.is_floating_point() else tensor
            sums[name] = sums[name] + wide if name in sums and tensor.is_floating_point() else wide
    return {
        name: (sums[name] / len(paths)).to(tensor.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in newest.items()
    }


def _check_same(state: dict[str, Tensor], sums: dict[str, Tensor], file: Path, first: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in state.items()}
    wanted = {name: tensor.shape for name, tensor in sums.items()} or shapes
    for name in sorted(shapes.keys() | wanted.keys()):
        if shapes.get(name) != wanted.get(name):
            raise WeightsError(
                f"{file}: {name} is not as in {first}; average checkpoints of one training, of one model"
            )
