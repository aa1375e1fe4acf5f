"""ECAPA-TDNN, against a recomputation in float64 straight from state dicts of WeSpeaker's names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import Encoder
from openkith.encoders.networks.ecapa import ECAPA
from openkith.errors import WeightsError

State = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

KALDI = partial(kaldi_fbank, window="hamming", scale=32768.0)


def affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name: str, channels: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{key}": (channels,) for key in names}, f"{name}.num_batches_tracked": ()}


def published(channels: int, context: bool, width: int = 1536, last_norm: bool = False) -> Shapes:
    shapes = affine("layer1.conv", channels, 80, 5) | norm("layer1.bn", channels)
    for layer in ("layer2", "layer3", "layer4"):
        at = f"{layer}.se_res2block"
        for part in (0, 2):
            shapes |= affine(f"{at}.{part}.conv", channels, channels, 1) | norm(f"{at}.{part}.bn", channels)
        for group in range(7):
            shapes |= affine(f"{at}.1.convs.{group}", channels // 8, channels // 8, 3)
            shapes |= norm(f"{at}.1.bns.{group}", channels // 8)
        shapes |= affine(f"{at}.3.linear1", 128, channels) | affine(f"{at}.3.linear2", channels, 128)
    shapes |= affine("conv", width, 3 * channels, 1)
    shapes |= affine("pool.linear1", 128, 3 * width if context else width, 1) | affine(
        "pool.linear2", width, 128, 1
    )
    shapes |= norm("bn", 2 * width) | affine("linear", 192, 2 * width)
    return shapes | (norm("bn2", 192) if last_norm else {}) | {"projection.weight": (17, 192)}


def random_state(shapes: Shapes, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(seed + 5)
        elif kind == "running_var" or (kind == "weight" and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            size = (1.5 / int(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = size * torch.randn(shape, generator=generator)
    return state


def conv_relu_norm(s: State, name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
    return batch_norm(s, f"{name}.bn", functional.relu(convolved(s, f"{name}.conv", x, **options)))


def convolved(s: State, name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
    return functional.conv1d(x, s[f"{name}.weight"], s[f"{name}.bias"], **options)


def batch_norm(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(s[f"{name}.{key}"] for key in keys), eps=1e-5)


def linear(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])


def frames_by_definition(s: State, features: NDArray[Any]) -> torch.Tensor:
    """Frames (1, width, T)."""
    x = conv_relu_norm(s, "layer1", torch.from_numpy(features).double().T[None], padding=2)
    blocks = []
    for layer, dilation in (("layer2", 2), ("layer3", 3), ("layer4", 4)):
        at = f"{layer}.se_res2block"
        y = conv_relu_norm(s, f"{at}.0", x)
        groups = list(y.chunk(8, dim=1))
        for i in range(7):
            if i > 0:
                groups[i] = groups[i] + groups[i - 1]
            groups[i] = convolved(s, f"{at}.1.convs.{i}", groups[i], padding=dilation, dilation=dilation)
            groups[i] = batch_norm(s, f"{at}.1.bns.{i}", functional.relu(groups[i]))
        y = conv_relu_norm(s, f"{at}.2", torch.cat(groups, dim=1))
        scale = torch.sigmoid(
            linear(s, f"{at}.3.linear2", functional.relu(linear(s, f"{at}.3.linear1", y.mean(2))))
        )
        x = x + y * scale[..., None]
        blocks.append(x)
    return functional.relu(convolved(s, "conv", torch.cat(blocks, dim=1)))


def embedding_by_definition(s: State, features: NDArray[Any]) -> NDArray[Any]:
    frames = frames_by_definition(s, features)
    seen = frames
    if s["pool.linear1.weight"].shape[1] == 3 * frames.shape[1]:
        mean, variance = frames.mean(2, keepdim=True), frames.var(2, unbiased=True, keepdim=True)
        seen = torch.cat([frames, mean.expand_as(frames), (variance + 1e-7).sqrt().expand_as(frames)], dim=1)
    scores = convolved(s, "pool.linear2", torch.tanh(convolved(s, "pool.linear1", seen)))
    weights = torch.exp(scores) / torch.exp(scores).sum(2, keepdim=True)
    mean = (weights * frames).sum(2)
    std = ((weights * frames**2).sum(2) - mean**2).clamp(min=1e-7).sqrt()
    x = linear(s, "linear", batch_norm(s, "bn", torch.cat([mean, std], dim=1)))
    if "bn2.weight" in s:
        x = batch_norm(s, "bn2", x)
    return (x[0] / x[0].norm()).numpy()


def sound(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    n = round(seconds * 16_000)
    x = np.convolve(rng.standard_normal(n + 20), rng.uniform(0.5, 0.95) ** np.arange(21), mode="valid")
    x *= 1.1 + np.sin(2 * np.pi * rng.uniform(1, 4) * np.arange(n) / 16_000)
    return Audio((0.05 * x / x.std()).astype(np.float32), "<array>")


def saved(state: State, folder: Path) -> Path:
    torch.save(state, folder / "avg_model.pt")
    return folder


LAYOUTS: dict[str, Shapes] = {
    "512": published(512, context=False),
    "512 with context": published(512, context=True),
    "1024 with context": published(1024, context=True),
    "another width, a last norm": published(64, context=False, width=192, last_norm=True),
}


@pytest.fixture(scope="module", params=LAYOUTS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ECAPA, State]:
    state = random_state(LAYOUTS[request.param], 1)
    folder = saved(state, tmp_path_factory.mktemp("ecapa"))
    exact = {name: value.double() for name, value in state.items() if value.is_floating_point()}
    return ECAPA(folder, device="cpu", threads=1), exact


def test_embeddings_and_frames_equal_the_definition(built: tuple[ECAPA, State]) -> None:
    encoder, state = built
    clips = [sound(0.8, 1), sound(1.1, 2)]
    found = encoder.embed(clips)
    assert isinstance(encoder, Encoder)
    assert found.shape == (2, 192) == (2, encoder.dim)
    expected = np.stack([embedding_by_definition(state, KALDI(clip.samples)) for clip in clips])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert abs(found[0] @ found[1]) < 0.9999
    frames, times = encoder.frames(clips[0])
    expected = frames_by_definition(state, KALDI(clips[0].samples))[0].T.numpy()
    np.testing.assert_allclose(frames, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(times, 0.0125 + 0.01 * np.arange(len(frames)), atol=1e-9)


def test_a_batch_equals_single_clips(built: tuple[ECAPA, State]) -> None:
    encoder, _ = built
    clips = [sound(seconds, seed) for seed, seconds in enumerate([1.0, 0.7, 1.0, 1.25, 0.7, 0.02])]
    single = np.concatenate([encoder.embed([clip]) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), single, atol=1e-4)
    assert np.isfinite(single).all()
    assert encoder.embed([]).shape == (0, 192)


def test_bfloat16_is_close(tmp_path: Path) -> None:
    folder = saved(random_state(LAYOUTS["512 with context"], 1), tmp_path)
    exact, rounded = (ECAPA(folder, device="cpu", precision=name) for name in ("float32", "bfloat16"))
    found = float(np.vdot(exact.embed([sound(1.0)]), rounded.embed([sound(1.0)])))
    assert 0.99 < found < 1.0 - 1e-7
    assert rounded.fingerprint == exact.fingerprint


def test_a_silent_clip(tmp_path: Path) -> None:
    """Features of a silent clip are zero, and the deviations of the frames in its middle all but nothing."""
    state = random_state(LAYOUTS["512 with context"], 2)
    silence = Audio(np.zeros(16_000, np.float32), "<array>")
    exact = {name: value.double() for name, value in state.items() if value.is_floating_point()}
    expected = embedding_by_definition(exact, np.zeros((98, 80), np.float32))
    found = ECAPA(saved(state, tmp_path), device="cpu").embed([silence])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fingerprint_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    state = random_state(LAYOUTS["another width, a last norm"], 1)
    base = ECAPA(saved(state, tmp_path)).fingerprint
    ignored = {name for name in state if "num_batches" in name or "projection" in name}
    assert (
        ECAPA(saved({name: state[name] for name in state if name not in ignored}, tmp_path)).fingerprint
        == base
    )
    changed = state | {"bn2.bias": state["bn2.bias"] + 1e-3}
    assert ECAPA(saved(changed, tmp_path)).fingerprint != base
    assert base.startswith("ecapa/")


CASES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing": (
        lambda s: {k: v for k, v in s.items() if k != "layer3.se_res2block.1.bns.6.bias"},
        ["1.bns.6.bias"],
    ),
    "renamed": (
        lambda s: {k.replace("block.3.linear1.w", "block.3.fc1.w"): v for k, v in s.items()},
        ["layer2.se_res2block.3.linear1.weight", "layer2.se_res2block.3.fc1.weight"],
    ),
    "no pooling": (
        lambda s: {k: v for k, v in s.items() if not k.startswith("pool")},
        ["pool.linear1.weight"],
    ),
    "context of another size": (
        lambda s: s | {"pool.linear1.weight": torch.zeros(128, 384, 1)},
        ["pool.linear1.weight 128x384x1 instead of 128x192x1"],
    ),
    "channels": (
        lambda s: s | {"layer1.conv.weight": torch.zeros(60, 80, 5)},
        ["layer1.conv.weight", "60 channels"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_other_weights_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    change, named = CASES[case]
    folder = saved(change(random_state(LAYOUTS["another width, a last norm"], 1)), tmp_path)
    with pytest.raises(WeightsError) as caught:
        ECAPA(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ["avg_model.pt", *named])
