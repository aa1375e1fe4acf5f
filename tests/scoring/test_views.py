"""The fusion of views: standardised means by definition, what counts by enrolment, and a state that scores the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from openkith.audio.augment import GROUPS
from openkith.errors import NotEnoughDataError
from openkith.openset.model import restore_scorer
from openkith.scoring import PLDA, AsNorm, Cosine, EmbeddingSet, SpeakerSpace, ViewFusion
from openkith.scoring.base import ConditionScorer, normalise
from openkith.scoring.conditions import ConditionGuess
from openkith.scoring.views import ALWAYS, SENTENCES, WORDS, Part
from openkith.tuning import SpeakerRPLPlus, TuneConfig

Voices = Callable[..., EmbeddingSet]

DIM = 32
COPIES = GROUPS.index("short")  # groups 1 to 8: of each kind up to the short ones
PARTS = (Part(AsNorm), Part(partial(PLDA, space="raw", iterations=0)), Part(AsNorm, in_space=False))


def seen(items: EmbeddingSet, views: int = 3) -> EmbeddingSet:
    """Views of each row: itself, then rotations of it with a little noise."""
    dim = items.embeddings.shape[1]
    rng = np.random.default_rng(len(items))
    each = [items.embeddings]
    for view in range(1, views):
        rotation = np.linalg.qr(np.random.default_rng(view).normal(size=(dim, dim)))[0]
        each.append(items.embeddings @ rotation + 0.02 * rng.normal(size=items.embeddings.shape))
    return replace(items, embeddings=normalise(np.stack(each, axis=1)))


def halved(items: EmbeddingSet, n_clips: int, enrolled: int) -> tuple[EmbeddingSet, EmbeddingSet]:
    """Some clips of each person to enrol, and the others."""
    first = items.clips % n_clips < enrolled
    return items.select(first), items.select(~first)


@pytest.fixture(scope="module")
def both(voices: Voices) -> tuple[EmbeddingSet, EmbeddingSet]:
    return halved(voices(4, 7, copies=COPIES, dim=DIM), 7, 3)


@pytest.fixture(scope="module")
def people(both: tuple[EmbeddingSet, EmbeddingSet]) -> EmbeddingSet:
    return both[0]


@pytest.fixture(scope="module")
def cohort(voices: Voices) -> EmbeddingSet:
    return voices(15, 3, copies=COPIES, dim=DIM, seed=1)


@pytest.fixture(scope="module")
def probes(both: tuple[EmbeddingSet, EmbeddingSet], voices: Voices) -> EmbeddingSet:
    """Of the same people, labels 0 to 3, and of others."""
    return EmbeddingSet.concatenate([both[1], voices(6, 2, copies=COPIES, dim=DIM, seed=3)])


@pytest.fixture(scope="module")
def many(voices: Voices) -> EmbeddingSet:
    """A cohort of which conditions are learned well."""
    return voices(50, 2, copies=COPIES, dim=DIM, seed=1)


def stored(fusion: ViewFusion) -> ViewFusion:
    """What a gallery would give back."""
    config, arrays = fusion.state()
    config = json.loads(json.dumps(config, allow_nan=False))
    restored = restore_scorer(fusion.name, config, {key: array.copy() for key, array in arrays.items()})
    assert isinstance(restored, ViewFusion)
    return restored


class TestScores:
    def test_one_part_of_one_view_is_its_score_standardised_on_the_cohort(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        fusion = ViewFusion([Part(AsNorm, in_space=False)]).fit(people, cohort)
        assert list(fusion.used) == [0]
        scorer = AsNorm().fit(people, cohort)
        others = scorer.score(cohort.embeddings)  # 405 rows: all of them
        expected = (scorer.score(probes.embeddings) - others.mean()) / others.std()
        np.testing.assert_allclose(fusion.score(probes.embeddings), expected, rtol=1e-4, atol=1e-4)

    def test_every_part_of_every_view_but_the_plain_one(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        """The mean of all of them."""
        own, others, asked = seen(people), seen(cohort), seen(probes)
        fusion = ViewFusion(PARTS).fit(own, others)
        assert list(fusion.used) == [1, 2]
        expected = []
        for view in (1, 2):
            space = SpeakerSpace().fit(own.view(view), others.view(view))
            for part in PARTS:
                three = [items.view(view) for items in (own, others, asked)]
                if part.in_space:
                    three = [replace(items, embeddings=space.transform(items.embeddings)) for items in three]
                scorer = part.make().fit(three[0], three[1])
                of_cohort = scorer.score(three[1].embeddings).astype(float)
                expected.append((scorer.score(three[2].embeddings) - of_cohort.mean()) / of_cohort.std())
        scores = fusion.score(asked.embeddings)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, np.mean(expected, axis=0), rtol=1e-3, atol=1e-3)

    def test_the_plain_view_tells_the_condition_and_nothing_else(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        fusion = ViewFusion(PARTS).fit(seen(people), seen(cohort))
        asked = seen(probes).embeddings
        assert isinstance(fusion, ConditionScorer)
        conditions = fusion.guess_conditions(asked)
        assert conditions.dtype == np.float32
        expected = ConditionGuess().fit(cohort).posterior(probes.embeddings)
        np.testing.assert_allclose(conditions, expected, atol=1e-5)
        plain, others = asked.copy(), asked.copy()
        plain[:, 0] = asked[::-1, 0]
        others[:, 1:] = asked[::-1, 1:]
        np.testing.assert_array_equal(fusion.score(plain), fusion.score(asked))
        assert np.abs(fusion.guess_conditions(plain) - conditions).max() > 0.5
        np.testing.assert_array_equal(fusion.guess_conditions(others), conditions)

    def test_the_share_of_a_part_is_its_weight(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        """Scores of two parts of unequal weight, by hand of the scores of each alone."""
        both = replace(people, copies=~np.isin(people.groups, [0, GROUPS.index("short")]))
        parts = [Part(AsNorm), Part(Cosine, in_space=False, enrolled=WORDS)]
        fusion = ViewFusion(parts).fit(both, cohort)
        weight = fusion.members[1].weight
        assert 0.3 < weight < 0.7
        first, second = (
            ViewFusion([replace(part, enrolled=ALWAYS)]).fit(both, cohort).score(probes.embeddings)
            for part in parts
        )
        expected = (first + weight * second) / (1.0 + weight)
        np.testing.assert_allclose(fusion.score(probes.embeddings), expected, rtol=1e-4, atol=1e-4)

    def test_one_view_is_no_view(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        """Embeddings (n, 1, d) and (n, d) are the same thing."""
        flat = ViewFusion(PARTS).fit(people, cohort)
        several = ViewFusion(PARTS).fit(seen(people, views=1), seen(cohort, views=1))
        scores = flat.score(probes.embeddings)
        assert scores.shape == (len(probes), 4)
        np.testing.assert_allclose(several.score(seen(probes, views=1).embeddings), scores, atol=1e-4)
        np.testing.assert_array_equal(flat.score(probes.embeddings[:, None]), scores)

    def test_probes_without_the_views_are_refused(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet
    ) -> None:
        fusion = ViewFusion(PARTS).fit(seen(people), seen(cohort))
        for views in (probes.embeddings, seen(probes, views=2).embeddings):
            with pytest.raises(IndexError):
                fusion.score(views)

    def test_each_probe_alone(self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet) -> None:
        fusion = ViewFusion(PARTS).fit(seen(people), seen(cohort))
        asked = seen(probes).embeddings[::7]
        whole = fusion.score(asked)
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        close(np.concatenate([fusion.score(row[None]) for row in asked]), whole)
        close(fusion.score(asked[::-1]), whole[::-1])
        assert fusion.score(asked[:0]).shape == (0, 4)

    def test_views_that_err_apart_are_better_together(self, voices: Voices) -> None:
        """Each view hears the voice in its own noise; the fusion errs less than the best view alone."""
        rng = np.random.default_rng(0)

        def noisy(items: EmbeddingSet) -> EmbeddingSet:
            views = np.repeat(items.embeddings[:, None], 4, axis=1)
            return replace(items, embeddings=normalise(views + 0.25 * rng.normal(size=views.shape)))

        people, probes = halved(noisy(voices(8, 12, dim=DIM)), 12, 3)
        cohort = noisy(voices(20, 3, dim=DIM, seed=1))

        def wrong(scores: np.ndarray) -> float:
            return float((scores.argmax(axis=1) != probes.labels).mean())

        fusion = ViewFusion([Part(AsNorm)]).fit(people, cohort)
        alone = [
            wrong(
                ViewFusion([Part(AsNorm)])
                .fit(people.view(view), cohort.view(view))
                .score(probes.view(view).embeddings)
            )
            for view in (1, 2, 3)
        ]
        assert min(alone) > 0
        assert wrong(fusion.score(probes.embeddings)) < min(alone)


class TestShares:
    """What counts by how people were enrolled."""

    parts = (Part(Cosine), Part(AsNorm, enrolled=SENTENCES), Part(PLDA, enrolled=WORDS))

    def enrolled_by(self, people: EmbeddingSet, words: bool) -> EmbeddingSet:
        """Clips of one condition, as if they had been recorded so."""
        rows = people.select(people.groups == (GROUPS.index("short") if words else 0))
        return replace(rows, copies=np.zeros(len(rows), bool))

    def weights(self, enrolment: EmbeddingSet, many: EmbeddingSet) -> dict[str, float]:
        fusion = ViewFusion(self.parts).fit(enrolment, many)
        return {member.scorer.name: member.weight for member in fusion.members}

    def test_by_sentences(self, people: EmbeddingSet, many: EmbeddingSet) -> None:
        weights = self.weights(self.enrolled_by(people, words=False), many)
        assert weights["cosine"] == 1.0
        assert weights["as-norm"] > 0.7
        assert weights["plda"] == pytest.approx(1.0 - weights["as-norm"])

    def test_by_words(self, people: EmbeddingSet, many: EmbeddingSet) -> None:
        weights = self.weights(self.enrolled_by(people, words=True), many)
        assert weights["cosine"] == 1.0
        assert weights["plda"] > 0.7
        assert weights.get("as-norm", 0.0) < 0.3

    def test_by_both(self, people: EmbeddingSet, many: EmbeddingSet) -> None:
        """The mean guess of the clips as recorded, not of their copies."""
        both = replace(people, copies=~np.isin(people.groups, [0, GROUPS.index("short")]))
        weights = self.weights(both, many)
        guess = ConditionGuess().fit(many).short(both.originals().embeddings).mean()
        assert 0.3 < guess < 0.7
        assert weights["plda"] == pytest.approx(guess)
        assert weights["as-norm"] == pytest.approx(1.0 - guess)

    def test_what_hardly_counts_is_not_fitted(self, people: EmbeddingSet, voices: Voices) -> None:
        def never() -> Cosine:
            raise AssertionError("it was fitted")

        parts = [Part(AsNorm, enrolled=ALWAYS), Part(never, enrolled=WORDS)]
        cohort = voices(15, 3, dim=DIM, seed=1)  # without short copies no clip is a word
        fusion = ViewFusion(parts).fit(people, cohort)
        assert len(fusion.members) == 1
        with pytest.raises(ValueError, match="a fusion without parts"):
            ViewFusion(parts[1:]).fit(people, cohort).score(people.embeddings)


class TestState:
    @pytest.mark.parametrize("views", [0, 1, 3])
    def test_restored_to_the_last_bit(
        self, people: EmbeddingSet, cohort: EmbeddingSet, probes: EmbeddingSet, views: int
    ) -> None:
        """0: embeddings (n, d)."""
        config = TuneConfig(steps=3, members=2, out=8)
        parts = [*PARTS, Part(partial(SpeakerRPLPlus, config, space="raw"), enrolled=SENTENCES)]
        three = [seen(items, views) if views else items for items in (people, cohort, probes)]
        fusion = ViewFusion(parts).fit(three[0], three[1])
        restored = stored(fusion)
        np.testing.assert_array_equal(restored.score(three[2].embeddings), fusion.score(three[2].embeddings))
        assert [member.scorer.name for member in restored.members] == [
            member.scorer.name for member in fusion.members
        ]

    def test_stored_twice(self, people: EmbeddingSet, cohort: EmbeddingSet) -> None:
        fusion = ViewFusion(PARTS).fit(seen(people), seen(cohort))
        once, twice = fusion.state(), stored(fusion).state()
        assert once[0] == twice[0]
        assert set(once[1]) == set(twice[1])
        for key, array in once[1].items():
            np.testing.assert_array_equal(twice[1][key], array)


class TestRefused:
    def test_no_cohort(self, people: EmbeddingSet) -> None:
        with pytest.raises(NotEnoughDataError, match="fusion needs clips of other people"):
            ViewFusion(PARTS).fit(people)

    @pytest.mark.parametrize("views", [1, 3])
    def test_identical_voices_have_finite_scores(self, views: int) -> None:
        def same(n: int, labels: Any) -> EmbeddingSet:
            return EmbeddingSet.plain(np.ones((n, views, 4)), np.asarray(labels))

        scores = (
            ViewFusion(PARTS).fit(same(4, [0, 0, 1, 1]), same(5, np.arange(5))).score(np.ones((2, views, 4)))
        )
        assert np.isfinite(scores).all()
