"""Other voices out of given ones, by playing them faster or slower.

At another speed a voice has another pitch and other formants: to an encoder it is another voice. A corpus of few people
is so made one of many (speed perturbation as more speakers: Yamamoto et al., "Speaker augmentation and bandwidth
extension for deep speaker embedding", Interspeech 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from openkith.audio.degrade import Samples
from openkith.audio.io import SAMPLE_RATE
from openkith.errors import ConfigError

__all__ = ["SPEEDS", "at_speed"]

SPEEDS = (1.0, 0.76, 0.81, 0.86, 0.91, 0.955, 1.05, 1.1, 1.16, 1.22, 1.3)


def at_speed(samples: NDArray[Any], speed: float) -> Samples:
    """Speech (n,) at another speed, about n / speed samples; at speed 1 as it is.

    Raises:
        ConfigError: The speed is not from 0.5 to 2.
    """
    if not 0.5 <= speed <= 2.0:
        raise ConfigError(f"speed is {speed}; give 0.5 to 2")
    speech = np.asarray(samples, np.float32)
    if speed == 1.0:
        return speech
    return np.asarray(soxr.resample(speech, speed * SAMPLE_RATE, SAMPLE_RATE), np.float32)
