"""Squared MMD against sums over pairs, and DA+CS and DA+MSE on embeddings worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from openkith.errors import ConfigError, InputError
from openkith.losses import EnhancementBatch, EnhancementLoss, MMDCosineLoss, MMDMSELoss
from openkith.losses.mmd import squared_mmd

BOTH = pytest.mark.parametrize("loss_class", [MMDCosineLoss, MMDMSELoss])


def kernel(a: float, b: float, sigma: float) -> float:
    return math.exp(-((a - b) ** 2) / (2 * sigma**2))


def by_definition(same: Sequence[float], cross: Sequence[float], sigma: float) -> float:
    """Gretton et al., JMLR 2012, equation 5, sum by sum."""

    def mean(first: Sequence[float], second: Sequence[float]) -> float:
        return sum(kernel(a, b, sigma) for a in first for b in second) / (len(first) * len(second))

    return mean(same, same) - 2 * mean(same, cross) + mean(cross, cross)


def mmd(same: Sequence[float], cross: Sequence[float], sigma: float = 1.0) -> torch.Tensor:
    distances = torch.tensor([*same, *cross], dtype=torch.float64)
    return squared_mmd(distances, torch.arange(len(distances)) < len(same), sigma=sigma)


def test_one_pair_of_each_kind_by_hand() -> None:
    """1 + 1 - 2 k(0, 1) = 2 - 2 exp(-1/2)."""
    assert mmd([0.0], [1.0]).item() == pytest.approx(2 - 2 * math.exp(-0.5), abs=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(
    ("same", "cross"),
    [
        ([0.1, 0.2, 0.4], [0.3, 0.9]),
        ([0.5], [0.1, 0.2, 0.7, 1.9]),
        ([0.0, 0.0], [0.0]),
        ([2.0, 0.1], [0.7, 0.6]),
    ],
)
def test_by_definition(same: list[float], cross: list[float], sigma: float) -> None:
    assert mmd(same, cross, sigma).item() == pytest.approx(by_definition(same, cross, sigma), abs=1e-12)


def test_equal_distances_are_no_gap() -> None:
    assert mmd([0.2, 0.7], [0.7, 0.2]).item() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("same", "cross"), [([0.1, 0.9], []), ([], [0.1, 0.9]), ([], []), ([0.3], [])])
def test_one_kind_alone_is_nothing_to_adapt(same: list[float], cross: list[float]) -> None:
    distances = torch.tensor([*same, *cross], dtype=torch.float64, requires_grad=True)
    value = squared_mmd(distances, torch.arange(len(distances)) < len(same))
    value.backward()
    assert value.item() == 0.0
    assert distances.grad is not None
    assert distances.grad.tolist() == [0.0] * len(distances)


def test_small_distances_keep_their_digits() -> None:
    """Distances of 1e-4 under a sigma of 1, in float32: 1e-8, of which exp(-d^2 / 2) itself would leave nothing."""
    value = squared_mmd(torch.tensor([0.0, 1e-4]), torch.tensor([True, False]))
    assert value.item() == pytest.approx(1e-8, rel=1e-5)


def test_speakers_are_not_compared_with_one_another() -> None:
    """Three speakers' pairs shuffled, the third with one kind only: the mean of the first two."""
    distances = torch.tensor([0.1, 0.5, 0.9, 0.2, 0.3, 0.8, 1.7], dtype=torch.float64)
    same = torch.tensor([True, True, False, False, True, False, True])
    speakers = torch.tensor([4, 7, 4, 7, 4, 7, 2])
    expected = (by_definition([0.1, 0.3], [0.9], 0.5) + by_definition([0.5], [0.2, 0.8], 0.5)) / 2
    assert squared_mmd(distances, same, speakers, 0.5).item() == pytest.approx(expected, abs=1e-12)


