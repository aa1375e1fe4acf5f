"""The loss of large-scale trials, by hand and by its gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError, InputError
from openkith.neural_scoring import LtE2ELoss


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_by_hand() -> None:
    """p = 0.8 and 0.3 of a match, 0.1 and 0.6 of none."""
    logits = torch.tensor([[logit(0.8), logit(0.1)], [logit(0.6), logit(0.3)]])
    matches = torch.tensor([[True, False], [False, True]])
    # -0.95 ln 0.8, -0.05 ln 0.9, -0.05 ln 0.4, -0.95 ln 0.3
    expected = (0.2119864 + 0.0052680 + 0.0458145 + 1.1437737) / 4
    assert float(LtE2ELoss()(logits, matches)) == pytest.approx(expected, abs=1e-6)
    swapped = (0.05 * 0.2231436 + 0.95 * 0.1053605 + 0.95 * 0.9162907 + 0.05 * 1.2039728) / 4
    assert float(LtE2ELoss(0.05)(logits, matches)) == pytest.approx(swapped, abs=1e-6)


def test_p_is_clamped() -> None:
    """Beyond 1e-7 (a logit of 16.1) the loss no longer grows, and has no gradient."""
    logits = torch.tensor([-60.0, 60.0, 60.0, -60.0], dtype=torch.float64, requires_grad=True)
    matches = torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss = LtE2ELoss()(logits, matches)
    wrong, right = -math.log(1e-7), -math.log(1 - 1e-7)
    assert loss.item() == pytest.approx((0.95 + 0.05) * (wrong + right) / 4, rel=1e-9)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0
    bounds = torch.tensor([-15.0, 15.0], requires_grad=True)
    LtE2ELoss()(bounds, torch.tensor([1.0, 0.0])).backward()
    assert bounds.grad is not None
    assert bounds.grad.abs().min() > 0.02


def test_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, generator=generator, dtype=torch.float64).mul(3).requires_grad_()
    matches = torch.rand(3, 5, generator=generator) < 0.4
    loss = LtE2ELoss()
    assert torch.autograd.gradcheck(lambda x: loss(x, matches), (logits,))
    loss(logits, matches).backward()
    p, y = 1 / (1 + np.exp(-logits.detach().numpy())), matches.numpy().astype(float)
    expected = (0.05 * (1 - y) * p - 0.95 * y * (1 - p)) / 15
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, expected, atol=1e-12)


def test_is_not_torch_s_pos_weight() -> None:
    """Its mean has weights that add up to 1; pos_weight 19 gives 20 times as much, where nothing is clamped."""
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    matches = torch.arange(24).reshape(6, 4) % 3 == 0
    torch_s = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, matches.float(), pos_weight=torch.tensor(19.0)
    )
    assert float(LtE2ELoss()(logits, matches)) == pytest.approx(float(torch_s) / 20, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([12.0, -9.0, 3.0], dtype=dtype)
    matches = torch.tensor([False, True, True])
    loss = LtE2ELoss()(logits, matches)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(LtE2ELoss()(logits.float(), matches)), rel=1e-6)


def test_refused() -> None:
    with pytest.raises(InputError, match=r"matches have shape \(2,\) and logits \(2, 1\)"):
        LtE2ELoss()(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(InputError, match="give one per trial"):
        LtE2ELoss()(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ConfigError, match="match_weight is 1"):
        LtE2ELoss(1.0)
    with pytest.raises(ConfigError, match=r"floor is 0\.5"):
        LtE2ELoss(floor=0.5)
