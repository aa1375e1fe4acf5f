"""Views: the same clip, looked at in several ways, each with an embedding of its own.

One frozen encoder makes different mistakes on a clip as it is, with the noise floor or the late reverberation taken
off, played faster, slower or backwards; scores of all of them, averaged, make fewer. Enrolment clips, cohort and probes
are seen alike, so a view may be odd as long as it tells voices apart.

The functions take mel powers (T, n_mels), not logarithmic, and return as many frames of the same mean power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
from openkith.encoders.base import Encoder, FloatArray

__all__ = [
    "PLAIN",
    "Mel",
    "ViewEncoder",
    "compress",
    "embed_views",
    "subtract_floor",
    "subtract_reverberation",
    "view_names",
]

PLAIN = "plain"

Mel = npt.NDArray[np.float64]

FLOOR_QUANTILE = 0.1  # of the frames of a mel band: its noise floor
FLOOR_FACTOR = 1.5
FLOOR_KEPT = 0.03  # of each power, at the least
LATE_FRAMES = 5  # 50 ms: what arrives later is reverberation
LATE_DECAY = 0.25  # of a power after so many frames
LATE_FACTOR = 0.7
LATE_KEPT = 0.1
EXPONENT = 0.7
_TINY = 1e-12


@runtime_checkable
class ViewEncoder(Protocol):
    """An encoder that looks at a clip in several ways.

    Attributes:
        views: Names of the V views; the first is `PLAIN`, what ``embed`` gives.
    """

    views: tuple[str, ...]

    def embed_views(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips, shape (len(clips), V, dim)."""
        ...


def view_names(encoder: Encoder) -> tuple[str, ...]:
    """The views of an encoder; the plain one alone where it has no others."""
    return encoder.views if isinstance(encoder, ViewEncoder) else (PLAIN,)


def embed_views(encoder: Encoder, clips: Sequence[Audio]) -> FloatArray:
    """Embeddings of all views of clips, (len(clips), V, dim); V is 1 for an encoder without views."""
    if isinstance(encoder, ViewEncoder):
        return encoder.embed_views(clips)
    return encoder.embed(clips)[:, None]


def subtract_floor(mel: npt.NDArray[Any]) -> Mel:
    """Powers less 1.5 times the tenth percentile of their band: steady noise goes, and a little of the speech."""
    floor = np.quantile(mel, FLOOR_QUANTILE, axis=0, keepdims=True)
    return _same_power(np.maximum(mel - FLOOR_FACTOR * floor, FLOOR_KEPT * mel), mel)


def subtract_reverberation(mel: npt.NDArray[Any]) -> Mel:
    """Powers less what earlier frames have left ringing.

    The late power of a band is a quarter of the highest power 50 ms or more ago that would still be ringing, decaying
    by a quarter every 50 ms (T60 about 0.5 s); 0.7 of it is taken off.
    """
    n = len(mel)
    if n <= LATE_FRAMES:
        return np.asarray(mel, np.float64)
    rate = np.log(LATE_DECAY) / LATE_FRAMES  # of the logarithm, per frame
    decay = np.arange(n)[:, None] * rate
    ringing = np.maximum.accumulate(np.log(mel + _TINY) - decay, axis=0) + decay
    late = np.zeros((n, mel.shape[1]))
    late[LATE_FRAMES:] = LATE_DECAY * np.exp(ringing[:-LATE_FRAMES])
    return _same_power(np.maximum(mel - LATE_FACTOR * late, LATE_KEPT * mel), mel)


def compress(mel: npt.NDArray[Any]) -> Mel:
    """Powers to the 0.7: quiet parts of the spectrum count for more."""
    return _same_power(np.power(mel, EXPONENT), mel)


def _same_power(changed: npt.NDArray[Any], mel: npt.NDArray[Any]) -> Mel:
    return np.asarray(changed * (mel.mean() / max(float(changed.mean()), _TINY)), np.float64)
