"""A clip, degraded copies of it, and its two halves: what enrolment keeps of a recording.

The copies stand for the rooms, noises, lines and short words in which the same person will be heard later. They are
embedded when the clip is at hand, since no audio is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, Quality, measure_quality, trim_silence
from openkith.audio.augment import CONDITIONS, GROUPS, make_copies
from openkith.encoders.base import Encoder, FloatArray
from openkith.encoders.views import embed_views
from openkith.errors import GalleryError

__all__ = ["COPY_CONDITIONS", "EmbeddedClip", "embed_with_copies"]

COPY_CONDITIONS = tuple(name for name in CONDITIONS if name != "clean")
COPY_GROUPS = np.array([GROUPS.index(CONDITIONS[name].group) for name in COPY_CONDITIONS], np.int64)
MIN_HALF_SECONDS = 0.8  # of speech in each half of a clip, to stand in for a second clip
_BATCH_CLIPS = 8  # clips whose copies are held in memory at once


@dataclass(frozen=True, eq=False)
class EmbeddedClip:
    """What is kept of a recording.

    Attributes:
        views: (V, d) float32, of its speech, the encoder's plain view first.
        copies: (len(COPY_CONDITIONS), V, d) float16, or (0, V, d) where no copies were made.
        halves: (2, V, d) float32, of the first and second half of its speech, or (0, V, d) for a short clip.
        quality: Of the recording.
        speech_seconds: Of speech that was embedded.
    """

    views: FloatArray
    copies: npt.NDArray[np.float16]
    halves: FloatArray
    quality: Quality
    speech_seconds: float

    @property
    def embedding(self) -> FloatArray:
        """(d,), the plain view."""
        return np.asarray(self.views[0], np.float32)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What the gallery stores."""
        return {
            "embedding": self.embedding,
            "views": self.views,
            "copies": self.copies,
            "halves": self.halves.astype(np.float16),
        }


def copy_groups(n_copies: int) -> npt.NDArray[np.int64]:
    """Condition group of each copy in a stored clip; (n_copies,).

    Raises:
        GalleryError: The clip was stored with other conditions than this version makes.
    """
    if n_copies not in (0, len(COPY_CONDITIONS)):
        raise GalleryError(
            f"a clip has {n_copies} degraded copies where this version makes {len(COPY_CONDITIONS)}; run: kith reembed"
        )
    return COPY_GROUPS[:n_copies]


def embed_with_copies(
    encoder: Encoder,
    clips: Sequence[Audio],
    *,
    copies: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[EmbeddedClip]:
    """Cut silences, measure quality, and embed clips, their degraded copies and their halves.

    The copies of a clip depend on its audio alone, so enrolling it again gives the same ones.

    Args:
        encoder: Any encoder.
        clips: Recordings.
        copies: Whether to make copies and halves; without them only the clip itself is embedded, in all views.
        progress: Called with clips done and clips in all.
    """
    embedded: list[EmbeddedClip] = []
    for first in range(0, len(clips), _BATCH_CLIPS):
        batch = clips[first : first + _BATCH_CLIPS]
        speech = [trim_silence(clip) for clip in batch]
        parts = [_parts(clip) if copies else [clip] for clip in speech]
        vectors = embed_views(encoder, [part for group in parts for part in group])
        ends = np.cumsum([len(group) for group in parts])
        for clip, voiced, rows in zip(batch, speech, np.split(vectors, ends[:-1]), strict=True):
            n_copies = len(COPY_CONDITIONS) if copies else 0
            embedded.append(
                EmbeddedClip(
                    views=rows[0].copy(),
                    copies=rows[1 : 1 + n_copies].astype(np.float16),
                    halves=rows[1 + n_copies :].copy(),  # not a view, which would keep the batch alive
                    quality=measure_quality(clip),
                    speech_seconds=voiced.seconds,
                )
            )
        if progress:
            progress(len(embedded), len(clips))
    return embedded


def _parts(speech: Audio) -> list[Audio]:
    """The clip, its copies, and its halves where it is long enough."""
    seed = int(speech.sha256[:12], 16)
    degraded = [
        trim_silence(replace(speech, samples=samples))
        for samples in make_copies(speech.samples, COPY_CONDITIONS, seed)
    ]
    middle = len(speech.samples) // 2
    if speech.seconds < 2 * MIN_HALF_SECONDS:
        return [speech, *degraded]
    halves = [replace(speech, samples=part) for part in (speech.samples[:middle], speech.samples[middle:])]
    return [speech, *degraded, *halves]
