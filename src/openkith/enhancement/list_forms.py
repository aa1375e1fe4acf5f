"""What a list holds, in each of the four forms: columns of numbers, so that a million entries are tens of megabytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from openkith.enhancement.tree import EmbeddingTree, IntArray

__all__ = ["BoolArray", "DistributionList", "EnhancementList", "NormalList", "TestList", "TripletList"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class NormalList:
    """Files, each with who speaks in it.

    Attributes:
        tree: The embeddings.
        names: (s) speakers, sorted; those of a list made elsewhere need not be those of the tree.
        speakers: (n,) the place of each entry's speaker in ``names``.
        files: (n,) the number of each entry's file in the tree.
    """

    form: ClassVar[str] = "normal"
    fields: ClassVar[str] = "speaker file"
    tree: EmbeddingTree
    names: tuple[str, ...]
    speakers: IntArray
    files: IntArray

    def __len__(self) -> int:
        return len(self.files)

    def counts(self) -> dict[str, int]:
        """How many entries, speakers and files."""
        return {"entries": len(self), "speakers": _different(self.speakers), "files": _different(self.files)}

    def lines(self) -> Iterator[str]:
        """The entries as text."""
        names, files = self.names, self.tree.files
        for speaker, file in zip(self.speakers.tolist(), self.files.tolist(), strict=True):
            yield f"{names[speaker]} {files[file]}\n"


@dataclass(frozen=True, eq=False)
class TripletList:
    """Files, each with who speaks in it and another speaker, whose target it is pushed away from.

    Attributes:
        tree, names, speakers, files: As of `NormalList`.
        others: (n,) the place of the other speaker in ``names``; never the same.
    """

    form: ClassVar[str] = "triplet"
    fields: ClassVar[str] = "speaker file other_speaker"
    tree: EmbeddingTree
    names: tuple[str, ...]
    speakers: IntArray
    files: IntArray
    others: IntArray

    def __len__(self) -> int:
        return len(self.files)

    def counts(self) -> dict[str, int]:
        """How many entries, speakers and files."""
        return {"entries": len(self), "speakers": _different(self.speakers), "files": _different(self.files)}

    def lines(self) -> Iterator[str]:
        """The entries as text."""
        names, files = self.names, self.tree.files
        columns = (self.speakers.tolist(), self.files.tolist(), self.others.tolist())
        for speaker, file, other in zip(*columns, strict=True):
            yield f"{names[speaker]} {files[file]} {names[other]}\n"


@dataclass(frozen=True, eq=False)
class DistributionList:
    """Pairs of files of one speaker, of one recording or of two.

    Attributes:
        tree, names: As of `NormalList`.
        speakers: (n,) the place of each pair's speaker in ``names``.
        pairs: (n, 2) numbers of files.
        same_recording: (n,) whether both are of one recording.
    """

    form: ClassVar[str] = "distribution"
    fields: ClassVar[str] = "speaker file1 file2 same_recording_flag"
    tree: EmbeddingTree
    names: tuple[str, ...]
    speakers: IntArray
    pairs: IntArray
    same_recording: BoolArray

    def __len__(self) -> int:
        return len(self.pairs)

    def counts(self) -> dict[str, int]:
        """How many entries, speakers, files, pairs of each kind, and speakers with more of the same recording."""
        same, cross = (
            np.bincount(self.speakers[flags], minlength=len(self.names))
            for flags in (self.same_recording, ~self.same_recording)
        )
        return {
            "entries": len(self),
            "speakers": _different(self.speakers),
            "files": _different(self.pairs),
            "same_recording": int(same.sum()),
            "cross_recording": int(cross.sum()),
            "short_speakers": int((cross < same).sum()),
        }

    def lines(self) -> Iterator[str]:
        """The entries as text."""
        names, files = self.names, self.tree.files
        columns = (self.speakers.tolist(), self.pairs.tolist(), self.same_recording.tolist())
        for speaker, (first, second), same in zip(*columns, strict=True):
            yield f"{names[speaker]} {files[first]} {files[second]} {int(same)}\n"


@dataclass(frozen=True, eq=False)
class TestList:
    """Pairs of files, of one speaker or of two.

    Attributes:
        tree: The embeddings.
        pairs: (n, 2) numbers of files.
        same_speaker: (n,) whether one person speaks in both.
    """

    __test__: ClassVar[bool] = False  # for pytest, it is none
    form: ClassVar[str] = "test"
    fields: ClassVar[str] = "same_speaker_flag file1 file2"
    tree: EmbeddingTree
    pairs: IntArray
    same_speaker: BoolArray

    def __len__(self) -> int:
        return len(self.pairs)

    def counts(self) -> dict[str, int]:
        """How many entries, files, and trials of the same speaker and of different ones."""
        same = int(self.same_speaker.sum())
        return {
            "entries": len(self),
            "files": _different(self.pairs),
            "same_speaker": same,
            "different_speakers": len(self) - same,
        }

    def lines(self) -> Iterator[str]:
        """The entries as text."""
        files = self.tree.files
        for (first, second), same in zip(self.pairs.tolist(), self.same_speaker.tolist(), strict=True):
            yield f"{int(same)} {files[first]} {files[second]}\n"


EnhancementList = NormalList | TripletList | DistributionList | TestList


def _different(numbers: IntArray) -> int:
    return len(np.unique(numbers))
