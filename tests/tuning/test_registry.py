"""Adapters by name."""

from __future__ import annotations

import pytest
import torch

from openkith.errors import ConfigError
from openkith.tuning.adapters import MLPAdapter, ResidualAdapter
from openkith.tuning.frames import GRUAdapter
from openkith.tuning.registry import ADAPTERS, adapter_names, make_adapter, takes_frames


@pytest.mark.parametrize(
    ("name", "kind", "out"),
    [("mlp", MLPAdapter, 192), ("residual", ResidualAdapter, 12), ("gru", GRUAdapter, 256)],
)
def test_by_name(name: str, kind: type, out: int) -> None:
    adapter = make_adapter(name, 12, members=2, generator=torch.Generator())
    assert type(adapter) is kind
    assert (adapter.dim, adapter.out, adapter.members) == (12, out, 2)
    assert takes_frames(name) == (name == "gru")
    assert all(len(parameter) == 2 for parameter in adapter.parameters())


def test_options_arrive() -> None:
    adapter = make_adapter("mlp", 12, 5, members=None, hidden=(7,), norm="batch")
    assert [tuple(weight.shape) for weight in adapter.weights] == [(12, 7), (7, 5)]
    assert adapter.batch_dependent


def test_no_such_adapter() -> None:
    assert adapter_names() == list(ADAPTERS)
    with pytest.raises(ConfigError, match="no adapter is named 'lstm'; there are: mlp, residual, gru"):
        make_adapter("lstm", 12)
    with pytest.raises(ConfigError, match="no adapter is named 'lstm'"):
        takes_frames("lstm")
