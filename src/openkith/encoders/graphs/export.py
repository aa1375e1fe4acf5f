"""A torch encoder as an ONNX file, checked against the encoder before it gets its name.

What stands in the file: of GE2E everything from the samples of a clip to its embedding; of WavLM and its kin the same;
of encoders on frame features the network, with the front end by name in the metadata, so that
`openkith.encoders.graphs.onnx.Onnx` computes it outside torch. The embedding is L2-normalised. Batch and time are free.
"""

from __future__ import annotations

import copy
import inspect
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openkith.audio import SAMPLE_RATE, Audio
from openkith.encoders.base import Encoder
from openkith.encoders.front_ends import INT16_SCALE, FrontEnd
from openkith.encoders.graphs.ge2e_graph import ge2e_proto
from openkith.encoders.graphs.onnx import Onnx
from openkith.encoders.graphs.onnx_graph import FEWEST_SAMPLES, FRONT_END, OPTIONS
from openkith.encoders.networks.ge2e import GE2E
from openkith.encoders.networks.network import NetworkEncoder
from openkith.errors import ConfigError, MissingDependencyError, WeightsError, require

__all__ = ["TOLERANCE", "ExportReport", "export_onnx"]

TOLERANCE = 1e-4  # of the cosine distance between the encoder and its export
OUTPUT = "embs"
CLIP_SECONDS = (0.15, 0.7, 1.0, 1.6, 1.61, 2.5, 2.5, 4.0, 7.3)  # two alike, so that a batch is checked too
NOISY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how near it comes.

    Attributes:
        path: The file.
        max_cosine_distance: Between encoder and export, the largest over the clips of the check.
        tolerance: What it may be.
        clips: Number of clips of the check.
        front_end: What the graph wants to see of a clip, by name and options.
        size: Of the file in bytes.
    """

    path: Path
    max_cosine_distance: float
    tolerance: float
    clips: int
    front_end: str
    size: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.path}: {self.size / 1e6:.1f} MB, takes {self.front_end}; max cosine distance "
            f"{self.max_cosine_distance:.1e} over {self.clips} clips (limit {self.tolerance:g})"
        )


@dataclass(frozen=True)
class _Graph:
    """An ONNX model from features or samples to normalised embeddings (b, dim), and what it wants to see of a clip."""

    proto: Any
    front_end: FrontEnd
    fewest_samples: int


def export_onnx(encoder: Encoder, path: str | Path, *, tolerance: float = TOLERANCE) -> ExportReport:
    """Write an encoder as ONNX, load it again, and compare the two on clips of several lengths.

    Clips above 60 s are cut in pieces by an exported encoder. So they are by all encoders here but GE2E, whose windows
    go through the whole clip, so that its embeddings of such clips differ a little from those of its export.

    Args:
        encoder: One of this package on torch, in float32.
        path: Where to write it, with the suffix .onnx; an older file of that name is replaced.
        tolerance: The largest cosine distance between an embedding of the encoder and one of the file.

    Returns:
        The largest distance found, and more.

    Raises:
        ConfigError: An encoder that has no export, or that is not in float32; another suffix; a tolerance that is not
            positive.
        MissingDependencyError: The extra ``export`` is not installed.
        WeightsError: The file cannot be written, or the distance is above the tolerance; then nothing is left of it.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"{path}: an ONNX file ends in .onnx; give such a name")
    if not 0.0 < tolerance < 1.0:
        raise ConfigError(f"tolerance is {tolerance}; give a cosine distance above 0, such as {TOLERANCE:g}")
    precision = getattr(encoder, "precision", "float32")
    if precision != "float32":
        raise ConfigError(f"the encoder is in {precision}; load it in float32 to export it")
    make = next((make for kind, make in _MAKERS.items() if isinstance(encoder, kind)), None)
    if make is None:
        raise ConfigError(
            f"encoder {encoder.name!r} has no export to ONNX; give one of this package on torch"
        )
    require("onnx", "export", "exporting to ONNX")
    require("onnxscript", "export", "exporting to ONNX")
    require("onnxruntime", "export", "exporting to ONNX")
    graph = make(encoder)
    _describe(encoder, graph)
    partial: Path | None = None
    try:
        partial = _write(graph.proto, path)
        distance = _distance(encoder, Onnx(partial, device="cpu"))
        if not distance <= tolerance:
            raise WeightsError(
                f"{path}: not exported, since embeddings differ by a cosine distance of {distance:.2e}, "
                f"above {tolerance:g}; try another version of torch, or use the encoder itself"
            )
        size = partial.stat().st_size
        partial.replace(path)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return ExportReport(path, distance, tolerance, len(CLIP_SECONDS), graph.front_end.tag, size)


