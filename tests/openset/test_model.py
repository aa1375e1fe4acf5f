"""Choosing and calibrating: what wins is kept, odd data is borne, and every method scores each probe alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import pytest

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import eer
from openkith.openset.model import (
    FUSED_MEMBERS,
    METHODS,
    HeldOutErrors,
    OpenSetModel,
    fit_open_set,
    restore_scorer,
)
from openkith.scoring import (
    PLDA,
    AsNorm,
    Calibration,
    Cosine,
    EmbeddingSet,
    Scorer,
    ViewFusion,
    hold_out,
    load_cohort,
)
from openkith.scoring.views import SENTENCES, WORDS, Part
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2, TuneConfig

DIM = 16
QUICK: dict[str, Any] = {"steps": 20, "members": 2, "out": 16}
TUNED = ("speaker-rpl", "speaker-rpl+", "speaker-rpl-v2", "fusion")


def quick_fusion(n_people: int, seed: int, _members: int | None) -> ViewFusion:
    parts = [Part(AsNorm), Part(partial(PLDA, space="raw", iterations=0))]
    if n_people > 1:
        config = TuneConfig(seed=seed, **QUICK)
        parts.append(Part(partial(SpeakerRPLPlus, config, space="raw"), enrolled=SENTENCES))
    return ViewFusion(parts)


#: The methods as they are, with heads that are tuned briefly.
QUICK_METHODS: dict[str, Callable[[int, int, int | None], Scorer]] = {
    **METHODS,
    "speaker-rpl": lambda _n, seed, _m: SpeakerRPL(TuneConfig(unknown_weight=0.0, seed=seed, **QUICK)),
    "speaker-rpl+": lambda _n, seed, _m: SpeakerRPLPlus(TuneConfig(seed=seed, **QUICK)),
    "speaker-rpl-v2": lambda _n, seed, _m: SpeakerRPLV2(
        TuneConfig.v2(seed=seed, **{**QUICK, "steps": 40, "members": 6})
    ),
    "fusion": quick_fusion,
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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in QUICK_METHODS.items():
        monkeypatch.setitem(METHODS, name, make)


def swap(monkeypatch: pytest.MonkeyPatch, name: str, scorer: type[Scorer]) -> None:
    """Put another scorer in the place of a method."""
    monkeypatch.setitem(METHODS, name, lambda _n, _seed, _members: scorer())


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

    def test_auto_keeps_the_head_where_it_is_no_worse(
        self, hard: tuple[EmbeddingSet, EmbeddingSet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swap(monkeypatch, "fusion", AsNorm)
        assert fit_open_set("auto", *hard).method == "fusion"
        swap(monkeypatch, "fusion", Noise)  # as bad as AS-norm, and worse than cosine
        swap(monkeypatch, "as-norm", Noise)
        assert fit_open_set("auto", *hard).method == "as-norm"

    @pytest.mark.parametrize(("n_clips", "kept"), [(3, "fusion"), (90, "as-norm")])
    def test_a_small_difference_needs_many_clips(
        self, n_clips: int, kept: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error rate of 0.25 against 0.10: 9 clips may show that by chance, 270 do not."""

        def of(held_out: object) -> HeldOutErrors:
            tried.append(held_out)
            return HeldOutErrors(*(2 * [(0.25, 0.10, 0.25)[len(tried) - 1]]))

        tried: list[object] = []
        monkeypatch.setattr(HeldOutErrors, "of", of)
        swap(monkeypatch, "fusion", Cosine)
        model = fit_open_set("auto", voices(3, n_clips, copies=0), voices(9, 2, seed=1))
        assert model.errors["as-norm"].mean == 0.10
        assert model.method == kept

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
        assert model.calibration == Calibration.fit(model.held_out)

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

    @pytest.mark.parametrize("method", ["cosine", "as-norm", "s-norm", "whitened", "plda", "fusion"])
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
        with pytest.raises(ConfigError, match="no method is named 'best'; there are: auto, cosine, as-norm"):
            fit_open_set("best", people, cohort)
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
        assert (np.abs(other.llrs(probes) - again.llrs(probes)).max() > 1e-6) == (method in TUNED)

    def test_names_and_refuses(self, method: str, models: dict[str, OpenSetModel]) -> None:
        model, fresh, others = models[method], voices(4, 8), voices(40, 2, seed=3)
        posterior = model.posteriors(fresh.embeddings)
        assert (posterior.argmax(axis=1) == fresh.labels).mean() > 0.8
        np.testing.assert_allclose(posterior.sum(axis=1), 1)
        assert (model.llrs(others.embeddings).max(axis=1) >= model.calibration.threshold).mean() < 0.1
        assert model.shape == (DIM,)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.usefixtures("quick")
