"""Where the spectrum of a recording ends: what went through a telephone or a coder has an edge that a room has not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openkith.audio.io import Audio

__all__ = ["SpectralEdge", "spectral_edge"]

WINDOW = 512  # samples: 32 ms
BAND_BINS = 8  # FFT bins of 31.25 Hz in a band of 250 Hz
BAND_HZ = 250.0
BELOW_BANDS = 4  # whose mean level the level above an edge is compared with
SKIPPED_BANDS = 2  # at the edge, where a filter slopes
LOWEST_HZ, HIGHEST_HZ = 2500.0, 7000.0  # between which an edge is looked for
MOST_WINDOWS = 2000  # that are looked at; of a clip over 64 s they are evenly spread
LOUD_SHARE = 0.5  # of the windows, the louder ones: pauses tell of the room
TINY = 1e-12


@dataclass(frozen=True)
class SpectralEdge:
    """The steepest fall of the long-term spectrum.

    Attributes:
        hz: Up to where there is sound.
        drop_db: By how much everything above is weaker than the 1000 Hz below; 0 where nothing is.
    """

    hz: float
    drop_db: float


def spectral_edge(samples: Audio | NDArray[np.float32]) -> SpectralEdge:
    """The steepest fall, from 2.5 to 7 kHz, in the mean power of the louder half of a recording at 16 kHz."""
    x = samples.samples if isinstance(samples, Audio) else samples
    windows = np.pad(x, (0, max(0, WINDOW - len(x))))
    windows = windows[: len(windows) // WINDOW * WINDOW].reshape(-1, WINDOW)
    windows = windows[:: -(-len(windows) // MOST_WINDOWS)]
    spectra = np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32))[:, : WINDOW // 2]
    bands = (np.square(np.abs(spectra)) / WINDOW).reshape(len(windows), -1, BAND_BINS).sum(axis=2)
    power = bands.sum(axis=1)
    level = 10.0 * np.log10(bands[power >= np.quantile(power, LOUD_SHARE)].mean(axis=0) + TINY)
    found = SpectralEdge(HIGHEST_HZ, 0.0)
    for band in range(round(LOWEST_HZ / BAND_HZ), round(HIGHEST_HZ / BAND_HZ) + 1):
        drop = float(level[band - BELOW_BANDS : band].mean() - level[band + SKIPPED_BANDS :].max())
        if drop > found.drop_db:
            found = SpectralEdge(band * BAND_HZ, drop)
    return found
