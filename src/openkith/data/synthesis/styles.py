"""Speaking styles: how a person sounds when older, younger, happy, sad, angry, tired, fast or slow.

How far pitch, pitch range and tempo move follows I. Murray and J. Arnott, "Toward the simulation of emotion in
synthetic speech", JASA 93, 1993, table I, and S. E. Linville, "Vocal aging", 2001, with formants that stay within
a few percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from openkith.errors import ConfigError

__all__ = ["NEW_PERSON", "SAME_PERSON", "STYLES", "Style", "style_named"]

SAME_PERSON = 0.04  # share by which formants may move and the person stay the same
NEW_PERSON = 0.12  # share by which formants move at least to make another person

PITCH_SPREAD = 0.05  # one clip of a style goes further than another, by such shares
RANGE_SPREAD = 0.12
TEMPO_SPREAD = 0.05
FORMANT_SPREAD = 0.01
TILT_SPREAD = 0.5  # dB per octave


@dataclass(frozen=True)
class Style:
    """A way in which a person speaks.

    Attributes:
        name: What to call it, one word.
        pitch: Multiplier of the pitch level, 0.6 to 1.8.
        pitch_range: Multiplier of how far the pitch moves, 0 to 3.
        tempo: Multiplier of the tempo, 0.5 to 2: above 1 is faster.
        formants: Multiplier of the formants, within 4 % of 1; 12 % and more would make a new person.
        tilt: dB per octave added to the spectrum, -6 to 6: above 0 is a louder, tenser voice.
        instructions: The same in words, for a server that understands them.

    Raises:
        ConfigError: A value is out of range, or the formants would make a new person.
    """

    name: str
    pitch: float = 1.0
    pitch_range: float = 1.0
    tempo: float = 1.0
    formants: float = 1.0
    tilt: float = 0.0
    instructions: str = ""

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum():
            raise ConfigError(f"style {self.name!r}: name it with letters, digits and hyphens")
        for field, low, high in (
            ("pitch", 0.6, 1.8),
            ("pitch_range", 0.0, 3.0),
            ("tempo", 0.5, 2.0),
            ("tilt", -6.0, 6.0),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"style {self.name!r}: {field} is {value}; give {low:g} to {high:g}")
        moved = abs(self.formants - 1)
        if not moved <= SAME_PERSON + 1e-9:
            makes = (
                "a new person"
                if not moved < NEW_PERSON
                else "somebody who is surely neither this person nor another"
            )
            raise ConfigError(
                f"style {self.name!r}: formants times {self.formants:g} make {makes}; a style is the same person, so "
                f"keep them within {SAME_PERSON:.0%} of 1 (unknown speakers have theirs moved by {NEW_PERSON:.0%} "
                "or more)"
            )

    def drawn(self, rng: np.random.Generator) -> Style:
        """The style as it is in one clip: a little more or less of everything."""

        def spread(value: float, share: float) -> float:
            return float(value * (1 + share * rng.uniform(-1, 1)))

        return replace(
            self,
            pitch=float(np.clip(spread(self.pitch, PITCH_SPREAD), 0.6, 1.8)),
            pitch_range=float(np.clip(spread(self.pitch_range, RANGE_SPREAD), 0.0, 3.0)),
            tempo=float(np.clip(spread(self.tempo, TEMPO_SPREAD), 0.5, 2.0)),
            formants=float(np.clip(spread(self.formants, FORMANT_SPREAD), 1 - SAME_PERSON, 1 + SAME_PERSON)),
            tilt=float(np.clip(self.tilt + TILT_SPREAD * rng.uniform(-1, 1), -6.0, 6.0)),
        )


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("older", 0.93, 0.85, 0.86, 0.98, -1.0, "Speak as the same person twenty years older would."),
        Style("younger", 1.12, 1.15, 1.08, 1.02, 0.5, "Speak as the same person twenty years younger would."),
        Style("happy", 1.25, 1.6, 1.08, 1.01, 1.0, "Speak in a happy, cheerful voice."),
        Style("sad", 0.92, 0.6, 0.84, 1.0, -1.5, "Speak in a sad, quiet voice."),
        Style("angry", 1.3, 1.5, 1.12, 1.0, 2.0, "Speak in an angry, loud voice."),
        Style("tired", 0.9, 0.65, 0.8, 1.0, -2.0, "Speak in a tired, sleepy voice."),
        Style("fast", 1.03, 1.0, 1.35, 1.0, 0.0, "Speak fast, in a hurry."),
        Style("slow", 0.98, 1.0, 0.75, 1.0, 0.0, "Speak slowly, with care."),
    )
}
"""The styles by name."""


def style_named(names: Sequence[str]) -> list[Style]:
    """The styles of these names; all of them for no name.

    Raises:
        ConfigError: A name is unknown, or given twice.
    """
    for index, name in enumerate(names):
        if name not in STYLES:
            raise ConfigError(f"style {name!r} is unknown; use {', '.join(STYLES)}")
        if name in names[:index]:
            raise ConfigError(f"style {name!r} is given twice; once is enough")
    return [STYLES[name] for name in names or STYLES]
