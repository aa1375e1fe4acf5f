"""Counters by hand."""

from __future__ import annotations

import math

from openkith.training.counters import Counters


def test_cuts_of_a_plateau() -> None:
    """Two epochs without a better value cut; the count begins anew after a cut, and the best stays."""
    counters = Counters()
    cuts = []
    for value in (3.0, 2.0, 2.0, 2.5, 2.1, 2.2, 1.9, 2.0, math.nan):
        counters.see(value, 2, lower=True)
        cuts.append(counters.cuts)
    assert cuts == [0, 0, 0, 1, 1, 2, 2, 2, 3]


def test_windows_and_epochs() -> None:
    counters = Counters()
    for loss in (1.0, 2.0, 6.0):
        counters.count({"loss": loss, "part": 2 * loss}, batches=2)
    assert (counters.step, counters.batch) == (3, 6)
    assert counters.take_window() == {"loss": 3.0, "part": 6.0}
    counters.count({"loss": 4.0, "part": 0.0}, batches=1)
    assert counters.take_window() == {"loss": 4.0, "part": 0.0}
    assert counters.end_epoch() == 13 / 4
    assert (counters.step, counters.epoch, counters.batch, counters.epoch_steps) == (4, 1, 0, 0)
