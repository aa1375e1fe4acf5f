"""The training loop: epochs of steps, checkpoints, the held-out measure, and going on where it was killed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from openkith.config import from_dict, to_dict
from openkith.errors import ConfigError
from openkith.training.batches import Batches, BatchFactory, Collate, Dataset, Orders
from openkith.training.checkpoints import (
    checkpoint_path,
    discard,
    list_checkpoints,
    read_checkpoint,
    sweep,
    write_checkpoint,
)
from openkith.training.config import TrainConfig
from openkith.training.counters import Counters
from openkith.training.learner import Learner, Loss
from openkith.training.logs import Logs, Progress, TimeLeft
from openkith.training.processes import start
from openkith.training.schedules import learning_rate
from openkith.training.seeds import HELD_OUT, WEIGHTS, seeded

__all__ = ["Evaluate", "Trained", "train"]

Evaluate = Callable[[Any], "float | Mapping[str, float]"]  # of the model

_TRAINING = "training"  # the key of config.json that is not the caller's
_FIXED = (
    "batch_size",
    "accumulate",
    "drop_last",
    "optimiser",
    "seed",
    "processes",
    "rows",
)  # to go on exactly


@dataclass(frozen=True)
class Trained:
    """How a training ended.

    Attributes:
        checkpoint: The last one.
        best: The one of the best held-out measure; None where nothing was held out.
        measure: The best held-out measure; None where nothing was held out.
        loss: The mean loss of the last whole epoch; None where there was none.
        steps: Updates of the weights, those of earlier runs too.
        epochs: Whole passes over the data.
        waited_long: Whether it ended because the measure no longer got better.
    """

    checkpoint: Path
    best: Path | None
    measure: float | None
    loss: float | None
    steps: int
    epochs: int
    waited_long: bool


def train(
    model: nn.Module,
    loss: Loss,
    dataset: Dataset,
    config: TrainConfig,
    folder: str | Path,
    *,
    collate: Collate | None = None,
    batches: BatchFactory | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a model, in place.

        import torch
        from openkith.training import TrainConfig, average, seed_everything, train

        class Points(torch.utils.data.Dataset):
            def __len__(self):
                return 256

            def draw(self, row, rng):  # or __getitem__(row), where nothing is drawn
                x = torch.tensor([row / 256, 1.0])
                return x, 3 * x[0] - 1 + 0.01 * rng.standard_normal()

        def loss(model, batch):
            x, y = batch
            return torch.nn.functional.mse_loss(model(x)[:, 0], y.float())

        seed_everything(0)
        model = torch.nn.Linear(2, 1, bias=False)
        config = TrainConfig(epochs=20, learning_rate=0.1, schedule="exponential")
        trained = train(model, loss, Points(), config, "run", progress=print, resume=True)
        model.load_state_dict(average("run", last=5))

    The same script is run on several GPUs with ``devices=4``, on several machines by torchrun. A training that was
    killed goes on from its last checkpoint with ``resume=True`` and gives the losses of one that was not: exactly
    so on CPUs with one or two processes, and on a GPU as far as its kernels give the same sums each time.

    Args:
        model: All that is learned, a loss's own weights too. It is put into training mode at each epoch; a model
            with frozen parts keeps these in evaluation mode by a ``train`` method of its own. With several
            processes, every weight that is learned must have a part in each loss, and batch norms see the batch
            of their process only.
        loss: Of model and batch to a scalar, the mean over the batch; or to a mapping with it under "loss" and
            other scalars to be logged. It runs at the configured precision.
        dataset: Samples by number; see `openkith.training.batches.Dataset` for those that draw at random.
        config: See there.
        folder: Where checkpoints, ``steps.csv`` and ``epochs.csv`` are written.
        collate: A list of samples to a batch; None: torch's own.
        batches: Of epoch (from 0), rank and number of processes to lists of rows of the dataset, each a batch of
            that process; as many for each rank. The same arguments must give the same batches. None: all rows
            once an epoch, shuffled, in batches of ``config.batch_size``.
        evaluate: Of the model, in evaluation mode and without gradients, to the held-out measure, or to several
            by name, ``config.measure`` among them. Called at the end of each epoch, in the first process only.
        progress: Called with what is being done and the time left, steps done, steps in all.
        resume: Go on from the folder's last checkpoint; where there is none, begin. Batch size, accumulation,
            optimiser, seed, rows and processes must be the same; all else is as the configuration has it now.
        about: Of the model, as JSON has it; kept in the ``config.json`` of each checkpoint.

    Raises:
        ConfigError: The loss or a weight is no longer finite (the message names step and learning rate, and the
            last good checkpoint is still there), the folder has checkpoints and ``resume`` is not set, a value
            that decides what each step sees is not the checkpoint's, or the batches are unusable.
        InputError: The folder cannot be written to.
        WeightsError: The checkpoint is damaged, or of another model.
        MissingDependencyError: Lightning Fabric, or tensorboardX where it is asked for, is not installed.
    """
    folder = Path(folder)
    found = list_checkpoints(folder)
    if found and not resume:
        raise ConfigError(f"{folder}: has checkpoints of a training; resume it, or give another folder")
    _check_arguments(dataset, config, evaluate, about)
    fabric = start(config)
    with seeded(fabric.device, config.seed, WEIGHTS, fabric.global_rank):
        run = _Run(
            Learner(model, loss, config, fabric),
            Batches(dataset, config, collate, fabric.global_rank, fabric.device.type == "cuda"),
            Orders(config, len(dataset), fabric, batches),
            config,
            folder,
            about or {},
            evaluate,
        )
        if found:
            run.load(found[-1])
        if not fabric.is_global_zero:
            return run.go(None, None)
        sweep(folder)
        with Logs(folder, run.counters.step, config.tensorboard) as logs:
            return run.go(logs, progress)


