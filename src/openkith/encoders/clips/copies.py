"""A clip, degraded copies of it, and its two halves: what enrolment keeps of a recording.

The copies stand for the rooms, noises, lines and short words in which the same person will be heard later. They are
embedded when the clip is at hand, since no audio is kept.

Copies of the next clips are made in threads (numpy and scipy work outside the interpreter's lock) while the encoder
embeds those before them, which takes most of the time and has threads of its own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio, Quality, measure_quality, trim_silence
from openkith.audio.augment import CONDITIONS, GROUPS, make_copies
from openkith.encoders.base import Encoder, FloatArray
from openkith.encoders.clips.views import embed_views
from openkith.errors import ConfigError, GalleryError

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

    @property
    def has_copies(self) -> bool:
        """Whether copies were made of it."""
        return len(self.copies) > 0

    def alone(self) -> EmbeddedClip:
        """The clip without copies and halves."""
        return replace(self, copies=self.copies[:0].copy(), halves=self.halves[:0].copy())

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
    plain: Sequence[EmbeddedClip | None] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[EmbeddedClip]:
    """Cut silences, measure quality, and embed clips, their degraded copies and their halves.

    The copies of a clip depend on its audio alone, so enrolling it again gives the same ones, and so does any number
    of threads.

    Args:
        encoder: Any encoder.
        clips: Recordings.
        copies: Whether to make copies and halves; without them only the clip itself is embedded, in all views.
        plain: For each clip what an earlier call without copies gave, or None; only what is missing is embedded.
        threads: That make copies; default: those of the encoder if it was given a number, else one per core.
        progress: Called with clips done and clips in all.

    Raises:
        ConfigError: ``threads`` is below 1.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out for one per core")
    before = [None] * len(clips) if plain is None else list(plain)
    embedded: list[EmbeddedClip] = []
    for batch in _prepared(clips, copies, threads or _threads(encoder)):
        missing = [
            heard.parts if known is None else heard.parts[1:]
            for heard, known in zip(batch, before[len(embedded) :], strict=False)
        ]
        vectors = embed_views(encoder, [part for parts in missing for part in parts])
        ends = np.cumsum([len(parts) for parts in missing])
        for heard, rows in zip(batch, np.split(vectors, ends[:-1]), strict=True):
            known = before[len(embedded)]
            rest = rows[1:] if known is None else rows
            n_copies = len(COPY_CONDITIONS) if copies else 0
            embedded.append(
                EmbeddedClip(
                    views=rows[0].copy() if known is None else known.views,
                    copies=rest[:n_copies].astype(np.float16),
                    halves=rest[n_copies:].copy(),  # not a view, which would keep the batch alive
                    quality=heard.quality,
                    speech_seconds=heard.parts[0].seconds,
                )
            )
        if progress:
            progress(len(embedded), len(clips))
    return embedded


@dataclass(frozen=True, eq=False)
class _Heard:
    """A recording as it is embedded: its speech, copies of that, its halves; and its quality."""

    parts: list[Audio]
    quality: Quality


def _prepared(clips: Sequence[Audio], copies: bool, threads: int) -> Iterator[list[_Heard]]:
    """Clips with their copies, batch by batch; with several threads the next batch is begun before it is asked for."""
    batches = [clips[first : first + _BATCH_CLIPS] for first in range(0, len(clips), _BATCH_CLIPS)]
    prepare = partial(_prepare, copies=copies)
    if threads == 1 or len(clips) == 1:
        yield from (list(map(prepare, batch)) for batch in batches)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="kith-copies") as pool:
        begun: deque[Iterator[_Heard]] = deque()
        for batch in batches:
            begun.append(pool.map(prepare, batch))
            if len(begun) > 1:
                yield list(begun.popleft())
        while begun:
            yield list(begun.popleft())


def _prepare(clip: Audio, copies: bool) -> _Heard:
    speech = trim_silence(clip)
    return _Heard(_parts(speech) if copies else [speech], measure_quality(clip))


def _threads(encoder: Encoder) -> int:
    """The threads that the user allowed the encoder, else a thread per core that this process may use."""
    allowed = getattr(encoder, "threads", None)
    if isinstance(allowed, int):
        return allowed
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
