"""Files that can be made again: the user's cache folder, with a bound on its size.

The folder is ``$KITH_CLIP_CACHE`` or the platform's cache folder; ``KITH_CLIP_CACHE=off`` keeps nothing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

__all__ = ["FolderCache", "cache_folder"]

VARIABLE = "KITH_CLIP_CACHE"
OFF = "off"
SHRUNK = 0.9  # of the largest size is left when it was exceeded
ABANDONED_SECONDS = 86_400.0  # after which a half-written file is nobody's
_DIGEST_BYTES = 32


def cache_folder(name: str) -> Path | None:
    """The folder of one kind of entries: ``$KITH_CLIP_CACHE`` itself, else one in the user's cache folder.

    None if the variable says ``off``.
    """
    override = os.environ.get(VARIABLE, "").strip()
    if override.lower() == OFF:
        return None
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_cache_dir("openkith")) / name


class FolderCache:
    """Bytes by name in a folder. Nothing that goes wrong with the folder is an error: what is not there is made again.

    Args:
        folder: Made when the first entry is stored, readable by its owner alone.
        suffix: Of its files.
        max_bytes: Size of all entries beyond which those that were not used for the longest time are removed.
    """

    def __init__(self, folder: str | Path, suffix: str, max_bytes: int) -> None:
        self.folder = Path(folder)
        self.suffix = suffix
        self.max_bytes = max_bytes
        self._bytes: int | None = None  # of all entries, once they were counted
        self._writable = True

    def get(self, name: str) -> bytes | None:
        """What is stored under a name; None where there is nothing, or it is damaged."""
        path = self.path(name)
        try:
            found = path.read_bytes()
        except OSError:
            return None
        digest, content = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            self.remove(name)
            return None
        with suppress(OSError):
            os.utime(path)  # used now: others are older
        return content

    def put(self, name: str, content: bytes) -> None:
        """Store bytes in place of what there was; complete under a temporary name before they take their own."""
        if not self._writable:
            return
        content = hashlib.sha256(content).digest() + content
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            number, temporary_name = tempfile.mkstemp(".tmp", ".", self.folder)
            temporary = Path(temporary_name)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(content)
                temporary.replace(self.path(name))
            finally:
                temporary.unlink(missing_ok=True)
            self._bytes = self._count() if self._bytes is None else self._bytes + len(content)
            if self._bytes > self.max_bytes:
                self._shrink()
        except OSError:  # a full disk, a folder of somebody else: not worth another try
            self._writable = False

    def remove(self, name: str) -> None:
        """Forget an entry."""
        with suppress(OSError):
            self.path(name).unlink()

    def path(self, name: str) -> Path:
        """The file of an entry, whether there is one or not."""
        return self.folder / f"{name}{self.suffix}"

    def _count(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each entry was last used, and its size; what was removed meanwhile is left out."""
        entries = []
        for path in self.folder.glob(f"*{self.suffix}"):
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
