"""The configuration: it names what is wrong, and goes to YAML and back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from openkith.config import dump_yaml, from_dict, load_yaml, to_dict
from openkith.errors import ConfigError
from openkith.losses import SpeakerRPLLoss, SpeakerRPLv2Loss
from openkith.tuning import TuneConfig


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("members", 0, "give 1 or more"),
        ("batch", 0, "give 1 or more"),
        ("unknown_batch", -1, "give 1 or more"),
        ("temperature", 0.0, "give a number above 0"),
        ("learning_rate", math.nan, "give a number above 0"),
        ("learning_rate", math.inf, "give a number above 0"),
        ("unknown_weight", -0.1, "give 0 or more"),
        ("weight", math.nan, "give 0 or more"),
        ("weight", math.inf, "give 0 or more"),
        ("weight_decay", -1.0, "give 0 or more"),
        ("momentum", 1.0, "give a number from 0 to below 1"),
        ("original_share", 1.1, "give a share from 0 to 1"),
        ("original_share", math.nan, "give a share from 0 to 1"),
        ("continued", -0.5, "give a share from 0 to 1"),
        ("steps", 0, "give 1 or more, or leave it out"),
        ("epochs", 0, "give 1 or more, or leave it out"),
        ("out", -1, "give 1 or more, 0 for no last layer, or leave it out"),
        ("keep", 0, "give a count from 1, or a share above 0 up to 1.0"),
        ("keep", 1.5, "give a count from 1, or a share above 0 up to 1.0"),
        ("keep", 0.0, "give a count from 1, or a share above 0 up to 1.0"),
        ("loss", "'lda'", "there are: softmax, .*, speaker-rpl-v2"),
        ("adapter", "'lstm'", "there are: mlp, residual, gru"),
        ("selection", "'best'", "there are: all, lowest-variance, first"),
        ("fusion", "'sum'", "there are: mean, standardised, calibrated"),
    ],
)
def test_names_what_is_wrong(name: str, value: Any, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is {value}; {remedy}$"):
        TuneConfig(**{name: value.strip("'") if isinstance(value, str) else value})


def test_lists_and_pairs_that_are_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^hidden is \[8, 0\]; give widths of 1 or more$"):
        TuneConfig(hidden=(8, 0))
    with pytest.raises(ConfigError, match=r"^drops is \[0.5, 1.0\]; give shares of the run"):
        TuneConfig(drops=(0.5, 1.0))
    with pytest.raises(ConfigError, match=r"^steps is 5 and epochs 3; give one of the two$"):
        TuneConfig(steps=5, epochs=3)
    with pytest.raises(ConfigError, match=r"^loss_options has 'weight', which is a key of its own"):
        TuneConfig(loss_options={"weight": 3.0})


def test_limits_that_are_allowed() -> None:
    TuneConfig(unknown_weight=0, weight=0, original_share=0, steps=1, members=1, batch=1, keep=1, continued=0)
    TuneConfig(original_share=1, keep=1.0, out=0, hidden=(), drops=(), momentum=0)


@pytest.mark.parametrize(
    "config",
    [
        TuneConfig(),
        TuneConfig.released(),
        TuneConfig.v2(loss_options={"tau": 0.1, "alpha": 5}, keep=10, hidden=(64, 32), drops=(0.3,)),
        TuneConfig(
            loss="rpl", loss_options={"points_per_speaker": 2}, adapter="gru", out=7, steps=9, weight=0.2
        ),
    ],
)
def test_yaml_both_ways(config: TuneConfig, tmp_path: Path) -> None:
    path = tmp_path / "tune.yaml"
    path.write_text(dump_yaml(config))
    read = load_yaml(TuneConfig, path)
    assert read == config
    assert type(read.keep) is type(config.keep)
    assert from_dict(TuneConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_an_unknown_key() -> None:
    with pytest.raises(ConfigError, match="unknown key 'step'; did you mean 'steps'"):
        from_dict(TuneConfig, {"step": 3})


def test_released() -> None:
    """METHODS: 16 + 48, SGD 0.01, momentum 0.9, decay 1e-4, 100 epochs, a tenth at 50 and 80, beta 0.01, w 5, T 1."""
    config = TuneConfig.released()
    assert (config.batch, config.unknown_batch, config.epochs, config.steps) == (16, 48, 100, None)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.01, 0.9, 1e-4)
    assert config.drops == (0.5, 0.8)
    assert (config.variant, config.unknown_weight, config.weight, config.temperature) == (
        "released",
        0.01,
        5,
        1,
    )
    assert config.members == 1
    assert config.planned_steps(30, 10) == 200  # 30 clips: a batch of 16 and one of 14 an epoch
    assert TuneConfig.released(seed=4, members=3).members == 3
    assert TuneConfig.released(steps=7).epochs is None


def test_v2() -> None:
    config = TuneConfig.v2(members=12)
    assert (config.loss, config.members, config.selection) == ("speaker-rpl-v2", 12, "lowest-variance")
    assert TuneConfig.v2().members == 30
    assert TuneConfig.v2().loss_options == {"tau": 0.5}
    assert round(TuneConfig.v2().keep * 30) == 10


def test_planned_steps() -> None:
    assert [TuneConfig().planned_steps(9, n) for n in (2, 40, 50)] == [120, 120, 150]
    assert TuneConfig(steps=8).planned_steps(9, 50) == 8
    assert TuneConfig().planned_steps(9, 2, 1 / 8) == 15
    assert TuneConfig(steps=3).planned_steps(9, 2, 0.01) == 1
    assert TuneConfig(epochs=10, batch=4).planned_steps(9, 2, 0.5) == 15


class TestParts:
    def test_the_loss_has_the_options(self) -> None:
        generator = torch.Generator()
        loss = TuneConfig.released(weight=3.0, temperature=2.0).make_loss(4, 6, 2, generator)
        assert isinstance(loss, SpeakerRPLLoss)
        assert (loss.variant, loss.weight, loss.temperature, loss.unknown_weight) == ("released", 3, 2, 0.01)
        assert (loss.n_speakers, loss.dim, loss.members) == (4, 6, 2)
        other = TuneConfig.v2(loss_options={"tau": 0.2}, unknown_term="energy-margin").make_loss(
            4, 6, 1, generator
        )
        assert isinstance(other, SpeakerRPLv2Loss)
        assert (other.tau, other.weight, other.unknown_term) == (0.2, 5, "energy-margin")

    def test_options_of_another_loss(self) -> None:
        with pytest.raises(ConfigError, match="loss 'softmax' has no option 'weight'"):
            TuneConfig(loss="softmax", weight=2.0).make_loss(4, 6, 1, torch.Generator())
        with pytest.raises(ConfigError, match="has no option 'margine'"):
            TuneConfig(loss="aam-softmax", loss_options={"margine": 0.2}).make_loss(
                4, 6, 1, torch.Generator()
            )

    def test_the_adapter_has_the_options(self) -> None:
        adapter = TuneConfig(hidden=(7,), out=5, norm="batch").make_adapter(9, 3, torch.Generator())
        assert (adapter.dim, adapter.out, adapter.members, adapter.batch_dependent) == (9, 5, 3, True)
