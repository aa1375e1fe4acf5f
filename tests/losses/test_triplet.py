"""Triplet+CS on angles worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from openkith.losses import EnhancementBatch, TripletCosineLoss


def at_angle(*degrees: float, length: float = 1.0) -> torch.Tensor:
    """Vectors in the plane, (n, 2)."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180.0
    return length * torch.stack([angles.cos(), angles.sin()], -1)


def value(y: torch.Tensor, t: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = TripletCosineLoss()(EnhancementBatch(y, y.detach(), t, others=o))
    return result


def test_by_hand() -> None:
    """60 degrees to the own and 90 to the other: 1/2 + 0; 0 and 180: 0 - 1; the lengths do not matter."""
    y, t, o = at_angle(60.0, 10.0, length=3.0), at_angle(0.0, 10.0, length=0.1), at_angle(150.0, 190.0)
    assert value(y, t, o).item() == pytest.approx((0.5 - 1.0) / 2, abs=1e-12)


def test_its_range() -> None:
    """-1 at the own target opposite the other, 3 the other way round, 1 where the two targets are one."""
    here, there = at_angle(20.0), at_angle(200.0)
    assert value(here, here, there).item() == pytest.approx(-1.0, abs=1e-12)
    assert value(there, here, there).item() == pytest.approx(3.0, abs=1e-12)
    assert value(at_angle(77.0), here, here).item() == pytest.approx(1.0, abs=1e-12)


def test_the_other_pushes_however_far_it_is() -> None:
    """No margin: at its own target, and 120 degrees from the other, an output is still pushed away from that."""
    y = at_angle(0.0).requires_grad_(True)
    value(y, at_angle(0.0), at_angle(120.0)).backward()
    assert y.grad is not None
    assert y.grad[0, 0].item() == pytest.approx(0.0, abs=1e-12)
    assert y.grad[0, 1].item() == pytest.approx(math.sin(math.radians(120.0)), abs=1e-12)
