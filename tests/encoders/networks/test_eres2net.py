"""ERes2NetV2 and ERes2Net against a second writing of them: functions of the published names, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file

from openkith.audio import Audio
from openkith.audio.features import kaldi_fbank
from openkith.encoders import Encoder
from openkith.encoders.networks.eres2net import (
    ERes2Net,
    ERes2NetNetwork,
    ERes2NetV2,
    ERes2NetV2Network,
    Layout,
)
from openkith.errors import ConfigError, WeightsError

RATE = 16_000
State = dict[str, torch.Tensor]

BASE = {"channels": 64, "base_width": 26, "scale": 2, "expansion": 2, "dim": 192}
W24S4EP4 = {"channels": 64, "base_width": 24, "scale": 4, "expansion": 4, "dim": 192}
V1_BASE = {"channels": 32, "base_width": 32, "scale": 2, "expansion": 2, "dim": 192}
V1_LARGE = {"channels": 64, "base_width": 32, "scale": 2, "expansion": 2, "dim": 512}
V1_HUGE = {"channels": 64, "base_width": 24, "scale": 3, "expansion": 4, "dim": 192}
SMALL = {"channels": 8, "base_width": 26, "scale": 2, "expansion": 2, "dim": 24}
SMALL_W24 = {"channels": 8, "base_width": 24, "scale": 4, "expansion": 4, "dim": 24}
SMALL_V1 = {"channels": 8, "base_width": 32, "scale": 3, "expansion": 2, "dim": 24}


# What is published: names and shapes


def published_shapes(
    version: int,
    channels: int,
    base_width: int,
    scale: int,
    expansion: int,
    dim: int,
    two_layers: bool = False,
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, size: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def fusion(name: str, size: int) -> None:
        for layer, before, after in ((0, 2 * size, size // 4), (3, size // 4, size)):
            shapes[f"{name}.local_att.{layer}.weight"] = (after, before, 1, 1)
            shapes[f"{name}.local_att.{layer}.bias"] = (after,)
            norm(f"{name}.local_att.{layer + 1}", after)

    shapes["conv1.weight"] = (channels, 1, 3, 3)
    norm("bn1", channels)
    before = channels
    for stage, blocks in enumerate((3, 4, 6, 3)):
        planes = channels * 2**stage
        width, after = math.floor(planes * base_width / 64), planes * expansion
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (width * scale, before, 1, 1)
            norm(f"{name}.bn1", width * scale)
            for group in range(scale):
                shapes[f"{name}.convs.{group}.weight"] = (width, width, 3, 3)
                norm(f"{name}.bns.{group}", width)
                if stage >= 2 and group:
                    fusion(f"{name}.fuse_models.{group - 1}", width)
            shapes[f"{name}.conv3.weight"] = (after, width * scale, 1, 1)
            norm(f"{name}.bn3", after)
            if block == 0:
                shapes[f"{name}.shortcut.0.weight"] = (after, before, 1, 1)
                norm(f"{name}.shortcut.1", after)
            before = after
    outs = [channels * 2**stage * expansion for stage in range(4)]
    if version == 2:
        shapes["layer3_ds.weight"] = (outs[3], outs[2], 3, 3)
        fusion("fuse34", outs[3])
    else:
        for stage, fused in ((1, "12"), (2, "123"), (3, "1234")):
            shapes[f"layer{stage}_downsample.weight"] = (outs[stage], outs[stage - 1], 3, 3)
            fusion(f"fuse_mode{fused}", outs[stage])
    shapes["seg_1.weight"], shapes["seg_1.bias"] = (dim, outs[3] * 10 * 2), (dim,)
    if two_layers:
        shapes["seg_bn_1.running_mean"] = shapes["seg_bn_1.running_var"] = (dim,)
        shapes["seg_bn_1.num_batches_tracked"] = ()
        shapes["seg_2.weight"], shapes["seg_2.bias"] = (dim, dim), (dim,)
    return shapes


def random_state(version: int, *, seed: int = 0, **sizes: Any) -> State:
    """Weights that keep activations of one size, some of them above the clip at 20, and rounding small.

    As in trained networks, a block adds to its input more than it replaces it.
    """
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in published_shapes(version, **sizes).items():
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        last = name.rpartition(".")[2]
        if last == "num_batches_tracked":
            state[name] = torch.tensor(1000)
        elif last == "running_var":
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif last == "weight" and len(shape) == 1:
            state[name] = (0.7 + 0.6 * torch.rand(shape, generator=generator)) * (
                0.3 if "bn3" in name else 1.0
            )
        else:
            state[name] = (
                torch.randn(shape, generator=generator) * (2.0 / fan_in if fan_in > 1 else 0.01) ** 0.5
            )
    state["bn1.weight"] *= 3.0
    for name in state:
        if name.endswith("local_att.0.weight"):
            state[name] *= 0.1  # or the attention would be 0 or 2 everywhere
    return state


# The second writing


def batch_norm(x: torch.Tensor, s: State, name: str) -> torch.Tensor:
    parts = (s.get(f"{name}.{part}") for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, training=False, eps=1e-5)


def fuse(a: torch.Tensor, b: torch.Tensor, s: State, name: str) -> torch.Tensor:
    x = F.conv2d(torch.cat([a, b], 1), s[f"{name}.local_att.0.weight"], s[f"{name}.local_att.0.bias"])
    x = F.silu(batch_norm(x, s, f"{name}.local_att.1"))
    x = F.conv2d(x, s[f"{name}.local_att.3.weight"], s[f"{name}.local_att.3.bias"])
    t = 1 + torch.tanh(batch_norm(x, s, f"{name}.local_att.4"))
    return a * t + b * (2 - t)


def block(x: torch.Tensor, s: State, name: str, stride: int, clip: float) -> torch.Tensor:
    def relu(y: torch.Tensor) -> torch.Tensor:
        return y.clamp(0.0, clip)

    out = relu(batch_norm(F.conv2d(x, s[f"{name}.conv1.weight"], stride=stride), s, f"{name}.bn1"))
    width = s[f"{name}.convs.0.weight"].shape[0]
    done: list[torch.Tensor] = []
    for i, group in enumerate(out.split(width, 1)):
        if i and f"{name}.fuse_models.{i - 1}.local_att.0.weight" in s:
            group = fuse(done[-1], group, s, f"{name}.fuse_models.{i - 1}")
        elif i:
            group = group + done[-1]
        made = F.conv2d(group, s[f"{name}.convs.{i}.weight"], padding=1)
        done.append(relu(batch_norm(made, s, f"{name}.bns.{i}")))
    out = batch_norm(F.conv2d(torch.cat(done, 1), s[f"{name}.conv3.weight"]), s, f"{name}.bn3")
    if f"{name}.shortcut.0.weight" in s:
        x = batch_norm(F.conv2d(x, s[f"{name}.shortcut.0.weight"], stride=stride), s, f"{name}.shortcut.1")
    return relu(out + x)


def stage(x: torch.Tensor, s: State, number: int, clip: float) -> torch.Tensor:
    for i in range((3, 4, 6, 3)[number - 1]):
        x = block(x, s, f"layer{number}.{i}", 2 if number > 1 and i == 0 else 1, clip)
    return x


def down(x: torch.Tensor, s: State, name: str) -> torch.Tensor:
    return F.conv2d(x, s[f"{name}.weight"], stride=2, padding=1)


def last_map(samples: np.ndarray, s: State, clip: float = 20.0) -> torch.Tensor:
    """What is pooled, (c, 10, T / 8), of one clip."""
    features = torch.from_numpy(kaldi_fbank(samples)).double()
    x = features.T[None, None]  # (1, 1, 80, T)
    x = torch.relu(batch_norm(F.conv2d(x, s["conv1.weight"], padding=1), s, "bn1"))
    one = stage(x, s, 1, clip)
    two = stage(one, s, 2, clip)
    three = stage(two, s, 3, clip)
    four = stage(three, s, 4, clip)
    if "layer3_ds.weight" in s:
        return fuse(four, down(three, s, "layer3_ds"), s, "fuse34")[0]
    fused = fuse(two, down(one, s, "layer1_downsample"), s, "fuse_mode12")
    fused = fuse(three, down(fused, s, "layer2_downsample"), s, "fuse_mode123")
    return fuse(four, down(fused, s, "layer3_downsample"), s, "fuse_mode1234")[0]


def by_definition(samples: np.ndarray, state: State, clip: float = 20.0) -> np.ndarray:
    s = {name: tensor.double() for name, tensor in state.items()}
    x = last_map(samples, s, clip).flatten(0, 1)  # (c * 10, T / 8)
    mean = x.mean(1)
    deviation = torch.sqrt(((x - mean[:, None]) ** 2).sum(1) / (x.shape[1] - 1) + 1e-8)
    embedding = F.linear(torch.cat([mean, deviation]), s["seg_1.weight"], s["seg_1.bias"])
    if "seg_2.weight" in s:
        hidden = (embedding.relu() - s["seg_bn_1.running_mean"]) / (s["seg_bn_1.running_var"] + 1e-5).sqrt()
        embedding = F.linear(hidden, s["seg_2.weight"], s["seg_2.bias"])
    return (embedding / embedding.norm()).numpy()


def sound(seconds: float, seed: int = 0) -> Audio:
    """Noise whose colour and level wander."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    x = rng.standard_normal(n + 1)
    time = np.arange(n) / RATE
    x = x[1:] + np.sin(2 * np.pi * time * rng.uniform(0.5, 2)) * x[:-1]
    x *= 0.05 * (1.2 + np.sin(2 * np.pi * time * rng.uniform(0.5, 3)))
    return Audio(x.astype(np.float32), "<array>")


