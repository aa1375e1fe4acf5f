"""The adapter's forward pass, recomputed in numpy, and what its norm promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.tuning.adapters import HIDDEN, MLPAdapter, adapt


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def forward_by_definition(x: NDArray[Any], weights: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One vector at a time: linear, zero mean and unit variance over the features, ReLU; linear."""
    out = []
    for vector in x:
        v = vector
        for weight in weights[:-1]:
            z = np.array([sum(v * weight[:, j]) for j in range(weight.shape[1])])
            variance = sum((z - z.mean()) ** 2) / len(z)
            v = np.maximum((z - z.mean()) / math.sqrt(variance + 1e-5), 0.0)
        out.append(weights[-1].T @ v)
    return np.array(out)


def numpy_weights(adapter: MLPAdapter) -> list[NDArray[Any]]:
    return [weight.detach().numpy() for weight in adapter.weights]


def test_by_definition() -> None:
    adapter = MLPAdapter(8, 5, hidden=(7, 6, 9), generator=generator()).double()
    x = torch.randn(4, 8, generator=generator(1), dtype=torch.float64)
    expected = forward_by_definition(x.numpy(), numpy_weights(adapter))
    np.testing.assert_allclose(adapter(x).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_papers_sizes() -> None:
    adapter = MLPAdapter(256)
    assert HIDDEN == (512, 256, 256)
    assert [tuple(weight.shape) for weight in adapter.weights] == [
        (256, 512),
        (512, 256),
        (256, 256),
        (256, 192),
    ]
    assert adapter(torch.randn(3, 256, generator=generator())).shape == (3, 192)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 376_832  # no bias, no affine norm


@pytest.mark.parametrize("dim", [192, 256, 512])
@pytest.mark.parametrize("out", [192, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes(dim: int, out: int, dtype: torch.dtype) -> None:
    adapter = MLPAdapter(dim, out, members=2).to(dtype)
    adapted = adapter(torch.randn(2, 3, dim, generator=generator()).to(dtype))
    assert adapted.shape == (2, 3, out)
    assert adapted.dtype == dtype


def test_a_vector_never_depends_on_its_batch() -> None:
    adapter = MLPAdapter(16, 6, hidden=(12, 10), generator=generator()).double()
    x = torch.randn(9, 16, generator=generator(1), dtype=torch.float64)
    whole = adapter(x)
    for i in range(9):
        torch.testing.assert_close(adapter(x[i : i + 1])[0], whole[i], rtol=1e-12, atol=1e-12)
    order = torch.randperm(9, generator=generator(2))
    torch.testing.assert_close(adapter(x[order]), whole[order], rtol=1e-12, atol=1e-12)
    adapter.train()
    trained = adapter(x)
    adapter.eval()
    assert torch.equal(adapter(x), trained)  # no running statistics


def test_the_length_of_an_embedding_does_not_matter() -> None:
    adapter = MLPAdapter(256, generator=generator()).double()
    x = torch.randn(5, 256, generator=generator(1), dtype=torch.float64)
    for scale in (3.0, 100.0):
        torch.testing.assert_close(adapter(scale * x), adapter(x), rtol=1e-3, atol=1e-4)
    unit = torch.nn.functional.normalize(x)  # the epsilon of the norm shows, at about 0.4 %
    torch.testing.assert_close(adapter(unit), adapter(x), rtol=0.02, atol=0.01)
    assert (adapter(-x) - adapter(x)).abs().max() > 0.1


def test_members_are_separate_networks() -> None:
    members = 3
    together = MLPAdapter(16, 6, members=members, hidden=(12, 10), generator=generator()).double()
    x = torch.randn(members, 5, 16, generator=generator(1), dtype=torch.float64)
    out = together(x)
    out.square().sum().backward()
    for s in range(members):
        alone = MLPAdapter(16, 6, hidden=(12, 10)).double()
        with torch.no_grad():
            for own, all_of_them in zip(alone.weights, together.weights, strict=True):
                own.copy_(all_of_them[s])
        alone_out = alone(x[s])
        alone_out.square().sum().backward()
        torch.testing.assert_close(out[s], alone_out, rtol=1e-12, atol=1e-12)
        for own, all_of_them in zip(alone.weights, together.weights, strict=True):
            assert all_of_them.grad is not None
            torch.testing.assert_close(all_of_them.grad[s], own.grad, rtol=1e-10, atol=1e-12)
    assert not torch.equal(together.weights[0][0], together.weights[0][1])


def test_one_batch_for_all_members() -> None:
    together = MLPAdapter(16, 6, members=3, hidden=(12,), generator=generator()).double()
    x = torch.randn(5, 16, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(together(x), together(x.expand(3, 5, 16)))


def test_the_function_is_the_module() -> None:
    adapter = MLPAdapter(16, 6, hidden=(12,), generator=generator())
    x = torch.randn(5, 16, generator=generator(1))
    stored = [torch.from_numpy(weight) for weight in numpy_weights(adapter)]
    assert torch.equal(adapt(x, stored), adapter(x))


def test_the_start() -> None:
    """Uniform within 1 / sqrt(fan in), by the generator alone."""
    first, again, other = (MLPAdapter(300, 200, generator=generator(seed)) for seed in (3, 3, 4))
    for weight, same, different in zip(first.weights, again.weights, other.weights, strict=True):
        bound = 1 / math.sqrt(weight.shape[0])
        assert torch.equal(weight, same)
        assert not torch.equal(weight, different)
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert abs(weight.mean().item()) < 0.02 * bound


def test_gradients() -> None:
    adapter = MLPAdapter(6, 3, hidden=(5, 4), generator=generator()).double()
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64, requires_grad=True)
    weights = [weight.detach().clone().requires_grad_(True) for weight in adapter.weights]
    assert torch.autograd.gradcheck(lambda x, *weights: adapt(x, weights), (x, *weights))
