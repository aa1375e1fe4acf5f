"""NS-SV checkpoints: a random state dict of the published names, recomputed whole, from samples to log odds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from openkith.audio import Audio
from openkith.encoders.networks.resnet import ResNet34NS
from openkith.errors import ConfigError, WeightsError
from openkith.neural_scoring.checkpoints import read_model, start_from_enrolment_model
from openkith.neural_scoring.network import NetworkConfig
from openkith.neural_scoring.scorer import load_scorer

State = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

STAGES = [("layer1", 32, 3), ("layer2", 64, 4), ("layer3", 128, 6), ("layer4", 256, 3)]


def norm(name: str, channels: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{key}": (channels,) for key in names}, f"{name}.num_batches_tracked": ()}


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def trunk() -> Shapes:
    shapes: Shapes = {"conv1.weight": (32, 1, 3, 3), **norm("bn1", 32)}
    inputs = 32
    for stage, outputs, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            shapes |= {f"{at}.conv1.weight": (outputs, inputs, 3, 3), **norm(f"{at}.bn1", outputs)}
            shapes |= {f"{at}.conv2.weight": (outputs, outputs, 3, 3), **norm(f"{at}.bn2", outputs)}
            if inputs != outputs:
                shapes |= {f"{at}.downsample.0.weight": (outputs, inputs, 1, 1)}
                shapes |= norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    return shapes


def encoder() -> Shapes:
    at = "pooling.pooling"
    shapes = trunk() | norm(f"{at}.tdnn.norm.norm", 128)
    shapes |= {f"{at}.tdnn.conv.conv.weight": (128, 7680, 1), f"{at}.tdnn.conv.conv.bias": (128,)}
    shapes |= {f"{at}.conv.conv.weight": (2560, 128, 1), f"{at}.conv.conv.bias": (2560,)}
    return shapes | norm("bn2", 5120) | linear("fc", 256, 5120) | norm("bn3", 256)


def front_end(at: str) -> Shapes:
    return {
        f"{at}mel_trans.0.flipped_filter": (1, 1, 2),
        f"{at}mel_trans.1.spectrogram.window": (400,),
        f"{at}mel_trans.1.mel_scale.fb": (257, 80),
    }


def transformer(layers: int) -> Shapes:
    at = "transformer_model"
    shapes: Shapes = {f"{at}.etype_emb": (1, 256), f"{at}.ttype_emb": (1, 256)}
    for layer in range(layers):
        for name in ("WQ", "WK", "WV", "linear"):
            shapes |= linear(f"{at}.layers.{layer}.mha.{name}", 256, 256)
        for name in ("layernorm1", "layernorm2"):
            shapes |= {f"{at}.layers.{layer}.{name}.{key}": (256,) for key in ("weight", "bias")}
        shapes |= linear(f"{at}.layers.{layer}.ffn.linear1", 512, 256)
        shapes |= linear(f"{at}.layers.{layer}.ffn.linear2", 256, 512)
    return shapes


def whole_model(layers: int) -> Shapes:
    return {
        **front_end("enrollmodel."),
        **{f"enrollmodel.speaker_encoder.{name}": shape for name, shape in encoder().items()},
        **front_end("testencoder."),
        **{f"testencoder.speaker_encoder.{name}": shape for name, shape in trunk().items()},
        **linear("scoring_linear1", 256, 2560),
        **linear("scoring_linear2", 256, 256),
        **transformer(layers),
        **linear("mlp.0", 256, 256),
        **linear("mlp.2", 256, 256),
        **linear("mlp.4", 1, 256),
    }


def enrolment_model() -> Shapes:
    return {
        **front_end(""),
        **{f"speaker_encoder.{name}": shape for name, shape in encoder().items()},
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
            size = (1.5 / int(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            state[name] = size * torch.randn(shape, generator=generator)
    return state


def batch_norm(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    statistics = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    return functional.batch_norm(x, *statistics, s[f"{name}.weight"], s[f"{name}.bias"], eps=1e-5)


def log_mel(samples: Any) -> torch.Tensor:
    """Features (80, T) of samples in [-1, 1], in torch's own transforms and float64."""
    x = torch.from_numpy(samples).double() * 32768
    x = x - 0.97 * torch.cat([x[1:2], x[:-1]])
    spectrum = torch.stft(
        x[None], 512, 160, 400, torch.hamming_window(400, dtype=torch.float64), return_complex=True
    )
    power = spectrum.abs().square()[0]  # (257, T)
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (mel / 2595) - 1) for mel in np.linspace(0, top, 82)]
    bands = []
    for low, peak, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        triangle = [
            max(0.0, min((f - low) / (peak - low), (high - f) / (high - peak)))
            for f in np.linspace(0, 8000, 257)
        ]
        bands.append(torch.tensor(triangle, dtype=torch.float64) @ power)
    mel = torch.log(torch.stack(bands) + 1e-6)
    return (mel - mel.mean(1, keepdim=True)) / torch.sqrt(mel.var(1, keepdim=True, correction=0) + 1e-5)


