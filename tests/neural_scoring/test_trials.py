"""Trials of a batch: properties, and small batches by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openkith.errors import InputError
from openkith.neural_scoring import batch_trials, extra_talkers
from openkith.neural_scoring.trials import NO_TALKER


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Speakers, second talkers (some nobody) and the number of enrolments."""
    count = draw(st.integers(1, 12))
    people = st.integers(0, 6)
    speakers = draw(st.lists(people, min_size=count, max_size=count))
    second = draw(st.lists(people | st.just(NO_TALKER), min_size=count, max_size=count))
    return speakers, second, draw(st.integers(1, 15))


@settings(deadline=None)
@given(batches())
def test_the_match_and_its_neighbours(batch: tuple[list[int], list[int], int]) -> None:
    speakers, _, enrolments = batch
    count = len(speakers)
    indices, labels = batch_trials(speakers, enrolments)
    assert indices.shape == labels.shape == (count, min(enrolments, count))
    assert labels.dtype == bool
    for test in range(count):
        asked = indices[test].tolist()
        assert asked == [place % count for place in range(test, test + min(enrolments, count))]
        assert len(set(asked)) == len(asked)  # no trial is there twice
        assert labels[test].tolist() == [speakers[who] == speakers[test] for who in asked]
        assert labels[test, 0]
    # No enrolment is asked about more often than another.
    assert np.bincount(indices.ravel(), minlength=count).tolist() == [min(enrolments, count)] * count


@settings(deadline=None)
@given(batches())
def test_a_second_talker_is_a_match(batch: tuple[list[int], list[int], int]) -> None:
    speakers, second, enrolments = batch
    count = len(speakers)
    extra = extra_talkers(speakers, second)
    indices, labels = batch_trials(speakers, enrolments, second=second, extra=extra)
    plain = batch_trials(speakers, enrolments)
    np.testing.assert_array_equal(indices[:, :-1], plain.indices)
    assert indices[:, -1].tolist() == list(range(count, 2 * count))  # each its own extra one
    owners = [*speakers, *extra.tolist()]
    for test in range(count):
        talkers = {speakers[test], second[test]} - {NO_TALKER}
        assert labels[test].tolist() == [owners[who] in talkers for who in indices[test]]
        assert owners[count + test] in talkers
    assert labels[:, -1].all()
    assert (labels[:, :-1] >= plain.labels).all()


@settings(deadline=None)
@given(batches(), st.data())
def test_a_process_has_its_rows(batch: tuple[list[int], list[int], int], data: Any) -> None:
    speakers, second, enrolments = batch
    extra = extra_talkers(speakers, second)
    whole = batch_trials(speakers, enrolments, second=second, extra=extra)
    cut = data.draw(st.integers(0, len(speakers)))
    parts = [
        batch_trials(speakers, enrolments, second=second, extra=extra, rows=rows)
        for rows in (slice(0, cut), slice(cut, None))
    ]
    for field in ("indices", "labels"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field))


def test_by_hand() -> None:
    """Three people; in the second test utterance person 7 talks too, whose enrolment is in the batch."""
    indices, labels = batch_trials([5, 6, 7], 2, second=[NO_TALKER, 7, NO_TALKER], extra=[5, 7, 7])
    assert indices.tolist() == [[0, 1, 3], [1, 2, 4], [2, 0, 5]]
    assert labels.tolist() == [[True, False, True], [True, True, True], [True, False, True]]


def test_whose_enrolment_is_added() -> None:
    assert extra_talkers([3, 4, 5], [NO_TALKER, 9, 5]).tolist() == [3, 9, 5]


def test_the_paper_s_batch() -> None:
    indices, labels = batch_trials(np.arange(256))
    assert indices.shape == (256, 200)
    assert labels.sum() == 256


def test_tensors_will_do() -> None:
    torch = pytest.importorskip("torch")
    assert batch_trials(torch.tensor([1, 2, 1]), 3).labels.sum() == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speakers": []}, "speakers are none"),
        ({"speakers": [1, 2], "enrolments": 0}, "enrolments is 0"),
        ({"speakers": [1, 2], "second": [1]}, "second are 1 for 2 test utterances"),
        ({"speakers": [1, 2], "extra": [1, 2, 3]}, "extra are 3 for 2"),
        ({"speakers": [1.0, 2.0]}, r"speakers have shape \(2,\) and type float64"),
        ({"speakers": [[1, 2]]}, r"speakers have shape \(1, 2\)"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        batch_trials(**arguments)
