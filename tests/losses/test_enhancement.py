"""The batch of an enhancement loss, the base class, and cosines of vectors that have no length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from openkith.errors import ConfigError, InputError
from openkith.losses import EnhancementBatch, EnhancementLoss
from openkith.losses.enhancement import cosine, unit

Y = torch.zeros(3, 2)


class OfOnesOwn(EnhancementLoss):
    """The mean of the labels, and what it was called with."""

    uses = ("labels",)

    def value(self, batch: EnhancementBatch) -> Tensor:
        self.seen = batch
        assert batch.labels is not None
        return batch.labels.float().mean() + batch.outputs.sum()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": torch.zeros(3, 3)}, r"inputs has shape \(3, 3\); give \(3, 2\)"),
        ({"targets": torch.zeros(2, 2)}, r"targets has shape \(2, 2\); give \(3, 2\)"),
        ({"others": torch.zeros(3)}, r"others has shape \(3,\); give \(3, 2\)"),
        ({"labels": torch.zeros(3, 1).long()}, r"labels has shape \(3, 1\); give \(3,\)"),
        ({"labels": torch.zeros(3)}, "labels is torch.float32; give integers"),
        ({"labels": torch.zeros(3, dtype=torch.bool)}, "labels is torch.bool; give integers"),
        ({"pairs": torch.zeros(4, 3).long()}, r"pairs has shape \(4, 3\); give \(4, 2\)"),
        ({"pairs": torch.tensor(1)}, r"pairs has shape \(\); give \(p, 2\)"),
        ({"pairs": torch.zeros(4, 2)}, "pairs is torch.float32; give integers"),
        (
            {"pairs": torch.zeros(4, 2).long(), "same_recording": torch.zeros(3)},
            r"same_recording has shape \(3,\); give \(4,\)",
        ),
        ({"same_recording": torch.zeros(3)}, r"same_recording has shape \(3,\); give \(p,\)"),
        ({"outputs": torch.zeros(0, 2)}, r"outputs has shape \(0, 2\); give \(b, d\), one row or more"),
        ({"outputs": torch.zeros(2)}, r"outputs has shape \(2,\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(given: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        EnhancementBatch(**{"outputs": Y, "inputs": Y, **given})


def test_a_loss_of_ones_own() -> None:
    loss = OfOnesOwn(dim=2, n_speakers=5)
    assert (loss.needs, loss.target_type, loss.together) == ("normal", None, 1)
    assert (loss.dim, loss.n_speakers) == (2, 5)
    batch = EnhancementBatch(Y, Y, labels=torch.tensor([1, 2, 3]))
    assert loss(batch).item() == 2.0
    assert loss.seen is batch
    with pytest.raises(InputError, match=r"^OfOnesOwn needs labels; the batch has none"):
        loss(EnhancementBatch(Y, Y, targets=Y))
    with pytest.raises(NotImplementedError):
        EnhancementLoss()(batch)


@pytest.mark.parametrize("given", [{"dim": 0}, {"n_speakers": 0}, {"dim": 4, "n_speakers": -1}])
def test_sizes_out_of_range_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^(dim|n_speakers) is (0|-1); give 1 or more"):
        OfOnesOwn(**given)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_the_rest_is_left(half: torch.dtype) -> None:
    loss, labels = OfOnesOwn(), torch.tensor([1, 2, 3])
    y = Y.to(half).requires_grad_(True)
    value = loss(EnhancementBatch(y, Y.to(half), targets=Y.double(), labels=labels))
    value.backward()
    assert loss.seen.outputs.dtype == loss.seen.inputs.dtype == torch.float32
    assert loss.seen.targets is not None
    assert loss.seen.targets.dtype == torch.float64
    assert loss.seen.labels is labels
    assert y.grad is not None
    assert y.grad.dtype == half


def test_within_autocast_a_loss_computes_in_full_precision() -> None:
    class Product(EnhancementLoss):
        def value(self, batch: EnhancementBatch) -> Tensor:
            self.kind = (batch.outputs @ batch.inputs.mT).dtype
            return batch.outputs.sum()

    loss = Product()
    single = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (single @ single).dtype == torch.bfloat16
        loss(EnhancementBatch(single, single))
    assert loss.kind == torch.float32


def test_unit_and_cosine() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [5e-5, 0.0]], dtype=torch.float64)
    assert unit(x).flatten().tolist() == pytest.approx([0.6, 0.8, 0.0, 0.0, 0.5, 0.0])
    y = torch.tensor([[4.0, 3.0], [1.0, 0.0], [7.0, 0.0]], dtype=torch.float64)
    assert cosine(x, y).tolist() == pytest.approx([0.96, 0.0, 0.5])
