"""Options to and from mappings and YAML: what is accepted, and how what is not is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from openkith.config import dump_yaml, from_dict, load_yaml, to_dict
from openkith.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    rate: float = 0.01
    milestones: tuple[int, ...] = (50, 80)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError(f"rate is {self.rate}; give a number above 0")


@dataclass(frozen=True)
class Options:
    name: str
    epochs: int = 100
    scale: float = 1.0
    shuffle: bool = True
    mode: Literal["fast", "exact"] = "fast"
    seed: int | None = None
    folder: Path = Path("out")
    schedule: Schedule = Schedule()
    warmup: Schedule | None = None
    stages: list[Schedule] = field(default_factory=list)
    span: tuple[float, str] = (1.0, "s")
    weights: dict[str, float] = field(default_factory=dict)
    widths: Sequence[int] = (1, 2)
    extra: Any = None
    computed: int = field(default=0, init=False)


FULL = {
    "name": "é",
    "epochs": 7,
    "scale": 0.5,
    "shuffle": False,
    "mode": "exact",
    "seed": 3,
    "folder": "a/b",
    "schedule": {"rate": 0.1, "milestones": [1]},
    "warmup": {"rate": 0.2, "milestones": []},
    "stages": [{"rate": 0.3, "milestones": [4, 5]}],
    "span": [2.5, "min"],
    "weights": {"a": 1.5},
    "widths": [3],
    "extra": {"anything": [1, None]},
}


def refusal(values: Mapping[Any, Any], where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        from_dict(Options, values, where)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_field() -> None:
    options = from_dict(Options, FULL)
    assert options == Options(
        name="é",
        epochs=7,
        scale=0.5,
        shuffle=False,
        mode="exact",
        seed=3,
        folder=Path("a/b"),
        schedule=Schedule(0.1, (1,)),
        warmup=Schedule(0.2, ()),
        stages=[Schedule(0.3, (4, 5))],
        span=(2.5, "min"),
        weights={"a": 1.5},
        widths=(3,),
        extra={"anything": [1, None]},
    )


def test_to_dict_is_plain_and_comes_back() -> None:
    assert to_dict(from_dict(Options, FULL)) == FULL
    assert "computed" not in to_dict(Options("a"))


def test_defaults_are_those_of_the_class() -> None:
    assert from_dict(Options, {"name": "a"}) == Options("a")


def test_a_whole_number_is_a_number() -> None:
    scale = from_dict(Options, {"name": "a", "scale": 3}).scale
    assert isinstance(scale, float)
    assert scale == 3.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"epochs": 3.0}, "epochs is 3.0; expected a whole number"),
        ({"epochs": "3"}, "epochs is '3'; expected a whole number"),
        ({"epochs": True}, "epochs is True; expected a whole number"),
        ({"epochs": None}, "epochs is None; expected a whole number"),
        ({"scale": "fast"}, "scale is 'fast'; expected a number"),
        ({"scale": False}, "scale is False; expected a number"),
        ({"shuffle": 1}, "shuffle is 1; expected true or false"),
        ({"shuffle": "yes"}, "shuffle is 'yes'; expected true or false"),
        ({"name": 3}, "name is 3; expected text"),
        ({"mode": "quick"}, "mode is 'quick'; choose from: fast, exact"),
        ({"mode": True}, "mode is True; choose from: fast, exact"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number or nothing"),
        ({"seed": True}, "seed is True; expected a whole number or nothing"),
        ({"folder": 3}, "folder is 3; expected a path"),
        ({"schedule": 3}, "schedule: expected keys and values, found int"),
        ({"schedule": {"milestones": 3}}, "schedule: milestones is 3; expected a list"),
        ({"schedule": {"milestones": [1, "x"]}}, "schedule: milestones[1] is 'x'; expected a whole number"),
        ({"schedule": {"rte": 1}}, "schedule: unknown key 'rte'; did you mean 'rate'?"),
        ({"warmup": {"rte": 1}}, "warmup: unknown key 'rte'; did you mean 'rate'?"),
        ({"warmup": 3}, "warmup is 3; expected Schedule or nothing"),
        ({"stages": [{}, {"rate": "x"}]}, "stages[1]: rate is 'x'; expected a number"),
        ({"span": [1.0]}, "span has length 1; expected 2"),
        ({"span": [1.0, 2.0]}, "span[1] is 2.0; expected text"),
        ({"weights": [1]}, "weights is [1]; expected keys and values"),
        ({"weights": {"a": "x"}}, "weights.a is 'x'; expected a number"),
        ({"weights": {1: 1.0}}, "weights is 1; expected text"),
        ({"widths": "12"}, "widths is '12'; expected a list"),
        ({"schedule": {"rate": -1}}, "schedule: rate is -1.0; give a number above 0"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], expected: str) -> None:
    assert refusal({"name": "a", **values}) == expected
    assert refusal({"name": "a", **values}, "set.yaml") == f"set.yaml: {expected}"


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    assert refusal({"name": "a", "epoch": 3}, "set.yaml") == (
        "set.yaml: unknown key 'epoch'; did you mean 'epochs'?"
    )


def test_an_unknown_key_like_no_other_lists_the_known() -> None:
    message = refusal({"name": "a", "zzzz": 3})
    assert message.startswith("unknown key 'zzzz'; known: name, epochs, scale,")
    assert "computed" not in message


def test_a_field_that_init_does_not_take_is_unknown() -> None:
    assert "unknown key 'computed'" in refusal({"name": "a", "computed": 3})


def test_a_key_that_is_no_text_is_unknown() -> None:
    assert "unknown key True" in refusal({"name": "a", True: 3})


def test_a_missing_key_is_named() -> None:
    assert refusal({}, "set.yaml") == "set.yaml: missing key 'name'"


def test_not_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^set\.yaml: expected keys and values, found list$"):
        from_dict(Options, [1], "set.yaml")  # type: ignore[arg-type]


def test_yaml_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "set.yaml"
    options = from_dict(Options, FULL)
    file.write_text(dump_yaml(options), encoding="utf-8")
    assert load_yaml(Options, file) == options


def test_an_empty_file_has_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "set.yaml"
    file.write_text("# nothing\n")
    assert load_yaml(Schedule, file) == Schedule()


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "+1e-5", "1.e-5", "1.0e-5", "0.00001", ".1e-4"])
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, text: str) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(f"rate: {text}\n")
    assert load_yaml(Schedule, file).rate == pytest.approx(1e-5, rel=1e-12)


@pytest.mark.parametrize("text", ["'1e-5'", "1e-5x", "e5", "1e"])
def test_text_that_looks_like_a_number_stays_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(f"name: {text}\n")
    assert load_yaml(Options, file).name == text.strip("'")


def test_the_yaml_package_itself_is_left_alone() -> None:
    assert yaml.safe_load("rate: 1e-5") == {"rate": "1e-5"}
    assert yaml.safe_load("{a: 1, a: 2}") == {"a": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate: 1\nmilestones: [3]\nrate: 2\n", "not valid YAML: the key 'rate' is given twice in"),
        ("rate: [1\n", "not valid YAML: "),
        ("a: b: c\n", "not valid YAML: "),
        ("rate: !!python/object/apply:os.getcwd []\n", "not valid YAML: "),
        ("- 1\n", "expected keys and values, found list"),
        ("rate: much\n", "rate is 'much'; expected a number"),
        ("rate: -1\n", "rate is -1.0; give a number above 0"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(Schedule, file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {expected}")
    assert "\n" not in message


def test_a_key_given_twice_is_located(tmp_path: Path) -> None:
    file = tmp_path / "set.yaml"
    file.write_text("schedule:\n  rate: 1\n  rate: 2\n")
    with pytest.raises(ConfigError, match=r"'rate' is given twice .*line 3"):
        load_yaml(Options, file)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        load_yaml(Options, missing)
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_yaml(Options, tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"binary\.yaml: cannot be read .*; give a YAML file$"):
        load_yaml(Options, binary)
