"""The regression losses of enhancement on two embeddings worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError
from openkith.losses import CosineLoss, EnhancementBatch, EnhancementLoss, MAELoss, MSECosineLoss, MSELoss

Y = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
T = torch.tensor([[4.0, 3.0], [2.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (MSELoss(), ((1 + 1) + (4 + 4)) / 4),
        (MAELoss(), (1 + 1 + 2 + 2) / 4),
        (CosineLoss(), ((1 - 24 / 25) + (1 - 0)) / 2),
        (MSECosineLoss(), 2.5 + 0.52),
        (MSECosineLoss(cs_weight=0.5), 2.5 + 0.26),
        (MSECosineLoss(cs_weight=0.0), 2.5),
    ],
)
def test_by_hand(loss: EnhancementLoss, expected: float) -> None:
    assert loss(EnhancementBatch(Y, Y, T)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("loss", "expected"), [(MSELoss(), [-0.5, 0.5, -1, 1]), (MAELoss(), [-1, 1, -1, 1])])
def test_the_gradient_by_hand(loss: EnhancementLoss, expected: list[float]) -> None:
    """2 (y - t) / 4 and sign(y - t) / 4."""
    y = Y.clone().requires_grad_(True)
    loss(EnhancementBatch(y, Y, T)).backward()
    scale = 1.0 if isinstance(loss, MSELoss) else 0.25
    assert y.grad is not None
    assert y.grad.flatten().tolist() == pytest.approx([scale * value for value in expected])


def test_by_definition(enhancement_batch: Callable[..., EnhancementBatch]) -> None:
    batch = enhancement_batch(b=8, dim=5)
    assert batch.targets is not None
    y, t = batch.outputs.numpy(), batch.targets.numpy()
    squares = sum((a - b) ** 2 for a, b in zip(y.flat, t.flat, strict=True)) / y.size
    angles = [np.arccos(a @ b / math.sqrt((a @ a) * (b @ b))) for a, b in zip(y, t, strict=True)]
    cosines = float(np.mean([1 - math.cos(angle) for angle in angles]))
    assert MSELoss()(batch).item() == pytest.approx(squares, rel=1e-12)
    assert CosineLoss()(batch).item() == pytest.approx(cosines, rel=1e-12)
    assert MSECosineLoss()(batch).item() == pytest.approx(squares + cosines, rel=1e-12)


def test_nothing_is_left_at_the_target() -> None:
    for loss in (MSELoss(), MAELoss(), CosineLoss(), MSECosineLoss()):
        y = T.clone().requires_grad_(True)
        value = loss(EnhancementBatch(y, Y, T))
        value.backward()
        assert value.item() == pytest.approx(0.0, abs=1e-12)
        assert y.grad is not None
        assert y.grad.abs().max().item() == pytest.approx(0.0, abs=1e-12)


def test_the_cosine_is_blind_to_length_and_the_others_are_not() -> None:
    longer = EnhancementBatch(3.0 * T, Y, T)
    assert CosineLoss()(longer).item() == pytest.approx(0.0, abs=1e-12)
    for loss in (MSELoss(), MAELoss(), MSECosineLoss()):
        assert loss(longer).item() > 1.0


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-6, 1e-3])
def test_an_output_without_length_is_still_pulled_to_its_target(length: float) -> None:
    """In float32; at right angles to the target the cosine is 0 and its gradient points along the target."""
    y = torch.tensor([[0.0, length]], requires_grad=True)
    value = CosineLoss()(EnhancementBatch(y, y.detach(), torch.tensor([[2.0, 0.0]])))
    value.backward()
    assert value.item() == pytest.approx(1.0)
    assert y.grad is not None
    assert y.grad.tolist()[0] == pytest.approx([-1.0 / max(length, 1e-4), 0.0], rel=1e-5)


def test_a_target_of_zeros_pulls_nowhere() -> None:
    y = Y.clone().requires_grad_(True)
    value = CosineLoss()(EnhancementBatch(y, Y, torch.zeros_like(Y)))
    value.backward()
    assert value.item() == 1.0
    assert y.grad is not None
    assert y.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), "much", True])
def test_a_weight_out_of_range_is_named(weight: float) -> None:
    with pytest.raises(ConfigError, match=f"^cs_weight is {weight!r}; give a number of 0 or more"):
        MSECosineLoss(cs_weight=weight)
