"""Training of neural scoring: the loss of a batch, its batches, what is held out, and going on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from trial_training import Small, run

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.neural_scoring.enrol_model import EnrolModel, EnrolModelConfig, write_enrol_model
from openkith.neural_scoring.mixtures import MixtureConfig, TrialSamples
from openkith.neural_scoring.network import NetworkConfig, WholeNetwork
from openkith.neural_scoring.recordings import Recordings, stack
from openkith.neural_scoring.trainer import (
    CONFIGS,
    ScorerConfig,
    TrialLoss,
    _HeldOut,
    train_scorer,
    trial_batches,
)
from openkith.training import TrainConfig, configure, find_config, list_checkpoints, read_weights
from talkers import write_talkers

NAMES = ("a", "b", "c", "d", "e", "f")
CLOSE = 1e-4
WAIT = 240  # seconds


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talkers(tmp_path_factory.mktemp("corpus"), NAMES, 3, 0.5)


@pytest.fixture(scope="module")
def enrol_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_enrol_model(EnrolModel(4, EnrolModelConfig(dim=16)).state_dict(), path)
    return path


def small_config(**options: Any) -> ScorerConfig:
    network = NetworkConfig(enrolment_dim=16, width=16, feed_forward=16)
    training = TrainConfig(**{"epochs": 2, "batch_size": 3, "accelerator": "cpu", **options})
    return ScorerConfig(enrolment_seconds=0.3, test_seconds=0.3, turns=1, network=network, train=training)


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def make_batch(corpus: Path, rows: list[int], mixed: float) -> dict[str, torch.Tensor]:
    samples = TrialSamples(Recordings.of(corpus), 4800, 4800, MixtureConfig(mixed=mixed, noisy=0.0))
    return stack([samples.draw(row, np.random.default_rng(row)) for row in rows])


@pytest.mark.parametrize("mixed", [0.0, 0.7])
def test_the_loss_of_a_batch(corpus: Path, mixed: float) -> None:
    """Trial by trial: the match, the e - 1 that follow, and of mixtures one of a talker; the second talker matches."""
    torch.manual_seed(1)
    model, rows, e = Small().eval(), [0, 4, 9, 10, 17], 3
    batch = make_batch(corpus, rows, mixed)
    with torch.no_grad():
        found = TrialLoss(e, 0.95)(model, batch)["loss"]  # type: ignore[arg-type]
        own, frames = model.embed(batch["enrolments"]), model.frames(batch["tests"])
        speakers, second = batch["speakers"].tolist(), batch["second"].tolist()
        values = []
        for test in range(len(rows)):
            asked = [(speakers[(test + k) % 5], own[(test + k) % 5]) for k in range(e)]
            if mixed:
                whose = second[test] if second[test] >= 0 else speakers[test]
                asked.append((whose, model.embed(batch["extras"])[test]))
            for who, embedding in asked:
                p = torch.sigmoid(model(embedding[None, None], frames[test][None]))[0, 0]
                match = who in (speakers[test], second[test])
                values.append(-0.95 * p.log() if match else -0.05 * (1 - p).log())
    assert ("extras" in batch) == bool(mixed)
    assert any(other >= 0 for other in second) == bool(mixed)
    torch.testing.assert_close(found, torch.stack(values).mean())


def test_only_the_enrolment_encoder_stays_as_it_is(corpus: Path, enrol_model: Path, tmp_path: Path) -> None:
    config = small_config(max_steps=1, learning_rate=1e-2)
    train_scorer(config, corpus, tmp_path / "run", start=enrol_model)
    after = read_weights(list_checkpoints(tmp_path / "run")[-1])
    before = read_weights(enrol_model)
    for name, tensor in before.items():
        torch.testing.assert_close(after[f"enrollmodel.{name}"], tensor, rtol=0, atol=0)
    trained = "testencoder.speaker_encoder.layer1.0.conv1.weight"
    assert (after[trained] - before[trained.removeprefix("testencoder.")]).abs().max() > 1e-3
    assert {name.split(".")[0] for name in after} == {
        *("enrollmodel", "testencoder", "scoring_linear1", "scoring_linear2", "mlp", "transformer_model")
    }


def test_going_on_gives_the_losses_of_one_run(corpus: Path, enrol_model: Path, tmp_path: Path) -> None:
    config = small_config(keep=1)
    whole = train_scorer(config, corpus, tmp_path / "whole", start=enrol_model)
    assert (whole.steps, whole.epochs) == (4, 2)
    train_scorer(small_config(keep=1, max_steps=3), corpus, tmp_path / "parts", start=enrol_model)
    with pytest.raises(ConfigError, match="resume it"):
        train_scorer(config, corpus, tmp_path / "parts", start=enrol_model)
    train_scorer(config, corpus, tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / "steps.csv").read_bytes() == (tmp_path / "whole" / "steps.csv").read_bytes()


def test_nothing_to_begin_from(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to begin from.*--from"):
        train_scorer(small_config(), corpus, tmp_path / "run")
    with pytest.raises(ConfigError, match="nothing to begin from"):
        train_scorer(small_config(), corpus, tmp_path / "run", resume=True)


def test_batches(corpus: Path) -> None:
    recordings = Recordings.of(corpus)
    config = replace(small_config(), turns=2, group=2)
    neighbours = {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"], "e": ["f"], "f": ["e"]}
    batches = trial_batches(recordings, neighbours, config)
    epoch = list(batches(0, 0, 1))
    assert [len(batch) for batch in epoch] == [3, 3, 3, 3]
    places = [int(recordings.owners[row]) for batch in epoch for row in batch]
    assert sorted(places) == sorted([*range(6), *range(6)])
    assert all(one // 2 == other // 2 for one, other in zip(places[::2], places[1::2], strict=True))
    assert list(batches(1, 0, 1)) != epoch
    shares = [list(batches(0, rank, 2)) for rank in range(2)]
    double = trial_batches(recordings, neighbours, replace(config, train=replace(config.train, batch_size=6)))
    assert [one + other for one, other in zip(*shares, strict=True)] == list(double(0, 0, 1))


class _Perfect(WholeNetwork):
    """Knows from the features whose they are: each talker's begin with another number."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0, :1]

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :1, :2]

    def forward(self, enrolments: torch.Tensor, frames: torch.Tensor, padding: object = None) -> torch.Tensor:
        assert padding is None
        return -(enrolments - frames).abs().amin(dim=-1)


