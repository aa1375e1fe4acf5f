"""The estimator: scikit-learn's own checks, and what an unknown class among the classes means."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import openkith
from openkith import OpenSetClassifier
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.openset import classifier
from openkith.openset.model import METHODS, fit_open_set
from openkith.scoring import AsNorm, EmbeddingSet, ViewFusion
from openkith.scoring.views import Part
from openkith.tuning import SpeakerRPLPlus, TuneConfig

#: Checks of scikit-learn that an open-set classifier cannot pass. All three fit without a single unknown row and want
#: a closed set: the unknown must not be a class of its own. It always is here, for else every stranger would get a
#: name. `TestLeftOut` below tests the rest of what these checks are about.
LEFT_OUT = {
    "check_classifiers_train": "wants a column a known class and no clip refused; the unknown has a column too",
    "check_classifiers_classes": "wants classes_ to be the labels of y alone, and -1 for a class like any other",
    "check_decision_proba_consistency": "wants one decision value for two known classes; with the unknown it is three",
}


@parametrize_with_checks([OpenSetClassifier()], expected_failed_checks=lambda _: LEFT_OUT)
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is tuned briefly."""

    def fusion(n_people: int, seed: int, members: int | None) -> ViewFusion:  # noqa: ARG001
        config = TuneConfig(seed=seed, steps=10, members=2, out=8)
        tuned = Part(partial(SpeakerRPLPlus, config, space="raw"))
        return ViewFusion([Part(AsNorm, in_space=False), Part(AsNorm), *([tuned] if n_people > 1 else [])])

    monkeypatch.setitem(METHODS, "fusion", fusion)


def people(
    names: list[Any], n_clips: int = 4, n_strangers: int = 30, dim: int = 32, unknown: Any = -1, seed: int = 0
) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """Clips of each name, then two clips of each stranger: X, y, groups. Voices depend on the seed alone."""
    voices = np.random.default_rng(7).normal(size=(len(names) + 200, dim))
    rng = np.random.default_rng(seed)
    y = [name for name in names for _ in range(n_clips)] + [unknown] * (2 * n_strangers)
    first = len(names) + (100 if seed else 0)  # other strangers for other seeds
    who = [*np.repeat(np.arange(len(names)), n_clips), *np.repeat(np.arange(first, first + n_strangers), 2)]
    return voices[who] + 0.25 * rng.normal(size=(len(who), dim)), y, np.array(who)


@pytest.mark.parametrize("method", ["auto", "cosine", "as-norm", "whitened", "fusion"])
@pytest.mark.parametrize("names", [["ann"], ["bob", "ann"], ["c", "a", "b"]])
def test_names_and_refuses(method: str, names: list[str]) -> None:
    X, y, groups = people(names, unknown="unknown")
    model = OpenSetClassifier(method, far=0.05, unknown_label="unknown", random_state=0).fit(X, y, groups)
    fresh, truth, _ = people(names, n_clips=20, unknown="unknown", seed=1)
    assert model.classes_.tolist() == [*sorted(names), "unknown"]
    assert model.score(fresh, truth) > 0.85
    assert (model.predict(fresh)[-60:] == "unknown").mean() > 0.85


