"""The protocol, and what all sources check."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.data.synthesis.base import at_level, check_clips, check_seed, check_voices
from openkith.errors import AudioError, ConfigError


def test_level() -> None:
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    y = at_level(x)
    assert y.dtype == np.float32
    assert 20 * np.log10(np.sqrt(np.mean(y.astype(np.float64) ** 2))) == pytest.approx(-26, abs=1e-4)
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 10])
def test_silence_has_no_level(n: int) -> None:
    with pytest.raises(AudioError, match="silent"):
        at_level(np.zeros(n, np.float32))


def test_numbers() -> None:
    check_voices(3, 3, "people")
    check_clips(1, 1)
    check_seed(0)
    with pytest.raises(ConfigError, match="4 people; ask for 1 to 3"):
        check_voices(4, 3, "people")
    with pytest.raises(ConfigError, match="0 clips"):
        check_clips(0, 3)
    with pytest.raises(ConfigError, match="seed is -1"):
        check_seed(-1)
