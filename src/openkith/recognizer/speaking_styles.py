"""Enrolled people in other moods and at other tempos, out of their own recordings, to tune with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from openkith.audio.augment import GROUPS
from openkith.audio.vad import trim_silence
from openkith.encoders import Encoder
from openkith.encoders.clips.views import embed_views
from openkith.errors import AudioError, GalleryError, require
from openkith.gallery import Clip, Gallery
from openkith.openset.model import Progress
from openkith.scoring.base import EmbeddingSet

__all__ = ["add_styles"]

GROUP = GROUPS.index("expressive")
_BATCH = 32  # clips in memory at once


def add_styles(
    enrolment: EmbeddingSet,
    clips: Sequence[Clip],
    gallery: Gallery,
    encoder: Encoder,
    seed: int = 0,
    progress: Progress | None = None,
) -> EmbeddingSet:
    """Each enrolment clip in all speaking styles too, as copies of that clip.

    A style is held out with the clip that it was made of: it is no more evidence of the person than the clip is. Styles
    are made by `openkith.data.synthesis.TransformSource` of the audio that the gallery kept, or of the files that were
    enrolled.

    Args:
        enrolment: Clips and copies of the people, clip i of it being ``clips[i]``.
        clips: The enrolment clips of the gallery.
        gallery: Where they are.
        encoder: That embedded them.
        seed: How far each style goes in each clip.
        progress: Called with what is being done, copies done and copies in all.

    Raises:
        MissingDependencyError: The extra ``synthesis`` is not installed.
        AudioError: There is no audio of a person's clip any more.
        GalleryError: Clips were added or removed meanwhile.
    """
    require("parselmouth", "synthesis", "tuning with speaking styles")
    from openkith.data.synthesis import STYLES, TransformSource
    from openkith.data.synthesis.recordings import gallery_recordings

    number = {clip.sha256: i for i, clip in enumerate(clips)}
    label = {int(clip): int(who) for clip, who in zip(enrolment.clips, enrolment.labels, strict=True)}
    total = len(clips) * len(STYLES)
    embeddings: list[np.ndarray] = []
    numbers: list[int] = []
    for name in dict.fromkeys(clip.person or "" for clip in clips):
        what = f"speaking styles of {name}"
        if progress:
            progress(what, len(numbers), total)
        try:
            recordings = gallery_recordings(gallery, name)
        except AudioError as error:
            reason = str(error).rpartition(";")[0]
            raise AudioError(
                f"no speaking styles of {name}: {reason}; enrol with --keep-audio, or tune without --styles"
            ) from error
        if not {recording.sha256 for recording in recordings} <= set(number):
            raise GalleryError(f"{gallery.url}: clips of {name} changed meanwhile; tune again")
        made = TransformSource().styles(name, recordings, list(STYLES.values()), seed)
        of = [number[recording.sha256] for recording in recordings] * len(STYLES)  # style by style
        first = len(numbers)
        while batch := [trim_silence(clip.audio) for clip in islice(made, _BATCH)]:
            embeddings.append(embed_views(encoder, batch))
            done = len(numbers) - first
            numbers += of[done : done + len(batch)]
            if progress:
                progress(what, len(numbers), total)
    rows = np.concatenate(embeddings).astype(np.float32)
    clip_of_row = np.array(numbers, np.int64)
    return EmbeddingSet(
        np.concatenate([enrolment.embeddings, rows.reshape(-1, *enrolment.embeddings.shape[1:])]),
        np.concatenate([enrolment.labels, [label[number] for number in numbers]]),
        np.concatenate([enrolment.clips, clip_of_row]),
        np.concatenate([enrolment.groups, np.full(len(rows), GROUP)]),
        np.concatenate([enrolment.copies, np.ones(len(rows), np.bool_)]),
    )
