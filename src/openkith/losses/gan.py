"""Confusing samples: a small GAN on embeddings, whose samples are near known speakers and nobody's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from openkith.errors import InputError
from openkith.losses.base import Loss, at_least_one, not_negative, positive

__all__ = ["ConfusingSamples"]

Logits = Callable[[Tensor], Tensor]

_BETAS = (0.5, 0.999)  # of Adam, as usual for GANs
_SLOPE = 0.2  # of the leaky ReLU
_SMALLEST_SCALE = 1e-6


class ConfusingSamples:
    r"""Unknown samples from a generator that deceives a discriminator and confuses the classifier.

    With a generator G, a discriminator D, noise z, known embeddings e, and the entropy H of the classifier's
    posterior over speakers::

        D minimises  -mean log D(e) - mean log(1 - D(G(z)))
        G minimises  -mean log D(G(z)) - beta mean H(softmax(logits(G(z))))

    so that samples lie where known embeddings could be, but between speakers. Chen et al., IEEE TPAMI 2021
    (ARPL+CS); the GAN is Goodfellow et al.'s (NeurIPS 2014) with the non-saturating generator. Give the samples
    to any loss as ``unknown``. The classifier is not trained here, and its gradients are not touched.

    Both networks have two hidden layers. They see embeddings at zero mean and unit variance per dimension,
    measured on the known ones at the start.

    Args:
        dim: Length of an embedding.
        noise_dim: Length of z, standard normal.
        hidden: Width of the hidden layers.
        confusion: beta; 0.1 in the paper, where the classifier learns at the same time.
        learning_rate: Of Adam, for both networks.
        batch: Known embeddings and samples in a step of `train`.

    Raises:
        ConfigError: An argument is out of its range.

    Example:
        >>> known = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
        >>> confusing = ConfusingSamples(dim=8)
        >>> confusing.train(known, lambda e: e[:, :3], steps=5, seed=0)
        >>> confusing.sample(10, torch.Generator().manual_seed(0)).shape
        torch.Size([10, 8])
    """

    def __init__(
        self,
        dim: int,
        *,
        noise_dim: int = 32,
        hidden: int = 128,
        confusion: float = 1.0,
        learning_rate: float = 1e-3,
        batch: int = 64,
    ) -> None:
        self.dim = at_least_one("dim", dim)
        self.noise_dim = at_least_one("noise_dim", noise_dim)
        self.hidden = at_least_one("hidden", hidden)
        self.confusion = not_negative("confusion", confusion)
        self.learning_rate = positive("learning_rate", learning_rate)
        self.batch = at_least_one("batch", batch)
        self._started = False

    def train(self, embeddings: Tensor, loss_or_logits: Loss | Logits, steps: int, seed: int) -> None:
        """Train both networks from nothing against a classifier that stays as it is.

        Args:
            embeddings: Of known speakers, (n, dim).
            loss_or_logits: A loss on these embeddings, or a function from embeddings (u, dim) to logits
                (..., u, C): for a loss behind an adapter, ``lambda e: loss.logits(adapter(e))``.
            steps: Steps of discriminator and generator.
            seed: Of weights, batches and noise.

        Raises:
            InputError: The embeddings have another shape.
        """
        generator = torch.Generator().manual_seed(seed)
        self.start(embeddings, generator)
        for _ in range(steps):
            rows = torch.randint(len(embeddings), (self.batch,), generator=generator)
            self.step(embeddings[rows.to(embeddings.device)], loss_or_logits, generator)

    def start(self, embeddings: Tensor, generator: torch.Generator) -> None:
        """Fresh networks, on the scale, type and device of known embeddings (n, dim); for use with `step`.

        Raises:
            InputError: The embeddings have another shape.
        """
        self._check(embeddings)
        known = embeddings.detach()
        self._mean = known.mean(0)
        self._scale = known.std(0, correction=0).clamp_min(_SMALLEST_SCALE)
        widths = (self.hidden, self.hidden)
        self._generator = _Network((self.noise_dim, *widths, self.dim), generator).to(known)
        self._discriminator = _Network((self.dim, *widths, 1), generator).to(known)
        self._optimisers = [
            torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=_BETAS)
            for network in (self._generator, self._discriminator)
        ]
        self._started = True

    def step(
        self, embeddings: Tensor, loss_or_logits: Loss | Logits, generator: torch.Generator
    ) -> tuple[float, float]:
        """One step of the discriminator, then one of the generator; to take turns with a classifier in training.

        Args:
            embeddings: A batch of known speakers, (n, dim); as many samples are made.
            loss_or_logits: As in `train`.
            generator: For the noise.

        Returns:
            What each minimised, before its step: discriminator, generator.

        Raises:
            InputError: `start` or `train` was not called, or the embeddings have another shape.
        """
        self._need_start()
        self._check(embeddings)
        logits = loss_or_logits.logits if isinstance(loss_or_logits, Loss) else loss_or_logits
        of_generator, of_discriminator = self._optimisers
        noise = self._noise(len(embeddings), generator)
        with torch.no_grad():
            samples = self._make(noise)
        deceived = self._discriminator_loss(embeddings.detach(), samples)
        _descend(of_discriminator, deceived, self._discriminator)
        deceiving = self._generator_loss(self._make(noise), logits)
        _descend(of_generator, deceiving, self._generator)
        return float(deceived.detach()), float(deceiving.detach())

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Confusing samples, (n, dim), without gradient.

        Raises:
            InputError: `train` or `start` was not called.
        """
        self._need_start()
        with torch.no_grad():
            return self._make(self._noise(n, generator))

    def _discriminator_loss(self, known: Tensor, samples: Tensor) -> Tensor:
        real, made = (self._discriminator((e - self._mean) / self._scale) for e in (known, samples))
        return F.softplus(-real).mean() + F.softplus(made).mean()

    def _generator_loss(self, samples: Tensor, logits: Logits) -> Tensor:
        made = self._discriminator((samples - self._mean) / self._scale)
        log_p = logits(samples).log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        return F.softplus(-made).mean() - self.confusion * entropy

    def _make(self, noise: Tensor) -> Tensor:
        """Embeddings from noise, (n, noise_dim) to (n, dim)."""
        made: Tensor = self._generator(noise)
        return self._mean + self._scale * made

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.noise_dim, generator=generator).to(self._mean)

    def _check(self, embeddings: Tensor) -> None:
        if embeddings.ndim != 2 or not len(embeddings) or embeddings.shape[1] != self.dim:
            raise InputError(
                f"embeddings have shape {tuple(embeddings.shape)}; confusing samples need (n, {self.dim}), n > 0"
            )

    def _need_start(self) -> None:
        if not self._started:
            raise InputError("confusing samples have not been trained; call train() or start() first")

    _mean: Tensor  # (dim,)
    _scale: Tensor  # (dim,)
    _generator: _Network
    _discriminator: _Network
    _optimisers: list[torch.optim.Optimizer]


class _Network(torch.nn.Module):
    """Linear layers with leaky ReLU between, weights and biases uniform within 1 / sqrt(fan in)."""

    def __init__(self, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()

        def start(shape: tuple[int, ...], fan_in: int) -> torch.nn.Parameter:
            return torch.nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in))

        pairs = list(itertools.pairwise(widths))
        self.weights = torch.nn.ParameterList(start((a, b), a) for a, b in pairs)
        self.biases = torch.nn.ParameterList(start((b,), a) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (F.leaky_relu(x, _SLOPE) if i else x) @ weight + bias
        return x


def _descend(optimiser: torch.optim.Optimizer, value: Tensor, network: _Network) -> None:
    """One step on a network's own parameters; no other gradient is touched."""
    optimiser.zero_grad()
    value.backward(inputs=list(network.parameters()))  # type: ignore[no-untyped-call]
    optimiser.step()
