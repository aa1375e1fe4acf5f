"""Numbers in the place of people's names in a text that is kept, so that forgetting a name takes it from there too.

A name stands in a stored text as its person's number between two control characters, which no name can have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["SOMEBODY", "display_name", "hide_names", "show_names"]

SOMEBODY = 0  # the number of a person who had none any more when the text was kept
_OPEN, _CLOSE = "\x02", "\x03"
_NUMBER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


def hide_names(text: str, ids: Mapping[str, int]) -> str:
    """A text with a number for each name that stands in it as a word of its own, the longest names first.

    Args:
        text: Any text.
        ids: Numbers of people by name, `SOMEBODY` for a name without a person.
    """
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    names = sorted((name for name in ids if name and name in text), key=len, reverse=True)
    if not names:
        return text
    # one pass, longest first: nothing is looked for in what was put in
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
    return pattern.sub(lambda found: f"{_OPEN}{ids[found.group()]}{_CLOSE}", text)


def show_names(text: str, names: Mapping[int, str]) -> str:
    """The text with present names for the numbers, and "person 3" for one who is gone.

    Args:
        text: From `hide_names`.
        names: Present names by number.
    """
    return _NUMBER.sub(lambda found: display_name(int(found.group(1)), names), text)


def display_name(number: int, names: Mapping[int, str]) -> str:
    """The present name of a number: "person 3" of one who is gone, "somebody" where there never was a number."""
    if number == SOMEBODY:
        return "somebody"
    return names.get(number, f"person {number}")
