"""Export to ONNX: what comes out embeds as the encoder does, on any length, without torch; or nothing comes out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import load_encoder
from openkith.encoders.front_ends import FrontEnd
from openkith.encoders.graphs import export as module
from openkith.encoders.graphs.export import TOLERANCE, ExportReport, export_onnx
from openkith.encoders.graphs.onnx import Onnx
from openkith.encoders.networks import ecapa, eres2net, resnet, resnetse
from openkith.encoders.networks.ge2e import GE2E
from openkith.encoders.networks.network import NetworkEncoder
from openkith.encoders.networks.wavlm import WavLM
from openkith.errors import ConfigError, KithError, WeightsError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RATE = 16_000
WESPEAKER = partial(kaldi_fbank, window="hamming", scale=32768.0)
SECONDS = (0.02, 0.2, 0.33, 1.0, 1.0, 1.0, 2.345, 5.0, 61.0)


def clip(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    x = np.sin(2 * np.pi * t * rng.uniform(100, 3000, (4, 1))).sum(axis=0) + 0.3 * rng.standard_normal(n)
    x *= 1 + 0.8 * np.sin(2 * np.pi * t * rng.uniform(0.5, 2))
    return Audio((rng.uniform(0.005, 0.2) * x).astype(np.float32), "<test>")


CLIPS = [clip(seconds, seed) for seed, seconds in enumerate(SECONDS)]


class _Small(torch.nn.Module):
    """A convolution, ReLU, mean and standard deviation over time, a linear layer."""

    def __init__(self, seed: int, bands: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv1d(bands, 16, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm1d(16)
        self.linear = torch.nn.Linear(32, 12)
        self.norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr, operator]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.norm(torch.relu(self.frames(features).transpose(1, 2)))
        result: torch.Tensor = self.linear(torch.cat([x.mean(2), x.std(2)], dim=1))
        return result

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(features.transpose(1, 2)).transpose(1, 2)
        return result


class Small(NetworkEncoder):
    name = "small"

    def __init__(self, features: Any = WESPEAKER, **options: Any) -> None:
        super().__init__(
            *(_Small(0, 80),),
            **{"features": features, "dim": 12, "fingerprint": "small/0", "device": "cpu", "threads": 1},
            **options,
        )


@pytest.fixture(scope="module")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Path, ExportReport]:
    encoder = Small()
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    return encoder, path, export_onnx(encoder, path)


def assert_same(encoder: Any, path: Path, clips: Sequence[Audio] = CLIPS) -> None:
    exported = load_encoder(path)
    assert isinstance(exported, Onnx)
    assert exported.dim == encoder.dim
    found, expected = exported.embed(clips), encoder.embed(clips)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # Clips are told apart, so that being the same says something.
    assert np.linalg.norm(expected[:, None] - expected, axis=2).max() > 0.1


def test_a_network_on_features(small_export: tuple[Small, Path, ExportReport]) -> None:
    encoder, path, report = small_export
    assert_same(encoder, path)
    assert report.path == path
    assert 0.0 <= report.max_cosine_distance < 1e-9
    assert (report.tolerance, report.clips, report.size) == (TOLERANCE, 9, path.stat().st_size)
    assert "max cosine distance" in str(report)
    assert [file.name for file in path.parent.iterdir()] == ["small.onnx"]


def test_windows_are_the_same(small_export: tuple[Small, Path, ExportReport]) -> None:
    encoder, path, _ = small_export
    for one in (clip(0.5), clip(4.2)):
        ours, theirs = encoder.embed_windows(one), Onnx(path).embed_windows(one)
        np.testing.assert_allclose(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], atol=2e-5)


def test_metadata_name_the_front_end(small_export: tuple[Small, Path, ExportReport]) -> None:
    _, path, report = small_export
    model = onnx.load(path)
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["openkith_front_end"] == "kaldi-fbank"
    assert metadata["openkith_encoder"] == "small"
    assert metadata["openkith_fingerprint"] == "small/0"
    # And in the words of sherpa-onnx.
    expected = {"framework": "wespeaker", "normalize_samples": "0", "feature_normalize_type": "global-mean"}
    expected |= {"sample_rate": "16000", "output_dim": "12", "feat_dim": "80", "window_type": "hamming"}
    assert {key: metadata[key] for key in expected} == expected
    assert Onnx(path).front_end == FrontEnd("kaldi-fbank", {"window": "hamming", "scale": 32768.0})
    assert report.front_end == Onnx(path).front_end.tag
    (given,) = model.graph.input
    assert [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim] == [
        "batch",
        "frames",
        80,
    ]


def test_sherpas_words_alone_are_enough(
    small_export: tuple[Small, Path, ExportReport], tmp_path: Path
) -> None:
    encoder, path, _ = small_export
    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if not entry.key.startswith("openkith")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "m.onnx")
    np.testing.assert_allclose(
        Onnx(tmp_path / "m.onnx").embed(CLIPS[3:6]), encoder.embed(CLIPS[3:6]), atol=2e-5
    )


def test_ge2e_from_samples_to_embedding(small: GE2E, tmp_path: Path) -> None:
    path = tmp_path / "ge2e.onnx"
    report = export_onnx(small, path)
    assert report.max_cosine_distance < 1e-8
    assert_same(small, path, CLIPS[:-1])
    assert Onnx(path).front_end == FrontEnd("waveform")


def test_the_published_ge2e(ge2e: GE2E, tmp_path: Path) -> None:
    export_onnx(ge2e, tmp_path / "ge2e.onnx")
    np.testing.assert_allclose(
        Onnx(tmp_path / "ge2e.onnx").embed(CLIPS[:-1]), ge2e.embed(CLIPS[:-1]), atol=2e-5
    )


WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript"):
            raise ImportError(f"{name} is not for this process")

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

clips = np.load(sys.argv[1])
clips = [Audio(clips[name], "<test>") for name in sorted(clips.files)]
for number, path in enumerate(sys.argv[3:]):
    np.save(f"{sys.argv[2]}/{number}.npy", load_encoder(path, threads=1).embed(clips))
assert "torch" not in sys.modules
"""


