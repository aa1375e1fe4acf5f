"""Confusing samples: both objectives recomputed in numpy, seeds, and what the samples are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openkith.errors import ConfigError, InputError
from openkith.losses import ConfusingSamples, SoftmaxLoss, make_loss

DIM = 6


def households(n: int = 60, dim: int = DIM, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Three people, their clips around three points."""
    generator = torch.Generator().manual_seed(0)
    means = 3.0 * torch.randn(3, dim, generator=generator)
    return (means[torch.arange(n) % 3] + 0.5 * torch.randn(n, dim, generator=generator)).to(dtype)


@pytest.fixture(scope="module")
def classifier() -> SoftmaxLoss:
    """A softmax that tells the three apart."""
    known, labels = households(), torch.arange(60) % 3
    loss = SoftmaxLoss(3, DIM, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        loss(known, labels).backward()
        optimiser.step()
    assert (loss.logits(known).argmax(-1) == labels).all()
    return loss


def posterior_entropy(logits: torch.Tensor) -> float:
    log_p = logits.detach().log_softmax(-1)
    return float(-(log_p.exp() * log_p).sum(-1).mean())


def network(x: NDArray[Any], layers: Any) -> NDArray[Any]:
    """A forward pass by the formula: linear, then leaky ReLU of slope 0.2 between layers."""
    weights = [w.detach().numpy() for w in layers.weights]
    biases = [b.detach().numpy() for b in layers.biases]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if i:
            x = np.where(x > 0, x, 0.2 * x)
        x = x @ weight + bias
    return x


def test_a_step_by_definition(classifier: SoftmaxLoss) -> None:
    """What both networks minimised, from their weights before and between, the noise, and probabilities."""
    known = households(dtype=torch.float64)
    logits = classifier.vectors.detach().double().numpy()
    confusing = ConfusingSamples(DIM, noise_dim=3, hidden=8, confusion=0.7)
    confusing.start(known, torch.Generator().manual_seed(0))
    noise = torch.randn(len(known), 3, generator=torch.Generator().manual_seed(5)).double().numpy()
    mean, scale = known.numpy().mean(0), known.numpy().std(0)
    made = mean + scale * network(noise, confusing._generator)

    def real(e: NDArray[Any]) -> NDArray[Any]:
        return 1 / (1 + np.exp(-network((e - mean) / scale, confusing._discriminator)))

    expected = -np.mean(np.log(real(known.numpy()))) - np.mean(np.log(1 - real(made)))
    of_discriminator, of_generator = confusing.step(
        known,
        lambda e: e @ torch.from_numpy(logits).T,
        torch.Generator().manual_seed(5),
    )
    assert of_discriminator == pytest.approx(expected, rel=1e-6)
    p = np.exp(made @ logits.T)
    p /= p.sum(1, keepdims=True)
    entropy = -np.mean(np.sum(p * np.log(p), axis=1))
    # The discriminator has moved since; the generator's samples were made before its own step.
    assert of_generator == pytest.approx(-np.mean(np.log(real(made))) - 0.7 * entropy, rel=1e-6)


def test_gradients_of_both_objectives(classifier: SoftmaxLoss) -> None:
    known = households(n=6, dtype=torch.float64)
    confusing = ConfusingSamples(DIM, noise_dim=3, hidden=8)
    confusing.start(known, torch.Generator().manual_seed(0))
    vectors = classifier.vectors.detach().double()
    made = (known + 0.3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda e: confusing._generator_loss(e, lambda x: x @ vectors.T), (made,))
    real = known.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(confusing._discriminator_loss, (real, made))


def test_each_step_lowers_what_it_minimises(classifier: SoftmaxLoss) -> None:
    known = households()
    confusing = ConfusingSamples(DIM, learning_rate=1e-4)
    confusing.start(known, torch.Generator().manual_seed(0))
    losses = []
    for _ in range(2):  # the same noise twice
        losses.append(confusing.step(known, classifier, torch.Generator().manual_seed(3)))
    assert losses[1][0] < losses[0][0]


def test_the_seed_decides(classifier: SoftmaxLoss) -> None:
    known = households()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    samples = []
    for seed in (4, 4, 5):
        confusing = ConfusingSamples(DIM, hidden=16)
        confusing.train(known, classifier, steps=5, seed=seed)
        samples.append(confusing.sample(7, torch.Generator().manual_seed(9)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    confusing.train(known, classifier, steps=5, seed=4)  # from nothing, whatever was before
    assert torch.equal(confusing.sample(7, torch.Generator().manual_seed(9)), samples[0])
    assert not torch.equal(confusing.sample(7, torch.Generator().manual_seed(8)), samples[0])


def test_samples_are_near_the_known_and_nobodys(classifier: SoftmaxLoss) -> None:
    """Nearer to known embeddings than a Gaussian of their spread, and with flatter posteriors than they have."""
    known = households()
    generator = torch.Generator().manual_seed(2)
    gaussian = known.mean(0) + known.std(0) * torch.randn(300, DIM, generator=generator)
    samples = {}
    for confusion in (0.0, 3.0):
        confusing = ConfusingSamples(DIM, hidden=64, confusion=confusion)
        confusing.train(known, classifier, steps=250, seed=0)
        samples[confusion] = confusing.sample(300, torch.Generator().manual_seed(1))

    def away(e: torch.Tensor) -> float:
        return float(torch.cdist(e, known).amin(1).mean())

    def entropy(e: torch.Tensor) -> float:
        return posterior_entropy(classifier.logits(e))

    assert away(samples[0.0]) < 0.7 * away(gaussian)
    assert away(samples[3.0]) < away(gaussian)
    assert entropy(samples[3.0]) > 2 * entropy(known)
    assert entropy(samples[3.0]) > entropy(samples[0.0])
    assert (samples[3.0].std(0) > 0.1 * known.std(0)).all()  # not one point


def test_the_classifier_is_left_alone(classifier: SoftmaxLoss) -> None:
    classifier.zero_grad()
    before = classifier.vectors.detach().clone()
    ConfusingSamples(DIM, hidden=8).train(households(), classifier, steps=3, seed=0)
    assert classifier.vectors.grad is None
    assert torch.equal(classifier.vectors, before)


def test_a_loss_and_its_logits_are_the_same(classifier: SoftmaxLoss) -> None:
    samples = []
    for given in (classifier, classifier.logits):
        confusing = ConfusingSamples(DIM, hidden=8)
        confusing.train(households(), given, steps=3, seed=0)
        samples.append(confusing.sample(4, torch.Generator().manual_seed(0)))
    assert torch.equal(*samples)


def test_samples_are_unknown_samples_of_any_loss() -> None:
    """Members of a loss are confused together; the samples go to it as unknown, without a gradient of their own."""
    known, labels = households(), torch.arange(60) % 3
    loss = make_loss("arpl", 3, DIM, members=2, unknown_weight=1.0)
    confusing = ConfusingSamples(DIM, hidden=8)
    confusing.train(known, loss, steps=3, seed=0)
    crowd = confusing.sample(20, torch.Generator().manual_seed(0))
    assert crowd.shape == (20, DIM)
    assert not crowd.requires_grad
    loss(known.expand(2, -1, -1), labels.expand(2, -1), crowd.expand(2, -1, -1)).backward()
    assert loss.points.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    confusing = ConfusingSamples(DIM, hidden=8)
    confusing.train(households(dtype=dtype), lambda e: e[:, :3], steps=2, seed=0)
    assert confusing.sample(2, torch.Generator().manual_seed(0)).dtype == dtype


def test_constant_dimensions_and_one_embedding_are_survived() -> None:
    known = households()[:1]
    confusing = ConfusingSamples(DIM, hidden=8)
    confusing.train(known, lambda e: e[:, :3], steps=5, seed=0)
    assert confusing.sample(0, torch.Generator().manual_seed(0)).shape == (0, DIM)
    torch.testing.assert_close(
        confusing.sample(3, torch.Generator().manual_seed(0)), known.expand(3, -1), rtol=0.0, atol=1e-4
    )


def test_errors() -> None:
    confusing = ConfusingSamples(DIM)
    with pytest.raises(InputError, match=r"not been trained; call train\(\)"):
        confusing.sample(3, torch.Generator())
    with pytest.raises(InputError, match=r"not been trained; call train\(\)"):
        confusing.step(households(), lambda e: e, torch.Generator())
    for wrong in (torch.zeros(4, DIM + 1), torch.zeros(DIM), torch.zeros(0, DIM)):
        with pytest.raises(
            InputError, match=r"embeddings have shape \(.*\); confusing samples need \(n, 6\)"
        ):
            confusing.train(wrong, lambda e: e, steps=1, seed=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("noise_dim", 0), ("hidden", 0.5), ("confusion", -1.0), ("learning_rate", 0.0), ("batch", 0)],
)
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is {value!r}; "):
        ConfusingSamples(DIM, **{option: value})
