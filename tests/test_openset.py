"""Holding out, choosing, calibrating: what was learned from is never scored, and what wins is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any, Self

import numpy as np
import pytest

from openkith import openset
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import eer
from openkith.openset import (
    METHODS,
    HeldOutErrors,
    OpenSetModel,
    fit_open_set,
    hold_out,
    restore_scorer,
)
from openkith.scoring import AsNorm, Cosine, EmbeddingSet, Fusion, Scorer, WhitenedCosine, load_cohort
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, TuneConfig

DIM = 16
QUICK: dict[str, Any] = {"steps": 20, "members": 2, "out": 16}
#: The methods as they are, with heads that are tuned briefly.
QUICK_METHODS: dict[str, Callable[[int, int], Scorer]] = {
    **METHODS,
    "speaker-rpl": lambda _n, seed: SpeakerRPL(TuneConfig(unknown_weight=0.0, seed=seed, **QUICK)),
    "speaker-rpl+": lambda _n, seed: SpeakerRPLPlus(TuneConfig(seed=seed, **QUICK)),
    "fusion": lambda n, seed: Fusion(
        [AsNorm(), WhitenedCosine(), *([SpeakerRPLPlus(TuneConfig(seed=seed, **QUICK))] if n > 1 else [])]
    ),
}


def voices(
    n_speakers: int, n_clips: int, seed: int = 0, copies: int = 1, dim: int = DIM, spread: float = 0.3
) -> EmbeddingSet:
    """Clips about a random direction for each speaker, each with noisier copies."""
    rng = np.random.default_rng(seed)
    n = n_speakers * n_clips * (copies + 1)
    labels = np.repeat(np.arange(n_speakers), n_clips * (copies + 1))
    clips = np.repeat(np.arange(n_speakers * n_clips), copies + 1)
    is_copy = np.arange(n) % (copies + 1) > 0
    x = rng.normal(size=(n_speakers, dim))[labels]
    x = x + spread * (1 + 0.5 * is_copy)[:, None] * rng.normal(size=(n, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return EmbeddingSet(x.astype(np.float32), labels, clips, is_copy.astype(np.int64), is_copy)


def halves_of(items: EmbeddingSet) -> EmbeddingSet:
    """Two halves of every clip, rows 2i and 2i + 1."""
    originals = items.originals()
    parts = originals.select(np.repeat(np.arange(len(originals)), 2))
    x = parts.embeddings + 0.05 * np.random.default_rng(5).normal(size=parts.embeddings.shape)
    return dataclasses.replace(parts, embeddings=x.astype(np.float32))


def tagged(items: EmbeddingSet, first: int = 0) -> EmbeddingSet:
    """The set, each row of which is (number of its clip from ``first`` on, its row number, 0, 1)."""
    x = np.stack([items.clips + first, np.arange(len(items)), 0 * items.clips, 1 + 0 * items.clips], axis=1)
    return dataclasses.replace(items, embeddings=x.astype(np.float32))


class Spy:
    """Remembers the clips that it learned from and those that it was asked about, by their numbers.

    Its scores are the row numbers.
    """

    name = "spy"
    needs_cohort = True

    def __init__(self, log: list[Spy]) -> None:
        self.log = log

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        self.enrolment, self.cohort = enrolment, cohort
        self.learned = _numbers(enrolment) | (_numbers(cohort) if cohort is not None else set())
        self.asked: set[int] = set()
        self.log.append(self)
        return self

    def score(self, embeddings: Any) -> Any:
        self.asked |= set(embeddings[:, 0].astype(int).tolist())
        n_people = int(self.enrolment.labels.max()) + 1
        return np.repeat(embeddings[:, 1:2], n_people, axis=1).astype(np.float32)

    def state(self) -> Any:
        raise NotImplementedError

    @classmethod
    def restore(cls, config: Any, arrays: Any) -> Self:
        raise NotImplementedError


def _numbers(items: EmbeddingSet) -> set[int]:
    return set(items.embeddings[:, 0].astype(int).tolist())


class SpyCosine(Spy):
    needs_cohort = False


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in QUICK_METHODS.items():
        monkeypatch.setitem(METHODS, name, make)


def swap(monkeypatch: pytest.MonkeyPatch, name: str, scorer: type[Scorer]) -> None:
    """Put another scorer in the place of a method."""
    monkeypatch.setitem(METHODS, name, lambda _n, _seed: scorer())


def one_voice_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the cohort's labels at their word, whatever the embeddings."""
    monkeypatch.setattr(openset, "voice_groups", lambda cohort: cohort.labels)


