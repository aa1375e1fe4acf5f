"""The loop against plain PyTorch, and the learning rate by step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor

from openkith.errors import ConfigError
from openkith.tuning import TuneConfig
from openkith.tuning.loop import learning_rates, train
from openkith.tuning.samples import Samples

SMALL: dict[str, Any] = {"hidden": (7, 6), "out": 5, "members": 2, "learning_rate": 0.05}


def parts(config: TuneConfig) -> tuple[Any, Any, Samples, Tensor, list[tuple[Tensor, Tensor | None]]]:
    """Adapter, loss, eight known rows and six unknown ones, and twelve batches."""
    generator = torch.Generator().manual_seed(0)
    adapter = config.make_adapter(9, config.members, generator)
    loss = config.make_loss(3, adapter.out, config.members, generator)
    values = torch.randn(14, 9, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    batches: list[tuple[Tensor, Tensor | None]] = [
        (
            torch.randint(8, (config.members, 4), generator=generator),
            torch.randint(8, 14, (config.members, 3), generator=generator) if config.unknown_weight else None,
        )
        for _ in range(12)
    ]
    return adapter, loss, Samples(values), labels, batches


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unknown_weight": 0.0},
        {"norm": "batch"},
        {"adapter": "residual", "out": None},
        {"loss": "softmax"},
        {"variant": "released", "unknown_weight": 0.01},
    ],
)
def test_as_plain_pytorch_does(changes: dict[str, Any]) -> None:
    """Each member by itself: modules of one member, torch's SGD without fusing, and its schedule."""
    config = TuneConfig(**{**SMALL, **changes})
    adapter, loss, samples, labels, batches = parts(config)
    before = [{k: v.clone() for k, v in module.state_dict().items()} for module in (adapter, loss)]
    train(adapter, loss, samples, labels, iter(batches), config, 12)

    for s in range(2):
        own_adapter = config.make_adapter(9, 1, torch.Generator())
        own_loss = config.make_loss(3, own_adapter.out, 1, torch.Generator())
        for module, state in zip((own_adapter, own_loss), before, strict=True):
            module.load_state_dict({name: value[s : s + 1] for name, value in state.items()})
        optimiser = torch.optim.SGD(
            [*own_adapter.parameters(), *own_loss.parameters()], lr=0.05, momentum=0.9, weight_decay=1e-4
        )
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [6, 9])  # 12 x 0.8, down
        for rows, others in batches:
            known = own_adapter(samples.values[rows[s : s + 1]])
            unknown = None
            if others is not None:
                unknown = own_adapter(samples.values[others[s : s + 1]], auxiliary=True)
            value = own_loss(known, labels[rows[s : s + 1]], unknown)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
        for module, own in ((adapter, own_adapter), (loss, own_loss)):
            for name, tensor in own.state_dict().items():
                torch.testing.assert_close(module.state_dict()[name][s : s + 1], tensor, rtol=1e-4, atol=1e-5)


def test_the_curve() -> None:
    adapter, loss, samples, labels, batches = parts(TuneConfig(**SMALL))
    calls: list[tuple[str, int, int]] = []
    first = loss(
        adapter(samples.values[batches[0][0]]),
        labels[batches[0][0]],
        adapter(samples.values[batches[0][1]]),
    ).item()
    curve = train(
        adapter,
        loss,
        samples,
        labels,
        iter(batches),
        TuneConfig(**SMALL),
        12,
        lambda what, done, of: calls.append((what, done, of)),
    )
    assert [step for step, _ in curve] == list(range(12))
    assert curve[0][1] == pytest.approx(first / 2, rel=1e-5)  # of one member
    assert curve[-1][1] < curve[0][1]
    assert calls == [("tuning", step + 1, 12) for step in range(12)]


def test_twenty_points_of_a_long_run() -> None:
    adapter, loss, samples, labels, batches = parts(TuneConfig(**SMALL))
    curve = train(adapter, loss, samples, labels, repeat(batches[0]), TuneConfig(**SMALL), 100)
    assert [step for step, _ in curve] == [*range(0, 100, 5), 99]


def test_left_ready_to_score_and_threads_as_before() -> None:
    adapter, loss, samples, labels, batches = parts(TuneConfig(**SMALL))
    threads = torch.get_num_threads()
    train(adapter, loss, samples, labels, iter(batches), TuneConfig(**SMALL), 2)
    assert not adapter.training
    assert torch.get_num_threads() == threads


def test_a_loss_that_overflows() -> None:
    config = TuneConfig(**{**SMALL, "learning_rate": 1e30})
    adapter, loss, samples, labels, batches = parts(config)

    def endless() -> Iterator[tuple[Tensor, Tensor | None]]:
        yield from batches

    with pytest.raises(
        ConfigError, match=r"^learning_rate is 1e\+30, and at step \d+ the loss is not finite"
    ):
        train(adapter, loss, samples, labels, endless(), config, 12)


@pytest.mark.parametrize(
    ("steps", "drops", "rates"),
    [
        (10, (0.5, 0.8), [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (15, (0.2,), [1] * 3 + [0.1] * 12),
        (2, (0.5, 0.8), [1, 0.01]),
        (1, (0.5, 0.8), [1]),
        (3, (), [1, 1, 1]),
    ],
)
def test_learning_rates(steps: int, drops: tuple[float, ...], rates: list[float]) -> None:
    assert learning_rates(TuneConfig(learning_rate=1.0, drops=drops), steps) == pytest.approx(rates)