class _Run:
    """One training, of one process."""

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        orders: Orders,
        config: TrainConfig,
        folder: Path,
        about: Mapping[str, Any],
        evaluate: Evaluate | None,
    ) -> None:
        self.counters = Counters()
        self._learner = learner
        self._fabric = learner.fabric
        self._batches = batches
        self._orders = orders
        self._config = config
        self._folder = folder
        self._evaluate = evaluate
        made = {"processes": orders.processes, "rows": orders.rows}
        self._about = {**about, _TRAINING: {**to_dict(config), **made}}
        self._last: Path | None = None

    def load(self, path: Path) -> None:
        """Take up everything that a checkpoint has."""
        checkpoint = read_checkpoint(path)
        was, now = checkpoint.config.get(_TRAINING, {}), self._about[_TRAINING]
        for name in _FIXED:
            if was.get(name) != now[name]:
                raise ConfigError(
                    f"{name} is {now[name]}, and {path} was trained with {was.get(name)}; "
                    "give that to go on, or another folder"
                )
        self.counters = from_dict(Counters, checkpoint.state, str(path))
        self._learner.take_up(checkpoint, path)
        self._last = path

    def go(self, logs: Logs | None, progress: Progress | None) -> Trained:
        """Train until the end; logs and progress are the first process's."""
        left = TimeLeft(progress, self.counters.step)
        while not (self._is_done() or self._has_waited_long()):
            self._epoch(logs, left)
        self._fabric.barrier()  # so that every process finds the last checkpoint written
        self._learner.model.eval()
        counters = self.counters
        assert self._last is not None
        return Trained(
            checkpoint=self._last,
            best=None if counters.best.value is None else checkpoint_path(self._folder, counters.best.step),
            measure=counters.best.value,
            loss=counters.last_loss,
            steps=counters.step,
            epochs=counters.epoch,
            waited_long=self._has_waited_long(),
        )

    def _epoch(self, logs: Logs | None, left: TimeLeft) -> None:
        """An epoch, or what is left of it."""
        config, counters = self._config, self.counters
        began = time.monotonic()
        order, counters.order = self._orders.of(counters.epoch, counters.order)
        total = self._steps_in_all(len(order))
        made = self._batches.of(counters.epoch, order, counters.batch)
        self._learner.model.train()
        while counters.batch < len(order):
            loss = self._step(made, min(config.accumulate, len(order) - counters.batch), logs)
            text = f"epoch {counters.epoch + 1} of {config.epochs}, loss {loss:.4g}"
            if counters.batch == len(order):
                self._end_epoch(logs, began)
                self._save()
            elif self._is_done() or (
                config.checkpoint_every and counters.step % config.checkpoint_every == 0
            ):
                self._save()
            left.tell(text, counters.step, total)
            if self._is_done() or not counters.batch:
                return

    def _step(self, made: Iterator[Any], count: int, logs: Logs | None) -> float:
        """One update of the weights from so many batches; their mean loss."""
        try:
            values = self._learner.update(made, count, self._rate())
        except FloatingPointError as error:
            raise self._not_finite(str(error), self.counters.step + 1) from error
        counters = self.counters
        counters.count(values, count)
        if counters.step % self._config.log_every == 0:
            means = counters.take_window()
            if logs is not None:
                logs.step(counters.step, counters.epoch + 1, self._rate(), means)
        return values["loss"]

    def _end_epoch(self, logs: Logs | None, began: float) -> None:
        """Count an epoch, and look at the held-out data."""
        config, counters = self._config, self.counters
        rate = self._rate()
        loss = counters.end_epoch()
        held_out = self._held_out()
        if held_out:
            lower = config.better == "lower"
            counters.best.see(held_out[config.measure], counters.step, lower=lower)
            counters.see(held_out[config.measure], config.plateau, lower=lower)
        else:
            counters.see(loss, config.plateau, lower=True)
        if logs is not None:
            seconds = time.monotonic() - began
            logs.epoch(counters.step, counters.epoch, loss, rate, held_out, seconds)

    def _held_out(self) -> dict[str, float]:
        """The held-out measures by name; empty where nothing is held out."""
        if self._evaluate is None:
            return {}
        values: dict[str, float] = {}
        if self._fabric.is_global_zero:
            with seeded(self._fabric.device, self._config.seed, HELD_OUT, self.counters.epoch):
                found = self._learner.evaluate(self._evaluate)
            named = found if isinstance(found, Mapping) else {self._config.measure: found}
            values = {str(name): float(value) for name, value in named.items()}
        values = self._fabric.broadcast(values)
        if self._config.measure not in values:
            raise ConfigError(
                f"measure is {self._config.measure!r}, and evaluate gave {', '.join(values) or 'nothing'}; "
                "give the name of one of these"
            )
        return values

    def _save(self) -> None:
        """Write a checkpoint, then delete the oldest."""
        counters = self.counters
        if not self._learner.is_finite():
            raise self._not_finite("a weight is not finite", counters.step)
        checkpoint = self._learner.keep(dataclasses.asdict(counters), self._about)
        self._last = checkpoint_path(self._folder, counters.step)
        if not self._fabric.is_global_zero:
            return
        write_checkpoint(self._last, checkpoint)
        best = None if counters.best.value is None else checkpoint_path(self._folder, counters.best.step)
        for path in list_checkpoints(self._folder)[: -self._config.keep]:
            if path != best:
                discard(path)

    def _steps_in_all(self, batches: int) -> int:
        """Where this training will end, if the epochs to come have as many batches as this one."""
        config, counters = self._config, self.counters
        per_epoch = math.ceil(batches / config.accumulate)
        rest = math.ceil((batches - counters.batch) / config.accumulate)
        total = counters.step + rest + (config.epochs - counters.epoch - 1) * per_epoch
        return min(total, config.max_steps or total)

    def _rate(self) -> float:
        return learning_rate(self._config, self.counters.epoch, self.counters.cuts)

    def _is_done(self) -> bool:
        most = self._config.max_steps
        return self.counters.epoch >= self._config.epochs or (most is not None and self.counters.step >= most)

    def _has_waited_long(self) -> bool:
        return 0 < self._config.patience <= self.counters.best.waited

    def _not_finite(self, what: str, step: int) -> ConfigError:
        kept = f"{self._last} is the last good checkpoint" if self._last else "there is no checkpoint yet"
        return ConfigError(
            f"learning_rate is {self._rate():g} at step {step}, and {what}; {kept}: give a smaller one, or clip"
        )


def _check_arguments(
    dataset: Dataset, config: TrainConfig, evaluate: Evaluate | None, about: Mapping[str, Any] | None
) -> None:
    """Refuse what would only be noticed later."""
    if len(dataset) < 1:
        raise ConfigError("dataset: has no rows; give some")
    if config.patience and evaluate is None:
        raise ConfigError(f"patience is {config.patience}, and nothing is held out; give evaluate, or 0")
    if _TRAINING in (about or {}):
        raise ConfigError(
            f"about: has {_TRAINING!r}, which is kept for the training's own; call it otherwise"
        )
