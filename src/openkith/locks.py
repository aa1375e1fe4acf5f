"""Files that one process has at a time; whoever ends, however that comes about, has them no longer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["locked", "try_lock"]

PAUSE_SECONDS = 0.1  # between two tries


def try_lock(file: IO[bytes], at: int = 0) -> bool:
    """Whether this process has the file now, until it closes it or ends.

    Args:
        file: Open for writing.
        at: The byte that is locked on Windows, where a locked byte cannot be read; it may lie behind the end.

    Raises:
        OSError: The disk has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(at)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError | PermissionError):
            return False
        raise
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file during the block; another process waits until it is free, or its holder has died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        while not try_lock(file):
            time.sleep(PAUSE_SECONDS)
        yield  # closing the file frees it
