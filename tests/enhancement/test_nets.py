"""The networks of enhancement: layer by layer against plain matrix products, and what a start is like."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

import openkith.enhancement
from openkith.enhancement import NETS, build_net, net_names, net_options
from openkith.errors import ConfigError

WIDTHS = {
    "v1": [1, 2, 4, 4, 2, 1],
    "v2": [1, 2, 4, 4, 2, 1],
    "v3": [1, 2, 2, 1],
    "v4": [1, 2, 2, 4, 4, 2, 2, 1],
}
each_version = pytest.mark.parametrize("name", list(WIDTHS))
each_activation = pytest.mark.parametrize("activation", ["relu", "elu"])


def bent(x: npt.NDArray[Any], activation: str) -> npt.NDArray[Any]:
    return np.where(x > 0, x, 0.0 if activation == "relu" else np.exp(np.minimum(x, 0.0)) - 1.0)


def some(b: int = 5, d: int = 3) -> torch.Tensor:
    return torch.randn(b, d, generator=torch.Generator().manual_seed(1))


def test_the_names() -> None:
    assert net_names() == list(NETS) == ["v1", "v2", "v3", "v4", "residual"]
    for name in openkith.enhancement.__all__:
        assert name in dir(openkith.enhancement)
        getattr(openkith.enhancement, name)
    with pytest.raises(AttributeError, match="no attribute 'build_nets'"):
        openkith.enhancement.build_nets  # noqa: B018


@each_activation
@each_version
def test_by_definition(name: str, activation: str) -> None:
    net = build_net(name, 3, activation).eval()
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    n_layers = len(WIDTHS[name]) - 1
    assert len(state) == 2 * n_layers
    x = some().numpy()
    for i in range(n_layers):
        weight = state[f"layers.{i}.weight"]
        assert weight.shape == (3 * WIDTHS[name][i + 1], 3 * WIDTHS[name][i])
        x = bent(x @ weight.T + state[f"layers.{i}.bias"], activation)
    np.testing.assert_allclose(net(some()).detach().numpy(), x, atol=1e-6)


@each_version
def test_the_activation_follows_the_last_layer(name: str) -> None:
    x = 10.0 * some(200, 4)
    relu, elu = build_net(name, 4, "relu")(x), build_net(name, 4, "elu")(x)
    assert relu.min() == 0
    assert -1 < elu.min() < 0


@pytest.mark.parametrize(("name", "after"), [("v1", [1, 2, 3]), ("v2", []), ("v3", [1]), ("v4", [])])
def test_where_elements_are_dropped(name: str, after: list[int]) -> None:
    """What layer i + 1 is given in training: after the layers with dropout a fifth of it zero, the rest 5/4."""
    torch.manual_seed(0)
    net = build_net(name, 32, "elu").train()
    layers = net.layers
    assert isinstance(layers, nn.ModuleList)
    given: list[torch.Tensor] = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    x = some(50, 32)
    last = net(x)
    for i, layer in enumerate(layers):
        clean = torch.nn.functional.elu(layer(given[i]))
        received = given[i + 1] if i + 1 < len(layers) else last
        if i not in after:
            torch.testing.assert_close(received, clean)
            continue
        kept = received != 0
        assert 1 - kept.float().mean().item() == pytest.approx(0.2, abs=0.02)
        assert kept.any(-1).all(), "whole rows were dropped"
        torch.testing.assert_close(received[kept], 1.25 * clean[kept])


@pytest.mark.parametrize("name", ["v1", "v3", "residual"])
def test_dropout_is_of_training_only_and_can_be_set(name: str) -> None:
    net = build_net(name, 8, "elu")
    if name == "residual":
        nn.init.normal_(net.last.weight)  # type: ignore[arg-type]
    assert not torch.equal(net.train()(some(5, 8)), net(some(5, 8)))
    assert torch.equal(net.eval()(some(5, 8)), net(some(5, 8)))
    without = build_net(name, 8, "elu", dropout=0.0).train()
    assert torch.equal(without(some(5, 8)), without(some(5, 8)))


@each_activation
def test_the_residual_network_starts_as_the_identity(activation: str) -> None:
    net = build_net("residual", 6, activation).train()
    x = some(9, 6)
    assert torch.equal(net(x), x)


@each_activation
@pytest.mark.parametrize(("options", "width"), [({}, 12), ({"hidden": 5}, 5)])
def test_the_residual_network_by_definition(activation: str, options: dict[str, int], width: int) -> None:
    net = build_net("residual", 6, activation, **options).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    s = {key: value.double().numpy() for key, value in net.state_dict().items()}
    assert s["hidden.weight"].shape == (width, 6)
    x = some(4, 6).numpy()
    branch = bent(x @ s["hidden.weight"].T + s["hidden.bias"], activation)
    expected = x @ s["linear.weight"].T + s["linear.bias"] + branch @ s["last.weight"].T + s["last.bias"]
    np.testing.assert_allclose(net(some(4, 6)).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_residual_branch_learns_from_its_zero_start() -> None:
    """The first step moves the last layer, the second the hidden one, which had no gradient through zeros."""
    torch.manual_seed(0)
    net = build_net("residual", 6, dropout=0.0)
    start = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (net(some(20, 6)) - some(20, 6).abs()).square().mean().backward()
        optimiser.step()
    for key, value in net.state_dict().items():
        assert not torch.equal(value, start[key]), key


@pytest.mark.parametrize("name", list(NETS))
def test_every_parameter_has_a_gradient_in_double(name: str) -> None:
    """Checked numerically, with ELU, which has no corner where a finite difference would straddle one."""
    torch.manual_seed(0)
    net = build_net(name, 2, "elu", **({"dropout": 0.0} if "dropout" in net_options(name) else {})).double()
    if name == "residual":
        nn.init.normal_(net.last.weight)  # type: ignore[arg-type]
    x = some(3, 2).double().requires_grad_(True)
    assert torch.autograd.gradcheck(net, (x,))
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_defaults() -> None:
    assert net_options("v1") == net_options("v3") == {"activation": "relu", "dropout": 0.2}
    assert net_options("v2") == net_options("v4") == {"activation": "relu"}
    assert net_options("residual") == {"activation": "relu", "hidden": None, "dropout": 0.2}
    for name in NETS:
        assert isinstance(build_net(name, 2).activation, nn.ReLU)
        assert isinstance(build_net(name, 2, activation="elu").activation, nn.ELU)


def test_its_size_for_the_default_encoder() -> None:
    """A 256 by 256 matrix and 256-512-256, with their biases, in float32: the shipped file is below 2 MB."""
    count = sum(parameter.numel() for parameter in build_net("residual", 256).parameters())
    assert count == (256 * 256 + 256) + (256 * 512 + 512) + (512 * 256 + 256)
    assert 4 * count < 2e6


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("v5", {}, "no enhancement network is named 'v5'; there are: v1, v2, v3, v4, residual$"),
        ("v2", {"dropout": 0.1}, "network 'v2' has no option 'dropout'; there are: activation$"),
        (
            "residual",
            {"depth": 2},
            "network 'residual' has no option 'depth'; there are: activation, dropout, hidden",
        ),
        ("v1", {"activation": "gelu"}, "activation is 'gelu'; there are: relu, elu$"),
        ("v1", {"dropout": 1.0}, "dropout is 1.0; give a probability of 0 or more, below 1$"),
        ("v3", {"dropout": -0.1}, "dropout is -0.1; "),
        ("residual", {"dropout": "half"}, "dropout is 'half'; "),
        ("residual", {"hidden": 0}, "hidden is 0; give a whole number of 1 or more$"),
        ("residual", {"hidden": 1.5}, "hidden is 1.5; "),
        ("v4", {"dim": 0}, "dim is 0; "),
    ],
)
def test_what_is_wrong_is_named(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        build_net(name, **{"dim": 4, **given})


def test_a_network_of_ones_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scale(nn.Module):
        def __init__(self, dim: int, *, factor: float = 2.0) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.full((dim,), factor))

        def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
            return embeddings * self.factor

    monkeypatch.setitem(NETS, "scale", Scale)
    assert build_net("scale", 2, factor=3.0)(torch.ones(1, 2)).tolist() == [[3.0, 3.0]]
    with pytest.raises(ConfigError, match="network 'scale' has no option 'activation'; there are: factor"):
        build_net("scale", 2, "elu")
