"""The enrolment model: what it is trained on, what is written, and whom it takes for alike."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from openkith.audio import load
from openkith.encoders.networks.resnet import ResNet34NS
from openkith.errors import AudioError, ConfigError, NotEnoughDataError, WeightsError
from openkith.losses.softmax import AAMSoftmaxLoss
from openkith.neural_scoring import NetworkConfig, WholeNetwork, start_from_enrolment_model
from openkith.neural_scoring.enrol_model import (
    Crops,
    EnrolModel,
    EnrolModelConfig,
    _HeldOut,
    _loss,
    find_hard_speakers,
    load_enrol_model,
    train_enrol_model,
    write_enrol_model,
)
from openkith.neural_scoring.mixtures import Noises
from openkith.neural_scoring.network import log_mel
from openkith.neural_scoring.recordings import Recordings, stack
from openkith.training import TrainConfig, list_checkpoints, read_weights
from talkers import write_talkers

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talkers(tmp_path_factory.mktemp("corpus"), NAMES, 2, 0.5)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_enrol_model(EnrolModel(4, EnrolModelConfig(dim=16)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, of two and of three samples of five: with no batch of the one that would be left."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = TrainConfig(epochs=1, batch_size=3, accelerator="cpu")
    config = EnrolModelConfig(dim=16, seconds=0.3, held_out=2, held_out_clips=2, train=options)
    trained = train_enrol_model(config, corpus, folder)
    assert trained.steps == 2
    assert trained.measure is not None
    assert 0 <= trained.measure <= 1
    return folder


def test_samples(corpus: Path) -> None:
    recordings = Recordings.of(corpus)
    crops = Crops(recordings, 4800)
    assert len(crops) == 10
    for row in (0, 9):
        rng = np.random.default_rng([1, row])
        sample = crops.draw(row, np.random.default_rng([1, row]))
        np.testing.assert_array_equal(sample["features"], log_mel(recordings.crop(row, 4800, rng).samples))
        assert sample["speakers"] == row // 2
        assert sample["replaced"] == 0
    changed = Crops(recordings, 4800, 1.0, Noises()).draw(0, np.random.default_rng([1, 0]))
    assert np.abs(changed["features"] - crops.draw(0, np.random.default_rng([1, 0]))["features"]).max() > 0.1


def test_the_loss_is_aam_softmax(corpus: Path) -> None:
    torch.manual_seed(0)
    config = EnrolModelConfig(dim=8, margin=0.3, scale=20.0)
    model = EnrolModel(5, config).eval()
    batch = stack([Crops(Recordings.of(corpus), 4800)[row] for row in (0, 3, 8)])
    plain = AAMSoftmaxLoss(5, 8, margin=0.3, scale=20.0)
    plain.load_state_dict(model.loss.state_dict())
    expected = plain(model.speaker_encoder(batch["features"]), torch.tensor([0, 1, 4]))
    found = _loss(model, batch)
    torch.testing.assert_close(found["loss"], expected)
    assert found["replaced"] == 0


def test_what_a_training_writes(run: Path) -> None:
    with (run / "steps.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    weights = load_file(run / "model.safetensors")
    last = read_weights(list_checkpoints(run)[-1])
    assert {name for name in last if not name.startswith("speaker_encoder.")} == {"loss.vectors"}
    assert weights.keys() == last.keys() - {"loss.vectors"}
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, last[name], rtol=0, atol=0)
    assert last["loss.vectors"].shape == (3, 16)  # without the two held out


def test_everything_takes_what_was_written(run: Path, corpus: Path) -> None:
    network = load_enrol_model(run)
    clip = load(corpus / "a" / "0.wav")
    features = torch.from_numpy(log_mel(clip.samples))[None]
    with torch.no_grad():
        embedding = network(features)[0].numpy()
    other = ResNet34NS(run, device="cpu", threads=1).embed([clip])[0]
    np.testing.assert_allclose(other, embedding / np.linalg.norm(embedding), atol=1e-4)
    whole = start_from_enrolment_model(run, NetworkConfig(enrolment_dim=16))
    np.testing.assert_allclose(whole.embed(features)[0].numpy(), embedding, atol=1e-5)


def test_the_enrolment_model_of_a_whole_one(model_file: Path, tmp_path: Path) -> None:
    whole: WholeNetwork = start_from_enrolment_model(model_file, NetworkConfig(enrolment_dim=16))
    save_file(
        {name: x.clone().contiguous() for name, x in whole.state_dict().items()},
        tmp_path / "whole.safetensors",
    )
    alone, inside = load_enrol_model(model_file), load_enrol_model(tmp_path / "whole.safetensors")
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(inside.state_dict()[name], tensor)
    save_file({"mlp.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no enrolment model in it"):
        load_enrol_model(tmp_path / "other.safetensors")


def test_the_same_again(corpus: Path, run: Path, tmp_path: Path) -> None:
    options = TrainConfig(epochs=1, batch_size=3, accelerator="cpu")
    config = EnrolModelConfig(dim=16, seconds=0.3, held_out=2, held_out_clips=2, train=options)
    train_enrol_model(config, corpus, tmp_path / "again")
    assert (tmp_path / "again" / "steps.csv").read_bytes() == (run / "steps.csv").read_bytes()


def test_hard_speakers(corpus: Path, model_file: Path) -> None:
    told: list[tuple[int, int]] = []
    found = find_hard_speakers(
        corpus,
        model_file,
        top=3,
        seconds=0.4,
        device="cpu",
        progress=lambda _, done, total: told.append((done, total)),
    )
    assert told == [(10, 10)]
    recordings, network = Recordings.of(corpus), load_enrol_model(model_file)
    means = []
    for own in recordings.own:
        crops = [recordings.crop(int(i), 6400, np.random.default_rng([0, int(i), 1])).samples for i in own]
        with torch.no_grad():
            rows = network(torch.from_numpy(np.stack([log_mel(x) for x in crops]))).double().numpy()
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    cosines = np.array(means) @ np.array(means).T
    for k, name in enumerate(NAMES):
        order = [NAMES[other] for other in np.argsort(-cosines[k]) if other != k]
        assert found[name] == order[:3]


def test_mining_is_the_same_with_any_number_of_workers(corpus: Path, model_file: Path) -> None:
    found = [
        find_hard_speakers(corpus, model_file, clips=1, seconds=0.3, workers=workers, device="cpu", seed=2)
        for workers in (0, 2)
    ]
    assert found[0] == found[1]


def test_held_out_error(corpus: Path) -> None:
    """0 for an encoder that knows everybody, and near one half for one that knows nobody."""
    config = EnrolModelConfig(held_out_clips=2)
    held_out = _HeldOut(Recordings.of(corpus), 4800, config)

    class Knowing(torch.nn.Module):
        def __init__(self, right: bool) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.right = right

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            places = torch.arange(len(features))
            owners = places // 2 if self.right else places % 2
            return torch.nn.functional.one_hot(owners, 5).float()

    assert held_out(Knowing(True)) == 0  # type: ignore[arg-type]
    assert held_out(Knowing(False)) > 0.4  # type: ignore[arg-type]


def test_one_utterance_each_is_too_little_to_hold_out(tmp_path: Path) -> None:
    corpus = write_talkers(tmp_path, ("a", "b", "c", "d"), 1, 0.4)
    with pytest.raises(NotEnoughDataError, match="nobody held out has two utterances"):
        train_enrol_model(EnrolModelConfig(held_out=2), corpus, tmp_path / "run")


def test_a_corpus_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"a/0\.wav"):
        train_enrol_model(EnrolModelConfig(), tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [{"dim": 0}, {"seconds": 0.1}, {"augment": 1.5}, {"margin": 4.0}, {"scale": 0.0}, {"held_out": -1}],
)
def test_wrong_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        EnrolModelConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="held_out_clips is 1"):
        EnrolModelConfig(held_out_clips=1)