class TestLeftOut:
    """What the checks that were left out are about, with the unknown among the classes."""

    @pytest.mark.parametrize("names", [["ann"], ["ann", "bob"], ["ann", "bob", "cid"]])
    @pytest.mark.parametrize("unknown", ["aaa", "b", "zzz"])
    def test_shapes_and_agreement(self, names: list[str], unknown: str) -> None:
        X, y, _ = people(names, unknown=unknown)
        model = OpenSetClassifier("as-norm", far=0.1, unknown_label=unknown).fit(X, y)
        fresh, _, _ = people(names, seed=1)
        n_classes = len(names) + 1
        predicted, decision, p = (
            model.predict(fresh),
            model.decision_function(fresh),
            model.predict_proba(fresh),
        )
        np.testing.assert_array_equal(model.classes_, np.unique(y))
        assert p.shape == (len(fresh), n_classes)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        if n_classes == 2:
            assert decision.shape == (len(fresh),)
            np.testing.assert_array_equal(predicted, model.classes_[(decision > 0).astype(int)])
            order = np.argsort(decision)  # check_decision_proba_consistency, where it applies
            assert (np.diff(p[order, 1]) >= 0).all()
        else:
            assert decision.shape == (len(fresh), n_classes)
            np.testing.assert_array_equal(predicted, model.classes_[decision.argmax(axis=1)])
        assert set(predicted) == set(model.classes_)
        with pytest.raises(ValueError, match="32 features"):
            model.predict(fresh[:, :5])
        with pytest.raises(ValueError, match="inconsistent"):
            model.fit(X, y[:-1])

    def test_columns_by_hand(self) -> None:
        """Decision: the people's ratios, and the threshold. Probability: Bayes' rule by class."""
        X, y, _ = people(["ann", "bob"], unknown="b")
        model = OpenSetClassifier("cosine", unknown_prior=0.2, unknown_label="b").fit(X, y)
        assert model.classes_.tolist() == ["ann", "b", "bob"]
        llrs = model.model_.llrs(X / np.linalg.norm(X, axis=1, keepdims=True))
        decision, p = model.decision_function(X), model.predict_proba(X)
        np.testing.assert_allclose(decision[:, [0, 2]], llrs, rtol=1e-5)
        np.testing.assert_allclose(decision[:, 1], model.model_.calibration.threshold)
        joint = np.exp(llrs) * 0.4
        np.testing.assert_allclose(p[:, 1], 0.2 / (0.2 + joint.sum(axis=1)), rtol=1e-5)
        np.testing.assert_allclose(p[:, 0] / p[:, 2], np.exp(llrs[:, 0] - llrs[:, 1]), rtol=1e-5)

    def test_minus_one_and_one(self) -> None:
        """A person against everybody else: the labels mean what they say."""
        X, y, _ = people([1])
        model = OpenSetClassifier("as-norm").fit(X, y)
        assert model.classes_.tolist() == [-1, 1]
        fresh, truth, _ = people([1], seed=1)
        assert model.score(fresh, truth) > 0.9
        assert model.decision_function(fresh).shape == (len(fresh),)
        np.testing.assert_array_equal(model.predict(fresh) == 1, model.decision_function(fresh) > 0)

    def test_an_unknown_that_sorts_after_the_person(self) -> None:
        X, y, _ = people([-5])
        model = OpenSetClassifier("as-norm").fit(X, y)
        assert model.classes_.tolist() == [-5, -1]
        np.testing.assert_array_equal(model.predict(X) == -1, model.decision_function(X) > 0)
        assert model.score(X, y) > 0.9


class TestLabels:
    @pytest.mark.parametrize(
        ("y", "unknown", "classes"),
        [
            (["b", "a", None, -1], -1, ["a", "b", -1]),
            (["b", "a", None, "x"], "x", ["a", "b", "x"]),
            (["b", "a", None, None], None, ["a", "b", None]),
            ([3, 0, None, -1], -1, [-1, 0, 3]),
            ([3, 0, None, 9], 9, [0, 3, 9]),
            ([3, 0, None, "nobody"], "nobody", [0, 3, "nobody"]),
            (np.array([2.0, 1.0, -1.0, -1.0]), -1, [-1, 1, 2]),
            (np.array(["b", "a", "-", "-"]), "-", ["-", "a", "b"]),
            (np.array([1, 0, 255, 255], np.uint8), 255, [0, 1, 255]),
        ],
    )
    def test_kinds(self, y: Any, unknown: Any, classes: list[Any]) -> None:
        X, _, who = people(["p", "q"], n_clips=3, n_strangers=6)
        rows = [y[i] for i in np.r_[np.repeat([0, 1], 3), np.repeat([2, 3], 6)]]
        y = rows if isinstance(y, list) else np.array(rows, y.dtype)
        model = OpenSetClassifier("cosine", unknown_label=unknown).fit(X, y, who)
        assert model.classes_.tolist() == classes
        assert model.model_.calibration.unknown_clips == 12
        predicted = model.predict(X).tolist()
        assert predicted[:6] == rows[:6]
        assert set(predicted[6:]) == {unknown}
        assert model.predict_proba(X[:3])[:, classes.index(rows[0])].min() > 0.5

    def test_refused(self) -> None:
        X, y, _ = people(["a", "b"])
        with pytest.raises(ValueError, match="every row of y is unknown"):
            OpenSetClassifier().fit(X, [-1] * len(X))
        with pytest.raises(ValueError, match="text and labels that are not"):
            OpenSetClassifier().fit(X, ["a", 1, *y[2:]])
        with pytest.raises(ValueError, match="Unknown label type"):
            OpenSetClassifier().fit(X, np.linspace(0, 1, len(X)))
        with pytest.raises(ValueError, match="one class, 'a', and no unknown row"):
            OpenSetClassifier().fit(X, ["a"] * len(X))
        with pytest.raises(ValueError, match="NaN"):
            OpenSetClassifier().fit(np.where(X > 1, np.nan, X), y)
        with pytest.raises(ValueError, match="inconsistent"):
            OpenSetClassifier().fit(X, y, groups=[1, 2])

    def test_settings(self) -> None:
        X, y, _ = people(["a", "b"])
        with pytest.raises(ConfigError, match="no method is named 'best'"):
            OpenSetClassifier("best").fit(X, y)
        with pytest.raises(ConfigError, match="far is 0"):
            OpenSetClassifier(far=0).fit(X, y)
        with pytest.raises(ConfigError, match="unknown_prior is 1"):
            OpenSetClassifier(unknown_prior=1).fit(X, y)
        with pytest.raises(NotEnoughDataError, match="needs clips of other people"):
            OpenSetClassifier("as-norm").fit(X[:8], y[:8])


