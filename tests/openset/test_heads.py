"""A model as JSON and arrays and back: the same scores and thresholds, and nothing foreign."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from openkith.errors import ConfigError, GalleryError
from openkith.openset.heads import add_strangers, pack_model, unpack_model
from openkith.openset.model import METHODS, OpenSetModel, fit_open_set
from openkith.scoring import AsNorm, Calibration, EmbeddingSet, Scorer, ViewFusion
from openkith.scoring.views import Part
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2, TuneConfig

QUICK: dict[str, Any] = {"steps": 5, "members": 2, "out": 8}
SETTINGS: dict[str, Any] = {"far": 0.1, "unknown_prior": 0.4}
QUICK_METHODS: dict[str, Callable[[int, int, int | None], Scorer]] = {
    **METHODS,
    "speaker-rpl": lambda *_: SpeakerRPL(TuneConfig(unknown_weight=0.0, **QUICK)),
    "speaker-rpl+": lambda *_: SpeakerRPLPlus(TuneConfig(**QUICK)),
    "speaker-rpl-v2": lambda *_: SpeakerRPLV2(TuneConfig.v2(**QUICK)),
    "fusion": lambda *_: ViewFusion(
        [Part(AsNorm, in_space=False), Part(lambda: SpeakerRPLPlus(TuneConfig(**QUICK), space="raw"))]
    ),
}


def voices(n_speakers: int, n_clips: int, seed: int, copies: int = 1) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    n = n_speakers * n_clips * (copies + 1)
    labels = np.repeat(np.arange(n_speakers), n_clips * (copies + 1))
    clips = np.repeat(np.arange(n_speakers * n_clips), copies + 1)
    is_copy = np.arange(n) % (copies + 1) > 0
    x = rng.normal(size=(n_speakers, 12))[labels] + 0.4 * rng.normal(size=(n, 12))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return EmbeddingSet(x.astype(np.float32), labels, clips, is_copy.astype(np.int64), is_copy)


@pytest.fixture(scope="module", params=list(METHODS))
def model(request: pytest.FixtureRequest) -> OpenSetModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, request.param, QUICK_METHODS[request.param])
        return fit_open_set(request.param, voices(3, 2, 0), voices(9, 2, 1), **SETTINGS)


@pytest.fixture(scope="module")
def simple() -> OpenSetModel:
    return fit_open_set("as-norm", voices(3, 2, 0), voices(9, 2, 1), **SETTINGS)


def stored(model: OpenSetModel, **extra: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a gallery would give back: JSON, and arrays of kinds that a file can hold."""
    config, arrays = pack_model(model, extra)
    for array in arrays.values():
        assert array.dtype in (np.float16, np.float32, np.int64, np.uint8)
        assert array.flags.c_contiguous
    return json.loads(json.dumps(config, allow_nan=False)), {
        key: value.copy() for key, value in arrays.items()
    }


def test_the_same_model(model: OpenSetModel) -> None:
    restored = unpack_model(*stored(model, people=[1, 2, 3]), None, **SETTINGS)
    probes = voices(6, 2, 2).embeddings
    np.testing.assert_array_equal(restored.scorer.score(probes), model.scorer.score(probes))
    np.testing.assert_allclose(restored.posteriors(probes), model.posteriors(probes), rtol=1e-4, atol=1e-6)
    assert restored.calibration.threshold == pytest.approx(model.calibration.threshold, rel=1e-4)
    assert astuple(restored.calibration.miss) == pytest.approx(astuple(model.calibration.miss), rel=1e-6)
    assert restored.calibration.basis == ("clips",) * 3
    for name in ("asked", "method", "errors", "shape"):
        assert getattr(restored, name) == getattr(model, name)
    for key, value in model.held_out.arrays().items():
        np.testing.assert_allclose(restored.held_out.arrays()[key], value, rtol=1e-6)
        assert (restored.held_out.arrays()[key].dtype == bool) == (value.dtype == bool)


