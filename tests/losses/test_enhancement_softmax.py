"""Softmax as a loss of enhancement: by hand, and from an encoder's own classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError, InputError
from openkith.losses import EnhancementBatch, EnhancementSoftmaxLoss, MSESoftmaxLoss

Y = torch.tensor([[1.0, 2.0], [0.0, 3.0]], dtype=torch.float64)
T = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])
SOFTMAX = (math.log(1 + math.e) + math.log(1 + math.exp(-3))) / 2  # logits 1 and 2, own 1; 0 and 3, own 3


def batch(**given: Any) -> EnhancementBatch:
    return EnhancementBatch(Y, Y, **{"labels": LABELS, "targets": T, **given})


def test_by_hand() -> None:
    loss = EnhancementSoftmaxLoss(2, 2, weights=torch.eye(2)).double()
    assert loss(batch()).item() == pytest.approx(SOFTMAX, abs=1e-12)


@pytest.mark.parametrize("weight", [1.0, 0.0, 0.25])
def test_with_mse_by_hand(weight: float) -> None:
    """0, 2, 0 and 2 off: 8 / 4."""
    loss = MSESoftmaxLoss(2, 2, weights=torch.eye(2), softmax_weight=weight).double()
    assert loss(batch()).item() == pytest.approx(2.0 + weight * SOFTMAX, abs=1e-12)


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, lambda rows: torch.tensor(rows).half()])
@pytest.mark.parametrize("loss_class", [EnhancementSoftmaxLoss, MSESoftmaxLoss])
def test_it_starts_from_given_weights_and_learns_its_own(
    loss_class: type[EnhancementSoftmaxLoss], kind: Callable[..., Any]
) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    weights = kind(rows)
    loss = loss_class(dim=2, n_speakers=3, weights=weights)
    vectors = loss.classifier.vectors
    assert vectors.tolist() == rows
    assert vectors.dtype == torch.float32
    assert [name for name, _ in loss.named_parameters()] == ["classifier.vectors"]
    y = Y.float()
    loss(EnhancementBatch(y, y, targets=y, labels=LABELS)).backward()
    torch.optim.SGD(loss.parameters(), lr=1.0).step()
    assert vectors.tolist() != rows
    assert [list(map(float, row)) for row in weights] == rows, "the given weights were written to"


def test_without_weights_it_starts_small() -> None:
    torch.manual_seed(0)
    vectors = EnhancementSoftmaxLoss(dim=50, n_speakers=40).classifier.vectors
    assert vectors.shape == (40, 50)
    assert vectors.std().item() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            torch.zeros(2, 3),
            r"weights have shape \(2, 3\); \(3, 2\) goes with 3 speakers and embeddings of length 2",
        ),
        (np.zeros(6), r"weights have shape \(6,\)"),
        (torch.full((3, 2), torch.nan), "weights have entries that are not finite"),
        ("classifier.pt", "weights are no numbers"),
        ([[1.0], [1.0, 2.0]], "weights are no numbers"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        EnhancementSoftmaxLoss(dim=2, n_speakers=3, weights=weights)


def test_labels_and_lengths_that_do_not_fit_are_named() -> None:
    loss = EnhancementSoftmaxLoss(dim=2, n_speakers=2).double()
    with pytest.raises(InputError, match=r"^label 2 is not among this loss's 2 speakers"):
        loss(batch(labels=torch.tensor([0, 2])))
    with pytest.raises(InputError, match=r"this loss needs \(n, 3\)"):
        EnhancementSoftmaxLoss(dim=3, n_speakers=2).double()(batch())
    with pytest.raises(ConfigError, match=r"^softmax_weight is -1.0"):
        MSESoftmaxLoss(2, 2, softmax_weight=-1.0)
