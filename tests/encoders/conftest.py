"""Weights of the right shape that no index has to be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openkith.encoders.ge2e import GE2E


def random_state(seed: int) -> dict[str, torch.Tensor]:
    """A GE2E state dict, by the shapes of the published one, with the two numbers of its training loss."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(3):
        shapes[f"lstm.weight_ih_l{layer}"] = (4 * 256, 40 if layer == 0 else 256)
        shapes[f"lstm.weight_hh_l{layer}"] = (4 * 256, 256)
        shapes[f"lstm.bias_ih_l{layer}"] = shapes[f"lstm.bias_hh_l{layer}"] = (4 * 256,)
    shapes |= {"linear.weight": (256, 256), "linear.bias": (256,)}
    shapes |= {"similarity_weight": (1,), "similarity_bias": (1,)}
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as it is published: the state dict under ``model_state``, beside other entries."""
    file = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save({"step": 3, "model_state": random_state(0)}, file)
    return file


@pytest.fixture(scope="session")
def small(checkpoint: Path) -> GE2E:
    """GE2E with random weights: everything but the voices can be tested with it."""
    return GE2E(checkpoint, threads=1)