def test_the_same_model_of_views() -> None:
    """Of two views; the tuned part is restored on each."""

    def seen(items: EmbeddingSet) -> EmbeddingSet:
        x = items.embeddings
        return replace(items, embeddings=np.stack([x, x[:, ::-1], np.abs(x)], axis=1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "fusion", QUICK_METHODS["fusion"])
        model = fit_open_set("fusion", seen(voices(3, 2, 0)), seen(voices(9, 2, 1)), **SETTINGS)
    config, arrays = stored(model)
    restored = unpack_model(config, arrays, None, **SETTINGS)
    assert restored.shape == (3, 12)
    probes = seen(voices(6, 2, 2)).embeddings
    np.testing.assert_array_equal(restored.scorer.score(probes), model.scorer.score(probes))
    for shape in ([12], [2, 12], [3, 13]):
        with pytest.raises(GalleryError, match="damaged"):
            unpack_model({**config, "shape": shape}, arrays, None, **SETTINGS)


def test_other_settings(simple: OpenSetModel) -> None:
    """The calibration is made again: any rate, without tuning again."""
    restored = unpack_model(*stored(simple), None, far=0.3, unknown_prior=0.2)
    expected = Calibration.fit(simple.held_out, far=0.3, unknown_prior=0.2)
    assert restored.calibration.threshold == pytest.approx(expected.threshold, rel=1e-4)
    assert restored.calibration.threshold < simple.calibration.threshold
    assert restored.calibration.unknown_prior == 0.2
    with pytest.raises(ConfigError, match=r"^far is 2;"):
        unpack_model(*stored(simple), None, far=2)


def test_extra_configuration_is_kept(simple: OpenSetModel) -> None:
    config, _ = stored(simple, people=[4, 5], background=["abc"])
    assert config["people"] == [4, 5]
    assert config["background"] == ["abc"]


def test_rates_that_are_not_defined() -> None:
    model = fit_open_set("cosine", voices(3, 2, 0), None)
    config, arrays = stored(model)
    assert config["errors"]["cosine"][1] is None
    assert math.isnan(unpack_model(config, arrays, None).errors["cosine"].detection_eer)


def test_stand_ins_are_kept() -> None:
    model = fit_open_set("as-norm", voices(3, 1, 0), voices(20, 3, 1), **SETTINGS)
    restored = unpack_model(*stored(model), None, **SETTINGS)
    assert restored.calibration.basis == ("cohort",) * 3
    assert astuple(restored.calibration.miss) == pytest.approx(astuple(model.calibration.miss), rel=1e-5)


class TestStrangers:
    def test_by_hand(self, simple: OpenSetModel) -> None:
        """Their scores, weights and clips come after those of the cohort."""
        strangers = voices(4, 2, 7)
        model = add_strangers(simple, strangers, **SETTINGS)
        held, before = model.held_out, simple.held_out
        np.testing.assert_array_equal(held.unknown[: len(before.unknown)], before.unknown)
        np.testing.assert_array_equal(
            held.unknown[len(before.unknown) :], simple.scorer.score(strangers.embeddings)
        )
        assert model.calibration.unknown_clips == simple.calibration.unknown_clips + 8
        np.testing.assert_allclose(held.unknown_weights[len(before.unknown) :], 0.5)
        expected = Calibration.fit(held, **SETTINGS)
        assert model.calibration == expected
        assert model.scorer is simple.scorer

    def test_a_guest_who_sounds_like_somebody_raises_the_threshold(self, simple: OpenSetModel) -> None:
        like = voices(3, 2, 0).select(np.arange(4))
        guests = replace(like, clips=np.arange(4))
        model = unpack_model(*stored(simple), guests, **SETTINGS)
        line = simple.calibration
        score = (model.calibration.threshold - model.calibration.intercept) / model.calibration.slope
        assert score > (line.threshold - line.intercept) / line.slope

    def test_where_there_were_none(self) -> None:
        model = fit_open_set("cosine", voices(3, 2, 0), None, **SETTINGS)
        more = add_strangers(model, voices(15, 1, 7), **SETTINGS)
        assert model.calibration.extrapolated
        assert not more.calibration.extrapolated
        assert more.calibration.unknown_clips == 15


Damage = Callable[[tuple[dict[str, Any], dict[str, np.ndarray]]], object]


@pytest.mark.parametrize(
    "damage",
    [
        lambda head: head[0].pop("scorer"),
        lambda head: head[0].pop("shape"),
        lambda head: head[0].update(scorer="as-norm"),
        lambda head: head[0].update(scorer={"name": "as-norm"}),
        lambda head: head[0]["scorer"].update(name="best"),
        lambda head: head[0]["scorer"].update(name="plda"),
        lambda head: head[0]["scorer"].update(name="fusion"),
        lambda head: head[0]["scorer"].update(name="speaker-rpl"),
        lambda head: head[0].update(shape=[13]),
        lambda head: head[0].update(shape="12"),
        lambda head: head[0].update(shape=[-1]),
        lambda head: head[0].update(errors=None),
        lambda head: head[0].update(errors={"as-norm": [0.1]}),
        lambda head: head[0].update(basis=["clips"]),
        lambda head: head[0].update(basis=None),
        lambda head: head[1].clear(),
        lambda head: head[1].pop("scorer/prototypes"),
        lambda head: head[1].pop("held_out/known"),
        lambda head: head[1].update({"held_out/more": np.zeros(3)}),
        lambda head: head[1].update({"held_out/labels": head[1]["held_out/labels"][:-1]}),
        lambda head: head[1].update({"held_out/labels": head[1]["held_out/labels"] + 1}),
        lambda head: head[1].update({"held_out/known": head[1]["held_out/known"][:, :2]}),
        lambda head: head[1].update({"held_out/unknown": head[1]["held_out/unknown"][:-1]}),
        lambda head: head[1].update({"held_out/unknown": head[1]["held_out/unknown"].ravel()}),
        lambda head: head[1].update({"held_out/pseudo": np.zeros(2, np.float32)}),
        lambda head: head[1].update({"scorer/prototypes": head[1]["scorer/prototypes"][:2]}),
        lambda head: head[1].update({"scorer/prototypes": head[1]["scorer/prototypes"][:, :5]}),
        lambda head: head[1]["scorer/cohort"].fill(np.nan),
        lambda head: head[1]["held_out/known"].fill(np.inf),
    ],
)  # fmt: skip
def test_damaged(simple: OpenSetModel, damage: Damage) -> None:
    config, arrays = stored(simple)
    damage((config, arrays))
    with pytest.raises(
        GalleryError, match=r"^the stored head is damaged, or of another version \(.+\); run: kith tune$"
    ):
        unpack_model(config, arrays, None, **SETTINGS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda head: head[0]["scorer"]["config"]["head"]["config"].update(colour="blue"),
        lambda head: head[0]["scorer"]["config"]["head"]["config"].update(members=0),
        lambda head: head[0]["scorer"]["config"].update(space="there"),
        lambda head: head[1].pop("scorer/head.adapter.weights.0"),
        lambda head: head[1].pop("scorer/space.whitener"),
        lambda head: head[1].update({"scorer/head.loss.points": head[1]["scorer/head.loss.points"][..., :3]}),
        lambda head: head[1].update(
            {"scorer/head.adapter.weights.1": head[1]["scorer/head.adapter.weights.1"][:, :3]}
        ),
    ],
)  # fmt: skip
def test_damaged_tuned_head(damage: Damage) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "speaker-rpl", QUICK_METHODS["speaker-rpl"])
        config, arrays = stored(fit_open_set("speaker-rpl", voices(3, 2, 0), voices(9, 2, 1)))
    damage((config, arrays))
    with pytest.raises(GalleryError, match="damaged"):
        unpack_model(config, arrays, None)


@pytest.mark.parametrize("number", [0, 1, None, "2"])
def test_another_format(simple: OpenSetModel, number: Any) -> None:
    config, arrays = stored(simple)
    with pytest.raises(GalleryError, match=rf"has format {number}, this version reads 3; run: kith tune"):
        unpack_model({**config, "format": number}, arrays, None)
    with pytest.raises(GalleryError, match="has format None"):
        unpack_model({}, {}, None)
