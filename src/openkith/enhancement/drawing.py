"""Lists drawn from a tree of embeddings by a seed: triplets, pairs within and across recordings, trials."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from openkith.enhancement.list_forms import DistributionList, NormalList, TestList, TripletList
from openkith.enhancement.tree import EmbeddingTree, IntArray
from openkith.errors import NotEnoughDataError

__all__ = ["make_distribution", "make_normal", "make_test", "make_triplet"]

PER_FILE = 4
"""Of a test list: so many trials of each file with the same speaker, and so many with others."""


def make_normal(tree: EmbeddingTree, seed: int = 0) -> NormalList:
    """Every file with its speaker, in the order of the tree; nothing is drawn."""
    del seed
    return NormalList(tree, tree.speakers, tree.speaker_of, np.arange(len(tree)))


def make_triplet(tree: EmbeddingTree, seed: int = 0) -> TripletList:
    """Every file with its speaker and another one, all others equally likely.

    Raises:
        NotEnoughDataError: Fewer than two speakers.
    """
    _check_two_speakers(tree, "triplet")
    others = np.random.default_rng(seed).integers(0, len(tree.speakers) - 1, len(tree))
    others += others >= tree.speaker_of
    return TripletList(tree, tree.speakers, tree.speaker_of, np.arange(len(tree)), others)


def make_distribution(tree: EmbeddingTree, seed: int = 0) -> DistributionList:
    """Pairs of the same recording and pairs across recordings, by speaker.

    Of each speaker first all disjoint pairs of the same recording: the files of a recording in random order, two by
    two; an odd one stays out. Then as many pairs across recordings, disjoint among themselves, or fewer where the files
    do not allow more: always one file of the recording that has most files left, and one of that which has fewest left.
    No other choice gives more pairs across recordings. A file may be in a pair of each kind.

    Raises:
        NotEnoughDataError: No recording has two files, or no speaker two recordings.
    """
    rng = np.random.default_rng(seed)
    order = _shuffled_within(tree, rng)
    place = np.arange(len(tree)) - tree.recording_starts[tree.recording_of]
    left = tree.recording_starts[tree.recording_of + 1] - np.arange(len(tree))
    firsts = np.flatnonzero((place % 2 == 0) & (left > 1))
    same = np.stack([order[firsts], order[firsts + 1]], axis=1)
    if not len(same):
        raise NotEnoughDataError(
            f"{tree.root}: no recording has two files, so that there are no same-recording pairs; a tree is "
            "speaker/recording/file.npy"
        )
    wanted = np.bincount(tree.speaker_of[firsts], minlength=len(tree.speakers))
    cross = _cross_pairs(tree, wanted, _shuffled_within(tree, rng), rng.permutation(len(tree.recordings)))
    if not len(cross):
        raise NotEnoughDataError(
            f"{tree.root}: no speaker has two recordings, so that there are no cross-recording pairs; a tree is "
            "speaker/recording/file.npy"
        )
    pairs = np.concatenate([same, cross])
    flags = np.arange(len(pairs)) < len(same)
    by_speaker = np.argsort(tree.speaker_of[pairs[:, 0]], kind="stable")
    pairs, flags = pairs[by_speaker], flags[by_speaker]
    return DistributionList(tree, tree.speakers, tree.speaker_of[pairs[:, 0]], pairs, flags)


def make_test(tree: EmbeddingTree, seed: int = 0) -> TestList:
    """Every file with 4 others of its speaker and 4 of other speakers, never two times the same.

    A speaker with fewer than 5 files has as many trials of the same speaker as there are other files.

    Raises:
        NotEnoughDataError: Fewer than two speakers, or nobody has two files.
    """
    _check_two_speakers(tree, "test")
    rng = np.random.default_rng(seed)
    numbers = np.arange(len(tree))
    begin = tree.speaker_starts[tree.speaker_of]
    own = tree.speaker_starts[tree.speaker_of + 1] - begin
    if own.max() < 2:
        raise NotEnoughDataError(
            f"{tree.root}: nobody has two files, so that no trial is of the same speaker; a tree is "
            "speaker/recording/file.npy"
        )
    same = _draw(own - 1, PER_FILE, rng)
    other = _draw(len(tree) - own, PER_FILE, rng)
    there = np.concatenate([same >= 0, other >= 0], axis=1)
    same += same >= (numbers - begin)[:, None]  # past itself
    other += np.where(other >= begin[:, None], own[:, None], 0)  # past its speaker
    seconds = np.concatenate([same + begin[:, None], other], axis=1)
    firsts = np.broadcast_to(numbers[:, None], seconds.shape)
    flags = np.broadcast_to(np.arange(2 * PER_FILE) < PER_FILE, seconds.shape)
    return TestList(tree, np.stack([firsts[there], seconds[there]], axis=1), flags[there])


def _check_two_speakers(tree: EmbeddingTree, form: str) -> None:
    if len(tree.speakers) < 2:
        raise NotEnoughDataError(
            f"{tree.root}: {len(tree.speakers)} speaker; a {form} list needs two or more"
        )


def _shuffled_within(tree: EmbeddingTree, rng: np.random.Generator) -> IntArray:
    """(n,) the numbers of the files, those of each recording in random order."""
    return np.lexsort((rng.random(len(tree)), tree.recording_of)).astype(np.int64)


def _cross_pairs(tree: EmbeddingTree, wanted: IntArray, order: IntArray, ranks: IntArray) -> IntArray:
    """Pairs (p, 2) across recordings, as many of each speaker as are wanted or can be had.

    Args:
        tree: The files.
        wanted: (s,) pairs of each speaker.
        order: (n,) the files of each recording in the order in which they are taken, last first.
        ranks: (r,) which of two recordings with as many files left counts as the larger.
    """
    pairs: list[tuple[int, int]] = []
    starts = tree.recording_starts.tolist()
    recordings = np.searchsorted(tree.recording_starts, tree.speaker_starts).tolist()
    files, rank = order.tolist(), ranks.tolist()
    for speaker, count in enumerate(wanted.tolist()):
        own = range(recordings[speaker], recordings[speaker + 1])
        if count and len(own) > 1:
            left = {recording: files[starts[recording] : starts[recording + 1]] for recording in own}
            pairs.extend(islice(_largest_with_smallest(left, rank), count))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _largest_with_smallest(left: Mapping[int, list[int]], rank: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Disjoint pairs of files, one of the recording with most files left, one of that with fewest, until one is left.

    Two heaps, in which entries that are no longer true are passed over: a pair costs log(recordings).
    """
    smallest = [(len(files), rank[recording], recording) for recording, files in left.items()]
    largest = [(-size, -order, recording) for size, order, recording in smallest]
    heapq.heapify(smallest)
    heapq.heapify(largest)
    alive = len(left)
    while alive > 1:
        pair = []
        while -largest[0][0] != len(left[largest[0][2]]):
            heapq.heappop(largest)
        while smallest[0][0] != len(left[smallest[0][2]]):
            heapq.heappop(smallest)
        for recording in (largest[0][2], smallest[0][2]):
            files = left[recording]
            pair.append(files.pop())
            if files:
                heapq.heappush(smallest, (len(files), rank[recording], recording))
                heapq.heappush(largest, (-len(files), -rank[recording], recording))
            else:
                alive -= 1
        yield pair[0], pair[1]


def _draw(sizes: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """So many different numbers below each size, equally likely, (n, count); -1 where there are no more."""
    drawn = np.full((len(sizes), count), -1, np.int64)
    for column in range(count):
        left = sizes - column
        found = rng.integers(0, np.maximum(left, 1))
        for earlier in np.sort(drawn[:, :column], axis=1).T:  # past those that are taken, from the least
            found += found >= earlier
        drawn[:, column] = np.where(left > 0, found, -1)
    return drawn
