"""Pooling against its formulas, frame by frame in float64, with weights taken from the state dict by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.encoders.networks.pooling import (
    AttentiveStatistics,
    TdnnAttentiveStatistics,
    TemporalStatistics,
    weighted_statistics,
)

Array = NDArray[np.float64]


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(shape, generator=generator)
        + torch.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2)) / 3
    )


def randomised(module: torch.nn.Module, seed: int = 1) -> dict[str, Array]:
    """Give every weight a random value, and return them by name."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.rand(tensor.shape, generator=generator) + (0.2 if name.endswith("var") else -0.5)
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }
    module.load_state_dict(state, strict=False)
    module.eval().requires_grad_(False)
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def with_context(x: Array, correction: int, epsilon: float, floor: float) -> Array:
    """Each frame with the mean and deviation of all: (3 c, T)."""
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).sum(axis=1, keepdims=True) / (x.shape[1] - correction)
    deviation = np.sqrt(np.maximum(variance + epsilon, floor))
    return np.concatenate([x, np.repeat(mean, x.shape[1], 1), np.repeat(deviation, x.shape[1], 1)])


def weighted(x: Array, scores: Array, floor: float) -> Array:
    weights = softmax(scores)
    mean = (weights * x).sum(axis=1)
    variance = (weights * x**2).sum(axis=1) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, floor))])


# Temporal statistics


def test_means_then_deviations_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]])  # variance of the first: (4 + 1 + 9) / 2
    expected = [[3.0, 5.0, math.sqrt(7.0 + 0.01), math.sqrt(0.01)]]
    np.testing.assert_allclose(TemporalStatistics(0.01)(x), expected, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-8])
def test_channels_of_no_change_have_the_epsilon(epsilon: float) -> None:
    out = TemporalStatistics(epsilon)(torch.full((2, 4, 9), 3.0))
    np.testing.assert_allclose(out[:, 4:], math.sqrt(epsilon), rtol=1e-5)


def test_images_are_channel_major() -> None:
    x = features(2, 3, 4, 7)
    out = TemporalStatistics(1e-8)(x)
    assert out.shape == (2, 24)
    np.testing.assert_allclose(out[1, 2 * 4 + 1], x[1, 2, 1].mean(), rtol=1e-5)
    np.testing.assert_allclose(out[1, 12 + 2 * 4 + 1], x[1, 2, 1].std(), rtol=1e-5)


# Weighted statistics


def test_weighted_statistics_by_hand() -> None:
    x = torch.tensor([[[0.0, 4.0]]])
    scores = torch.tensor([[[math.log(3.0), 0.0]]])  # weights 3/4 and 1/4
    np.testing.assert_allclose(weighted_statistics(x, scores, 1e-9), [[1.0, math.sqrt(3.0)]], rtol=1e-6)
    np.testing.assert_allclose(weighted_statistics(x, scores, 4.0), [[1.0, 2.0]], rtol=1e-6)


def test_even_weights_give_plain_statistics() -> None:
    x = features(2, 3, 11)
    expected = torch.cat([x.mean(-1), x.var(-1, correction=0).sqrt()], dim=1)
    np.testing.assert_allclose(weighted_statistics(x, torch.full_like(x, 7.0), 1e-9), expected, rtol=1e-5)


def test_a_large_offset_costs_no_precision() -> None:
    """Where the square of the mean is far above the variance."""
    x = features(1, 2, 50).double()
    scores = features(1, 2, 50, seed=3)
    offset = weighted_statistics((x + 1000.0).float(), scores, 1e-9)[0, 2:]
    np.testing.assert_allclose(offset, weighted_statistics(x.float(), scores, 1e-9)[0, 2:], rtol=1e-3)


# Attentive statistics


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("epsilon", [1e-7, 0.5])
def test_attention_by_definition(context: bool, epsilon: float) -> None:
    pooling = AttentiveStatistics(6, 5, context=context, epsilon=epsilon)
    state = randomised(pooling)
    assert set(state) == {"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"}
    assert state["linear1.weight"].shape == (5, 18 if context else 6, 1)
    x = features(2, 6, 9)
    expected = []
    for clip in x.double().numpy():
        seen = with_context(clip, 1, epsilon, 0.0) if context else clip
        hidden = np.tanh(state["linear1.weight"][..., 0] @ seen + state["linear1.bias"][:, None])
        scores = state["linear2.weight"][..., 0] @ hidden + state["linear2.bias"][:, None]
        expected.append(weighted(clip, scores, epsilon))
    np.testing.assert_allclose(pooling(x), expected, atol=1e-5)


@pytest.mark.parametrize("floor", [1e-12, 2.0])
def test_attention_of_neural_scoring_by_definition(floor: float) -> None:
    pooling = TdnnAttentiveStatistics(6, 5, floor=floor)
    state = randomised(pooling)
    norm = {
        name.rpartition(".")[2]: value for name, value in state.items() if name.startswith("tdnn.norm.norm.")
    }
    convolutions = {
        f"{name}.{part}" for name in ("tdnn.conv.conv", "conv.conv") for part in ("weight", "bias")
    }
    assert set(state) == convolutions | {f"tdnn.norm.norm.{name}" for name in norm}
    assert set(norm) == {"weight", "bias", "running_mean", "running_var"}
    x = features(2, 6, 9)
    expected = []
    for clip in x.double().numpy():
        seen = with_context(clip, 0, 0.0, floor)
        hidden = np.maximum(
            state["tdnn.conv.conv.weight"][..., 0] @ seen + state["tdnn.conv.conv.bias"][:, None], 0
        )
        scale = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
        hidden = np.tanh((hidden - norm["running_mean"][:, None]) * scale[:, None] + norm["bias"][:, None])
        scores = state["conv.conv.weight"][..., 0] @ hidden + state["conv.conv.bias"][:, None]
        expected.append(weighted(clip, scores, floor))
    np.testing.assert_allclose(pooling(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "pooling",
    [
        TemporalStatistics(1e-7),
        AttentiveStatistics(12, 5),
        AttentiveStatistics(12, 5, context=True),
        TdnnAttentiveStatistics(12, 5),
    ],
    ids=["temporal", "attentive", "context", "tdnn"],
)
def test_every_pooling(pooling: torch.nn.Module) -> None:
    """Images as channels; a batch as single clips; the type of the input, but sums in float32."""
    randomised(pooling)
    x = features(3, 3, 4, 200)
    together = pooling(x)
    assert together.shape == (3, 24)
    np.testing.assert_allclose(pooling(x.flatten(1, 2)), together, atol=1e-6)
    np.testing.assert_allclose(torch.cat([pooling(clip[None]) for clip in x]), together, atol=1e-5)
    rough = pooling.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert rough.dtype == torch.bfloat16
    np.testing.assert_allclose(rough.float(), together, rtol=0.05, atol=0.05)
