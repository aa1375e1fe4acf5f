"""A small task to train, and a script that trains it: `training_task.py FOLDER [--resume] [--pause S] key=value ...`.

Also run by torchrun. It prints the number of its process. Its data draw at random from the generator that they are
given, and from the global ones.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openkith.training import TrainConfig, Trained, configure, list_checkpoints, seed_everything, train

Batch = tuple[Tensor, Tensor]


class Waves:
    """Noisy points of a wave."""

    def __init__(self, rows: int = 96, global_noise: float = 0.01) -> None:
        self.rows = rows
        self.global_noise = global_noise

    def __len__(self) -> int:
        return self.rows

    def draw(self, row: int, rng: np.random.Generator) -> tuple[list[float], float]:
        x = row / self.rows
        drawn = random.random() + np.random.random() + torch.rand(()).item()
        y = np.sin(6 * x) + 0.05 * rng.standard_normal() + self.global_noise * drawn
        return [1.0, x, x**2, x**3], y


def collate(samples: Sequence[tuple[list[float], float]]) -> Batch:
    return torch.tensor([x for x, _ in samples]), torch.tensor([y for _, y in samples], dtype=torch.float32)


def make_model(dropout: float = 0.1) -> nn.Module:
    seed_everything(11)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 1))


def squares(model: nn.Module, batch: Batch) -> Tensor:
    x, y = batch
    return (model(x)[:, 0] - y).square().mean()


def held_out(model: nn.Module) -> float:
    """Draws too, which training must not notice."""
    x = torch.linspace(0, 1, 50)
    y = torch.sin(6 * x) + 0.01 * torch.randn(50)
    return squares(model, (torch.stack([x**n for n in range(4)], dim=1), y)).item()


def run(
    folder: Path, config: TrainConfig, *, pause: float = 0.0, plain: bool = False, **options: Any
) -> Trained:
    """Train the task; plain: with nothing that one process with twice the batch would draw otherwise."""

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        time.sleep(pause)
        value = squares(model, batch)
        return {"loss": value, "root": value.detach().sqrt()}

    model = make_model(0.0 if plain else 0.1)
    data = Waves(global_noise=0.0 if plain else 0.01)
    return train(model, loss, data, config, folder, collate=collate, evaluate=held_out, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    given = parser.parse_intermixed_args()
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    options = configure(TrainConfig, settings=["accelerator=cpu", *given.settings]).options
    trained = run(given.folder, options, pause=given.pause, plain=given.plain, resume=given.resume)
    assert trained.checkpoint == list_checkpoints(given.folder)[-1]  # in every process
