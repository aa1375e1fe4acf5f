"""Learning the enhancer that ships, on made-up voices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from openkith.enhancement.cohort_crops import Crops
from openkith.enhancement.cohort_training import Recipe, _average, learn, whitener
from openkith.enhancement.enhancer import NetSpec
from openkith.metrics import eer
from openkith.scoring.base import normalise

DIM, PER_VOICE = 16, 24
RECIPE = Recipe(hidden=24, steps=80, networks=2, shrinkage=0.1, anchor=0.1)
DISTURBANCE = np.random.default_rng(99).standard_normal((4, DIM))


def some_crops(voices: int, seed: int) -> Crops:
    """Voices, an offset that all share, and a disturbance of degraded crops in four directions."""
    rng = np.random.default_rng(seed)
    wholes = normalise(0.7 + rng.standard_normal((voices, DIM)))
    labels = np.arange(voices).repeat(PER_VOICE)
    degraded = np.tile(np.arange(PER_VOICE) % 4 > 0, voices)
    noise = 0.05 * rng.standard_normal((len(labels), DIM))
    noise[degraded] += 0.15 * rng.standard_normal((degraded.sum(), 4)) @ DISTURBANCE
    return Crops(normalise(wholes[labels] + noise), labels, degraded, wholes, np.arange(voices) // 2)


def error_rate(embeddings: np.ndarray, voices: np.ndarray) -> float:
    scores = embeddings @ embeddings.T
    i, j = np.triu_indices(len(voices), 1)
    own = voices[i] == voices[j]
    return eer(scores[i, j][own], scores[i, j][~own])


def test_the_whitener_evens_out_the_spread_within_voices() -> None:
    crops = some_crops(20, 0)
    matrix = whitener(crops, 0.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(matrix).mean(), 1.0, atol=1e-5)
    around = (crops.embeddings - crops.wholes[crops.voices]) @ matrix
    clean, degraded = (
        np.cov(around[crops.degraded == kind], rowvar=False, bias=True) for kind in (False, True)
    )
    spread = (clean + degraded) / 2
    np.testing.assert_allclose(spread / np.diag(spread).mean(), np.eye(DIM), atol=1e-3)


def test_a_whitener_that_is_shrunk_whole_is_the_identity() -> None:
    np.testing.assert_allclose(whitener(some_crops(20, 0), 1.0), np.eye(DIM), atol=1e-5)


def test_voices_that_were_not_learned_are_told_apart_better() -> None:
    held_out = some_crops(20, 1)
    enhancer = learn(some_crops(30, 0), RECIPE, encoder="small/1", info={"source": "made up"})
    raw = error_rate(held_out.embeddings, held_out.voices)
    assert error_rate(enhancer.transform(held_out.embeddings), held_out.voices) < 0.7 * raw
    assert enhancer.encoder == "small/1"
    assert enhancer.info["source"] == "made up"
    assert (enhancer.info["people"], enhancer.info["voices"]) == (15, 30)
    assert enhancer.info["recipe"]["networks"] == 2


def test_equal_seeds_give_equal_enhancers_whatever_torch_has_drawn() -> None:
    short = replace(RECIPE, steps=5)
    crops = some_crops(14, 0)
    before = torch.get_rng_state()
    one = learn(crops, short)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert learn(crops, short).fingerprint == one.fingerprint
    assert learn(crops, short, seed=1).fingerprint != one.fingerprint


def test_its_values_are_in_half_precision() -> None:
    enhancer = learn(some_crops(14, 0), replace(RECIPE, steps=2))
    for array in (*enhancer.weights.values(), enhancer.input_mean, enhancer.input_map):
        assert array is not None
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_the_average_of_networks_is_one_network() -> None:
    torch.manual_seed(0)
    x = torch.randn(9, DIM)
    networks = [NetSpec("residual", DIM, "relu", {"hidden": 5}).build().eval() for _ in range(3)]
    for net in networks:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
    with torch.inference_mode():
        outputs = [net(x) for net in networks]
        expected = sum(y / y.norm(dim=1).mean() for y in outputs) / 3
    merged = NetSpec("residual", DIM, "relu", {"hidden": 15}).build().eval()
    merged.load_state_dict(
        {
            name: torch.from_numpy(np.asarray(array, np.float32))
            for name, array in _average(networks, x).items()
        }
    )
    with torch.inference_mode():
        torch.testing.assert_close(merged(x), expected, atol=1e-4, rtol=1e-4)
