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
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import platformdirs

from openkith.audio import Audio, Quality
from openkith.encoders.base import Encoder
from openkith.encoders.copies import EmbeddedClip, embed_with_copies

__all__ = ["ClipCache", "embed_cached", "usual_cache"]

VARIABLE = "KITH_CLIP_CACHE"
OFF = "off"
MAX_BYTES = 2_000_000_000
SHRUNK = 0.9  # of the largest size is left when it was exceeded
SUFFIX = ".clip"
ABANDONED_SECONDS = 86_400.0  # after which a half-written file is nobody's
_DIGEST_BYTES = 32
_ABOUT = "about"


class ClipCache:
    """Embedded clips in a folder. Nothing that goes wrong with the folder is an error: a clip is embedded again.

    Args:
        folder: Made when the first clip is stored, readable by its owner alone.
        max_bytes: Size of all entries beyond which the oldest are removed.
    """

    def __init__(self, folder: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._bytes: int | None = None  # of all entries, once they were counted
        self._writable = True

    def get(self, fingerprint: str, clip: Audio) -> EmbeddedClip | None:
        """What is stored of a clip, with or without copies; None where there is nothing, or it is damaged."""
        path = self._path(fingerprint, clip)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        found = _unpack(content)
        with suppress(OSError):
            if found is None:
                path.unlink()
            else:
                os.utime(path)  # used now: others are older
        return found

    def put(self, fingerprint: str, clip: Audio, embedded: EmbeddedClip) -> None:
        """Store a clip, in place of what there was; complete under a temporary name before it takes its own."""
        if not self._writable:
            return
        content = _pack(embedded)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            number, name = tempfile.mkstemp(".tmp", ".", self.folder)
            temporary = Path(name)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(content)
                temporary.replace(self._path(fingerprint, clip))
            finally:
                temporary.unlink(missing_ok=True)
            self._bytes = self._count() if self._bytes is None else self._bytes + len(content)
            if self._bytes > self.max_bytes:
                self._shrink()
        except OSError:  # a full disk, a folder of somebody else: not worth another try
            self._writable = False

    def _path(self, fingerprint: str, clip: Audio) -> Path:
        about = json.dumps([code_version(), fingerprint, clip.native_rate, clip.clipped])
        digest = hashlib.sha256(about.encode())
        # Not Audio.sha256, which is of 16-bit samples: recordings that differ by less are embedded differently.
        digest.update(clip.samples.tobytes())
        return self.folder / f"{digest.hexdigest()}{SUFFIX}"

    def _count(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each entry was last used, and its size; what was removed meanwhile is left out."""
        entries = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                about = path.stat()
                entries.append((about.st_mtime, about.st_size, path))
        return entries

    def _shrink(self) -> None:
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= SHRUNK * self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._bytes = total
        for path in self.folder.glob(".*.tmp"):  # of a process that was killed
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


def usual_cache() -> ClipCache | None:
    """The cache in ``$KITH_CLIP_CACHE``, else in the user's cache folder; None if that says ``off``."""
    override = os.environ.get(VARIABLE, "").strip()
    if override.lower() == OFF:
        return None
    return ClipCache(
        Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("openkith")) / "clips"
    )


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
    if cache is not None:
        for i, clip in enumerate(clips):
            found[i] = cache.get(encoder.fingerprint, clip) or found[i]
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
            cache.put(encoder.fingerprint, clips[i], embedded)
    return [embedded if copies else embedded.alone() for embedded in found if embedded is not None]


@lru_cache(maxsize=1)
def code_version() -> str:
    """Digest of the source code that makes embeddings of audio; of the package's version where there is none."""
    from openkith import __version__

    digest = hashlib.sha256(__version__.encode())
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *(here.parent / "audio").glob("*.py")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pack(clip: EmbeddedClip) -> bytes:
    """A digest, and safetensors that it is of."""
    from safetensors.numpy import save

    about = {"quality": asdict(clip.quality), "speech_seconds": clip.speech_seconds}
    arrays: dict[str, npt.NDArray[Any]] = {"views": clip.views, "copies": clip.copies, "halves": clip.halves}
    content = save(arrays, {_ABOUT: json.dumps(about)})
    return hashlib.sha256(content).digest() + content


def _unpack(content: bytes) -> EmbeddedClip | None:
    """The clip that `_pack` was given; None for anything else."""
    digest, arrays = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(arrays).digest() != digest:
        return None
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
