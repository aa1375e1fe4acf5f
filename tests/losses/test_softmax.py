"""The softmax family against angles worked out by hand and against loops in numpy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.losses import AAMSoftmaxLoss, AMSoftmaxLoss, ASoftmaxLoss, SoftmaxLoss
from openkith.losses.softmax import _psi


def at_angle(*degrees: float, length: float = 1.0) -> torch.Tensor:
    """Vectors in the plane, (n, 2)."""
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180.0
    return length * torch.stack([angles.cos(), angles.sin()], -1)


def with_vectors(loss: SoftmaxLoss, vectors: torch.Tensor) -> SoftmaxLoss:
    loss = loss.double()
    with torch.no_grad():
        loss.vectors.copy_(vectors)
    return loss


def cross_entropy(logits: list[NDArray[Any]], labels: list[int]) -> float:
    return float(np.mean([math.log(np.exp(z).sum()) - z[k] for z, k in zip(logits, labels, strict=True)]))


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def psi(theta: float, q: int) -> float:
    """Liu et al.'s piecewise function, by looking for the piece."""
    for j in range(q):
        if j * math.pi / q <= theta <= (j + 1) * math.pi / q:
            return (-1.0) ** j * math.cos(q * theta) - 2 * j
    raise AssertionError(theta)


def phi(theta: float, margin: float, easy: bool) -> float:
    if easy:
        return math.cos(theta + margin) if theta < math.pi / 2 else math.cos(theta)
    if theta <= math.pi - margin:
        return math.cos(theta + margin)
    return math.cos(theta) - margin * math.sin(margin)


def test_softmax_by_hand() -> None:
    """x = (1, 2), W = (1, 0) and (0, 1): logits 1 and 2, own 1: log(1 + e)."""
    loss = with_vectors(SoftmaxLoss(2, 2), torch.eye(2))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert loss.logits(x).tolist() == [[1.0, 2.0]]
    assert loss(x, torch.tensor([0])).item() == pytest.approx(math.log(1 + math.e), abs=1e-12)


def test_a_softmax_by_hand() -> None:
    """x of length 2 at a right angle to both vectors, q = 2.

    2 theta = pi is in piece j = 1, psi = -cos(pi) - 2 = -1: logits -2 and 0.
    """
    loss = with_vectors(ASoftmaxLoss(2, 2, margin=2), 3.0 * at_angle(0.0, 180.0))
    x = at_angle(90.0, length=2.0)
    assert loss(x, torch.tensor([0])).item() == pytest.approx(math.log(1 + math.exp(2)), abs=1e-12)
    # q = 3, x at 40 degrees: 120 degrees, piece 0, psi = cos 120 = -1/2; the other vector at 140: cos 140.
    loss = with_vectors(ASoftmaxLoss(2, 2, margin=3), at_angle(0.0, 180.0))
    expected = math.log(1 + math.exp(2 * math.cos(math.radians(140.0)) - 2 * -0.5))
    assert loss(at_angle(40.0, length=2.0), torch.tensor([0])).item() == pytest.approx(expected, abs=1e-12)


def test_am_softmax_by_hand() -> None:
    """x at 60 degrees from the first vector and 30 from the second: 15 (1/2 - 0.2) = 4.5 and 15 sqrt(3) / 2."""
    loss = with_vectors(AMSoftmaxLoss(2, 2, margin=0.2, scale=15.0), 0.3 * at_angle(0.0, 90.0))
    expected = math.log(1 + math.exp(15 * math.sqrt(3) / 2 - 4.5))
    value = loss(at_angle(60.0, length=7.0), torch.tensor([0])).item()
    assert value == pytest.approx(expected, abs=1e-10)


def test_aam_softmax_by_hand() -> None:
    """x at 60 degrees, margin 30: cos 90 = 0 for the own vector, 15 cos 30 for the other."""
    loss = with_vectors(AAMSoftmaxLoss(2, 2), 0.3 * at_angle(0.0, 90.0))
    expected = math.log(1 + math.exp(15 * math.sqrt(3) / 2))
    value = loss(at_angle(60.0, length=7.0), torch.tensor([0])).item()
    assert value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("degrees", "easy", "expected"),
    [
        (120.0, False, math.cos(math.radians(150.0))),
        (149.0, False, math.cos(math.radians(179.0))),
        (170.0, False, math.cos(math.radians(170.0)) - math.pi / 6 * 0.5),
        (60.0, True, 0.0),
        (120.0, True, -0.5),
        (170.0, True, math.cos(math.radians(170.0))),
    ],
)
def test_aam_softmax_where_the_margin_meets_its_end(degrees: float, easy: bool, expected: float) -> None:
    """The own logit, from the loss against a second vector at a right angle to x: 1 scaled."""
    loss = with_vectors(AAMSoftmaxLoss(2, 2, scale=1.0, easy_margin=easy), at_angle(0.0, degrees + 90.0))
    value = loss(at_angle(degrees), torch.tensor([0])).item()
    assert value == pytest.approx(math.log(1 + math.exp(-expected)), abs=1e-9)


