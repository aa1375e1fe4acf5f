"""Losses with parameters away from their start, and batches for them, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from openkith.losses import EnhancementBatch, Loss, make_loss

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def a_loss(
    name: str, n_speakers: int = 3, dim: int = 4, seed: int = 0, members: int | None = None, **options: Any
) -> Loss:
    """A loss whose every parameter is drawn from N(0, 1), so that hinges are open for some samples only."""
    generator = torch.Generator().manual_seed(seed)
    loss = make_loss(name, n_speakers, dim, members=members, generator=generator, **options).double()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if hasattr(loss, "radius"):
            loss.radius.add_(2.0)
    return loss


def a_batch(
    n: int = 7, dim: int = 4, n_speakers: int = 3, unknown: int = 5, seed: int = 1, lead: tuple[int, ...] = ()
) -> Batch:
    """Embeddings (..., n, dim), labels (..., n) and unknown samples (..., unknown, dim)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*lead, n, dim, generator=generator, dtype=torch.float64)
    y = torch.randint(n_speakers, (*lead, n), generator=generator)
    u = torch.randn(*lead, unknown, dim, generator=generator, dtype=torch.float64)
    return x, y, u


def an_enhancement_batch(b: int = 6, dim: int = 4, seed: int = 1, **others: Any) -> EnhancementBatch:
    """Everything that a loss of enhancement may ask for: two speakers, each with pairs of both kinds."""
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs, targets, strangers = torch.randn(4, b, dim, generator=generator, dtype=torch.float64)
    half = b // 2
    given: dict[str, Any] = {
        "outputs": outputs,
        "inputs": inputs,
        "targets": targets,
        "others": strangers,
        "labels": torch.arange(b) // half,
        "pairs": torch.tensor([[0, 1], [1, 2], [half, half + 1], [half + 1, half + 2], [half, half + 2]]),
        "same_recording": torch.tensor([True, False, True, False, False]),
    }
    return EnhancementBatch(**{**given, **others})


@pytest.fixture
def enhancement_batch() -> Callable[..., EnhancementBatch]:
    return an_enhancement_batch


@pytest.fixture
def make() -> Callable[..., Loss]:
    return a_loss


@pytest.fixture
def batch() -> Callable[..., Batch]:
    return a_batch
