"""The encoders that there are, and published weights for them: whence, under which licence, here or not.

What is said of a published model stands in `openkith.encoders.weights.known_models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path

from openkith.encoders.base import ENCODERS, encoder_names, load_encoder
from openkith.encoders.weights import sources
from openkith.encoders.weights.downloads import Progress
from openkith.encoders.weights.known_models import KNOWN, find_known
from openkith.encoders.weights.published import PUBLISHED, load_weights
from openkith.errors import ConfigError
from openkith.wheels import models_folder

__all__ = [
    "ANY_WEIGHTS",
    "DEFAULT",
    "Model",
    "info",
    "models",
    "needs_fetching",
    "pull",
    "weights_path",
]

DEFAULT: str = signature(load_encoder).parameters["name_or_path"].default

#: What is fetched of a repository that the table does not have: everything that can be weights, and what describes it.
ANY_WEIGHTS = (
    *("*.json", "*.yaml", "*.safetensors", "*.bin", "*.pt", "*.ckpt", "*.model", "*.onnx", "avg_model"),
)


@dataclass(frozen=True)
class Model:
    """A model that can be loaded by name.

    Attributes:
        name: For `load_encoder`.
        encoder: The registered encoder that reads it.
        dim: Length of its embeddings; None where the weights decide it, and for an encoder of another distribution,
            which is not imported to be listed.
        cached: Whether its published weights are on this machine.
        path: Where they are, or would be; None for an encoder that has none.
        size: Of what is fetched in bytes: as it is here, or else as published; None where neither is known.
        licence: Of the weights, an SPDX identifier.
        source: What they are published in.
        eer: Published equal error rate on Vox1-O, in percent.
        eer_source: Where that stands.
        sha256: Of the file, where it is pinned.
        note: What else to know.
    """

    name: str
    encoder: str
    dim: int | None = None
    cached: bool = False
    path: Path | None = None
    size: int | None = None
    licence: str | None = None
    source: str | None = None
    eer: float | None = None
    eer_source: str | None = None
    sha256: str | None = None
    note: str | None = None


def weights_path(name: str) -> Path | None:
    """Where the published weights of a model are kept, cached or not; None if it has none."""
    known = find_known(name)
    if known is None:
        return None
    if known.weights is None:
        return models_folder() / f"{known.name}.safetensors"
    cached = sources.cached(known.weights, files=known.files)
    remote = sources.parse(known.weights)
    return cached or (remote if isinstance(remote, Path) else remote.folder)


def needs_fetching(name: str) -> bool:
    """Whether loading the model would download its weights."""
    known = find_known(name)
    if known is None:
        return False
    if known.weights is None:
        path = weights_path(name)
        return path is not None and not path.is_file()
    return sources.cached(known.weights, files=known.files) is None


def models() -> list[Model]:
    """Every published model and every encoder, sorted by name."""
    return [info(name) for name in sorted({*KNOWN, *encoder_names()})]


def info(name: str) -> Model:
    """What is known of one model.

    Raises:
        ConfigError: No published model and no encoder has that name.
    """
    known = find_known(name)
    if known is None:
        if name not in encoder_names():
            raise ConfigError(
                f"no model is named {name!r}; there are: {', '.join({*KNOWN, *encoder_names()})}"
            )
        return Model(name, name, _dim(name))
    path, cached = weights_path(known.name), not needs_fetching(known.name)
    return Model(
        name=known.name,
        encoder=known.encoder,
        dim=known.dim,
        cached=cached,
        path=path,
        size=_size(path) if path is not None and cached else known.size,
        licence=known.licence,
        source=known.source,
        eer=known.eer,
        eer_source=known.eer_source,
        sha256=known.sha256,
        note=known.note,
    )


def pull(name: str, progress: Progress | None = None) -> Model:
    """Fetch weights, unless they are here, and check them either way.

    Args:
        name: A published model, or what `sources.fetch` takes: the id of a model on a hub, or a URL.
        progress: Called with what is being done, bytes that are here and bytes in all.

    Raises:
        ConfigError: It is none of these.
        WeightsError: They cannot be had, or are not what was published.
    """
    known = find_known(name)
    if known is not None and known.weights is None:
        load_weights(PUBLISHED[known.name])
        return info(known.name)
    if known is None and not _is_remote(name):
        raise ConfigError(
            f"no published weights are named {name!r}; there are: {', '.join(KNOWN)}, and owner/name on Hugging "
            "Face, modelscope:owner/name, or a URL"
        )
    source = (known.weights if known is not None else None) or name
    path = sources.fetch(source, files=known.files if known else ANY_WEIGHTS, progress=progress)
    sources.check(source)
    if known is not None:
        return info(known.name)
    return Model(name, "", cached=True, path=path, size=_size(path), source=source)


def _is_remote(text: str) -> bool:
    return ("/" in text or ":" in text) and not isinstance(sources.parse(text), Path)


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a folder that are no hidden ones."""
    if path.is_file():
        return path.stat().st_size
    return sum(
        file.stat().st_size for file in path.glob("[!.]*") if file.is_file() and file.name != sources.RECORD
    )


def _dim(name: str) -> int | None:
    if name not in ENCODERS:
        return None
    module, _, attribute = ENCODERS[name].partition(":")
    found = getattr(getattr(import_module(module), attribute), "dim", None)
    return found if isinstance(found, int) else None
