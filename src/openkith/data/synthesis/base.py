"""What every source of synthetic speech can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from openkith.audio.io import Audio
from openkith.data.synthesis.styles import Style
from openkith.errors import AudioError, ConfigError

__all__ = ["SpeechSource", "SyntheticClip", "at_level", "check_clips", "check_seed", "check_voices"]

LEVEL_DBFS = -26.0  # RMS of synthetic speech


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """A synthetic recording.

    Attributes:
        speaker: Who speaks.
        role: What it is in a manifest: ``enroll``, ``test`` or ``negative``.
        text: What is said; empty where it is not known.
        audio: The speech.
        style: Name of the speaking style; empty for a speaker's usual one.
    """

    speaker: str
    role: str
    text: str
    audio: Audio
    style: str = ""


class SpeechSource(Protocol):
    """Makes unknown speakers, or speaking styles of a person, or both.

    A source is made of what it needs (texts, recordings, a server); then it gives clips one by one, the same ones for
    the same seed as far as what is behind it does.

    Attributes:
        name: Its key in the registry `SOURCES`.
    """

    name: ClassVar[str]

    @property
    def voices(self) -> int:
        """How many unknown speakers it can make."""
        ...

    def unknown_speakers(self, n: int, clips: int = 2, seed: int = 0) -> Iterator[SyntheticClip]:
        """Clips of n people who are not enrolled, person by person, with role ``negative``.

        Args:
            n: How many people, 1 to `voices`.
            clips: Clips of each.
            seed: Which people, and what they say.

        Raises:
            ConfigError: A number is out of range.
            KithError: What is behind the source refuses, or does not answer in time.
        """
        ...

    def styles(
        self, speaker: str, recordings: Sequence[Audio], styles: Sequence[Style], seed: int = 0
    ) -> Iterator[SyntheticClip]:
        """Each recording of a person in each style, with role ``enroll``: style by style.

        Args:
            speaker: Whose recordings they are.
            recordings: Speech of this person alone.
            styles: What to make of them.
            seed: How far each style goes in each clip.

        Raises:
            ConfigError: The source cannot speak in a given voice.
            KithError: What is behind the source refuses, or does not answer in time.
        """
        ...


def at_level(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Speech (n,) at -26 dBFS RMS.

    Raises:
        AudioError: It is silent.
    """
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    if rms == 0:
        raise AudioError("the synthetic speech is silent; choose another voice or text")
    return np.asarray(samples * np.float32(10 ** (LEVEL_DBFS / 20) / rms), dtype=np.float32)


def check_voices(n: int, most: int, what: str) -> None:
    """ConfigError where n is not between 1 and the number of voices."""
    if not 1 <= n <= most:
        raise ConfigError(f"{n} {what}; ask for 1 to {most}")


def check_clips(clips: int, most: int) -> None:
    """ConfigError where there are not so many texts, or fewer than one clip is wanted."""
    if not 1 <= clips <= most:
        raise ConfigError(f"{clips} clips of each synthetic person; ask for 1 to {most}")


def check_seed(seed: int) -> None:
    """ConfigError where a seed is negative."""
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give an integer from 0 up")
