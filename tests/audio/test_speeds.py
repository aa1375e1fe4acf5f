"""Speech at another speed."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.audio.speeds import SPEEDS, at_speed
from openkith.errors import ConfigError


def tone(hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_at_another_speed_it_is_shorter_and_higher(speed: float) -> None:
    faster = at_speed(tone(400.0), speed)
    assert faster.dtype == np.float32
    assert abs(len(faster) - 16_000 / speed) <= 1
    spectrum = np.abs(np.fft.rfft(faster[:12_000] * np.hanning(12_000)))
    assert abs(np.argmax(spectrum) * 16_000 / 12_000 - 400.0 * speed) < 2.0


def test_at_speed_1_nothing_happens() -> None:
    np.testing.assert_array_equal(at_speed(tone(400.0), 1.0), tone(400.0))


def test_the_voice_itself_is_first() -> None:
    assert SPEEDS[0] == 1.0
    assert len(set(SPEEDS)) == len(SPEEDS)


@pytest.mark.parametrize("speed", [0.0, 0.4, 2.1, float("nan")])
def test_a_speed_that_is_no_voice_is_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match=r"give 0\.5 to 2"):
        at_speed(tone(400.0), speed)