def trunk_by_definition(s: State, mel: torch.Tensor) -> torch.Tensor:
    """Frames (2560, T/8), channel by channel."""
    x = functional.relu(
        batch_norm(s, "bn1", functional.conv2d(mel[None, None], s["conv1.weight"], padding=1))
    )
    for stage, _, blocks in STAGES:
        for block in range(blocks):
            at = f"{stage}.{block}"
            stride = 2 if block == 0 and stage != "layer1" else 1
            passed = x
            if stride == 2:
                passed = functional.conv2d(x, s[f"{at}.downsample.0.weight"], stride=2)
                passed = batch_norm(s, f"{at}.downsample.1", passed)
            x = functional.conv2d(x, s[f"{at}.conv1.weight"], stride=stride, padding=1)
            x = functional.relu(batch_norm(s, f"{at}.bn1", x))
            x = batch_norm(s, f"{at}.bn2", functional.conv2d(x, s[f"{at}.conv2.weight"], padding=1))
            x = functional.relu(x + passed)
    return torch.stack([x[0, c, f] for c in range(256) for f in range(10)])


def embedding_by_definition(s: State, mel: torch.Tensor) -> torch.Tensor:
    """Not normalised, (256,)."""
    frames = trunk_by_definition(s, mel)
    mean = frames.mean(1, keepdim=True)
    deviation = ((frames - mean) ** 2).mean(1, keepdim=True).clamp(min=1e-12).sqrt()
    seen = torch.cat([frames, mean.expand_as(frames), deviation.expand_as(frames)])[None]
    at = "pooling.pooling"
    hidden = functional.conv1d(seen, s[f"{at}.tdnn.conv.conv.weight"], s[f"{at}.tdnn.conv.conv.bias"])
    hidden = torch.tanh(batch_norm(s, f"{at}.tdnn.norm.norm", functional.relu(hidden)))
    scores = functional.conv1d(hidden, s[f"{at}.conv.conv.weight"], s[f"{at}.conv.conv.bias"])[0]
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    mean = (weights * frames).sum(1, keepdim=True)
    deviation = (weights * (frames - mean) ** 2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    x = batch_norm(s, "bn2", torch.cat([mean, deviation]).T)
    return batch_norm(s, "bn3", functional.linear(x, s["fc.weight"], s["fc.bias"]))[0]


def part(state: State, prefix: str) -> State:
    return {
        name.removeprefix(prefix): value.double() if value.is_floating_point() else value
        for name, value in state.items()
        if name.startswith(prefix)
    }


def sound(seconds: float, seed: int) -> Audio:
    """Noise of changing colour and level."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 16_000)
    x = np.convolve(rng.standard_normal(n + 20), rng.uniform(0.5, 0.95) ** np.arange(21), mode="valid")
    x *= 1.1 + np.sin(2 * np.pi * rng.uniform(1, 4) * np.arange(n) / 16_000)
    return Audio((0.05 * x / x.std()).astype(np.float32), "<array>")


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(whole_model(layers=1), 3)


@pytest.fixture(scope="module")
def model(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as training leaves it: the state dict under its key, among other things."""
    file = tmp_path_factory.mktemp("ns-sv") / "epoch=39.ckpt"
    torch.save({"epoch": 39, "hyper_parameters": {"num_heads": 4}, "state_dict": state}, file)
    return file


def test_a_whole_model_from_samples_to_log_odds(
    state: State, model: Path, definition: Callable[..., Any]
) -> None:
    scorer = load_scorer(model, device="cpu", threads=1)
    people = [sound(1.2, 1), sound(0.8, 2), sound(1.0, 3)]
    probe = sound(1.1, 4)

    expected_embeddings = torch.stack(
        [
            embedding_by_definition(part(state, "enrollmodel.speaker_encoder."), log_mel(p.samples))
            for p in people
        ]
    )
    embeddings = scorer.enrol(people)
    scale = float(expected_embeddings.abs().max())
    np.testing.assert_allclose(embeddings, expected_embeddings, atol=1e-5 * scale)
    assert abs(np.linalg.norm(embeddings, axis=1) - 1).min() > 0.1  # not normalised

    expected_frames = trunk_by_definition(
        part(state, "testencoder.speaker_encoder."), log_mel(probe.samples)
    ).T
    frames = scorer.frames(probe)
    assert frames.shape == (14, 2560)
    np.testing.assert_allclose(frames, expected_frames, atol=1e-5 * float(expected_frames.abs().max()))

    expected = definition(state, expected_embeddings, expected_frames)
    np.testing.assert_allclose(scorer.log_odds(embeddings, frames), expected, atol=1e-5)
    np.testing.assert_allclose(scorer.score_clip(embeddings, probe), 1 / (1 + np.exp(-expected)), atol=1e-5)
    # With the two linear layers, or the two encoders, the other way round it would be another number.
    assert np.ptp(expected) > 1e-3


def test_all_layers_of_a_deeper_model(tmp_path: Path, definition: Callable[..., Any]) -> None:
    """The released configuration files have 8 layers."""
    state = random_state(whole_model(layers=8), 4)
    save_file(state, tmp_path / "model.safetensors")
    network = read_model(tmp_path)
    assert network.config == NetworkConfig(layers=8)
    enrolments, frames = torch.randn(1, 2, 256), torch.randn(1, 4, 2560)
    with torch.no_grad():
        found = network(enrolments, frames)[0]
    np.testing.assert_allclose(found, definition(state, enrolments[0], frames[0]), atol=1e-5)


def test_heads_are_the_caller_s_to_say(model: Path, state: State, definition: Callable[..., Any]) -> None:
    enrolments, frames = torch.randn(2, 256), torch.randn(4, 2560)
    found = load_scorer(model, device="cpu", heads=8).log_odds(enrolments, frames)
    np.testing.assert_allclose(found, definition(state, enrolments, frames, 8), atol=1e-5)
    with pytest.raises(ConfigError, match="width is 256; give an even number that 3 heads can share"):
        load_scorer(model, heads=3)


def test_counters_and_front_end_do_not_matter(model: Path, state: State, tmp_path: Path) -> None:
    bare = {name: t for name, t in state.items() if "num_batches" not in name and "mel_trans" not in name}
    torch.save({f"module.{name}": tensor for name, tensor in bare.items()}, tmp_path / "model.pt")
    assert load_scorer(tmp_path, device="cpu").fingerprint == load_scorer(model, device="cpu").fingerprint


CASES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing": (lambda s: {k: v for k, v in s.items() if k != "mlp.2.bias"}, ["without mlp.2.bias"]),
    "missing in the encoder": (
        lambda s: {
            k: v for k, v in s.items() if k != "testencoder.speaker_encoder.layer2.0.downsample.1.bias"
        },
        ["without testencoder.speaker_encoder.layer2.0.downsample.1.bias"],
    ),
    "unknown": (lambda s: s | {"mlp.6.weight": torch.zeros(1, 1)}, ["unknown mlp.6.weight"]),
    "both": (
        lambda s: {k.replace("layers.0.mha.WQ", "layers.0.mha.query"): v for k, v in s.items()},
        ["WQ.weight", "query.weight"],
    ),
    "a layer is missing": (
        lambda s: {k.replace("layers.0.", "layers.1."): v for k, v in s.items()},
        ["layers.0.ffn.linear1.weight"],
    ),
    "pooling in the test encoder": (
        lambda s: s | {"testencoder.speaker_encoder.fc.bias": torch.zeros(256)},
        ["unknown testencoder.speaker_encoder.fc.bias"],
    ),
    "no scoring": (
        lambda s: {k: v for k, v in s.items() if not k.startswith("scoring")},
        ["without scoring_linear2.weight"],
    ),
    "other shape": (
        lambda s: s | {"mlp.4.weight": torch.zeros(2, 256)},
        ["mlp.4.weight 2x256 instead of 1x256"],
    ),
    "other frames": (
        lambda s: s | {"scoring_linear1.weight": torch.zeros(256, 512)},
        ["scoring_linear1.weight 256x512 instead of 256x2560"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_other_weights_are_refused_in_one_line(case: str, state: State, tmp_path: Path) -> None:
    change, named = CASES[case]
    torch.save(change(state), tmp_path / "model.ckpt")
    with pytest.raises(WeightsError) as caught:
        load_scorer(tmp_path / "model.ckpt")
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in ["model.ckpt", *named]), message


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file or folder"):
        load_scorer(tmp_path / "absent.ckpt")


class TestEnrolmentModel:
    @pytest.fixture
    def alone(self, tmp_path: Path) -> tuple[Path, State]:
        state = random_state(enrolment_model(), 7)
        torch.save({"state_dict": state}, tmp_path / "resnet34.ckpt")
        return tmp_path / "resnet34.ckpt", state

    def test_is_no_scorer(self, alone: tuple[Path, State]) -> None:
        with pytest.raises(WeightsError, match=r"resnet34\.ckpt: an enrolment model alone") as caught:
            load_scorer(alone[0])
        assert "\n" not in str(caught.value)

    def test_both_encoders_start_from_it(self, alone: tuple[Path, State]) -> None:
        file, state = alone
        network = start_from_enrolment_model(file, NetworkConfig(layers=2))
        assert network.config.layers == 2
        weight = "speaker_encoder.layer3.2.conv1.weight"
        for at in ("enrollmodel", "testencoder"):
            assert torch.equal(network.state_dict()[f"{at}.{weight}"], state[weight])
        assert torch.equal(
            network.state_dict()["enrollmodel.speaker_encoder.fc.bias"], state["speaker_encoder.fc.bias"]
        )
        # The embedding is that of the encoder which reads the same checkpoint.
        clip = sound(1.0, 5)
        network.eval()
        from openkith.neural_scoring.network import log_mel as features

        found = network.embed(torch.from_numpy(features(clip.samples))[None])[0].numpy()
        expected = ResNet34NS(file, device="cpu", threads=1).embed([clip])[0]
        np.testing.assert_allclose(found / np.linalg.norm(found), expected, atol=1e-5)

    def test_training_one_leaves_the_other(self, alone: tuple[Path, State]) -> None:
        network = start_from_enrolment_model(alone[0])
        trained = network.get_parameter("testencoder.speaker_encoder.conv1.weight")
        frozen = network.get_parameter("enrollmodel.speaker_encoder.conv1.weight")
        assert (trained.requires_grad, frozen.requires_grad) == (True, False)
        with torch.no_grad():
            trained += 1
        assert torch.equal(frozen, alone[1]["speaker_encoder.conv1.weight"])

    def test_of_a_whole_model_the_enrolment_encoder(self, model: Path, state: State) -> None:
        network = start_from_enrolment_model(model)
        name = "speaker_encoder.layer4.2.bn2.running_mean"
        for at in ("enrollmodel", "testencoder"):
            assert torch.equal(network.state_dict()[f"{at}.{name}"], state[f"enrollmodel.{name}"])
        assert not torch.equal(network.state_dict()["mlp.0.weight"], state["mlp.0.weight"])

    def test_is_read_strictly(self, alone: tuple[Path, State], tmp_path: Path) -> None:
        _, state = alone
        torch.save(state | {"speaker_encoder.fc2.bias": torch.zeros(3)}, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match=r"other\.pt: .*unknown fc2\.bias"):
            start_from_enrolment_model(tmp_path / "other.pt")
        missing = {k: v for k, v in state.items() if "layer1.1.conv2" not in k}
        torch.save(missing, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match=r"without layer1\.1\.conv2\.weight"):
            start_from_enrolment_model(tmp_path / "other.pt")

    def test_sizes_must_go_together(self, alone: tuple[Path, State]) -> None:
        with pytest.raises(ConfigError, match=r"enrolment_dim is 192; .*embeddings of 256"):
            start_from_enrolment_model(alone[0], NetworkConfig(enrolment_dim=192))
