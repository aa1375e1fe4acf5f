"""WavLM and its kin, against transformers' own forward of small random models that the tests save."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from openkith.audio import Audio
from openkith.encoders import Encoder, load_encoder
from openkith.encoders.networks.wavlm import DEFAULT_WEIGHTS, WEIGHT_NORM, WavLM
from openkith.encoders.weights import sources as sources_module
from openkith.errors import ConfigError, WeightsError

transformers = pytest.importorskip("transformers")

RATE = 16_000
SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
    **{"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
    **{"tdnn_dim": (24, 24, 24, 24, 40), "xvector_output_dim": 20, "num_labels": 7},
}
FEWEST = 5200  # samples: 15 frames for the TDNN layers and one more for a standard deviation
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "wavlm": ("WavLMConfig", {}),
    "wav2vec2": ("Wav2Vec2Config", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "unispeech-sat": ("UniSpeechSatConfig", {"use_weighted_layer_sum": True}),
    "data2vec-audio": ("Data2VecAudioConfig", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
}


def model(kind: str = "wavlm", **options: Any) -> Any:
    """A small model with random weights that do something: those of transformers are nearly zero."""
    config, usual = MODELS[kind]
    torch.manual_seed(len(kind))
    made = transformers.AutoModelForAudioXVector.from_config(
        getattr(transformers, config)(**{**SMALL, **usual, **options})
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def save(made: Any, folder: Path, **preprocessor: Any) -> Path:
    made.save_pretrained(folder)
    settings = {
        "do_normalize": True,
        "sampling_rate": RATE,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | preprocessor))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model(), tmp_path_factory.mktemp("wavlm"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> WavLM:
    return WavLM(folder, device="cpu", threads=1)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def clip(n: int, seed: int = 0) -> Audio:
    rng = np.random.default_rng([seed, n])
    t = np.arange(n) / RATE
    x = np.sin(2 * np.pi * t * rng.uniform(100, 3000, (4, 1))).sum(axis=0) + 0.3 * rng.standard_normal(n)
    return Audio((0.05 * x + 0.01).astype(np.float32), "<test>")


def reference(folder: Path, samples: NDArray[np.float32], normalise: bool = True) -> NDArray[np.float32]:
    """Embeddings by transformers alone, L2-normalised."""
    made = transformers.AutoModelForAudioXVector.from_pretrained(folder).eval()
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    values = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.no_grad():
        found: NDArray[np.float32] = made(values).embeddings[0].numpy()
    return found / np.linalg.norm(found)


@pytest.mark.parametrize("kind", MODELS)
def test_exactly_transformers_forward(tmp_path: Path, kind: str) -> None:
    folder = save(model(kind), tmp_path)
    encoder = WavLM(folder, device="cpu", threads=1)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim, encoder.sample_rate) == ("wavlm", 20, RATE)
    assert encoder.fingerprint.startswith(f"wavlm/{kind}-2x4-normalised/")
    for n in (FEWEST, 16_000, 23_456):
        found = encoder.embed([clip(n)])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], reference(folder, clip(n).samples), atol=2e-6)


def test_without_normalisation(folder: Path, tmp_path: Path) -> None:
    quiet = Audio(
        0.01 * clip(16_000).samples, "<test>"
    )  # the norm of the first layer hides the level of others
    plain = save(model(), tmp_path, do_normalize=False)
    encoder = WavLM(plain, device="cpu", threads=1)
    found = encoder.embed([quiet])[0]
    normalised = reference(folder, quiet.samples)
    np.testing.assert_allclose(found, reference(plain, quiet.samples, normalise=False), atol=2e-6)
    assert np.abs(found - normalised).max() > 1e-3
    (tmp_path / "preprocessor_config.json").unlink()  # transformers normalises then
    usual = WavLM(tmp_path, device="cpu", threads=1)
    np.testing.assert_allclose(usual.embed([quiet])[0], normalised, atol=2e-6)
    assert usual.fingerprint != encoder.fingerprint


def test_a_batch_of_unequal_lengths_is_the_same_as_one_by_one(
    encoder: WavLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = (16_000, 20_000, 16_000, 9_000, 20_000, 16_001)
    clips = [clip(n, seed) for seed, n in enumerate(lengths)]
    shapes: list[tuple[int, ...]] = []
    hook = encoder.network.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    with monkeypatch.context() as patched:
        patched.setattr(encoder, "batch_length", WavLM.batch_frames["cuda"])
        together = encoder.embed(clips)
    assert sorted(shapes) == [(1, 9_000), (1, 16_001), (2, 16_000), (2, 20_000)]
    shapes.clear()
    one_by_one = encoder.embed(clips)  # as on the processor
    hook.remove()
    assert sorted(shapes) == [(1, n) for n in sorted(lengths)]
    np.testing.assert_allclose(together, one_by_one, atol=2e-6)
    alone = np.concatenate([encoder.embed([one]) for one in clips])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert np.abs(together[0] - together[2]).max() > 1e-3  # two clips of one length
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert encoder.embed([]).shape == (0, 20)


def test_short_clips_are_repeated(encoder: WavLM) -> None:
    short = clip(1000)
    filled = Audio(np.resize(short.samples, FEWEST), "<test>")
    np.testing.assert_array_equal(encoder.embed([short]), encoder.embed([filled]))
    assert np.isfinite(encoder.embed([Audio(np.zeros(0, np.float32), "<test>"), clip(1)])).all()


def test_long_clips_are_the_mean_of_their_pieces(encoder: WavLM) -> None:
    long = clip(61 * RATE)
    pieces = encoder.embed([Audio(part, "<test>") for part in np.array_split(long.samples, 5)])
    mean = pieces.mean(axis=0)
    np.testing.assert_allclose(encoder.embed([long])[0], mean / np.linalg.norm(mean), atol=2e-6)


def test_windows(encoder: WavLM) -> None:
    long = clip(40_000)
    times, found = encoder.embed_windows(long)
    np.testing.assert_allclose(times, [[0, 1.5], [0.75, 2.25], [1.0, 2.5]])
    parts = [Audio(long.samples[round(a * RATE) : round(b * RATE)], "<test>") for a, b in times]
    np.testing.assert_allclose(found, encoder.embed(parts), atol=2e-6)


def test_frames_are_the_last_hidden_states(encoder: WavLM, folder: Path) -> None:
    found, times = encoder.frames(clip(16_000))
    base = transformers.AutoModelForAudioXVector.from_pretrained(folder).eval().wavlm
    values = transformers.Wav2Vec2FeatureExtractor()(
        clip(16_000).samples, sampling_rate=RATE, return_tensors="pt"
    ).input_values
    with torch.no_grad():
        expected = base(values).last_hidden_state[0].numpy()
    assert found.shape == (49, 32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(times, 0.0125 + 0.02 * np.arange(49))


def test_frames_of_a_long_clip_are_evenly_spaced(encoder: WavLM) -> None:
    found, times = encoder.frames(clip(62 * RATE))
    assert len(found) == len(times) == (62 * RATE - 400) // 320 + 1
    np.testing.assert_allclose(np.diff(times), 0.02)


def test_bfloat16_is_near(folder: Path, encoder: WavLM) -> None:
    clips = [clip(16_000, seed) for seed in range(3)]
    half = WavLM(folder, device="cpu", precision="bfloat16", threads=1)
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.bfloat16}
    found, expected = half.embed(clips), encoder.embed(clips)
    assert found.dtype == np.float32
    assert (found * expected).sum(axis=1).min() > 0.99
    assert half.fingerprint == encoder.fingerprint


# Checkpoints.


def test_the_hub_is_asked_for_what_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(weights: object, *, files: tuple[str, ...]) -> Path:
        asked.append((weights, files))
        return folder

    monkeypatch.setattr(sources_module, "fetch", fetch)
    load_encoder("wavlm", device="cpu", threads=1)
    files = ("config.json", "preprocessor_config.json", "*.safetensors", "pytorch_model.bin")
    assert asked == [(DEFAULT_WEIGHTS, files)]
    assert DEFAULT_WEIGHTS == "microsoft/wavlm-base-plus-sv"


def test_load_encoder_takes_the_folder(folder: Path, encoder: WavLM) -> None:
    assert load_encoder(folder, device="cpu", threads=1).fingerprint == encoder.fingerprint


def older_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As transformers wrote weight norm before torch had parametrizations."""
    for old, new in WEIGHT_NORM.items():
        state = {name.removesuffix(new) + old if name.endswith(new) else name: t for name, t in state.items()}
    return state


