"""Reading checkpoints that others have published, strictly: every name is used, or ignored by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openkith.errors import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["COUNTERS", "NESTED_UNDER", "find_checkpoint", "load_strictly", "read_state"]

NESTED_UNDER = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
)  # where checkpoints keep their tensors
COUNTERS = "*num_batches_tracked"  # of batch norms, which only training uses: never needed, never refused
_NAMED = 3  # names of each kind in an error


def find_checkpoint(path: str | Path, files: Sequence[str]) -> Path:
    """The checkpoint itself, or the one in a folder.

    Args:
        path: A file, or a folder that has it.
        files: Globs for it, the most wanted first; the first that any file of the folder matches decides.

    Raises:
        WeightsError: No such file, or a folder with none or several.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(
            f"{path}: no such weights file or folder; give a checkpoint, or a folder that has one"
        )
    for pattern in files:
        found = sorted(file for file in path.glob(pattern) if file.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:_NAMED])
            raise WeightsError(f"{path}: {len(found)} checkpoints ({names}); give the file that is meant")
    raise WeightsError(f"{path}: no checkpoint there ({', '.join(files)}); give the file")


def read_state(
    path: str | Path, ignored: Sequence[str] = (), strip: Sequence[str] = ("module.",)
) -> dict[str, torch.Tensor]:
    """The state dict of a safetensors file or a torch checkpoint, where nothing but tensors is unpickled.

    The tensors may stand under one of `NESTED_UNDER`. Floating ones come as float32.

    Args:
        path: The file; ``.safetensors``, and any other suffix for torch's own form.
        ignored: Globs of names that are left out, as they stand in the file or without the prefix.
        strip: Prefixes that are taken off the names that have them.

    Raises:
        WeightsError: No such file, no state dict in it, or two names that are one without their prefixes.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give a .safetensors, .pt or .ckpt file")
    state: dict[str, torch.Tensor] = {}
    for name, tensor in (_read_safetensors if path.suffix == ".safetensors" else _read_torch)(path).items():
        prefix = next((prefix for prefix in strip if name.startswith(prefix)), "")
        bare = name.removeprefix(prefix)
        if any(fnmatchcase(either, pattern) for either in (name, bare) for pattern in ignored):
            continue
        if bare in state:
            raise WeightsError(
                f"{path}: {bare} is there both with and without {prefix!r}; give one model's weights"
            )
        state[bare] = tensor.float() if tensor.is_floating_point() else tensor
    if not state:
        raise WeightsError(f"{path}: holds no weights of an encoder; give a checkpoint with tensors by name")
    return state


def load_strictly(network: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str | Path) -> None:
    """Give a network its weights: all of them, and nothing else, but for the `COUNTERS` of batch norms.

    The network keeps the very tensors of the state dict where they have its type, so there is one copy of them, and
    it may have been made on torch's ``meta`` device, which saves drawing random weights.

    Args:
        network: Whose parameters and buffers are set.
        state: By name.
        source: Where they come from, for errors.

    Raises:
        WeightsError: Names are missing, unknown or of another shape; the message has a few of each.
    """
    import torch

    own = network.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if not fnmatchcase(name, COUNTERS)}
    given = {name: tensor for name, tensor in state.items() if not fnmatchcase(name, COUNTERS)}
    wrong = {
        "without": [name for name in wanted if name not in given],
        "with unknown": [name for name in given if name not in wanted],
        "with other shapes for": [
            f"{name} {_shape(given[name])} instead of {_shape(tensor)}"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ],
    }
    if any(wrong.values()):
        reasons = "; ".join(f"{kind} {_some(names)}" for kind, names in wrong.items() if names)
        raise WeightsError(
            f"{source}: not weights of this {type(network).__name__} ({reasons}); give a checkpoint of its layout"
        )
    loaded = {name: tensor.to(wanted[name].dtype) for name, tensor in given.items()}
    loaded |= {name: torch.zeros_like(own[name], device="cpu") for name in own.keys() - wanted.keys()}
    network.load_state_dict(loaded, assign=True)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    return state


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises what it likes on other files
        raise WeightsError(f"{path}: not a torch checkpoint of plain tensors; give a state dict") from error
    state = _tensors(content)
    for key in NESTED_UNDER:
        if not state and isinstance(content, dict):
            state = _tensors(content.get(key))
    return state


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    import torch

    items = content.items() if isinstance(content, dict) else ()
    return {str(name): value.contiguous() for name, value in items if isinstance(value, torch.Tensor)}
