"""Defaults, file and command line: who wins, who is blamed, and where each value came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openkith.errors import ConfigError
from openkith.training import TrainConfig, configure


@dataclass(frozen=True)
class Recipe:
    """A configuration of a caller's own, with the training's in it."""

    speakers: int
    weights: dict[str, float] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("speakers: 5\ntrain:\n  epochs: 60\n  learning_rate: 1e-4\n")
    return path


def test_set_is_above_file_is_above_default(file: Path) -> None:
    found = configure(Recipe, file, ["train.epochs=2", "weights.clean=0.5", "train.drops=[3, 4]"])
    assert found.options.speakers == 5
    assert found.options.train.epochs == 2
    assert found.options.train.learning_rate == 1e-4
    assert found.options.train.batch_size == TrainConfig().batch_size
    assert found.options.train.drops == (3, 4)
    assert found.options.weights == {"clean": 0.5}


def test_where_each_value_came_from(file: Path) -> None:
    found = configure(Recipe, file, ["train.epochs=2"])
    assert found.origins["speakers"] == str(file)
    assert found.origins["train.epochs"] == "--set"
    assert found.origins["train.learning_rate"] == str(file)
    assert found.origins["train.batch_size"] == "default"
    lines = found.lines()
    assert "train.epochs: 2 (--set)" in lines
    assert f"train.learning_rate: 0.0001 ({file})" in lines
    assert len(lines) == len(found.origins)


def test_a_mapping_s_keys_have_origins_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("speakers: 5\nweights: {clean: 1.0, noisy: 2.0}\n")
    lines = configure(Recipe, file, ["weights.clean=0.5"]).lines()
    assert lines[1:3] == ["weights.clean: 0.5 (--set)", f"weights.noisy: 2.0 ({file})"]
    assert "weights: {} (default)" in configure(Recipe, None, ["speakers=1"]).lines()


def test_a_mapping_at_once_and_the_later_of_two(file: Path) -> None:
    found = configure(
        Recipe, file, ["train={epochs: 3, seed: 4}", "train.seed=5", "speakers=6", "speakers=7"]
    )
    assert (found.options.train.epochs, found.options.train.seed, found.options.speakers) == (3, 5, 7)
    assert found.options.train.learning_rate == TrainConfig().learning_rate  # the file's mapping is gone
    assert found.origins["train.epochs"] == found.origins["train.seed"] == "--set"


def test_the_command_line_gives_what_the_file_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    assert configure(Recipe, tmp_path / "empty.yaml", ["speakers=3"]).options.speakers == 3
    assert configure(TrainConfig).options == TrainConfig()


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("speakers: 5\nspekers: 6", [], "{file}: unknown key 'spekers'; did you mean 'speakers'?"),
        ("speakers: 5\ntrain:\n  epoch: 6", [], "{file}: train: unknown key 'epoch'; did you mean 'epochs'?"),
        (
            "speakers: 5",
            ["train.epoch=6"],
            "--set train.epoch=6: train: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        ("speakers: 5", ["speakers=six"], "--set speakers=six: speakers is 'six'; expected a whole number"),
        ("speakers: 5", ["train.epochs=0"], "--set train.epochs=0: train: epochs is 0; give 1 or more"),
        ("speakers: six", ["train.epochs=2"], "{file}: speakers is 'six'; expected a whole number"),
        (
            "speakers: 5",
            ["speakers.most=2"],
            "--set speakers.most=2: 'speakers' is 5, and has no keys below it",
        ),
        ("speakers: 5", ["speakers"], "--set speakers: not key=value; write for example epochs=20"),
        ("speakers: 5", ["speakers=[1"], "--set speakers=[1: the value is not valid YAML; "),
        ("", ["train.epochs=2"], "{file}: missing key 'speakers'"),
        ("[1, 2]", [], "{file}: expected keys and values, found list"),
        ("a: [", [], "{file}: not valid YAML: "),
        ("speakers: 5\nspeakers: 6", [], "{file}: not valid YAML: the key 'speakers' is given twice"),
    ],
)
def test_the_error_names_key_and_source(tmp_path: Path, text: str, settings: list[str], message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        configure(Recipe, file, settings)
    assert str(caught.value).startswith(message.format(file=file))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        configure(TrainConfig, tmp_path / "none.yaml")


def test_an_alias_is_not_changed_in_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("first: &it {epochs: 3}\nsecond: *it\n")
    found = configure(Pair, tmp_path / "a.yaml", ["second.epochs=4"]).options
    assert (found.first.epochs, found.second.epochs) == (3, 4)


@dataclass(frozen=True)
class Pair:
    """Two of a kind."""

    first: TrainConfig
    second: TrainConfig