@pytest.mark.parametrize("q", [1, 2, 3, 4])
def test_a_softmax_by_definition(make: Callable[..., Any], batch: Callable[..., Any], q: int) -> None:
    loss, (x, y, _) = make("a-softmax", margin=q), batch(n=40)
    vectors, logits = loss.vectors.detach().numpy(), []
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        row = np.array([np.linalg.norm(e) * cosine(e, w) for w in vectors])
        row[k] = np.linalg.norm(e) * psi(math.acos(cosine(e, vectors[k])), q)
        logits.append(row)
    assert loss(x, y).item() == pytest.approx(cross_entropy(logits, y.tolist()), rel=1e-10)


@pytest.mark.parametrize("margin", [0.0, 0.35])
def test_am_softmax_by_definition(make: Callable[..., Any], batch: Callable[..., Any], margin: float) -> None:
    loss, (x, y, _) = make("am-softmax", margin=margin, scale=4.0), batch(n=40)
    logits = [
        np.array(
            [4.0 * (cosine(e, w) - margin * (j == k)) for j, w in enumerate(loss.vectors.detach().numpy())]
        )
        for e, k in zip(x.numpy(), y.tolist(), strict=True)
    ]
    assert loss(x, y).item() == pytest.approx(cross_entropy(logits, y.tolist()), rel=1e-10)


@pytest.mark.parametrize("margin", [0.0, math.pi / 6, 1.5])
@pytest.mark.parametrize("easy", [False, True])
def test_aam_softmax_by_definition(
    make: Callable[..., Any], batch: Callable[..., Any], margin: float, easy: bool
) -> None:
    loss = make("aam-softmax", margin=margin, scale=4.0, easy_margin=easy)
    x, y, _ = batch(n=40)
    vectors, logits = loss.vectors.detach().numpy(), []
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        row = np.array([4.0 * cosine(e, w) for w in vectors])
        row[k] = 4.0 * phi(math.acos(cosine(e, vectors[k])), margin, easy)
        logits.append(row)
    assert loss(x, y).item() == pytest.approx(cross_entropy(logits, y.tolist()), rel=1e-10)


@pytest.mark.parametrize("make_one", [lambda: ASoftmaxLoss(2, 2), lambda: AAMSoftmaxLoss(2, 2, scale=3.0)])
def test_a_larger_angle_never_pays(make_one: Callable[[], SoftmaxLoss]) -> None:
    """With the other logit at 0 (a vector at a right angle to x), the loss grows with the own angle."""
    values = []
    for degrees in range(0, 181, 3):
        loss = with_vectors(make_one(), at_angle(0.0, degrees + 90.0))
        values.append(loss(at_angle(float(degrees)), torch.tensor([0])).item())
    assert all(a < b for a, b in itertools.pairwise(values))


def test_no_margin_at_test_time(make: Callable[..., Any], batch: Callable[..., Any]) -> None:
    x, _, _ = batch()
    for name, scale in (("am-softmax", 15.0), ("aam-softmax", 15.0)):
        loss = make(name)
        expected = [[scale * cosine(e, w) for w in loss.vectors.detach().numpy()] for e in x.numpy()]
        np.testing.assert_allclose(loss.logits(x).detach().numpy(), expected, rtol=1e-10)


def test_annealing_by_definition(make: Callable[..., Any], batch: Callable[..., Any]) -> None:
    """lambda = max(5, 100 / (1 + 4 t)): 100, 20, 11.1, 7.7, 5.9, 5, 5..."""
    loss = make("a-softmax", margin=3, annealing=100.0, annealing_rate=4.0, annealing_floor=5.0)
    x, y, _ = batch()
    vectors = loss.vectors.detach().numpy()
    for share in (100.0, 20.0, 100 / 9, 100 / 13, 100 / 17, 5.0, 5.0):
        logits = []
        for e, k in zip(x.numpy(), y.tolist(), strict=True):
            length, own = np.linalg.norm(e), cosine(e, vectors[k])
            row = np.array([length * cosine(e, w) for w in vectors])
            row[k] = length * (share * own + psi(math.acos(own), 3)) / (1 + share)
            logits.append(row)
        expected = cross_entropy(logits, y.tolist())
        with torch.no_grad():
            assert loss(x, y).item() == pytest.approx(expected, rel=1e-10)  # not a step
        assert loss.eval()(x, y).item() == pytest.approx(expected, rel=1e-10)  # nor this
        assert loss.train()(x, y).item() == pytest.approx(expected, rel=1e-10)
    assert loss.state_dict()["steps"] == 7


def test_gradients_are_finite_where_an_embedding_is_on_its_vector() -> None:
    for loss in (ASoftmaxLoss(2, 2), AMSoftmaxLoss(2, 2), AAMSoftmaxLoss(2, 2)):
        with_vectors(loss, at_angle(0.0, 90.0))
        x = at_angle(0.0, 180.0, length=2.0).requires_grad_(True)
        loss(x, torch.tensor([0, 0])).backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("q", [2, 3, 4])
def test_opposite_its_vector_an_embedding_is_still_pulled_back(q: int) -> None:
    """psi at pi is 1 - 2 q, on its last piece, where it rises with the cosine."""
    own = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    value = _psi(own, q)
    value.backward()
    assert value.item() == pytest.approx(1 - 2 * q, abs=1e-12)
    assert own.grad is not None
    assert own.grad.item() > 0
