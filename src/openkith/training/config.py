"""How a training runs: one frozen dataclass, to and from YAML with `openkith.config`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from openkith.errors import ConfigError

__all__ = ["TrainConfig"]

_COUNTS = ("epochs", "batch_size", "accumulate", "devices", "keep", "log_every", "plateau")
_COUNTS_OR_NONE = ("checkpoint_every", "workers", "patience", "seed")  # 0: never, none, or any seed


@dataclass(frozen=True)
class TrainConfig:
    """How a training runs.

    A step is one update of the weights. A batch is what one process computes at once: a step sees
    ``batch_size x accumulate x processes`` samples.

    Attributes:
        epochs: Passes over the data.
        max_steps: The training ends here, or after the epochs, whichever comes first; None: after the epochs.
        batch_size: Samples in a batch of one process. Without meaning where the caller makes the batches.
        accumulate: Batches whose gradients are averaged for one step.
        drop_last: Leave out the last batch of an epoch where it is smaller than the others.
        optimiser: A key of `openkith.training.schedules.OPTIMISERS`: adam, adamw or sgd.
        learning_rate: At the start.
        momentum: Of sgd.
        weight_decay: Of the optimiser; decoupled from the gradient in adamw.
        schedule: A key of `openkith.training.schedules.SCHEDULES`. constant; exponential: times ``decay`` after
            each epoch; steps: times ``decay`` after each of the epochs ``drops``; plateau: times ``decay``
            when ``plateau`` epochs in a row brought no better measure (no lower loss where nothing is held out).
        decay: What the learning rate is multiplied by.
        drops: For schedule steps: after how many epochs, such as [50, 80].
        plateau: For schedule plateau: epochs without a better measure.
        clip: Largest norm of the gradient of all weights; None: any.
        precision: "32", "bf16-mixed", or "16-mixed" (GPU only).
        devices: Processes on this machine, one GPU each. Under torchrun, its number of processes holds.
        accelerator: "auto" takes a GPU where there is one.
        workers: Processes that make the batches, for each process that trains; 0: it makes them itself. The
            batches are the same for any number.
        seed: Of the data's order, what is drawn for each sample, and dropout.
        checkpoint_every: Steps between checkpoints; 0: only at the end of an epoch.
        keep: Newest checkpoints that are kept; the one of the best measure is kept besides.
        measure: Name of the held-out measure that is watched.
        better: Whether the lower or the higher measure is the better one.
        patience: The training ends after so many epochs without a better measure; 0: never.
        log_every: Steps between the rows of ``steps.csv``, which have the mean since the row before.
        tensorboard: Write the logs for TensorBoard too.
    """

    epochs: int = 10
    max_steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    drop_last: bool = False
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "exponential", "steps", "plateau"] = "constant"
    decay: float = 0.95
    drops: tuple[int, ...] = ()
    plateau: int = 1
    clip: float | None = None
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    devices: int = 1
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: int = 0
    seed: int = 0
    checkpoint_every: int = 0
    keep: int = 10
    measure: str = "eer"
    better: Literal["lower", "higher"] = "lower"
    patience: int = 0
    log_every: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in _COUNTS_OR_NONE:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(f"max_steps is {self.max_steps}; give 1 or more, or leave it out")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate is {self.learning_rate}; give a number above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}; give 0 or more")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}; give a number from 0 to below 1")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}; give a number above 0 up to 1")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ConfigError(f"clip is {self.clip}; give a number above 0, or leave it out")
        if any(epoch < 1 for epoch in self.drops):
            raise ConfigError(f"drops is {list(self.drops)}; give numbers of epochs from 1")
        if self.schedule == "steps" and not self.drops:
            raise ConfigError(
                "drops is empty, and schedule is 'steps'; give numbers of epochs such as [50, 80]"
            )
        if not self.measure:
            raise ConfigError("measure is empty; give the name of the held-out measure, such as eer")
