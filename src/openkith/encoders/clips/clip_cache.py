"""Embedded clips on disk, so that a corpus is embedded once however often it is evaluated.

An entry is named by everything that it depends on: the samples, the encoder's fingerprint, and the source code of
`openkith.audio` and `openkith.encoders`, so that no version, and no edit, reads what another one wrote. The folder is
``$KITH_CLIP_CACHE`` or the platform's cache folder; ``KITH_CLIP_CACHE=off`` keeps nothing. It holds 2 GB at most: what
was not used for the longest time goes first.

A voice on disk is a voice that somebody may have to erase. The recogniser therefore never writes here: embeddings of
enrolled people are in the gallery alone, and gone when it forgets them. Evaluation and cohorts use the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from openkith.audio import Audio, Quality
from openkith.cache import FolderCache, cache_folder
from openkith.encoders.base import PRECISION, Encoder
from openkith.encoders.clips.copies import EmbeddedClip, embed_with_copies

__all__ = ["ClipCache", "embed_cached", "usual_cache"]

MAX_BYTES = 2_000_000_000
SUFFIX = ".clip"
_ABOUT = "about"


class ClipCache:
    """Embedded clips in a folder. Nothing that goes wrong with the folder is an error: a clip is embedded again.

    Args:
        folder: Made when the first clip is stored, readable by its owner alone.
        max_bytes: Size of all entries beyond which the oldest are removed.
    """

    def __init__(self, folder: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self._files = FolderCache(folder, SUFFIX, max_bytes)
        self.folder = self._files.folder

    def get(self, fingerprint: str, clip: Audio) -> EmbeddedClip | None:
        """What is stored of a clip, with or without copies; None where there is nothing, or it is damaged."""
        name = _name(fingerprint, clip)
        content = self._files.get(name)
        found = None if content is None else _unpack(content)
        if content is not None and found is None:
            self._files.remove(name)
        return found

    def put(self, fingerprint: str, clip: Audio, embedded: EmbeddedClip) -> None:
        """Store a clip, in place of what there was."""
        self._files.put(_name(fingerprint, clip), _pack(embedded))


def _name(fingerprint: str, clip: Audio) -> str:
    """What an entry is of, as a digest."""
    about = json.dumps([code_version(), fingerprint, clip.native_rate, clip.clipped])
    digest = hashlib.sha256(about.encode())
    # Not Audio.sha256, which is of 16-bit samples: recordings that differ by less are embedded differently.
    digest.update(clip.samples.tobytes())
    return digest.hexdigest()


def usual_cache() -> ClipCache | None:
    """The cache in ``$KITH_CLIP_CACHE``, else in the user's cache folder; None if that says ``off``."""
    folder = cache_folder("clips")
    return None if folder is None else ClipCache(folder)


def embed_cached(
    encoder: Encoder,
    clips: Sequence[Audio],
    *,
    copies: bool = True,
    plain: Sequence[EmbeddedClip | None] | None = None,
    cache: ClipCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[EmbeddedClip]:
    """What `embed_with_copies` gives, but what the cache has is not embedded again.

    Args:
        encoder, clips, copies, plain, progress: See there.
        cache: Read and added to; None: everything is embedded.
    """
    found: list[EmbeddedClip | None] = [None] * len(clips) if plain is None else list(plain)
    # Embeddings of two precisions may be compared, but one must not be taken for the other.
    precision = getattr(encoder, "precision", PRECISION)
    made_by = encoder.fingerprint if precision == PRECISION else f"{encoder.fingerprint}/{precision}"
    if cache is not None:
        for i, clip in enumerate(clips):
            found[i] = cache.get(made_by, clip) or found[i]
    missing = [i for i, known in enumerate(found) if known is None or (copies and not known.has_copies)]

    def step(done: int, total: int) -> None:
        if progress:
            progress(len(clips) - total + done, len(clips))

    if len(missing) < len(clips):
        step(0, len(missing))
    fresh = embed_with_copies(
        encoder,
        [clips[i] for i in missing],
        copies=copies,
        plain=[found[i] for i in missing],
        progress=step,
    )
    for i, embedded in zip(missing, fresh, strict=True):
        found[i] = embedded
        if cache is not None:
            cache.put(made_by, clips[i], embedded)
    return [embedded if copies else embedded.alone() for embedded in found if embedded is not None]


@lru_cache(maxsize=1)
def code_version() -> str:
    """Digest of the source code that makes embeddings of audio; of the package's version where there is none."""
    from openkith import __version__

    digest = hashlib.sha256(__version__.encode())
    package = Path(__file__).parents[2]
    for path in sorted(path for part in ("encoders", "audio") for path in (package / part).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pack(clip: EmbeddedClip) -> bytes:
    """Safetensors, with what is not an array in their header."""
    from safetensors.numpy import save

    about = {"quality": asdict(clip.quality), "speech_seconds": clip.speech_seconds}
    arrays: dict[str, npt.NDArray[Any]] = {"views": clip.views, "copies": clip.copies, "halves": clip.halves}
    return save(arrays, {_ABOUT: json.dumps(about)})


def _unpack(arrays: bytes) -> EmbeddedClip | None:
    """The clip that `_pack` was given; None for anything else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(arrays)
        header = json.loads(arrays[8 : 8 + int.from_bytes(arrays[:8], "little")])
        about = json.loads(header["__metadata__"][_ABOUT])
        return EmbeddedClip(
            **found, quality=Quality(**about["quality"]), speech_seconds=about["speech_seconds"]
        )
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
