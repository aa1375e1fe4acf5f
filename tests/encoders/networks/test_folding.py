"""Batch norms folded into the layers before them: the outputs stay, and only what may be folded is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from openkith.encoders.networks.folding import fold_batch_norms


def ready(network: nn.Module) -> nn.Module:
    """With random statistics and weights in its norms, in evaluation mode."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 3.0)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)), (2, 2, 5, 6)),
        ((nn.Conv2d(2, 3, 1, stride=2), nn.BatchNorm2d(3, affine=False)), (2, 2, 5, 6)),
        ((nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3)), (2, 4, 9)),
        ((nn.Linear(4, 3), nn.BatchNorm1d(3)), (5, 4)),
        ((nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3, affine=False)), (5, 4)),
    ],
    ids=["conv2d", "conv2d plain", "conv1d", "linear", "linear plain"],
)
def test_each_layer(layers: tuple[nn.Module, ...], shape: tuple[int, ...]) -> None:
    network, x = ready(nn.Sequential(*layers)), torch.randn(shape)
    before = network(x)
    assert fold_batch_norms(network, x) == 1
    assert norms(network) == 0
    np.testing.assert_allclose(network(x), before, atol=1e-5)
    other = torch.randn(shape)
    assert (network(other) - before).abs().max() > 1e-3  # it still reads its input
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_norm_after_an_activation_stays() -> None:
    for activation in (nn.ReLU(), nn.ReLU(inplace=True)):
        network = ready(nn.Sequential(nn.Conv1d(4, 3, 3), activation, nn.BatchNorm1d(3)))
        x = torch.randn(2, 4, 9)
        before = network(x)
        assert fold_batch_norms(network, x) == 0
        assert norms(network) == 1
        np.testing.assert_array_equal(network(x), before)


class Shared(nn.Module):
    """One convolution, read by the norm and by something else; or used twice."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.norm, self.how = nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "layer twice":
            return self.norm(self.conv(self.conv(x)))
        if self.how == "norm twice":
            return self.norm(self.norm(self.conv(x)))
        made = self.conv(x)
        return self.norm(made) + made


@pytest.mark.parametrize("how", ["layer twice", "norm twice", "read elsewhere"])
def test_what_is_shared_stays(how: str) -> None:
    network, x = ready(Shared(how)), torch.randn(2, 3, 9)
    before, state = network(x), {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert fold_batch_norms(network, x) == 0
    np.testing.assert_array_equal(network(x), before)
    after = network.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_norms_without_statistics_stay() -> None:
    network = ready(nn.Sequential(nn.Conv1d(4, 3, 3), nn.InstanceNorm1d(3)))
    assert fold_batch_norms(network, torch.randn(2, 4, 9)) == 0
    assert isinstance(network[1], nn.InstanceNorm1d)


def test_no_hook_is_left() -> None:
    network = ready(nn.Sequential(nn.Conv1d(4, 3, 3), nn.ReLU(), nn.BatchNorm1d(3)))
    fold_batch_norms(network, torch.randn(2, 4, 9))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
