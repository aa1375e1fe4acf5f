"""What was learned from is never scored."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Self

import numpy as np
import pytest

from openkith.scoring import AsNorm, Cosine, EmbeddingSet, holdout
from openkith.scoring.holdout import hold_out

DIM = 16


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


def one_voice_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the cohort's labels at their word, whatever the embeddings."""
    monkeypatch.setattr(holdout, "voice_groups", lambda cohort: cohort.labels)


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
        for spy in log:
            asked = [clip for clip in spy.asked if clip < 1000]
            assert len(asked) <= 3 * -(-n_clips // 3)  # a third of each person's clips at a time
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


def test_many_people_keep_every_clip_and_fewer_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n_people, n_clips, n_copies = 4, 3, 6
    rows = n_people * n_clips * (1 + n_copies)
    clips = np.repeat(np.arange(n_people * n_clips), 1 + n_copies)
    copies = np.tile(np.arange(1 + n_copies) > 0, n_people * n_clips)
    people = EmbeddingSet(
        rng.normal(size=(rows, 8)).astype(np.float32),
        clips // n_clips,
        clips,
        np.zeros(rows, np.int64),
        copies,
    )
    every = hold_out(Cosine, people, None)
    monkeypatch.setattr(holdout, "MAX_PROBE_ROWS", rows // 3)
    fewer = hold_out(Cosine, people, None)
    assert len(every.known) == rows
    assert (~fewer.copies).sum() == n_people * n_clips
    assert 0 < fewer.copies.sum() <= copies.sum() / 3
    assert np.bincount(fewer.clips, fewer.known_weights) == pytest.approx(1.0)
