"""PLDA as a back end: what it learns from which rows, and that it is restored to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring import PLDA, AsNorm, Cosine, EmbeddingSet, Scorer, SpeakerSpace, TwoCovariance

Voices = Callable[..., EmbeddingSet]


def test_score_is_the_ratio_of_the_model(voices: Voices) -> None:
    """Fitted in the space, a clip and its copies counting as one; people by their weighted means."""
    people, cohort, probes = voices(3, 2, copies=2), voices(9, 3, copies=2, seed=1), voices(2, 2, seed=2)
    space = SpeakerSpace().fit(people, cohort)
    weights = np.where(cohort.copies, 0.3, 0.4)
    model = TwoCovariance.fit(space.transform(cohort.embeddings), cohort.labels, weights)
    own = space.transform(people.embeddings) * np.where(people.copies, 0.3, 0.4)[:, None]
    means = np.stack([own[people.labels == k].sum(axis=0) / 2 for k in range(3)])
    expected = model.llr(space.transform(probes.embeddings), means, np.array([2, 2, 2]))
    scores = PLDA().fit(people, cohort).score(probes.embeddings)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=2e-3)


def test_raw_space(voices: Voices) -> None:
    people, cohort, probes = voices(3, 2), voices(9, 3, seed=1), voices(2, 2, seed=2)
    model = TwoCovariance.fit(cohort.embeddings, cohort.labels)
    means = np.stack([people.embeddings[people.labels == k].mean(axis=0) for k in range(3)])
    expected = model.llr(probes.embeddings, means, np.array([2, 2, 2]))
    scores = PLDA("raw").fit(people, cohort).score(7 * probes.embeddings)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=2e-3)


def error(scorer: Scorer, voices: Voices) -> float:
    """Share of pairs of a target and a non-target trial in the wrong order, over some households."""
    wrong = []
    for seed in range(6):
        cohort = voices(60, 4, copies=2, seed=100, spread=1.2)
        mixed = voices(8, 6, copies=2, seed=seed, spread=1.2)
        enrolled = mixed.clips % 6 < 2
        probes = mixed.select(~enrolled)
        scores = scorer.fit(mixed.select(enrolled), cohort).score(probes.embeddings)
        own = np.arange(8) == probes.labels[:, None]
        wrong.append((scores[own][:, None] <= scores[~own]).mean())
    return float(np.mean(wrong))


def test_better_than_cosine(voices: Voices) -> None:
    assert error(PLDA(), voices) < 0.9 * error(Cosine(), voices)
    assert error(PLDA("raw"), voices) < error(Cosine(), voices)


def test_one_clip_each(voices: Voices) -> None:
    people, cohort, probes = voices(4, 1), voices(9, 3, seed=1), voices(2, 2, seed=2)
    space = SpeakerSpace().fit(people, cohort)
    model = TwoCovariance.fit(space.transform(cohort.embeddings), cohort.labels)
    expected = model.llr(space.transform(probes.embeddings), space.transform(people.embeddings), np.ones(4))
    scores = PLDA().fit(people, cohort).score(probes.embeddings)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=2e-3)
    alone = PLDA().fit(voices(1, 1), voices(30, 1, seed=1))
    assert np.isfinite(alone.score(voices(3, 1, seed=2).embeddings)).all()


@pytest.mark.parametrize("space", ["whitened", "raw"])
@pytest.mark.parametrize("adaptation", [0.0, 0.5])
def test_fewer_cohort_clips_than_dimensions(voices: Voices, space: str, adaptation: float) -> None:
    people, cohort = voices(2, 3, dim=40), voices(3, 2, dim=40, seed=1)
    scores = PLDA(space, adaptation=adaptation).fit(people, cohort).score(people.embeddings)
    assert np.isfinite(scores).all()
    assert (scores.argmax(axis=1) == people.labels).all()
    constant = EmbeddingSet.plain(np.ones((5, 40)), np.arange(5))
    assert np.isfinite(PLDA(space).fit(people, constant).score(people.embeddings)).all()


def test_adaptation_is_to_the_people_enrolled(voices: Voices) -> None:
    """A household whose clips vary far more than those of the cohort."""

    def loss(adaptation: float) -> float:
        total = 0.0
        for seed in range(6):
            cohort = voices(60, 4, seed=100, spread=0.3)
            mixed = voices(6, 8, seed=seed, spread=0.9)
            enrolled = mixed.clips % 8 < 4
            probes = mixed.select(~enrolled)
            llr = (
                PLDA("raw", adaptation=adaptation)
                .fit(mixed.select(enrolled), cohort)
                .score(probes.embeddings)
            )
            own = np.arange(6) == probes.labels[:, None]
            total += np.logaddexp(0, -llr[own]).mean() + np.logaddexp(0, llr[~own]).mean()
        return total

    assert loss(0.5) < 0.9 * loss(0.0)


def test_labels_need_not_be_consecutive(voices: Voices) -> None:
    """Held-out folds of a cohort have gaps."""
    people, cohort = voices(3, 2), voices(9, 3, seed=1)
    gaps = EmbeddingSet(
        cohort.embeddings, cohort.labels * 7 + 3, cohort.clips * 2, cohort.groups, cohort.copies
    )
    np.testing.assert_allclose(
        PLDA().fit(people, gaps).score(people.embeddings),
        PLDA().fit(people, cohort).score(people.embeddings),
        rtol=1e-4,
        atol=1e-4,
    )


def test_more_clips_are_believed_more(voices: Voices) -> None:
    people, cohort = voices(1, 8, spread=0.8), voices(30, 4, seed=1, spread=0.8)
    few, many = (PLDA("raw").fit(people.select(people.clips < n), cohort) for n in (1, 7))
    probe = people.embeddings[7:]
    assert many.counts[0] == 7
    assert many.score(probe)[0, 0] > few.score(probe)[0, 0]


@pytest.mark.parametrize("space", ["whitened", "raw"])
def test_saved_and_restored(voices: Voices, space: str) -> None:
    scorer = PLDA(space, shrinkage=0.2, adaptation=0.3).fit(
        voices(3, 2, copies=1), voices(8, 3, copies=1, seed=1)
    )
    config, arrays = scorer.state()
    probes = voices(4, 2, seed=2).embeddings
    restored = PLDA.restore(json.loads(json.dumps(config)), arrays)
    np.testing.assert_array_equal(restored.score(probes), scorer.score(probes))
    assert restored.config == scorer.config


def test_the_plain_view_of_several(voices: Voices) -> None:
    def viewed(items: EmbeddingSet) -> EmbeddingSet:
        both = np.stack([items.embeddings, items.embeddings[:, ::-1]], axis=1)
        return EmbeddingSet(both, items.labels, items.clips, items.groups, items.copies)

    people, cohort = voices(3, 2, copies=1), voices(8, 3, copies=1, seed=1)
    for make in (PLDA, AsNorm):
        plain = make().fit(people, cohort).score(people.embeddings)
        np.testing.assert_array_equal(
            make().fit(viewed(people), viewed(cohort)).score(viewed(people).embeddings), plain
        )


def test_what_is_refused(voices: Voices) -> None:
    with pytest.raises(NotEnoughDataError, match="plda needs clips of other people"):
        PLDA().fit(voices(2, 2))
    with pytest.raises(ConfigError, match="space is 'wide'; there are: whitened, raw"):
        PLDA("wide")
    with pytest.raises(ConfigError, match="shrinkage"):
        PLDA(shrinkage=2).fit(voices(2, 2), voices(4, 2))