def test_pytorch_model_bin_with_older_names(copy: Path, encoder: WavLM) -> None:
    state = older_names(load_file(copy / "model.safetensors"))
    assert any(name.endswith("weight_g") for name in state)
    torch.save(state, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    found = WavLM(copy, device="cpu", threads=1)
    np.testing.assert_array_equal(found.embed([clip(16_000)]), encoder.embed([clip(16_000)]))
    assert found.fingerprint == encoder.fingerprint


def test_weights_in_several_files(copy: Path, encoder: WavLM) -> None:
    state = load_file(copy / "model.safetensors")
    names = sorted(state)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: state[name] for name in part}, copy / f"model-0000{number + 1}-of-00002.safetensors")
    (copy / "model.safetensors").unlink()
    assert WavLM(copy, device="cpu", threads=1).fingerprint == encoder.fingerprint


def test_the_classifier_is_not_needed(copy: Path, encoder: WavLM) -> None:
    state = load_file(copy / "model.safetensors")
    used = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(("classifier.", "objective.")) and "masked_spec_embed" not in name
    }
    assert len(used) == len(state) - 4
    save_file(used, copy / "model.safetensors")
    found = WavLM(copy, device="cpu", threads=1)
    assert found.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(found.embed([clip(16_000)]), encoder.embed([clip(16_000)]))


