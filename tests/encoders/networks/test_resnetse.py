"""ResNetSE34V2, against a recomputation in float64 straight from state dicts of the VoxCeleb trainer's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from openkith.audio import Audio
from openkith.encoders import Encoder
from openkith.encoders.networks.resnetse import ResNetSE34V2, softmax_weights
from openkith.encoders.voxceleb_mel import normalised_log_mel
from openkith.errors import WeightsError

State = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

STAGES = [("layer1", 32, 3), ("layer2", 64, 4), ("layer3", 128, 6), ("layer4", 256, 3)]
SPEAKERS = 17


def norm(name: str, channels: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{key}": (channels,) for key in names}, f"{name}.num_batches_tracked": ()}


def affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def published() -> Shapes:
    shapes = affine("conv1", 32, 1, 3, 3) | norm("bn1", 32)
    inputs = 32
    for stage, outputs, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            shapes |= {
                f"{at}.conv1.weight": (outputs, inputs, 3, 3),
                f"{at}.conv2.weight": (outputs, outputs, 3, 3),
            }
            shapes |= norm(f"{at}.bn1", outputs) | norm(f"{at}.bn2", outputs)
            shapes |= affine(f"{at}.se.fc.0", outputs // 8, outputs) | affine(
                f"{at}.se.fc.2", outputs, outputs // 8
            )
            if inputs != outputs:
                shapes[f"{at}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    shapes |= (
        affine("attention.0", 128, 2048, 1) | norm("attention.2", 128) | affine("attention.3", 2048, 128, 1)
    )
    shapes |= affine("fc", 512, 4096)
    named = {f"__S__.{name}": shape for name, shape in shapes.items()}
    return (
        named
        | affine("__L__.softmax.fc", SPEAKERS, 512)
        | {"__L__.angleproto.w": (), "__L__.angleproto.b": ()}
    )


def mel_table(n_mels: int) -> torch.Tensor:
    top = 2595.0 * math.log10(1.0 + 8000.0 / 700.0)
    edges = [700.0 * (10.0 ** (top * k / (n_mels + 1) / 2595.0) - 1.0) for k in range(n_mels + 2)]
    table = torch.zeros(257, n_mels)
    for k in range(257):
        hertz = 8000.0 * k / 256.0
        for m in range(n_mels):
            low, peak, high = edges[m : m + 3]
            table[k, m] = max(0.0, min((hertz - low) / (peak - low), (high - hertz) / (high - peak)))
    return table


def random_state(seed: int = 1) -> State:
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in published().items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(seed + 5)
        elif kind == "running_var" or (kind == "weight" and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            size = (1.5 / int(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = size * torch.randn(shape, generator=generator)
    state["__S__.torchfb.0.flipped_filter"] = torch.tensor([[[-0.97, 1.0]]])
    state["__S__.torchfb.1.spectrogram.window"] = torch.hamming_window(400)
    state["__S__.torchfb.1.mel_scale.fb"] = mel_table(64)
    return state


def batch_norm(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(s[f"__S__.{name}.{key}"] for key in keys), eps=1e-5)


def frames_by_definition(s: State, features: NDArray[Any]) -> torch.Tensor:
    """Frames (2048, T/8), channel by channel; ReLU before the batch norm of each first convolution."""
    x = torch.from_numpy(features).double().T[None, None]
    x = batch_norm(
        s,
        "bn1",
        functional.relu(functional.conv2d(x, s["__S__.conv1.weight"], s["__S__.conv1.bias"], padding=1)),
    )
    for stage, _, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            stride = 2 if block == 0 and stage != "layer1" else 1
            passed = x
            if stride == 2:
                passed = functional.conv2d(x, s[f"__S__.{at}.downsample.0.weight"], stride=2)
                passed = batch_norm(s, f"{at}.downsample.1", passed)
            y = functional.relu(functional.conv2d(x, s[f"__S__.{at}.conv1.weight"], stride=stride, padding=1))
            y = functional.conv2d(batch_norm(s, f"{at}.bn1", y), s[f"__S__.{at}.conv2.weight"], padding=1)
            y = batch_norm(s, f"{at}.bn2", y)
            squeezed = functional.relu(
                functional.linear(
                    y.mean((2, 3)), s[f"__S__.{at}.se.fc.0.weight"], s[f"__S__.{at}.se.fc.0.bias"]
                )
            )
            scale = functional.linear(
                squeezed, s[f"__S__.{at}.se.fc.2.weight"], s[f"__S__.{at}.se.fc.2.bias"]
            )
            x = functional.relu(y * torch.sigmoid(scale)[..., None, None] + passed)
    assert x.shape[1:3] == (256, 8)
    return torch.stack([x[0, c, f] for c in range(256) for f in range(8)])


def raw_embedding_by_definition(s: State, features: NDArray[Any]) -> torch.Tensor:
    frames = frames_by_definition(s, features)[None]
    hidden = functional.relu(
        functional.conv1d(frames, s["__S__.attention.0.weight"], s["__S__.attention.0.bias"])
    )
    hidden = batch_norm(s, "attention.2", hidden)
    scores = functional.conv1d(hidden, s["__S__.attention.3.weight"], s["__S__.attention.3.bias"])
    weights = torch.exp(scores) / torch.exp(scores).sum(2, keepdim=True)
    mean = (frames * weights).sum(2)
    std = ((frames**2 * weights).sum(2) - mean**2).clamp(min=1e-5).sqrt()
    return functional.linear(torch.cat([mean, std], dim=1), s["__S__.fc.weight"], s["__S__.fc.bias"])[0]


def sound(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    n = round(seconds * 16_000)
    x = np.convolve(rng.standard_normal(n + 20), rng.uniform(0.5, 0.95) ** np.arange(21), mode="valid")
    x *= 1.1 + np.sin(2 * np.pi * rng.uniform(1, 4) * np.arange(n) / 16_000)
    return Audio((0.05 * x / x.std()).astype(np.float32), "<array>")


def features(clip: Audio) -> NDArray[np.float32]:
    return normalised_log_mel(clip.samples, n_mels=64)


def saved(content: dict[str, Any], folder: Path) -> Path:
    torch.save(content, folder / "baseline.model")
    return folder


@pytest.fixture(scope="module")
def state() -> State:
    return random_state()


@pytest.fixture(scope="module")
def exact(state: State) -> State:
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


@pytest.fixture(scope="module")
def folder(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(state, tmp_path_factory.mktemp("resnetse"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ResNetSE34V2:
    return ResNetSE34V2(folder, device="cpu", threads=1)


def test_embeddings_equal_the_definition(encoder: ResNetSE34V2, exact: State) -> None:
    clips = [sound(0.9, 1), sound(1.3, 2)]
    found = encoder.embed(clips)
    assert isinstance(encoder, Encoder)
    assert found.shape == (2, 512) == (2, encoder.dim)
    raw = [raw_embedding_by_definition(exact, features(clip)) for clip in clips]
    np.testing.assert_allclose(found, np.stack([(x / x.norm()).numpy() for x in raw]), atol=1e-5)
    assert abs(found[0] @ found[1]) < 0.9999


def test_frames_equal_the_definition(encoder: ResNetSE34V2, exact: State) -> None:
    clip = sound(1.0, 4)
    found, times = encoder.frames(clip)
    assert found.shape == (13, 2048)  # of 101 frames
    np.testing.assert_allclose(times, 0.08 * np.arange(13), atol=1e-9)
    expected = frames_by_definition(exact, features(clip)).T.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_batch_equals_single_clips(encoder: ResNetSE34V2) -> None:
    clips = [sound(seconds, seed) for seed, seconds in enumerate([1.0, 0.7, 1.0, 1.25, 0.7, 0.02])]
    single = np.concatenate([encoder.embed([clip]) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), single, atol=1e-4)
    assert np.isfinite(single).all()
    assert encoder.embed([]).shape == (0, 512)


def test_bfloat16_is_close(encoder: ResNetSE34V2, folder: Path) -> None:
    rounded = ResNetSE34V2(folder, device="cpu", threads=1, precision="bfloat16")
    assert 0.99 < float(np.vdot(encoder.embed([sound(1.0)]), rounded.embed([sound(1.0)]))) < 1.0 - 1e-7
    assert rounded.fingerprint == encoder.fingerprint


def test_frames_without_variance(state: State, tmp_path: Path) -> None:
    """With all convolutions zero the frames stand still, and their deviation is the root of 1e-5."""
    still = {name: 0 * value if value.ndim == 4 else value for name, value in state.items()}
    weight, bias = state["__S__.fc.weight"].clone(), state["__S__.fc.bias"]
    weight[:, :2048] = 0
    still |= {"__S__.fc.weight": weight}
    found = ResNetSE34V2(saved(still, tmp_path)).embed([sound(1.0)])[0]
    expected = (weight.double().sum(1) * 1e-5**0.5 + bias.double()).numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_other_forms_of_the_checkpoint(encoder: ResNetSE34V2, state: State, tmp_path: Path) -> None:
    """As the trainer saves it now, of several processors, and without the loss and the tables of the front end."""
    now = {"model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}, "epoch": 4}
    assert ResNetSE34V2(saved(now, tmp_path)).fingerprint == encoder.fingerprint
    several = {f"module.{name}": value for name, value in state.items()}
    assert ResNetSE34V2(saved(several, tmp_path)).fingerprint == encoder.fingerprint
    few = {name: value for name, value in state.items() if "torchfb" not in name and "__L__" not in name}
    assert ResNetSE34V2(saved(few, tmp_path)).fingerprint == encoder.fingerprint
    changed = state | {"__S__.fc.bias": state["__S__.fc.bias"] + 1e-3}
    assert ResNetSE34V2(saved(changed, tmp_path)).fingerprint != encoder.fingerprint


def test_the_classifier(state: State, folder: Path, tmp_path: Path) -> None:
    weight, bias = softmax_weights(folder / "baseline.model")
    np.testing.assert_array_equal(weight, state["__L__.softmax.fc.weight"].numpy())
    np.testing.assert_array_equal(bias, state["__L__.softmax.fc.bias"].numpy())
    assert weight.shape == (SPEAKERS, 512)
    several = {f"module.{name}": value for name, value in state.items()}
    np.testing.assert_array_equal(softmax_weights(saved(several, tmp_path))[0], weight)
    bare = {name: value for name, value in state.items() if "softmax" not in name}
    with pytest.raises(WeightsError, match=r"no __L__\.softmax\.fc\.weight"):
        softmax_weights(saved(bare, tmp_path))
    with pytest.raises(WeightsError, match="no such weights file"):
        softmax_weights(tmp_path / "absent.model")


CASES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing": (
        lambda s: {k: v for k, v in s.items() if k != "__S__.layer4.2.se.fc.2.bias"},
        ["layer4.2.se.fc.2.bias"],
    ),
    "renamed": (
        lambda s: {k.replace("attention.3.w", "attention.4.w"): v for k, v in s.items()},
        ["attention.3.weight", "attention.4.weight"],
    ),
    "pooling by means alone": (
        lambda s: s | {"__S__.fc.weight": torch.zeros(512, 2048)},
        ["fc.weight", "512x2048"],
    ),
    "no last layer": (lambda s: {k: v for k, v in s.items() if "__S__.fc" not in k}, ["fc.weight"]),
    "another window": (
        lambda s: s | {"__S__.torchfb.1.spectrogram.window": torch.hann_window(400)},
        ["torchfb.1.spectrogram.window", "another front end"],
    ),
    "40 bands": (
        lambda s: s | {"__S__.torchfb.1.mel_scale.fb": mel_table(40)},
        ["mel_scale.fb", "64 mel bands"],
    ),
    "an unknown table": (
        lambda s: s | {"__S__.torchfb.2.weight": torch.zeros(3)},
        ["unknown torchfb.2.weight"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_other_weights_are_refused_in_one_line(case: str, state: State, tmp_path: Path) -> None:
    change, named = CASES[case]
    with pytest.raises(WeightsError) as caught:
        ResNetSE34V2(saved(change(state), tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["baseline.model", *named])
