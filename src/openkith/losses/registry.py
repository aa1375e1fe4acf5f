"""The losses by name, and making one from a name and its options. Does not load torch until one is made."""

from __future__ import annotations

from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from openkith.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from openkith.losses.base import Loss

__all__ = ["LOSSES", "loss_names", "loss_options", "make_loss"]

#: Name to "module:class"; the module is imported when the loss is asked for.
LOSSES: dict[str, str] = {
    "softmax": "openkith.losses.softmax:SoftmaxLoss",
    "a-softmax": "openkith.losses.softmax:ASoftmaxLoss",
    "am-softmax": "openkith.losses.softmax:AMSoftmaxLoss",
    "aam-softmax": "openkith.losses.softmax:AAMSoftmaxLoss",
    "gcpl": "openkith.losses.gcpl:GCPLLoss",
    "rpl": "openkith.losses.rpl:RPLLoss",
    "arpl": "openkith.losses.arpl:ARPLLoss",
    "speaker-rpl": "openkith.losses.speaker_rpl:SpeakerRPLLoss",
    "speaker-rpl-v2": "openkith.losses.speaker_rpl_v2:SpeakerRPLv2Loss",
}
_ARGUMENTS = {"members", "generator"}  # arguments of `make_loss` itself


def loss_names() -> list[str]:
    """Every loss that can be made by name, in the order of the papers."""
    return list(LOSSES)


def loss_options(name: str) -> dict[str, Any]:
    """The options of a loss with their defaults, those shared by all losses last.

    Raises:
        ConfigError: No such loss.
    """
    from openkith.losses.base import Loss

    return {
        parameter.name: parameter.default
        for owner in (_load(name), Loss)
        for parameter in signature(owner).parameters.values()
        if parameter.kind is Parameter.KEYWORD_ONLY and parameter.name not in _ARGUMENTS
    }


def make_loss(
    name: str,
    n_speakers: int,
    dim: int,
    *,
    members: int | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Loss:
    """Make a loss from its name.

    Args:
        name: One of `loss_names`.
        n_speakers: C.
        dim: m, length of an adapted embedding.
        members: S losses side by side (see `Loss`), or None for one without a member dimension.
        generator: For the initial proxies.
        options: See `loss_options`.

    Raises:
        ConfigError: No such loss, no such option, or an option out of its range.
    """
    there_are = loss_options(name)
    for option in options:
        if option not in there_are:
            raise ConfigError(
                f"loss {name!r} has no option {option!r}; there are: {', '.join(sorted(there_are))}"
            )
    return _load(name)(n_speakers, dim, members=members, generator=generator, **options)


def _load(name: str) -> type[Loss]:
    """The class behind a name."""
    if name not in LOSSES:
        raise ConfigError(f"no loss is named {name!r}; there are: {', '.join(loss_names())}")
    module, _, attribute = LOSSES[name].partition(":")
    found: type[Loss] = getattr(import_module(module), attribute)
    return found