def test_fingerprint_is_of_the_weights(copy: Path, encoder: WavLM) -> None:
    state = load_file(copy / "model.safetensors")
    state["projector.bias"][0] += 0.5
    save_file(state, copy / "model.safetensors")
    assert WavLM(copy, device="cpu", threads=1).fingerprint != encoder.fingerprint


def test_loading_is_silent_and_leaves_the_seed_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    WavLM(folder, device="cpu", threads=1)
    torch.testing.assert_close(torch.rand(3), expected)
    assert capfd.readouterr() == ("", "")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path("trap-sprung"), "")


def test_nothing_is_unpickled(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (copy / "model.safetensors").unlink()
    torch.save({"projector.weight": Trap()}, copy / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="not a torch checkpoint of plain tensors"):
        WavLM(copy, device="cpu")
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="not a torch checkpoint of plain tensors"):
        WavLM(copy, device="cpu")
    assert not (tmp_path / "trap-sprung").exists()


# Refusals: one line each, and what to do.


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def drop(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    del state[name]
    save_file(state, folder / "model.safetensors")


def add(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, name: torch.zeros(3)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json there"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not readable as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: not a JSON object"),
        (lambda f: change_json(f / "config.json", model_type="nonesuch"), "transformers cannot read it"),
        (lambda f: change_json(f / "config.json", model_type="bert"), "no x-vector model of the type 'bert'"),
        (
            lambda f: change_json(f / "config.json", model_type="wav2vec2-bert", hidden_act="gelu"),
            "takes input_features, not the waveform",
        ),
        (lambda f: change_json(f / "config.json", add_adapter=True), "add_adapter is true"),
        (lambda f: change_json(f / "preprocessor_config.json", sampling_rate=8000), "sampling_rate is 8000"),
        (
            lambda f: (f / "preprocessor_config.json").write_text("?"),
            "preprocessor_config.json: not readable",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "no .*safetensors and no pytorch_model.bin"),
        (lambda f: (f / "model.safetensors").write_bytes(b"?"), "not a readable safetensors file"),
        (lambda f: drop(f, "projector.weight"), "without projector.weight"),
        (lambda f: add(f, "wavlm.extra.weight"), "with unknown wavlm.extra.weight"),
        (
            lambda f: change_json(f / "config.json", xvector_output_dim=21),
            "with other shapes for feature_extractor",
        ),
    ],
)
def test_checkpoints_that_are_refused(copy: Path, damage: Callable[[Path], Any], expected: str) -> None:
    damage(copy)
    with pytest.raises(WeightsError, match=expected) as caught:
        WavLM(copy, device="cpu")
    assert "\n" not in str(caught.value)


def test_settings_that_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="not a folder; give one with config"):
        WavLM(folder / "model.safetensors")
    with pytest.raises(ConfigError, match="precision is 'float16'"):
        WavLM(folder, precision="float16")
    with pytest.raises(ConfigError, match="device is 'tpu'"):
        WavLM(folder, device="tpu")
    with pytest.raises(ConfigError, match="threads is 0"):
        WavLM(folder, threads=0)