def at_angle(*degrees: float) -> torch.Tensor:
    """Vectors in the plane, (n, 2)."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180.0
    return torch.stack([angles.cos(), angles.sin()], -1)


PAIRS, SAME = torch.tensor([[0, 1], [2, 3]]), torch.tensor([True, False])


def test_cosine_by_hand() -> None:
    """60 degrees within a recording and 90 across: distances 1/2 and 1. To the target: 0, 60, 0, 90 degrees."""
    y = 2.0 * at_angle(0.0, 60.0, 0.0, 90.0)
    batch = EnhancementBatch(y, y, at_angle(0.0, 0.0, 0.0, 0.0), pairs=PAIRS, same_recording=SAME)
    to_target = (0 + 0.5 + 0 + 1) / 4
    gap = 2 - 2 * math.exp(-0.125)
    assert MMDCosineLoss()(batch).item() == pytest.approx(gap + to_target, abs=1e-12)
    wider = 2 - 2 * math.exp(-12.5)
    assert MMDCosineLoss(sigma=0.1)(batch).item() == pytest.approx(wider + to_target, abs=1e-12)
    assert MMDCosineLoss(mmd_weight=0.0)(batch).item() == pytest.approx(to_target, abs=1e-12)
    assert MMDCosineLoss(mmd_weight=3.0)(batch).item() == pytest.approx(3 * gap + to_target, abs=1e-12)


def test_mse_by_hand() -> None:
    """(1, 7) apart within a recording: sqrt(50 / 2) = 5; (6, 8) apart across: sqrt(100 / 2) = 5 sqrt(2)."""
    y = torch.tensor([[0.0, 0.0], [1.0, 7.0], [0.0, 0.0], [6.0, 8.0]], dtype=torch.float64)
    batch = EnhancementBatch(y, y, torch.zeros_like(y), pairs=PAIRS, same_recording=SAME)
    gap = 2 - 2 * kernel(5.0, 5.0 * math.sqrt(2), 2.0)
    assert MMDMSELoss(sigma=2.0)(batch).item() == pytest.approx(gap + 150 / 8, abs=1e-12)


@BOTH
def test_without_labels_all_pairs_are_one_speakers(
    enhancement_batch: Callable[..., EnhancementBatch], loss_class: type[EnhancementLoss]
) -> None:
    loss = loss_class()
    alone = enhancement_batch(labels=None)
    together = enhancement_batch(labels=torch.zeros(6, dtype=torch.long))
    assert loss(alone).item() == loss(together).item() != loss(enhancement_batch()).item()


@BOTH
@pytest.mark.parametrize("pairs", [[[0, 1]], []])
def test_too_few_pairs_leave_the_target(
    enhancement_batch: Callable[..., EnhancementBatch],
    loss_class: type[EnhancementLoss],
    pairs: list[list[int]],
) -> None:
    batch = enhancement_batch(
        pairs=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        same_recording=torch.ones(len(pairs), dtype=torch.bool),
    )
    assert loss_class()(batch).item() == loss_class(mmd_weight=0.0)(batch).item() > 0


@BOTH
def test_pairs_of_the_same_point_have_finite_gradients(loss_class: type[EnhancementLoss]) -> None:
    """Distance 0 within a recording, and not across: the far pair alone moves, towards each other."""
    y = torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 2.0]], requires_grad=True)
    target = y.detach().clone()
    loss_class()(EnhancementBatch(y, target, target, pairs=PAIRS, same_recording=SAME)).backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert y.grad[:2].abs().max() < 1e-6
    assert y.grad[2, 1] < -0.01
    assert y.grad[3, 0] < -0.01


@BOTH
def test_learning_brings_the_two_kinds_together(loss_class: type[EnhancementLoss]) -> None:
    """Recordings with an offset of their own: the gap between the mean distances falls, and not to one point."""
    generator = torch.Generator().manual_seed(0)
    recordings = torch.randn(2, 8, generator=generator)
    x = torch.randn(8, generator=generator) + recordings[torch.arange(20) // 10]
    x = x + 0.3 * torch.randn(20, 8, generator=generator)
    pairs = torch.tensor([[2 * i, 2 * i + 1] for i in range(10)] + [[i, i + 10] for i in range(10)])
    same = torch.arange(20) < 10
    layer = torch.nn.Parameter(torch.eye(8))
    loss = loss_class(sigma=0.5)

    def gap() -> float:
        y = x @ layer.detach()
        distance = loss.distance(y[pairs[:, 0]], y[pairs[:, 1]])  # type: ignore[operator]
        return float(distance[~same].mean() - distance[same].mean())

    before = gap()
    optimiser = torch.optim.SGD([layer], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss(EnhancementBatch(x @ layer, x, x, pairs=pairs, same_recording=same)).backward()
        optimiser.step()
    assert 0 < gap() < 0.7 * before
    assert (x @ layer.detach()).norm(dim=-1).mean() > 0.5


@BOTH
def test_wrong_pairs_are_named(
    enhancement_batch: Callable[..., EnhancementBatch], loss_class: type[EnhancementLoss]
) -> None:
    same = torch.tensor([True])
    for wrong in (6, -1):
        with pytest.raises(InputError, match=rf"^pairs name row {wrong}; give rows from 0 to 5"):
            loss_class()(enhancement_batch(pairs=torch.tensor([[0, wrong]]), same_recording=same))
    with pytest.raises(InputError, match=r"^pairs join two speakers' embeddings"):
        loss_class()(enhancement_batch(pairs=torch.tensor([[0, 5]]), same_recording=same))


@BOTH
def test_options_out_of_range_are_named(loss_class: type[EnhancementLoss]) -> None:
    for option, value in (("sigma", 0.0), ("sigma", -1.0), ("mmd_weight", -0.1), ("sigma", float("inf"))):
        with pytest.raises(ConfigError, match=f"^{option} is {value!r}; "):
            loss_class(**{option: value})  # type: ignore[arg-type]