def test_without_torch(small: GE2E, small_export: tuple[Small, Path, ExportReport], tmp_path: Path) -> None:
    export_onnx(small, tmp_path / "ge2e.onnx")
    encoders = {tmp_path / "ge2e.onnx": small, small_export[1]: small_export[0]}
    clips = CLIPS[:-1]
    np.savez(tmp_path / "clips.npz", **{str(i): one.samples for i, one in enumerate(clips)})
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(tmp_path / "clips.npz"), str(tmp_path)]
    done = subprocess.run([*command, *map(str, encoders)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for number, encoder in enumerate(encoders.values()):
        np.testing.assert_allclose(np.load(tmp_path / f"{number}.npy"), encoder.embed(clips), atol=2e-5)


# Refusals, of which nothing is left.


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_distance_above_the_tolerance(small: GE2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ge2e.onnx"
    path.write_bytes(b"an older file")

    class Detuned(Onnx):
        """As if the export heard another clip."""

        def embed(self, clips: Sequence[Audio]) -> NDArray[np.float32]:
            return super().embed([*clips[1:], clips[0]])

    monkeypatch.setattr(module, "Onnx", Detuned)
    with pytest.raises(
        WeightsError, match=r"not exported, since embeddings differ by a cosine distance of .* 0\.0001"
    ):
        export_onnx(small, path)
    assert left(tmp_path) == ["ge2e.onnx"]
    assert path.read_bytes() == b"an older file"
    monkeypatch.undo()
    export_onnx(small, path, tolerance=1e-6)
    assert path.stat().st_size > 1_000_000


def test_embeddings_that_are_no_numbers(small: GE2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Onnx, clips: Sequence[Audio]) -> NDArray[np.float32]:
        return np.full((len(clips), self.dim), np.nan, np.float32)

    monkeypatch.setattr(Onnx, "embed", nothing)
    with pytest.raises(WeightsError, match="cosine distance of inf"):
        export_onnx(small, tmp_path / "ge2e.onnx")
    assert left(tmp_path) == []


class Foreign:
    name, dim, sample_rate, fingerprint = "foreign", 4, RATE, "foreign/1"


@pytest.mark.parametrize(
    ("make", "name", "options", "expected"),
    [
        (lambda small: small, "ge2e.pt", {}, "an ONNX file ends in .onnx"),
        (lambda small: small, "m.onnx", {"tolerance": 0.0}, "tolerance is 0.0"),
        (lambda small: small, "m.onnx", {"tolerance": float("nan")}, "tolerance is nan"),
        (lambda _: Foreign(), "m.onnx", {}, "encoder 'foreign' has no export to ONNX"),
        (
            lambda _: Small(precision="bfloat16"),
            "m.onnx",
            {},
            "the encoder is in bfloat16; load it in float32",
        ),
        (
            lambda _: Small(lambda samples: kaldi_fbank(samples)),
            "m.onnx",
            {},
            "encoder 'small' has features of its own",
        ),
    ],
)
def test_what_has_no_export(
    small: GE2E,
    tmp_path: Path,
    make: Callable[[GE2E], Any],
    name: str,
    options: dict[str, Any],
    expected: str,
) -> None:
    with pytest.raises(ConfigError, match=expected):
        export_onnx(make(small), tmp_path / name, **options)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_written(small: GE2E, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WeightsError, match="cannot be written"):
        export_onnx(small, tmp_path / "file" / "m.onnx")
    export_onnx(small, tmp_path / "new" / "folder" / "m.onnx")
    assert left(tmp_path / "new" / "folder") == ["m.onnx"]


def test_without_the_extra(small: GE2E, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(KithError, match=r"needs the package 'onnxscript': pip install 'openkith\[export\]'"):
        export_onnx(small, tmp_path / "m.onnx")


# Every architecture of this package, with random weights; torch's exporter takes a while over each.


def _wavlm(folder: Path) -> WavLM:
    transformers = pytest.importorskip("transformers")
    config = transformers.WavLMConfig(
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
        **{"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
        **{"tdnn_dim": (24, 24, 24, 24, 40), "xvector_output_dim": 20},
    )
    model = transformers.AutoModelForAudioXVector.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return WavLM(folder, device="cpu", threads=1)


def _with_random_weights(kind: type[NetworkEncoder], network: torch.nn.Module, prefix: str = "") -> Any:
    def make(folder: Path) -> Any:
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                part.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        state = {prefix + name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return kind(folder / "weights.safetensors", device="cpu", threads=1)  # type: ignore[call-arg, arg-type]

    return make


ARCHITECTURES: dict[str, Callable[[], Callable[[Path], Any]]] = {
    "wavlm": lambda: _wavlm,
    "resnet34": lambda: _with_random_weights(resnet.ResNet34, resnet._WeSpeakerNetwork(256, True)),
    "resnet34-ns": lambda: _with_random_weights(resnet.ResNet34NS, resnet.AttentiveResNet34(256)),
    "ecapa": lambda: _with_random_weights(
        ecapa.ECAPA, ecapa._Network(512, 1536, 192, context=True, last_norm=False)
    ),
    "resnetse34v2": lambda: _with_random_weights(resnetse.ResNetSE34V2, resnetse._Network(512), "__S__."),
    "eres2netv2": lambda: _with_random_weights(eres2net.ERes2NetV2, eres2net.ERes2NetV2Network()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ARCHITECTURES[name]()(tmp_path)
    path = tmp_path / "model.onnx"
    report = export_onnx(encoder, path)
    assert report.max_cosine_distance < 1e-6
    np.testing.assert_allclose(Onnx(path, threads=1).embed(CLIPS), encoder.embed(CLIPS), atol=1e-4)
