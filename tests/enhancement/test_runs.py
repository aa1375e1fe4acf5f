"""What a training's enhancer does to scores and distances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.enhancement import runs
from openkith.enhancement.analysis import read_analysis
from openkith.enhancement.runs import analyse_run, read_run
from openkith.enhancement.settings import EnhancementConfig
from openkith.enhancement.trainer import train_enhancer
from openkith.errors import InputError

Config = Callable[..., EnhancementConfig]


def test_of_the_people_who_are_tested(config: Config, tmp_path: Path, corpus: Path) -> None:
    """The pairs are theirs: 8 people with 3 recordings of 3 files, in each recording a pair."""
    heard: list[tuple[str, int, int]] = []
    train_enhancer(config("train.epochs=1"), tmp_path)
    found = analyse_run(tmp_path, progress=lambda *words: heard.append(words))
    assert read_analysis(tmp_path) == found
    assert [(each.name, each.trials) for each in found.scores] == [("home", 576)]
    assert {each.measure: each.same_recording for each in found.distances} == {
        "1 - cosine": 24,
        "RMS difference": 24,
    }
    one = {each.measure: each.before["same_recording"].mean for each in found.distances}
    assert one["RMS difference"] ** 2 == pytest.approx(2 * one["1 - cosine"] / 16, rel=0.1)  # of unit length
    assert heard == [("scoring home", 0, 1)]
    assert found.checkpoint == ""
    assert read_run(tmp_path)[0].data.test_list == corpus / "home_test_list.txt"


def test_without_a_test_list_of_those_learned_from(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_enhancer(config("train.epochs=1", test=False), tmp_path)
    found = analyse_run(tmp_path)
    assert found.scores == ()
    assert found.distances[0].same_recording == 36
    monkeypatch.setattr(runs, "MOST_PAIRS", 20)  # of 6 and about 4 of each speaker
    few = analyse_run(tmp_path).distances[0]
    assert 10 < few.same_recording + few.cross_recording <= 20
    assert np.isfinite(few.mmd_after)


def test_while_it_goes_on_and_where_it_has_not_begun(config: Config, tmp_path: Path) -> None:
    train_enhancer(config("train.epochs=1"), tmp_path)
    (tmp_path / "enhancer").rename(tmp_path / "elsewhere")
    assert analyse_run(tmp_path).checkpoint == "step-00000003"
    with pytest.raises(InputError, match=r"about\.json: cannot be read"):
        analyse_run(tmp_path / "checkpoints")
