"""A process that uses a gallery until it is done or killed: `worker.py MODE PATH ...`.

It prints a line at each point that a test waits for, and reads a line where it is to wait for the test.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from openkith.gallery import Gallery, NewClip, database, queries

ENCODER = "test-encoder"


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def wait() -> None:
    say("ready")
    sys.stdin.readline()


def clip(name: str) -> NewClip:
    embedding = np.full(256, len(name), np.float32)
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return NewClip(sha256, 1.0, {}, {"embedding": embedding}, name)


def hang(*_: Any, **__: Any) -> Any:
    say("inside")
    time.sleep(600)


def open_new(path: str) -> None:
    """Open a gallery that is not there yet."""
    wait()
    with Gallery(path) as gallery:
        say(str(len(gallery.people())))


def enrol(path: str, prefix: str, events: str, clips: str) -> None:
    """Enrol `events` people (0: without end) of `clips` clips each; the gallery is opened anew often."""
    wait()
    numbers = iter(range(int(events))) if int(events) else itertools.count()
    for number in numbers:
        if number % 5 == 0:
            gallery = Gallery(path)
        name = f"{prefix}-{number}"
        gallery.add_clips(name, [clip(f"{name}/{part}") for part in range(int(clips))], encoder=ENCODER)
        say(name)
        if number % 5 == 4:
            gallery.close()


def tune(path: str) -> None:
    """Save heads without end, each full of its own number."""
    gallery = Gallery(path)
    wait()
    for number in itertools.count():
        arrays = {"W": np.full((64, 256), number, np.float32)}
        config = {"number": number}
        gallery.save_head("rpl", config, arrays, encoder=ENCODER, revision=gallery.revision())
        say(str(number))


def hang_in(path: str, operation: str) -> None:
    """Stop within an operation: after its last write, before its commit (or before the wipe)."""
    gallery = Gallery(path)
    operations: dict[str, Callable[[], object]] = {
        "enrol": lambda: gallery.add_clips("late", [clip("late/0"), clip("late/1")], encoder=ENCODER),
        "tune": lambda: gallery.save_head("new", {}, {}, encoder=ENCODER, revision=gallery.revision()),
        "forget": lambda: gallery.forget("alice"),
        "wipe": lambda: gallery.forget("alice"),
    }
    if operation == "wipe":
        database.Database.wipe = hang  # type: ignore[method-assign]
    else:
        queries.log = hang
    operations[operation]()


def read(path: str) -> None:
    """Read an old state of the gallery until told to stop."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM clips").fetchone()
    wait()
    connection.execute("COMMIT")
    connection.close()
    say("done")


if __name__ == "__main__":
    modes: dict[str, Callable[..., None]] = {
        "open-new": open_new,
        "enrol": enrol,
        "tune": tune,
        "hang-in": hang_in,
        "read": read,
    }
    modes[sys.argv[1]](*sys.argv[2:])