def test_held_out_trials(corpus: Path) -> None:
    config = replace(small_config(), held_out_clips=4, mixture=MixtureConfig(mixed=0.7))
    held_out = _HeldOut(Recordings.of(corpus), config, None)
    enrolments, tests, matches = held_out._make()
    assert enrolments.shape == (6, 31, 80)
    assert tests.shape == (24, 31, 80)
    assert matches.shape == (24, 6)
    assert all(matches[row, row // 4] for row in range(24))
    counts = matches.sum(dim=1)
    assert 8 <= int((counts == 2).sum()) <= 23  # the second talkers of mixtures
    assert set(counts.tolist()) == {1, 2}
    for one, other in zip(held_out._make(), (enrolments, tests, matches), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for row, talkers in enumerate(matches):  # the features say who talks
        tests[row, 0, :2] = talkers.nonzero().flatten()[[0, -1]].float()
    enrolments[:, 0, 0] = torch.arange(6.0)
    held_out._made = enrolments, tests, matches
    assert held_out(_Perfect()) == 0
    enrolments[:, 0, 0] = torch.arange(6.0).roll(1)
    assert held_out(_Perfect()) > 0.4


def test_nobody_enrols_with_what_is_tested(corpus: Path) -> None:
    held_out = _HeldOut(Recordings.of(corpus), small_config_with_mixtures(), None)
    enrolled = {held_out._recordings.utterances[index].path for index in held_out._enrolled}
    assert len(enrolled) == 6
    assert not enrolled & {each.path for each in held_out._rest.utterances}


def small_config_with_mixtures() -> ScorerConfig:
    return replace(small_config(), mixture=MixtureConfig())


def test_too_few_held_out_utterances(enrol_model: Path, tmp_path: Path) -> None:
    corpus = write_talkers(tmp_path / "corpus", ("a", "b", "c", "d"), 1, 0.4)
    with pytest.raises(NotEnoughDataError, match="fewer than two of them have two utterances"):
        train_scorer(replace(small_config(), held_out=2), corpus, tmp_path / "run", start=enrol_model)


def test_the_configurations_that_come_with_openkith() -> None:
    """The values of the paper, as they are."""
    files = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert files == ["clean", "enrol-model", "multi", "small", "small-enrol-model"]
    clean, multi = (
        configure(ScorerConfig, find_config(name, CONFIGS)).options for name in ("clean", "multi.yaml")
    )
    for config in (clean, multi):
        assert (config.enrolment_seconds, config.enrolments, config.match_weight) == (4.0, 200, 0.95)
        assert config.network == NetworkConfig()
        options = config.train
        assert (options.batch_size, options.epochs, options.keep) == (256, 60, 10)
        assert (options.optimiser, options.learning_rate) == ("adam", 1e-4)
        assert (options.schedule, options.decay) == ("plateau", 0.95)
    assert (clean.test_seconds, multi.test_seconds) == (2.0, 4.0)
    assert (clean.mixture.mixed, clean.mixture.noisy, clean.mixture.augment) == (0, 0, 0)
    assert multi.mixture == MixtureConfig()
    assert (multi.mixture.mixed, multi.mixture.noisy, multi.mixture.augment) == (0.7, 0.1, 0.6)
    assert multi.mixture.snr == (-3.0, 3.0)
    configure(ScorerConfig, find_config("small", CONFIGS))
    for name in ("enrol-model", "small-enrol-model"):
        configure(EnrolModelConfig, find_config(name, CONFIGS))


def test_configurations_are_found(tmp_path: Path) -> None:
    own = tmp_path / "clean.yaml"
    own.write_text("enrolments: 3\n")
    assert find_config(own, CONFIGS) == own
    assert find_config("clean", CONFIGS) == CONFIGS / "clean.yaml"
    for name in ("cleanest", str(tmp_path / "multi.yaml"), "clean.yml"):
        with pytest.raises(
            ConfigError, match="no such file; give a YAML file, or one of clean, enrol-model, multi"
        ):
            find_config(name, CONFIGS)


def test_unknown_keys(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("mixture:\n  mixd: 0.5\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml.*unknown key 'mixd'; did you mean 'mixed'"):
        configure(ScorerConfig, own)
    assert "train" in {field.name for field in fields(ScorerConfig)}


@pytest.mark.parametrize(
    "options",
    [
        {"enrolments": 0},
        {"match_weight": 1.0},
        {"group": 0},
        {"turns": 0},
        {"held_out": -1},
        {"held_out_clips": 0},
        {"test_seconds": 0.0},
        {"enrolment_seconds": 0.1},
    ],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ScorerConfig(**options)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_two_processes_are_one_with_twice_the_batch(corpus: Path, tmp_path: Path) -> None:
    """Enrolments of both are asked about by the test utterances of each."""
    script = Path(__file__).with_name("trial_training.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(script), str(corpus), str(tmp_path / "two"), "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == 0, done.stderr
    run(corpus, tmp_path / "one", 8)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=CLOSE)
    assert len(losses(tmp_path / "two")) == 6
    alone = tmp_path / "alone"
    run(corpus, alone, 4)
    assert abs(losses(alone)[0] - losses(tmp_path / "one")[0]) > CLOSE  # which the above is not by chance
