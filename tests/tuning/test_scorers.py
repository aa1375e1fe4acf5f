"""SpeakerRPL as back ends: they learn in the speaker space, repeat, are kept, and go on from an earlier one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.metrics import auroc
from openkith.scoring import EmbeddingSet, SpeakerSpace
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2, TuneConfig
from openkith.tuning.scorers import _balanced

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


CONFIGS: dict[type[SpeakerRPL], TuneConfig] = {
    SpeakerRPL: TuneConfig(**QUICK, unknown_weight=0.0),
    SpeakerRPLPlus: TuneConfig(**QUICK),
    SpeakerRPLV2: TuneConfig.v2(**{**QUICK, "members": 4}),
}


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


@pytest.fixture(scope="module", params=list(CONFIGS))
def tuned(request: pytest.FixtureRequest, people: EmbeddingSet, cohort: EmbeddingSet) -> SpeakerRPL:
    scorer: SpeakerRPL = request.param(CONFIGS[request.param]).fit(people, cohort)
    return scorer


def test_what_the_names_stand_for() -> None:
    assert [kind.name for kind in CONFIGS] == ["speaker-rpl", "speaker-rpl+", "speaker-rpl-v2"]
    assert SpeakerRPL().config.unknown_weight == 0
    assert SpeakerRPLPlus().config.unknown_weight > 0
    assert SpeakerRPLV2().config == TuneConfig.v2()


def test_every_speaker_and_clip_alike() -> None:
    """Speaker 0: clip 0 with two copies, clip 1 alone; speaker 3: clip 2 alone."""
    items = EmbeddingSet(
        np.zeros((5, 2), np.float32),
        np.array([0, 0, 0, 0, 3]),
        np.array([0, 0, 0, 1, 2]),
        np.zeros(5, np.int64),
        np.array([False, True, True, False, False]),
    )
    np.testing.assert_allclose(_balanced(items, 0.6), [0.3, 0.1, 0.1, 0.5, 1.0])


class TestLearning:
    def test_people_above_strangers(
        self, tuned: SpeakerRPL, probes: EmbeddingSet, strangers: EmbeddingSet
    ) -> None:
        scores = tuned.score(probes.embeddings)
        assert (scores.argmax(axis=1) == probes.labels).mean() > 0.8
        own = scores[np.arange(len(probes)), probes.labels]
        assert auroc(own, tuned.score(strangers.embeddings).max(axis=1)) > 0.9

    def test_in_the_speaker_space(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet, tuned: SpeakerRPL
    ) -> None:
        expected = SpeakerSpace().fit(people, cohort).transform(probes.embeddings)
        np.testing.assert_allclose(tuned.space.transform(probes.embeddings), expected, atol=1e-6)
        np.testing.assert_array_equal(tuned.score(probes.embeddings), tuned.head.score(expected))

    def test_in_a_space_of_the_callers(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        """Raw: what is given is what the head sees; the first view of those that have several."""
        scorer = SpeakerRPLPlus(TuneConfig(**QUICK), "raw").fit(people, cohort)
        own = scorer.score(probes.embeddings)
        np.testing.assert_allclose(scorer.head.score(probes.embeddings), own, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(SpeakerRPLPlus.restore(*scorer.state()).score(probes.embeddings), own)
        views = [
            replace(part, embeddings=np.stack([part.embeddings, 0 * part.embeddings], axis=1))
            for part in (people, cohort, probes)
        ]
        again = SpeakerRPLPlus(TuneConfig(**QUICK), "raw").fit(views[0], views[1])
        np.testing.assert_array_equal(again.score(views[2].embeddings), own)
        with pytest.raises(ConfigError, match=r"^space is 'plain'; there are: "):
            SpeakerRPL(space="plain")

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

    def test_copies_are_drawn_by_their_share(self, cohort: EmbeddingSet) -> None:
        """With no weight on copies they change nothing."""
        people = voices(4, 3, 0)
        config = TuneConfig(**QUICK, original_share=1.0, unknown_weight=0.0)
        first = SpeakerRPL(config).fit(people, cohort).score(people.embeddings)
        people.embeddings[people.copies] = 0.3
        again = SpeakerRPL(config).fit(people, cohort).score(voices(4, 3, 0).embeddings)
        np.testing.assert_array_equal(first, again)

    def test_epochs(self, people: EmbeddingSet, cohort: EmbeddingSet) -> None:
        config = TuneConfig.released(hidden=(16,), out=8, epochs=2)
        assert SpeakerRPLPlus(config).fit(people, cohort).head.diagnostics.steps == 4  # 24 rows, 16 a batch


class TestScore:
    def test_each_probe_alone(self, tuned: SpeakerRPL, probes: EmbeddingSet) -> None:
        whole = tuned.score(probes.embeddings)
        scale = np.abs(whole).max()
        alone = np.concatenate([tuned.score(probes.embeddings[i : i + 1]) for i in range(len(probes))])
        np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=1e-5 * scale)
        assert tuned.score(probes.embeddings[:0]).shape == (0, 4)

    def test_saved_and_restored(self, tuned: SpeakerRPL, probes: EmbeddingSet) -> None:
        config, arrays = tuned.state()
        restored = type(tuned).restore(json.loads(json.dumps(config, allow_nan=False)), arrays)
        assert restored.config == tuned.config
        assert restored.head.diagnostics == tuned.head.diagnostics
        np.testing.assert_array_equal(restored.score(probes.embeddings), tuned.score(probes.embeddings))


class TestContinual:
    def test_one_more_person(self, cohort: EmbeddingSet) -> None:
        people = voices(8, 3, 0)
        seven = people.select(people.labels < 7)
        config = TuneConfig(**{**QUICK, "steps": 120})
        earlier = SpeakerRPLPlus(config).fit(seven, cohort)
        more = SpeakerRPLPlus(config).fit(people, cohort, initial=earlier)
        assert more.head.diagnostics.steps == 18
        assert (more.head.diagnostics.kept, more.head.diagnostics.added) == (7, 1)
        others = voices(8, 6, 0)
        assert (more.score(others.embeddings).argmax(axis=1) == others.labels).mean() > 0.9

    def test_told_by_name(self, people: EmbeddingSet, cohort: EmbeddingSet) -> None:
        earlier = SpeakerRPLPlus(TuneConfig(**QUICK)).fit(people, cohort, names=list("abcd"))
        more = SpeakerRPLPlus(TuneConfig(**QUICK)).fit(people, cohort, initial=earlier, names=list("dbxa"))
        assert more.head.names == tuple("dbxa")
        diagnostics = more.head.diagnostics
        assert (diagnostics.kept, diagnostics.added, diagnostics.dropped) == (3, 1, 1)


@pytest.mark.parametrize("make", [SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2])
def test_too_little(make: Callable[[], SpeakerRPL], people: EmbeddingSet, cohort: EmbeddingSet) -> None:
    with pytest.raises(NotEnoughDataError, match=r"speaker-rpl\S* needs two people or more.*'as-norm'"):
        make().fit(people.select(people.labels == 0), cohort)
    with pytest.raises(NotEnoughDataError, match=r"speaker-rpl\S* needs clips of other people"):
        make().fit(people)


@pytest.mark.parametrize("dim", [1, 4])
def test_small(dim: int) -> None:
    """Two identical people, of clips without copies, against five clips."""
    twins = EmbeddingSet.plain(np.ones((2, dim)), np.arange(2))
    others = voices(5, 1, 3, copies=0, dim=dim)
    scores = SpeakerRPLPlus(TuneConfig(**{**QUICK, "steps": 5})).fit(twins, others).score(others.embeddings)
    assert scores.shape == (5, 2)
    assert np.isfinite(scores).all()
