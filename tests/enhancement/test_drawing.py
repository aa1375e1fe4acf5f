"""What is drawn: every rule of the lists, measured on what comes out."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from openkith.enhancement.drawing import make_distribution, make_normal, make_test, make_triplet
from openkith.enhancement.lists import FORMS, make_list
from openkith.enhancement.tree import EmbeddingTree
from openkith.errors import ConfigError, NotEnoughDataError

Shape = Mapping[str, Mapping[str, int]]
Plant = Callable[[Shape], EmbeddingTree]

SIZES = {  # of a speaker's recordings
    "even": (4, 4, 4),
    "odd": (5, 3, 1),
    "one-rules": (9, 1, 1),
    "tail": (6, 2, 2, 1, 1, 1),
    "alone": (7,),
    "singles": (1, 1, 1, 1),
    "pair": (2, 1),
    "two": (3, 3),
    "large": (40, 33, 20, 7, 7, 6, 1),
}
MIXED: Shape = {
    name: {f"r{number}": size for number, size in enumerate(sizes)} for name, sizes in SIZES.items()
}


def imagined(shape: Shape) -> EmbeddingTree:
    """A tree that is on no disk."""
    speakers = sorted(shape)
    rows = [(s, r, f) for s in speakers for r in sorted(shape[s]) for f in range(shape[s][r])]
    recordings = sorted({(s, r) for s, r, _ in rows})
    return EmbeddingTree(
        Path("/nowhere"),
        tuple(f"{s}/{r}/{f:05d}.npy" for s, r, f in rows),
        tuple(speakers),
        np.array([speakers.index(s) for s, _, _ in rows]),
        tuple("/".join(key) for key in recordings),
        np.array([recordings.index((s, r)) for s, r, _ in rows]),
    )


def most_pairs(sizes: tuple[int, ...]) -> int:
    """How many disjoint pairs of files there are across recordings of these sizes, by trying all."""

    @cache
    def most(left: tuple[int, ...]) -> int:
        best = 0
        for a, b in itertools.combinations(range(len(left)), 2):
            if left[a] and left[b]:
                rest = list(left)
                rest[a] -= 1
                rest[b] -= 1
                best = max(best, 1 + most(tuple(sorted(rest))))
        return best

    return most(tuple(sorted(sizes)))


@pytest.fixture(scope="module")
def mixed() -> EmbeddingTree:
    return imagined(MIXED)


@pytest.mark.parametrize("form", list(FORMS))
def test_the_same_seed_gives_the_same_list(form: str, mixed: EmbeddingTree) -> None:
    first, again, other = (list(make_list(form, mixed, seed).lines()) for seed in (3, 3, 4))
    assert first == again
    assert (first == other) == (form == "normal")  # in which nothing is drawn


def test_no_such_form_and_no_such_seed(mixed: EmbeddingTree) -> None:
    with pytest.raises(ConfigError, match="'pairs'; there are: normal, triplet, distribution, test"):
        make_list("pairs", mixed)
    with pytest.raises(ConfigError, match="seed is -1"):
        make_list("test", mixed, -1)


def test_normal_has_every_file_once(mixed: EmbeddingTree) -> None:
    made = make_normal(mixed)
    assert made.files.tolist() == list(range(len(mixed)))
    assert [made.names[speaker] for speaker in made.speakers] == [
        mixed.files[file].partition("/")[0] for file in made.files
    ]


def test_the_other_speaker_of_a_triplet_is_never_the_same() -> None:
    tree = imagined({f"s{k}": {"r": 3000} for k in range(4)})
    made = make_triplet(tree, 1)
    assert made.files.tolist() == list(range(len(tree)))
    assert (made.speakers == tree.speaker_of).all()
    assert (made.others != made.speakers).all()
    counts = Counter(zip(made.speakers.tolist(), made.others.tolist(), strict=True))
    assert len(counts) == 12  # every other one
    assert all(abs(count - 1000) < 150 for count in counts.values())  # 5.8 standard deviations


def test_two_speakers_are_each_others_others() -> None:
    made = make_triplet(imagined({"ann": {"r": 3}, "bob": {"r": 2}}), 0)
    assert [made.names[other] for other in made.others] == ["bob"] * 3 + ["ann"] * 2


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_a_distribution_list_are_what_their_flags_say(mixed: EmbeddingTree, seed: int) -> None:
    made = make_distribution(mixed, seed)
    first, second = made.pairs.T
    assert (mixed.speaker_of[first] == made.speakers).all()
    assert (mixed.speaker_of[second] == made.speakers).all()
    assert ((mixed.recording_of[first] == mixed.recording_of[second]) == made.same_recording).all()


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_a_distribution_list_are_disjoint(mixed: EmbeddingTree, seed: int) -> None:
    made = make_distribution(mixed, seed)
    for flag in (True, False):
        used = made.pairs[made.same_recording == flag].ravel()
        assert len(np.unique(used)) == len(used)


@pytest.mark.parametrize("seed", range(5))
def test_all_same_recording_pairs_and_as_many_across_as_can_be(mixed: EmbeddingTree, seed: int) -> None:
    made = make_distribution(mixed, seed)
    for number, name in enumerate(mixed.speakers):
        flags = made.same_recording[made.speakers == number]
        same = sum(size // 2 for size in SIZES[name])
        across = min(same, sum(SIZES[name]) // 2, sum(SIZES[name]) - max(SIZES[name]))
        assert (flags.sum(), (~flags).sum()) == (same, across), name
        assert flags[:same].all()  # first of the same recording, then across
    counts = Counter(made.names[k] for k in made.speakers)
    assert counts["even"] == counts["two"] * 3 == 12  # balanced where the material allows
    assert counts["singles"] == 0
    assert (np.diff(made.speakers) >= 0).all()


def test_no_choice_gives_more_pairs_across() -> None:
    for count in (2, 3, 4):
        for sizes in itertools.combinations_with_replacement(range(1, 6), count):
            same = sum(size // 2 for size in sizes)
            if same:
                tree = imagined({"ann": {f"r{number}": size for number, size in enumerate(sizes)}})
                made = make_distribution(tree, 0)
                assert (~made.same_recording).sum() == min(same, most_pairs(sizes)), sizes


@pytest.mark.parametrize("seed", range(5))
def test_across_from_the_largest_and_the_smallest_left(mixed: EmbeddingTree, seed: int) -> None:
    made = make_distribution(mixed, seed)
    for number, name in enumerate(mixed.speakers):
        left = Counter(
            mixed.recording_of[mixed.speaker_starts[number] : mixed.speaker_starts[number + 1]].tolist()
        )
        for first, second in made.pairs[(made.speakers == number) & ~made.same_recording]:
            large, small = mixed.recording_of[first], mixed.recording_of[second]
            remaining = {recording: count for recording, count in left.items() if count}
            assert left[large] == max(remaining.values()), name
            assert left[small] == min(remaining.values()), name
            left[large] -= 1
            left[small] -= 1


def test_any_two_files_of_a_recording_may_meet() -> None:
    tree = imagined({"ann": {"r0": 4, "r1": 4}})
    made = [make_distribution(tree, seed) for seed in range(200)]
    same = {tuple(sorted(p)) for each in made for p in each.pairs[each.same_recording].tolist()}
    across = {tuple(sorted(p)) for each in made for p in each.pairs[~each.same_recording].tolist()}
    assert same == {*itertools.combinations(range(4), 2), *itertools.combinations(range(4, 8), 2)}
    assert across == set(itertools.product(range(4), range(4, 8)))


@pytest.mark.parametrize("seed", range(5))
def test_four_and_four_of_each_file(seed: int) -> None:
    tree = imagined({f"s{k}": {"a": 3 + k, "b": 2} for k in range(4)})
    made = make_test(tree, seed)
    first, second = made.pairs.T
    assert ((tree.speaker_of[first] == tree.speaker_of[second]) == made.same_speaker).all()
    assert (first != second).all()
    for file in range(len(tree)):
        flags = made.same_speaker[first == file]
        assert (flags.sum(), (~flags).sum()) == (4, 4)
    assert len(np.unique(made.pairs, axis=0)) == len(made.pairs) == 8 * len(tree)


def test_fewer_than_four_where_there_are_no_more() -> None:
    tree = imagined({"ann": {"r": 3}, "bob": {"r": 1}, "cleo": {"a": 4, "b": 1}})
    made = make_test(tree, 0)
    same = Counter(made.pairs[made.same_speaker, 0].tolist())
    other = Counter(made.pairs[~made.same_speaker, 0].tolist())
    assert [same[file] for file in range(9)] == [2, 2, 2, 0, 4, 4, 4, 4, 4]
    assert [other[file] for file in range(9)] == [4] * 9
    assert len(np.unique(made.pairs, axis=0)) == len(made.pairs)
    two = make_test(imagined({"ann": {"r": 2}, "bob": {"r": 2}}), 0)
    assert (two.same_speaker.sum(), (~two.same_speaker).sum()) == (4, 8)


def test_all_others_are_equally_likely_in_trials() -> None:
    tree = imagined({"ann": {"r": 6}, "bob": {"r": 7}, "cleo": {"r": 8}})
    counts = np.zeros((len(tree), len(tree)))
    for seed in range(300):
        np.add.at(counts, tuple(make_test(tree, seed).pairs.T), 1)
    sizes = np.diff(tree.speaker_starts)[tree.speaker_of]
    same = tree.speaker_of[:, None] == tree.speaker_of
    expected = np.where(same, 4 / (sizes - 1)[:, None], 4 / (len(tree) - sizes)[:, None])
    np.fill_diagonal(expected, 0.0)
    deviation = np.sqrt(300 * expected * (1 - expected)) + 1e-9
    assert (np.abs(counts - 300 * expected) <= 4.5 * deviation).all()


@pytest.mark.parametrize(
    ("form", "shape", "said"),
    [
        ("triplet", {"ann": {"r": 5}}, "1 speaker; a triplet list needs two or more"),
        ("test", {"ann": {"r": 5}}, "1 speaker; a test list needs two or more"),
        ("test", {"ann": {"r": 1}, "bob": {"r": 1}}, "nobody has two files"),
        ("distribution", {"ann": {"r": 1, "s": 1}}, "no recording has two files"),
        ("distribution", {"ann": {"r": 5}, "bob": {"r": 4}}, "no speaker has two recordings"),
    ],
)
def test_trees_that_are_too_small(form: str, shape: Shape, said: str) -> None:
    with pytest.raises(NotEnoughDataError, match=said):
        make_list(form, imagined(shape))


def test_a_speaker_with_very_many_recordings() -> None:
    """Time grows with the files, and not with their square: 40 000 recordings of one speaker took 0.4 s."""
    tree = EmbeddingTree(
        Path("/nowhere"),
        tuple(map(str, range(80_000))),
        ("ann",),
        np.zeros(80_000, np.int64),
        tuple(map(str, range(40_000))),
        np.repeat(np.arange(40_000), 2),
    )
    began = time.perf_counter()
    made = make_distribution(tree, 0)
    assert len(made) == 80_000
    assert time.perf_counter() - began < 20.0  # 40 000 times 40 000 steps would be minutes


def test_the_tree_on_the_disk_gives_the_same(plant: Plant, mixed: EmbeddingTree) -> None:
    tree = plant(MIXED)
    for form in FORMS:
        assert list(make_list(form, tree, 7).lines()) == list(make_list(form, mixed, 7).lines())
