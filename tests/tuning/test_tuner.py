"""Tuning a SpeakerRPL head: it learns, it repeats, it scores each probe alone, and it says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from openkith.config import from_dict
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.metrics import auroc
from openkith.scoring import EmbeddingSet, SpeakerSpace
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, TuneConfig, tuner
from openkith.tuning.tuner import _balanced, _draw

QUICK: dict[str, Any] = {"steps": 40, "members": 2, "out": 24}


def voices(n_speakers: int, n_clips: int, seed: int, copies: int = 1, dim: int = 16) -> EmbeddingSet:
    """Clips about a random direction for each speaker, each with noisier copies."""
    rng = np.random.default_rng(seed)
    n = n_speakers * n_clips * (copies + 1)
    labels = np.repeat(np.arange(n_speakers), n_clips * (copies + 1))
    clips = np.repeat(np.arange(n_speakers * n_clips), copies + 1)
    is_copy = np.arange(n) % (copies + 1) > 0
    x = rng.normal(size=(n_speakers, dim))[labels] + (0.3 + 0.2 * is_copy)[:, None] * rng.normal(
        size=(n, dim)
    )
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return EmbeddingSet(x.astype(np.float32), labels, clips, is_copy.astype(np.int64), is_copy)


@pytest.fixture(scope="module")
def people() -> EmbeddingSet:
    return voices(4, 3, 0)


@pytest.fixture(scope="module")
def cohort() -> EmbeddingSet:
    return voices(20, 2, 1)


@pytest.fixture(scope="module")
def probes() -> EmbeddingSet:
    """Other clips of the same people: the same directions, by the same seed."""
    return voices(4, 6, 0)


@pytest.fixture(scope="module")
def strangers() -> EmbeddingSet:
    return voices(30, 1, 2)


@pytest.fixture(scope="module", params=[SpeakerRPL, SpeakerRPLPlus])
def tuned(request: pytest.FixtureRequest, people: EmbeddingSet, cohort: EmbeddingSet) -> SpeakerRPL:
    beta = 0.0 if request.param is SpeakerRPL else 1.0
    scorer: SpeakerRPL = request.param(TuneConfig(unknown_weight=beta, **QUICK)).fit(people, cohort)
    return scorer


class TestTuneConfig:
    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("members", 0, "give 1 or more"),
            ("batch", 0, "give 1 or more"),
            ("unknown_batch", -1, "give 1 or more"),
            ("out", 0, "give 1 or more"),
            ("temperature", 0.0, "give a number above 0"),
            ("learning_rate", math.nan, "give a number above 0"),
            ("learning_rate", math.inf, "give a number above 0"),
            ("unknown_weight", -0.1, "give 0 or more"),
            ("weight", math.nan, "give 0 or more"),
            ("weight", math.inf, "give 0 or more"),
            ("original_share", 1.1, "give a share from 0 to 1"),
            ("original_share", math.nan, "give a share from 0 to 1"),
            ("steps", 0, "give 1 or more, or leave it out"),
        ],
    )
    def test_names_what_is_wrong(self, name: str, value: float, remedy: str) -> None:
        with pytest.raises(ConfigError, match=f"^{name} is {value}; {remedy}$"):
            TuneConfig(**{name: value})

    def test_limits_that_are_allowed(self) -> None:
        TuneConfig(unknown_weight=0, weight=0, original_share=0, steps=1, members=1, batch=1)
        TuneConfig(original_share=1)

    def test_from_json(self) -> None:
        config = TuneConfig(seed=3, steps=7)
        assert from_dict(TuneConfig, json.loads(json.dumps(asdict(config)))) == config
        with pytest.raises(ConfigError, match="unknown key 'step'; did you mean 'steps'"):
            from_dict(TuneConfig, {"step": 3})

    def test_what_the_names_stand_for(self) -> None:
        assert SpeakerRPL().config.unknown_weight == 0
        assert SpeakerRPLPlus().config.unknown_weight > 0


class TestBatches:
    def test_every_speaker_and_clip_alike(self) -> None:
        """Speaker 0: clip 0 with two copies, clip 1 alone; speaker 3: clip 2 alone."""
        items = EmbeddingSet(
            np.zeros((5, 2), np.float32),
            np.array([0, 0, 0, 0, 3]),
            np.array([0, 0, 0, 1, 2]),
            np.zeros(5, np.int64),
            np.array([False, True, True, False, False]),
        )
        np.testing.assert_allclose(_balanced(items, 0.6), [0.3, 0.1, 0.1, 0.5, 1.0])

    def test_drawn_by_weight(self) -> None:
        weights = torch.tensor([0.0, 1.0, 3.0])
        rows = _draw(weights, 3, 4000, torch.Generator().manual_seed(0))
        assert rows.shape == (3, 4000)
        counts = torch.bincount(rows.flatten(), minlength=3)
        assert counts[0] == 0
        assert counts[2] / counts[1] == pytest.approx(3, rel=0.1)
        assert not torch.equal(rows[0], rows[1])

    @pytest.mark.parametrize(("n_people", "asked", "steps"), [(2, None, 120), (50, None, 150), (2, 5, 5)])
    def test_steps(
        self,
        n_people: int,
        asked: int | None,
        steps: int,
        cohort: EmbeddingSet,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        drawn: list[tuple[int, int]] = []

        def spy(weights: Any, members: int, size: int, generator: Any) -> Any:
            drawn.append((members, size))
            return _draw(weights, members, size, generator)

        monkeypatch.setattr(tuner, "_draw", spy)
        config = TuneConfig(unknown_weight=0, steps=asked, members=1, out=2, batch=3)
        SpeakerRPL(config).fit(voices(n_people, 1, 5), cohort)
        assert drawn == [(1, 3)] * steps


class TestLearning:
    def test_better_than_chance_and_better_with_training(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        accuracy = []
        for steps in (1, 80):
            scorer = SpeakerRPLPlus(TuneConfig(**{**QUICK, "steps": steps})).fit(people, cohort)
            accuracy.append(float((scorer.score(probes.embeddings).argmax(axis=1) == probes.labels).mean()))
        assert accuracy[1] > 0.9
        assert accuracy[1] > accuracy[0]

    def test_people_above_strangers(
        self, tuned: SpeakerRPL, probes: EmbeddingSet, strangers: EmbeddingSet
    ) -> None:
        own = tuned.score(probes.embeddings)[np.arange(len(probes)), probes.labels]
        assert auroc(own, tuned.score(strangers.embeddings).max(axis=1)) > 0.9

    def test_unknown_samples_flatten_the_posterior_of_strangers(
        self, people: EmbeddingSet, cohort: EmbeddingSet, strangers: EmbeddingSet
    ) -> None:
        def certainty(beta: float) -> float:
            scores = SpeakerRPLPlus(TuneConfig(**QUICK, unknown_weight=beta)).fit(people, cohort)
            logits = scores.score(strangers.embeddings).astype(float)
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            return float((p.max(axis=1) / p.sum(axis=1)).mean())

        assert certainty(5.0) < certainty(0.0) - 0.02

    def test_without_plus_the_cohort_is_not_in_the_loss(
        self, people: EmbeddingSet, cohort: EmbeddingSet
    ) -> None:
        """Only in the space: how many unknown samples a batch would have changes nothing."""
        scores = [
            SpeakerRPL(TuneConfig(**QUICK, unknown_weight=beta, unknown_batch=size)).fit(people, cohort)
            for beta, size in ((0.0, 1), (0.0, 48), (1.0, 1), (1.0, 48))
        ]
        values = [scorer.score(people.embeddings) for scorer in scores]
        np.testing.assert_array_equal(values[0], values[1])
        assert np.abs(values[2] - values[3]).max() > 1e-3


class TestScore:
    def test_by_definition(self, tuned: SpeakerRPL, probes: EmbeddingSet) -> None:
        """Mean over members of minus the product of adapted embedding and reciprocal point, in the speaker space."""
        x = tuned.space.transform(probes.embeddings).astype(float)
        members = []
        for s in range(2):
            h = x
            for weight in tuned._weights[:-1]:
                h = h @ weight[s].numpy().astype(float)
                h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
                h = np.maximum(h, 0)
            members.append(-(h @ tuned._weights[-1][s].numpy()) @ tuned._points[s].numpy().T)
        scores = tuned.score(probes.embeddings)
        np.testing.assert_allclose(scores, np.mean(members, axis=0), rtol=1e-3, atol=1e-3)
        assert scores.dtype == np.float32

    def test_each_probe_alone(
        self, tuned: SpeakerRPL, probes: EmbeddingSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = tuned.score(probes.embeddings)
        scale = np.abs(whole).max()
        alone = np.concatenate([tuned.score(probes.embeddings[i : i + 1]) for i in range(len(probes))])
        np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=1e-5 * scale)
        monkeypatch.setattr(tuner, "_BLOCK", 7)
        np.testing.assert_allclose(tuned.score(probes.embeddings), whole, rtol=1e-5, atol=1e-5 * scale)
        assert tuned.score(probes.embeddings[:0]).shape == (0, 4)

    def test_saved_and_restored(self, tuned: SpeakerRPL, probes: EmbeddingSet) -> None:
        config, arrays = tuned.state()
        restored = type(tuned).restore(json.loads(json.dumps(config)), arrays)
        assert restored.config == tuned.config
        np.testing.assert_array_equal(restored.score(probes.embeddings), tuned.score(probes.embeddings))


def test_the_seed_decides(people: EmbeddingSet, cohort: EmbeddingSet) -> None:
    """The seed alone: neither what torch's own generator did before, nor is that touched."""
    scores = []
    for seed, before in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        config = TuneConfig(**{**QUICK, "steps": 5}, seed=seed)
        scores.append(SpeakerRPLPlus(config).fit(people, cohort).score(people.embeddings))
        assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1e-3


