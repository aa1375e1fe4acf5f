"""Large-scale trials: each test utterance of a batch against many of the batch's enrolments (LtE2E).

Lin et al., arXiv 2410.16428: a batch has one enrolment and one test utterance of each of its B people. A test utterance
is asked about its own person's enrolment and those that follow it in the batch, so that B encoded utterances give B x e
trials. Where a second person talks in the test utterance, that person is a match too, and one further enrolment of a
talker is added, since the second person may have none among the neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openkith.errors import InputError

__all__ = ["NO_TALKER", "BatchTrials", "batch_trials", "extra_talkers"]

NO_TALKER = -1  # where nobody else talks

IntArray = npt.NDArray[np.int64]


class BatchTrials(NamedTuple):
    """Trials of a batch.

    Attributes:
        indices: Which enrolments each test utterance is asked about, (b, e): 0..B-1 are the batch's own, B + i the
            extra one of test utterance i.
        labels: Whether its person talks in the test utterance, (b, e), bool.
    """

    indices: IntArray
    labels: npt.NDArray[np.bool_]


def batch_trials(
    speakers: npt.ArrayLike,
    enrolments: int = 200,
    *,
    second: npt.ArrayLike | None = None,
    extra: npt.ArrayLike | None = None,
    rows: slice = slice(None),
) -> BatchTrials:
    """The trials of a batch: the match, the enrolments that follow it, wrapping round, and the extra one.

    Args:
        speakers: Who talks in each test utterance, and in the enrolment of the same index, (B,), whole numbers.
        enrolments: e, per test utterance; B where the batch is smaller, so that no trial is there twice.
        second: Who else talks in each test utterance, (B,); `NO_TALKER`, or the first one again, for nobody.
        extra: Whose enrolment is added for each test utterance, (B,), see `extra_talkers`; e grows by one.
        rows: Of which test utterances, for a process that has a part of them and the enrolments of all.

    Returns:
        Indices and labels, (b, e). An enrolment counts as a match by its person, whichever place it has in the batch.

    Raises:
        InputError: No speakers, arrays of unlike length, or ``enrolments`` below 1.
    """
    first = _whole_numbers("speakers", speakers)
    count = len(first)
    if not count:
        raise InputError("speakers are none; give one per test utterance")
    if enrolments < 1:
        raise InputError(f"enrolments is {enrolments}; give 1 or more")
    other = first if second is None else _whole_numbers("second", second, count)
    tests = np.arange(count)[rows, None]
    indices = (tests + np.arange(min(enrolments, count))) % count
    owners = first
    if extra is not None:
        owners = np.concatenate([first, _whole_numbers("extra", extra, count)])
        indices = np.concatenate([indices, count + tests], axis=1)
    asked = owners[indices]
    talks_second = (asked == other[tests]) & (other[tests] != NO_TALKER)
    return BatchTrials(indices, (asked == first[tests]) | talks_second)


def extra_talkers(speakers: npt.ArrayLike, second: npt.ArrayLike) -> IntArray:
    """Whose enrolment to add for each test utterance: the second talker's, where there is one, else the first's.

    The first one's enrolment is in the batch already.

    Args:
        speakers: Who talks in each test utterance, (B,).
        second: Who else, (B,), `NO_TALKER` for nobody.
    """
    first = _whole_numbers("speakers", speakers)
    other = _whole_numbers("second", second, len(first))
    return np.where(other == NO_TALKER, first, other)


def _whole_numbers(name: str, values: Any, count: int | None = None) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{name} have shape {array.shape} and type {array.dtype}; give whole numbers (B,)")
    if count is not None and len(array) != count:
        raise InputError(f"{name} are {len(array)} for {count} test utterances; give one for each")
    return array.astype(np.int64)
