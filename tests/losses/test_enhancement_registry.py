"""The losses of enhancement by name, and what holds for each of them."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

import openkith.losses
from openkith.errors import ConfigError, InputError
from openkith.losses import (
    ENHANCEMENT_LOSSES,
    EnhancementBatch,
    EnhancementLoss,
    build_enhancement_loss,
    enhancement_loss_class,
    enhancement_loss_names,
    enhancement_loss_options,
)

Batches = Callable[..., EnhancementBatch]
#: Name, form of list, target, embeddings of a speaker that must meet, options.
KINDS: list[tuple[str, str, str | None, int, dict[str, Any]]] = [
    ("mse", "normal", "B", 1, {}),
    ("mae", "normal", "B", 1, {}),
    ("cs", "normal", "C", 1, {}),
    ("mse+cs", "normal", "B", 1, {"cs_weight": 1.0}),
    ("softmax", "normal", None, 1, {"weights": None}),
    ("mse+softmax", "normal", "B", 1, {"weights": None, "softmax_weight": 1.0}),
    ("triplet+cs", "triplet", "C", 1, {}),
    ("da+cs", "distribution", "C", 1, {"sigma": 1.0, "mmd_weight": 1.0}),
    ("da+mse", "distribution", "B", 1, {"sigma": 1.0, "mmd_weight": 1.0}),
    ("supcon", "normal", None, 2, {"temperature": 0.1, "anchor": 0.01}),
]
each_loss = pytest.mark.parametrize("name", [kind[0] for kind in KINDS])


def build(name: str, dim: int = 4, n_speakers: int = 2) -> EnhancementLoss:
    """In float64, with parameters away from their start."""
    generator = torch.Generator().manual_seed(0)
    loss = build_enhancement_loss(name, dim, n_speakers).double()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return loss


def test_the_names() -> None:
    assert enhancement_loss_names() == list(ENHANCEMENT_LOSSES) == [kind[0] for kind in KINDS]


@pytest.mark.parametrize(("name", "needs", "target", "together", "options"), KINDS)
def test_what_each_needs(
    name: str, needs: str, target: str | None, together: int, options: dict[str, Any]
) -> None:
    loss_class = enhancement_loss_class(name)
    assert (loss_class.needs, loss_class.target_type, loss_class.together) == (needs, target, together)
    assert ("targets" in loss_class.uses) is (target is not None)
    assert enhancement_loss_options(name) == options
    loss = build_enhancement_loss(name, 4, 3, **options)
    assert type(loss) is loss_class
    assert (loss.dim, loss.n_speakers) == (4, 3)


def test_options_arrive() -> None:
    assert build_enhancement_loss("da+cs", 4, 3, sigma=0.1).sigma == 0.1
    loss = build_enhancement_loss("supcon", 4, 3, anchor=0.5, temperature=0.2)
    assert (loss.anchor, loss.temperature) == (0.5, 0.2)


def test_an_unknown_name_or_option_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^no enhancement loss is named 'mse\+da'; there are: mse, .*supcon$"
    ):
        build_enhancement_loss("mse+da", 4, 3)
    with pytest.raises(ConfigError, match=r"^enhancement loss 'mse' has no option 'sigma'; there are: none$"):
        build_enhancement_loss("mse", 4, 3, sigma=1.0)
    with pytest.raises(ConfigError, match=r"'da\+cs' has no option 'margin'; there are: mmd_weight, sigma$"):
        build_enhancement_loss("da+cs", 4, 3, margin=1.0)


def test_a_loss_of_ones_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Length(EnhancementLoss):
        def __init__(self, dim: int, n_speakers: int, *, wanted: float = 1.0) -> None:
            super().__init__(dim, n_speakers)
            self.wanted = wanted

        def value(self, batch: EnhancementBatch) -> torch.Tensor:
            return (batch.outputs.norm(dim=-1) - self.wanted).abs().mean()

    monkeypatch.setitem(ENHANCEMENT_LOSSES, "length", Length)
    assert enhancement_loss_options("length") == {"wanted": 1.0}
    x = torch.tensor([[3.0, 4.0]])
    assert build_enhancement_loss("length", 2, 1, wanted=2.0)(EnhancementBatch(x, x)).item() == 3.0


@each_loss
def test_gradients(enhancement_batch: Batches, name: str) -> None:
    """Of the outputs and of every parameter, in double."""
    loss = build(name)
    names = [key for key, _ in loss.named_parameters()]
    inputs = [
        enhancement_batch().outputs.clone(),
        *(parameter.detach().clone() for parameter in loss.parameters()),
    ]
    for tensor in inputs:
        tensor.requires_grad_(True)

    def value(outputs: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(
            loss, dict(zip(names, parameters, strict=True)), (enhancement_batch(outputs=outputs),)
        )
        return result

    assert value(*inputs).shape == ()
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-6)


@each_loss
def test_every_output_gets_a_gradient(enhancement_batch: Batches, name: str) -> None:
    y = enhancement_batch().outputs.clone().requires_grad_(True)
    build(name)(enhancement_batch(outputs=y)).backward()
    assert y.grad is not None
    assert (y.grad.abs().amax(-1) > 1e-4).all()


@each_loss
@pytest.mark.parametrize("point", [0.0, 1.0])
def test_gradients_are_finite_where_all_outputs_are_one_point(
    enhancement_batch: Batches, name: str, point: float
) -> None:
    """All zeros, which is what a ReLU that died says, and all the same; in float32."""
    loss = build(name).float()
    y = torch.full((6, 4), point, requires_grad=True)
    batch = enhancement_batch(outputs=y)
    assert batch.targets is not None
    assert batch.others is not None
    value = loss(
        enhancement_batch(
            outputs=y,
            inputs=batch.inputs.float(),
            targets=batch.targets.float(),
            others=batch.others.float(),
        )
    )
    value.backward()
    assert value.isfinite()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert y.grad.abs().max() < 1e5


@each_loss
def test_one_embedding_is_enough(enhancement_batch: Batches, name: str) -> None:
    whole = enhancement_batch()
    first = {key: getattr(whole, key)[:1] for key in ("inputs", "targets", "others", "labels")}
    y = whole.outputs[:1].clone().requires_grad_(True)
    empty = {"pairs": torch.zeros(0, 2, dtype=torch.long), "same_recording": torch.zeros(0, dtype=torch.bool)}
    value = build(name)(EnhancementBatch(outputs=y, **first, **empty))
    value.backward()
    assert value.isfinite()
    assert y.grad is not None
    assert y.grad.isfinite().all()


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes(enhancement_batch: Batches, name: str, dtype: torch.dtype) -> None:
    """Half precision of network and embeddings changes the value by no more than its rounding."""
    batch = enhancement_batch()
    expected = build(name)(batch).item()
    kinds = ("outputs", "inputs", "targets", "others")
    value = build(name).float()(enhancement_batch(**{key: getattr(batch, key).to(dtype) for key in kinds}))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 2e-2)


@each_loss
def test_what_a_batch_lacks_is_named(enhancement_batch: Batches, name: str) -> None:
    loss = build(name)
    goes_with = {"pairs": ["same_recording"]}
    for field in loss.uses:
        with pytest.raises(InputError, match=rf"^{type(loss).__name__} needs {field}; the batch has none$"):
            loss(enhancement_batch(**dict.fromkeys([field, *goes_with.get(field, [])])))
    unused = {"targets", "labels", "others", "pairs", "same_recording"} - set(loss.uses)
    if loss.needs == "distribution":
        unused -= {"labels"}  # which it takes where they are
    without = dict.fromkeys(unused)
    assert loss(enhancement_batch(**without)).item() == loss(enhancement_batch()).item()


@each_loss
def test_it_learns(name: str) -> None:
    """Two speakers behind a linear layer: the loss falls, and new embeddings get nearer their own target."""
    generator = torch.Generator().manual_seed(0)
    speakers = torch.nn.functional.normalize(torch.randn(2, 16, generator=generator), dim=-1)
    labels = torch.arange(24) // 12
    x, probes = (speakers[labels] + 0.3 * torch.randn(24, 16, generator=generator) for _ in range(2))
    loss = build_enhancement_loss(name, 16, 2)
    layer = torch.nn.Parameter(torch.eye(16))
    pairs = torch.arange(24).reshape(12, 2)

    def value() -> torch.Tensor:
        result: torch.Tensor = loss(
            EnhancementBatch(
                x @ layer, x, speakers[labels], labels, speakers[1 - labels], pairs, torch.arange(12) % 2 == 0
            )
        )
        return result

    def apart() -> float:
        y = torch.nn.functional.normalize(probes @ layer.detach(), dim=-1)
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        cosines = y @ y.T
        return float(cosines[same].mean() - cosines[~same].mean())

    before, before_apart = value().item(), apart()
    optimiser = torch.optim.Adam([layer, *loss.parameters()], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        value().backward()
        optimiser.step()
    after = value().item()
    assert after < before - 0.25 * abs(before)
    assert apart() > before_apart + 0.1


@pytest.mark.parametrize(
    "module", sorted({loss_class.__module__ for loss_class in ENHANCEMENT_LOSSES.values()})
)
def test_the_examples_run(module: str) -> None:
    names = {"torch": torch, "EnhancementBatch": openkith.losses.EnhancementBatch}
    results = doctest.testmod(import_module(module), extraglobs=names)
    assert results.attempted >= 2
    assert results.failed == 0
