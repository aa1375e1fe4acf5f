"""Any speaker model as an ONNX file: those of WeSpeaker, 3D-Speaker, sherpa-onnx (NeMo too), and our own exports.

onnxruntime computes; torch is not needed, and not imported. What the graph wants to see is read from its metadata
where it has them, else from the names and shapes of its inputs; see
`openkith.encoders.graphs.onnx_graph.read_front_end`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio
from openkith.encoders.base import FloatArray
from openkith.encoders.front_ends import FrontEnd
from openkith.encoders.graphs.onnx_graph import (
    ARRANGE,
    FEWEST_SAMPLES,
    LENGTH_TYPES,
    TYPES,
    Tensor,
    find_embedding,
    find_input,
    read_bands,
    read_front_end,
    read_layout,
    read_number,
)
from openkith.encoders.pieces import PieceEncoder
from openkith.encoders.weights.sources import fetch_checkpoint
from openkith.errors import ConfigError, WeightsError, require

__all__ = ["CAMPPlus", "Onnx"]

USUAL_FEWEST_SAMPLES = 1840  # ten frames
WEIGHTS_BESIDE = ("{}.data", "{}_data")  # where a graph above 2 GB keeps its tensors


class Onnx(PieceEncoder):
    """A speaker model as an ONNX graph.

    The graph takes features (batch, T, bands), (batch, bands, T) or (T, bands), or samples (batch, n), (batch, 1, n)
    or (n,), and perhaps their length. What it wants of them is found by
    `openkith.encoders.graphs.onnx_graph.read_front_end`, and any of it can be said by keyword instead. Clips of equal
    length are computed together where the batch dimension of input and output is free, else one by one. Clips longer
    than 60 s, short clips and windows: see `PieceEncoder`.

    Args:
        weights: The .onnx file, a folder that has one, or a source that `openkith.encoders.weights.sources.fetch`
            knows.
        device: ``"auto"`` (cuda where this onnxruntime has it, else cpu), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or
            ``"mps"``, by CoreML.
        precision: Only ``"float32"``: the numbers that the graph computes in are its own.
        threads: Threads of one operator; default: onnxruntime's own, one per physical core.
        front_end: A name of `openkith.encoders.front_ends.FRONT_ENDS`, instead of what would be found.
        window, scale, subtract_mean: Options of the front end instead of those that would be found.
        output: Name of the output that is the embedding; default: the one that is named like one, or has the rank.

    Attributes:
        front_end: What is computed from a clip outside the graph.
        session: onnxruntime's.

    Raises:
        ConfigError: No weights given; an unknown device, precision, option or output; threads below 1.
        MissingDependencyError: onnxruntime is not installed.
        WeightsError: No such file, not an ONNX graph, or one that takes or gives something else.
    """

    name = "onnx"
    sample_rate = SAMPLE_RATE
    published: ClassVar[str | None] = None
    batch_seconds: ClassVar[dict[str, float]] = {"cpu": 4.0, "cuda": 300.0, "mps": 100.0}

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        front_end: str | None = None,
        window: str | None = None,
        scale: float | None = None,
        subtract_mean: bool | None = None,
        output: str | None = None,
    ) -> None:
        if weights is None:
            weights = self.published
        if weights is None:
            raise ConfigError(
                f"encoder {self.name!r} has no weights of its own; give weights=, the path of an .onnx file"
            )
        if precision != "float32":
            raise ConfigError(
                f"precision is {precision!r}, but an ONNX graph has its own; leave it at float32"
            )
        if threads is not None and threads < 1:
            raise ConfigError(
                f"threads is {threads}; give 1 or more, or leave it out for one per physical core"
            )
        runtime = require("onnxruntime", "onnx", f"encoder {self.name!r}")
        path = fetch_checkpoint(weights, files=["*.onnx"])
        self.session, kind = _open(runtime, path, device, threads)
        metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        inputs, outputs = _tensors(self.session.get_inputs()), _tensors(self.session.get_outputs())
        self._input, self._lengths = find_input(inputs, path)
        self._output = find_embedding(outputs, output, metadata, path)
        if front_end is None:
            found = read_front_end(self._input, outputs, metadata, path)
        else:
            found = FrontEnd.with_bands(front_end, read_bands(self._input, metadata, path))
        self.front_end = self.features = found.but(window=window, scale=scale, subtract_mean=subtract_mean)
        self._layout = read_layout(self._input, self.front_end, metadata, path)
        self.fewest_samples = read_number(metadata, FEWEST_SAMPLES, path) or USUAL_FEWEST_SAMPLES
        free = self._layout[0] == "b" and self._input.fixed(0) is None and self._output.fixed(0) is None
        per_second = SAMPLE_RATE if self._layout.endswith("n") else 100
        self.batch_length = round(self.batch_seconds[kind] * per_second) if free else 0
        self.dim = self._try(path)
        self.fingerprint = f"onnx/{self.front_end.tag}/{_digest(path)[:32]}"

    def frames(self, clip: Audio) -> tuple[FloatArray, npt.NDArray[np.float64]]:  # noqa: ARG002
        """Not to be had: the graph gives one embedding of the whole clip.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"encoder {self.name!r} gives embeddings of whole clips and no frame features; "
            "use the encoder that the file was exported from"
        )

    def _run(self, features: FloatArray) -> FloatArray:
        fed = ARRANGE[self._layout](features)
        feeds: dict[str, Any] = {self._input.name: np.ascontiguousarray(fed, TYPES[self._input.type])}
        for length in self._lengths:
            shape = (len(features),) if length.shape else ()
            relative = length.type not in LENGTH_TYPES  # of the longest in the batch
            feeds[length.name] = (
                np.ones(shape, TYPES[length.type])
                if relative
                else np.full(shape, features.shape[1], LENGTH_TYPES[length.type])
            )
        try:
            (found,) = self.session.run([self._output.name], feeds)
        except Exception as error:  # onnxruntime has its own tree
            raise WeightsError(
                f"the ONNX graph cannot take {self._input.name} of shape {fed.shape} ({_reason(error)}); "
                "give a longer clip, or a graph with free dimensions"
            ) from error
        embeddings: FloatArray = np.asarray(found, np.float32).reshape(len(features), -1)
        return embeddings

    def _try(self, path: Path) -> int:
        """The length of an embedding, by that of a second of noise."""
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * np.float32(0.1)
        embedding = self._run(self._features(noise)[None])
        if not np.isfinite(embedding).all():
            raise WeightsError(f"{path}: it gives an embedding that is not finite; give another file")
        return int(embedding.shape[1])


