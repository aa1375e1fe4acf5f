"""The three terms for unknown samples, by hand, and by loops inside a softmax loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.losses.unknown import (
    UNKNOWN_TERMS,
    background_of_unknown,
    energy_margin,
    entropy_of_unknown,
    free_energy,
)


def double(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_names() -> None:
    assert list(UNKNOWN_TERMS) == ["entropy", "background", "energy-margin"]


def test_entropy_by_hand() -> None:
    """Posteriors (1/4, 3/4) and (1/2, 1/2)."""
    logits = double([0.0, math.log(3)], [5.0, 5.0])
    quarter = 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    expected = math.exp((quarter + math.log(0.5)) / 2)
    assert entropy_of_unknown(logits).item() == pytest.approx(expected, abs=1e-12)


def test_background_by_hand() -> None:
    """p of the last class 1/2 and 1/5: mean of log 2 and log 5."""
    logits = double([0.0, 0.0, math.log(2)], [math.log(2), math.log(2), 0.0])
    expected = (math.log(2) + math.log(5)) / 2
    assert background_of_unknown(logits).item() == pytest.approx(expected, abs=1e-12)


def test_free_energy_by_hand() -> None:
    energies = free_energy(double([0.0, 0.0], [math.log(3), 0.0], [-7.0, -7.0]))
    expected = [-math.log(2), -math.log(4), 7 - math.log(2)]
    np.testing.assert_allclose(energies.numpy(), expected, atol=1e-12)


def test_energy_margin_by_hand() -> None:
    """Known energies -log 2 and -log 8 against -1; unknown -log 2 and -log 32 against -2."""
    known = double([0.0, 0.0], [math.log(7), 0.0])
    unknown = double([0.0, 0.0], [math.log(31), 0.0])
    expected = (1 - math.log(2)) ** 2 / 2 + (
        math.log(32) - 2
    ) ** 2 / 2  # log 8 and log 2 are on the right side
    assert energy_margin(known, unknown, -1.0, -2.0).item() == pytest.approx(expected, abs=1e-12)


def test_energy_gradient_points_the_right_way() -> None:
    known, unknown = double([0.0, 0.0]).requires_grad_(True), double([0.0, 0.0]).requires_grad_(True)
    energy_margin(known, unknown, -3.0, 1.0).backward()
    assert (known.grad < 0).all()  # descending raises the logits of the known
    assert (unknown.grad > 0).all()


@pytest.mark.parametrize("term", [entropy_of_unknown, background_of_unknown])
def test_members_have_one_value_each(term: Callable[[torch.Tensor], torch.Tensor]) -> None:
    logits = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = term(logits)
    assert values.shape == (3,)
    for value, own in zip(values, logits, strict=True):
        assert value.item() == pytest.approx(term(own).item(), rel=1e-12)


@pytest.mark.parametrize("term", UNKNOWN_TERMS)
def test_gradients(term: str) -> None:
    generator = torch.Generator().manual_seed(0)
    known, unknown = (torch.randn(4, 3, generator=generator).double().requires_grad_(True) for _ in range(2))
    of = {
        "entropy": lambda known, unknown: entropy_of_unknown(unknown) + 0.0 * known.sum(),
        "background": lambda known, unknown: background_of_unknown(unknown) + 0.0 * known.sum(),
        "energy-margin": lambda known, unknown: energy_margin(known, unknown, -2.0, -0.5),
    }[term]
    assert torch.autograd.gradcheck(of, (known, unknown))


@pytest.mark.parametrize("term", UNKNOWN_TERMS)
def test_inside_a_loss_by_definition(make: Callable[..., Any], batch: Callable[..., Any], term: str) -> None:
    """Softmax cross entropy plus 0.7 of each term, over C + 1 classes where there is a background."""
    loss = make("softmax", unknown_weight=0.7, unknown_term=term, known_energy=-2.0, unknown_energy=-0.5)
    x, y, u = batch()
    vectors = loss.vectors.detach().numpy()
    classes = vectors if term != "background" else np.vstack([vectors, loss.background.detach().numpy()])
    known = sum(
        math.log(sum(math.exp(e @ w) for w in classes)) - e @ vectors[k]
        for e, k in zip(x.numpy(), y.tolist(), strict=True)
    ) / len(x)
    z = u.numpy() @ classes.T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    if term == "entropy":
        crowd = math.exp(np.mean([sum(q * np.log(q)) for q in p]))
    elif term == "background":
        crowd = -np.mean(np.log(p[:, 3]))
    else:
        of_known, of_unknown = (-np.log(np.exp(e.numpy() @ vectors.T).sum(1)) for e in (x, u))
        crowd = np.mean(np.maximum(0, of_known + 2.0) ** 2) + np.mean(np.maximum(0, -0.5 - of_unknown) ** 2)
    assert loss(x, y, u).item() == pytest.approx(known + 0.7 * crowd, rel=1e-10)


def test_known_samples_compete_against_the_background(
    make: Callable[..., Any], batch: Callable[..., Any]
) -> None:
    """A background proxy close to the known samples makes them cost more."""
    loss, (x, y, u) = make("softmax", unknown_term="background", unknown_weight=1e-9), batch()
    before = loss(x, y, u).item()
    with torch.no_grad():
        loss.background.copy_(5.0 * x.mean(0, keepdim=True))
    assert loss(x, y, u).item() > before
