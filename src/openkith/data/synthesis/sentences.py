"""What synthetic people say."""

from __future__ import annotations

from pathlib import Path

from openkith.data.manifest import read_lines
from openkith.errors import ConfigError

__all__ = ["SENTENCES", "read_texts"]

SENTENCES = (
    "The kettle has just boiled, so tell me when you want your tea.",
    "Somebody left the garden gate open again the whole night long.",
    "My sister is coming on Friday and she brings both of her children.",
    "Please turn the heating down a little before you go to bed.",
    "We could take the early train and have breakfast by the harbour.",
    "I found your blue umbrella behind the door of the guest room.",
    "The bread is still warm, but we have run out of butter again.",
    "Remind me to water the tomatoes when the sun has gone down.",
    "There was a long queue at the bakery, so I bought some rolls instead.",
    "Can you play that song from the film we watched on Sunday?",
    "The neighbours are painting their fence a very bright shade of green.",
    "He forgot his football boots and had to borrow a pair at school.",
    "Switch off the lights in the hall when everybody is upstairs.",
    "It will rain until noon, and after that it should clear up.",
    "Her violin lesson was moved to half past four on Wednesday.",
    "I would like to hear the news while I am cooking dinner.",
    "The cat has been sleeping on the warm laundry since this morning.",
    "Let us walk around the lake before it gets too dark to see.",
    "There are three letters for you on the table next to the lamp.",
    "Add apples, rice and a box of candles to the shopping list.",
    "The bus was late, and then it stopped at every single corner.",
    "Grandfather wants to show us how he used to repair old clocks.",
    "Set a timer for twelve minutes, the potatoes are nearly done.",
    "They have moved the piano into the room with the big windows.",
    "I never remember which of these two keys opens the cellar.",
    "Ask him whether the bicycle pump is still in the garage.",
    "The meeting was short, so I came home through the park.",
    "Close the curtains, please, the sun is shining on the screen.",
)


def read_texts(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file that are not blank, each once.

    Raises:
        ManifestError: The file cannot be read.
        ConfigError: It has no text in it.
    """
    texts = list(dict.fromkeys(line.strip() for line in read_lines(Path(path)) if line.strip()))
    if not texts:
        raise ConfigError(f"{path}: no texts; write a sentence on each line")
    return texts
