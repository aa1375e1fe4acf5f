"""The adapters by name, and making one from its options. Does not load torch until one is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from openkith.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from openkith.tuning.adapters import Adapter

__all__ = ["ADAPTERS", "adapter_names", "make_adapter", "takes_frames"]

#: Name to "module:class"; the module is imported when the adapter is asked for.
ADAPTERS: dict[str, str] = {
    "mlp": "openkith.tuning.adapters:MLPAdapter",
    "residual": "openkith.tuning.adapters:ResidualAdapter",
    "gru": "openkith.tuning.frames:GRUAdapter",
}


def adapter_names() -> list[str]:
    """Every adapter that can be made by name."""
    return list(ADAPTERS)


def make_adapter(
    name: str,
    dim: int,
    out: int | None = None,
    *,
    members: int | None = None,
    hidden: Sequence[int] | None = None,
    norm: str = "instance",
    generator: torch.Generator | None = None,
) -> Adapter:
    """Make an adapter from its name.

    Args:
        name: One of `adapter_names`.
        dim: d, length of an embedding or of a frame.
        out: m, length of an adapted embedding; None: the adapter's own default.
        members: S adapters side by side, or None for one without a member dimension.
        hidden: Widths of the hidden layers; None: the adapter's own default.
        norm: After each hidden layer, "instance" or "batch".
        generator: For the initial weights.

    Raises:
        ConfigError: No such adapter, or it cannot be made with these options.
    """
    return _load(name)(dim, out, members=members, hidden=hidden, norm=norm, generator=generator)


def takes_frames(name: str) -> bool:
    """Whether an adapter takes an encoder's frames in place of its embedding.

    Raises:
        ConfigError: No such adapter.
    """
    return _load(name).takes_frames


def _load(name: str) -> type[Adapter]:
    """The class behind a name."""
    if name not in ADAPTERS:
        raise ConfigError(f"no adapter is named {name!r}; there are: {', '.join(ADAPTERS)}")
    module, _, attribute = ADAPTERS[name].partition(":")
    found: type[Adapter] = getattr(import_module(module), attribute)
    return found
