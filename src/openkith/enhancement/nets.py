"""The networks of embedding enhancement: one clip's embedding in, the embedding that many clips would give out.

v1 to v4 are those of the Speaker Embedding Enhancement Model (2022); their widths are in units of d, the length of an
embedding. The residual network is openkith's own. A network of one's own is a class that takes ``dim`` and keyword
arguments, ``activation`` among them or not, maps (b, d) to (b, d), and has a line in `NETS`.
"""

from __future__ import annotations

import inspect
import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openkith.errors import ConfigError

__all__ = ["ACTIVATIONS", "NETS", "V1", "V2", "V3", "V4", "Residual", "build_net", "net_names", "net_options"]

DROPOUT = 0.2

#: Name to the activation after each layer.
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class _Stack(nn.Module):
    """Linear layers, each followed by the activation, the last one too, and some by dropout of single elements.

    The released code drops with ``Dropout1d``, which on a 2-d input drops whole embeddings; here elements are
    dropped, as the paper says.
    """

    widths: ClassVar[tuple[int, ...]]  # in units of d, the input's among them
    dropped: ClassVar[tuple[int, ...]] = ()  # layers with dropout after them, the first layer being 1

    def __init__(self, dim: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.dim = _at_least_one("dim", dim)
        self.layers = nn.ModuleList(
            nn.Linear(before * dim, after * dim) for before, after in itertools.pairwise(self.widths)
        )
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(_probability(dropout))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(b, d) to (b, d)."""
        x = embeddings
        for number, layer in enumerate(self.layers, 1):
            x = self.activation(layer(x))
            if number in self.dropped:
                x = self.dropout(x)
        return x


class V1(_Stack):
    """Version 1 of 2022: 1-2-4-4-2-1, with dropout after layers 2, 3 and 4.

    The activation follows the last layer too: with ReLU no output is negative, with ELU none is below -1, so a
    target with negative entries needs ELU.

    Args:
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`.
        dropout: Probability that an element is dropped.

    Raises:
        ConfigError: A value is out of range.
    """

    widths = (1, 2, 4, 4, 2, 1)
    dropped = (2, 3, 4)

    def __init__(self, dim: int, *, activation: str = "relu", dropout: float = DROPOUT) -> None:
        super().__init__(dim, activation, dropout)


class V2(_Stack):
    """Version 2 of 2022: 1-2-4-4-2-1, without dropout. See `V1`.

    Args:
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`.

    Raises:
        ConfigError: A value is out of range.
    """

    widths = (1, 2, 4, 4, 2, 1)

    def __init__(self, dim: int, *, activation: str = "relu") -> None:
        super().__init__(dim, activation, 0.0)


class V3(_Stack):
    """Version 3 of 2022, the light one: 1-2-2-1, with dropout after layer 2. See `V1`.

    Args:
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`.
        dropout: Probability that an element is dropped.

    Raises:
        ConfigError: A value is out of range.
    """

    widths = (1, 2, 2, 1)
    dropped = (2,)

    def __init__(self, dim: int, *, activation: str = "relu", dropout: float = DROPOUT) -> None:
        super().__init__(dim, activation, dropout)


class V4(_Stack):
    """Version 4 of 2022, the heavy one: 1-2-2-4-4-2-2-1, without dropout. See `V1`.

    Args:
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`.

    Raises:
        ConfigError: A value is out of range.
    """

    widths = (1, 2, 2, 4, 4, 2, 2, 1)

    def __init__(self, dim: int, *, activation: str = "relu") -> None:
        super().__init__(dim, activation, 0.0)


class Residual(nn.Module):
    r"""A linear map that starts as the identity, plus a branch that starts as nothing.

    With the activation f::

        y = A x + a + C f(B x + b) + c,     A = I, a = 0, C = 0, c = 0 at the start

    so that training sets out from the embedding as it is, and outputs may be negative with either activation.

    Args:
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`.
        hidden: Width of the branch; None: 2 d.
        dropout: Probability that an element of the branch's hidden layer is dropped.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self, dim: int, *, activation: str = "relu", hidden: int | None = None, dropout: float = DROPOUT
    ) -> None:
        super().__init__()
        self.dim = _at_least_one("dim", dim)
        width = 2 * dim if hidden is None else _at_least_one("hidden", hidden)
        self.linear = nn.Linear(dim, dim)  # A, a
        self.hidden = nn.Linear(dim, width)  # B, b
        self.last = nn.Linear(width, dim)  # C, c
        self.activation = _activation(activation)
        self.dropout = nn.Dropout(_probability(dropout))
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(dim))
            for zero in (self.linear.bias, self.last.weight, self.last.bias):
                zero.zero_()

    def forward(self, embeddings: Tensor) -> Tensor:
        """(b, d) to (b, d)."""
        branch = self.dropout(self.activation(self.hidden(embeddings)))  # (b, hidden)
        result: Tensor = self.linear(embeddings) + self.last(branch)
        return result


#: Name to the class of a network.
NETS: dict[str, type[nn.Module]] = {"v1": V1, "v2": V2, "v3": V3, "v4": V4, "residual": Residual}


def net_names() -> list[str]:
    """Every network that can be built by name."""
    return list(NETS)


def net_options(name: str) -> dict[str, Any]:
    """The options of a network with their defaults.

    Raises:
        ConfigError: No such network.
    """
    if name not in NETS:
        raise ConfigError(f"no enhancement network is named {name!r}; there are: {', '.join(NETS)}")
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(NETS[name]).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def build_net(name: str, dim: int, activation: str | None = None, **options: Any) -> nn.Module:
    """Build a network from its name.

    Args:
        name: A key of `NETS`.
        dim: d, length of an embedding.
        activation: A key of `ACTIVATIONS`; None: the network's own default, for v1 to v4 and residual ``"relu"``.
        options: See `net_options`.

    Returns:
        A network from (b, d) to (b, d).

    Raises:
        ConfigError: No such network, no such option, or a value out of its range.
    """
    there_are = net_options(name)
    if activation is not None:
        options["activation"] = activation
    for option in options:
        if option not in there_are:
            raise ConfigError(
                f"network {name!r} has no option {option!r}; there are: {', '.join(sorted(there_are)) or 'none'}"
            )
    return NETS[name](dim, **options)


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation is {name!r}; there are: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def _probability(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"dropout is {value!r}; give a probability of 0 or more, below 1")
    return float(value)


def _at_least_one(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; give a whole number of 1 or more")
    return value
