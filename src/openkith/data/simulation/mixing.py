"""Two signals into one, for each scenario: arrays in, arrays out, nothing random.

All is done in float64. The signal-to-noise ratio is 20 log10(RMS of the target / RMS of the other) over the samples of
each that are in the mixture, after what was cut or repeated and before they are added. The sum is then scaled to a peak
of `PEAK`, so that nothing is clipped when it is written with 16 bits.

Rules of Lin et al., "Neural Scoring: a refreshed end-to-end approach" (arXiv 2410.16428v3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.errors import AudioError

__all__ = ["PEAK", "Mixture", "concat", "mix", "noisy", "overlap", "overlap_lengths", "plain"]

PEAK = 32767 / 32768
"""The largest value that 16 bits hold in both directions."""
SILENT = 1e-6  # RMS

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture, and what is in it: ``samples`` is gain x target + other_gain x other, each in its span.

    Of a signal that is longer than its span, the beginning is in it; one that is shorter is repeated.

    Attributes:
        samples: (n,) float64, with a peak of `PEAK`.
        gain: What the target's samples were multiplied by.
        target: The first sample of the target, and the one after its last.
        other_gain: What the other's samples (interferer or noise) were multiplied by; 0 where there is none.
        other: The span of the other; None where there is none.
    """

    samples: NDArray[np.float64]
    gain: float
    target: Span
    other_gain: float = 0.0
    other: Span | None = None


def plain(target: NDArray[Any]) -> Mixture:
    """The target (n,) alone.

    Raises:
        AudioError: It is silent, as for all functions here.
    """
    return _placed(target, (0, len(target)))


def noisy(target: NDArray[Any], noise: NDArray[Any], snr_db: float) -> Mixture:
    """The target (n,) and noise (m,), which is cut or repeated to n samples."""
    span = (0, len(target))
    return _placed(target, span, noise, span, snr_db)


def concat(target: NDArray[Any], other: NDArray[Any], snr_db: float, *, target_first: bool) -> Mixture:
    """One talker (n,) after the other (m,): n + m samples."""
    n, m = len(target), len(other)
    if target_first:
        return _placed(target, (0, n), other, (n, n + m), snr_db)
    return _placed(target, (m, m + n), other, (0, m), snr_db)


def overlap(
    target: NDArray[Any], other: NDArray[Any], snr_db: float, ratio: float, *, target_first: bool
) -> Mixture:
    """One talker begins before the other ends; both talk for ``ratio`` of the mixture's length.

    The lengths are those of `overlap_lengths`; what is cut is cut from the end.
    """
    n, m, length = overlap_lengths(len(target), len(other), ratio)
    if target_first:
        return _placed(target, (0, n), other, (length - m, length), snr_db)
    return _placed(target, (length - n, length), other, (0, m), snr_db)


def overlap_lengths(n: int, m: int, ratio: float) -> tuple[int, int, int]:
    """How much of two talkers is mixed, and the length of the mixture, in samples.

    The mixture has (n + m) / (1 + ratio) samples, of which ratio have both talkers. That needs the longer one to be
    no longer than the shorter one / ratio, and what it has beyond that is cut.

    Args:
        n: Samples of one.
        m: Samples of the other.
        ratio: Above 0 and up to 1.
    """
    longest = max(1, math.floor(min(n, m) / ratio))
    n, m = min(n, longest), min(m, longest)
    return n, m, max(n, m, round((n + m) / (1 + ratio)))


def mix(target: NDArray[Any], other: NDArray[Any], snr_db: float) -> Mixture:
    """Both talkers (n,) and (m,) from beginning to end: the shorter is repeated to max(n, m) samples.

    Both begin at 0, so that there is no order of the two to choose.
    """
    span = (0, max(len(target), len(other)))
    return _placed(target, span, other, span, snr_db)


def _placed(
    target: NDArray[Any],
    span: Span,
    other: NDArray[Any] | None = None,
    other_span: Span = (0, 0),
    snr_db: float = 0.0,
) -> Mixture:
    x = _stretch(target, span, "the test utterance")
    total = np.zeros(max(span[1], other_span[1]))
    total[slice(*span)] += x
    factor = 0.0
    if other is not None:
        y = _stretch(other, other_span, "what it is mixed with")
        factor = _rms(x) / _rms(y) * 10 ** (-snr_db / 20)
        total[slice(*other_span)] += factor * y
    gain = PEAK / float(np.abs(total).max())
    return Mixture(total * gain, gain, span, gain * factor, None if other is None else other_span)


def _stretch(samples: NDArray[Any], span: Span, what: str) -> NDArray[np.float64]:
    """As many samples as the span has: the beginning, or repeated."""
    x = np.resize(np.asarray(samples, dtype=np.float64), span[1] - span[0])
    if not len(x) or not np.isfinite(x).all() or _rms(x) < SILENT:
        raise AudioError(f"{what} is silent, empty or not finite where it is mixed; leave it out")
    return x


def _rms(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(x**2)))
