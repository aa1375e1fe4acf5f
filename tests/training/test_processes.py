"""Devices that are not there, and what is said where Lightning Fabric is missing."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from openkith.errors import ConfigError, MissingDependencyError
from openkith.training import TrainConfig
from openkith.training.processes import start


def test_one_process_on_the_cpu() -> None:
    fabric = start(TrainConfig(accelerator="cpu"))
    assert fabric.device == torch.device("cpu")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_nothing_is_said(precision: Any, capfd: pytest.CaptureFixture[str]) -> None:
    start(TrainConfig(accelerator="cpu", precision=precision))
    assert capfd.readouterr() == ("", "")


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(
        ConfigError, match="precision is '16-mixed', which needs a GPU; give bf16-mixed or 32"
    ):
        start(TrainConfig(accelerator="cpu", precision="16-mixed"))


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="accelerator is 'cuda', which this machine has not"):
        start(TrainConfig(accelerator="cuda"))


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="devices is 4, and there are 2"):
        start(TrainConfig(devices=4))


def test_without_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[training\]'"):
        start(TrainConfig())
