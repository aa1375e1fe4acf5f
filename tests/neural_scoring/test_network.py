"""The scoring network: against its definition, who sees whom, and its sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from openkith.errors import ConfigError, InputError
from openkith.neural_scoring.network import (
    NetworkConfig,
    ScoringNetwork,
    WholeNetwork,
    log_mel,
    most_samples,
    sinusoids,
)

SMALL: dict[str, Any] = {"enrolment_dim": 7, "frame_dim": 11, "width": 24, "heads": 3, "feed_forward": 20}


def made(seed: int = 0, **sizes: Any) -> ScoringNetwork:
    """A network whose every parameter is random, those included that start at 0 or 1."""
    torch.manual_seed(seed)
    network = ScoringNetwork(NetworkConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return network


def inputs(network: ScoringNetwork, e: int, t: int, b: int = 1, seed: int = 1) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(b, n, width, generator=generator)
        for n, width in ((e, network.config.enrolment_dim), (t, network.config.frame_dim))
    )


@pytest.mark.parametrize(
    "sizes",
    [{}, {"layers": 3}, {**SMALL}, {**SMALL, "layers": 2, "heads": 1}],
    ids=["paper", "three layers", "small", "one head"],
)
def test_equals_its_definition(sizes: dict[str, Any], definition: Callable[..., Any]) -> None:
    network = made(**sizes)
    enrolments, frames = inputs(network, e=3, t=9)
    found = network(enrolments, frames)[0].detach().numpy()
    expected = definition(network.state_dict(), enrolments[0], frames[0], network.config.heads)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-2  # the enrolments are told apart at all


def test_paper_sizes() -> None:
    network = ScoringNetwork()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    linear = {name: shapes[f"{name}.weight"] for name in ("scoring_linear1", "scoring_linear2")}
    assert linear == {"scoring_linear1": (256, 2560), "scoring_linear2": (256, 256)}
    assert [shapes[f"mlp.{n}.weight"] for n in (0, 2, 4)] == [(256, 256), (256, 256), (1, 256)]
    assert shapes["transformer_model.layers.0.ffn.linear1.weight"] == (512, 256)
    assert shapes["transformer_model.etype_emb"] == shapes["transformer_model.ttype_emb"] == (1, 256)
    assert not any("layers.1." in name or "position" in name for name in shapes)
    assert all(m.eps == 1e-6 for m in network.modules() if isinstance(m, torch.nn.LayerNorm))
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_positions() -> None:
    table = sinusoids(3, 4).numpy()
    expected = [
        [0, 1, 0, 1],
        [np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)],
        [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)],
    ]
    np.testing.assert_allclose(table, expected, atol=1e-7)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_enrolment_is_alone(layers: int) -> None:
    """The same pair has the same score among 200 enrolments, in whatever place, and by itself."""
    network = made(layers=layers)
    enrolments, frames = inputs(network, e=200, t=50)
    together = torch.sigmoid(network(enrolments, frames))[0].detach()
    for place in (0, 117, 199):
        alone = torch.sigmoid(network(enrolments[:, [place]], frames))[0, 0].detach()
        assert abs(alone - together[place]) <= 1e-6
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    shuffled = torch.sigmoid(network(enrolments[:, order], frames))[0]
    np.testing.assert_allclose(shuffled.detach(), together[order], atol=1e-6)
    assert together.std() > 1e-3


def test_order_of_frames_matters_and_that_of_utterances_does_not() -> None:
    network = made(**SMALL, layers=2)
    enrolments, frames = inputs(network, e=4, t=6, b=3)
    scores = network(enrolments, frames)
    np.testing.assert_allclose(network(enrolments.flip(0), frames.flip(0)).detach(), scores.flip(0).detach())
    assert (network(enrolments, frames.flip(1)) - scores).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 2])
def test_padding_is_not_heard(layers: int) -> None:
    network = made(**SMALL, layers=layers)
    enrolments, frames = inputs(network, e=4, t=9, b=3)
    lengths = torch.tensor([9, 5, 1])
    padding = torch.arange(9) >= lengths[:, None]
    frames[padding] = 1e3
    found = network(enrolments, frames, padding)
    for row, length in enumerate(lengths):
        alone = network(enrolments[[row]], frames[[row], :length])
        np.testing.assert_allclose(found[row].detach(), alone[0].detach(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_but_padding_is_finite(dtype: torch.dtype) -> None:
    network = made(**SMALL, layers=2)
    enrolments, frames = inputs(network, e=2, t=4)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        scores = network(enrolments, frames, torch.ones(1, 4, dtype=torch.bool))
    assert scores.isfinite().all()
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_every_parameter_learns() -> None:
    """One layer and more, in training mode: each tensor has a gradient that is not zero."""
    network = made(**SMALL, layers=2).train()
    enrolments, frames = inputs(network, e=4, t=6, b=2)
    network(enrolments, frames).square().sum().backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None] == []
    # A key's bias adds the same to all scores of a softmax, but for those of the other kind of token.
    assert [name for name, grad in grads.items() if grad is not None and not grad.abs().max() > 0] == []


def test_dropout_is_for_training() -> None:
    network = made(**SMALL)
    enrolments, frames = inputs(network, e=4, t=6)
    assert torch.equal(network(enrolments, frames), network(enrolments, frames))
    network.train()
    assert not torch.equal(network(enrolments, frames), network(enrolments, frames))


def test_most_frames() -> None:
    network = made(**SMALL, most_frames=6)
    enrolments, frames = inputs(network, e=1, t=7)
    assert network(enrolments, frames[:, :6]).shape == (1, 1)
    with pytest.raises(InputError, match="7 frames; give from 1 to 6"):
        network(enrolments, frames)
    with pytest.raises(InputError, match="0 frames"):
        network(enrolments, frames[:, :0])


def test_shapes_are_checked() -> None:
    network = made(**SMALL)
    enrolments, frames = inputs(network, e=2, t=3, b=2)
    with pytest.raises(InputError, match=r"enrolments have shape \(2, 2, 6\); .* \(2, \.\.\., 7\)"):
        network(enrolments[..., :6], frames)
    with pytest.raises(InputError, match=r"enrolments have shape \(1, 2, 7\)"):
        network(enrolments[:1], frames)
    with pytest.raises(InputError, match="frames have shape"):
        network(enrolments, frames[0])
    with pytest.raises(InputError, match=r"padding is torch\.float32"):
        network(enrolments, frames, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"width": 30, "heads": 4}, "width is 30; give an even number that 4 heads can share"),
        ({"width": 9, "heads": 3}, "width is 9"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"most_frames": 0}, "most_frames is 0"),
    ],
)
def test_sizes_are_checked(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**sizes)


@pytest.fixture(scope="module")
def whole() -> WholeNetwork:
    torch.manual_seed(0)
    return WholeNetwork()


class TestWholeNetwork:
    def test_the_enrolment_encoder_is_frozen(self, whole: WholeNetwork) -> None:
        whole.train()
        assert whole.training
        assert whole.testencoder.training
        assert not any(module.training for module in whole.enrollmodel.modules())
        features = torch.randn(2, 40, 80)
        before = {name: value.clone() for name, value in whole.state_dict().items()}
        embeddings = whole.embed(features)
        assert embeddings.shape == (2, 256)
        assert not embeddings.requires_grad
        frames = whole.frames(features)
        assert frames.shape == (2, 5, 2560)
        whole(embeddings[:, None], frames).sum().backward()
        learning = {name for name, p in whole.named_parameters() if p.grad is not None}
        assert not any(name.startswith("enrollmodel.") for name in learning)
        assert "testencoder.speaker_encoder.conv1.weight" in learning
        changed = {name for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}
        assert changed  # statistics of the test encoder's batch norms
        assert all(name.startswith("testencoder.") for name in changed)
        whole.load_state_dict(before)
        whole.zero_grad()

    def test_the_longest_audio_has_the_most_frames(self, whole: WholeNetwork) -> None:
        assert most_samples(500) == 638_960  # 39.9 s
        for count in (2, 7):
            whole.eval()
            samples = np.random.default_rng(0).normal(0, 0.1, most_samples(count)).astype(np.float32)
            features = torch.from_numpy(log_mel(samples))[None]
            assert whole.frames(features).shape[1] == count
            # Some samples more may still do; 80 ms more do not.
            more = np.pad(samples, (0, 1280))
            assert whole.frames(torch.from_numpy(log_mel(more))[None]).shape[1] == count + 1

    def test_its_frames_are_the_trunk_s(self) -> None:
        with pytest.raises(ConfigError, match="frame_dim is 768; the test encoder gives 2560"):
            WholeNetwork(NetworkConfig(frame_dim=768))
