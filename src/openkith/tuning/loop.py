"""The training loop of a head: batches in, steps of SGD on adapters and losses side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from openkith.encoders.base import torch_threads
from openkith.errors import ConfigError
from openkith.tuning.samples import Samples

if TYPE_CHECKING:
    from openkith.losses.base import Loss
    from openkith.tuning.adapters import Adapter
    from openkith.tuning.config import TuneConfig

__all__ = ["Batch", "Progress", "learning_rates", "train"]

Batch = tuple[Tensor, Tensor | None]  # rows of known samples (S, b), and of unknown ones (S, u)
Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

TRAINING_THREADS = 1  # the matrices are small: on a busy machine more threads wait for one another
_DROP = 0.1  # the learning rate is multiplied by it after each of the configuration's drops
_POINTS = 20  # of the loss curve
_ROUNDING = 1e-9


def learning_rates(config: TuneConfig, steps: int) -> list[float]:
    """The learning rate of each step."""
    after = [max(1, int(steps * share + _ROUNDING)) for share in config.drops]
    return [config.learning_rate * _DROP ** sum(step >= drop for drop in after) for step in range(steps)]


def train(
    adapter: Adapter,
    loss: Loss,
    samples: Samples,
    labels: Tensor,
    batches: Iterator[Batch],
    config: TuneConfig,
    steps: int,
    progress: Progress | None = None,
) -> tuple[tuple[int, float], ...]:
    """Train adapter and loss in place.

    Args:
        adapter, loss: With a member dimension.
        samples: Known rows, then unknown ones.
        labels: Of the known rows, shape (n,).
        batches: Rows of each step.
        config: Of the optimiser.
        steps: How many batches are taken.
        progress: Called some twenty times.

    Returns:
        Pairs of step and loss, the mean over members.

    Raises:
        ConfigError: The loss is no longer finite.
    """
    # The update in one pass over weights, gradients and momenta: the loop is bound by memory as much as by products.
    optimiser = torch.optim.SGD(
        [*adapter.parameters(), *loss.parameters()],
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
    every = max(1, steps // _POINTS)
    curve: list[tuple[int, float]] = []
    adapter.train()
    with torch_threads(TRAINING_THREADS), torch.enable_grad():
        for step, rate in enumerate(learning_rates(config, steps)):
            rows, others = next(batches)
            optimiser.param_groups[0]["lr"] = rate
            value = _loss_of(adapter, loss, samples, labels, rows, others)
            optimiser.zero_grad()
            torch.autograd.backward(value)
            optimiser.step()
            if step % every == 0 or step == steps - 1:
                curve.append((step, value.item() / len(rows)))
                if not torch.isfinite(value):
                    raise ConfigError(
                        f"learning_rate is {config.learning_rate}, and at step {step} the loss is not finite; "
                        "give a smaller one"
                    )
                if progress:
                    progress("tuning", step + 1, steps)
    adapter.eval()
    return tuple(curve)


def _loss_of(
    adapter: Adapter, loss: Loss, samples: Samples, labels: Tensor, rows: Tensor, others: Tensor | None
) -> Tensor:
    """The loss of one batch, summed over members."""
    if others is None:
        alone: Tensor = loss(adapter(*samples.take(rows)), labels[rows])
        return alone
    if adapter.batch_dependent:
        known = adapter(*samples.take(rows))
        unknown = adapter(*samples.take(others), auxiliary=True)
    else:
        both = adapter(*samples.take(torch.cat([rows, others], dim=1)))
        known, unknown = both[:, : rows.shape[1]], both[:, rows.shape[1] :]
    total: Tensor = loss(known, labels[rows], unknown)
    return total
