"""Batch norms that follow a convolution or linear layer at once, taken into its weights: fewer passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["fold_batch_norms"]

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
TOLERANCE = 1e-4  # of the largest output: rounding is near 1e-6


def fold_batch_norms(network: nn.Module, example: torch.Tensor) -> int:
    """Fold what can be folded of a network in evaluation mode, in place; its outputs stay the same but for rounding.

    Which norm follows which layer is seen in one pass of an example, so a norm after an activation stays. Should
    the outputs change after all (another part of the network reads between the two), nothing is folded.

    Args:
        network: Float32, in evaluation mode, without gradients.
        example: An input.

    Returns:
        The number of norms folded.
    """
    with torch.no_grad():
        before, pairs = _watch(network, example)
        kept = [(layer, layer.weight, layer.bias) for _, layer in pairs]
        names = {module: name for name, module in network.named_modules()}
        for norm, layer in pairs:
            _fold(layer, norm)
            _replace(network, names[norm], nn.Identity())
        after = network(example)
        if (after - before).abs().max() <= TOLERANCE * before.abs().max():
            return len(pairs)
        for layer, weight, bias in kept:
            layer.weight, layer.bias = weight, bias
        for norm, _ in pairs:
            _replace(network, names[norm], norm)
    return 0


def _watch(network: nn.Module, example: torch.Tensor) -> tuple[torch.Tensor, list[tuple[Any, Any]]]:
    """The output for an example, and each norm with the layer whose untouched output it reads; both used once."""
    made: dict[int, tuple[nn.Module, torch.Tensor, int]] = {}
    sources: dict[nn.Module, list[nn.Module | None]] = {}
    calls: dict[nn.Module, int] = {}

    def layer_gave(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        calls[layer] = calls.get(layer, 0) + 1
        made[id(output)] = layer, output, output._version  # the version counts changes in place

    def norm_takes(norm: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        layer, output, version = made.get(id(arguments[0]), (None, arguments[0], -1))
        sources.setdefault(norm, []).append(layer if output._version == version else None)

    hooks: list[Any] = []
    for module in network.modules():
        if isinstance(module, _LAYERS):
            hooks.append(module.register_forward_hook(layer_gave))
        elif isinstance(module, _NORMS) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(norm_takes))
    try:
        output = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(norm, found[0]) for norm, found in sources.items() if len(found) == 1 and found[0] is not None]
    return output, [(norm, layer) for norm, layer in pairs if calls[layer] == 1]


def _fold(layer: Any, norm: Any) -> None:
    """Give the layer the weights that do what it and the norm did: w' = w g, b' = (b - mean) g + shift."""
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    shift: torch.Tensor | float = 0.0
    if norm.affine:
        gain, shift = gain * norm.weight.double(), norm.bias.double()
    weight, bias = layer.weight, 0.0 if layer.bias is None else layer.bias.double()
    folded = weight.double() * gain.reshape(-1, *[1] * (weight.dim() - 1))
    offset = (bias - norm.running_mean.double()) * gain + shift
    layer.weight, layer.bias = (
        nn.Parameter(x.to(weight.dtype), requires_grad=weight.requires_grad) for x in (folded, offset)
    )


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    network.get_submodule(parent).register_module(child, module)