@pytest.mark.parametrize("make", [SpeakerRPL, SpeakerRPLPlus])
def test_too_little(make: Callable[[], SpeakerRPL], people: EmbeddingSet, cohort: EmbeddingSet) -> None:
    with pytest.raises(NotEnoughDataError, match=r"speaker-rpl\+? needs two people or more.*'as-norm'"):
        make().fit(people.select(people.labels == 0), cohort)
    with pytest.raises(NotEnoughDataError, match=r"speaker-rpl\+? needs clips of other people"):
        make().fit(people)


@pytest.mark.parametrize("dim", [1, 4])
def test_small(dim: int) -> None:
    """Two identical people, of clips without copies, against five clips."""
    twins = EmbeddingSet.plain(np.ones((2, dim)), np.arange(2))
    others = voices(5, 1, 3, copies=0, dim=dim)
    scores = SpeakerRPLPlus(TuneConfig(**{**QUICK, "steps": 5})).fit(twins, others).score(others.embeddings)
    assert scores.shape == (5, 2)
    assert np.isfinite(scores).all()


def test_the_space_is_the_speaker_space(
    people: EmbeddingSet, cohort: EmbeddingSet, tuned: SpeakerRPL
) -> None:
    expected = SpeakerSpace().fit(people, cohort).transform(people.embeddings)
    np.testing.assert_allclose(tuned.space.transform(people.embeddings), expected, atol=1e-6)
