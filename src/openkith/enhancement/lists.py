"""The four lists that enhancement learns from and is tested on: text, one entry a line, fields parted by blanks.

::

    normal        speaker file
    triplet       speaker file other_speaker
    distribution  speaker file1 file2 same_recording_flag
    test          same_speaker_flag file1 file2

Flags are 1 and 0; files are paths below the folder of the embeddings. An audio file in a list stands for the embedding
of the same stem (``.wav`` for ``.npy``). A list's own file is called ``{NAME}_{form}_list.txt``.
"""

from __future__ import annotations

import contextlib
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from openkith.data.manifest import read_lines
from openkith.data.trials import trial_fields
from openkith.enhancement.drawing import make_distribution, make_normal, make_test, make_triplet
from openkith.enhancement.list_forms import (
    DistributionList,
    EnhancementList,
    NormalList,
    TestList,
    TripletList,
)
from openkith.enhancement.tree import EmbeddingTree, IntArray, read_tree
from openkith.errors import ConfigError, ManifestError

__all__ = [
    "FORMS",
    "DistributionList",
    "EnhancementList",
    "NormalList",
    "TestList",
    "TripletList",
    "check_form",
    "list_name",
    "make_distribution",
    "make_list",
    "make_normal",
    "make_test",
    "make_triplet",
    "read_list",
    "write_list",
]

_CHUNK = 1 << 16  # lines written at a time

Maker = Callable[[EmbeddingTree, int], EnhancementList]
FORMS: dict[str, Maker] = {
    NormalList.form: make_normal,
    TripletList.form: make_triplet,
    DistributionList.form: make_distribution,
    TestList.form: make_test,
}
"""How a list of each form is made, from a tree and a seed."""


def make_list(form: str, tree: EmbeddingTree, seed: int = 0) -> EnhancementList:
    """A list of a form by name.

    Raises:
        ConfigError: There is no such form, or the seed is below 0.
        NotEnoughDataError: The tree is too small for it.
    """
    check_form(form)
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give 0 or more")
    return FORMS[form](tree, seed)


def check_form(form: str) -> None:
    """Refuse a form that there is not.

    Raises:
        ConfigError: As said.
    """
    if form not in FORMS:
        raise ConfigError(f"no list is of the form {form!r}; there are: {', '.join(FORMS)}")


def list_name(name: str, form: str) -> str:
    """What the file of a list is called."""
    return f"{name}_{form}_list.txt"


def write_list(path: str | Path, entries: EnhancementList) -> None:
    """Write a list, under a temporary name that is then changed to ``path``.

    Raises:
        ManifestError: A file or speaker has white space in its name, which parts the fields; or the file cannot be
            written.
    """
    target = Path(path)
    _check_words(entries)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            lines = entries.lines()
            while chunk := "".join(islice(lines, _CHUNK)):
                file.write(chunk)
        temporary.replace(target)
    except (OSError, ValueError) as error:  # UnicodeEncodeError and embedded NUL are ValueErrors
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{target}: cannot write: {reason}; choose another name or folder") from None


def _check_words(entries: EnhancementList) -> None:
    if isinstance(entries, NormalList | TripletList):
        files, names = entries.files, entries.names
    elif isinstance(entries, DistributionList):
        files, names = entries.pairs, entries.names
    else:
        files, names = entries.pairs, ()
    tree = entries.tree
    for word in (*names, *(tree.files[number] for number in np.unique(files).tolist())):
        if word.split() != [word]:
            raise ManifestError(f"{tree.root}: {word!r} has white space, which parts the fields; rename it")


def read_list(path: str | Path, tree: EmbeddingTree | str | Path, form: str | None = None) -> EnhancementList:
    """Read a list, made here or elsewhere, and find the embedding of every file in it.

    Args:
        path: A UTF-8 file; blank lines are passed over.
        tree: The embeddings, or their folder.
        form: One of `FORMS`; None: told by the name of the file, ``..._{form}_list.txt``.

    Raises:
        ConfigError: There is no such form, or the name does not tell it.
        ManifestError: The list or a line of it is wrong, or a file has no embedding; the message names the line.
        InputError: There is no such folder of embeddings.
    """
    source = Path(path)
    if form is None:
        form = next((name for name in FORMS if source.stem.endswith(f"{name}_list")), None)
        if form is None:
            raise ConfigError(
                f"{source}: its name does not tell its form; call it {list_name('NAME', '{form}')}, or say which of: "
                f"{', '.join(FORMS)}"
            )
    check_form(form)
    return _READERS[form](source, tree if isinstance(tree, EmbeddingTree) else read_tree(tree))


