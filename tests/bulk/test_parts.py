"""Outcomes kept in files until a shard is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from openkith.bulk.parts import Measures, Outcome, drop_parts, read_part, write_part

MEASURES = Measures(1.5, 1.25, 20, 0.001, 7000)
GOOD = Outcome("d.wav", "/c/d.wav", "ann", np.full(4, 4.0, np.float32), MEASURES)
BAD = Outcome("c.wav", "/c/c.wav", "ann", None, None, "no audio")


def test_parts(tmp_path: Path) -> None:
    path = write_part(tmp_path, [BAD, GOOD])
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    bad, good = read_part(path) or []
    assert (bad.utterance, bad.error, bad.vector, bad.measures) == ("c.wav", "no audio", None, None)
    assert (good.utterance, good.path, good.speaker, good.error) == ("d.wav", "/c/d.wav", "ann", "")
    assert good.measures == MEASURES
    np.testing.assert_array_equal(good.vector, GOOD.vector)
    assert write_part(tmp_path, [BAD, GOOD]) == path
    only_bad = write_part(tmp_path, [BAD])
    assert [each.error for each in read_part(only_bad) or []] == ["no audio"]
    path.write_bytes(path.read_bytes()[:-3])
    assert read_part(path) is None
    drop_parts([path, only_bad, only_bad])
    assert list(tmp_path.iterdir()) == []
    assert read_part(path) is None


def test_crops_and_measures_that_were_not_taken(tmp_path: Path) -> None:
    crops = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = write_part(tmp_path, [Outcome("a", "/a", "", crops, Measures(2.0, 1.0))])
    [outcome] = read_part(path) or []
    np.testing.assert_array_equal(outcome.vector, crops)
    assert outcome.measures is not None
    assert outcome.measures.cells() == ["2.000", "1.00", "", "", ""]


def test_cells() -> None:
    assert MEASURES.cells() == ["1.500", "1.25", "20.0", "0.00100", "7000"]
