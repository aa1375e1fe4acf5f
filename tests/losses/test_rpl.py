"""Reciprocal points, by hand and by loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.losses import RPLLoss


def test_by_hand() -> None:
    """Points 0 and 2 in one dimension, x = 0.5 of the first, R = (1, 7): distances 1/4 and 9/4, 3/4 from R."""
    loss = RPLLoss(2, 1, weight=0.1).double()
    with torch.no_grad():
        loss.points.copy_(torch.tensor([[0.0], [2.0]]))
        loss.radius.copy_(torch.tensor([1.0, 7.0]))
    x = torch.tensor([[0.5]], dtype=torch.float64)
    assert loss.logits(x).tolist() == [[0.25, 2.25]]  # farther from the second point: likelier the second
    expected = math.log(1 + math.exp(2)) + 0.1 * 0.75**2
    assert loss(x, torch.tensor([0])).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("per_speaker", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_by_definition(
    make: Callable[..., Any], batch: Callable[..., Any], per_speaker: int, gamma: float, weight: float
) -> None:
    loss = make("rpl", points_per_speaker=per_speaker, gamma=gamma, weight=weight)
    x, y, _ = batch()
    points = loss.points.detach().numpy().reshape(3, per_speaker, 4)
    radius = loss.radius.tolist()
    total, logits = 0.0, []
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        d = np.array([[np.mean((e - p) ** 2) for p in own] for own in points])
        z = gamma * d.mean(1)
        bound = np.mean([(one - radius[k]) ** 2 for one in d[k]])
        total += (math.log(np.exp(z).sum()) - z[k] + weight * bound) / len(x)
        logits.append(z)
    assert loss(x, y).item() == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(loss.logits(x).detach().numpy(), logits, rtol=1e-9)


def test_each_speaker_has_a_radius_that_starts_at_zero() -> None:
    assert torch.equal(RPLLoss(3, 4).radius, torch.zeros(3))
    assert torch.equal(RPLLoss(3, 4, members=2).radius, torch.zeros(2, 3))
