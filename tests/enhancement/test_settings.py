"""Configurations: the defaults of 2022, those that come with openkith, and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from openkith.enhancement.settings import CONFIGS, EnhancementConfig
from openkith.errors import ConfigError
from openkith.losses import enhancement_loss_class
from openkith.training import configure, find_config

PUBLISHED = {
    "v2-mse": ("mse", "normal"),
    "v2-cs": ("cs", "normal"),
    "v2-mse-cs": ("mse+cs", "normal"),
    "v2-softmax": ("softmax", "normal"),
    "v2-triplet": ("triplet+cs", "triplet"),
    "v2-da-cs": ("da+cs", "distribution"),
    "v2-da-mse": ("da+mse", "distribution"),
}


def test_the_files_that_there_are() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*PUBLISHED, "residual-supcon"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_families(name: str) -> None:
    options = configure(EnhancementConfig, find_config(name, CONFIGS)).options
    loss, form = PUBLISHED[name]
    assert (options.net.name, options.net.activation, options.loss.name) == ("v2", "elu", loss)
    assert enhancement_loss_class(loss).needs == form
    train = options.train
    assert (train.optimiser, train.learning_rate, train.epochs) == ("adam", 1e-5, 40)
    assert (train.schedule, train.decay) == ("exponential", 0.99)
    assert 200 <= train.batch_size <= 1000
    assert form != "distribution" or options.loss.options == {"sigma": 1.0}
    assert (options.centre, options.centre_output, options.final) == (False, False, "last")
    assert find_config(f"{name}.yaml", CONFIGS) == find_config(name, CONFIGS)


def test_what_a_file_leaves_out_is_as_in_2022(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("train: {epochs: 3}\nloss: {name: da+cs, options: {sigma: 1.0}}\n")
    found = configure(EnhancementConfig, file, ["loss.options.sigma=0.1"])
    train = found.options.train
    assert (train.epochs, train.batch_size, train.learning_rate, train.decay) == (3, 200, 1e-5, 0.99)
    assert found.options.loss.options == {"sigma": 0.1}
    assert "loss.options.sigma: 0.1 (--set)" in found.lines()
    assert f"train.epochs: 3 ({file})" in found.lines()
    assert "net.activation: elu (default)" in found.lines()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("net.name=v9", "no enhancement network is named 'v9'; there are: v1, v2"),
        ("net.options.dropout=0.1", "network 'v2' has no option 'dropout'"),
        ("net.activation=gelu", "activation is 'gelu'; there are: relu, elu"),
        ("loss.name=mmse", "no enhancement loss is named 'mmse'; there are: mse,"),
        ("loss.options.sigma=1", "enhancement loss 'mse' has no option 'sigma'"),
        ("loss.weights_tensor=fc.weight", "weights is not set"),
        ("data.second_list=x", "second_list is set and test_list is not"),
        ("data.tests=x", "unknown key 'tests'"),
        ("per_speaker=0", "per_speaker is 0; give 1 or more"),
        ("final=first", "final is 'first'; choose from: last, best"),
    ],
)
def test_an_error_names_key_and_remedy(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(EnhancementConfig, find_config("v2-mse", CONFIGS), [setting])
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file() -> None:
    with pytest.raises(
        ConfigError, match="v3-mse: no such file; give a YAML file, or one of residual-supcon, v2-cs"
    ):
        find_config("v3-mse", CONFIGS)