CASES = {
    "v2": (ERes2NetV2, 2, SMALL),
    "v2 w24s4ep4": (ERes2NetV2, 2, SMALL_W24),
    "v2 two layers": (ERes2NetV2, 2, {**SMALL, "two_layers": True}),
    "v1": (ERes2Net, 1, SMALL_V1),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An encoder with random weights, and these."""
    cls, version, sizes = request.param
    state = random_state(version, **sizes)
    file = tmp_path_factory.mktemp("eres2net") / "model.ckpt"
    torch.save(state, file)
    return cls(file, device="cpu", threads=1), state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("eres2netv2") / "model.ckpt"
    torch.save(random_state(2, **SMALL), file)
    return file


# Exactness


def test_embeddings_by_definition(case: tuple[Any, State]) -> None:
    encoder, state = case
    clips = [sound(1.0, 1), sound(0.105, 2), sound(1.73, 3)]  # 98, 9 and 171 frames
    expected = np.array([by_definition(clip.samples, state) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[2]).max() > 1e-2


def test_the_clip_at_20_is_reached(case: tuple[Any, State]) -> None:
    """Else the test above would not see it."""
    samples = sound(1.0, 1).samples
    assert np.abs(by_definition(samples, case[1]) - by_definition(samples, case[1], math.inf)).max() > 1e-3


def test_frames_by_definition(case: tuple[Any, State]) -> None:
    encoder, state = case
    clip = sound(1.0, 4)
    expected = last_map(clip.samples, {name: tensor.double() for name, tensor in state.items()})
    features, times = encoder.frames(clip)
    assert features.shape == (13, expected.shape[0] * 10)
    np.testing.assert_allclose(features, expected.reshape(-1, 13).T, atol=1e-5 * float(expected.abs().max()))
    np.testing.assert_allclose(times, 0.0125 + 0.08 * np.arange(13), atol=1e-9)


def test_the_base_model_by_definition(tmp_path: Path) -> None:
    """In its published size."""
    state = random_state(2, **BASE)
    torch.save(state, tmp_path / "model.ckpt")
    encoder = ERes2NetV2(tmp_path / "model.ckpt", device="cpu", threads=1)
    assert encoder.dim == 192
    clip = sound(0.5, 5)
    np.testing.assert_allclose(encoder.embed([clip])[0], by_definition(clip.samples, state), atol=1e-5)


def test_a_batch_is_the_same_as_single_clips(case: tuple[Any, State]) -> None:
    encoder, _ = case
    clips = [sound(seconds, i) for i, seconds in enumerate((1.0, 0.6, 1.0, 1.0, 0.03))]
    apart = np.concatenate([encoder.embed([clip]) for clip in clips])
    np.testing.assert_allclose(encoder.embed(clips), apart, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(apart, axis=1), 1.0, atol=1e-5)


def test_bfloat16_is_close(case: tuple[Any, State], tmp_path: Path) -> None:
    encoder, state = case
    torch.save(state, tmp_path / "model.ckpt")
    rough = type(encoder)(tmp_path / "model.ckpt", device="cpu", precision="bfloat16", threads=1)
    clips = [sound(1.0, 6), sound(2.0, 7)]
    cosines = (rough.embed(clips) * encoder.embed(clips)).sum(axis=1)
    assert (cosines > 0.99).all()
    assert rough.fingerprint == encoder.fingerprint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_the_same(case: tuple[Any, State], tmp_path: Path) -> None:
    encoder, state = case
    torch.save(state, tmp_path / "model.ckpt")
    there = type(encoder)(tmp_path / "model.ckpt", device="cuda")
    clips = [sound(1.0, 6), sound(2.0, 7), sound(1.0, 8)]
    np.testing.assert_allclose(there.embed(clips), encoder.embed(clips), atol=1e-4)


def test_windows(case: tuple[Any, State]) -> None:
    encoder, _ = case
    clip = sound(2.5, 8)
    times, embeddings = encoder.embed_windows(clip)
    np.testing.assert_allclose(times, [[0.0, 1.5], [0.75, 2.25], [1.0, 2.5]])
    part = Audio(clip.samples[12_000:36_000], "<array>")
    np.testing.assert_allclose(embeddings[1], encoder.embed([part])[0], atol=1e-4)


def test_silence_and_short_clips(case: tuple[Any, State]) -> None:
    encoder, _ = case
    clips = [Audio(np.zeros(n, np.float32), "<array>") for n in (0, 1, RATE)] + [sound(0.01)]
    assert np.isfinite(encoder.embed(clips)).all()


# Sizes and names


@pytest.mark.parametrize(
    ("network", "version", "sizes", "millions"),
    [
        (ERes2NetV2Network, 2, BASE, 17.9),
        (ERes2NetV2Network, 2, W24S4EP4, 53.5),
        (ERes2NetNetwork, 1, V1_BASE, 6.6),
        (ERes2NetNetwork, 1, V1_LARGE, None),
        (ERes2NetNetwork, 1, V1_HUGE, None),
    ],
    ids=["v2", "v2 w24s4ep4", "v1", "v1 large", "v1 huge"],
)
def test_names_and_shapes_of_published_sizes(
    network: Callable[[Layout], torch.nn.Module], version: int, sizes: dict[str, int], millions: float | None
) -> None:
    with torch.device("meta"):  # shapes alone
        made = network(Layout(**sizes))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    assert shapes == published_shapes(version, **sizes)
    if millions is not None:
        assert sum(parameter.numel() for parameter in made.parameters()) / 1e6 == pytest.approx(
            millions, abs=0.05
        )
    meta = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert Layout.of(meta, "file") == Layout(**sizes)


def test_the_usual_size_is_the_base_model() -> None:
    assert Layout() == Layout(**BASE)


def test_it_is_an_encoder(case: tuple[Any, State]) -> None:
    encoder, state = case
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.sample_rate) == (24, RATE)
    assert encoder.name == ("eres2netv2" if "layer3_ds.weight" in state else "eres2net")


# Files


def test_nesting_prefixes_and_counters_do_not_matter(tmp_path: Path, checkpoint: Path) -> None:
    state = random_state(2, **SMALL)
    bare = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    save_file(bare, tmp_path / "a.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "b.pt")
    expected = ERes2NetV2(checkpoint)
    for name in ("a.safetensors", "b.pt"):
        encoder = ERes2NetV2(tmp_path / name)
        assert encoder.fingerprint == expected.fingerprint
        np.testing.assert_array_equal(encoder.embed([sound(1.0)]), expected.embed([sound(1.0)]))
    assert expected.fingerprint.startswith("eres2netv2/kaldi-povey/")


def test_a_folder_will_do(checkpoint: Path) -> None:
    assert ERes2NetV2(checkpoint.parent).fingerprint == ERes2NetV2(str(checkpoint)).fingerprint


def test_the_fingerprint_changes_with_one_weight(tmp_path: Path, checkpoint: Path) -> None:
    state = random_state(2, **SMALL)
    state["layer2.1.bns.0.running_mean"][1] += 1e-6
    torch.save(state, tmp_path / "a.pt")
    assert ERes2NetV2(tmp_path / "a.pt").fingerprint != ERes2NetV2(checkpoint).fingerprint


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layer3.2.bn3.bias"}, "(without layer3.2.bn3.bias)"),
        (
            renamed("layer1.0.bn3.weight", "layer1.0.norm3.weight"),
            "(without layer1.0.bn3.weight; with unknown layer1.0.norm3.weight)",
        ),
        (lambda s: {**s, "projection.weight": torch.ones(5, 24)}, "(with unknown projection.weight)"),
        (
            lambda s: {**s, "layer4.1.conv1.weight": torch.ones(3, 2, 1, 1)},
            "(with other shapes for layer4.1.conv1.weight 3x2x1x1 instead of 52x128x1x1)",
        ),
        (renamed("seg_1", "linear"), "(without seg_1.weight); give those of 3D-Speaker"),
        (
            lambda _: {"lstm.weight": torch.ones(2, 2)},
            "(without conv1.weight, layer1.0.conv3.weight, layer4.0.convs.0",
        ),
    ],
    ids=["missing", "renamed", "unknown", "shape", "first layer", "another network"],
)
def test_other_weights_are_refused(tmp_path: Path, change: Callable[[State], State], reason: str) -> None:
    file = tmp_path / "model.pt"
    torch.save(change(random_state(2, **SMALL)), file)
    with pytest.raises(WeightsError) as caught:
        ERes2NetV2(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: not ")
    assert reason in message
    assert "\n" not in message


def test_the_versions_are_told_apart(tmp_path: Path, checkpoint: Path) -> None:
    torch.save(random_state(1, **SMALL_V1), tmp_path / "v1.pt")
    with pytest.raises(WeightsError, match=r"without layer3_ds.weight, fuse34"):
        ERes2NetV2(tmp_path / "v1.pt")
    with pytest.raises(WeightsError, match=r"without layer1_downsample.weight, layer2_downsample.weight"):
        ERes2Net(checkpoint)


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"precision": "int8"}, {"threads": 0}])
def test_options_that_are_wrong(checkpoint: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(options))} is "):
        ERes2NetV2(checkpoint, **options)


@pytest.mark.parametrize(
    ("cls", "source", "file"),
    [
        (ERes2NetV2, "modelscope:iic/speech_eres2netv2_sv_zh-cn_16k-common", "pretrained_eres2netv2.ckpt"),
        (ERes2Net, "modelscope:iic/speech_eres2net_sv_en_voxceleb_16k", "pretrained_eres2net.ckpt"),
    ],
)
def test_the_published_weights_are_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cls: Any, source: str, file: str
) -> None:
    asked = []

    def fetch(weights: str, *, files: tuple[str, ...]) -> Path:
        asked.append(weights)
        assert any(fnmatchcase(file, pattern) for pattern in files)
        torch.save(random_state(2 if cls is ERes2NetV2 else 1, **SMALL), tmp_path / file)
        return tmp_path / file

    monkeypatch.setattr("openkith.encoders.weights.sources.fetch", fetch)
    assert cls(device="cpu").dim == 24
    cls("modelscope:iic/another", device="cpu")
    assert asked == [source, "modelscope:iic/another"]
