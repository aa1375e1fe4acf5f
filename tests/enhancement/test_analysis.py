"""Scores and distances before and after, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from openkith.enhancement.analysis import (
    ANALYSIS,
    Analysis,
    compare_distances,
    compare_scores,
    read_analysis,
    write_analysis,
)
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.losses.mmd import squared_mmd


def test_scores() -> None:
    same = np.array([True, True, True, True, False, False, False, False])
    before = np.array([0.9, 0.8, 0.7, 0.1, 0.75, 0.2, 0.0, -0.1])
    after = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.0, -0.1])
    found = compare_scores("home", same, before, after)
    assert (found.name, found.trials, found.targets) == ("home", 8, 4)
    assert (found.eer_before, found.eer_after) == (0.25, 0.0)
    histograms = found.scores
    edges = np.array(histograms.edges)
    assert edges[0] < -0.1
    assert edges[-1] > 0.9
    for counts, values in ((histograms.before, before), (histograms.after, after)):
        assert {name: sum(numbers) for name, numbers in counts.items()} == {"same": 4, "different": 4}
        np.testing.assert_array_equal(counts["same"], np.histogram(values[same], edges)[0])
    with pytest.raises(NotEnoughDataError, match="home: trials of one kind only"):
        compare_scores("home", np.ones(8, bool), before, after)


def test_distances() -> None:
    """Two speakers with pairs of both kinds, and one with pairs of one recording only."""
    rng = np.random.default_rng(0)
    speakers = np.array([1, 0, 0, 1, 2, 0, 1, 1, 2, 0])
    same = np.array([1, 1, 0, 0, 1, 1, 0, 1, 1, 0], bool)
    before = rng.uniform(0, 1, 10)
    before[~same] += 0.5
    after = 0.1 * before
    found = compare_distances("1 - cosine", speakers, same, before, after, sigma=0.5)
    assert (found.same_recording, found.cross_recording, found.sigma) == (6, 4, 0.5)
    assert found.before["same_recording"].mean == pytest.approx(before[same].mean())
    assert found.after["cross_recording"].deviation == pytest.approx(after[~same].std())
    for value, distances in ((found.mmd_before, before), (found.mmd_after, after)):
        wanted = squared_mmd(
            torch.from_numpy(distances), torch.from_numpy(same), torch.from_numpy(speakers), 0.5
        )
        assert value == pytest.approx(float(wanted), rel=1e-6)
    assert found.mmd_after < found.mmd_before


def test_pairs_of_one_kind() -> None:
    found = compare_distances(
        "1 - cosine", np.zeros(3, int), np.ones(3, bool), np.arange(3.0), np.arange(3.0)
    )
    assert list(found.before) == ["same_recording"]
    assert np.isnan(found.mmd_before)


def test_it_is_kept(tmp_path: Path) -> None:
    assert read_analysis(tmp_path) is None
    rng = np.random.default_rng(0)
    values, flags = rng.normal(size=20), np.arange(20) % 2 == 0
    analysis = Analysis(
        "enhancer:1",
        "",
        (compare_scores("home", flags, values, values),),
        (compare_distances("1 - cosine", np.zeros(20, int), flags, values, values),),
    )
    write_analysis(tmp_path, analysis)
    assert read_analysis(tmp_path) == analysis
    assert [path.name for path in tmp_path.iterdir()] == [ANALYSIS]
    (tmp_path / ANALYSIS).write_text('{"enhancer": 1}')
    with pytest.raises(ConfigError, match=r"analysis\.json: enhancer is 1; expected text"):
        read_analysis(tmp_path)
