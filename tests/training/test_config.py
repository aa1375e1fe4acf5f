"""The configuration: it names what is wrong, and goes to YAML and back."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import openkith.training
from openkith.config import dump_yaml, from_dict, load_yaml
from openkith.errors import ConfigError
from openkith.training import TrainConfig


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("epochs", 0, "give 1 or more"),
        ("batch_size", 0, "give 1 or more"),
        ("accumulate", -1, "give 1 or more"),
        ("devices", 0, "give 1 or more"),
        ("keep", 0, "give 1 or more"),
        ("log_every", 0, "give 1 or more"),
        ("plateau", 0, "give 1 or more"),
        ("checkpoint_every", -1, "give 0 or more"),
        ("workers", -1, "give 0 or more"),
        ("patience", -1, "give 0 or more"),
        ("seed", -1, "give 0 or more"),
        ("max_steps", 0, "give 1 or more, or leave it out"),
        ("learning_rate", 0.0, "give a number above 0"),
        ("learning_rate", math.nan, "give a number above 0"),
        ("weight_decay", math.inf, "give 0 or more"),
        ("momentum", 1.0, "give a number from 0 to below 1"),
        ("decay", 1.1, "give a number above 0 up to 1"),
        ("clip", 0.0, "give a number above 0, or leave it out"),
        ("drops", (0, 5), "give numbers of epochs from 1"),
        ("measure", "", "give the name of the held-out measure"),
        ("schedule", "steps", "give numbers of epochs such as [50, 80]"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: value})
    assert remedy in str(caught.value)
    assert ("drops" if value == "steps" else name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 0.1}, "unknown key 'lerning_rate'; did you mean 'learning_rate'?"),
        ({"precision": "64"}, "precision is '64'; choose from: 32, bf16-mixed, 16-mixed"),
        ({"optimiser": "lion"}, "optimiser is 'lion'; choose from: adam, adamw, sgd"),
        ({"epochs": "many"}, "epochs is 'many'; expected a whole number"),
    ],
)
def test_what_a_file_cannot_say(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(TrainConfig, values, "clean.yaml")
    assert str(caught.value) == f"clean.yaml: {message}"


def test_to_yaml_and_back(tmp_path: Path) -> None:
    config = TrainConfig(
        epochs=60, schedule="steps", drops=(50, 80), decay=0.1, clip=5.0, precision="bf16-mixed"
    )
    (tmp_path / "train.yaml").write_text(dump_yaml(config))
    assert load_yaml(TrainConfig, tmp_path / "train.yaml") == config


def test_importing_it_does_not_load_torch() -> None:
    code = (
        "import sys; from openkith.training import TrainConfig, configure; configure(TrainConfig); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'lightning_fabric', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_of_the_package_is_there() -> None:
    for name in openkith.training.__all__:
        assert getattr(openkith.training, name).__name__ == name
    assert set(openkith.training.__all__) <= set(dir(openkith.training))
    with pytest.raises(AttributeError, match="nothing"):
        _ = openkith.training.nothing
