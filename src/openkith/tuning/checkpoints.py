"""Heads from the PyTorch checkpoints that the SpeakerRPL papers released: two files, adapter and criterion.

The adapter's state dict, keys possibly with ``module.`` in front: ``fc1``, ``fc1_1``, ``fc1_2`` and ``reducedim``, each
a bias-free ``weight`` of shape (out, in); without ``reducedim`` the last hidden layer is the output. ``fc2`` is a
classifier that the method does not use. The criterion's: ``points`` (C, m), ``radius``, ``Dist.centers`` and
``Dist2.centers`` (C, m).

Which points are which: in the published criterion ``points`` is the parameter of ``Dist`` itself, so that both names
hold the reciprocal points P, which the logits use, and ``Dist2.centers`` holds the second set Q, of the cross entropy
L_c. A file in which ``Dist.centers`` differs from ``points`` is read as if those were Q, and ``Dist2.centers`` is then
left out; what was done is in the head's `Diagnostics.notes`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openkith.errors import InputError
from openkith.tuning.config import TuneConfig
from openkith.tuning.head import Diagnostics, TunedHead

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_released"]

_HIDDEN = ("fc1", "fc1_1", "fc1_2")
_LAST = "reducedim"
_UNUSED = "fc2"
_POINTS, _CENTRES, _SECOND = "points", "Dist.centers", "Dist2.centers"
_PREFIX = "module."
_NESTED = ("state_dict", "model", "net")  # under which some savers put the state dict


def load_released(
    adapter_path: str | Path, criterion_path: str | Path, names: Sequence[Hashable] | None = None
) -> TunedHead:
    """A released adapter and its points as a head: to score with, or as ``initial`` of `openkith.tuning.tune`.

    Nothing is unpickled but tensors (``weights_only=True``). For a new household give the result as ``initial``: the
    adapter is carried over, and people who are not among ``names`` get points of their own.

    Args:
        adapter_path: The adapter's checkpoint.
        criterion_path: The ``*_criterion.pth`` beside it.
        names: The people of the points, in their order; None: "released-0" and so on, which no household shares.

    Raises:
        InputError: A file is missing or not a checkpoint, nothing in it is what was released, or the shapes of the two
            do not go together.
    """
    import torch

    notes: list[str] = []
    layers = _adapter_layers(_read(adapter_path), adapter_path, notes)
    points, centres, radius = _criterion(_read(criterion_path), criterion_path, notes)
    out = layers[-1].shape[0]
    if points.shape[1] != out:
        raise InputError(
            f"{criterion_path}: points of length {points.shape[1]}, and the adapter gives {out}; "
            "give the two files of one training run"
        )
    people = [f"released-{i}" for i in range(len(points))] if names is None else list(names)
    if len(people) != len(points):
        raise InputError(
            f"{criterion_path}: {len(points)} points and {len(people)} names; give one name a point"
        )
    has_last = len(layers) > len(_HIDDEN)
    hidden = tuple(weight.shape[0] for weight in layers[: len(_HIDDEN)])
    config = TuneConfig.released(hidden=hidden, out=out if has_last else 0)
    generator = torch.Generator()
    adapter = config.make_adapter(layers[0].shape[1], 1, generator)
    loss = config.make_loss(len(people), out, 1, generator)
    adapter.load_state_dict({f"weights.{i}": weight.mT.unsqueeze(0) for i, weight in enumerate(layers)})
    loss.load_state_dict(
        {"points": points.unsqueeze(0), "centres": centres.unsqueeze(0), "radius": radius.reshape(1)}
    )
    diagnostics = Diagnostics(selected=(0,), notes=tuple(notes))
    return TunedHead(people, config, adapter, loss, np.ones(1), np.zeros(1), diagnostics)


def _read(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, names without ``module.``."""
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a released .pth checkpoint")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error of its own for what is not a checkpoint
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: not a PyTorch checkpoint of tensors ({reason}); give a .pth file"
        ) from error
    if isinstance(content, Mapping):
        for key in _NESTED:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    state = content if isinstance(content, Mapping) else {}
    return {
        str(key).removeprefix(_PREFIX): value.float()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def _adapter_layers(state: dict[str, Tensor], path: str | Path, notes: list[str]) -> list[Tensor]:
    """Weights (out, in) by layer, three hidden ones and, where there is one, the last."""
    wanted = [f"{name}.weight" for name in (*_HIDDEN, _LAST)]
    found = [key for key in wanted if key in state]
    if not found:
        hint = "; it looks like a criterion, swap the two files" if _POINTS in state else ""
        raise InputError(f"{path}: none of {', '.join(wanted)} is in it{hint or '; give the adapter file'}")
    missing = [key for key in wanted[: len(_HIDDEN)] if key not in state]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} missing; give a released SpeakerRPL adapter")
    layers = [state[key] for key in found]
    for i, (key, weight) in enumerate(zip(found, layers, strict=True)):
        takes = layers[i - 1].shape[0] if i else None
        if weight.ndim != 2 or (takes is not None and weight.shape[1] != takes):
            raise InputError(
                f"{path}: {key} has shape {tuple(weight.shape)}; expected (out, {takes or 'in'})"
            )
    _note_unused(state, set(found), path, notes)
    return layers


def _criterion(state: dict[str, Tensor], path: str | Path, notes: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Reciprocal points (C, m), second set of points (C, m), radius."""
    import torch

    first, second = state.get(_CENTRES), state.get(_SECOND)
    points = state.get(_POINTS, first)
    if points is None:
        hint = "; it looks like an adapter, swap the two files" if "fc1.weight" in state else ""
        raise InputError(
            f"{path}: neither {_POINTS} nor {_CENTRES} is in it{hint or '; give the *_criterion.pth file'}"
        )
    centres = first
    if first is None or torch.equal(first, points):
        centres = second
        if second is not None:
            notes.append(f"{path}: {_SECOND} taken for the second set of points")
    elif second is not None:
        notes.append(f"{path}: {_CENTRES} taken for the second set of points, {_SECOND} left out")
    if centres is None:
        centres = torch.zeros_like(points)
        notes.append(f"{path}: no second set of points; they start at zero, which scores do not depend on")
    radius = state.get("radius", torch.zeros(1))
    for key, tensor in ((_POINTS, points), ("the second set of points", centres)):
        if tensor.ndim != 2 or tensor.shape != points.shape:
            raise InputError(
                f"{path}: {key} has shape {tuple(tensor.shape)}; expected (C, m) for both sets of points"
            )
    if radius.numel() != 1:
        raise InputError(f"{path}: radius has shape {tuple(radius.shape)}; expected a single number")
    _note_unused(state, {_POINTS, _CENTRES, _SECOND, "radius"}, path, notes)
    return points, centres, radius


def _note_unused(state: dict[str, Tensor], used: set[str], path: str | Path, notes: list[str]) -> None:
    """Say what was ignored: the classifier by name, anything else as foreign."""
    unused = sorted(set(state) - used)
    for key in unused:
        if key.partition(".")[0] == _UNUSED:
            notes.append(f"{path}: {key} ignored, a classifier that SpeakerRPL does not use")
    foreign = [key for key in unused if key.partition(".")[0] != _UNUSED]
    if foreign:
        raise InputError(
            f"{path}: {', '.join(foreign[:3])} is not of a released SpeakerRPL head; give the released file"
        )