class TestHoldOut:
    @pytest.mark.parametrize("n_clips", [2, 3, 4, 7])
    def test_every_clip_once_and_never_by_what_learned_from_it(
        self, n_clips: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one_voice_each(monkeypatch)
        people, cohort = tagged(voices(3, n_clips, copies=2)), tagged(voices(7, 2, seed=1, copies=2), 1000)
        log: list[Spy] = []
        held = hold_out(partial(Spy, log), people, cohort)
        assert len(log) == 3
        assert all(spy.asked and not spy.learned & spy.asked for spy in log)
        assert sorted(held.known[:, 0].astype(int).tolist()) == list(range(len(people)))
        assert sorted(held.unknown[:, 0].astype(int).tolist()) == list(range(len(cohort)))
        for spy in log:  # nobody is missing from any fold, nor a cohort
            assert set(spy.enrolment.labels.tolist()) == {0, 1, 2}
            assert spy.cohort is not None
            assert spy.cohort.n_speakers >= 4
        rows = held.known[:, 0].astype(int)
        for name, column in (("labels", held.labels), ("clips", held.clips), ("copies", held.copies)):
            np.testing.assert_array_equal(column, getattr(people, name)[rows])
        np.testing.assert_array_equal(held.unknown_clips, cohort.clips[held.unknown[:, 0].astype(int)])
        for weights, clips in (
            (held.known_weights, held.clips),
            (held.unknown_weights, held.unknown_clips),
        ):
            np.testing.assert_allclose(np.bincount(clips, weights), 1)
        np.testing.assert_allclose(held.known_weights[~held.copies], 0.5)
        assert held.basis == ("clips",) * 3
        assert not len(held.pseudo)

    def test_a_voice_of_the_cohort_is_in_one_fold(self) -> None:
        """Also where it has two labels: label 9 is label 0 again."""
        cohort = voices(12, 2, seed=1, spread=0.1)
        labels = np.where(cohort.labels == 9, 0, cohort.labels)
        x = cohort.embeddings.copy()
        x[cohort.labels == 9] = cohort.embeddings[cohort.labels == 0]
        cohort = dataclasses.replace(cohort, embeddings=x)
        fitted: list[tuple[set[int], set[int]]] = []
        of_row = {row.tobytes(): int(label) for row, label in zip(x, labels, strict=True)}

        class Watch(Cosine):
            needs_cohort = True

            def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
                assert cohort is not None
                self.learned = {of_row[row.tobytes()] for row in cohort.embeddings}
                return super().fit(enrolment)

            def score(self, embeddings: Any) -> Any:
                asked = {of_row.get(row.tobytes(), -1) for row in embeddings} - {-1}
                fitted.append((self.learned, asked))
                return super().score(embeddings)

        held = hold_out(Watch, voices(2, 3), cohort)
        assert len(held.unknown) == len(cohort)
        assert set().union(*(asked for _, asked in fitted)) == set(range(12)) - {9}
        assert all(not learned & asked for learned, asked in fitted)

    def test_halves_stand_in_for_a_second_clip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """People 1 and 2 have one clip; each half is probed by what knows the other half only."""
        one_voice_each(monkeypatch)
        items = voices(3, 2, copies=1)
        people = tagged(items.select((items.labels == 0) | (items.clips % 2 == 0)))
        halves = halves_of(people)
        numbers = np.repeat(500 + np.arange(len(halves), dtype=np.float32)[:, None], 4, axis=1)
        halves = dataclasses.replace(halves, embeddings=numbers)
        log: list[Spy] = []
        held = hold_out(partial(Spy, log), people, tagged(voices(6, 1, seed=1, copies=0), 1000), halves)
        assert held.basis == ("clips", "crops", "crops")
        parts = set(range(500, 1000))
        asked = sorted(parts & set(held.known[:, 0].astype(int).tolist()))
        assert asked == (500 + np.flatnonzero(halves.labels > 0)).tolist()
        whole = set(people.clips[people.labels > 0].tolist())
        with_halves = [spy for spy in log if spy.asked & parts]
        assert len(with_halves) == 2
        assert all(not spy.learned & spy.asked for spy in log)
        for spy in with_halves:  # the other half of each clip was learned, and the whole clip was not
            assert len(spy.asked & parts) == 2
            assert {500 + (number - 500 ^ 1) for number in spy.asked & parts} == spy.learned & parts
            assert not spy.learned & whole
        np.testing.assert_allclose(np.bincount(held.clips, held.known_weights)[np.unique(held.clips)], 1)
        assert not len(held.pseudo)

    def test_cohort_stands_in_where_a_clip_is_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand-ins are enrolled beside the people with one clip each, and probed with their others."""
        one_voice_each(monkeypatch)
        people = tagged(voices(2, 1, copies=2))
        cohort = tagged(voices(8, 3, seed=1, copies=1), 1000)
        log: list[Spy] = []
        held = hold_out(partial(Spy, log), people, cohort)
        assert held.basis == ("cohort", "cohort")
        assert not len(held.known)
        assert all(not spy.learned & spy.asked for spy in log)
        last = log[-1]
        assert last.cohort is not None
        assert set(last.enrolment.labels.tolist()) == set(range(2 + 4))  # half of the voices
        assert last.enrolment.n_clips == 6
        assert not set(last.cohort.clips.tolist()) & {number - 1000 for number in last.asked}
        assert len(held.pseudo) == len(held.pseudo_weights) == 4 * 2 * 2
        assert held.pseudo_weights.sum() == pytest.approx(8)  # clips, whatever their copies

    def test_cohort_beside_real_clips_counts_a_clip_a_person(self) -> None:
        items = voices(3, 3)
        people = items.select((items.labels > 0) | (items.clips == 0))
        held = hold_out(AsNorm, people, voices(12, 3, seed=1))
        assert held.basis == ("cohort", "clips", "clips")
        assert held.pseudo_weights.sum() == pytest.approx(1)
        assert held.known_weights.sum() == pytest.approx(6)

    def test_stand_ins_score_as_people_do(self) -> None:
        held = hold_out(AsNorm, voices(3, 1), voices(30, 3, seed=1))
        real = hold_out(AsNorm, voices(3, 3), voices(30, 3, seed=1))
        assert held.pseudo.mean() == pytest.approx(float(real.known[real.own()].mean()), rel=0.3)

    def test_no_cohort(self) -> None:
        held = hold_out(Cosine, voices(3, 3), None)
        assert held.known.shape == (18, 3)
        assert held.unknown.shape == (0, 3)

    @pytest.mark.parametrize("n_voices", [1, 2])
    def test_a_cohort_of_few_voices(self, n_voices: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is learned from and not scored; by what does not learn from it, it is scored."""
        one_voice_each(monkeypatch)
        people, cohort = tagged(voices(2, 3)), tagged(voices(n_voices, 3, seed=1), 1000)
        log: list[Spy] = []
        held = hold_out(partial(Spy, log), people, cohort)
        assert not len(held.unknown)
        assert all(spy.cohort is not None and len(spy.cohort) == len(cohort) for spy in log)
        held = hold_out(partial(SpyCosine, log), people, cohort)
        assert sorted(held.unknown[:, 0].astype(int).tolist()) == list(range(len(cohort)))

    def test_an_encoder_whose_voices_lie_close(self) -> None:
        """All cosines near 1: not one voice, but labels to be taken at their word."""
        cohort = voices(9, 2, seed=1)
        close = dataclasses.replace(cohort, embeddings=cohort.embeddings + np.float32(20))
        assert len(hold_out(AsNorm, voices(2, 3), close).unknown) == len(close)

    def test_a_guess_where_nothing_is_known(self) -> None:
        """One clip each and strangers without a second one: own scores halfway to the mean of the others'."""
        people, cohort = voices(3, 1, copies=1), voices(9, 1, seed=1, copies=1)
        held = hold_out(Cosine, people, cohort)
        assert held.basis == ("none",) * 3
        x, y = people.originals().embeddings, cohort.embeddings
        among = x @ x.T
        others = np.r_[among[~np.eye(3, dtype=bool)], (y @ x.T).ravel()].mean()
        expected = np.where(np.eye(3, dtype=bool), (1 + others) / 2, among)
        np.testing.assert_allclose(held.known, expected, atol=1e-5)
        assert hold_out(Cosine, people, None).basis == ("none",) * 3

    def test_no_guess_beside_real_clips(self) -> None:
        items = voices(3, 3)
        people = items.select((items.labels > 0) | (items.clips == 0))
        held = hold_out(Cosine, people, None)
        assert held.basis == ("none", "clips", "clips")
        assert set(held.labels.tolist()) == {1, 2}
        assert not len(held.pseudo)


class TestErrors:
    def test_measured_by_definition(self) -> None:
        held = hold_out(Cosine, voices(3, 3, spread=0.8), voices(9, 2, seed=1))
        errors = HeldOutErrors.of(held)
        targets, _, others, _ = held.trials()
        assert errors.eer == eer(targets, others)
        assert errors.detection_eer == eer(held.known.max(axis=1), held.unknown.max(axis=1))
        assert errors.mean == pytest.approx((errors.eer + errors.detection_eer) / 2)
        assert 0 < errors.mean < 0.5

    def test_without_strangers(self) -> None:
        errors = HeldOutErrors.of(hold_out(Cosine, voices(3, 3, spread=0.8), None))
        assert np.isnan(errors.detection_eer)
        assert errors.mean == errors.eer


class Oracle(Cosine):
    """Knows the people by the first features; everybody else is nobody."""

    name = "oracle"
    needs_cohort = True

    def score(self, embeddings: Any) -> Any:
        return np.where(super().score(embeddings) > 0.5, 9.0, -9.0).astype(np.float32)


class Noise(Cosine):
    name = "noise"
    needs_cohort = True

    def score(self, embeddings: Any) -> Any:
        return np.sin(1e4 * super().score(embeddings))


class TestFit:
    @pytest.fixture
    def hard(self) -> tuple[EmbeddingSet, EmbeddingSet]:
        return voices(3, 3, spread=0.8), voices(15, 2, seed=1, spread=0.8)

    def test_auto_keeps_as_norm_where_the_head_is_worse(
        self, hard: tuple[EmbeddingSet, EmbeddingSet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swap(monkeypatch, "fusion", Noise)
        model = fit_open_set("auto", *hard)
        assert (model.asked, model.method) == ("auto", "as-norm")
        assert isinstance(model.scorer, AsNorm)
        assert set(model.errors) == {"cosine", "as-norm", "fusion"}
        assert model.errors["fusion"].mean > model.errors["as-norm"].mean

    def test_auto_keeps_as_norm_where_the_head_is_no_better(
        self, hard: tuple[EmbeddingSet, EmbeddingSet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swap(monkeypatch, "fusion", AsNorm)
        assert fit_open_set("auto", *hard).method == "as-norm"
        swap(monkeypatch, "fusion", Cosine)  # and must beat cosine too
        swap(monkeypatch, "as-norm", Noise)
        assert fit_open_set("auto", *hard).method == "as-norm"

    def test_auto_takes_the_head_where_it_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        people, cohort = voices(3, 3, spread=0.3), voices(15, 2, seed=1, spread=0.3)
        swap(monkeypatch, "fusion", Oracle)
        swap(monkeypatch, "cosine", Noise)
        swap(monkeypatch, "as-norm", Noise)
        model = fit_open_set("auto", people, cohort)
        assert model.method == "fusion"
        assert isinstance(model.scorer, Oracle)
        assert model.held_out is not None
        assert HeldOutErrors.of(model.held_out) == model.errors["fusion"]

    @pytest.mark.slow
    def test_the_head_wins_on_the_shipped_cohort(self) -> None:
        people, _ = load_cohort(resources.files("openkith.scoring") / "cohorts" / "ge2e.safetensors")  # type: ignore[arg-type]
        many = [s for s in range(63) if len(np.unique(people.clips[people.labels == s])) >= 3][:5]
        assert len(many) == 5
        own = np.isin(people.labels, many)
        labels = np.searchsorted(many, people.labels[own])
        model = fit_open_set(
            "auto", dataclasses.replace(people.select(own), labels=labels), people.select(~own)
        )
        assert model.method == "fusion"
        assert model.errors["fusion"].mean < model.errors["as-norm"].mean < model.errors["cosine"].mean

    def test_without_enough_voices_auto_is_cosine(self) -> None:
        people, few = voices(3, 3), voices(2, 4, seed=1)
        for cohort in (None, few, few.select(np.zeros(len(few), bool))):
            model = fit_open_set("auto", people, cohort)
            assert model.method == "cosine"
            assert set(model.errors) == {"cosine"}
            assert len(model.held_out.unknown) == (len(few) if cohort is few else 0)

    def test_calibrated_on_what_was_held_out(self, hard: tuple[EmbeddingSet, EmbeddingSet]) -> None:
        model = fit_open_set("as-norm", *hard, far=0.1, verify_far=0.2, unknown_prior=0.3)
        best = model.calibration.llr(model.held_out.unknown).max(axis=1)
        weights = model.held_out.unknown_weights
        share = weights[best >= model.calibration.threshold].sum() / weights.sum()
        assert 0.1 - 1 / 15 <= share <= 0.1
        assert model.calibration.verify_far == 0.2
        posterior = model.posteriors(hard[0].embeddings)
        llrs = model.calibration.slope * model.scorer.score(hard[0].embeddings).astype(float)
        llrs += model.calibration.intercept
        np.testing.assert_allclose(model.llrs(hard[0].embeddings), llrs)
        joint = np.concatenate([0.7 / 3 * np.exp(llrs), np.full((len(llrs), 1), 0.3)], axis=1)
        np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)

    def test_all_clips_are_learned_in_the_end(self, hard: tuple[EmbeddingSet, EmbeddingSet]) -> None:
        model = fit_open_set("as-norm", *hard)
        expected = AsNorm().fit(*hard).score(hard[1].embeddings)
        np.testing.assert_array_equal(model.scorer.score(hard[1].embeddings), expected)

    @pytest.mark.parametrize("method", ["cosine", "as-norm", "whitened", "fusion"])
    @pytest.mark.usefixtures("quick")
    def test_one_person(self, method: str) -> None:
        people, cohort = voices(1, 3), voices(12, 2, seed=1)
        model = fit_open_set(method, people, cohort, far=0.05)
        assert model.llrs(people.embeddings).shape == (6, 1)
        assert (model.llrs(people.embeddings) >= model.calibration.threshold).mean() > 0.5
        assert model.calibration.miss.clips == 3

    def test_one_person_without_others(self) -> None:
        for people in (voices(1, 3), voices(1, 1)):
            with pytest.raises(NotEnoughDataError, match="enrol a second person"):
                fit_open_set("auto", people, None)
        with pytest.raises(NotEnoughDataError, match="speaker-rpl needs two people"):
            fit_open_set("speaker-rpl", voices(1, 3), voices(12, 2, seed=1))

    @pytest.mark.parametrize("method", list(METHODS))
    @pytest.mark.usefixtures("quick")
    def test_two_people_with_one_voice(self, method: str) -> None:
        one = voices(1, 3)
        twins = EmbeddingSet.concatenate([one, one])
        model = fit_open_set(method, twins, voices(12, 2, seed=1))
        posterior = model.posteriors(one.embeddings)
        assert np.isfinite(posterior).all()
        assert (posterior[:, :2].max(axis=1) < 0.75).all()  # it cannot be either's for sure

    @pytest.mark.parametrize("method", list(METHODS))
    @pytest.mark.parametrize("dim", [1, 4])
    @pytest.mark.usefixtures("quick")
    def test_tiny(self, method: str, dim: int) -> None:
        """Two people, two clips each, all identical; five clips of others, identical too."""
        x, y = np.ones((4, dim)), np.tile(np.linspace(-1, 1, dim), (5, 1))
        people = EmbeddingSet.plain(x, np.array([0, 0, 1, 1]))
        model = fit_open_set(method, people, EmbeddingSet.plain(y, np.arange(5)))
        probes = np.random.default_rng(0).normal(size=(20, dim))
        assert np.isfinite(model.llrs(probes)).all()
        np.testing.assert_allclose(model.posteriors(probes).sum(axis=1), 1)

    def test_progress(self, hard: tuple[EmbeddingSet, EmbeddingSet]) -> None:
        said: list[tuple[str, int, int]] = []
        fit_open_set("cosine", *hard, progress=lambda *step: said.append(step))
        assert said == [("held-out clips with cosine", 0, 2), ("all clips with cosine", 1, 2), ("done", 2, 2)]


class TestRefused:
    def test_settings(self) -> None:
        people, cohort = voices(2, 2), voices(6, 2, seed=1)
        with pytest.raises(ConfigError, match="no method is named 'plda'; there are: auto, cosine, as-norm"):
            fit_open_set("plda", people, cohort)
        for name in ("far", "verify_far", "unknown_prior"):
            with pytest.raises(ConfigError, match=f"^{name} is 1.5"):
                fit_open_set("speaker-rpl", people, None, **{name: 1.5})  # before anything else is looked at

    def test_nobody(self) -> None:
        people = voices(2, 2)
        with pytest.raises(NotEnoughDataError, match="nobody is enrolled"):
            fit_open_set("cosine", people.select(np.zeros(len(people), bool)), None)

    @pytest.mark.parametrize("method", [name for name in METHODS if name != "cosine"])
    def test_no_cohort(self, method: str) -> None:
        with pytest.raises(NotEnoughDataError, match="needs clips of other people"):
            fit_open_set(method, voices(2, 2), None)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_not_finite(self, value: float) -> None:
        people, cohort = voices(2, 2), voices(6, 2, seed=1)

        def spoilt(items: EmbeddingSet) -> EmbeddingSet:
            x = items.embeddings.copy()
            x[2, 3] = value
            return dataclasses.replace(items, embeddings=x)

        with pytest.raises(InputError, match="enrolment: row 2 has NaN"):
            fit_open_set("cosine", spoilt(people), cohort)
        with pytest.raises(InputError, match="cohort: row 2 has NaN"):
            fit_open_set("cosine", people, spoilt(cohort))
        with pytest.raises(InputError, match="halves: row 2 has NaN"):
            fit_open_set("cosine", people, cohort, halves=spoilt(people))
        model = fit_open_set("cosine", people, cohort)
        with pytest.raises(InputError, match="probes: row 2 has NaN"):
            model.llrs(spoilt(people).embeddings)
        with pytest.raises(InputError, match="probes: row 2 has NaN"):
            model.posteriors(spoilt(people).embeddings)

    def test_another_length(self) -> None:
        with pytest.raises(InputError, match=r"cohort: embeddings of shape \(24, 5\); give \(n, 16\)"):
            fit_open_set("as-norm", voices(2, 2), voices(6, 2, dim=5))
        model = fit_open_set("cosine", voices(2, 2), None)
        with pytest.raises(InputError, match=r"probes: .*\(n, 16\)"):
            model.llrs(voices(1, 1, dim=5).embeddings)


@pytest.fixture(scope="module")
def models() -> dict[str, OpenSetModel]:
    """Every method on the same people."""
    people, cohort = voices(4, 3), voices(15, 2, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        for name, make in QUICK_METHODS.items():
            patch.setitem(METHODS, name, make)
        return {name: fit_open_set(name, people, cohort) for name in METHODS}


@pytest.mark.parametrize("method", list(METHODS))
class TestEveryMethod:
    def test_each_probe_alone(self, method: str, models: dict[str, OpenSetModel]) -> None:
        """Neither the number nor the order of other probes changes a score."""
        scorer, probes = models[method].scorer, voices(40, 2, seed=3).embeddings
        whole = scorer.score(probes)
        assert whole.shape == (160, 4)
        assert whole.dtype == np.float32
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        close(np.concatenate([scorer.score(row[None]) for row in probes]), whole)
        order = np.random.default_rng(0).permutation(len(probes))
        close(scorer.score(probes[order]), whole[order])
        close(scorer.score(np.repeat(probes[:5], 50, axis=0))[::50], whole[:5])
        close(np.concatenate([scorer.score(probes[:33]), scorer.score(probes[33:])]), whole)

    def test_scoring_changes_nothing(self, method: str, models: dict[str, OpenSetModel]) -> None:
        scorer, probes = models[method].scorer, voices(3, 2, seed=3).embeddings
        before = probes.copy()
        first = scorer.score(probes)
        scorer.score(voices(9, 2, seed=4).embeddings)
        np.testing.assert_array_equal(scorer.score(probes), first)
        np.testing.assert_array_equal(probes, before)

    def test_saved_and_restored(self, method: str, models: dict[str, OpenSetModel]) -> None:
        scorer, probes = models[method].scorer, voices(10, 2, seed=3).embeddings
        restored = restore_scorer(scorer.name, *scorer.state())
        assert type(restored) is type(scorer)
        np.testing.assert_array_equal(restored.score(probes), scorer.score(probes))

    @pytest.mark.usefixtures("quick")
    def test_the_seed_decides(self, method: str, models: dict[str, OpenSetModel]) -> None:
        probes = voices(3, 2, seed=3).embeddings
        again = fit_open_set(method, voices(4, 3), voices(15, 2, seed=1))
        np.testing.assert_array_equal(again.llrs(probes), models[method].llrs(probes))
        assert again.calibration == models[method].calibration
        other = fit_open_set(method, voices(4, 3), voices(15, 2, seed=1), seed=1)
        trained = method in ("speaker-rpl", "speaker-rpl+", "fusion")
        assert (np.abs(other.llrs(probes) - again.llrs(probes)).max() > 1e-6) == trained

    def test_names_and_refuses(self, method: str, models: dict[str, OpenSetModel]) -> None:
        model, fresh, others = models[method], voices(4, 8), voices(40, 2, seed=3)
        posterior = model.posteriors(fresh.embeddings)
        assert (posterior.argmax(axis=1) == fresh.labels).mean() > 0.8
        np.testing.assert_allclose(posterior.sum(axis=1), 1)
        assert (model.llrs(others.embeddings).max(axis=1) >= model.calibration.threshold).mean() < 0.1
        assert model.dim == DIM


def test_a_fusion_of_one_person_has_no_tuned_member() -> None:
    assert [member.name for member in METHODS["fusion"](1, 0).members] == ["as-norm", "whitened"]  # type: ignore[attr-defined]
    fused = METHODS["fusion"](2, 7)
    assert isinstance(fused, Fusion)
    assert [member.name for member in fused.members] == ["as-norm", "whitened", "speaker-rpl+"]
    assert fused.members[2].config.seed == 7  # type: ignore[attr-defined]


def test_restoring_what_this_version_does_not_have() -> None:
    with pytest.raises(ConfigError, match="scorer 'plda', which this version does not have; tune again"):
        restore_scorer("plda", {}, {})
