"""A trained enhancer: the embedding of one clip in, the embedding that many clips of the person would give out.

What happens to an embedding x, where the parts that an enhancer does not have are left out:

1. x is scaled to unit length.
2. The input mean is taken off, the rest multiplied by the input map and scaled to unit length again.
3. The network.
4. The output mean is taken off, and the rest is scaled to unit length.

Enrolment clips, probes and cohort all go through it, each by itself; then any back end compares them as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import ConfigError, EncoderMismatchError, InputError, KithError
from openkith.scoring.base import Arrays, normalise

if TYPE_CHECKING:
    import torch

__all__ = ["KIND", "WEIGHTS_FILE", "Enhancer", "NetSpec", "shipped_enhancer"]

KIND = "enhancer"
FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
SHIPPED = "shipped"  # the folder in this package, with a folder for each encoder
_NET = "net."  # before the names of the network's arrays in the file
_ROWS = 4096  # that go through the network at once


@dataclass(frozen=True)
class NetSpec:
    """Which network, so that it can be made again before its weights are there.

    Attributes:
        name: A key of `openkith.enhancement.nets.NETS`.
        dim: d, of the embeddings.
        activation: A key of `openkith.enhancement.nets.ACTIVATIONS`; None: the network's own.
        options: Other options of `openkith.enhancement.nets.build_net`, plain values.
    """

    name: str
    dim: int
    activation: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> torch.nn.Module:
        """The network with weights as they are before training.

        Raises:
            ConfigError: No such network or option.
        """
        from openkith.enhancement.nets import build_net

        return build_net(self.name, self.dim, self.activation, **self.options)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "dim": self.dim,
            "activation": self.activation,
            "options": dict(self.options),
        }


class Enhancer:
    """A transform of embeddings, for one encoder.

    Args:
        net: The trained network, or its arrays by the names of its state dict.
        spec: Which network it is.
        input_mean: (d,) taken off embeddings of unit length; None: the network gets them as they are.
        input_map: (d, d) which centred embeddings are multiplied by; None: none.
        output_mean: (d,) taken off what the network gives; None: nothing is.
        encoder: Fingerprint of the encoder whose embeddings it was trained on; "" where that is not known.
        info: Plain values that say how it was made: loss, corpus, licence.

    Attributes:
        spec, input_mean, input_map, output_mean, encoder, info: As given.
        weights: Arrays of the network, float32, by name.

    Raises:
        InputError: Shapes that do not belong together, or values that are not finite.

    Example:
        >>> enhancer = Enhancer.load("runs/v2-cs/enhancer")   # doctest: +SKIP
        >>> better = enhancer.transform(encoder.embed(clips))  # doctest: +SKIP
    """

    def __init__(
        self,
        net: torch.nn.Module | Mapping[str, npt.NDArray[Any]],
        spec: NetSpec,
        *,
        input_mean: npt.NDArray[Any] | None = None,
        input_map: npt.NDArray[Any] | None = None,
        output_mean: npt.NDArray[Any] | None = None,
        encoder: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.weights = _arrays_of(net)
        self.input_mean = _checked(input_mean, (spec.dim,), "input_mean")
        self.input_map = _checked(input_map, (spec.dim, spec.dim), "input_map")
        self.output_mean = _checked(output_mean, (spec.dim,), "output_mean")
        self.encoder = encoder
        self.info = dict(info or {})
        for name, array in self.weights.items():
            _checked(array, array.shape, name)

    @property
    def dim(self) -> int:
        """Length d of an embedding."""
        return self.spec.dim

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the network, its arrays and the means: ``enhancer:`` and 32 hexadecimal digits.

        Enhancers of one fingerprint give the same embeddings; what two of them gave is never compared.
        """
        digest = hashlib.sha256(json.dumps(self.spec.as_dict(), sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, np.float32).tobytes())
        return f"enhancer:{digest.hexdigest()[:32]}"

    def transform(self, embeddings: npt.ArrayLike) -> FloatArray:
        """Enhanced embeddings, each by itself.

        Args:
            embeddings: (..., d), of any length: (n, d), or (n, V, d) where each clip has V views.

        Returns:
            The same shape, float32, each of unit length.

        Raises:
            InputError: Another last axis than d, or values that are not finite.
        """
        given = np.asarray(embeddings)
        if given.ndim == 0 or given.shape[-1] != self.dim:
            raise InputError(
                f"enhancer: embeddings of shape {given.shape}; give (..., {self.dim}), as the encoder gives them"
            )
        rows = given.reshape(-1, self.dim)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise InputError(
                f"enhancer: embedding {int(np.argmin(finite))} has NaN or infinite values; leave that clip out"
            )
        out = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), _ROWS):
            out[start : start + _ROWS] = self._enhance(rows[start : start + _ROWS])
        return out.reshape(given.shape)

    def _enhance(self, rows: npt.NDArray[Any]) -> FloatArray:
        x = normalise(rows)
        if self.input_mean is not None:
            x = x - self.input_mean
        if self.input_map is not None:
            x = x @ self.input_map
        y = self._run(normalise(x))
        return normalise(y if self.output_mean is None else y - self.output_mean)

    def _run(self, x: FloatArray) -> FloatArray:
        """The network: (n, d) -> (n, d)."""
        if self.spec.name in _IN_NUMPY:
            return _IN_NUMPY[self.spec.name].run(self.weights, self.spec.activation or "relu", x)
        import torch

        with torch.inference_mode():
            return np.asarray(self._network(torch.from_numpy(np.ascontiguousarray(x))).numpy(), np.float32)

    @cached_property
    def _network(self) -> torch.nn.Module:
        import torch

        net = self.spec.build()
        net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in self.weights.items()})
        return net.eval()

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse an encoder whose embeddings it was not trained on.

        Raises:
            EncoderMismatchError: It is another one.
        """
        if self.encoder and self.encoder != encoder.fingerprint:
            raise EncoderMismatchError(
                f"an enhancer for the encoder {self.encoder}, and this is {encoder.fingerprint}; "
                "train one with: kith enhance train"
            )

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the enhancer as a folder; an earlier one there is replaced, and nothing is left half-written.

        Args:
            folder: Its folder, which is made.
            half: Store in half precision, at half the size; the enhancer that is read from it has another fingerprint
                unless all values fit.

        Raises:
            InputError: Something else is there, or the place cannot be written.
        """
        from safetensors.numpy import save_file

        config, arrays = self.state()
        dtype = np.float16 if half else np.float32
        arrays = {name: np.ascontiguousarray(array, dtype) for name, array in arrays.items()}
        write_artefact(folder, config, WEIGHTS_FILE, lambda path: save_file(arrays, path))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The enhancer that `save` wrote: the same embeddings, bit by bit, if not in half precision.

        Raises:
            InputError: There is no enhancer, it is damaged, or another version wrote it.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            enhancer = cls.restore(config, load_file(folder / WEIGHTS_FILE))
        except (
            KithError,
            SafetensorError,
            OSError,
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise InputError(
                f"{folder}: not an enhancer, or a damaged one ({reason}); give the folder that kith enhance train wrote"
            ) from error
        return enhancer

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Configuration (JSON) and arrays, from which `restore` makes the same enhancer."""
        config = {
            "kind": KIND,
            "format": FORMAT,
            "net": self.spec.as_dict(),
            "encoder": self.encoder,
            "info": self.info,
        }
        return config, self._arrays()

    @classmethod
    def restore(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The enhancer that `state` was taken of.

        Raises:
            ValueError, KeyError, TypeError, KithError: They are not those of an enhancer.
        """
        if (config["kind"], config["format"]) != (KIND, FORMAT):
            raise ValueError(f"{config['kind']} of format {config['format']}, not {KIND} of {FORMAT}")
        net = config["net"]
        spec = NetSpec(str(net["name"]), int(net["dim"]), net["activation"], dict(net["options"]))
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        enhancer = cls(
            {name.removeprefix(_NET): array for name, array in arrays.items() if name.startswith(_NET)},
            spec,
            input_mean=arrays.get("input_mean"),
            input_map=arrays.get("input_map"),
            output_mean=arrays.get("output_mean"),
            encoder=str(config["encoder"]),
            info=config.get("info"),
        )
        enhancer._check_weights()
        return enhancer

    def _check_weights(self) -> None:
        """Refuse arrays that are not those of the network.

        Raises:
            ValueError: Some are missing, unknown or of another shape.
        """
        if self.spec.name in _IN_NUMPY:
            wanted = _IN_NUMPY[self.spec.name].shapes(self.spec)
        else:
            wanted = {name: tuple(tensor.shape) for name, tensor in self.spec.build().state_dict().items()}
        given = {name: array.shape for name, array in self.weights.items()}
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        if wrong:
            raise ValueError(f"arrays that are not those of net {self.spec.name}: {', '.join(wrong[:3])}")

    def _arrays(self) -> Arrays:
        """All arrays, by the names that they have in the file."""
        own = {
            "input_mean": self.input_mean,
            "input_map": self.input_map,
            "output_mean": self.output_mean,
        }
        given = {name: array for name, array in own.items() if array is not None}
        return {**{_NET + name: array for name, array in self.weights.items()}, **given}


@dataclass(frozen=True)
class _InNumpy:
    """A network without torch: shapes of its arrays; and arrays, activation and embeddings (n, d) -> (n, d)."""

    shapes: Callable[[NetSpec], dict[str, tuple[int, ...]]]
    run: Callable[[Arrays, str, FloatArray], FloatArray]


def _residual_shapes(spec: NetSpec) -> dict[str, tuple[int, ...]]:
    d = spec.dim
    h = spec.options.get("hidden") or 2 * d
    return {
        "linear.weight": (d, d),
        "linear.bias": (d,),
        "hidden.weight": (h, d),
        "hidden.bias": (h,),
        "last.weight": (d, h),
        "last.bias": (d,),
    }


def _residual(weights: Arrays, activation: str, x: FloatArray) -> FloatArray:
    """What `openkith.enhancement.nets.Residual` gives, without torch."""
    hidden = _ACTIVATIONS[activation](x @ weights["hidden.weight"].T + weights["hidden.bias"])
    branch = hidden @ weights["last.weight"].T + weights["last.bias"]
    return np.asarray(x @ weights["linear.weight"].T + weights["linear.bias"] + branch, np.float32)


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, 0.0)