class TestFit:
    @pytest.mark.parametrize("method", ["auto", "as-norm", "fusion"])
    def test_is_fit_open_set(self, method: str) -> None:
        X, y, who = people([0, 1, 2])
        model = OpenSetClassifier(method, far=0.05, unknown_prior=0.3, random_state=3).fit(X, y, who)
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        seed = int(np.random.RandomState(3).randint(2**31 - 1))
        expected = fit_open_set(
            method,
            EmbeddingSet.plain(unit[:12], np.array(y[:12])),
            EmbeddingSet.plain(unit[12:], who[12:]),
            seed=seed,
            far=0.05,
            unknown_prior=0.3,
        )
        assert model.model_.method == expected.method
        assert model.model_.calibration == expected.calibration
        np.testing.assert_allclose(
            model.predict_proba(X)[:, 1:], expected.posteriors(unit)[:, :-1], rtol=1e-5
        )

    def test_rows_need_no_order(self) -> None:
        X, y, who = people(["a", "b"], unknown=None)
        order = np.random.default_rng(0).permutation(len(X))
        model = OpenSetClassifier("cosine").fit(X, y, who)
        mixed = OpenSetClassifier("cosine").fit(X[order], [y[i] for i in order], who[order])
        np.testing.assert_array_equal(mixed.predict(X), model.predict(X))

    def test_groups_hold_a_stranger_out_as_one(self) -> None:
        """A row of its own, or named: the cohort has as many voices as groups tell, whatever stands by known rows."""
        X, y, who = people(["a", "b"], n_strangers=9)
        alone = OpenSetClassifier("as-norm").fit(X, y).model_
        told = OpenSetClassifier("as-norm").fit(X, y, groups=[None] * 8 + [f"s{g}" for g in who[8:]]).model_
        assert len(alone.held_out.unknown) == len(told.held_out.unknown) == 18
        one_voice = OpenSetClassifier("as-norm").fit(X, y, groups=["s"] * len(X)).model_
        assert not len(one_voice.held_out.unknown)  # nothing would be left to learn from

    def test_only_the_direction_counts(self) -> None:
        X, y, _ = people(["a", "b"])
        lengths = np.random.default_rng(0).uniform(0.1, 1000, size=(len(X), 1))
        model, scaled = (OpenSetClassifier("whitened").fit(x, y) for x in (X, X * lengths))
        np.testing.assert_allclose(
            scaled.decision_function(7 * X), model.decision_function(X), rtol=1e-3, atol=1e-3
        )

    @pytest.mark.parametrize("far", [0.01, 0.1, 0.3])
    def test_the_rate_asked_for(self, far: float) -> None:
        X, y, _ = people(["a", "b"], n_strangers=50, dim=4)
        model = OpenSetClassifier("cosine", far=far).fit(X, y)
        # These strangers were not learned from by cosine, which is all that the held-out scores are.
        assert 0 < (model.predict(X)[-100:] != -1).mean() <= far + 0.05

    def test_repeats_by_its_random_state(self) -> None:
        X, y, _ = people([0, 1, 2])
        p = [OpenSetClassifier("fusion", random_state=s).fit(X, y).predict_proba(X) for s in (0, 0, 1)]
        np.testing.assert_array_equal(p[0], p[1])
        assert np.abs(p[0] - p[2]).max() > 1e-6


