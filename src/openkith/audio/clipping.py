"""Finds clipping: waveforms with flat tops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["clipped_share"]

FLAT = 0.998  # of the extreme: what lies between is flat
RUN = 2  # samples side by side that make a flat top
QUIET = 0.05  # a peak under it is no overload, and of few steps


def clipped_share(samples: NDArray[Any]) -> float:
    """The share of samples in flat tops, 0 to 1.

    A flat top is a run of samples at the largest or the smallest value, or beyond full scale. Where a clipped
    recording was turned down afterwards its tops are as flat. Resampling rounds them off: measure before it.

    Args:
        samples: (n,) of full scale 1.
    """
    count = 0
    for side in (samples, -samples):
        top = min(float(side.max(initial=0.0)), 1.0)
        if top < QUIET:
            continue
        edges = np.flatnonzero(np.diff((side >= FLAT * top).astype(np.int8), prepend=0, append=0))
        runs = edges[1::2] - edges[::2]
        count += int(runs[runs >= RUN].sum())
    return count / len(samples) if len(samples) else 0.0
