"""A process that enrols or tunes until it is done or killed: `recognizer_worker.py MODE PATH ...`.

It prints a line at each point that a test waits for, and reads a line where it is to wait for the test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import openkith.recognizer.roster
from openkith.audio import Audio
from openkith.errors import KithError
from openkith.gallery import queries
from openkith.recognizer import Recognizer
from voices import FakeEncoder, fake_cohort, voice  # beside this file, which runs as a script

openkith.recognizer.roster.find_cohort = fake_cohort


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def hang(*_: Any, **__: Any) -> Any:
    say("inside")
    time.sleep(600)


class Slow(FakeEncoder):
    """Never ends with the second batch."""

    def embed(self, clips: Sequence[Audio]) -> np.ndarray:
        return hang() if self.embedded else super().embed(clips)


def hang_in(path: str, operation: str, where: str) -> None:
    """Stop in the middle of it: while the embedding or fitting is under way, or with all written but not committed."""
    encoder = Slow() if (operation, where) == ("enrol", "work") else FakeEncoder()
    recognizer = Recognizer(path, encoder)
    if where == "transaction":
        queries.log = hang
    if operation == "enrol":
        recognizer.enroll("dan", [voice("dan", take) for take in range(10)], keep_audio=True)
    else:
        recognizer.tune("whitened", progress=hang if where == "work" else None)


def tune_when_told(path: str) -> None:
    """Stop in the middle of tuning until told to go on; say how it ended."""

    def pause(what: str, done: int, total: int) -> None:  # noqa: ARG001
        if done == 0:
            say("inside")
            sys.stdin.readline()

    try:
        say(Recognizer(path, FakeEncoder()).tune("whitened", progress=pause).method)
    except KithError as error:
        say(f"{type(error).__name__}: {error}")


def enrol(path: str, prefix: str, people: str) -> None:
    """Enrol people of three clips each; 0: without end."""
    recognizer = Recognizer(path, FakeEncoder())
    say("ready")
    sys.stdin.readline()
    number = 0
    while not int(people) or number < int(people):
        name = f"{prefix}-{number}"
        recognizer.enroll(name, [voice(name, take, seconds=0.4) for take in range(3)])
        say(name)
        number += 1


if __name__ == "__main__":
    modes: dict[str, Callable[..., None]] = {
        "hang-in": hang_in,
        "tune-when-told": tune_when_told,
        "enrol": enrol,
    }
    modes[sys.argv[1]](*sys.argv[2:])
