"""Where a training stands: all that a checkpoint's ``state.json`` has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openkith.training.schedules import Best

__all__ = ["Counters"]


@dataclass
class Counters:
    """Where a training stands.

    Attributes:
        step, epoch, batch: Done: steps in all, whole epochs, batches of this epoch.
        order: Fingerprint of this epoch's batches in the first process; 0 at its start.
        cuts: Of the learning rate at plateaus.
        best: Of the held-out measure.
        flat: Best of the measure, or of the loss, since the learning rate was last cut.
        epoch_loss, epoch_steps: Sum of this epoch's losses, and of how many.
        last_loss: Mean of the last whole epoch.
        window, window_steps: Sums of loss and parts since they were last written down, and of how many steps.
        scale: Of the loss, at precision 16-mixed.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    order: int = 0
    cuts: int = 0
    best: Best = field(default_factory=Best)
    flat: Best = field(default_factory=Best)
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    last_loss: float | None = None
    window: dict[str, float] = field(default_factory=dict)
    window_steps: int = 0
    scale: dict[str, Any] = field(default_factory=dict)

    def count(self, values: Mapping[str, float], batches: int) -> None:
        """A step is done, of so many batches."""
        self.step += 1
        self.batch += batches
        self.epoch_steps += 1
        self.epoch_loss += values["loss"]
        self.window_steps += 1
        self.window = {name: self.window.get(name, 0.0) + value for name, value in values.items()}

    def take_window(self) -> dict[str, float]:
        """Means of loss and parts since this was last called."""
        means = {name: value / self.window_steps for name, value in self.window.items()}
        self.window, self.window_steps = {}, 0
        return means

    def end_epoch(self) -> float:
        """An epoch is done; its mean loss."""
        self.last_loss = self.epoch_loss / self.epoch_steps
        self.epoch, self.batch, self.order = self.epoch + 1, 0, 0
        self.epoch_loss, self.epoch_steps = 0.0, 0
        return self.last_loss

    def see(self, value: float, patience: int, *, lower: bool) -> None:
        """Cut the learning rate where a value has not got better for so many epochs."""
        self.flat.see(value, self.step, lower=lower)
        if self.flat.waited >= patience:
            self.cuts, self.flat.waited = self.cuts + 1, 0
