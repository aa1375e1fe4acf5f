"""ONNX speaker models: front ends found and overridden, layouts, batches, errors; graphs written for the test."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import Encoder, encoder_names, load_encoder
from openkith.encoders.front_ends import FrontEnd
from openkith.encoders.graphs.onnx import CAMPPlus, Onnx
from openkith.encoders.weights import sources as sources_module
from openkith.errors import ConfigError, KithError, WeightsError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RATE = 16_000
DIM = 6
WESPEAKER = partial(kaldi_fbank, window="hamming", scale=32768.0)
THREE_D_SPEAKER = kaldi_fbank


def clip(seconds: float, seed: int = 0) -> Audio:
    """Noise whose spectrum and level wander."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    x = np.sin(2 * np.pi * t * rng.uniform(100, 3000, (4, 1)) + rng.uniform(0, 6, (4, 1))).sum(axis=0)
    x = x * (1 + 0.8 * np.sin(2 * np.pi * t * rng.uniform(0.5, 2))) + 0.3 * rng.standard_normal(n)
    return Audio((0.05 * x).astype(np.float32), "<test>")


def projection(bands: int) -> NDArray[np.float32]:
    return np.random.default_rng(bands).standard_normal((bands, DIM)).astype(np.float32)


def embed_by_definition(features: NDArray[Any]) -> NDArray[np.float64]:
    """What the graphs of `write` compute: mean square of each band, projected; of unit length."""
    bands = np.mean(np.square(np.asarray(features, np.float64)), axis=0, keepdims=features.ndim == 1)
    embedding = np.tanh(bands @ projection(len(bands)) * 0.1)
    result: NDArray[np.float64] = embedding / np.linalg.norm(embedding)
    return result