def _elu(x: FloatArray) -> FloatArray:
    return np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))


_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {"relu": _relu, "elu": _elu}
_IN_NUMPY: dict[str, _InNumpy] = {"residual": _InNumpy(_residual_shapes, _residual)}


def shipped_enhancer(encoder: Encoder) -> Enhancer:
    """The enhancer that ships for an encoder; ``tools/build_enhancer.py`` made it.

    Raises:
        ConfigError: None ships for this encoder as it is set.
    """
    enhancer = _shipped(encoder.name)
    if enhancer is None or enhancer.encoder != encoder.fingerprint:
        raise ConfigError(
            f"no enhancer ships for the encoder {encoder.name!r} as it is set; use load_encoder('ge2e'), or train one: "
            "kith enhance train"
        )
    return enhancer


@lru_cache(maxsize=1)
def _shipped(name: str) -> Enhancer | None:
    item = resources.files("openkith.enhancement").joinpath(SHIPPED, name)
    if not item.joinpath(CONFIG_FILE).is_file():
        return None
    with resources.as_file(item) as folder:
        return Enhancer.load(folder)


def _arrays_of(net: torch.nn.Module | Mapping[str, npt.NDArray[Any]]) -> Arrays:
    if isinstance(net, Mapping):
        return {name: np.asarray(array, np.float32) for name, array in net.items()}
    return {
        name: np.array(tensor.detach().cpu().numpy(), np.float32) for name, tensor in net.state_dict().items()
    }


def _checked(array: npt.NDArray[Any] | None, shape: tuple[int, ...], what: str) -> FloatArray | None:
    if array is None:
        return None
    checked = np.asarray(array, np.float32)
    if checked.shape != shape:
        raise InputError(f"enhancer: {what} is of shape {checked.shape}; give {shape}")
    if not np.isfinite(checked).all():
        raise InputError(
            f"enhancer: {what} has NaN or infinite values; train again with a lower learning rate"
        )
    return checked
