"""GE2E as a graph: where windows begin and end, levels, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.encoders.networks.ge2e import GE2E
from openkith.errors import ConfigError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from openkith.encoders.graphs.ge2e_graph import ge2e_proto  # noqa: E402

STEP = 77 * 160
LEAST = 19_200


def session(encoder: GE2E) -> Any:
    return onnxruntime.InferenceSession(ge2e_proto(encoder).SerializeToString())


@pytest.fixture(scope="module")
def graph(small: GE2E) -> Any:
    return session(small)


def noise(n: int, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, n])
    swell = 1 + 0.9 * np.sin(np.arange(n) / 16_000 * rng.uniform(3, 9))
    x = rng.standard_normal(n) * swell
    return (x * rms / np.sqrt(np.mean(x**2))).astype(np.float32)


def assert_same(graph: Any, encoder: GE2E, samples: np.ndarray) -> None:
    (found,) = graph.run(["embs"], {"waveform": samples[None]})
    np.testing.assert_allclose(found, encoder.embed([Audio(samples, "<test>")]), atol=1e-5)


@pytest.mark.parametrize(
    "n",
    [1, 159, 400, LEAST - 1, LEAST, 25_599, 25_600, 25_601, 31_519, 31_520, 31_521]
    + [LEAST + 5 * STEP + more for more in (-1, 0, 1)],
)
def test_the_windows_are_those_of_the_encoder(graph: Any, small: GE2E, n: int) -> None:
    assert_same(graph, small, noise(n))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("rms", [0.0, 1e-4, 0.02, 0.3])
def test_levels(checkpoint: Path, lower: bool, rms: float) -> None:
    encoder = GE2E(checkpoint, threads=1, level_dbfs=-25.0, lower=lower)
    assert_same(session(encoder), encoder, noise(40_000, rms))


def test_a_batch(graph: Any, small: GE2E) -> None:
    rows = np.stack([noise(50_000, rms, seed) for seed, rms in enumerate((0.01, 0.1, 0.3))])
    (found,) = graph.run(["embs"], {"waveform": rows})
    np.testing.assert_allclose(found, small.embed([Audio(row, "<test>") for row in rows]), atol=1e-5)


def test_repeat_short_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="repeat_short has no export"):
        ge2e_proto(GE2E(checkpoint, threads=1, repeat_short=True))
