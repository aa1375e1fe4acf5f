"""Tuning: it learns, it repeats, it keeps what is selected, and it says what is wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import auroc
from openkith.tuning import TuneConfig, TunedHead, eigenvalue_variance, tune

QUICK: dict[str, Any] = {"steps": 30, "members": 2, "hidden": (24, 16), "out": 12}
LEARNS: dict[str, Any] = {"steps": 60, "members": 2}


def accuracy(head: TunedHead, home: Any) -> float:
    return float((head.score(home.probes).argmax(axis=1) == home.truth).mean())


class TestLearning:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"norm": "batch"},
            {"adapter": "residual", "out": None},
            {"loss": "aam-softmax"},
            {"variant": "released", "unknown_weight": 0.01},
            {"fusion": "calibrated"},
            {"steps": None, "epochs": 20, "batch": 8},
        ],
    )
    def test_knows_people_and_rejects_strangers(self, changes: dict[str, Any], home: Any) -> None:
        config = TuneConfig(**{**LEARNS, **changes})
        head = tune(home.clips, home.labels, home.unknown, config)
        assert accuracy(head, home) > 0.9
        known, unknown = head.score(home.probes), head.score(home.strangers)
        assert auroc(known[np.arange(len(known)), home.truth], unknown.max(axis=1)) > 0.9
        first, last = head.diagnostics.losses[0][1], head.diagnostics.losses[-1][1]
        assert last < first

    def test_better_with_training(self, home: Any) -> None:
        one, many = (
            tune(home.clips, home.labels, home.unknown, TuneConfig(**{**LEARNS, "steps": steps}))
            for steps in (1, 60)
        )
        assert accuracy(one, home) < accuracy(many, home)

    def test_unknown_samples_flatten_the_posterior_of_strangers(self, home: Any) -> None:
        def certainty(beta: float) -> float:
            config = TuneConfig(**LEARNS, unknown_weight=beta)
            logits = tune(home.clips, home.labels, home.unknown, config).score(home.strangers).astype(float)
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            return float((p.max(axis=1) / p.sum(axis=1)).mean())

        assert certainty(5.0) < certainty(0.0) - 0.02

    def test_without_weight_unknown_samples_are_not_seen(self, home: Any) -> None:
        config = TuneConfig(**QUICK, unknown_weight=0.0)
        heads = [
            tune(home.clips, home.labels, unknown, config)
            for unknown in (None, home.unknown, home.unknown[:1], home.unknown[:0])
        ]
        for head in heads[1:]:
            np.testing.assert_array_equal(head.score(home.probes), heads[0].score(home.probes))

    def test_frames(self) -> None:
        """Clips of different lengths, of two people whose frames rise and fall."""
        rng = np.random.default_rng(0)

        def clip(sign: int) -> np.ndarray:
            t = np.linspace(-1, 1, int(rng.integers(4, 9)))[:, None]
            return np.asarray(sign * t + 0.2 * rng.normal(size=(len(t), 3)))

        clips = [clip(sign) for sign in (1, -1) * 6]
        config = TuneConfig(adapter="gru", hidden=(16,), members=2, out=8, steps=60, learning_rate=0.03)
        head = tune(clips, ["up", "down"] * 6, [clip(1)[:, [1, 2, 0]] for _ in range(4)], config)
        assert head.names == ("down", "up")
        tests = [clip(sign) for sign in (1, -1) * 10]
        assert (head.score(tests).argmax(axis=1) == np.array([1, 0] * 10)).mean() > 0.85
        whole = head.score(tests)
        for i, test in enumerate(tests):
            np.testing.assert_allclose(head.score([test])[0], whole[i], rtol=1e-6)


class TestRepeats:
    def test_the_seed_decides(self, home: Any) -> None:
        """The seed alone: neither what torch's own generator did before, nor is that touched."""
        scores = []
        for seed, before in ((0, 1), (0, 2), (1, 1)):
            torch.manual_seed(before)
            state = torch.get_rng_state()
            config = TuneConfig(**{**QUICK, "steps": 5}, seed=seed)
            scores.append(tune(home.clips, home.labels, home.unknown, config).score(home.probes))
            assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(scores[0], scores[1])
        assert np.abs(scores[0] - scores[2]).max() > 1e-3

    @pytest.mark.parametrize("changes", [{}, {"steps": None, "epochs": 3, "batch": 4}])
    def test_members_differ(self, changes: dict[str, Any], home: Any) -> None:
        head = tune(home.clips, home.labels, home.unknown, TuneConfig(**{**QUICK, **changes}))
        scores = head.member_scores(home.probes)
        assert np.abs(scores[0] - scores[1]).max() > 1e-2


