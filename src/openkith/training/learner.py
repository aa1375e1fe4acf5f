"""A model that learns: updates of its weights on the devices, and everything that has to be kept to go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openkith.errors import ConfigError, WeightsError
from openkith.training.checkpoints import Checkpoint
from openkith.training.config import TrainConfig
from openkith.training.processes import gather, mean
from openkith.training.schedules import make_optimiser
from openkith.training.seeds import get_states, set_states

__all__ = ["Learner", "Loss"]

Loss = Callable[[Any, Any], "Tensor | Mapping[str, Tensor]"]  # of model and batch


class Learner:
    """Model, loss and optimiser, set up on this process's device.

    Args:
        model: Moved there.
        loss: As `openkith.training.train` has it.
        config: Of the optimiser, the accumulation, clipping and precision.
        fabric: Of Lightning, started.

    Raises:
        ConfigError: The model has nothing to learn, or the loss has weights that the model does not have.
    """

    def __init__(self, model: nn.Module, loss: Loss, config: TrainConfig, fabric: Any) -> None:
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not learned:
            raise ConfigError(
                "model: has no weights to learn; give one with parameters that require a gradient"
            )
        if isinstance(loss, nn.Module) and {*loss.parameters()} - {*model.parameters()}:
            raise ConfigError("loss: has weights that are not the model's; put the loss into the model")
        self.fabric = fabric
        self.model = model.to(fabric.device)
        self._config = config
        self._optimiser = make_optimiser(config, learned)
        self._forward, self._stepper = fabric.setup(_Forward(model, loss), self._optimiser)

    def update(self, batches: Iterator[Any], count: int, rate: float) -> dict[str, float]:
        """One update of the weights.

        Args:
            batches: So many are taken.
            count: Their number.
            rate: The learning rate.

        Returns:
            Mean loss and its parts, over all batches and processes, before the update.

        Raises:
            FloatingPointError: Loss or gradient is not finite; the weights are as they were.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._stepper.zero_grad()
        sums: dict[str, Tensor] = {}
        for number in range(count):
            batch = self.fabric.to_device(next(batches))
            with self.fabric.no_backward_sync(self._forward, enabled=number < count - 1):
                parts = self._forward(batch)
                self.fabric.backward(parts["loss"] / count)
            for name, value in parts.items():
                part = value.detach().float() / count
                sums[name] = sums[name] + part if name in sums else part
        means = mean(self.fabric, torch.stack(list(sums.values())))
        values: dict[str, float] = dict(zip(sums, means.tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']}")
        self._clip()
        self._stepper.step()
        return values

    def evaluate(self, measure: Callable[[Any], Any]) -> Any:
        """What a function gives of the model in evaluation mode, without gradients."""
        self.model.eval()
        with torch.no_grad():
            return measure(self.model)

    def is_finite(self) -> bool:
        """Whether every weight is."""
        return all(bool(parameter.isfinite().all()) for parameter in self.model.parameters())

    def keep(self, state: Mapping[str, Any], config: Mapping[str, Any]) -> Checkpoint:
        """Everything that has to be kept to go on; all processes call it together.

        Args:
            state: Counters.
            config: Of model and training.
        """
        states = get_states(self.fabric.device)
        states = {name: gather(self.fabric, tensor) for name, tensor in states.items()}
        optimiser = {
            number: {name: value for name, value in values.items() if isinstance(value, Tensor)}
            for number, values in self._optimiser.state_dict()["state"].items()
        }
        scale = self.fabric.strategy.precision.state_dict()  # of the loss, at 16-mixed
        return Checkpoint(self.model.state_dict(), optimiser, states, {**state, "scale": scale}, config)

    def take_up(self, checkpoint: Checkpoint, path: Path) -> None:
        """Go on from a checkpoint.

        Args:
            checkpoint: What `keep` gave, with as many processes.
            path: Where it was, for errors.

        Raises:
            WeightsError: It is of another model.
        """
        try:
            self.model.load_state_dict(dict(checkpoint.model))
            options = self._optimiser.state_dict()
            self._optimiser.load_state_dict({**options, "state": checkpoint.optimiser})
            self.fabric.strategy.precision.load_state_dict(checkpoint.state["scale"])
            mine = {name: tensor[self.fabric.global_rank] for name, tensor in checkpoint.random.items()}
            set_states(mine, self.fabric.device)
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"{path}: not of this model ({reason}); give the model of that training"
            ) from error

    def _clip(self) -> None:
        if self._config.clip is None:
            return
        norm = self.fabric.clip_gradients(
            self._forward, self._stepper, max_norm=self._config.clip, error_if_nonfinite=False
        )
        # At 16-mixed the loss scale finds such gradients itself, and leaves the update out.
        if self._config.precision != "16-mixed" and not math.isfinite(norm):
            raise FloatingPointError(f"the gradient's norm is {float(norm)}")


class _Forward(nn.Module):
    """Model and loss as one module: so the loss runs at the configured precision, and may use all of the model."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> dict[str, Tensor]:
        found = self.loss(self.model, batch)
        parts = dict(found) if isinstance(found, Mapping) else {"loss": found}
        if "loss" not in parts or any(getattr(part, "shape", None) != () for part in parts.values()):
            raise ConfigError(
                "loss: gave no scalar tensor; give the mean over the batch, or a mapping with 'loss'"
            )
        return parts
