"""Learning rates by hand, optimisers, and the best of a row of measures."""

from __future__ import annotations

import math

import pytest
import torch

from openkith.training import TrainConfig
from openkith.training.schedules import OPTIMISERS, SCHEDULES, Best, learning_rate, make_optimiser


def test_constant() -> None:
    config = TrainConfig(learning_rate=0.5, schedule="constant", decay=0.1)
    assert [learning_rate(config, epoch, epoch) for epoch in range(3)] == [0.5, 0.5, 0.5]


def test_exponential_by_epoch() -> None:
    config = TrainConfig(learning_rate=1e-5, schedule="exponential", decay=0.99)
    assert learning_rate(config, 0) == 1e-5
    assert learning_rate(config, 40) == pytest.approx(1e-5 * 0.99**40, rel=1e-12)


def test_steps() -> None:
    config = TrainConfig(learning_rate=0.01, schedule="steps", drops=(50, 80), decay=0.1)
    rates = {epoch: learning_rate(config, epoch) for epoch in (0, 49, 50, 79, 80, 99)}
    assert rates == pytest.approx({0: 0.01, 49: 0.01, 50: 0.001, 79: 0.001, 80: 0.0001, 99: 0.0001})


def test_plateau_counts_cuts() -> None:
    config = TrainConfig(learning_rate=1e-4, schedule="plateau", decay=0.95)
    assert learning_rate(config, 7, 0) == 1e-4
    assert learning_rate(config, 7, 2) == pytest.approx(0.9025e-4)


@pytest.mark.parametrize(
    ("lower", "expected"), [(True, [True, False, False, True]), (False, [True, True, False, False])]
)
def test_best(lower: bool, expected: list[bool]) -> None:
    best = Best()
    assert [best.see(value, step, lower=lower) for step, value in enumerate((2.0, 5.0, 5.0, 1.0))] == expected
    assert best.step == (3 if lower else 1)
    assert best.waited == (0 if lower else 2)


def test_nan_is_never_best() -> None:
    best = Best()
    assert not best.see(math.nan, 1, lower=True)
    assert best.value is None
    assert best.waited == 1


def test_every_choice_is_in_a_registry() -> None:
    for name in SCHEDULES:
        assert TrainConfig(schedule=name, drops=(1,)).schedule == name  # type: ignore[arg-type]
    weight = torch.nn.Parameter(torch.ones(2))
    for name in OPTIMISERS:
        config = TrainConfig(optimiser=name, weight_decay=0.25, momentum=0.75)  # type: ignore[arg-type]
        options = make_optimiser(config, [weight]).param_groups[0]
        assert options["weight_decay"] == 0.25
        assert options.get("momentum", 0.75) == 0.75


def test_adam_is_torch_adam() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert type(make_optimiser(TrainConfig(), [weight])) is torch.optim.Adam
