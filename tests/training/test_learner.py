"""Updates recomputed with plain torch, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openkith.errors import ConfigError, WeightsError
from openkith.training import TrainConfig
from openkith.training.learner import Learner
from openkith.training.processes import start

BATCHES = torch.linspace(-1, 1, 24).reshape(4, 3, 2)  # (batches, rows, features)


def make_learner(
    loss: Any = lambda model, x: model(x).square().mean(), model: nn.Module | None = None, **settings: Any
) -> Learner:
    config = TrainConfig(accelerator="cpu", **settings)
    return Learner(model or make_model(), loss, config, start(config))


def make_model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(2, 3)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_are_the_optimisers(name: str) -> None:
    learner = make_learner(optimiser=name, weight_decay=0.1, learning_rate=7.0)
    for batch in BATCHES:
        learner.update(iter([batch]), 1, rate=0.05)
    model = make_model()
    make: Callable[..., Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[
        name
    ]
    optimiser = make(
        model.parameters(), lr=0.05, weight_decay=0.1, **({"momentum": 0.9} if name == "sgd" else {})
    )
    for batch in BATCHES:
        optimiser.zero_grad()
        model(batch).square().mean().backward()
        optimiser.step()
    for key, value in weights(model).items():
        assert torch.equal(learner.model.state_dict()[key], value)


def test_accumulated_batches_are_one_larger_batch() -> None:
    apart, together = make_learner(optimiser="sgd"), make_learner(optimiser="sgd")
    values = apart.update(iter(BATCHES), 4, rate=0.1)
    expected = together.update(iter([BATCHES.reshape(12, 2)]), 1, rate=0.1)
    assert values["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    for key, value in weights(together.model).items():
        torch.testing.assert_close(apart.model.state_dict()[key], value)


def test_the_gradient_is_clipped_to_a_norm() -> None:
    learner = make_learner(optimiser="sgd", momentum=0.0, clip=0.01)
    before = weights(learner.model)
    learner.update(iter([BATCHES[0]]), 1, rate=1.0)
    moved = torch.cat([(learner.model.state_dict()[key] - before[key]).flatten() for key in before])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_parts_of_a_loss_are_means_too() -> None:
    def loss(model: nn.Module, x: Tensor) -> Mapping[str, Tensor]:
        return {"loss": model(x).square().mean(), "first": x[0, 0]}

    values = make_learner(loss).update(iter(BATCHES), 4, rate=0.1)
    assert list(values) == ["loss", "first"]
    assert values["first"] == pytest.approx(BATCHES[:, 0, 0].mean().item())


@pytest.mark.parametrize(
    "loss",
    [
        lambda model, x: model(x),
        lambda model, x: model(x).mean().item(),
        lambda model, x: {"cost": model(x).mean()},
        lambda model, x: {"loss": model(x).mean(), "rows": model(x)},
        lambda model, x: {"loss": model(x).mean(), "rows": 3},
    ],
)
def test_a_loss_that_is_no_scalar(loss: Any) -> None:
    with pytest.raises(ConfigError, match="loss: gave no scalar tensor"):
        make_learner(loss).update(iter(BATCHES), 1, rate=0.1)


@pytest.mark.parametrize(
    ("loss", "clip", "what"),
    [
        (lambda model, x: model(x).mean() * torch.nan, None, "the loss is nan"),
        (lambda model, x: model(x).mean() / 0, None, "the loss is -?inf"),
        (lambda model, x: (model(x) * 0).sqrt().mean(), 1.0, "the gradient's norm is nan"),
    ],
)
def test_weights_stay_where_a_loss_is_not_finite(loss: Any, clip: float | None, what: str) -> None:
    learner = make_learner(loss, clip=clip)
    before = weights(learner.model)
    with pytest.raises(FloatingPointError, match=what):
        learner.update(iter(BATCHES), 1, rate=0.1)
    assert all(torch.equal(learner.model.state_dict()[key], value) for key, value in before.items())


def test_what_cannot_be_learned() -> None:
    frozen = make_model().requires_grad_(False)
    with pytest.raises(ConfigError, match="model: has no weights to learn"):
        make_learner(model=frozen)
    with pytest.raises(ConfigError, match="loss: has weights that are not the model's"):
        make_learner(nn.Bilinear(2, 2, 1))


def test_a_loss_whose_weights_are_the_models_is_welcome() -> None:
    class Distance(nn.Module):
        def __init__(self, centre: nn.Linear) -> None:
            super().__init__()
            self.centre = centre

        def forward(self, model: nn.ModuleList, x: Tensor) -> Tensor:
            assert model[0] is self.centre
            return self.centre(x).square().mean()

    centre = make_model()
    learner = make_learner(Distance(centre), nn.ModuleList([centre]), optimiser="sgd")
    first = learner.update(iter([BATCHES[0]]), 1, rate=0.1)["loss"]
    assert learner.update(iter([BATCHES[0]]), 1, rate=0.1)["loss"] < first


def test_evaluation_has_no_gradient_and_no_dropout() -> None:
    learner = make_learner(model=nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)))
    learner.model.train()
    outputs = [learner.evaluate(lambda model: model(BATCHES[0])) for _ in range(2)]
    assert torch.equal(*outputs)
    assert not outputs[0].requires_grad


def test_bf16_computes_in_it_and_keeps_weights_in_float32() -> None:
    seen = []

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        y = model(x)
        seen.append(y.dtype)
        return y.float().square().mean()

    learner = make_learner(loss, precision="bf16-mixed")
    value = learner.update(iter(BATCHES), 1, rate=0.1)["loss"]
    assert seen == [torch.bfloat16]
    assert value == pytest.approx(make_learner().update(iter(BATCHES), 1, rate=0.1)["loss"], rel=0.02)
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}


def test_keep_and_take_up() -> None:
    """With dropout: the random states come along."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    learner = make_learner(model=model)
    learner.update(iter(BATCHES), 1, rate=0.1)
    kept = learner.keep({"step": 1}, {"name": "a"})
    assert kept.state == {"step": 1, "scale": {}}
    stored = {name: tensor.clone() for name, tensor in kept.model.items()}
    moments = {
        number: {key: v.clone() for key, v in values.items()} for number, values in kept.optimiser.items()
    }
    expected = learner.update(iter(BATCHES), 1, rate=0.1), weights(learner.model)
    other = make_learner(model=nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)))
    other.take_up(type(kept)(stored, moments, kept.random, kept.state, kept.config), Path("there"))
    assert other.update(iter(BATCHES), 1, rate=0.1) == expected[0]
    assert all(torch.equal(other.model.state_dict()[key], value) for key, value in expected[1].items())
    with pytest.raises(WeightsError, match="there: not of this model") as caught:
        make_learner().take_up(kept, Path("there"))
    assert "\n" not in str(caught.value)
