"""Going on from an earlier head: what is carried over, what it costs, and how good it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openkith.errors import InputError
from openkith.losses import loss_names
from openkith.metrics import eer
from openkith.tuning import TuneConfig, TunedHead, tune
from openkith.tuning.continual import carry_over
from openkith.tuning.samples import Samples

QUICK: dict[str, Any] = {"steps": 8, "members": 2, "hidden": (12, 10), "out": 8}


def carried(
    initial: TunedHead, home: Any, people: list[Any], config: TuneConfig | None = None
) -> tuple[Any, Any, tuple[int, int, int]]:
    """A fresh adapter and loss, filled from an earlier head and not trained."""
    generator = torch.Generator().manual_seed(9)
    config = config or initial.config
    members = max(initial.members, config.members if initial.members == 1 else 1)
    adapter = config.make_adapter(home.clips.shape[1], members, generator)
    loss = config.make_loss(len(people), adapter.out, members, generator)
    known = Samples.of(home.clips, "clips", frames=False)
    counts = carry_over(initial, adapter, loss, people, known, home.labels, np.ones(len(home.labels)))
    return adapter, loss, counts


@pytest.fixture(scope="module")
def four(home: Any) -> TunedHead:
    """A head that knows all but person 2."""
    return tune(*home.without(2), home.unknown, TuneConfig(**QUICK))


class TestCarriedOver:
    def test_kept_people_keep_their_points(self, four: TunedHead, home: Any) -> None:
        adapter, loss, counts = carried(four, home, [0, 1, 2, 3, 4])
        assert counts == (4, 1, 0)
        for ours, theirs in zip(adapter.weights, four.adapter.weights, strict=True):
            assert torch.equal(ours, theirs)
        for name in ("points", "centres"):
            ours, theirs = getattr(loss, name), getattr(four.loss, name)
            assert torch.equal(ours[:, [0, 1, 3, 4]], theirs)
        assert torch.equal(loss.radius, four.loss.radius)

    def test_another_order_and_somebody_gone(self, four: TunedHead, home: Any) -> None:
        _, loss, counts = carried(four, home, [4, 2, 0, "a new one", 3])
        assert counts == (3, 2, 1)
        assert torch.equal(loss.points[:, [0, 2, 4]], four.loss.points[:, [3, 0, 2]])

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_new_points_follow_from_clips_as_those_of_others_do(self, sign: float, home: Any) -> None:
        """Points kept on a line through adapted means: the new one is in its direction, as far as the others are."""
        initial = tune(*home.without(2), home.unknown, TuneConfig(**QUICK))
        kept = [0, 1, 3, 4]
        with torch.no_grad():
            adapted = initial.adapter(torch.from_numpy(home.clips))
            means = torch.stack([adapted[:, home.labels == i].mean(1) for i in range(5)], dim=1)
            initial.loss.points.copy_(sign * 0.3 * means[:, kept] + 0.7)
            _, loss, _ = carried(initial, home, [0, 1, 2, 3, 4])
        middle = initial.loss.points.mean(1)
        way = loss.points[:, 2] - middle
        expected = sign * (means[:, 2] - means[:, kept].mean(1))
        torch.testing.assert_close(
            way / way.norm(dim=-1, keepdim=True),
            expected / expected.norm(dim=-1, keepdim=True),
            rtol=1e-3,
            atol=1e-3,
        )
        distances = (initial.loss.points - middle[:, None]).norm(dim=-1).mean(1)
        torch.testing.assert_close(way.norm(dim=-1), distances)

    def test_nobody_kept(self, four: TunedHead, home: Any) -> None:
        """The adapter is carried over, the points are as they were made."""
        adapter, loss, counts = carried(four, home, list("abcde"))
        assert counts == (0, 5, 4)
        assert torch.equal(adapter.weights[0], four.adapter.weights[0])
        generator = torch.Generator().manual_seed(9)
        four.config.make_adapter(16, 2, generator)
        assert torch.equal(loss.points, four.config.make_loss(5, 8, 2, generator).points)

    @pytest.mark.parametrize("name", loss_names())
    def test_every_loss(self, name: str, home: Any) -> None:
        """With the same people in another order, each loss gives the same scores in that order."""
        config = TuneConfig(**QUICK, loss=name, unknown_term="background")
        initial = tune(home.clips, home.labels, home.unknown, config)
        adapter, loss, counts = carried(initial, home, [3, 1, 4, 0, 2])
        assert counts == (5, 0, 0)
        with torch.no_grad():
            x = adapter.eval()(torch.from_numpy(home.probes))
            torch.testing.assert_close(
                loss.eval().scores(x), initial.loss.scores(x)[..., [3, 1, 4, 0, 2]], rtol=1e-4, atol=1e-4
            )

    def test_several_points_a_speaker_and_a_radius_each(self, home: Any) -> None:
        config = TuneConfig(**QUICK, loss="rpl", loss_options={"points_per_speaker": 2})
        initial = tune(*home.without(2), home.unknown, config)
        with torch.no_grad():
            initial.loss.radius.copy_(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
        _, loss, _ = carried(initial, home, [0, 1, 2, 3, 4])
        assert loss.radius.tolist() == [[1, 2, 2.5, 3, 4], [5, 6, 6.5, 7, 8]]
        kept = [0, 1, 2, 3, 6, 7, 8, 9]
        assert torch.equal(loss.points[:, kept], initial.loss.points)

    def test_anchors(self, home: Any) -> None:
        initial = tune(*home.without(2), home.unknown, TuneConfig(**QUICK, loss="speaker-rpl-v2"))
        own = torch.tensor([8.0, 10.0, 12.0, 14.0])
        with torch.no_grad():
            initial.loss.anchors.copy_((torch.diag(own) + 2 * (1 - torch.eye(4))).expand(2, 4, 4))
        _, loss, _ = carried(initial, home, [0, 1, 2, 3, 4])
        expected = torch.diag(torch.tensor([8.0, 10, 11, 12, 14])) + 2 * (1 - torch.eye(5))
        torch.testing.assert_close(loss.anchors, expected.expand(2, 5, 5))

    def test_one_member_for_many(self, home: Any) -> None:
        single = tune(*home.without(2), home.unknown, TuneConfig(**{**QUICK, "members": 1}))
        head = tune(home.clips, home.labels, home.unknown, TuneConfig(**QUICK), initial=single)
        assert head.members == 2
        adapter, loss, _ = carried(single, home, [0, 1, 2, 3, 4], TuneConfig(**QUICK))
        for s in range(2):
            assert torch.equal(adapter.weights[0][s], single.adapter.weights[0][0])
            assert torch.equal(loss.points[s, :2], single.loss.points[0, :2])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"hidden": (12, 11)}, "another adapter"),
            ({"out": 9}, "another adapter"),
            ({"norm": "batch"}, "another adapter"),
            ({"loss": "softmax"}, "another loss"),
            ({"unknown_term": "background"}, "another loss"),
        ],
    )
    def test_another_shape(self, changes: dict[str, Any], message: str, four: TunedHead, home: Any) -> None:
        with pytest.raises(InputError, match=f"the earlier head .*{message}.*tune from nothing"):
            tune(home.clips, home.labels, home.unknown, TuneConfig(**{**QUICK, **changes}), initial=four)

    def test_embeddings_of_another_length(self, four: TunedHead, make_home: Callable[..., Any]) -> None:
        other = make_home(5, dim=12)
        with pytest.raises(InputError, match=r"another adapter \(it takes length 16"):
            tune(other.clips, other.labels, other.unknown, initial=four)


class TestTuning:
    def test_fewer_steps_and_what_was_done(self, four: TunedHead, home: Any) -> None:
        config = TuneConfig(**{**QUICK, "steps": 80})
        more = tune(home.clips, home.labels, home.unknown, config, initial=four)
        assert more.diagnostics.steps == 16  # one of five people is new, which is more than 15 %
        assert (more.diagnostics.kept, more.diagnostics.added, more.diagnostics.dropped) == (4, 1, 0)
        less = tune(*home.without(1), home.unknown, config, initial=more)
        assert less.diagnostics.steps == 12
        assert (less.diagnostics.kept, less.diagnostics.added, less.diagnostics.dropped) == (4, 0, 1)
        assert less.names == (0, 2, 3, 4)
        anew = tune(home.clips, [f"p{i}" for i in home.labels], home.unknown, config, initial=four)
        assert anew.diagnostics.steps == 80
        epochs = TuneConfig(**{**QUICK, "steps": None, "epochs": 16, "batch": 4})
        assert (
            tune(*home.without(1), None, epochs, initial=more).diagnostics.steps == 2 * 3
        )  # 15 % of 16 epochs is 2

    def test_the_selected_members_go_on(self, home: Any) -> None:
        config = TuneConfig(**{**QUICK, "members": 4, "selection": "lowest-variance", "keep": 2})
        initial = tune(*home.without(2), home.unknown, config)
        more = tune(home.clips, home.labels, home.unknown, initial=initial)
        assert more.members == 2
        assert more.config == config
        assert len(more.diagnostics.eigenvalue_variance) == 2
        again = tune(home.clips, home.labels, home.unknown, initial=more)
        assert again.members == 2

    def test_the_earlier_head_is_left_alone(self, four: TunedHead, home: Any, tmp_path: Path) -> None:
        before = four.score(home.probes)
        more = tune(home.clips, home.labels, home.unknown, initial=four)
        np.testing.assert_array_equal(four.score(home.probes), before)
        four.save(tmp_path / "head")
        loaded = TunedHead.load(tmp_path / "head")
        np.testing.assert_array_equal(
            tune(home.clips, home.labels, home.unknown, initial=loaded).score(home.probes),
            more.score(home.probes),
        )

    def test_one_more_person_is_no_worse_than_from_nothing(self, make_home: Callable[..., Any]) -> None:
        """One more person than 20: EER and the new person's own at most slightly above tuning from nothing."""
        rates: dict[str, list[tuple[float, float]]] = {"more": [], "anew": []}
        for seed in range(3):
            home = make_home(20, seed, dim=48, noise=1.0, probes=40)
            config = TuneConfig(hidden=(64, 32, 32), out=24, seed=seed)
            anew = tune(home.clips, home.labels, home.unknown, config)
            initial = tune(*home.without(19), home.unknown, config)
            more = tune(home.clips, home.labels, home.unknown, config, initial=initial)
            assert more.diagnostics.steps * 6 <= anew.diagnostics.steps
            for name, head in (("more", more), ("anew", anew)):
                known, unknown = head.score(home.probes), head.score(home.strangers)
                own = home.truth[:, None] == np.arange(20)
                of_new = home.truth == 19
                rates[name].append(
                    (
                        eer(known[own], np.concatenate([known[~own], unknown.ravel()])),
                        eer(known[of_new, 19], np.concatenate([known[~of_new, 19], unknown[:, 19]])),
                    )
                )
        more_rates, anew_rates = (np.mean(rates[name], axis=0) for name in ("more", "anew"))
        assert more_rates[0] <= anew_rates[0] + 0.01
        assert more_rates[1] <= anew_rates[1] + 0.05
