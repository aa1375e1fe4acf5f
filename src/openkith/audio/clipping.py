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
    highest, lowest = float(samples.max(initial=0.0)), float(samples.min(initial=0.0))
    for sign, top, beyond in ((1.0, highest, np.greater_equal), (-1.0, -lowest, np.less_equal)):
        if top < QUIET:
            continue
        flat = np.flatnonzero(beyond(samples, sign * FLAT * min(top, 1.0)))
        runs = np.diff(np.flatnonzero(np.diff(flat, prepend=-2) > 1), append=len(flat))
        count += int(runs[runs >= RUN].sum())
    return count / len(samples) if len(samples) else 0.0
