"""Who may import whom: the rows and bars of the design, read from the source of every module.

Imports inside functions and under TYPE_CHECKING count as much as those at the top of a module, and so do modules
named in a string ("openkith.encoders.networks.ge2e:GE2E").
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "openkith"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

# From the top. A name imports the rows below it, and its own row where no bar stands between the two.
ROWS = (
    {"__main__", "cli"},
    {"service", "report", "evaluation", "embedding_layout", "demo", "doctor", "bulk"},
    {
        *("recognizer", "openset", "cohort_building"),
    },
    {"tuning", "enhancement", "neural_scoring"},
    {"encoders", "data", "training", "scoring", "gallery", "migrations"},
    {"audio", "losses", "metrics"},
    {"config", "cache", "artefact", "locks", "wheels"},
    {"errors"},
)
# The first of a pair never imports the second, directly or by way of others.
BARS = (
    ("openset", "recognizer"),
    *[("report", "evaluation"), ("evaluation", "report")],
    *[(a, b) for a in ROWS[3] for b in ROWS[3] if a != b],
    ("encoders", "losses"),
    *[("losses", "audio"), ("metrics", "audio"), ("metrics", "losses"), ("losses", "metrics")],
    # The gallery stores arrays and the fingerprints of models, never models.
    *[("gallery", "encoders"), ("gallery", "scoring"), ("gallery", "training")],
)
NO_NAMES = re.compile(r"_?(utils?|helpers?|common|misc)")
MODULE_IN_STRING = re.compile(rf"{PACKAGE}(\.[a-z_0-9]+)+(?=$|:\w+$)")


def row(name: str) -> int:
    """Index into ROWS."""
    return next(index for index, names in enumerate(ROWS) if name in names)


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Dotted names of everything that a source imports, anywhere in it; ``from a import b`` gives a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + (1 if is_package else 0)
                base = ".".join([*parents[:keep], *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = MODULE_IN_STRING.match(node.value)
            if found:
                yield found.group()


def part(dotted: str) -> str | None:
    """The part of openkith that a dotted name is in; None for another package, or a name of openkith itself."""
    head, _, rest = dotted.partition(".")
    name = rest.partition(".")[0]
    if head != PACKAGE or not ((SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()):
        return None
    return name or None


def import_graph() -> dict[str, set[str]]:
    """Part of openkith to the other parts that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = module_name(path)
        if module == PACKAGE:  # its lazy names come from everywhere; see test_public_names.py
            continue
        own = module.split(".")[1]
        found = imported_modules(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
        graph.setdefault(own, set()).update(name for name in map(part, found) if name and name != own)
    return graph


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports of a row above."""
    return [f"{a} imports {b}" for a in sorted(graph) for b in sorted(graph[a]) if row(b) < row(a)]


def barred(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports, direct or not, across a bar."""
    found = []
    for start, end in BARS:
        reached, waiting = set(), [start]
        while waiting:
            for name in graph.get(waiting.pop(), set()) - reached:
                reached.add(name)
                waiting.append(name)
        if end in reached:
            found.append(f"{start} reaches {end}")
    return found


def test_every_module_has_a_row() -> None:
    names = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    names |= {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    unplaced = names - {"__init__"} - set().union(*ROWS)
    assert not unplaced, f"give {sorted(unplaced)} a row in this file, and in the design"


def test_each_name_has_one_row() -> None:
    names = [name for names in ROWS for name in names]
    assert len(names) == len(set(names))


def test_imports_go_down() -> None:
    assert upward(import_graph()) == []


def test_no_import_crosses_a_bar() -> None:
    assert barred(import_graph()) == []


def test_no_module_is_named_utils() -> None:
    parts = {p for path in SOURCE.rglob("*") for p in path.relative_to(SOURCE).with_suffix("").parts}
    assert not [p for p in parts if NO_NAMES.fullmatch(p)]


def test_the_graph_is_the_real_one() -> None:
    """The checks above would pass on an empty graph too."""
    graph = import_graph()
    assert {"audio", "encoders", "scoring"} <= graph["recognizer"]
    assert "losses" in graph["tuning"]  # imported inside a function
    assert graph["errors"] == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import openkith.audio.io", "audio"),
        ("import openkith.audio as sound", "audio"),
        ("from openkith import audio", "audio"),
        ("from openkith.audio import load", "audio"),
        ("from ..audio import load", "audio"),
        ("from .. import audio", "audio"),
        ("def f():\n    from openkith.audio.io import load", "audio"),
        ("class A:\n    def f(self):\n        import openkith.audio", "audio"),
        ("if TYPE_CHECKING:\n    from openkith.audio import Audio", "audio"),
        ("TABLE = {'ge2e': 'openkith.audio.io:Audio'}", "audio"),
        ("import_module('openkith.audio')", "audio"),
        ("from openkith import __version__", None),
        ("import numpy.audio", None),
        ("text = 'openkith.audio has no such thing'", None),
    ],
)
def test_every_form_of_import_is_seen(source: str, expected: str | None) -> None:
    found = {part(name) for name in imported_modules(source, "openkith.scoring.base")} - {None}
    assert found == ({expected} if expected else set())


def test_relative_import_in_a_package() -> None:
    found = list(imported_modules("from .base import Scorer", "openkith.scoring", is_package=True))
    assert found == ["openkith.scoring.base.Scorer"]


def test_upward_imports_are_found() -> None:
    assert upward({"audio": {"recognizer", "errors"}, "cli": {"audio"}}) == ["audio imports recognizer"]


def test_bars_are_found_by_way_of_others() -> None:
    assert barred({"report": {"evaluation"}}) == ["report reaches evaluation"]
    assert barred({"encoders": {"training"}, "training": {"losses"}}) == ["encoders reaches losses"]
    assert barred({"recognizer": {"encoders", "losses"}}) == []
