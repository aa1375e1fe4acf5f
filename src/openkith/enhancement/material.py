"""What a configuration names: trees, lists and targets, read and fitted together."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from openkith.enhancement.curves import EER, SECOND_EER
from openkith.enhancement.data import FloatArray, LearnedList
from openkith.enhancement.list_forms import DistributionList, TestList
from openkith.enhancement.lists import read_list
from openkith.enhancement.settings import DataConfig, EnhancementConfig
from openkith.enhancement.targets import make_targets, read_targets
from openkith.enhancement.tree import EmbeddingTree, MappedEmbeddings, pack_tree, read_tree
from openkith.errors import ConfigError, EncoderMismatchError, InputError, NotEnoughDataError
from openkith.training.logs import Progress

__all__ = ["Material", "Test", "Trees", "read_material", "read_tests"]

PACKED = ".packed"
"""In the folder of a tree: its embeddings in one array."""


@dataclass(frozen=True, eq=False)
class Test:
    """A test list with its embeddings.

    Attributes:
        name: Of the list.
        trials: The list.
        embeddings: Of its tree.
    """

    __test__ = False  # for pytest, it is none
    name: str
    trials: TestList
    embeddings: MappedEmbeddings


@dataclass(frozen=True, eq=False)
class Material:
    """What a network learns from.

    Attributes:
        entries: The list.
        embeddings: Of its tree.
        targets: (s, d) multi-utterance embeddings of the list's speakers; None where the loss needs none.
        encoder: Fingerprint of the encoder; empty where the tree does not tell.
    """

    entries: LearnedList
    embeddings: MappedEmbeddings
    targets: FloatArray | None
    encoder: str

    @property
    def files(self) -> npt.NDArray[np.int64]:
        """Numbers of the embeddings that are learned from, each once."""
        entries = self.entries
        return np.unique(entries.pairs if isinstance(entries, DistributionList) else entries.files)


class Trees:
    """Trees by folder, each listed and packed once.

    Args:
        cache: The folder that they are packed in; None: `PACKED` in each tree's own.
        progress: Called with what is being done, files done and files in all.
    """

    def __init__(self, cache: Path | None, progress: Progress | None = None) -> None:
        self._cache, self._progress = cache, progress
        self._found: dict[Path, tuple[EmbeddingTree, MappedEmbeddings]] = {}

    def open(self, folder: Path) -> tuple[EmbeddingTree, MappedEmbeddings]:
        """A tree and its embeddings.

        Raises:
            InputError: There is no such tree, or it cannot be packed.
            EncoderMismatchError: It is of another encoder than the one that was opened first.
        """
        key = folder.absolute()
        if key not in self._found:
            tree = read_tree(folder)
            self._found[key] = tree, pack_tree(tree, self._place(key), self._progress)
            self._compare(tree)
        return self._found[key]

    def _place(self, folder: Path) -> Path:
        if self._cache is not None:
            return (
                self._cache
                / f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"
            )
        if not os.access(folder, os.W_OK):
            raise InputError(
                f"{folder}: cannot be written, to pack it; give a folder that can be as data.cache"
            )
        return folder / PACKED

    def _compare(self, tree: EmbeddingTree) -> None:
        (first, rows), *_ = self._found.values()
        _, mine = self._found[tree.root.absolute()]
        told = {each.fingerprint for each in (first, tree)} - {""}
        if rows.dim != mine.dim or len(told) > 1:
            raise EncoderMismatchError(
                f"{tree.root}: {mine.dim} numbers of {tree.fingerprint or 'an unnamed encoder'}, and {first.root} has "
                f"{rows.dim} of {first.fingerprint or 'an unnamed encoder'}; embed both with one encoder"
            )


def read_material(config: EnhancementConfig, needs: str, target_type: str | None, trees: Trees) -> Material:
    """What a network learns from.

    Args:
        config: Names it.
        needs: Form of the list.
        target_type: Type of the targets, where the configuration names none; None: the loss needs none.
        trees: To open them with.

    Raises:
        ConfigError: A path is not given.
        KithError: Something cannot be read, or does not belong together.
    """
    data = config.data
    folder = _given(data, "embeddings")
    path = _given(data, "list")
    tree, embeddings = trees.open(folder)
    entries = cast(LearnedList, read_list(path, tree, needs))
    if len(entries.names) < 2:
        raise NotEnoughDataError(f"{path}: one speaker only; give a list of several")
    targets = None
    if target_type is not None:
        targets = _targets(data, target_type, entries, tree, embeddings)
    return Material(entries, embeddings, targets, tree.fingerprint)


def read_tests(data: DataConfig, trees: Trees) -> dict[str, Test]:
    """Measure to test list; empty where none is named.

    Raises:
        KithError: Something cannot be read, or does not belong together.
    """
    found = {}
    for measure, path, folder in (
        (EER, data.test_list, data.test_embeddings),
        (SECOND_EER, data.second_list, data.second_embeddings),
    ):
        if path is not None:
            tree, embeddings = trees.open(folder or _given(data, "embeddings"))
            trials = cast(TestList, read_list(path, tree, TestList.form))
            if trials.same_speaker.all() or not trials.same_speaker.any():
                raise NotEnoughDataError(f"{path}: trials of one kind only; give a list with both")
            found[measure] = Test(path.stem.removesuffix(f"_{TestList.form}_list"), trials, embeddings)
    return found


def _given(data: DataConfig, name: str) -> Path:
    path: Path | None = getattr(data, name)
    if path is None:
        raise ConfigError(f"data.{name} is not given; give it in the file, or as --set data.{name}=PATH")
    return path


def _targets(
    data: DataConfig, kind: str, entries: LearnedList, tree: EmbeddingTree, embeddings: MappedEmbeddings
) -> FloatArray:
    """(s, d) in the order of the list's speakers."""
    if data.targets is None:
        targets, where = make_targets(tree, kind, embeddings), str(tree.root)
    else:
        targets, where = read_targets(data.targets), str(data.targets)
    told = {targets.fingerprint, tree.fingerprint} - {""}
    if targets.dim != embeddings.dim or len(told) > 1:
        raise EncoderMismatchError(
            f"{where}: targets of {targets.dim} numbers, and {tree.root} has {embeddings.dim} of another encoder; make "
            "the targets of that tree"
        )
    try:
        return targets.of(entries.names)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
