"""What an ONNX graph takes and gives: its inputs and outputs, their layout, and the front end before it.

Read from the names, types and shapes in the graph and from its metadata; see `read_front_end`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openkith.audio import SAMPLE_RATE
from openkith.encoders.base import FloatArray
from openkith.encoders.front_ends import INT16_SCALE, FrontEnd
from openkith.errors import ConfigError, WeightsError

__all__ = [
    "ARRANGE",
    "FEWEST_SAMPLES",
    "FRONT_END",
    "LENGTH_TYPES",
    "OPTIONS",
    "TYPES",
    "Tensor",
    "find_embedding",
    "find_input",
    "read_bands",
    "read_front_end",
    "read_layout",
    "read_number",
]

# Keys of the metadata that `openkith.encoders.graphs.export` writes.
FRONT_END = "openkith_front_end"
OPTIONS = "openkith_front_end_options"
FEWEST_SAMPLES = "openkith_fewest_samples"

USUAL_MELS = 80  # where neither the graph nor its metadata say
HIGHEST_MELS = 256  # a fixed last dimension up to here is a number of mel bands, not of samples
EMBEDDING_NAMES = ("embs", "embedding", "embeddings", "embed", "emb", "xvector")
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
LENGTH_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
TOOLKITS = {  # what they train on: framework in the metadata -> options of kaldi-fbank
    "wespeaker": {"window": "hamming", "scale": INT16_SCALE},
    "3d-speaker": {"window": "povey", "scale": 1.0},
}

# How features (b, T, f), or samples (b, n), are laid out for the graph: dimensions as in the graph.
ARRANGE: dict[str, Callable[[FloatArray], FloatArray]] = {
    "btf": lambda x: x,
    "bft": lambda x: x.swapaxes(1, 2),
    "tf": lambda x: x[0],
    "bn": lambda x: x,
    "b1n": lambda x: x[:, None],
    "n": lambda x: x[0],
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: In the graph.
        type: As onnxruntime writes it: ``"tensor(float)"``.
        shape: Numbers where a dimension is fixed, names or None where it is not.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...]

    def fixed(self, axis: int) -> int | None:
        """The size of a dimension; None where it is not fixed."""
        size = self.shape[axis]
        return size if isinstance(size, int) and size > 0 else None


def read_front_end(
    main: Tensor, outputs: Sequence[Tensor], metadata: Mapping[str, str], path: str | Path = "the ONNX graph"
) -> FrontEnd:
    """What a graph wants to see of a clip.

    By its metadata: our own (see `openkith.encoders.graphs.export`), or those of sherpa-onnx: ``framework``,
    ``normalize_samples`` (1: samples in [-1, 1]; 0: times 32768), ``feature_normalize_type``, ``window_type``,
    ``feat_dim``, ``sample_rate``. Where they say nothing:

    - An input of samples gets them as they are, in [-1, 1].
    - Features are Kaldi's, 80 bands unless the graph fixes another number, less their mean over the clip, which both
      toolkits take away although sherpa-onnx writes it for 3D-Speaker's only.
    - A graph whose input is named ``feats`` or one of whose outputs is ``embs``, as WeSpeaker names them, has
      WeSpeaker's front end: Hamming window, samples times 32768. Any other has 3D-Speaker's (where the input is named
      ``feature``, or ``x`` by sherpa-onnx): Povey's window, samples in [-1, 1].

    Args:
        main: The input that is no length.
        outputs: All outputs of the graph.
        metadata: Of the graph.
        path: For errors.

    Raises:
        WeightsError: The metadata ask for something else, or contradict the graph.
    """
    rate = read_number(metadata, "sample_rate", path) or SAMPLE_RATE
    if rate != SAMPLE_RATE:
        raise WeightsError(
            f"{path}: sample_rate is {rate} in its metadata; give a model for {SAMPLE_RATE} Hz"
        )
    try:
        if FRONT_END in metadata:
            return FrontEnd(metadata[FRONT_END], json.loads(metadata.get(OPTIONS, "{}")))
        if _is_waveform(main):
            return FrontEnd("waveform")
        framework = _framework(metadata)
        n_mels = read_bands(main, metadata, path)
        if framework == "nemo":
            return _nemo(metadata, n_mels, path)
        if framework not in TOOLKITS:
            theirs = main.name == "feats" or any(output.name == "embs" for output in outputs)
            framework = "wespeaker" if theirs else "3d-speaker"
        scale = {"0": INT16_SCALE, "1": 1.0, None: None}[metadata.get("normalize_samples")]
        mean = {"global-mean": True, "none": False, "": True}[metadata.get("feature_normalize_type", "")]
        usual = FrontEnd("kaldi-fbank", {"n_mels": n_mels, "subtract_mean": mean, **TOOLKITS[framework]})
        return usual.but(scale=scale, window=metadata.get("window_type"))
    except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise WeightsError(
            f"{path}: its metadata ask for a front end that is not known here ({error}); give a model of WeSpeaker, "
            "3D-Speaker, sherpa-onnx or openkith"
        ) from error


def _framework(metadata: Mapping[str, str]) -> str:
    return metadata.get("framework", "").lower()


def _nemo(metadata: Mapping[str, str], n_mels: int, path: str | Path) -> FrontEnd:
    normalised = {"per_feature": True, "": False, "NA": False}[metadata.get("feature_normalize_type", "")]
    return FrontEnd(
        "nemo-fbank",
        {
            "n_mels": n_mels,
            "window": metadata.get("window_type", "hann"),
            "frame_ms": read_number(metadata, "window_size_ms", path) or 25,
            "step_ms": read_number(metadata, "window_stride_ms", path) or 10,
            "per_feature": normalised,
        },
    )


def _is_waveform(main: Tensor) -> bool:
    rank = len(main.shape)
    bands = main.fixed(-1) if rank == 2 else None
    return rank == 1 or (rank == 2 and (bands is None or bands > HIGHEST_MELS)) or _has_channel(main)


def _has_channel(main: Tensor) -> bool:
    """Whether the shape is (b, 1, n)."""
    return len(main.shape) == 3 and main.fixed(1) == 1 and main.fixed(2) is None


def _bands_last(main: Tensor, metadata: Mapping[str, str]) -> bool:
    if len(main.shape) == 2 or main.fixed(-1) is not None:
        return True
    return main.fixed(1) is None and _framework(metadata) != "nemo"


def read_bands(main: Tensor, metadata: Mapping[str, str], path: str | Path) -> int:
    """Mel bands: of the graph, else of its metadata, else 80."""
    said = read_number(metadata, "feat_dim", path)
    fixed = main.fixed(-1 if _bands_last(main, metadata) else 1)
    if said is not None and fixed is not None and said != fixed:
        raise WeightsError(
            f"{path}: feat_dim is {said} in its metadata, but {main.name} has {fixed} bands; give an undamaged file"
        )
    return fixed or said or USUAL_MELS


def read_layout(main: Tensor, front_end: FrontEnd, metadata: Mapping[str, str], path: Path) -> str:
    """A key of `ARRANGE`: how the features of that front end are laid out in that input."""
    rank = len(main.shape)
    if front_end.name == "waveform":
        layout = {1: "n", 2: "bn", 3: "b1n"}.get(rank)
    elif _bands_last(main, metadata):
        layout = {2: "tf", 3: "btf"}.get(rank)
    else:
        layout = {3: "bft"}.get(rank)
    if layout is None:
        raise WeightsError(
            f"{path}: input {main.name} has the shape {_written(main)}; give a graph that takes features "
            "(batch, time, bands) or samples (batch, n)"
        )
    time = main.fixed(layout.index("n" if layout.endswith("n") else "t"))
    if time is not None:
        raise WeightsError(
            f"{path}: input {main.name} takes clips of length {time} only; export it with a dynamic time axis"
        )
    batch = main.fixed(0) if layout[0] == "b" else None
    if batch not in (None, 1):
        raise WeightsError(
            f"{path}: input {main.name} takes {batch} clips at a time only; export it with a dynamic batch axis"
        )
    return layout


def find_input(inputs: Sequence[Tensor], path: Path) -> tuple[Tensor, list[Tensor]]:
    """The input of features or samples, and those that take their length."""
    main = [tensor for tensor in inputs if tensor.type in TYPES and len(tensor.shape) >= 1]
    main = [tensor for tensor in main if "len" not in tensor.name.lower()] if len(main) > 1 else main
    lengths = [tensor for tensor in inputs if tensor not in main]
    odd = [t for t in lengths if len(t.shape) > 1 or t.type not in TYPES | LENGTH_TYPES]
    if len(main) != 1 or odd:
        listed = ", ".join(f"{tensor.name} {_written(tensor)}" for tensor in inputs)
        raise WeightsError(
            f"{path}: its inputs are {listed or 'none'}; give a graph that takes features or samples, "
            "and perhaps their length"
        )
    return main[0], lengths


def find_embedding(
    outputs: Sequence[Tensor], wanted: str | None, metadata: Mapping[str, str], path: Path
) -> Tensor:
    """The output that is the embedding: by name, by the dimension in the metadata, or the only one of rank 2."""
    names = ", ".join(tensor.name for tensor in outputs)
    if wanted is not None:
        found = [tensor for tensor in outputs if tensor.name == wanted]
        if not found:
            raise ConfigError(f"output is {wanted!r}, which {path} has not; there are: {names}")
        return found[0]
    usable = [tensor for tensor in outputs if tensor.type in TYPES]
    by_name = [tensor for name in EMBEDDING_NAMES for tensor in usable if tensor.name.lower() == name]
    dim = read_number(metadata, "output_dim", path)
    by_size = [tensor for tensor in usable if dim is not None and tensor.shape and tensor.fixed(-1) == dim]
    by_rank = [tensor for tensor in usable if len(tensor.shape) <= 2]
    for found in (by_name, by_size, usable if len(usable) == 1 else by_rank):
        if len(found) == 1 or (found and found is by_name):
            return found[0]
    raise WeightsError(f"{path}: its outputs are {names}; give output=, the name of the embedding")


def read_number(metadata: Mapping[str, str], key: str, path: str | Path) -> int | None:
    """A whole number in the metadata; None where they have not that key.

    Raises:
        WeightsError: It is no number.
    """
    if key not in metadata:
        return None
    try:
        return int(metadata[key].strip("[] "))  # NeMo writes a list of one
    except ValueError as error:
        raise WeightsError(
            f"{path}: {key} is {metadata[key]!r} in its metadata; give a whole number"
        ) from error


def _written(tensor: Tensor) -> str:
    return "(" + ", ".join(str(size) for size in tensor.shape) + ")"
