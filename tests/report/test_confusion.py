from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from openkith.report.confusion import MAX_PEOPLE, confusion, draw_confusion


def test_counts_by_hand(make_run):
    run = make_run(
        names=("ann", "bob"),
        people=2,
        known=5,
        unknown=3,
        labels=np.array([0, 0, 1, 1, 1, -1, -1, -1]),
        statuses=("known", "known", "known", "unknown", "unsure", "known", "unknown", "unsure"),
        decided=("ann", "bob", "bob", None, "bob", "ann", None, None),
    )
    matrix = confusion(run)
    assert matrix.rows == ("ann", "bob", "strangers")
    assert matrix.columns == ("ann", "bob", "unsure", "unknown")
    assert matrix.counts.tolist() == [[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 1]]
    assert matrix.right.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, False, True],
    ]
    assert matrix.n_left_out == 0


def test_no_row_for_strangers_where_there_are_none(make_run):
    matrix = confusion(make_run(unknown=0))
    assert matrix.rows == tuple(f"person {i}" for i in range(1, 6))
    assert matrix.counts.sum() == 20


def test_a_person_called_unknown_is_no_stranger(make_run):
    run = make_run(
        names=("unknown", "strangers"),
        people=2,
        known=2,
        unknown=1,
        statuses=("known", "known", "unknown"),
        decided=("unknown", "strangers", None),
    )
    assert confusion(run).counts.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_of_many_people_those_with_mistakes_are_shown(make_run):
    people = MAX_PEOPLE + 10
    names = tuple(f"p{i}" for i in range(people))
    decided = [names[i] for i in range(people)]
    decided[people - 1] = names[people - 2]  # two people who would not be among the first
    decided[3] = names[people - 3]
    run = make_run(
        names=names,
        people=people,
        known=people,
        unknown=1,
        statuses=("known",) * (people + 1),
        decided=(*decided, names[people - 4]),
    )
    matrix = confusion(run)
    assert len(matrix.rows) == MAX_PEOPLE + 1
    assert {f"p{people - i}" for i in (1, 2, 3, 4)} | {"p3"} <= set(matrix.rows)
    assert matrix.columns[-3:] == ("another name", "unsure", "unknown")
    assert matrix.n_left_out == 10
    assert matrix.counts.sum() == MAX_PEOPLE + 1
    assert matrix.counts[matrix.right].sum() == MAX_PEOPLE - 2


def test_a_name_that_is_not_shown_is_another_name(make_run):
    people = MAX_PEOPLE + 1
    names = tuple(f"p{i}" for i in range(people))
    # Everybody is once taken for the next, but for the last, who is only ever taken for himself, or named instead of
    # the first, who has two more mistakes.
    decided = [names[(i + 1) % (people - 1)] for i in range(people - 1)] + [names[-1]] + [names[-1]]
    labels = np.array([*range(people), 0])
    run = make_run(
        names=names,
        people=people,
        known=people + 1,
        unknown=0,
        labels=labels,
        statuses=("known",) * (people + 1),
        decided=tuple(decided),
    )
    matrix = confusion(run)
    assert names[-1] not in matrix.rows
    assert matrix.counts[0, matrix.columns.index("another name")] == 1


def test_the_drawing_has_each_count_and_name(make_run):
    matrix = confusion(make_run(names=("a<b", "a name that is far too long to stand in full", "c", "d", "e")))
    root = ElementTree.fromstring(draw_confusion(matrix, "k"))
    texts = ["".join(e.itertext()) for e in root.iter("text")]
    assert texts.count("a<b") == 2
    assert texts.count("a name tha… full") == 2
    counts = [str(c) for c in matrix.counts[matrix.counts > 0]]
    assert sorted(t for t in texts if t.isdigit()) == sorted(counts)


def test_labels_of_forty_people_are_legible(make_run):
    matrix = confusion(make_run(people=45, known=90))
    svg = draw_confusion(matrix, "k")
    root = ElementTree.fromstring(svg)
    sizes = [
        float(part.partition(":")[2].strip().removesuffix("px"))
        for e in root.iter("text")
        for part in e.get("style").split(";")
        if part.strip().startswith("font-size") and "".join(e.itertext()).startswith("person")
    ]
    assert len(sizes) == 90
    assert min(sizes) >= 10.0
    height = float(root.get("height"))
    assert height / 46 > min(sizes)  # one line each
