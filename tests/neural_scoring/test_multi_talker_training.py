"""Learning the multi-talker model from made-up mixtures: the closed form by hand, and the gradient by what it does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openkith.metrics import eer
from openkith.neural_scoring.cohort_mixtures import Mixtures
from openkith.neural_scoring.multi_talker_training import _Learned, _loss, closed_form, refine
from openkith.neural_scoring.talker_model import TalkerModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_people import DIM, some_mixtures


@pytest.fixture(scope="module")
def parts() -> list[Mixtures]:
    return [some_mixtures(np.random.default_rng(seed)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def closed(parts: list[Mixtures]) -> TalkerModel:
    return closed_form(parts, "small/1", "nobody")


def rate(model: TalkerModel, mixtures: Mixtures) -> float:
    people = model.people(mixtures.enrolments)
    scores = np.stack([model.scores(people, mixtures.tokens(row)) for row in range(len(mixtures))])
    labels = mixtures.labels()
    return eer(scores[labels == 1], scores[labels == 0])


def test_whitening_as_written_down(parts: list[Mixtures], closed: TalkerModel) -> None:
    for look in (0, 1):
        covariances = []
        for scenario in ("clean", "noisy"):
            rows = []
            for part in parts:
                means = [part.enrolments[2 * i : 2 * i + 2].mean(axis=0) for i in range(12)]
                for clip in range(len(part)):
                    if part.scenarios[clip] == scenario:
                        rows += [
                            w[-1] - means[part.own[clip] // 2] for w in part.states[clip, look].astype(float)
                        ]
            rows = np.array(rows) - np.mean(rows, axis=0)
            covariances.append(rows.T @ rows / len(rows))
        s = np.mean(covariances, axis=0)
        r = 0.3 * s + 0.7 * np.trace(s) / DIM * np.eye(DIM)
        a = np.linalg.cholesky(np.linalg.inv(r))
        assert closed.maps[look] == pytest.approx(a / np.diag(a).mean(), abs=2e-3)
        clean = np.concatenate([part.states[part.scenarios == "clean", look, :, -1] for part in parts])
        assert closed.token_centres[look] == pytest.approx(clean.astype(float).mean(axis=(0, 1)), abs=1e-3)
    assert np.array_equal(closed.maps, closed.token_maps)
    assert closed.centroids.shape == (24, DIM)
    assert (closed.fingerprint, closed.source) == ("small/1", "nobody")


def test_training_scores_as_the_model_does(parts: list[Mixtures], closed: TalkerModel) -> None:
    part = parts[0]
    states = torch.from_numpy(part.states[:6].astype(np.float32))
    with torch.no_grad():
        s = _Learned(closed)(
            torch.from_numpy(part.enrolments), states[:, :, :, -1], states.flatten(2, 3)
        ).numpy()
    people = closed.people(part.enrolments)
    for row in range(6):
        assert closed._compare(people, part.tokens(row)) == pytest.approx(s[row], abs=1e-5)


def test_refining_lowers_loss_and_errors_with_other_people(
    parts: list[Mixtures], closed: TalkerModel
) -> None:
    refined, losses = refine(closed, parts, epochs=15, rate=60.0)
    assert losses[-1] < 0.9 * losses[0]
    others = some_mixtures(np.random.default_rng(9), people=20, per_scenario=60)
    before, after = rate(closed, others), rate(refined, others)
    assert after < 0.92 * before < 0.2
    assert refined.line == closed.line


def test_refining_is_the_same_for_a_seed(parts: list[Mixtures], closed: TalkerModel) -> None:
    one, other, third = (refine(closed, parts[:1], epochs=1, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one.maps, other.maps)
    assert not np.array_equal(one.maps, third.maps)


def test_loss_by_hand() -> None:
    label = torch.tensor([[1, 0, 0, -1, 0]])
    cohort = torch.tensor([True, False, True, True, True])
    s = torch.tensor([[0.9, 0.4, 0.3, 5.0, 0.1]])
    # the cohort of the clip is columns 2 and 4, the only impostor column 1
    z = 2.0 * (np.array([0.9, 0.4]) - 0.2) - 0.5
    expected = np.log1p(np.exp(-z[0])) + np.log1p(np.exp(z[1]))
    assert _loss(s, label, cohort, torch.tensor([2.0, -0.5])).item() == pytest.approx(expected, rel=1e-5)
