from __future__ import annotations

import numpy as np
import pytest

from openkith.audio.clipping import clipped_share


def test_by_hand():
    samples = np.array([0, 0.5, 1, 1, 1, 0.5, 0, -0.9, -0.9, 0, 1, 0.3])
    assert clipped_share(samples) == 5 / 12  # a run of 3, one of 2, and a single peak that is no run


def test_each_side_has_its_own_top():
    assert clipped_share(np.array([0.8, 0.8, 0, -0.3, -0.3, 0, -0.2])) == 4 / 7


def test_beyond_full_scale_is_clipped_wherever_the_top_is():
    assert clipped_share(np.array([1.1, 1.0, 1.3, 0, 0.5])) == 3 / 5


@pytest.mark.parametrize("samples", [np.zeros(9), np.zeros(0), np.full(9, 0.01)])
def test_quiet_is_not_clipped(samples):
    assert clipped_share(samples) == 0


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000, 192_000])
def test_a_clean_voice_is_not_clipped(voice, rate):
    assert clipped_share(voice(2.0, rate) / 32768) < 0.001


@pytest.mark.parametrize("gain", [1.5, 2, 4, 10])
@pytest.mark.parametrize("after", [1.0, 0.3])
def test_the_share_of_a_clipped_voice(voice, gain, after):
    loud = gain * voice(2.0, 48_000) / np.abs(voice(2.0, 48_000)).max()
    true = np.mean(np.abs(loud) >= 1)
    assert clipped_share(np.clip(loud, -1, 1) * after) == pytest.approx(true, rel=0.15)