class _Reading:
    """Names and files of a list, while it is read."""

    def __init__(self, source: Path, tree: EmbeddingTree) -> None:
        self.source, self.tree = source, tree
        self._speakers: dict[str, int] = {}
        self._owners: dict[int, tuple[int, int]] = {}  # of a file: its speaker, and the line that says so

    def speaker(self, name: str) -> int:
        """The number of a speaker, in the order in which they are met."""
        return self._speakers.setdefault(unicodedata.normalize("NFC", name), len(self._speakers))

    def file(self, entry: str, line: int, speaker: int | None = None) -> int:
        """The number of a file, of which no other line says that somebody else speaks in it."""
        found = self.tree.find(entry)
        if found is None:
            raise ManifestError(
                f"{self.source}:{line}: no embedding of {entry!r} in {self.tree.root}; embed it, or remove the line"
            )
        if speaker is not None:
            owner, first = self._owners.setdefault(found, (speaker, line))
            if owner != speaker:
                names = list(self._speakers)
                raise ManifestError(
                    f"{self.source}:{line}: {entry!r} has the speaker {names[speaker]!r}, and {names[owner]!r} in line "
                    f"{first}; correct one"
                )
        return found

    def names(self) -> tuple[tuple[str, ...], IntArray]:
        """The names, sorted, and from the numbers given before to places among them."""
        names = sorted(self._speakers)
        places = np.empty(len(names), np.int64)
        places[[self._speakers[name] for name in names]] = np.arange(len(names))
        return tuple(names), places


def _entries(source: Path, fields: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line, and its number."""
    wanted, empty = len(fields.split()), True
    for number, line in enumerate(read_lines(source), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != wanted:
            raise ManifestError(f"{source}:{number}: {len(words)} fields, not {wanted}; a line is '{fields}'")
        empty = False
        yield number, words
    if empty:
        raise ManifestError(f"{source}: no entries; write one a line, '{fields}'")


def _read_normal(source: Path, tree: EmbeddingTree) -> NormalList:
    reading, speakers, files = _Reading(source, tree), [], []
    for line, (speaker, file) in _entries(source, NormalList.fields):
        speakers.append(reading.speaker(speaker))
        files.append(reading.file(file, line, speakers[-1]))
    names, places = reading.names()
    return NormalList(tree, names, places[speakers], np.array(files, np.int64))


def _read_triplet(source: Path, tree: EmbeddingTree) -> TripletList:
    reading, speakers, files, others = _Reading(source, tree), [], [], []
    for line, (speaker, file, other) in _entries(source, TripletList.fields):
        speakers.append(reading.speaker(speaker))
        files.append(reading.file(file, line, speakers[-1]))
        others.append(reading.speaker(other))
        if others[-1] == speakers[-1]:
            raise ManifestError(
                f"{source}:{line}: field 'other_speaker': {other!r} is the speaker; give another one"
            )
    names, places = reading.names()
    return TripletList(tree, names, places[speakers], np.array(files, np.int64), places[others])


def _read_distribution(source: Path, tree: EmbeddingTree) -> DistributionList:
    reading, speakers, pairs, flags = _Reading(source, tree), [], [], []
    for line, (speaker, first, second, flag) in _entries(source, DistributionList.fields):
        who = reading.speaker(speaker)
        pair = reading.file(first, line, who), reading.file(second, line, who)
        if pair[0] == pair[1]:
            raise ManifestError(f"{source}:{line}: {first!r} is paired with itself; give two files")
        if flag not in ("0", "1"):
            raise ManifestError(
                f"{source}:{line}: field 'same_recording_flag': {flag!r}; give 1 (same recording) or 0 (two)"
            )
        speakers.append(who)
        pairs.append(pair)
        flags.append(flag == "1")
    names, places = reading.names()
    return DistributionList(tree, names, places[speakers], np.array(pairs, np.int64), np.array(flags))


def _read_test(source: Path, tree: EmbeddingTree) -> TestList:
    reading, pairs, flags = _Reading(source, tree), [], []
    for same, first, second, line in trial_fields(source):
        pairs.append((reading.file(first, line), reading.file(second, line)))
        flags.append(same)
    return TestList(tree, np.array(pairs, np.int64), np.array(flags))


_READERS: dict[str, Callable[[Path, EmbeddingTree], EnhancementList]] = {
    NormalList.form: _read_normal,
    TripletList.form: _read_triplet,
    DistributionList.form: _read_distribution,
    TestList.form: _read_test,
}