def test_every_method_takes_views(method: str, models: dict[str, OpenSetModel]) -> None:
    """The fusion looks at all of them, every other method at the plain one."""
    people, cohort, probes = voices(4, 3), voices(15, 2, seed=1), voices(6, 2, seed=3)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, DIM)))[0].astype(np.float32)

    def seen(items: EmbeddingSet) -> EmbeddingSet:
        noise = 0.1 * np.random.default_rng(len(items)).normal(size=items.embeddings.shape)
        other = items.embeddings @ rotation + noise.astype(np.float32)
        return dataclasses.replace(items, embeddings=np.stack([items.embeddings, other], axis=1))

    model = fit_open_set(method, seen(people), seen(cohort))
    assert model.shape == (2, DIM)
    llrs, plain = model.llrs(seen(probes).embeddings), models[method].llrs(probes.embeddings)
    assert llrs.shape == (24, 4)
    if method == "fusion":
        assert np.abs(llrs - plain).max() > 0.1
        assert (model.llrs(seen(people).embeddings).argmax(axis=1) == people.labels).all()
    else:
        np.testing.assert_allclose(llrs, plain, rtol=1e-6, atol=1e-6)
    with pytest.raises(InputError, match=r"probes: embeddings of shape \(24, 16\); give \(n, 2, 16\)"):
        model.llrs(probes.embeddings)
    with pytest.raises(InputError, match=r"cohort: .* give \(n, 2, 16\)"):
        fit_open_set(method, seen(people), cohort)


def fused(n_people: int, seed: int = 0, members: int | None = None) -> list[Part]:
    scorer = METHODS["fusion"](n_people, seed, members)
    assert isinstance(scorer, ViewFusion)
    return list(scorer.parts)


def test_a_fusion_of_one_person_has_no_tuned_part() -> None:
    assert "speaker-rpl+" not in [part.make().name for part in fused(1)]
    parts = fused(2, 7)
    assert [part.make().name for part in parts] == ["as-norm", "plda", "as-norm", "speaker-rpl+"]
    assert [part.enrolled for part in parts[2:]] == [WORDS, SENTENCES]
    tuned = parts[3].make()
    assert isinstance(tuned, SpeakerRPLPlus)
    assert tuned.config.seed == 7
    assert tuned.space_name == "raw"  # it is given embeddings in the space


def test_how_many_adapters() -> None:
    def count(scorer: Scorer) -> int:
        assert isinstance(scorer, SpeakerRPL)
        return scorer.config.members

    assert count(fused(3)[3].make()) == FUSED_MEMBERS
    assert count(fused(3, members=2)[3].make()) == 2
    for method, own in (("speaker-rpl", 5), ("speaker-rpl+", 5), ("speaker-rpl-v2", 30)):
        assert count(METHODS[method](3, 0, None)) == own
        assert count(METHODS[method](3, 0, 7)) == 7
        with pytest.raises(ConfigError, match="members is 0; give 1 or more"):
            fit_open_set(method, voices(2, 2), voices(6, 2, seed=1), members=0)


def test_restoring_what_this_version_does_not_have() -> None:
    with pytest.raises(ConfigError, match="scorer 'best', which this version does not have; tune again"):
        restore_scorer("best", {}, {})


def test_members_below_one_are_refused_for_every_method() -> None:
    people, cohort = voices(3, 3), voices(9, 2, seed=1)
    for method in ("cosine", "fusion"):
        with pytest.raises(ConfigError, match="members is 0"):
            fit_open_set(method, people, cohort, members=0)
