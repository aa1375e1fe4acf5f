"""Options as frozen dataclasses, to and from YAML.

An unknown key, a key given twice, a wrong type or a missing value is a `ConfigError` that names the key:
nothing is passed over in silence. Each default stands in one place, the dataclass.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from openkith.errors import ConfigError

__all__ = ["YAMLLoader", "dump_yaml", "from_dict", "load_yaml", "to_dict"]

T = TypeVar("T")

_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "nothing",
    Path: "a path",
}


def to_dict(options: Any) -> dict[str, Any]:
    """The fields of a dataclass instance as plain lists, dicts and scalars, for JSON or YAML."""
    fields = [field.name for field in dataclasses.fields(options) if field.init]
    return {name: _plain(getattr(options, name)) for name in fields}


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build a dataclass from a mapping.

    Args:
        cls: A dataclass.
        values: Field names to values; fields with defaults may be missing.
        where: What the values come from, such as a file name, for error messages.

    Raises:
        ConfigError: An unknown key (the nearest known one is named), a missing or a wrongly typed value, or a
            value that the class's ``__post_init__`` refuses.
    """
    prefix = f"{where}: " if where else ""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix}expected keys and values, found {type(values).__name__}")
    assert isinstance(cls, type)
    assert dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
            raise ConfigError(f"{prefix}unknown key {key!r}; {hint}")
    arguments: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _typed(values[name], hints[name], f"{prefix}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{prefix}missing key {name!r}")
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from error


def load_yaml(cls: type[T], path: str | Path) -> T:
    """Read a dataclass from a YAML file.

    Raises:
        ConfigError: As `from_dict`, or the file is missing or is not YAML.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), YAMLLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return from_dict(cls, {} if values is None else values, str(path))


def dump_yaml(options: Any) -> str:
    """A dataclass instance as YAML text that `load_yaml` reads back."""
    text: str = yaml.safe_dump(to_dict(options), sort_keys=False, allow_unicode=True)
    return text


class YAMLLoader(yaml.SafeLoader):
    """YAML 1.2's numbers, in which 1e-5 is one (YAML 1.1 takes it for text), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """What YAML calls a mapping; a key that stands there twice is refused."""
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.append(key.value)
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        return values


YAMLLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value as the type hint has it, or a ConfigError: 3 for 3.0 will do, "3" and true for 3 will not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        nested = [option for option in arguments if dataclasses.is_dataclass(option)]
        if isinstance(value, Mapping) and len(nested) == 1:
            return _typed(value, nested[0], where)  # whose error names the key
        for option in arguments:
            try:
                return _typed(value, option, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where} is {value!r}; expected {_name(hint)}")
    if origin is typing.Literal:
        if value in arguments and not isinstance(value, bool):
            return value
        raise ConfigError(f"{where} is {value!r}; choose from: {', '.join(map(str, arguments))}")
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; expected a list")
        hints = arguments
        if origin is not tuple or arguments[-1] is Ellipsis:
            hints = arguments[:1] * len(value)
        if len(hints) != len(value):
            raise ConfigError(f"{where} has length {len(value)}; expected {len(hints)}")
        items = [
            _typed(item, hint, f"{where}[{i}]")
            for i, (item, hint) in enumerate(zip(value, hints, strict=True))
        ]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected keys and values")
        return {
            _typed(key, arguments[0], where): _typed(item, arguments[1], f"{where}.{key}")
            for key, item in value.items()
        }
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is Any or (hint is type(None) and value is None):
        return value
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} is {value!r}; expected {_name(hint)}")


def _name(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if arguments:
        return " or ".join(_name(argument) for argument in arguments)
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))
