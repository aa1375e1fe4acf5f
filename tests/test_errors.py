"""The tree in the module's docstring is the tree of the classes, and `require` says how to get a package."""

from __future__ import annotations

import inspect
import json
import sys
from types import ModuleType

import pytest

from openkith import errors


def tree_of_docstring() -> dict[str, str | None]:
    """Each class that the docstring draws, with the class that it is indented under."""
    assert errors.__doc__
    drawing = errors.__doc__.split("The tree::")[1].split("\n\nA message")[0]
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in filter(str.strip, drawing.splitlines()):
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        above = [entry for entry in above if entry[0] < indent]
        parents[name] = above[-1][1] if above else None
        above.append((indent, name))
    return parents


def classes() -> dict[str, type]:
    return {
        name: item
        for name, item in vars(errors).items()
        if inspect.isclass(item) and item.__module__ == errors.__name__
    }


def test_the_docstring_draws_the_classes() -> None:
    found = {}
    for name, item in classes().items():
        own = [base.__name__ for base in item.__bases__ if base.__module__ == errors.__name__]
        assert len(own) <= 1
        found[name] = own[0] if own else None
    assert found == tree_of_docstring()


def test_the_tree_has_one_root() -> None:
    assert [name for name, parent in tree_of_docstring().items() if parent is None] == ["KithError"]
    assert all(issubclass(item, errors.KithError) for item in classes().values())


def test_every_name_is_public() -> None:
    assert set(errors.__all__) == {*classes(), "require"}


@pytest.mark.parametrize("name", sorted(classes()))
def test_every_class_says_what_it_means(name: str) -> None:
    own = classes()[name].__dict__.get("__doc__")
    assert own
    assert own.endswith(".")


def test_require_gives_the_module() -> None:
    assert errors.require("json", "media", "nothing at all") is json


def test_require_names_purpose_package_and_remedy() -> None:
    with pytest.raises(errors.MissingDependencyError) as caught:
        errors.require("no_such_package_of_kith", "media", "reading M4A")
    message = str(caught.value)
    assert message == (
        "reading M4A needs the package 'no_such_package_of_kith': pip install 'openkith[media]'"
    )
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, errors.KithError)
    assert isinstance(caught.value.__cause__, ImportError)


def test_require_passes_on_what_is_no_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "a_broken_package_of_kith":
                raise RuntimeError("its own fault")

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(RuntimeError, match="its own fault"):
        errors.require("a_broken_package_of_kith", "media", "reading M4A")


def test_require_of_a_submodule(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("package_of_kith.part")
    monkeypatch.setitem(sys.modules, "package_of_kith", ModuleType("package_of_kith"))
    monkeypatch.setitem(sys.modules, "package_of_kith.part", module)
    assert errors.require("package_of_kith.part", "media", "reading M4A") is module
