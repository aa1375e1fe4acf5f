"""The SpeakerRPL objective, recomputed in numpy sample by sample, and its gradients."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.losses import SpeakerRPLLoss, speaker_rpl
from openkith.losses.speaker_rpl import entropy_of_unknown


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    return np.exp(z) / np.exp(z).sum()


def loss_by_definition(
    x: NDArray[Any],
    y: NDArray[Any],
    points: NDArray[Any],
    centres: NDArray[Any],
    radius: float,
    unknown: NDArray[Any] | None,
    *,
    weight: float,
    temperature: float,
    unknown_weight: float,
) -> float:
    """METHODS, section 1, one sample and one speaker at a time."""
    n, m, speakers = len(x), x.shape[1], range(len(points))
    rpl = bound = classify = pull = 0.0
    for e, k in zip(x, y, strict=True):
        rpl -= math.log(softmax(np.array([-sum(e * points[j]) / temperature for j in speakers]))[k]) / n
        bound += max(0.0, 1.0 - (radius - np.mean((e - points[k]) ** 2))) / n
        classify -= math.log(softmax(np.array([-np.sum((e - centres[j]) ** 2) / m for j in speakers]))[k]) / n
        pull += np.mean((e - centres[k]) ** 2) / 2 / n
    total = rpl + weight * bound + classify + weight * pull
    if unknown is not None:
        entropies = []
        for u in unknown:
            p = softmax(np.array([-sum(u * points[j]) for j in speakers]))
            entropies.append(sum(p * np.log(p)))
        total += unknown_weight * math.exp(np.mean(entropies))
    return float(total)


def make(
    n_speakers: int = 3, dim: int = 4, seed: int = 0, spread: float = 10.0, **options: Any
) -> SpeakerRPLLoss:
    """A loss in float64 whose points and centres left their start, with R where the hinge bends."""
    generator = torch.Generator().manual_seed(seed)
    loss = SpeakerRPLLoss(n_speakers, dim, generator=generator, **options).double()
    with torch.no_grad():
        loss.points.mul_(spread)
        loss.centres.mul_(spread)
        loss.radius.copy_(torch.rand(loss.radius.shape, generator=generator) + 2.0)
    return loss


def batch(
    n: int = 7, dim: int = 4, n_speakers: int = 3, unknown: int = 5, seed: int = 1, lead: tuple[int, ...] = ()
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*lead, n, dim, generator=generator, dtype=torch.float64)
    y = torch.randint(n_speakers, (*lead, n), generator=generator)
    u = torch.randn(*lead, unknown, dim, generator=generator, dtype=torch.float64)
    return x, y, u


def arrays(loss: SpeakerRPLLoss) -> tuple[NDArray[Any], NDArray[Any], float]:
    return loss.points.detach().numpy(), loss.centres.detach().numpy(), loss.radius.item()


def test_by_hand_on_two_numbers() -> None:
    """Two speakers in one dimension: P = (1, -1), Q = (-2, 0), R = 0, one embedding x = -1 of the first."""
    loss = SpeakerRPLLoss(2, 1, weight=5.0, unknown_weight=0.01).double()
    with torch.no_grad():
        loss.points.copy_(torch.tensor([[1.0], [-1.0]]))
        loss.centres.copy_(torch.tensor([[-2.0], [0.0]]))
    x, y = torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([0])
    # logits (1, -1): CE log(1 + e^-2). Hinge 1 - (0 - 4) = 5. Distances to Q (1, 1): CE log 2. Pull 1 / 2.
    known = math.log(1 + math.exp(-2)) + 5 * 5 + math.log(2) + 5 * 0.5
    assert loss(x, y).item() == pytest.approx(known, abs=1e-12)
    # An unknown at 0 has the logits (0, 0): p = 1/2, the term is exp(-log 2) = 1/2.
    assert loss(x, y, torch.zeros(1, 1).double()).item() == pytest.approx(known + 0.01 * 0.5, abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 5.0])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("unknown_weight", [0.0, 0.01, 2.0])
def test_by_definition(weight: float, temperature: float, unknown_weight: float) -> None:
    options = {"weight": weight, "temperature": temperature, "unknown_weight": unknown_weight}
    loss, (x, y, u) = make(**options), batch()
    for unknown in (None, u):
        expected = loss_by_definition(
            x.numpy(), y.numpy(), *arrays(loss), None if unknown is None else unknown.numpy(), **options
        )
        assert loss(x, y, unknown).item() == pytest.approx(expected, rel=1e-10)


def test_the_hinge_closes_where_the_radius_is_large() -> None:
    loss, (x, y, _) = make(), batch()
    squares = (x - loss.points[y]).square().mean(-1)
    with torch.no_grad():
        loss.radius.fill_(float(squares.max()) + 1.0)  # 1 - (R - d) <= 0 for all
    closed = loss(x, y)
    with torch.no_grad():
        loss.radius.add_(100.0)
    assert torch.equal(loss(x, y), closed)
    with torch.no_grad():
        loss.radius.sub_(100.0 + 0.5)  # the farthest sample is now over the edge by 0.5, and others by less
    over = torch.relu(squares - squares.max() + 0.5).mean()
    assert (loss(x, y) - closed).item() == pytest.approx(5.0 * over.item(), rel=1e-9)


def test_logits_are_minus_the_product_with_the_points() -> None:
    loss, (x, _, _) = make(), batch()
    expected = [
        [-sum(a * b for a, b in zip(e, p, strict=True)) for p in loss.points.tolist()] for e in x.tolist()
    ]
    np.testing.assert_allclose(loss.logits(x).detach().numpy(), expected, rtol=1e-12)


def test_gradients() -> None:
    loss, (x, y, u) = make(), batch()
    names = ["points", "centres", "radius"]
    inputs = [x, u, *(getattr(loss, name).detach().clone() for name in names)]

    def value(x: torch.Tensor, u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(
            loss, dict(zip(names, parameters, strict=True)), (x, y, u)
        )
        return result

    for tensor in inputs:
        tensor.requires_grad_(True)
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


def test_gradients_reach_every_parameter() -> None:
    loss, (x, y, u) = make(unknown_weight=1.0), batch()
    loss(x, y, u).backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert {name for name, _ in loss.named_parameters()} == {"points", "centres", "radius"}


@pytest.mark.parametrize("with_unknown", [False, True])
def test_members_are_separate_losses_summed(with_unknown: bool) -> None:
    members = 3
    together = make(members=members, unknown_weight=0.5)
    x, y, u = batch(lead=(members,))
    x.requires_grad_(True)
    u.requires_grad_(True)
    value = together(x, y, u if with_unknown else None)
    value.backward()
    assert value.shape == ()
    total = 0.0
    for s in range(members):
        alone = make(unknown_weight=0.5)
        with torch.no_grad():
            for name, parameter in alone.named_parameters():
                parameter.copy_(getattr(together, name)[s])
        own_x, own_u = (tensor.detach()[s].clone().requires_grad_(True) for tensor in (x, u))
        own = alone(own_x, y[s], own_u if with_unknown else None)
        own.backward()
        total += own.item()
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(
                getattr(together, name).grad[s], parameter.grad, rtol=1e-10, atol=1e-12
            )
        torch.testing.assert_close(x.grad[s], own_x.grad, rtol=1e-10, atol=1e-12)
        if with_unknown:
            torch.testing.assert_close(u.grad[s], own_u.grad, rtol=1e-10, atol=1e-12)
    assert value.item() == pytest.approx(total, rel=1e-12)


def test_shapes_with_members() -> None:
    loss = SpeakerRPLLoss(4, 8, members=3)
    assert loss.points.shape == loss.centres.shape == (3, 4, 8)
    assert loss.radius.shape == (3,)
    assert loss.logits(torch.zeros(3, 5, 8)).shape == (3, 5, 4)


def test_weight_zero_leaves_the_unknown_out() -> None:
    loss, (x, y, u) = make(unknown_weight=0.0), batch()
    u.requires_grad_(True)
    x.requires_grad_(True)
    value = loss(x, y, u)
    assert torch.equal(value, loss(x, y))
    value.backward()
    assert u.grad is None


def test_no_unknown_sample_is_no_unknown_term() -> None:
    loss, (x, y, u) = make(unknown_weight=1.0), batch()
    assert torch.equal(loss(x, y, u[:0]), loss(x, y))


@pytest.mark.parametrize("n_speakers", [1, 2, 5, 40])
def test_entropy_of_flat_posteriors(n_speakers: int) -> None:
    for constant in (0.0, -3.0, 1e4):
        flat = torch.full((6, n_speakers), constant, dtype=torch.float64)
        assert entropy_of_unknown(flat).item() == pytest.approx(1 / n_speakers, rel=1e-9)


def test_entropy_of_certain_posteriors() -> None:
    certain = 1e4 * torch.eye(5, dtype=torch.float64)
    assert entropy_of_unknown(certain).item() == pytest.approx(1.0, abs=1e-12)
    certain.requires_grad_(True)
    entropy_of_unknown(certain).backward()
    assert certain.grad is not None
    assert torch.isfinite(certain.grad).all()


def test_entropy_is_between_its_extremes_and_per_member() -> None:
    logits = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = entropy_of_unknown(logits)
    assert values.shape == (3,)
    for value, own in zip(values.tolist(), logits.numpy(), strict=True):
        p = [softmax(row) for row in own]
        assert value == pytest.approx(math.exp(np.mean([np.sum(q * np.log(q)) for q in p])), rel=1e-10)
        assert 1 / 5 < value < 1


def test_the_start() -> None:
    """Points and centres drawn from 0.1 N(0, 1), R at 0; the generator alone decides."""
    make_one = [
        SpeakerRPLLoss(100, 50, generator=torch.Generator().manual_seed(seed)).state_dict()
        for seed in (7, 7, 8)
    ]
    assert all(torch.equal(make_one[0][name], make_one[1][name]) for name in make_one[0])
    assert not torch.equal(make_one[0]["points"], make_one[2]["points"])
    assert not torch.equal(make_one[0]["points"], make_one[0]["centres"])
    for name in ("points", "centres"):
        assert make_one[0][name].std().item() == pytest.approx(0.1, rel=0.05)
        assert abs(make_one[0][name].mean().item()) < 0.01
    assert make_one[0]["radius"].item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    loss, (x, y, u) = make(), batch()
    expected = loss(x, y, u).item()
    value = loss.to(dtype)(x.to(dtype), y, u.to(dtype))
    assert value.dtype == dtype
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_it_learns() -> None:
    """Three speakers and a crowd: names right, and the crowd's posteriors flatter than before."""
    generator = torch.Generator().manual_seed(0)
    means = 2.0 * torch.randn(3, 8, generator=generator)
    y = torch.arange(3).repeat_interleave(10)
    x = means[y] + 0.3 * torch.randn(30, 8, generator=generator)
    u = 2.0 * torch.randn(60, 8, generator=generator)
    loss = SpeakerRPLLoss(3, 8, unknown_weight=5.0, generator=generator)
    before = loss(x, y, u).item()
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.05, momentum=0.9)
    for _ in range(100):
        optimiser.zero_grad()
        loss(x, y, u).backward()
        optimiser.step()
    assert loss(x, y, u).item() < 0.5 * before
    assert (loss.logits(x).argmax(-1) == y).all()