class TestMembers:
    def test_variance_and_selection(self, home: Any) -> None:
        """The lowest third of six members: their scores, and no others', are averaged."""
        config = TuneConfig(**{**QUICK, "members": 6})
        whole = tune(home.clips, home.labels, home.unknown, config)
        variances = whole.diagnostics.eigenvalue_variance
        stacked = torch.cat([whole.loss.points, whole.loss.centres], dim=1).numpy()
        np.testing.assert_allclose(variances, eigenvalue_variance(stacked))
        assert whole.diagnostics.selected == tuple(range(6))

        chosen = TuneConfig(**{**QUICK, "members": 6}, selection="lowest-variance")
        part = tune(home.clips, home.labels, home.unknown, chosen)
        assert part.members == 2
        assert part.diagnostics.eigenvalue_variance == variances
        expected = sorted(np.argsort(variances)[:2])
        assert list(part.diagnostics.selected) == expected
        np.testing.assert_allclose(
            part.score(home.probes), whole.member_scores(home.probes)[expected].mean(0), rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize("fusion", ["standardised", "calibrated"])
    def test_lines(self, fusion: str, home: Any) -> None:
        """Standardised on scores of others: zero mean and unit deviation there."""
        config = TuneConfig(**QUICK, fusion=fusion)
        head = tune(home.clips, home.labels, home.unknown, config)
        plain = tune(home.clips, home.labels, home.unknown, TuneConfig(**QUICK)).member_scores(home.clips)
        np.testing.assert_allclose(head.member_scores(home.clips), plain)
        if fusion == "standardised":
            wrong = home.labels[:, None] != np.arange(5)
            unknown = head.member_scores(home.unknown).reshape(2, -1)
            others = np.concatenate([plain[:, wrong], unknown], axis=1)
            np.testing.assert_allclose(head.slopes, 1 / others.std(axis=1), rtol=1e-5)
            np.testing.assert_allclose(head.intercepts, -others.mean(axis=1) / others.std(axis=1), rtol=1e-4)
        else:
            assert (head.slopes > 0).all()

    def test_v2(self, home: Any) -> None:
        config = TuneConfig.v2(**{**LEARNS, "members": 6})
        head = tune(home.clips, home.labels, home.unknown, config)
        assert head.members == 2
        assert accuracy(head, home) > 0.9
        known, unknown = head.score(home.probes), head.score(home.strangers)
        assert auroc(known.max(axis=1), unknown.max(axis=1)) > 0.75


class TestPeople:
    def test_sorted_or_in_their_order(self, home: Any) -> None:
        config = TuneConfig(**{**QUICK, "steps": 2})
        texts = [f"p{9 - i}" for i in home.labels]
        assert tune(home.clips, texts, None, config).names == ("p5", "p6", "p7", "p8", "p9")
        mixed: list[Any] = [("a", 1) if i == 0 else int(i) for i in home.labels]
        assert tune(home.clips, mixed, None, config).names == (("a", 1), 1, 2, 3, 4)
        assert tune(home.clips, np.array(texts), None, config).names == ("p5", "p6", "p7", "p8", "p9")

    def test_columns_follow_the_names(self, home: Any) -> None:
        config = TuneConfig(**LEARNS)
        head = tune(home.clips, home.labels, home.unknown, config, names=[4, 2, 0, 1, 3])
        assert head.names == (4, 2, 0, 1, 3)
        assert (np.array(head.names)[head.score(home.probes).argmax(axis=1)] == home.truth).mean() > 0.9

    def test_a_name_without_clips(self, home: Any) -> None:
        head = tune(home.clips, home.labels, None, TuneConfig(**{**QUICK, "steps": 2}), names=range(7))
        assert head.score(home.probes).shape[1] == 7

    def test_what_is_wrong(self, home: Any) -> None:
        n = len(home.clips)
        with pytest.raises(
            InputError, match=f"^labels are 3 and embeddings {n}; give one label for each row"
        ):
            tune(home.clips, [0, 1, 2])
        with pytest.raises(InputError, match=r"^label 4 is not among the names"):
            tune(home.clips, home.labels, names=range(4))
        with pytest.raises(InputError, match=r"^names has a name twice"):
            tune(home.clips, home.labels, names=[0, 1, 2, 3, 4, 4])
        with pytest.raises(NotEnoughDataError, match="there is one; give clips of two or more"):
            tune(home.clips, ["a"] * n)
        with pytest.raises(NotEnoughDataError, match="there is nobody"):
            tune(home.clips[:0], [])


class TestWeights:
    def test_rows_without_weight_are_never_seen(self, home: Any) -> None:
        weights = np.tile([1.0, 1.0, 0.0], 5)
        config = TuneConfig(**QUICK)
        others = np.arange(len(home.unknown)) % 2
        first = tune(home.clips, home.labels, home.unknown, config, weights=weights, unknown_weights=others)
        clips, unknown = home.clips.copy(), home.unknown.copy()
        clips[weights == 0], unknown[others == 0] = 1.0, -1.0
        again = tune(clips, home.labels, unknown, config, weights=weights, unknown_weights=others)
        np.testing.assert_array_equal(first.score(home.probes), again.score(home.probes))
        other = tune(clips, home.labels, unknown, config)
        assert np.abs(other.score(home.probes) - first.score(home.probes)).max() > 1e-3

    def test_everybody_alike(self, home: Any) -> None:
        """Without weights: the same as weights of one over the person's number of clips."""
        rows = np.r_[0, 3:15]  # person 0 has a single clip
        labels = home.labels[rows]
        config = TuneConfig(**QUICK)
        default = tune(home.clips[rows], labels, home.unknown, config)
        stated = tune(home.clips[rows], labels, home.unknown, config, weights=1 / np.bincount(labels)[labels])
        np.testing.assert_array_equal(default.score(home.probes), stated.score(home.probes))

    def test_what_is_wrong(self, home: Any) -> None:
        n = len(home.clips)
        with pytest.raises(InputError, match=f"^weights have shape .2,.; give one for each of the {n} rows"):
            tune(home.clips, home.labels, weights=np.ones(2))
        for bad in (-np.ones(n), np.zeros(n), np.full(n, math.nan)):
            with pytest.raises(InputError, match=r"^weights must be finite, not negative, and not all 0"):
                tune(home.clips, home.labels, weights=bad)
        with pytest.raises(InputError, match=r"^unknown_weights have shape"):
            tune(home.clips, home.labels, home.unknown, unknown_weights=np.ones(2))
        with pytest.raises(
            ConfigError, match=r"^epochs is 2, which takes each clip once; weights go with steps"
        ):
            tune(home.clips, home.labels, config=TuneConfig(epochs=2), weights=np.ones(n))


def test_embeddings_that_are_wrong(home: Any) -> None:
    with pytest.raises(InputError, match=r"^embeddings: embeddings of shape"):
        tune(home.clips[:, 0], home.labels)
    with pytest.raises(InputError, match=r"^unknown: embeddings of shape \(60, 9\); give \(n, 16\)"):
        tune(home.clips, home.labels, home.unknown[:, :9])
    with pytest.raises(InputError, match=r"^embeddings: clip 0 has frames of shape"):
        tune(home.clips, home.labels, config=TuneConfig(adapter="gru"))


def test_progress_and_steps(home: Any) -> None:
    calls: list[tuple[str, int, int]] = []
    config = TuneConfig(**{**QUICK, "steps": 40})
    head = tune(home.clips, home.labels, config=config, progress=lambda *call: calls.append(call))
    assert calls[0] == ("tuning", 1, 40)
    assert calls[-1] == ("tuning", 40, 40)
    assert head.diagnostics.steps == 40
    assert len(head.diagnostics.losses) == 21
    released = tune(home.clips, home.labels, home.unknown, TuneConfig.released(epochs=3, hidden=(8,), out=4))
    assert released.diagnostics.steps == 3
    assert released.members == 1
