"""Adversarial reciprocal points, by hand and by loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.losses import ARPLLoss


def test_by_hand() -> None:
    """Points 0 and 2 in one dimension, x = 0.5 of the first, R = 0.5.

    Squares 1/4 and 9/4 less products 0 and 1: logits 1/4 and 5/4. The hinge: 1 + 1/4 - 1/2 = 3/4.
    """
    loss = ARPLLoss(2, 1, weight=0.1).double()
    with torch.no_grad():
        loss.points.copy_(torch.tensor([[0.0], [2.0]]))
        loss.radius.fill_(0.5)
    x, y = torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([0])
    assert loss.logits(x).tolist() == [[0.25, 1.25]]
    assert loss(x, y).item() == pytest.approx(math.log(1 + math.e) + 0.1 * 0.75, abs=1e-12)
    loss.slack = 0.0  # the paper's: within the radius is enough
    assert loss(x, y).item() == pytest.approx(math.log(1 + math.e), abs=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("slack", [0.0, 1.0])
def test_by_definition(
    make: Callable[..., Any], batch: Callable[..., Any], gamma: float, weight: float, slack: float
) -> None:
    loss = make("arpl", gamma=gamma, weight=weight, slack=slack)
    x, y, _ = batch()
    points, radius, open_hinges = loss.points.detach().numpy(), loss.radius.item(), []
    total, logits = 0.0, []
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        z = np.array([gamma * (np.mean((e - p) ** 2) - sum(e * p)) for p in points])
        hinge = max(0.0, slack + np.mean((e - points[k]) ** 2) - radius)
        open_hinges.append(hinge > 0)
        total += (math.log(np.exp(z).sum()) - z[k] + weight * hinge) / len(x)
        logits.append(z)
    assert any(open_hinges)
    assert not all(open_hinges)
    assert loss(x, y).item() == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(loss.logits(x).detach().numpy(), logits, rtol=1e-9, atol=1e-12)