def write(
    path: Path,
    name: str = "feats",
    shape: tuple[int | str | None, ...] = ("B", "T", 80),
    *,
    output: str = "embs",
    metadata: dict[str, object] | None = None,
    rows: int | str = "B",
    time_axis: int = 1,
    bands: int | None = 80,
    extra_inputs: tuple[tuple[str, int, tuple[str, ...]], ...] = (),
    extra_outputs: tuple[tuple[str, int], ...] = (),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A graph: mean square over ``time_axis``, times a matrix (bands, 6), tanh."""
    nodes = [
        helper.make_node("Cast", [name], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "as_float"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["bands_any"], axes=[time_axis], keepdims=0),
        helper.make_node("Reshape", ["bands_any", "by_row"], ["bands"]),
        helper.make_node("MatMul", ["bands", "matrix"], ["projected"]),
        helper.make_node("Mul", ["projected", "tenth"], ["small"]),
        helper.make_node("Tanh", ["small"], ["embedding_out"]),
        helper.make_node("Cast", ["embedding_out"], [output], to=kind),
    ]
    outputs = [helper.make_tensor_value_info(output, kind, [rows, DIM])]
    for other, size in extra_outputs:
        nodes.append(helper.make_node("MatMul", ["bands", f"matrix_{other}"], [other]))
        outputs.insert(0, helper.make_tensor_value_info(other, TensorProto.FLOAT, [rows, size]))
    inputs = [helper.make_tensor_value_info(name, kind, list(shape))]
    for other, other_kind, other_shape in extra_inputs:
        inputs.append(helper.make_tensor_value_info(other, other_kind, list(other_shape)))
    if extra_inputs:  # a length: the squares beyond it are not summed, and the sum is divided by it
        length, length_kind, _ = extra_inputs[0]
        if length_kind == TensorProto.FLOAT:
            nodes.append(helper.make_node("Reshape", [length, "column"], ["lengths"]))
            nodes[4] = helper.make_node("MatMul", ["bands_by_length", "matrix"], ["projected"])
            nodes.insert(4, helper.make_node("Mul", ["bands", "lengths"], ["bands_by_length"]))
            nodes.insert(4, nodes.pop())
        else:
            nodes[2] = helper.make_node("ReduceSum", ["squares", "time"], ["bands_any"], keepdims=0)
            nodes[4] = helper.make_node("MatMul", ["bands_by_length", "matrix"], ["projected"])
            nodes.insert(4, helper.make_node("Div", ["bands", "lengths"], ["bands_by_length"]))
            nodes.insert(4, helper.make_node("Reshape", ["float_length", "column"], ["lengths"]))
            nodes.insert(4, helper.make_node("Cast", [length], ["float_length"], to=TensorProto.FLOAT))
    size = bands or 1
    constants: dict[str, NDArray[Any]] = {
        "matrix": projection(size),
        "by_row": np.array([-1, size]),
        "tenth": np.float32(0.1),
        "column": np.array([-1, 1]),
        "time": np.array([time_axis]),
        **{f"matrix_{other}": np.ones((size, n), np.float32) for other, n in extra_outputs},
    }
    used = {text for node in nodes for text in node.input}
    initializers = [numpy_helper.from_array(v, k) for k, v in constants.items() if k in used]
    graph = helper.make_graph(nodes, "speaker", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())
    return path


def assert_same(encoder: Onnx, features: Any, *, seconds: float = 1.3) -> None:
    found = encoder.embed([clip(seconds)])[0]
    np.testing.assert_allclose(found, embed_by_definition(features(clip(seconds).samples)), atol=2e-5)


class Counted:
    """A session that remembers the shapes that it was run on."""

    def __init__(self, session: Any) -> None:
        self.session, self.shapes = session, list[tuple[int, ...]]()

    def run(self, names: Any, feeds: dict[str, NDArray[Any]]) -> Any:
        self.shapes.append(next(iter(feeds.values())).shape)
        return self.session.run(names, feeds)


# Front ends.


def test_wespeaker_is_known_by_its_names(tmp_path: Path) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx"))
    assert (encoder.name, encoder.dim, encoder.sample_rate) == ("onnx", DIM, RATE)
    assert isinstance(encoder, Encoder)
    assert_same(encoder, WESPEAKER)


@pytest.mark.parametrize("name", ["feature", "x"])
def test_any_other_is_three_d_speakers(tmp_path: Path, name: str) -> None:
    assert_same(Onnx(write(tmp_path / "m.onnx", name, output="embedding")), THREE_D_SPEAKER)


SHERPA = {"framework": "3d-speaker", "sample_rate": 16000, "output_dim": DIM, "language": "English"}


@pytest.mark.parametrize(
    ("metadata", "features"),
    [
        (SHERPA | {"normalize_samples": 1, "feature_normalize_type": "global-mean"}, THREE_D_SPEAKER),
        (SHERPA | {"normalize_samples": 0}, partial(kaldi_fbank, scale=32768.0)),
        (SHERPA | {"feature_normalize_type": "none"}, partial(kaldi_fbank, subtract_mean=False)),
        (SHERPA | {"window_type": "hamming"}, partial(kaldi_fbank, window="hamming")),
        # WeSpeaker's models at sherpa-onnx say nothing of the mean, which WeSpeaker takes away.
        (SHERPA | {"framework": "wespeaker", "normalize_samples": 0}, WESPEAKER),
        (SHERPA | {"framework": "wespeaker", "normalize_features": 0}, WESPEAKER),
    ],
)
def test_metadata_of_sherpa_onnx(tmp_path: Path, metadata: dict[str, object], features: Any) -> None:
    assert_same(Onnx(write(tmp_path / "m.onnx", "x", output="embedding", metadata=metadata)), features)


def test_bands_of_the_graph_or_of_its_metadata(tmp_path: Path) -> None:
    features = partial(WESPEAKER, n_mels=40)
    assert_same(Onnx(write(tmp_path / "a.onnx", shape=("B", "T", 40), bands=40)), features)
    free = write(tmp_path / "b.onnx", shape=("B", "T", "F"), bands=40, metadata={"feat_dim": 40})
    assert_same(Onnx(free), features)


NEMO = {
    **{
        "framework": "nemo",
        "sample_rate": 16000,
        "output_dim": f"[{DIM}]",
        "feat_dim": 80,
        "language": "English",
    },
    **{
        "window_size_ms": 25,
        "window_stride_ms": 10,
        "window_type": "hann",
        "feature_normalize_type": "per_feature",
    },
}


def test_nemo_at_sherpa_onnx(tmp_path: Path) -> None:
    """Bands before time, their number in an extra input, class scores as a first output."""
    path = write(
        *(tmp_path / "m.onnx", "audio_signal", ("B", 80, "T")),
        **{"time_axis": 2, "metadata": NEMO, "extra_outputs": (("logits", 17),)},  # type: ignore[arg-type]
        extra_inputs=(("length", TensorProto.INT64, ("B",)),),
    )
    encoder = Onnx(path)
    assert encoder.dim == DIM
    # Unit variance of each band makes all mean squares one; without it they tell what the front end is.
    assert_same(encoder, FrontEnd("nemo-fbank"))
    path = write(
        *(tmp_path / "n.onnx", "audio_signal", ("B", 80, "T")),
        **{"time_axis": 2, "metadata": NEMO | {"feature_normalize_type": "NA"}},  # type: ignore[arg-type]
        extra_inputs=(("length", TensorProto.INT64, ("B",)),),
    )
    assert_same(Onnx(path), FrontEnd("nemo-fbank", {"per_feature": False}))


def test_keywords_override_what_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    changed = Onnx(path, window="povey", scale=2.0, subtract_mean=False)
    assert_same(changed, partial(kaldi_fbank, window="povey", scale=2.0, subtract_mean=False))
    assert changed.fingerprint != Onnx(path).fingerprint
    mel = Onnx(path, front_end="voxceleb-log-mel")
    assert_same(mel, FrontEnd("voxceleb-log-mel", {"n_mels": 80}))
    rows = write(tmp_path / "n.onnx", shape=("T", "F"), time_axis=0)
    assert_same(Onnx(rows, front_end="kaldi-fbank"), kaldi_fbank)
    with pytest.raises(ConfigError, match=r"window is 'kaiser'; give one of: povey, hamming"):
        Onnx(path, window="kaiser")
    with pytest.raises(ConfigError, match="front_end is 'mfcc'; give one of: kaldi-fbank"):
        Onnx(path, front_end="mfcc")
    with pytest.raises(ConfigError, match="front end voxceleb-log-mel has no option 'window'"):
        Onnx(path, front_end="voxceleb-log-mel", window="povey")


# Layouts.


@pytest.mark.parametrize(
    ("shape", "time_axis", "batch"),
    [((1, "T", 80), 1, 1), ((None, None, 80), 1, 3), (("T", 80), 0, 1), (("B", 80, "T"), 2, 3)],
)
def test_layouts_of_features(
    tmp_path: Path, shape: tuple[int | str | None, ...], time_axis: int, batch: int
) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx", shape=shape, time_axis=time_axis, rows="R"))
    assert_same(encoder, WESPEAKER)
    encoder.session = counted = Counted(encoder.session)
    encoder.embed([clip(1.2), clip(1.2, 1), clip(1.2, 2)])
    assert len(counted.shapes) == 3 // batch


@pytest.mark.parametrize(
    ("shape", "time_axis"), [(("B", "N"), 1), (("B", 1, "N"), 2), (("N",), 0), ((1, "N"), 1)]
)
def test_layouts_of_samples(tmp_path: Path, shape: tuple[int | str, ...], time_axis: int) -> None:
    path = write(tmp_path / "m.onnx", "wav", shape, time_axis=time_axis, bands=None, output="emb")
    encoder = Onnx(path)
    assert_same(encoder, lambda samples: samples)
    assert_same(Onnx(path, scale=3.0), lambda samples: 3.0 * samples)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT])
@pytest.mark.parametrize("rank", [0, 1])
def test_lengths(tmp_path: Path, kind: int, rank: int) -> None:
    """A whole number is that of frames; a fraction is one."""
    extra = ("feats_len", kind, ("B",)[:rank])
    encoder = Onnx(write(tmp_path / "m.onnx", extra_inputs=(extra,)))
    assert_same(encoder, WESPEAKER)
    pair = encoder.embed([clip(1.3), clip(1.3, 1)])
    np.testing.assert_allclose(pair[1], encoder.embed([clip(1.3, 1)])[0], atol=1e-6)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_of_the_graph(tmp_path: Path, kind: int) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx", "feature", kind=kind, output="e"))
    found = encoder.embed([clip(1.3)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], embed_by_definition(kaldi_fbank(clip(1.3).samples)), atol=2e-3)


def test_the_output_that_is_the_embedding(tmp_path: Path) -> None:
    both = {"extra_outputs": (("scores", 17),)}
    named = write(tmp_path / "a.onnx", output="Embedding", **both)  # type: ignore[arg-type]
    sized = write(tmp_path / "b.onnx", output="y", metadata={"output_dim": DIM}, **both)  # type: ignore[arg-type]
    unclear = write(tmp_path / "c.onnx", output="y", **both)  # type: ignore[arg-type]
    assert Onnx(named).dim == Onnx(sized).dim == Onnx(unclear, output="y").dim == DIM
    assert Onnx(named, output="scores").dim == 17
    with pytest.raises(WeightsError, match="its outputs are scores, y; give output="):
        Onnx(unclear)
    with pytest.raises(ConfigError, match=r"output is 'z'.* there are: scores, y"):
        Onnx(unclear, output="z")


# Clips.


def test_a_batch_is_the_same_as_one_by_one(tmp_path: Path) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx"))
    clips = [clip(seconds, seed) for seed, seconds in enumerate((1.0, 2.0, 1.0, 0.5, 1.0, 2.0))]
    encoder.session = counted = Counted(encoder.session)
    together = encoder.embed(clips)
    assert sorted(shape[0] for shape in counted.shapes) == [1, 2, 3]
    np.testing.assert_allclose(together, np.concatenate([encoder.embed([one]) for one in clips]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert encoder.embed([]).shape == (0, DIM)


def test_no_batch_holds_more_than_its_length(tmp_path: Path) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx"))
    encoder.session = counted = Counted(encoder.session)
    encoder.embed([clip(1.0, seed) for seed in range(7)])
    assert [shape[0] for shape in counted.shapes] == [4, 3]  # of 98 frames, 400 at most


# Loading.


def test_load_encoder_takes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    by_path, by_name = load_encoder(path), load_encoder("onnx", path)
    assert isinstance(by_path, Onnx)
    assert by_path.fingerprint == by_name.fingerprint
    assert Onnx(tmp_path).fingerprint == by_path.fingerprint  # the folder that has it


def test_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    first = Onnx(path).fingerprint
    assert first.startswith("onnx/kaldi-fbank(n_mels=80,scale=32768.0,subtract_mean=True,window=hamming)/")
    (tmp_path / "elsewhere.onnx").write_bytes(path.read_bytes())
    assert Onnx(tmp_path / "elsewhere.onnx", threads=1).fingerprint == first
    path.with_name("m.onnx.data").write_bytes(b"tensors of a large graph lie beside it")
    assert Onnx(path).fingerprint != first
    other = write(tmp_path / "other.onnx", metadata={"language": "English"})
    assert Onnx(other).fingerprint != first


def test_threads_are_those_of_the_session(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    assert Onnx(path, threads=2).session.get_session_options().intra_op_num_threads == 2
    assert Onnx(path).session.get_session_options().intra_op_num_threads == 0
    assert Onnx(path, device="cpu").session.get_providers() == ["CPUExecutionProvider"]


def test_campplus_is_wespeakers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "voxceleb_CAM++.onnx")
    asked = []

    def fetch(weights: object, *, files: list[str]) -> Path:
        asked.append((weights, files))
        return path

    monkeypatch.setattr(sources_module, "fetch", fetch)
    encoder = load_encoder("campplus")
    assert isinstance(encoder, CAMPPlus)
    assert encoder.name == "campplus"
    assert asked == [("Wespeaker/wespeaker-voxceleb-campplus", ["*.onnx"])]
    assert_same(encoder, WESPEAKER)
    assert {"campplus", "onnx"} <= set(encoder_names())


# Refusals: one line each, and what to do.


def refused(error: type[KithError], *args: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        Onnx(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_settings_that_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    assert "give weights=" in refused(ConfigError)
    assert "precision is 'bfloat16'" in refused(ConfigError, path, precision="bfloat16")
    assert "threads is 0" in refused(ConfigError, path, threads=0)
    for device in ("tpu", "cuda", "cuda:1", "cpu:1", "cuda:x"):
        assert f"device is {device!r}" in refused(ConfigError, path, device=device)


def test_files_that_are_refused(tmp_path: Path) -> None:
    assert "absent.onnx" in refused(WeightsError, tmp_path / "absent.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"not a graph")
    assert "noise.onnx: not a graph that onnxruntime can run" in refused(
        WeightsError, tmp_path / "noise.onnx"
    )
    write(tmp_path / "other.onnx")
    assert "2 checkpoints" in refused(WeightsError, tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"shape": (1, 200, 80)}, "takes clips of length 200 only"),
        ({"shape": (4, "T", 80)}, "takes 4 clips at a time only"),
        ({"shape": ("B", "C", "T", 80), "time_axis": 2}, r"has the shape \(B, C, T, 80\)"),
        ({"shape": (1, 48_000), "time_axis": 1, "bands": None}, "takes clips of length 48000 only"),
        (
            {"extra_inputs": (("mask", TensorProto.INT64, ("B", "T")),)},
            r"its inputs are feats \(B, T, 80\), mask",
        ),
        (
            {"metadata": {"sample_rate": 8000}},
            "sample_rate is 8000 in its metadata; give a model for 16000 Hz",
        ),
        ({"metadata": {"sample_rate": "high"}}, "sample_rate is 'high'"),
        ({"metadata": {"feat_dim": 64}}, "feat_dim is 64 in its metadata, but feats has 80 bands"),
        (
            {"metadata": {"feature_normalize_type": "global-std"}},
            "front end that is not known here .'global-std'",
        ),
        ({"metadata": {"normalize_samples": "2"}}, "front end that is not known here"),
        ({"metadata": {"openkith_front_end": "mfcc"}}, "front_end is 'mfcc'"),
        (
            {"metadata": {"openkith_front_end": "waveform", "openkith_front_end_options": "[1]"}},
            "not known here",
        ),
        (
            {"metadata": {"openkith_front_end": "waveform", "openkith_front_end_options": '{"scale": "x"}'}},
            "scale is 'x'",
        ),
        ({"metadata": {"window_type": "kaiser"}}, "window is 'kaiser'"),
    ],
)
def test_graphs_that_are_refused(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    path = write(tmp_path / "m.onnx", **options)
    with pytest.raises(KithError, match=expected) as caught:
        Onnx(path)
    assert "\n" not in str(caught.value)


def test_a_graph_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    model = onnx.load(write(tmp_path / "m.onnx"))
    matrix = next(tensor for tensor in model.graph.initializer if tensor.name == "matrix")
    matrix.CopyFrom(numpy_helper.from_array(np.full((80, DIM), np.nan, np.float32), "matrix"))
    onnx.save(model, tmp_path / "m.onnx")
    assert "not finite" in refused(WeightsError, tmp_path / "m.onnx")


def test_a_clip_that_the_graph_cannot_take(tmp_path: Path) -> None:
    """One error of this package, and no traceback of onnxruntime."""
    encoder = Onnx(write(tmp_path / "m.onnx"))
    encoder.features = partial(kaldi_fbank, n_mels=23)
    with pytest.raises(WeightsError, match=r"cannot take feats of shape \(1, 98, 23\)"):
        encoder.embed([clip(1.0)])


def test_frames_are_refused(tmp_path: Path) -> None:
    encoder = Onnx(write(tmp_path / "m.onnx"))
    with pytest.raises(
        ConfigError, match="encoder 'onnx' gives embeddings of whole clips and no frame features"
    ):
        encoder.frames(clip(1.0))


WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is not for this process")
sys.meta_path.insert(0, Blocker())
try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("torch can be imported after all")
import numpy as np
from openkith.audio import Audio
from openkith.encoders import load_encoder
encoder = load_encoder(sys.argv[1], threads=1)
samples = np.load(sys.argv[2])
np.save(sys.argv[3], encoder.embed([Audio(samples, "<test>")]))
assert "torch" not in sys.modules
"""


def embed_without_torch(model: Path, sound: Audio, folder: Path) -> NDArray[np.float32]:
    np.save(folder / "samples.npy", sound.samples)
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(model)]
    done = subprocess.run(
        [*command, str(folder / "samples.npy"), str(folder / "found.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: NDArray[np.float32] = np.load(folder / "found.npy")
    return found


def test_without_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx")
    np.testing.assert_array_equal(
        embed_without_torch(path, clip(1.3), tmp_path), Onnx(path, threads=1).embed([clip(1.3)])
    )