class CAMPPlus(Onnx):
    """CAM++ (Wang et al., Interspeech 2023) as an ONNX file: WeSpeaker's, trained on VoxCeleb, 512-d.

    Args:
        weights: Another .onnx file of it, of WeSpeaker, 3D-Speaker or sherpa-onnx; default: the published one.
        device, precision, threads, front_end, window, scale, subtract_mean, output: See `Onnx`.

    Raises:
        ConfigError, MissingDependencyError, WeightsError: See `Onnx`.
    """

    name = "campplus"
    published = "Wespeaker/wespeaker-voxceleb-campplus"


def _open(runtime: Any, path: Path, device: str, threads: int | None) -> tuple[Any, str]:
    """A session, and the type of device that it runs on."""
    kind, _, number = device.partition(":")
    there = runtime.get_available_providers()
    known = {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "mps": "CoreMLExecutionProvider",
    }
    if kind == "auto":
        kind = "cuda" if known["cuda"] in there else "cpu"
    usable = [name for name, provider in known.items() if provider in there]
    if kind not in usable or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(
            f"device is {device!r}, which this onnxruntime has not; there is: {', '.join(usable)}"
        )
    # Without the shortened float32 of CUDA, whose embeddings differ in the third digit.
    options = {"device_id": number or "0", "use_tf32": "0"} if kind == "cuda" else {}
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads or 0
    providers = [(known[kind], options), *([] if kind == "cpu" else [known["cpu"]])]
    try:
        session = runtime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime has its own tree
        raise WeightsError(f"{path}: not a graph that onnxruntime can run ({_reason(error)})") from error
    if session.get_providers()[0] != known[kind]:
        if device != "auto":
            raise ConfigError(f"device is {device!r}, which onnxruntime cannot start; there is: cpu")
        kind = "cpu"
    return session, kind


def _tensors(nodes: Sequence[Any]) -> list[Tensor]:
    return [Tensor(node.name, node.type, tuple(node.shape)) for node in nodes]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _digest(path: Path) -> str:
    """SHA-256 of the file, and of the tensors that lie beside it."""
    digest = hashlib.sha256()
    beside = [path.with_name(pattern.format(path.name)) for pattern in WEIGHTS_BESIDE]
    for file in [path, *(other for other in beside if other.is_file())]:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
