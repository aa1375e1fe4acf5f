"""What an encoder is, and the registry of those that exist.

An encoder is a frozen foundation model: audio in, one embedding per clip out. Adding one is a class and a
line in `ENCODERS`, or, from another distribution, an entry point in the group ``openkith.encoders`` whose
object is called with ``weights=..., threads=...``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
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
ENCODERS: dict[str, str] = {"ge2e": "openkith.encoders.ge2e:GE2E"}
_ENTRY_POINTS = "openkith.encoders"


def encoder_names() -> list[str]:
    """Every encoder that can be loaded by name, sorted."""
    return sorted({*ENCODERS, *(point.name for point in entry_points(group=_ENTRY_POINTS))})


def load_encoder(
    name: str = "ge2e", weights: str | Path | None = None, threads: int | None = None
) -> Encoder:
    """Load an encoder, fetching its weights where they are not cached yet.

    Args:
        name: One of `encoder_names`.
        weights: A local file to take the weights from, instead of the published ones.
        threads: Torch threads that embedding may use; default: torch's own, one per physical core.

    Raises:
        ConfigError: No such encoder, a third party's that cannot be imported, or ``threads`` below 1.
        WeightsError: The weights cannot be had or are damaged.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out for one per physical core")
    factory: Callable[..., Encoder]
    if name in ENCODERS:
        module, _, attribute = ENCODERS[name].partition(":")
        factory = getattr(import_module(module), attribute)
    else:
        points = {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
        if name not in points:
            raise ConfigError(f"no encoder is named {name!r}; there are: {', '.join(encoder_names())}")
        try:
            factory = points[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"encoder {name!r} is installed but broken ({error}); update its package"
            ) from error
    return factory(weights=weights, threads=threads)


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
