"""What every loss shares: the call, the member dimension, unknown samples, and errors that name the value."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor

from openkith.errors import ConfigError, InputError
from openkith.losses.unknown import UNKNOWN_TERMS

__all__ = [
    "Loss",
    "Shared",
    "cross_entropy",
    "initial_points",
    "not_negative",
    "positive",
    "squared_distances",
]

_INIT_SCALE = 0.1  # standard deviation of proxies at the start


class Shared(TypedDict, total=False):
    """Keyword arguments that every loss hands on to `Loss`."""

    members: int | None
    generator: torch.Generator | None
    unknown_weight: float
    unknown_term: str
    known_energy: float | None
    unknown_energy: float | None


class Loss(torch.nn.Module):
    r"""Base class of the losses: cross entropy of some logits, further terms, and an unknown-sample term.

    With embeddings x of speakers y and unknown samples u::

        L = CE(logits(x), y) + further terms of the class + unknown_weight * L_u

    each term the mean over its samples. L_u (``openkith.losses.unknown``) is left out where no unknown sample
    is given or its weight is 0. With ``unknown_term="background"`` there is one proxy more, that of
    nobody known, and while unknown samples are given the cross entropy of known samples is over C + 1 classes.

    With ``members=S`` every parameter, the embeddings, the labels and the unknown samples have a leading
    dimension S, and the result is the sum over the members, so that S losses with their own proxies train in
    one computation, none touching another's gradient.

    Args:
        n_speakers: C.
        dim: m, length of an adapted embedding.
        members: S, or None for a single loss without a member dimension.
        generator: For the initial proxies.
        unknown_weight: Of L_u; 0 leaves the unknown samples out. 0.01 is what SpeakerRPL released for the
            entropy; 1 is the plain cross entropy for the background, 0.1 Liu et al.'s for the energy.
        unknown_term: One of `openkith.losses.unknown.UNKNOWN_TERMS`.
        known_energy: Known samples pay for a free energy above it (``energy-margin`` only); None: the default
            of the class, as its logits have a scale of their own.
        unknown_energy: Unknown samples pay for a free energy below it; None: the default of the class.

    Raises:
        ConfigError: An argument is out of its range.
    """

    energies: ClassVar[tuple[float, float]] = (-8.0, -3.0)  # default known_energy and unknown_energy

    def __init__(
        self,
        n_speakers: int,
        dim: int,
        *,
        members: int | None = None,
        generator: torch.Generator | None = None,
        unknown_weight: float = 0.01,
        unknown_term: str = "entropy",
        known_energy: float | None = None,
        unknown_energy: float | None = None,
    ) -> None:
        super().__init__()
        for name, count in (("n_speakers", n_speakers), ("dim", dim), ("members", members)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} is {count}; give 1 or more")
        if unknown_term not in UNKNOWN_TERMS:
            raise ConfigError(f"unknown_term is {unknown_term!r}; there are: {', '.join(UNKNOWN_TERMS)}")
        self.n_speakers = n_speakers
        self.dim = dim
        self.members = members
        self.unknown_weight = not_negative("unknown_weight", unknown_weight)
        self.unknown_term = unknown_term
        self.known_energy = self.energies[0] if known_energy is None else known_energy
        self.unknown_energy = self.energies[1] if unknown_energy is None else unknown_energy
        if not self.known_energy < self.unknown_energy:
            raise ConfigError(
                f"known_energy is {self.known_energy} and unknown_energy {self.unknown_energy}; "
                f"give a known_energy below the unknown_energy"
            )
        self.background: torch.nn.Parameter | None = None
        if unknown_term == "background":
            self.background = initial_points((*self._lead, 1, dim), generator)

    def forward(self, embeddings: Tensor, labels: Tensor, unknown: Tensor | None = None) -> Tensor:
        """The loss, summed over members.

        Args:
            embeddings: Adapted embeddings x, shape (..., n, m).
            labels: Speakers y in 0..C-1, integers, shape (..., n).
            unknown: Adapted embeddings of other speakers, shape (..., u, m).

        Returns:
            A scalar.

        Raises:
            InputError: A shape or a label does not fit.
        """
        self._check(embeddings, labels, unknown)
        crowd = unknown if unknown is not None and unknown.shape[-2] and self.unknown_weight else None
        logits = self._training_logits(embeddings, labels)  # (..., n, C)
        if crowd is not None and self.background is not None:
            logits = torch.cat([logits, self.background_logits(embeddings)], -1)  # (..., n, C + 1)
        total = cross_entropy(self._sharpen(logits), labels) + self._further_terms(embeddings, labels)
        if crowd is not None:
            term = UNKNOWN_TERMS[self.unknown_term](self, embeddings, crowd)
            total = total + self.unknown_weight * term
        return total.sum()

    def logits(self, embeddings: Tensor) -> Tensor:
        """Per speaker, larger is more likely, without any margin: (..., n, m) to (..., n, C)."""
        raise NotImplementedError

    def scores(self, embeddings: Tensor) -> Tensor:
        """What is used at test time, larger is more likely known speaker k: (..., n, m) to (..., n, C).

        The logits. A background class helps in training only: log odds against it know the strangers that it
        was trained on, and rank other strangers worse than the logits do.
        """
        return self.logits(embeddings)

    def proxies(self) -> Tensor:
        """All learnable reference points of the speakers, (..., K, m); the background's is not among them."""
        raise NotImplementedError

    def background_logits(self, embeddings: Tensor) -> Tensor:
        """Of being nobody known, (..., n, m) to (..., n, 1); only with ``unknown_term="background"``."""
        if self.background is None:
            raise ConfigError("this loss has no background class; give unknown_term='background'")
        return self._logits_to(embeddings, self.background)

    def _logits_to(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        """Logits of classes that have one proxy each: (..., n, m), (..., K, m) to (..., n, K)."""
        raise NotImplementedError

    def _training_logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """`logits`, where the class has one with the margin on the own speaker's: (..., n, C)."""
        return self.logits(embeddings)

    def _unknown_logits(self, unknown: Tensor) -> Tensor:
        """Logits whose posterior the entropy term flattens: (..., u, C)."""
        return self.logits(unknown)

    def _sharpen(self, logits: Tensor) -> Tensor:
        """Temperature or norm between the logits and the softmax of cross entropy, (..., n, K) to the same."""
        return logits

    def _further_terms(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """What the class adds to cross entropy, (...)."""
        return embeddings.new_zeros(())

    @property
    def _lead(self) -> tuple[int, ...]:
        """The leading dimensions of every parameter."""
        return () if self.members is None else (self.members,)

    def _check(self, embeddings: Tensor, labels: Tensor, unknown: Tensor | None) -> None:
        lead = self._lead
        for name, tensor in (("embeddings", embeddings), ("unknown", unknown)):
            if tensor is None:
                continue
            if tensor.shape[:-2] != lead or tensor.ndim != len(lead) + 2 or tensor.shape[-1] != self.dim:
                wanted = ", ".join([*map(str, lead), "n", str(self.dim)])
                raise InputError(f"{name} have shape {tuple(tensor.shape)}; this loss needs ({wanted})")
        if not embeddings.shape[-2]:
            raise InputError("embeddings have no rows; give one sample or more")
        if labels.shape != embeddings.shape[:-1]:
            raise InputError(
                f"labels have shape {tuple(labels.shape)}; {tuple(embeddings.shape[:-1])} goes with the "
                f"embeddings"
            )
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise InputError(f"labels are {labels.dtype}; give integers from 0 to {self.n_speakers - 1}")
        low, high = (int(edge) for edge in labels.aminmax())
        if low < 0 or high >= self.n_speakers:
            raise InputError(
                f"label {low if low < 0 else high} is not among this loss's {self.n_speakers} speakers; give "
                f"0 to {self.n_speakers - 1}, and unknown speakers as unknown="
            )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, mean over samples: (..., n, C), (..., n) to (...)."""
    return -pick(logits.log_softmax(-1), labels).mean(-1)


def pick(values: Tensor, labels: Tensor) -> Tensor:
    """Each sample's value for its own speaker: (..., n, C), (..., n) to (..., n)."""
    return values.gather(-1, labels.long().unsqueeze(-1)).squeeze(-1)


def own(points: Tensor, labels: Tensor) -> Tensor:
    """Each sample's own speaker's point: (..., C, m), (..., n) to (..., n, m)."""
    return points.gather(-2, labels.long().unsqueeze(-1).expand(*labels.shape, points.shape[-1]))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(..., n, m), (..., C, m) to (..., n, C), by the expanded square (one matrix product)."""
    return x.square().sum(-1, keepdim=True) - 2.0 * x @ y.mT + y.square().sum(-1).unsqueeze(-2)


def initial_points(shape: tuple[int, ...], generator: torch.Generator | None) -> torch.nn.Parameter:
    """0.1 N(0, 1)."""
    return torch.nn.Parameter(_INIT_SCALE * torch.randn(shape, generator=generator))


def positive(name: str, value: Any) -> float:
    """The value of an option, a finite number above 0.

    Raises:
        ConfigError: It is not.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value!r}; give a number above 0")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """The value of an option, a finite number not below 0.

    Raises:
        ConfigError: It is not.
    """
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {value!r}; give a number of 0 or more")
    return float(value)


def at_least_one(name: str, value: Any) -> int:
    """The value of an option, a whole number of 1 or more.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number of 1 or more")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
