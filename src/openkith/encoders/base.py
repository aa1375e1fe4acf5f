"""What an encoder is, and the registry of those that exist.

An encoder is a frozen foundation model: audio in, one embedding per clip out. Adding one is a class and a
line in `ENCODERS`, or, from another distribution, an entry point in the group ``openkith.encoders`` whose
object is called with ``weights=..., threads=...``, and with ``device=...`` and ``precision=...`` where it has
such parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
from openkith.encoders.weights.known_models import find_known
from openkith.errors import ConfigError

__all__ = ["ENCODERS", "Encoder", "encoder_names", "load_encoder", "torch_threads"]

FloatArray = npt.NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """A frozen speaker encoder.

    Attributes:
        name: The name that `load_encoder` knows it by.
        dim: Length d of an embedding.
        sample_rate: The rate of the audio it takes, in Hz.
        fingerprint: Architecture, front end and SHA-256 of the weights: two encoders of one fingerprint give
            the same embedding for the same audio, and embeddings of two fingerprints are never compared.
    """

    name: str
    dim: int
    sample_rate: int
    fingerprint: str

    def embed(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips, shape (len(clips), dim)."""
        ...

    def embed_windows(self, clip: Audio) -> tuple[npt.NDArray[np.float64], FloatArray]:
        """Embeddings of overlapping windows: start and end in seconds (w, 2), embeddings (w, dim)."""
        ...

    def frames(self, clip: Audio) -> tuple[FloatArray, npt.NDArray[np.float64]]:
        """Frame features (T, f) and the time of each frame's centre in seconds (T,)."""
        ...


#: Name to "module:class"; the module is imported when the encoder is asked for.
ENCODERS: dict[str, str] = {
    "ge2e": "openkith.encoders.networks.ge2e:GE2E",
    "wavlm": "openkith.encoders.networks.wavlm:WavLM",
    "eres2netv2": "openkith.encoders.networks.eres2net:ERes2NetV2",
    "eres2net": "openkith.encoders.networks.eres2net:ERes2Net",
    "resnet34": "openkith.encoders.networks.resnet:ResNet34",
    "resnet34-ns": "openkith.encoders.networks.resnet:ResNet34NS",
    "ecapa": "openkith.encoders.networks.ecapa:ECAPA",
    "resnetse34v2": "openkith.encoders.networks.resnetse:ResNetSE34V2",
    "campplus": "openkith.encoders.graphs.onnx:CAMPPlus",
    "onnx": "openkith.encoders.graphs.onnx:Onnx",
}
DEVICE = "auto"
PRECISION = "float32"
_ENTRY_POINTS = "openkith.encoders"
_X_VECTOR = "ForXVector"  # how transformers ends the names of its speaker networks

Factory = Callable[..., Encoder]


def encoder_names() -> list[str]:
    """Every encoder that can be loaded by name, sorted."""
    return sorted({*ENCODERS, *(point.name for point in entry_points(group=_ENTRY_POINTS))})


def load_encoder(
    name_or_path: str | Path = "ge2e",
    weights: str | Path | None = None,
    device: str = DEVICE,
    precision: str = PRECISION,
    threads: int | None = None,
) -> Encoder:
    """Load an encoder, fetching its weights where they are not on this machine yet.

    Args:
        name_or_path: One of `encoder_names`; a published model that ``kith models list`` shows; an ``.onnx`` file;
            or a folder of transformers with an x-vector network (WavLM, wav2vec 2.0, UniSpeech-SAT ...).
        weights: Instead of the published ones: a local file or folder, the id of a model on Hugging Face
            (``"owner/name"``) or ModelScope (``"modelscope:owner/name"``), or a URL. See
            `openkith.encoders.weights.sources.fetch`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        precision: ``"float32"``, or ``"bfloat16"``, which is faster where the processor has it, and less exact.
        threads: Torch threads that embedding may use; default: torch's own, one per physical core.

    Raises:
        ConfigError: No such encoder, a third party's that cannot be imported or lacks a choice that was made,
            ``threads`` below 1, or a device or precision that is not there.
        WeightsError: The weights cannot be had, are damaged, or are those of another network.
        MissingDependencyError: The encoder needs an extra that is not installed.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out for one per physical core")
    name, own_weights = _find(name_or_path)
    if isinstance(own_weights, Path) and weights is not None:
        raise ConfigError(f"weights is {str(weights)!r}, but {own_weights} has its own; give one of the two")
    factory = _factory(name)
    chosen = {
        choice: value
        for choice, value, usual in (("device", device, DEVICE), ("precision", precision, PRECISION))
        if value != usual
    }
    accepted = signature(factory).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in accepted.values()):
        for choice in chosen:
            if choice not in accepted:
                raise ConfigError(f"encoder {name!r} has no choice of {choice}; leave it out")
    return factory(weights=own_weights if weights is None else weights, threads=threads, **chosen)


def _find(name_or_path: str | Path) -> tuple[str, str | Path | None]:
    """The registered name of an encoder, and the weights that what was asked for stands for."""
    asked = str(name_or_path)
    if asked in encoder_names():
        return asked, None
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() == ".onnx":
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; give an .onnx file of a speaker model")
        return "onnx", path
    if (path / "config.json").is_file():
        if any(name.endswith(_X_VECTOR) for name in _architectures(path / "config.json")):
            return "wavlm", path
        raise ConfigError(
            f"{path}: its config.json names no x-vector network (architectures: ...{_X_VECTOR})"
        )
    known = find_known(asked)
    if known is not None:
        return known.encoder, known.weights
    raise ConfigError(
        f"no encoder is named {asked!r}; there are: {', '.join(encoder_names())}; "
        f"a name that kith models list shows, an .onnx file, or a transformers folder does as well"
    )


def _architectures(config: Path) -> list[str]:
    try:
        content: Any = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config}: not readable as JSON ({error})") from error
    named = content.get("architectures") if isinstance(content, dict) else None
    return [str(name) for name in named] if isinstance(named, list) else []


def _factory(name: str) -> Factory:
    if name in ENCODERS:
        module, _, attribute = ENCODERS[name].partition(":")
        factory: Factory = getattr(import_module(module), attribute)
        return factory
    [point] = [point for point in entry_points(group=_ENTRY_POINTS) if point.name == name][:1]
    try:
        factory = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"encoder {name!r} is installed but broken ({error}); update its package"
        ) from error
    return factory


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use this many threads inside the block, and as many as before after it."""
    import torch

    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
