"""Optimisers, learning rates by epoch, and whether a measure still gets better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

    from openkith.training.config import TrainConfig

__all__ = ["OPTIMISERS", "SCHEDULES", "Best", "learning_rate", "make_optimiser"]

# What the learning rate is multiplied by, after so many epochs and so many cuts at a plateau.
SCHEDULES: dict[str, Callable[[TrainConfig, int, int], float]] = {
    "constant": lambda _config, _epochs, _cuts: 1.0,
    "exponential": lambda config, epochs, _cuts: config.decay**epochs,
    "steps": lambda config, epochs, _cuts: config.decay ** sum(epochs >= drop for drop in config.drops),
    "plateau": lambda config, _epochs, cuts: config.decay**cuts,
}

# The name in torch.optim, and the fields of the configuration that it takes.
OPTIMISERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "adam": ("Adam", ("weight_decay",)),
    "adamw": ("AdamW", ("weight_decay",)),
    "sgd": ("SGD", ("weight_decay", "momentum")),
}


def learning_rate(config: TrainConfig, epochs: int, cuts: int = 0) -> float:
    """The learning rate of an epoch.

    Args:
        config: Its schedule.
        epochs: How many are done.
        cuts: How often a plateau has been met.
    """
    return config.learning_rate * SCHEDULES[config.schedule](config, epochs, cuts)


def make_optimiser(config: TrainConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """The optimiser of a configuration."""
    import torch

    name, fields = OPTIMISERS[config.optimiser]
    options: dict[str, Any] = {field: getattr(config, field) for field in fields}
    optimiser: Optimizer = getattr(torch.optim, name)(parameters, lr=config.learning_rate, **options)
    return optimiser


@dataclass
class Best:
    """The best measure so far.

    Attributes:
        value: None before the first.
        step: When it was met.
        waited: Epochs since then, or since it was last set to 0.
    """

    value: float | None = None
    step: int = 0
    waited: int = 0

    def see(self, value: float, step: int, *, lower: bool) -> bool:
        """Take note of a measure; whether it is the best. NaN never is."""
        worst = math.inf if lower else -math.inf
        before = worst if self.value is None else self.value
        is_best = value < before if lower else value > before
        if is_best:
            self.value, self.step, self.waited = value, step, 0
        else:
            self.waited += 1
        return is_best
