from __future__ import annotations

import numpy as np
import pytest

from openkith.audio import Audio
from openkith.audio.cutoff import spectral_edge


def noise(slope: float = 0.0, edge: float | None = None, seconds: float = 3.0) -> np.ndarray:
    """White noise, tilted by 10^(-slope log10 f), cut off at a frequency."""
    n = round(seconds * 16_000)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1 / 16_000)
    spectrum *= np.maximum(hertz, 50.0) ** -slope
    if edge is not None:
        spectrum[hertz > edge] *= 1e-4
    x = np.fft.irfft(spectrum, n)
    return (0.1 * x / x.std()).astype(np.float32)


@pytest.mark.parametrize("edge", [3000.0, 3400.0, 4000.0, 5500.0])
def test_the_edge_of_a_band_is_found(edge: float) -> None:
    found = spectral_edge(noise(0.5, edge))
    assert found.hz == pytest.approx(edge, abs=300)
    assert found.drop_db > 40
    assert spectral_edge(Audio(noise(0.5, edge), "x")) == found


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_slope_is_no_edge(slope: float) -> None:
    assert spectral_edge(noise(slope)).drop_db < 10


def test_pauses_do_not_hide_it() -> None:
    """The room goes up to 8 kHz, the speech to 4."""
    x = np.concatenate([noise(0.5, 4000.0), 0.001 * noise()])
    assert spectral_edge(x).drop_db > 40


@pytest.mark.parametrize("n", [1, 100, 512, 513])
def test_anything_short_or_silent_has_an_answer(n: int) -> None:
    assert spectral_edge(np.zeros(n, np.float32)).drop_db == 0.0
    assert np.isfinite(spectral_edge(noise()[:n]).drop_db)


def test_a_long_recording_costs_no_more_windows() -> None:
    found = spectral_edge(noise(0.5, 4000.0, seconds=120.0))
    assert found.hz == pytest.approx(4000.0, abs=300)