class TestWithoutStrangers:
    def test_strangers_are_refused_all_the_same(self) -> None:
        X, y, _ = people(list(range(8)), n_strangers=0, dim=32)
        model = OpenSetClassifier().fit(X, y)
        assert model.model_.method == "cosine"
        assert model.model_.calibration.extrapolated
        assert model.classes_.tolist() == [-1, *range(8)]
        fresh, truth, _ = people(list(range(8)), n_strangers=50, dim=32, seed=1)
        assert (model.predict(fresh)[32:] == -1).mean() > 0.9
        assert (model.predict(fresh)[:32] == truth[:32]).mean() > 0.9
        assert model.predict_proba(fresh)[32:, 0].mean() > 0.8

    def test_one_clip_a_person(self) -> None:
        X, y, _ = people(list(range(5)), n_clips=1, n_strangers=0, dim=32)
        model = OpenSetClassifier().fit(X, y)
        assert model.model_.calibration.basis == ("none",) * 5
        assert model.score(X, y) == 1
        fresh, truth, _ = people(list(range(5)), n_clips=4, n_strangers=20, dim=32, seed=1)
        assert model.score(fresh, truth) > 0.8


class TestOneClip:
    def test_with_strangers_of_one_clip(self) -> None:
        X, y, _ = people([0, 1], n_clips=1, dim=32)
        model = OpenSetClassifier("as-norm").fit(X, y)
        assert model.model_.calibration.basis == ("none", "none")
        fresh, truth, _ = people([0, 1], dim=32, seed=1)
        assert model.score(fresh, truth) > 0.8

    def test_with_strangers_of_two(self) -> None:
        X, y, who = people([0, 1], n_clips=1, dim=32)
        model = OpenSetClassifier("as-norm").fit(X, y, groups=who)
        assert model.model_.calibration.basis == ("cohort", "cohort")
        fresh, truth, _ = people([0, 1], dim=32, seed=1)
        assert model.score(fresh, truth) > 0.8


@pytest.mark.parametrize("spoil", ["same", "zero", "constant feature", "one feature", "large", "copies"])
@pytest.mark.parametrize("n_strangers", [0, 1, 2, 9])
@pytest.mark.parametrize("n_clips", [1, 2, 3])
def test_odd_data(spoil: str, n_strangers: int, n_clips: int) -> None:
    X, y, _ = people([0, 1], n_clips=n_clips, n_strangers=n_strangers, dim=4)
    if spoil == "same":
        X[:] = X[0]
    elif spoil == "zero":
        X[:] = 0
    elif spoil == "constant feature":
        X[:, 1] = 3
    elif spoil == "one feature":
        X = X[:, :1]
    elif spoil == "large":
        X *= 1e30
    elif spoil == "copies":
        X[1::2] = X[::2][: len(X[1::2])]
    model = OpenSetClassifier(random_state=0).fit(X, y)
    probes = np.concatenate([X, np.random.default_rng(0).normal(size=(9, X.shape[1]))])
    p = model.predict_proba(probes)
    assert np.isfinite(model.decision_function(probes)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p >= 0).all()
    assert set(model.predict(probes).tolist()) <= {-1, 0, 1}
    if spoil in ("same", "zero"):
        assert 0.1 < p[0, 0] < 0.9  # nothing can be known


def test_in_scikit_learn() -> None:
    """Cloned, pickled, in a pipeline, searched and cross-validated."""
    X, y, _ = people([0, 1, 2])
    y = np.array(y)
    model = make_pipeline(StandardScaler(), OpenSetClassifier("as-norm", random_state=0)).fit(X, y)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict(X), model.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))
    assert cross_val_score(OpenSetClassifier("as-norm"), X, y, cv=2).mean() > 0.7
    search = GridSearchCV(
        OpenSetClassifier("cosine"), {"far": [0.01, 0.2], "method": ["cosine", "whitened"]}, cv=2
    )
    assert search.fit(X, y).best_score_ > 0.7


def test_a_tuned_head_is_pickled() -> None:
    X, y, _ = people([0, 1, 2])
    model = OpenSetClassifier("fusion", random_state=0).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))


def test_the_example_runs() -> None:
    results = doctest.testmod(classifier)
    assert results.attempted >= 6
    assert results.failed == 0


def test_public_and_light() -> None:
    assert openkith.OpenSetClassifier is OpenSetClassifier
    code = (
        "import sys, openkith; assert 'sklearn' not in sys.modules; "
        "from openkith import OpenSetClassifier; assert 'torch' not in sys.modules; "
        "OpenSetClassifier('cosine').fit([[0, 1], [1, 0], [0, 2], [2, 1]], [0, 1, 0, 1]); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