def test_the_example_runs() -> None:
    results = doctest.testmod(speaker_rpl, extraglobs={"torch": torch})
    assert results.attempted >= 3
    assert results.failed == 0


def released_by_definition(
    x: NDArray[Any],
    y: NDArray[Any],
    u: NDArray[Any] | None,
    points: NDArray[Any],
    second: NDArray[Any],
    radius: float,
    *,
    weight: float,
    temperature: float,
    unknown_weight: float,
) -> float:
    """METHODS, section 1, "the released objective"; ``second`` is Q."""

    def classify(products: NDArray[Any]) -> float:
        z = -products / temperature
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[range(len(y)), y]))

    square = ((x - points[y]) ** 2).mean(1)
    total = classify(x @ points.T) + classify(x @ second.T)
    total += weight * np.maximum(0.0, 1.0 - (radius - square)).mean()
    total += weight * ((x - points[y]) ** 2).mean() / 2
    if u is not None:
        far = np.exp(((u[:, None] - points[None]) ** 2).sum(2) / x.shape[1])
        p = far / far.sum(1, keepdims=True)
        total += unknown_weight * math.exp((p * np.log(p)).sum(1).mean())
    return float(total)


def test_released_by_hand() -> None:
    """As on two numbers above, with P = (1, -1), Q = (-2, 0), R = 2 and x = -1 of the first.

    Products with P (-1, 1): log(1 + e^-2). Hinge 1 - (2 - 4) = 3. Products with Q (2, 0): own logit -2, the
    other 0: log(1 + e^2). Pull to P: 4 / 2. The unknown 2 is 1 and 9 from P: p = (1, e^8) / (1 + e^8).
    """
    loss = SpeakerRPLLoss(2, 1, weight=5.0, unknown_weight=0.01, variant="released").double()
    with torch.no_grad():
        loss.points.copy_(torch.tensor([[1.0], [-1.0]]))
        loss.centres.copy_(torch.tensor([[-2.0], [0.0]]))
        loss.radius.fill_(2.0)
    x, y = torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([0])
    known = math.log(1 + math.exp(-2)) + 5 * 3 + math.log(1 + math.exp(2)) + 5 * 2
    assert loss(x, y).item() == pytest.approx(known, abs=1e-12)
    p = math.exp(8) / (1 + math.exp(8))
    crowd = math.exp(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert loss(x, y, torch.full((1, 1), 2.0).double()).item() == pytest.approx(
        known + 0.01 * crowd, abs=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [
        {"weight": 5.0, "temperature": 1.0, "unknown_weight": 0.01},
        {"weight": 0.7, "temperature": 0.3, "unknown_weight": 2.0},
    ],
)
@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_released_by_definition(dtype: torch.dtype, options: dict[str, float], spread: float) -> None:
    """To 1e-6 for given points, radius and batch: 16 known and 48 unknown, 10 speakers, as released for HiMia."""
    loss = make(10, 32, spread=spread, variant="released", **options).to(dtype)
    x, y, u = (tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in batch(16, 32, 10, 48))
    for unknown in (None, u):
        expected = released_by_definition(
            x.double().numpy(),
            y.numpy(),
            None if unknown is None else unknown.double().numpy(),
            loss.points.detach().double().numpy(),
            loss.centres.detach().double().numpy(),
            loss.radius.item(),
            **options,
        )
        assert loss(x, y, unknown).item() == pytest.approx(expected, rel=1e-6)


def test_the_released_hinge_is_averaged_over_samples_not_their_distance() -> None:
    """Squares 0 and 4 from the point, R = 2: hinges 0 and 3, mean 1.5; of the mean square it would be 1."""
    loss = SpeakerRPLLoss(1, 1, weight=1.0, variant="released").double()
    with torch.no_grad():
        loss.points.zero_()
        loss.radius.fill_(2.0)
    x, y = torch.tensor([[0.0], [2.0]], dtype=torch.float64), torch.tensor([0, 0])
    assert loss(x, y).item() == pytest.approx(1.5 + 1.0, abs=1e-12)  # and the pull, 4 / 2 / 2


def test_the_variants_differ_and_share_their_logits() -> None:
    (x, y, u), ours, released = batch(), make(), make(variant="released")
    assert torch.equal(ours.logits(x), released.logits(x))
    assert torch.equal(ours.scores(x), ours.logits(x))
    assert abs((ours(x, y, u) - released(x, y, u)).item()) > 0.1


def test_proxies_are_points_then_centres() -> None:
    loss = make(members=2)
    assert torch.equal(loss.proxies(), torch.cat([loss.points, loss.centres], -2))
    assert loss.proxies().shape == (2, 6, 4)


def test_a_background_competes_in_the_reciprocal_point_logits_only() -> None:
    """The known samples' first term over C + 1 classes at temperature T, and the unknown as class C."""
    plain = make(temperature=0.5, unknown_weight=0.3)
    loss = make(temperature=0.5, unknown_weight=0.3, unknown_term="background")
    loss.load_state_dict({**plain.state_dict(), "background": torch.ones(1, 4)})
    x, y, u = batch()
    points = loss.points.detach().numpy()
    classes = np.vstack([points, np.ones(4)])
    difference = 0.0
    for e, k in zip(x.numpy(), y.tolist(), strict=True):
        three, four = (softmax(-(of @ e) / 0.5)[k] for of in (points, classes))
        difference += (math.log(three) - math.log(four)) / len(x)
    difference += 0.3 * np.mean([-math.log(softmax(-(classes @ e) / 0.5)[3]) for e in u.numpy()])
    assert (loss(x, y, u) - plain(x, y)).item() == pytest.approx(difference, rel=1e-9)