def _write(proto: Any, path: Path) -> Path:
    """The model under a temporary name beside ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.stem}-", suffix=".partial", delete=False
        ) as file:
            partial = Path(file.name)
            try:
                file.write(proto.SerializeToString())
            except OSError:
                partial.unlink(missing_ok=True)
                raise
        partial.chmod(0o644)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be written ({error.strerror or error}); give another folder"
        ) from error
    return partial


def _distance(encoder: Encoder, exported: Onnx) -> float:
    """The largest cosine distance between embeddings of seeded clips; infinite where one is no number."""
    clips = _check_clips()
    ours, theirs = (each.embed(clips).astype(np.float64) for each in (encoder, exported))
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return math.inf
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(np.max(1.0 - np.sum(ours * theirs, axis=1) / np.maximum(norms, 1e-12)))


def _check_clips() -> list[Audio]:
    """Voices: harmonics of a wandering pitch through three formants, a little noise, syllables; loud and soft."""
    clips = []
    for number, seconds in enumerate(CLIP_SECONDS):
        rng = np.random.default_rng([4, number])
        t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        pitch, formants = rng.uniform(90, 250), rng.uniform([300, 900, 2000], [800, 1900, 3200])
        phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.05 * np.sin(2 * np.pi * 3 * t))) / SAMPLE_RATE
        voice = np.zeros_like(t)
        for k in range(1, int(7000 / pitch)):
            level = np.exp(-0.5 * ((k * pitch - formants) / 150) ** 2).sum() + 0.01
            voice += level * np.sin(k * phase + rng.uniform(0, 6))
        voice *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t + rng.uniform(0, 6))
        voice += 0.02 * np.abs(voice).max() * rng.standard_normal(len(t))
        samples = rng.choice([0.02, 0.1, 0.6]) * voice / np.abs(voice).max()
        clips.append(Audio(samples.astype(np.float32), f"<check {number}>"))
    return clips


def _trace(module: torch.nn.Module, example: torch.Tensor, name: str, time: str, fewest: int) -> Any:
    """The ONNX model of a module, with free axes for batch and time.

    Args:
        module: ``example`` to embeddings (b, dim).
        example: Features (b, T, f) or samples (b, n).
        name: Of the input.
        time: Of its second axis.
        fewest: The least that axis may be.
    """
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise MissingDependencyError("exporting to ONNX needs torch 2.5 or newer: pip install -U torch")
    axes = {
        0: torch.export.Dim("batch", min=1, max=4096),
        1: torch.export.Dim(time, min=fewest, max=1 << 26),
    }
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=[name],
                output_names=[OUTPUT],
                dynamic_shapes=(axes,),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"torch cannot export this encoder ({reason}); try another version of torch"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says to those who develop it."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _describe(encoder: Encoder, graph: _Graph) -> None:
    """Metadata: ours, and those by which sherpa-onnx knows a model on Kaldi's features."""
    metadata = {
        FRONT_END: graph.front_end.name,
        OPTIONS: json.dumps(graph.front_end.options, sort_keys=True),
        FEWEST_SAMPLES: graph.fewest_samples,
        "openkith_encoder": encoder.name,
        "openkith_fingerprint": encoder.fingerprint,
        "sample_rate": SAMPLE_RATE,
        "output_dim": encoder.dim,
    }
    if graph.front_end.name == "kaldi-fbank":
        options = graph.front_end.options
        full_scale = options["scale"] == INT16_SCALE
        metadata |= {
            "framework": "wespeaker" if full_scale else "3d-speaker",
            "language": "unknown",
            "normalize_samples": 0 if full_scale else 1,
            "feature_normalize_type": "global-mean" if options["subtract_mean"] else "none",
            "window_type": options["window"],
            "feat_dim": options["n_mels"],
        }
    for key, value in metadata.items():
        entry = graph.proto.metadata_props.add()
        entry.key, entry.value = key, str(value)


class _Normalised(torch.nn.Module):
    """A network with the L2 norm after it, and for samples the normalisation of the clip before it."""

    def __init__(self, network: torch.nn.Module, unit_variance: bool = False) -> None:
        super().__init__()
        self.network = network
        self.unit_variance = unit_variance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (b, T, f) or samples (b, n) to embeddings (b, dim)."""
        if self.unit_variance:
            x = x - x.mean(dim=1, keepdim=True)
            x = x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-7)
        return torch.nn.functional.normalize(self.network(x), dim=1)


def _network_graph(encoder: NetworkEncoder) -> _Graph:
    """The network of an encoder on features, or on samples."""
    front_end = FrontEnd.of(encoder.features)
    if front_end is None:
        raise ConfigError(
            f"encoder {encoder.name!r} has features of its own, which no metadata can name; no export"
        )
    network = copy.deepcopy(encoder.network).to("cpu", torch.float32)
    samples = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * np.float32(0.1)
    fewest_samples = encoder.fewest_samples
    fewest = len(encoder.features(samples[:fewest_samples]))
    example = torch.from_numpy(np.stack([encoder.features(samples)] * 2))
    if front_end.name != "waveform":
        proto = _trace(_Normalised(network), example, "feats", "frames", fewest)
        return _Graph(proto, front_end, fewest_samples)
    module = _Normalised(network, bool(front_end.options["unit_variance"]))
    return _Graph(
        _trace(module, example, "waveform", "samples", fewest), FrontEnd("waveform"), fewest_samples
    )


def _ge2e_graph(encoder: GE2E) -> _Graph:
    """All of GE2E's plain view."""
    return _Graph(ge2e_proto(encoder), FrontEnd("waveform"), 1)


_MAKERS: dict[type, Callable[[Any], _Graph]] = {GE2E: _ge2e_graph, NetworkEncoder: _network_graph}
