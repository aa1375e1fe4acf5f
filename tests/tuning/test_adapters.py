"""The adapter's forward pass, recomputed in numpy, and what its norm promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.errors import ConfigError
from openkith.tuning.adapters import HIDDEN, BatchNorm, MLPAdapter, ResidualAdapter


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


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_gradients(norm: str) -> None:
    adapter = MLPAdapter(6, 3, hidden=(5, 4), norm=norm, generator=generator()).double()
    x = torch.randn(4, 6, generator=generator(1), dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in adapter.named_parameters()]
    values = [value.detach().clone().requires_grad_(True) for value in adapter.parameters()]

    def out(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(
            adapter, dict(zip(names, values, strict=True)), (x,)
        )
        return result

    assert torch.autograd.gradcheck(out, (x, *values))


def test_without_a_last_layer() -> None:
    """The published form for a 256-d head: the last hidden layer's norm and ReLU end the network."""
    adapter = MLPAdapter(8, 0, hidden=(7, 6), generator=generator()).double()
    x = torch.randn(4, 8, generator=generator(1), dtype=torch.float64)
    whole = [*numpy_weights(adapter), np.eye(6)]
    np.testing.assert_allclose(
        adapter(x).detach().numpy(), forward_by_definition(x.numpy(), whole), rtol=1e-9
    )
    assert adapter.out == 6
    assert (adapter(x) >= 0).all()


class TestBatchNorm:
    def test_is_torchs_own(self) -> None:
        """Outputs in training and evaluation, gradients and running statistics, three batches long."""
        ours, theirs = BatchNorm(5).double(), torch.nn.BatchNorm1d(5).double()
        with torch.no_grad():
            for mine, other in ((ours.known.scale, theirs.weight), (ours.known.shift, theirs.bias)):
                mine.copy_(torch.randn(5, generator=generator(2)))
                other.copy_(mine)
        for seed in range(3):
            x = 2 + 3 * torch.randn(6, 5, generator=generator(seed), dtype=torch.float64)
            a, b = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
            first, second = ours(a), theirs(b)
            torch.testing.assert_close(first, second)
            first.pow(3).sum().backward()
            second.pow(3).sum().backward()
            torch.testing.assert_close(a.grad, b.grad)
        torch.testing.assert_close(ours.known.mean, theirs.running_mean)
        torch.testing.assert_close(ours.known.variance, theirs.running_var)
        ours.eval()
        theirs.eval()
        torch.testing.assert_close(ours(x), theirs(x))

    def test_unknown_samples_have_a_norm_of_their_own(self) -> None:
        adapter = MLPAdapter(8, 3, members=2, hidden=(6,), norm="batch", generator=generator())
        x = torch.randn(2, 9, 8, generator=generator(1))
        adapter(x)
        before = {name: value.clone() for name, value in adapter.state_dict().items()}
        adapter(x + 5, auxiliary=True)
        changed = {
            name for name, value in adapter.state_dict().items() if not torch.equal(value, before[name])
        }
        assert changed == {"norms.0.auxiliary.mean", "norms.0.auxiliary.variance"}

    def test_in_evaluation_each_probe_is_alone(self) -> None:
        adapter = MLPAdapter(8, 3, hidden=(6, 5), norm="batch", generator=generator()).double()
        x = torch.randn(9, 8, generator=generator(1), dtype=torch.float64)
        adapter(x)
        assert adapter.batch_dependent
        adapter.eval()
        whole = adapter(x)
        for i in range(9):
            torch.testing.assert_close(adapter(x[i : i + 1])[0], whole[i], rtol=1e-12, atol=1e-12)

    def test_members_are_separate(self) -> None:
        together = MLPAdapter(8, 3, members=2, hidden=(6,), norm="batch", generator=generator()).double()
        x = torch.randn(2, 7, 8, generator=generator(1), dtype=torch.float64)
        out = together(x)
        for s in range(2):
            alone = MLPAdapter(8, 3, hidden=(6,), norm="batch").double()
            alone.load_state_dict({name: value[s] for name, value in together.state_dict().items()})
            torch.testing.assert_close(out[s], alone(x[s]))

    def test_a_batch_of_one(self) -> None:
        adapter = MLPAdapter(8, 3, hidden=(6,), norm="batch", generator=generator())
        adapter(torch.randn(1, 8, generator=generator(1)))
        assert all(torch.isfinite(value).all() for value in adapter.state_dict().values())


class TestResidual:
    def test_starts_as_the_embedding(self) -> None:
        adapter = ResidualAdapter(8, members=2, hidden=(6,), generator=generator())
        x = torch.randn(2, 5, 8, generator=generator(1))
        assert torch.equal(adapter(x), x)
        assert adapter.out == 8

    def test_adds_what_the_mlp_gives(self) -> None:
        adapter = ResidualAdapter(8, hidden=(6,), generator=generator())
        mlp = MLPAdapter(8, 8, hidden=(6,))
        with torch.no_grad():
            adapter.weights[-1].normal_(generator=generator(2))
        mlp.load_state_dict(adapter.state_dict())
        x = torch.randn(5, 8, generator=generator(1))
        torch.testing.assert_close(adapter(x), x + mlp(x))

    def test_learns(self) -> None:
        """The last layer has a gradient though it is zero; the first has one after a step."""
        adapter = ResidualAdapter(8, hidden=(6,), generator=generator())
        adapter(torch.randn(5, 8, generator=generator(1))).square().sum().backward()
        last = adapter.weights[-1].grad
        assert last is not None
        assert last.abs().max() > 0

    def test_keeps_the_length(self) -> None:
        with pytest.raises(ConfigError, match=r"^out is 5; the residual adapter keeps the length 8"):
            ResidualAdapter(8, 5)


def test_what_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match=r"^norm is 'layer'; there are: instance, batch$"):
        MLPAdapter(8, norm="layer")
    with pytest.raises(ConfigError, match="leaves no layer"):
        MLPAdapter(8, 0, hidden=())
