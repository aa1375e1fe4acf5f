"""What holds for every loss: gradients, members, one speaker, unknown samples, errors."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from openkith.errors import ConfigError, InputError
from openkith.losses import LOSSES, Loss, loss_names, make_loss
from openkith.losses.unknown import UNKNOWN_TERMS

Make = Callable[..., Loss]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("speaker-rpl", {"variant": "released", "temperature": 0.5}),
    ("gcpl", {"prototypes_per_speaker": 2}),
    ("rpl", {"points_per_speaker": 2}),
    ("arpl", {"slack": 0.0}),
    ("a-softmax", {"annealing": 10.0}),
    ("a-softmax", {"margin": 1}),
    ("aam-softmax", {"easy_margin": True}),
]
CASES = [(name, {}) for name in loss_names()] + VARIANTS
TERMS = list(UNKNOWN_TERMS)
each_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
each_loss = pytest.mark.parametrize("name", loss_names())
each_term = pytest.mark.parametrize("term", TERMS)


@each_term
@each_case
def test_gradients(make: Make, batch: Any, name: str, options: dict[str, Any], term: str) -> None:
    loss = make(name, unknown_weight=0.7, unknown_term=term, **options).eval()
    x, y, u = batch(n=5, unknown=3)
    names = [key for key, _ in loss.named_parameters()]
    inputs = [x, u, *(parameter.detach().clone() for parameter in loss.parameters())]
    for tensor in inputs:
        tensor.requires_grad_(True)

    def value(x: torch.Tensor, u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(
            loss, dict(zip(names, parameters, strict=True)), (x, y, u)
        )
        return result

    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-6)


@each_term
@each_case
def test_members_are_separate_losses_summed(
    make: Make, batch: Any, name: str, options: dict[str, Any], term: str
) -> None:
    members = 3
    options = {**options, "unknown_weight": 0.7, "unknown_term": term}
    together = make(name, members=members, **options)
    x, y, u = batch(lead=(members,))
    x.requires_grad_(True)
    value = together(x, y, u)
    value.backward()
    assert value.shape == ()
    total = 0.0
    for s in range(members):
        alone = make(name, **options)
        with torch.no_grad():
            for key, parameter in alone.named_parameters():
                parameter.copy_(dict(together.named_parameters())[key][s])
        own = x.detach()[s].clone().requires_grad_(True)
        result = alone(own, y[s], u[s])
        result.backward()
        total += result.item()
        torch.testing.assert_close(x.grad[s], own.grad, rtol=1e-9, atol=1e-11)
        for key, parameter in together.named_parameters():
            torch.testing.assert_close(
                parameter.grad[s], dict(alone.named_parameters())[key].grad, rtol=1e-9, atol=1e-11
            )
        for method in ("logits", "scores"):
            torch.testing.assert_close(getattr(together, method)(x)[s], getattr(alone, method)(own))
        torch.testing.assert_close(together.proxies()[s], alone.proxies())
    assert value.item() == pytest.approx(total, rel=1e-12)


@each_case
def test_shapes(batch: Any, name: str, options: dict[str, Any]) -> None:
    x, _, _ = batch(n=6, dim=5, lead=(2,))
    loss = make_loss(name, 3, 5, members=2, **options).double()
    assert loss.logits(x).shape == loss.scores(x).shape == (2, 6, 3)
    assert loss.proxies().shape[0] == 2
    assert loss.proxies().shape[2] == 5
    rows = 6 if name.startswith("speaker-rpl") or 2 in options.values() else 3
    assert loss.proxies().shape[1] == rows


@each_loss
def test_proxies_are_every_reference_point_and_learn(make: Make, batch: Any, name: str) -> None:
    loss, (x, y, _) = make(name, n_speakers=3), batch()
    loss(x, y).backward()
    before = loss.proxies().detach().clone()
    torch.optim.SGD(loss.parameters(), lr=0.1).step()
    assert ((loss.proxies() - before).abs().amax(-1) > 0).all()


@each_term
@each_loss
def test_one_speaker(make: Make, batch: Any, name: str, term: str) -> None:
    loss = make(name, n_speakers=1, unknown_weight=1.0, unknown_term=term)
    x, _, u = batch()
    x.requires_grad_(True)
    value = loss(x, torch.zeros(len(x), dtype=torch.long), u)
    value.backward()
    assert value.isfinite()
    for tensor in (x, *loss.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()
    assert loss.scores(x).shape == (len(x), 1)
    assert loss.scores(x).std() > 0, "the scores say nothing"


@each_term
@each_loss
def test_no_unknown_row_is_no_unknown_term(make: Make, batch: Any, name: str, term: str) -> None:
    loss, (x, y, u) = make(name, unknown_weight=1.0, unknown_term=term), batch()
    assert torch.equal(loss(x, y, u[:0]), loss(x, y))
    assert not torch.equal(loss(x, y, u), loss(x, y))


@each_term
@each_loss
def test_weight_zero_leaves_the_unknown_out(make: Make, batch: Any, name: str, term: str) -> None:
    loss, (x, y, u) = make(name, unknown_weight=0.0, unknown_term=term), batch()
    assert torch.equal(loss(x, y, u), loss(x, y))


@each_loss
def test_the_weight_multiplies_the_term(make: Make, batch: Any, name: str) -> None:
    x, y, u = batch()
    without, half, whole = (make(name, unknown_weight=w)(x, y, u).item() for w in (0.0, 0.5, 1.0))
    assert whole - without == pytest.approx(2 * (half - without), rel=1e-9)


@each_loss
@pytest.mark.parametrize("wrong", [3, -1, 100])
def test_a_label_out_of_range_is_named(make: Make, batch: Any, name: str, wrong: int) -> None:
    loss, (x, y, u) = make(name), batch()
    y[2] = wrong
    with pytest.raises(InputError, match=rf"^label {wrong} is not among this loss's 3 speakers; give 0 to 2"):
        loss(x, y, u)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_labels_that_are_no_integers(make: Make, batch: Any, dtype: torch.dtype) -> None:
    loss, (x, y, _) = make("softmax"), batch()
    with pytest.raises(InputError, match=r"labels are torch\.\w+; give integers from 0 to 2"):
        loss(x, y.to(dtype))


@each_loss
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_another_integer_type(make: Make, batch: Any, name: str, dtype: torch.dtype) -> None:
    loss, (x, y, _) = make(name), batch()
    assert torch.equal(loss(x, y.to(dtype)), loss(x, y))


@each_loss
def test_shapes_that_do_not_fit_are_named(make: Make, batch: Any, name: str) -> None:
    loss, (x, y, u) = make(name), batch()
    with pytest.raises(InputError, match=r"^embeddings have shape \(7, 3\); this loss needs \(n, 4\)"):
        loss(x[:, :3], y)
    with pytest.raises(InputError, match=r"^unknown have shape \(5, 3\); this loss needs \(n, 4\)"):
        loss(x, y, u[:, :3])
    with pytest.raises(InputError, match=r"^labels have shape \(6,\); \(7,\) goes with the embeddings"):
        loss(x, y[:6])
    with pytest.raises(InputError, match="no rows"):
        loss(x[:0], y[:0])
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        loss(x[0], y[0])
    with pytest.raises(InputError, match=r"needs \(2, n, 4\)"):
        make(name, members=2)(x, y)


@each_loss
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_speakers": 0}, "n_speakers is 0; give 1 or more"),
        ({"dim": 0}, "dim is 0; give 1 or more"),
        ({"members": 0}, "members is 0; give 1 or more"),
        ({"unknown_weight": -1.0}, "unknown_weight is -1.0; give a number of 0 or more"),
        ({"unknown_weight": float("nan")}, "unknown_weight is nan"),
        ({"unknown_weight": "much"}, "unknown_weight is 'much'"),
        ({"unknown_term": "magic"}, "unknown_term is 'magic'; there are: entropy, background, energy-margin"),
        ({"known_energy": 1.0, "unknown_energy": 1.0}, "give a known_energy below the unknown_energy"),
    ],
)
def test_arguments_out_of_range_are_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_loss(name, **{"n_speakers": 2, "dim": 3, **arguments})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("a-softmax", "margin", 0),
        ("a-softmax", "margin", 1.5),
        ("a-softmax", "annealing", -1.0),
        ("am-softmax", "margin", -0.1),
        ("am-softmax", "scale", 0.0),
        ("aam-softmax", "margin", 3.2),
        ("aam-softmax", "scale", float("inf")),
        ("gcpl", "prototypes_per_speaker", 0),
        ("gcpl", "gamma", 0.0),
        ("gcpl", "weight", -1.0),
        ("rpl", "points_per_speaker", True),
        ("rpl", "gamma", -1.0),
        ("arpl", "slack", -1.0),
        ("speaker-rpl", "weight", -5.0),
        ("speaker-rpl", "temperature", 0.0),
        ("speaker-rpl", "variant", "secret"),
        ("speaker-rpl-v2", "tau", 0.0),
        ("speaker-rpl-v2", "alpha", -10.0),
        ("speaker-rpl-v2", "anchor_pull", -0.1),
    ],
)
def test_options_out_of_range_are_named(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is {value!r}; "):
        make_loss(name, 3, 4, **{option: value})


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(make: Make, batch: Any, name: str, dtype: torch.dtype) -> None:
    loss, (x, y, u) = make(name, unknown_weight=1.0), batch()
    expected = loss(x, y, u).item()
    value = loss.to(dtype)(x.to(dtype), y, u.to(dtype))
    assert value.dtype == dtype
    assert value.item() == pytest.approx(expected, rel=1e-5)


@each_loss
def test_the_generator_alone_decides_the_start(name: str) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, same, other = (
        make_loss(
            name, 40, 30, unknown_term="background", generator=torch.Generator().manual_seed(seed)
        ).state_dict()
        for seed in (7, 7, 8)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["background"], other["background"])
    drawn = {key: value for key, value in first.items() if value.shape == (40, 30)}
    assert drawn
    for key, value in drawn.items():
        assert not torch.equal(value, other[key])
        assert value.std().item() == pytest.approx(0.1, rel=0.1)


@each_loss
def test_members_start_apart(name: str) -> None:
    points = make_loss(name, 3, 4, members=2).proxies()
    assert not torch.equal(points[0], points[1])


@each_loss
def test_a_reloaded_loss_is_the_same(make: Make, batch: Any, name: str) -> None:
    x, y, u = batch()
    loss = make(name, unknown_term="background")
    again = make(name, unknown_term="background", seed=5)
    assert not torch.equal(again(x, y, u), loss(x, y, u))
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again(x, y, u), loss(x, y, u))
    assert torch.equal(again.scores(x), loss.scores(x))


@each_case
def test_embeddings_at_zero_have_finite_gradients(make: Make, name: str, options: dict[str, Any]) -> None:
    loss = make(name, **options)
    x = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    loss(x, torch.tensor([0, 1])).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@each_loss
def test_a_background_class_takes_unknown_samples_only_while_they_are_given(
    make: Make, batch: Any, name: str
) -> None:
    loss, (x, y, _) = make(name, unknown_term="background", unknown_weight=1.0), batch()
    plain = make(name)
    plain.load_state_dict({key: value for key, value in loss.state_dict().items() if key != "background"})
    assert torch.equal(loss(x, y), plain(x, y))
    assert torch.equal(loss.scores(x), plain.scores(x))
    assert loss.background_logits(x).shape == (7, 1)
    with pytest.raises(ConfigError, match="no background class"):
        plain.background_logits(x)


@each_loss
def test_it_learns(name: str) -> None:
    """Three people and a crowd behind a layer: the loss falls, names are right, strangers' posteriors flat."""
    generator = torch.Generator().manual_seed(0)
    means = 2.0 * torch.randn(3, 32, generator=generator)
    y = torch.arange(3).repeat_interleave(10)
    x, probes = (means[y] + 0.5 * torch.randn(30, 32, generator=generator) for _ in range(2))
    crowd, strangers = (2.0 * torch.randn(60, 32, generator=generator) for _ in range(2))
    loss = make_loss(name, 3, 16, unknown_weight=1.0, generator=generator)
    layer = torch.nn.Parameter(torch.randn(32, 16, generator=generator) / 6.0)

    def adapt(e: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(e @ layer, (16,))

    before = loss(adapt(x), y, adapt(crowd)).item()
    optimiser = torch.optim.SGD([layer, *loss.parameters()], lr=0.05, momentum=0.9)
    for _ in range(100):
        optimiser.zero_grad()
        loss(adapt(x), y, adapt(crowd)).backward()
        optimiser.step()
    with torch.no_grad():
        assert loss(adapt(x), y, adapt(crowd)).item() < 0.7 * before
        scores = loss.scores(adapt(probes))
        assert (scores.argmax(-1) == y).all()
        assert (loss.logits(adapt(probes)).argmax(-1) == y).all()
        known, unknown = (loss.logits(adapt(e)).log_softmax(-1) for e in (probes, strangers))
        assert -(unknown.exp() * unknown).sum(-1).mean() > 1.5 * -(known.exp() * known).sum(-1).mean()


@pytest.mark.parametrize(
    "module", sorted({place.partition(":")[0] for place in LOSSES.values()} | {"openkith.losses.gan"})
)
def test_the_examples_run(module: str) -> None:
    results = doctest.testmod(import_module(module), extraglobs={"torch": torch})
    assert results.attempted >= 2
    assert results.failed == 0
