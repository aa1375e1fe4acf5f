"""The multi-talker scorer as a method: fitted, calibrated, stored and restored."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.errors import ConfigError, GalleryError, InputError
from openkith.neural_scoring import talker_method
from openkith.neural_scoring.talker_method import TalkerMethod
from openkith.neural_scoring.talker_model import TalkerModel, one_token
from openkith.openset.heads import add_strangers, pack_model, unpack_model, unpack_talkers
from openkith.openset.model import OpenSetModel, check_encoder_of, check_method, fit_open_set
from openkith.scoring import Calibration, EmbeddingSet
from openkith.scoring.base import Listener, normalise

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_people import DIM, some_model, some_tokens


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> TalkerModel:
    made = some_model(np.random.default_rng(0))
    monkeypatch.setattr(talker_method, "shipped_model", lambda: made)
    return made


def clips(people: int = 3, views: int = 2) -> EmbeddingSet:
    """Two clips of each person, with a copy of the last clip that must not count."""
    x = np.random.default_rng(1).standard_normal((2 * people + 1, views, DIM))
    labels = np.append(np.arange(people).repeat(2), people - 1)
    own = EmbeddingSet.plain(normalise(x), labels)
    return EmbeddingSet(
        own.embeddings,
        own.labels,
        np.append(np.arange(2 * people), 2 * people - 1),
        own.groups,
        np.arange(len(x)) == 6,
    )


@pytest.fixture
def fitted() -> OpenSetModel:
    return fit_open_set("multi-talker", clips(), None, far=0.05)


def llrs(fitted: OpenSetModel, tokens: Any) -> NDArray[np.float64]:
    return fitted.calibration.llr(fitted.scorer.score(tokens))


def test_a_person_is_the_mean_of_the_plain_view_of_their_clips() -> None:
    enrolment = clips()
    scorer = TalkerMethod().fit(enrolment)
    assert scorer.people[1] == pytest.approx(enrolment.embeddings[2:4, 0].mean(axis=0))
    assert scorer.people[2] == pytest.approx(enrolment.embeddings[4:6, 0].mean(axis=0))
    assert isinstance(scorer, Listener)


def test_scores_are_those_of_the_model(fitted: OpenSetModel, model: TalkerModel) -> None:
    tokens = [some_tokens(np.random.default_rng(i), windows=12) for i in (2, 3)]
    assert isinstance(fitted.scorer, TalkerMethod)
    people = model.people(fitted.scorer.people)
    expected = [model.best_scores(people, each) for each in tokens]
    assert fitted.scorer.score(tokens) == pytest.approx(np.array(expected), abs=1e-6)
    assert fitted.scorer.score([]).shape == (0, 3)


def test_the_threshold_is_that_of_strangers_to_so_many_people(model: TalkerModel) -> None:
    for people in (1, 3, 15, 30):
        fitted = fit_open_set("multi-talker", clips(people), None, far=0.1)
        assert isinstance(fitted.scorer, TalkerMethod)
        offset = fitted.scorer.offset
        best = model.trials.nontargets[:, np.arange(people) % 20].max(axis=1) + offset
        passing = fitted.calibration.llr(best) >= fitted.calibration.threshold
        assert passing.sum() == 3  # of 30 clips
        assert set(fitted.calibration.basis) == {"shipped"}
        own = fitted.calibration.llr(model.trials.targets + offset)
        assert fitted.calibration.miss.rate == pytest.approx(np.mean(own < fitted.calibration.threshold))


def test_people_who_are_all_alike_to_the_cohort_move_the_calibration(
    model: TalkerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(model, maps=model.token_maps, token_centres=np.stack([model.centre] * 2))
    monkeypatch.setattr(talker_method, "shipped_model", lambda: model)
    enrolment = clips(4)
    apart = TalkerMethod().fit(enrolment)
    own = enrolment.originals().view(0)
    scores = np.stack([model.scores(model.people(apart.people), one_token(x)) for x in own.embeddings])
    others = scores[own.labels[:, None] != np.arange(4)]
    assert apart.offset == pytest.approx(max(others.mean() - model.trials.nontargets.mean(), 0.0), abs=1e-5)
    line = 3.0 * np.random.default_rng(5).standard_normal(DIM)  # that all of them talk through
    alike = replace(enrolment, embeddings=normalise(enrolment.embeddings + line.astype(np.float32)))
    together = TalkerMethod().fit(alike)
    assert together.offset > apart.offset + 0.3
    for part in ("unknown", "pseudo"):
        moved, still = getattr(together.held_out(), part), getattr(apart.held_out(), part)
        assert moved - still == pytest.approx(together.offset - apart.offset, abs=1e-5)
    assert TalkerMethod().fit(clips(1)).offset == 0.0


def test_embeddings_are_refused(fitted: OpenSetModel) -> None:
    with pytest.raises(InputError, match="scores speech"):
        fitted.llrs(np.zeros((1, 2, DIM), np.float32))
    assert fitted.listens
    assert add_strangers(fitted, clips()) is fitted


def test_stored_and_restored(fitted: OpenSetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config, arrays = pack_model(fitted, {})
    again = unpack_model(config, arrays, None, far=0.05)
    tokens = [some_tokens(np.random.default_rng(4))]
    assert llrs(again, tokens) == pytest.approx(llrs(fitted, tokens), abs=1e-4)
    assert isinstance(again.calibration, Calibration)
    with pytest.raises(GalleryError, match="damaged"):
        unpack_model(config, {**arrays, "scorer/people": arrays["scorer/people"][:2]}, None)
    other = some_model(np.random.default_rng(9))
    monkeypatch.setattr(talker_method, "shipped_model", lambda: other)
    with pytest.raises(GalleryError, match=r"another multi-talker model.*kith tune"):
        unpack_model(config, arrays, None)


def test_a_head_keeps_the_people_beside_its_own_scorer(
    fitted: OpenSetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = fit_open_set("cosine", clips(), clips(8))
    config, arrays = pack_model(head, {}, fitted)
    kept = unpack_talkers(config, arrays, far=0.05)
    assert kept is not None
    tokens = [some_tokens(np.random.default_rng(4))]
    assert llrs(kept, tokens) == pytest.approx(llrs(fitted, tokens), abs=1e-4)
    assert kept.calibration.threshold == pytest.approx(fitted.calibration.threshold, abs=1e-4)
    assert unpack_model(config, arrays, None).method == "cosine"
    assert unpack_talkers(*pack_model(head, {})) is None
    other = some_model(np.random.default_rng(9))
    monkeypatch.setattr(talker_method, "shipped_model", lambda: other)
    with pytest.raises(GalleryError, match=r"another multi-talker model.*kith tune"):
        unpack_talkers(config, arrays)


def test_another_encoder_and_bare_embeddings_have_no_such_method(bands: Any) -> None:
    with pytest.raises(ConfigError, match="no multi-talker model ships for the encoder 'bands'"):
        check_encoder_of("multi-talker", bands)
    check_encoder_of("cosine", bands)
    with pytest.raises(ConfigError, match="hears the speech itself"):
        check_method("multi-talker", speech=False)
    check_method("multi-talker", speech=True)
    with pytest.raises(
        ConfigError, match=r"no method is named 'psychic'; there are: auto, cosine.*multi-talker"
    ):
        check_method("psychic", speech=True)
