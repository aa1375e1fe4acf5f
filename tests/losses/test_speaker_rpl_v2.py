"""SpeakerRPL v2: LogitNorm, anchors and rejection scores, by hand and by loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.losses import SpeakerRPLLoss, SpeakerRPLv2Loss


def on_two_numbers(**options: Any) -> tuple[SpeakerRPLv2Loss, torch.Tensor, torch.Tensor]:
    """P = (1, -1), Q = (-2, 0), R = 0 in one dimension, x = -1 of the first: logits (1, -1)."""
    loss = SpeakerRPLv2Loss(2, 1, weight=5.0, **options).double()
    with torch.no_grad():
        loss.points.copy_(torch.tensor([[1.0], [-1.0]]))
        loss.centres.copy_(torch.tensor([[-2.0], [0.0]]))
    return loss, torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([0])


@pytest.mark.parametrize("tau", [0.04, 1.0, 3.0])
def test_by_hand(tau: float) -> None:
    loss, x, y = on_two_numbers(tau=tau)
    # ||(1, -1)|| = sqrt 2, the logits differ by 2 / (tau sqrt 2) = sqrt(2) / tau.
    norm = math.log(1 + math.exp(-math.sqrt(2) / tau))
    # Anchors (10, 0), (0, 10): distances sqrt(81 + 1) and sqrt(1 + 121).
    near, far = math.sqrt(82), math.sqrt(122)
    anchors = math.log(1 + math.exp(near - far)) + 0.1 * near
    rest = 5 * 5 + math.log(2) + 5 * 0.5  # hinge, centres and pull as in test_speaker_rpl.py
    assert loss(x, y).item() == pytest.approx(norm + anchors + rest, abs=1e-7)  # 1e-7 is added to the norm


def test_scores_by_hand() -> None:
    loss, x, _ = on_two_numbers()
    near, far = math.sqrt(82), math.sqrt(122)
    softmin = math.exp(-near) / (math.exp(-near) + math.exp(-far))
    expected = [[-near * (1 - softmin), -far * softmin]]
    np.testing.assert_allclose(loss.scores(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("anchor_pull", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("with_unknown", [False, True])
def test_by_definition(
    make: Callable[..., Any], batch: Callable[..., Any], anchor_pull: float, with_unknown: bool
) -> None:
    """SpeakerRPL with its first term exchanged, and the anchors: one sample at a time."""
    loss = make("speaker-rpl-v2", tau=0.5, weight=2.0, anchor_pull=anchor_pull, unknown_weight=0.3)
    x, y, u = batch()
    plain = SpeakerRPLLoss(3, 4, weight=2.0, unknown_weight=0.3).double()
    plain.load_state_dict({key: loss.state_dict()[key] for key in plain.state_dict()})
    points, anchors = loss.points.detach().numpy(), loss.anchors.detach().numpy()
    difference = 0.0
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        z = np.array([-sum(e * p) for p in points])
        unit = z / (0.5 * (math.sqrt(sum(z**2)) + 1e-7))
        was, now = (math.log(np.exp(v).sum()) - v[k] for v in (z, unit))
        d = [math.sqrt(sum((z - a) ** 2)) for a in anchors]
        clustering = math.log(1 + sum(math.exp(d[k] - d[j]) for j in range(3) if j != k))
        difference += (now - was + clustering + anchor_pull * d[k]) / len(x)
    unknown = u if with_unknown else None
    assert (loss(x, y, unknown) - plain(x, y, unknown)).item() == pytest.approx(difference, rel=1e-9)


def test_scores_by_definition(make: Callable[..., Any], batch: Callable[..., Any]) -> None:
    loss, (x, _, _) = make("speaker-rpl-v2"), batch()
    points, anchors = loss.points.detach().numpy(), loss.anchors.detach().numpy()
    for e, scores in zip(x.numpy(), loss.scores(x).tolist(), strict=True):
        z = np.array([-sum(e * p) for p in points])
        d = np.array([math.sqrt(sum((z - a) ** 2)) for a in anchors])
        softmin = np.exp(-d) / np.exp(-d).sum()
        np.testing.assert_allclose(scores, -d * (1 - softmin), rtol=1e-10)


def test_anchors_start_at_alpha_times_the_one_hot_vectors() -> None:
    assert torch.equal(SpeakerRPLv2Loss(3, 8).anchors, 10.0 * torch.eye(3))
    anchors = SpeakerRPLv2Loss(3, 8, members=2, alpha=4.0).anchors
    assert torch.equal(anchors, 4.0 * torch.eye(3).expand(2, 3, 3))
    assert anchors.is_contiguous()  # each member its own


def test_the_length_of_the_logits_does_not_move_logit_norm(batch: Callable[..., Any]) -> None:
    """All other terms off, embeddings of twice the length have the same loss."""
    loss = SpeakerRPLv2Loss(3, 4, weight=0.0, anchor_pull=0.0).double()
    x, y, _ = batch()
    with torch.no_grad():
        loss.centres.zero_()  # the same distance to every centre: log 3
        loss.anchors.zero_()  # the same distance to every anchor: log 3
        assert loss(2.0 * x, y).item() == pytest.approx(loss(x, y).item(), abs=1e-4)


def test_proxies_are_points_and_centres() -> None:
    loss = SpeakerRPLv2Loss(3, 4)
    assert torch.equal(loss.proxies(), torch.cat([loss.points, loss.centres]))


def test_an_embedding_on_its_anchor_has_a_finite_gradient() -> None:
    loss, x, y = on_two_numbers()
    with torch.no_grad():
        loss.anchors[0] = torch.tensor([1.0, -1.0])
    x.requires_grad_(True)
    loss(x, y).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
