"""Class prototypes, by hand and by loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.losses import GCPLLoss


def test_by_hand() -> None:
    """Prototypes 0 and 2 in one dimension, x = 0.5 of the first: distances 1/4 and 9/4."""
    loss = GCPLLoss(2, 1, weight=0.1).double()
    with torch.no_grad():
        loss.prototypes.copy_(torch.tensor([[0.0], [2.0]]))
    x = torch.tensor([[0.5]], dtype=torch.float64)
    assert loss.logits(x).tolist() == [[-0.25, -2.25]]
    expected = math.log(1 + math.exp(-2)) + 0.1 * 0.25
    assert loss(x, torch.tensor([0])).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("per_speaker", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_by_definition(
    make: Callable[..., Any], batch: Callable[..., Any], per_speaker: int, gamma: float, weight: float
) -> None:
    """p(y | x) = sum over own prototypes of exp(-gamma d), over the sum of all; plus the nearest own one."""
    loss = make("gcpl", prototypes_per_speaker=per_speaker, gamma=gamma, weight=weight)
    x, y, _ = batch()
    prototypes = loss.prototypes.detach().numpy().reshape(3, per_speaker, 4)
    total, logits = 0.0, []
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        d = np.array([[np.mean((e - p) ** 2) for p in own] for own in prototypes])
        likely = np.exp(-gamma * d)
        total += (-math.log(likely[k].sum() / likely.sum()) + weight * d[k].min()) / len(x)
        logits.append(np.log(likely.sum(1)))
    assert loss(x, y).item() == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(loss.logits(x).detach().numpy(), logits, rtol=1e-9)
