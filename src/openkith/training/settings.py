"""A configuration from its defaults, a file and ``--set key=value``, and where each value came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from openkith.config import YAMLLoader, from_dict, to_dict
from openkith.errors import ConfigError

__all__ = ["Settings", "configure", "find_config"]

T = TypeVar("T")

DEFAULT = "default"
ON_COMMAND_LINE = "--set"


@dataclass(frozen=True)
class Settings(Generic[T]):
    """A configuration, and where each of its values came from.

    Attributes:
        options: The dataclass.
        origins: Each key (``train.epochs`` for a field of a field) to "default", the file's name or "--set".
    """

    options: T
    origins: dict[str, str]

    def lines(self) -> list[str]:
        """A line for each key: its value and where that came from, to be shown at the start of a training."""
        values = dict(_leaves(self.options))
        return [f"{key}: {values[key]} ({origin})" for key, origin in self.origins.items()]


def find_config(name: str | Path, folder: Path) -> Path:
    """A configuration file, or by its name one of those that come with openkith.

    Args:
        name: A path; or the name of a file in the folder, with or without ``.yaml``.
        folder: Those that come with openkith.

    Raises:
        ConfigError: There is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    there = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if path.parent == Path() and path.suffix in ("", ".yaml") and path.stem in there:
        return there[path.stem]
    raise ConfigError(f"{name}: no such file; give a YAML file, or one of {', '.join(there)}")


def configure(cls: type[T], path: str | Path | None = None, settings: Sequence[str] = ()) -> Settings[T]:
    """Defaults, below what a YAML file says, below what ``key=value`` texts say.

        configure(TrainConfig, "clean.yaml", ["epochs=2", "learning_rate=1e-4"]).options.epochs  # 2

    Args:
        cls: A dataclass; its fields may be dataclasses, whose keys are written with a dot.
        path: The file; None: no file.
        settings: Each ``key=value``, the value as YAML has it; of two for one key the later holds.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value is wrong; the message names the key,
            and the file or the setting that it stands in.
    """
    values = {} if path is None else _read(Path(path))
    origins = dict.fromkeys(_keys(values), str(path))
    source, problem = str(path), _problem(cls, values)
    for setting in settings:
        key, value = _parse(setting)
        _put(values, key, value, setting)
        origins |= dict.fromkeys([key, *(f"{key}.{below}" for below in _keys(value))], ON_COMMAND_LINE)
        found = _problem(cls, values)
        if found != problem:  # this setting brought it, or took one away and left another
            source, problem = f"{ON_COMMAND_LINE} {setting}", found
    if problem:
        raise ConfigError(f"{source}: {problem}" if path or settings else problem)
    options = from_dict(cls, values)
    return Settings(options, {key: origins.get(key, DEFAULT) for key, _ in _leaves(options)})


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), YAMLLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _parse(setting: str) -> tuple[str, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{ON_COMMAND_LINE} {setting}: not key=value; write for example epochs=20")
    try:
        return key.strip(), yaml.load(text, YAMLLoader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{ON_COMMAND_LINE} {setting}: the value is not valid YAML; quote it, or write a list as [1, 2]"
        ) from error


def _put(values: dict[str, Any], key: str, value: Any, setting: str) -> None:
    """Set a value, under dots in nested mappings, which are copied: a YAML alias may share them."""
    *above, last = key.split(".")
    for part in above:
        inner = values.get(part)
        if inner is not None and not isinstance(inner, Mapping):
            raise ConfigError(f"{ON_COMMAND_LINE} {setting}: {part!r} is {inner!r}, and has no keys below it")
        values[part] = dict(inner or {})
        values = values[part]
    values[last] = value


def _problem(cls: type[Any], values: Mapping[str, Any]) -> str:
    try:
        from_dict(cls, values)
    except ConfigError as error:
        return str(error)
    return ""


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Every key of nested mappings, with dots, those above others too."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _leaves(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that has none below it, and its value as YAML has it."""
    plain = to_dict(options)
    for name, value in plain.items():
        inner = getattr(options, name)
        if dataclasses.is_dataclass(inner):
            yield from _leaves(inner, f"{prefix}{name}.")
        elif isinstance(value, dict) and value:
            yield from ((f"{prefix}{name}.{key}", item) for key, item in value.items())
        else:
            yield f"{prefix}{name}", value
