"""The encoders that there are, and their weights: cached or not, whence, under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path

from openkith.encoders.base import ENCODERS, encoder_names, load_encoder
from openkith.encoders.weights import PUBLISHED, load_weights, models_folder
from openkith.errors import ConfigError

__all__ = ["DEFAULT", "Model", "models", "needs_fetching", "pull", "weights_path"]

DEFAULT: str = signature(load_encoder).parameters["name"].default


@dataclass(frozen=True)
class Model:
    """An encoder that can be loaded by name.

    Attributes:
        name: For `load_encoder`.
        dim: Length of its embeddings; None for one of another distribution, which is not imported to be listed.
        cached: Whether its published weights are on this machine.
        path: Where they are, or would be; None for an encoder that brings its own.
        size: Of the file in bytes; None where there is none.
        licence: Of the weights, an SPDX identifier.
        source: What they are published in.
    """

    name: str
    dim: int | None
    cached: bool
    path: Path | None
    size: int | None
    licence: str | None
    source: str | None


def weights_path(name: str) -> Path | None:
    """Where the published weights of an encoder are kept, cached or not; None if it has none."""
    return models_folder() / f"{name}.safetensors" if name in PUBLISHED else None


def needs_fetching(name: str) -> bool:
    """Whether loading the encoder would download its weights."""
    path = weights_path(name)
    return path is not None and not path.is_file()


def models() -> list[Model]:
    """Every encoder, sorted by name."""
    return [_model(name) for name in encoder_names()]


def pull(name: str) -> Model:
    """Fetch the published weights of an encoder, unless they are here, and check them either way.

    Raises:
        ConfigError: No encoder of that name has published weights.
        WeightsError: They cannot be had, or are not what was published.
    """
    if name not in PUBLISHED:
        raise ConfigError(
            f"no published weights are named {name!r}; there are: {', '.join(sorted(PUBLISHED))}"
        )
    load_weights(PUBLISHED[name])
    return _model(name)


def _model(name: str) -> Model:
    published, path = PUBLISHED.get(name), weights_path(name)
    cached = path is not None and path.is_file()
    return Model(
        name=name,
        dim=_dim(name),
        cached=cached,
        path=path,
        size=path.stat().st_size if path is not None and cached else None,
        licence=published.licence if published else None,
        source=published.requirement if published else None,
    )


def _dim(name: str) -> int | None:
    if name not in ENCODERS:
        return None
    module, _, attribute = ENCODERS[name].partition(":")
    return getattr(getattr(import_module(module), attribute), "dim", None)
