"""ResNet34 in both layouts, against a recomputation in float64 straight from state dicts of the published names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import Encoder
from openkith.encoders.networks.resnet import ResNet34, ResNet34NS
from openkith.encoders.voxceleb_mel import normalised_log_mel
from openkith.errors import ConfigError, WeightsError

State = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

STAGES = [("layer1", 32, 3), ("layer2", 64, 4), ("layer3", 128, 6), ("layer4", 256, 3)]
KALDI = partial(kaldi_fbank, window="hamming", scale=32768.0)
LOG_MEL = partial(normalised_log_mel, n_mels=80, full_scale=32768.0)


def norm(name: str, channels: int, affine: bool = True) -> Shapes:
    names = ["running_mean", "running_var", *(["weight", "bias"] if affine else [])]
    return {**{f"{name}.{key}": (channels,) for key in names}, f"{name}.num_batches_tracked": ()}


def trunk(shortcut: str) -> Shapes:
    shapes: Shapes = {"conv1.weight": (32, 1, 3, 3), **norm("bn1", 32)}
    inputs = 32
    for stage, outputs, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            shapes[f"{at}.conv1.weight"] = (outputs, inputs, 3, 3)
            shapes[f"{at}.conv2.weight"] = (outputs, outputs, 3, 3)
            shapes |= norm(f"{at}.bn1", outputs) | norm(f"{at}.bn2", outputs)
            if inputs != outputs:
                shapes[f"{at}.{shortcut}.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{at}.{shortcut}.1", outputs)
            inputs = outputs
    return shapes


def wespeaker(two_layers: bool) -> Shapes:
    shapes = trunk("shortcut") | {"seg_1.weight": (256, 5120), "seg_1.bias": (256,)}
    if two_layers:
        shapes |= norm("seg_bn_1", 256, affine=False) | {"seg_2.weight": (256, 256), "seg_2.bias": (256,)}
    return shapes | {"projection.weight": (17, 256)}


def neural_scoring() -> Shapes:
    shapes = trunk("downsample") | norm("pooling.pooling.tdnn.norm.norm", 128)
    shapes |= {
        "pooling.pooling.tdnn.conv.conv.weight": (128, 7680, 1),
        "pooling.pooling.tdnn.conv.conv.bias": (128,),
    }
    shapes |= {"pooling.pooling.conv.conv.weight": (2560, 128, 1), "pooling.pooling.conv.conv.bias": (2560,)}
    shapes |= norm("bn2", 5120) | {"fc.weight": (256, 5120), "fc.bias": (256,)} | norm("bn3", 256)
    return {f"speaker_encoder.{name}": shape for name, shape in shapes.items()} | {
        "mel_trans.0.flipped_filter": (1, 1, 2),
        "mel_trans.1.spectrogram.window": (400,),
        "mel_trans.1.mel_scale.fb": (257, 80),
        "loss.weight": (17, 256),
    }


def random_state(shapes: Shapes, seed: int) -> State:
    """Weights under which the size of the activations neither dies out nor explodes."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(seed + 5)
        elif kind == "running_var" or (kind == "weight" and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = int(np.prod(shape[1:]))
            size = (1.5 / fan_in) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = size * torch.randn(shape, generator=generator)
    return state


def batch_norm(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    affine = s.get(f"{name}.weight"), s.get(f"{name}.bias")
    return functional.batch_norm(x, s[f"{name}.running_mean"], s[f"{name}.running_var"], *affine, eps=1e-5)


def trunk_by_definition(s: State, features: NDArray[Any], shortcut: str) -> torch.Tensor:
    """Frames (2560, T/8), channel by channel."""
    x = torch.from_numpy(features).double().T[None, None]
    x = functional.relu(batch_norm(s, "bn1", functional.conv2d(x, s["conv1.weight"], padding=1)))
    for stage, _, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            stride = 2 if block == 0 and stage != "layer1" else 1
            passed = x
            if stride == 2:
                passed = batch_norm(
                    s, f"{at}.{shortcut}.1", functional.conv2d(x, s[f"{at}.{shortcut}.0.weight"], stride=2)
                )
            x = functional.relu(
                batch_norm(
                    s, f"{at}.bn1", functional.conv2d(x, s[f"{at}.conv1.weight"], stride=stride, padding=1)
                )
            )
            x = functional.relu(
                batch_norm(s, f"{at}.bn2", functional.conv2d(x, s[f"{at}.conv2.weight"], padding=1)) + passed
            )
    _, channels, frequencies, frames = x.shape
    assert (channels, frequencies) == (256, 10)
    return torch.stack([x[0, c, f] for c in range(256) for f in range(10)]).reshape(2560, frames)


def wespeaker_by_definition(s: State, features: NDArray[Any]) -> NDArray[Any]:
    frames = trunk_by_definition(s, features, "shortcut")
    mean = frames.sum(1) / frames.shape[1]
    variance = ((frames - mean[:, None]) ** 2).sum(1) / (frames.shape[1] - 1)
    x = s["seg_1.weight"] @ torch.cat([mean, torch.sqrt(variance + 1e-7)]) + s["seg_1.bias"]
    if "seg_2.weight" in s:
        x = functional.relu(x)
        x = (x - s["seg_bn_1.running_mean"]) / torch.sqrt(s["seg_bn_1.running_var"] + 1e-5)
        x = s["seg_2.weight"] @ x + s["seg_2.bias"]
    return (x / x.norm()).numpy()


def neural_scoring_by_definition(s: State, features: NDArray[Any]) -> NDArray[Any]:
    frames = trunk_by_definition(s, features, "downsample")
    count = frames.shape[1]
    mean = frames.mean(1, keepdim=True)
    std = ((frames - mean) ** 2).mean(1, keepdim=True).clamp(min=1e-12).sqrt()
    seen = torch.cat([frames, mean.expand(-1, count), std.expand(-1, count)])[None]  # (1, 7680, T/8)
    hidden = functional.relu(
        functional.conv1d(
            seen, s["pooling.pooling.tdnn.conv.conv.weight"], s["pooling.pooling.tdnn.conv.conv.bias"]
        )
    )
    hidden = torch.tanh(batch_norm(s, "pooling.pooling.tdnn.norm.norm", hidden))
    scores = functional.conv1d(
        hidden, s["pooling.pooling.conv.conv.weight"], s["pooling.pooling.conv.conv.bias"]
    )[0]
    weights = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
    mean = (weights * frames).sum(1, keepdim=True)
    std = (weights * (frames - mean) ** 2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    x = batch_norm(s, "bn2", torch.cat([mean, std]).T)
    x = batch_norm(s, "bn3", functional.linear(x, s["fc.weight"], s["fc.bias"]))[0]
    return (x / x.norm()).numpy()


def sound(seconds: float, seed: int = 0) -> Audio:
    """Noise of changing colour and level: no two windows are alike."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 16_000)
    x = np.convolve(rng.standard_normal(n + 20), rng.uniform(0.5, 0.95) ** np.arange(21), mode="valid")
    x *= 1.1 + np.sin(2 * np.pi * rng.uniform(1, 4) * np.arange(n) / 16_000)
    return Audio((0.05 * x / x.std()).astype(np.float32), "<array>")


def doubled(state: State) -> State:
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


@pytest.fixture(scope="module", params=["one layer", "two layers", "neural scoring"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any, Any, Any]:
    """(encoder, its features, its embedding by definition, its frames by definition)."""
    file = tmp_path_factory.mktemp("resnet") / "avg_model.pt"
    if request.param == "neural scoring":
        state = random_state(neural_scoring(), 3)
        torch.save({"epoch": 9, "state_dict": state}, file)
        bare = {name.removeprefix("speaker_encoder."): value for name, value in doubled(state).items()}
        built = ResNet34NS(file, device="cpu", threads=1)
        frames = partial(trunk_by_definition, bare, shortcut="downsample")
        return built, LOG_MEL, partial(neural_scoring_by_definition, bare), frames
    state = random_state(wespeaker(request.param == "two layers"), 1)
    torch.save(state, file)
    encoder = ResNet34(file, device="cpu", threads=1)
    bare = doubled(state)
    return (
        encoder,
        KALDI,
        partial(wespeaker_by_definition, bare),
        partial(trunk_by_definition, bare, shortcut="shortcut"),
    )


def test_embeddings_equal_the_definition(built: tuple[Any, ...]) -> None:
    encoder, features, embedding, _ = built
    clips = [sound(0.9, 1), sound(1.3, 2)]
    found = encoder.embed(clips)
    assert isinstance(encoder, Encoder)
    assert found.shape == (2, 256) == (2, encoder.dim)
    assert found.dtype == np.float32
    expected = np.stack([embedding(features(clip.samples)) for clip in clips])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert abs(found[0] @ found[1]) < 0.9999  # the two clips are told apart at all


def test_frames_equal_the_definition(built: tuple[Any, ...]) -> None:
    encoder, features, _, frames = built
    clip = sound(1.0, 4)
    mel = features(clip.samples)
    found, times = encoder.frames(clip)
    assert found.shape == (-(-len(mel) // 8), 2560)
    first = 0.0125 if features is KALDI else 0.0
    np.testing.assert_allclose(times, first + 0.08 * np.arange(len(found)), atol=1e-9)
    expected = frames(mel).T.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_batch_equals_single_clips(built: tuple[Any, ...]) -> None:
    encoder = built[0]
    clips = [sound(seconds, seed) for seed, seconds in enumerate([1.0, 0.7, 1.0, 1.25, 0.7, 0.04])]
    single = np.concatenate([encoder.embed([clip]) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), single, atol=1e-4)
    assert encoder.embed([]).shape == (0, 256)
    assert np.isfinite(single).all()


def test_windows_are_what_their_samples_give(built: tuple[Any, ...]) -> None:
    encoder = built[0]
    clip = sound(2.5, 8)
    times, found = encoder.embed_windows(clip)
    alone = [Audio(clip.samples[round(a * 16_000) : round(b * 16_000)], "<array>") for a, b in times]
    np.testing.assert_allclose(found, encoder.embed(alone), atol=1e-4)
    assert times[0, 0] == 0.0
    assert times[-1, 1] == clip.seconds


def test_bfloat16_is_close(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(random_state(wespeaker(two_layers=False), 1), file)
    clips = [sound(1.0, 1)]
    exact = ResNet34(file, device="cpu", threads=1)
    rounded = ResNet34(file, device="cpu", threads=1, precision="bfloat16")
    assert rounded.fingerprint == exact.fingerprint
    assert 0.99 < float(np.vdot(exact.embed(clips), rounded.embed(clips))) < 1.0 - 1e-7


def saved(state: State, folder: Path) -> Path:
    torch.save(state, folder / "avg_model.pt")
    return folder


def test_fingerprint_says_weights_and_nothing_else(tmp_path: Path) -> None:
    state = random_state(wespeaker(two_layers=False), 1)
    base = ResNet34(saved(state, tmp_path)).fingerprint
    other = {
        name: value + 1 if "num_batches" in name or "projection" in name else value
        for name, value in state.items()
    }
    assert ResNet34(saved(other, tmp_path)).fingerprint == base
    without = {
        name: value for name, value in state.items() if "num_batches" not in name and "projection" not in name
    }
    assert ResNet34(saved(without, tmp_path)).fingerprint == base
    changed = state | {"layer4.2.bn2.bias": state["layer4.2.bn2.bias"] + 1e-3}
    assert ResNet34(saved(changed, tmp_path)).fingerprint != base
    assert base.startswith("resnet34/")


def test_a_whole_neural_scoring_model_has_the_same_encoder(tmp_path: Path) -> None:
    state = random_state(neural_scoring(), 3)
    whole = {f"enrollmodel.{name}": value for name, value in state.items() if not name.startswith("loss.")}
    whole |= {f"testencoder.{name}": value + 1 for name, value in state.items() if ".layer" in name}
    whole |= {"scoring_linear1.weight": torch.zeros(256, 2560), "mlp.0.weight": torch.zeros(256, 256)}
    whole |= {"scoring_linear2.bias": torch.zeros(256), "transformer_model.type.weight": torch.zeros(2, 256)}
    alone = ResNet34NS(saved(state, tmp_path))
    both = ResNet34NS(saved({"state_dict": whole}, tmp_path))  # type: ignore[dict-item]
    assert both.fingerprint == alone.fingerprint


CASES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing": (
        lambda s: {k: v for k, v in s.items() if k != "layer2.0.shortcut.1.running_var"},
        ["layer2.0.shortcut.1.running_var"],
    ),
    "renamed": (
        lambda s: {k.replace("layer3.5.conv2", "layer3.5.conv9"): v for k, v in s.items()},
        ["layer3.5.conv2", "layer3.5.conv9"],
    ),
    "another depth": (
        lambda s: s | {"layer3.6.conv1.weight": torch.zeros(128, 128, 3, 3)},
        ["layer3.6.conv1.weight"],
    ),
    "another size": (lambda s: s | {"conv1.weight": torch.zeros(64, 1, 3, 3)}, ["conv1.weight", "64x1x3x3"]),
    "no last layer": (lambda s: {k: v for k, v in s.items() if not k.startswith("seg_1")}, ["seg_1.weight"]),
}


@pytest.mark.parametrize("case", CASES)
def test_other_weights_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    change, named = CASES[case]
    folder = saved(change(random_state(wespeaker(two_layers=False), 1)), tmp_path)
    with pytest.raises(WeightsError) as caught:
        ResNet34(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["avg_model.pt", *named])


def test_what_to_give_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights= a checkpoint"):
        ResNet34NS()
    with pytest.raises(WeightsError, match="no such weights file or folder"):
        ResNet34(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match=r"fc\.weight"):
        ResNet34NS(saved(random_state(wespeaker(two_layers=False), 1), tmp_path))
    with pytest.raises(ConfigError, match="precision"):
        ResNet34(saved(random_state(wespeaker(two_layers=False), 1), tmp_path), precision="float16")


def test_frames_without_variance(tmp_path: Path) -> None:
    """With all convolutions zero the frames stand still, and their deviation is the root of WeSpeaker's epsilon."""
    state = random_state(wespeaker(two_layers=False), 1)
    state = {name: 0 * value if value.ndim == 4 else value for name, value in state.items()}
    weight, bias = state["seg_1.weight"], 1e-2 * state["seg_1.bias"]
    weight[:, :2560] = 0
    found = ResNet34(saved(state | {"seg_1.bias": bias}, tmp_path)).embed([sound(1.0)])[0]
    expected = (weight.double().sum(1) * 1e-7**0.5 + bias.double()).numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)
