"""The losses of enhancement by name, and building one from a name and its options."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

from openkith.errors import ConfigError
from openkith.losses.contrastive import ContrastiveLoss
from openkith.losses.enhancement import EnhancementLoss
from openkith.losses.enhancement_softmax import EnhancementSoftmaxLoss, MSESoftmaxLoss
from openkith.losses.mmd import MMDCosineLoss, MMDMSELoss
from openkith.losses.regression import CosineLoss, MAELoss, MSECosineLoss, MSELoss
from openkith.losses.triplet import TripletCosineLoss

__all__ = [
    "ENHANCEMENT_LOSSES",
    "build_enhancement_loss",
    "enhancement_loss_class",
    "enhancement_loss_names",
    "enhancement_loss_options",
]

#: Name to class; one of one's own is a line more.
ENHANCEMENT_LOSSES: dict[str, type[EnhancementLoss]] = {
    "mse": MSELoss,
    "mae": MAELoss,
    "cs": CosineLoss,
    "mse+cs": MSECosineLoss,
    "softmax": EnhancementSoftmaxLoss,
    "mse+softmax": MSESoftmaxLoss,
    "triplet+cs": TripletCosineLoss,
    "da+cs": MMDCosineLoss,
    "da+mse": MMDMSELoss,
    "supcon": ContrastiveLoss,
}


def enhancement_loss_names() -> list[str]:
    """Every loss of enhancement that can be built by name."""
    return list(ENHANCEMENT_LOSSES)


def enhancement_loss_class(name: str) -> type[EnhancementLoss]:
    """The class behind a name, for its ``needs``, ``target_type`` and ``together``.

    Raises:
        ConfigError: No such loss.
    """
    if name not in ENHANCEMENT_LOSSES:
        raise ConfigError(
            f"no enhancement loss is named {name!r}; there are: {', '.join(ENHANCEMENT_LOSSES)}"
        )
    return ENHANCEMENT_LOSSES[name]


def enhancement_loss_options(name: str) -> dict[str, Any]:
    """The options of a loss with their defaults.

    Raises:
        ConfigError: No such loss.
    """
    return {
        parameter.name: parameter.default
        for parameter in signature(enhancement_loss_class(name)).parameters.values()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }


def build_enhancement_loss(name: str, dim: int, n_speakers: int, **options: Any) -> EnhancementLoss:
    """Build a loss from its name.

    Args:
        name: A key of `ENHANCEMENT_LOSSES`.
        dim: d, length of an embedding.
        n_speakers: C, speakers that are learned from.
        options: See `enhancement_loss_options`.

    Raises:
        ConfigError: No such loss, no such option, or a value out of its range.
    """
    there_are = enhancement_loss_options(name)
    for option in options:
        if option not in there_are:
            raise ConfigError(
                f"enhancement loss {name!r} has no option {option!r}; "
                f"there are: {', '.join(sorted(there_are)) or 'none'}"
            )
    return enhancement_loss_class(name)(dim=dim, n_speakers=n_speakers, **options)
