"""The processes and devices that train: what Lightning Fabric is told, and told from."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from openkith.errors import ConfigError, require
from openkith.training.config import TrainConfig

__all__ = ["gather", "is_first_process", "mean", "start"]

# The others wait so long while one evaluates on held-out data.
PATIENCE_OF_PROCESSES = timedelta(hours=3)


def start(config: TrainConfig) -> Any:
    """A Fabric with its processes started and joined; they stay so until the program ends.

    Under torchrun the processes are there. Else, for more than one device, Fabric starts the program again for
    each of the others, with the same arguments; so it must be a program and not a notebook.

    Raises:
        ConfigError: The devices are not there, or cannot compute at that precision.
        MissingDependencyError: Lightning Fabric is not installed.
    """
    package = require("lightning_fabric", "training", "training")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it says what it does on standard error
    accelerator = _accelerator(config)
    devices, machines = config.devices, 1
    launched = torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    if launched:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        machines = int(os.environ["WORLD_SIZE"]) // devices
    there_are = torch.cuda.device_count() if accelerator == "cuda" else None
    if accelerator == "mps":
        there_are = 1
    if there_are is not None and devices > there_are:
        raise ConfigError(f"devices is {devices}, and there are {there_are}; give at most so many")
    if config.precision == "16-mixed" and accelerator == "cpu":
        raise ConfigError("precision is '16-mixed', which needs a GPU; give bf16-mixed or 32")
    strategy: Any = "auto"
    if launched or devices > 1:
        strategies = require("lightning_fabric.strategies", "training", "training")
        strategy = strategies.DDPStrategy(timeout=PATIENCE_OF_PROCESSES)
    try:
        fabric = package.Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=machines,
            precision=config.precision,
            strategy=strategy,
        )
    except (RuntimeError, ValueError) as error:  # in a notebook, or within another launcher
        reason = " ".join(str(error).split())
        raise ConfigError(f"devices is {config.devices}, and they cannot be used: {reason}") from error
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the first of several; known before they are joined, too."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def gather(fabric: Any, tensor: Tensor) -> Tensor:
    """A tensor of each process, shape (processes, ...), on the CPU; all processes call it together."""
    if fabric.world_size == 1:
        return tensor.cpu()[None]
    here = tensor.to(fabric.device)
    gathered = [torch.empty_like(here) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, here)
    return torch.stack(gathered).cpu()


def mean(fabric: Any, tensor: Tensor) -> Tensor:
    """The mean of a tensor over the processes, in place; all processes call it together."""
    if fabric.world_size > 1:
        torch.distributed.all_reduce(tensor)
        tensor /= fabric.world_size
    return tensor


def _accelerator(config: TrainConfig) -> str:
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and config.devices == 1,
    }
    if config.accelerator == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[config.accelerator]:
        raise ConfigError(f"accelerator is {config.accelerator!r}, which this machine has not; give cpu")
    return config.accelerator
