"""The supervised contrastive loss by hand, and against a loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError
from openkith.losses import ContrastiveLoss, EnhancementBatch


def plain(y: torch.Tensor, labels: list[int], x: torch.Tensor | None = None) -> EnhancementBatch:
    return EnhancementBatch(y, y.detach() if x is None else x, labels=torch.tensor(labels))


def test_by_hand() -> None:
    """(1, 0) twice and (0, 1), tau 1/2: exp(2) with the own, exp(0) with the other; the third has nobody."""
    y = torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 2.0]], dtype=torch.float64)
    loss = ContrastiveLoss(temperature=0.5)
    assert loss(plain(y, [0, 0, 1])).item() == pytest.approx(math.log(1 + math.exp(-2.0)), abs=1e-12)


def test_the_anchor_by_hand() -> None:
    """Nothing to contrast, and outputs (3, 4) and (0, 2) from their inputs: w (25 + 4) / 2."""
    x = torch.ones(2, 2, dtype=torch.float64)
    y = x + torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert ContrastiveLoss()(plain(y, [0, 1], x)).item() == pytest.approx(0.01 * 14.5, abs=1e-12)
    assert ContrastiveLoss(anchor=2.0)(plain(y, [0, 1], x)).item() == pytest.approx(29.0, abs=1e-12)


def test_by_definition(enhancement_batch: Callable[..., EnhancementBatch]) -> None:
    """Three of a speaker, two of another, and one alone, which is among the others but asks for nobody."""
    batch = enhancement_batch(b=6, labels=torch.tensor([0, 1, 0, 2, 1, 0]))
    assert batch.labels is not None
    labels = batch.labels.tolist()
    z = [row / math.sqrt(row @ row) for row in batch.outputs.numpy()]
    terms = []
    for i in range(6):
        others = [a for a in range(6) if a != i]
        whole = sum(math.exp(z[i] @ z[a] / 0.3) for a in others)
        own = [math.log(math.exp(z[i] @ z[p] / 0.3) / whole) for p in others if labels[p] == labels[i]]
        if own:
            terms.append(-np.mean(own))
    assert len(terms) == 5
    moved = np.mean([row @ row for row in (batch.outputs - batch.inputs).numpy()])
    loss = ContrastiveLoss(temperature=0.3, anchor=0.2)
    assert loss(batch).item() == pytest.approx(np.mean(terms) + 0.2 * moved, rel=1e-12)


@pytest.mark.parametrize("labels", [[0], [0, 1], [5, 3, 4]])
def test_where_everyone_is_alone_the_anchor_remains(labels: list[int]) -> None:
    x = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (x + 1.0).requires_grad_(True)
    value = ContrastiveLoss(anchor=0.5)(plain(y, labels, x))
    value.backward()
    assert value.item() == pytest.approx(2.0, abs=1e-12)
    torch.testing.assert_close(y.grad, torch.full_like(x, 1.0 / len(labels)))


def test_a_batch_of_one_speaker_pushes_all_together() -> None:
    """The loss is then log(n - 1) at its least, where all point the same way."""
    y = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    assert ContrastiveLoss()(plain(y, [0, 0, 0])).item() == pytest.approx(math.log(2), abs=1e-12)
    y[2] = torch.tensor([0.0, 1.0])
    assert ContrastiveLoss()(plain(y, [0, 0, 0])).item() > math.log(2) + 1.0


def test_a_low_temperature_does_not_overflow() -> None:
    y = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value = ContrastiveLoss(temperature=1e-3)(plain(y, [0, 0, 1]))
    value.backward()
    assert value.item() == pytest.approx((2000.0 + math.log(2)) / 2, rel=1e-6)
    assert y.grad is not None
    assert y.grad.isfinite().all()


def test_without_the_anchor_a_rotation_is_free_and_with_it_not(
    enhancement_batch: Callable[..., EnhancementBatch],
) -> None:
    batch = enhancement_batch()
    y = batch.outputs
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=y.dtype)).Q
    labels = [0, 0, 0, 1, 1, 1]
    for anchor, free in ((0.0, True), (0.01, False)):
        loss = ContrastiveLoss(anchor=anchor)
        still, turned = loss(plain(y, labels)).item(), loss(plain(y @ rotation, labels, y)).item()
        assert (turned == pytest.approx(still, rel=1e-9)) is free


def test_options_out_of_range_are_named() -> None:
    for option, value in (("temperature", 0.0), ("temperature", -1.0), ("anchor", -0.1), ("anchor", "x")):
        with pytest.raises(ConfigError, match=f"^{option} is {value!r}; "):
            ContrastiveLoss(**{option: value})  # type: ignore[arg-type]
