"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import openkith

PUBLIC = [
    "Audio",
    "Decision",
    "Gallery",
    "KithError",
    "OpenSetClassifier",
    "Recognizer",
    "evaluate",
    "load",
    "load_encoder",
]
HEAVY = {"torch", "matplotlib"}
EXTRAS = {"av", "parselmouth"}
OTHERS = {"alembic", "numpy", "scipy", "sklearn", "sqlalchemy", "typer", "yaml"}
SOURCE = Path(openkith.__file__).parent
WITH_TORCH = {"losses"}  # parts that are about tensors; nothing imports them before they are needed


def run(code: str, *flags: str) -> str:
    """Standard output of a fresh interpreter."""
    command = [sys.executable, "-W", "error", *flags, "-c", code]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout


def loaded_by(code: str) -> set[str]:
    """Top-level packages in sys.modules after some code, and not before it."""
    marker = "loaded: "
    found = run(
        f"import sys; before = set(sys.modules); {code}; "
        f"print({marker!r} + ' '.join({{m.partition('.')[0] for m in set(sys.modules) - before}}))"
    )
    return set(found.splitlines()[-1].removeprefix(marker).split())


def test_public_names() -> None:
    assert openkith.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_resolves(name: str) -> None:
    thing = getattr(openkith, name)
    assert thing.__name__ == name
    assert thing.__module__.partition(".")[0] == "openkith"
    assert thing.__doc__


def test_dir_lists_them() -> None:
    assert set(PUBLIC) <= set(dir(openkith))
    assert "__version__" in dir(openkith)


def test_star_import() -> None:
    namespace: dict[str, object] = {}
    exec("from openkith import *", namespace)
    assert set(PUBLIC) <= set(namespace)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'recogniser'"):
        openkith.recogniser  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING, which a type checker reads, and the table that is used name the same."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    for_checkers = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers == openkith._HOMES
    assert sorted(for_checkers) == openkith.__all__


def test_importing_openkith_is_light() -> None:
    assert not loaded_by("import openkith") & (HEAVY | EXTRAS | OTHERS)


def test_importing_openkith_has_no_side_effect(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import openkith; openkith.Recognizer, openkith.Gallery"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert list(tmp_path.rglob("*")) == []


def test_light_import_is_measured() -> None:
    """The measurement itself: a name whose module needs a package does load it."""
    assert "numpy" in loaded_by("import openkith; openkith.load")


def parts() -> list[str]:
    names = {path.stem for path in SOURCE.glob("*.py")} | {
        path.parent.name for path in SOURCE.glob("*/__init__.py")
    }
    return sorted(names - {"__init__", "__main__"} - WITH_TORCH)


def test_no_part_loads_torch_or_an_extra_on_import() -> None:
    """All of them in one interpreter; one by one only to name the culprit."""
    everything = "; ".join(f"import openkith.{name}" for name in parts())
    if loaded_by(everything) & (HEAVY | EXTRAS):
        culprits = [name for name in parts() if loaded_by(f"import openkith.{name}") & (HEAVY | EXTRAS)]
        pytest.fail(f"importing {culprits} loads torch, matplotlib or an extra")


@pytest.mark.parametrize("arguments", [["--help"], ["identify", "--help"], ["models", "list", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = f"""
import contextlib, sys
from openkith.cli import main
sys.argv[1:] = {arguments!r}
with contextlib.suppress(SystemExit):
    main()
print("loaded:", *sys.modules)
"""
    *shown, loaded = run(code).splitlines()
    assert "Usage: kith" in shown[1]
    assert not {name.partition(".")[0] for name in loaded.split()} & (
        HEAVY | EXTRAS | {"scipy", "sqlalchemy"}
    )
