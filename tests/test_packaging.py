"""The distribution: its metadata, its dependencies and their pins, and the files that travel with it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import openkith

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "openkith"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = {
    *("torch", "numpy", "scipy", "scikit-learn", "soundfile", "soxr", "webrtcvad-wheels", "safetensors"),
    *("sqlalchemy", "alembic", "typer", "rich", "pyyaml", "platformdirs", "matplotlib", "kaldi-native-fbank"),
}
EXTRAS = {
    "media": {"av"},
    "synthesis": {"praat-parselmouth"},
    "postgresql": {"psycopg"},
    "onnx": {"onnxruntime"},
    "export": {"onnx", "onnxruntime", "onnxscript"},
    "transformers": {"transformers"},
    "hub": {"huggingface-hub"},
    "training": {"lightning-fabric", "tensorboardx"},
    "encryption": {"cryptography"},
    "service": {
        *("fastapi", "starlette", "uvicorn", "pydantic", "websockets", "python-multipart"),
        *("prometheus-client", "anyio"),
    },
}
BY_NAME = {"websockets"}  # uvicorn finds it by itself
MODULES = {"av": ["av"], "parselmouth": ["praat-parselmouth"], "psycopg": ["psycopg"]} | {
    module: [module.replace("_", "-")]
    for module in (
        "onnxruntime",
        "onnx",
        "onnxscript",
        "transformers",
        "huggingface_hub",
        "lightning_fabric",
        "tensorboardX",
        "cryptography",
        "fastapi",
        "starlette",
        "uvicorn",
        "pydantic",
        "python_multipart",
        "prometheus_client",
        "anyio",
    )
}
# What torch brings on Linux from an index that has no CPU build of it; never installed by the tests.
CUDA = re.compile(r"(nvidia|cuda)-.*|triton")


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def third_party_imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level packages that a module imports, or asks `require` for, and whether at its top, outside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [node.module or ""]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("require", "import_module"):
            found = [
                a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
        for name in found:
            top = name.partition(".")[0]
            if top != "openkith" and top not in sys.stdlib_module_names:
                yield top, id(node) not in late


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def imports() -> set[tuple[str, str, bool]]:
    """(distribution, file, whether at the top of the module) of everything that the package imports."""
    owners = packages_distributions()
    found = set()
    for path in SOURCE.rglob("*.py"):
        for module, early in third_party_imports(path):
            if module not in owners:  # an extra that is not installed
                owners[module] = MODULES[module]
            for owner in owners[module]:
                found.add((canonicalize_name(owner), str(path.relative_to(SOURCE)), early))
    return found


def test_metadata() -> None:
    assert PROJECT["name"] == "openkith"
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["scripts"] == {"kith": "openkith.cli:main"}
    for name in [*PROJECT["license-files"], PROJECT["readme"]]:
        assert (ROOT / name).is_file()


def test_dependencies_are_those_of_the_design() -> None:
    assert names(PROJECT["dependencies"]) == CORE


def test_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all", "dev"}
    for name, packages in EXTRAS.items():
        assert names(extras[name]) == packages
    (everything,) = map(Requirement, extras["all"])
    assert (everything.name, everything.extras) == ("openkith", set(EXTRAS))
    (own,) = [Requirement(text) for text in extras["dev"] if Requirement(text).name == "openkith"]
    assert own.extras == {"all"}


def test_every_import_is_declared() -> None:
    declared = CORE.union(*EXTRAS.values())
    assert {(name, file) for name, file, _ in imports() if name not in declared} == set()


def test_every_dependency_is_imported() -> None:
    imported = {name for name, _, _ in imports()}
    assert CORE.union(*EXTRAS.values()) - imported == BY_NAME


def test_extras_and_matplotlib_are_imported_late() -> None:
    """At the top of no module; `tests/test_public_names.py` holds the same of torch, where it may.

    The service is built on its packages throughout, and is itself imported late.
    """
    late = {"matplotlib"}.union(*EXTRAS.values())
    early = {(name, file) for name, file, early in imports() if early and name in late}
    assert {(name, file) for name, file in early if not file.startswith("service/")} == set()
    assert {name for name, _ in early} <= EXTRAS["service"]


def test_imports_are_told_apart(tmp_path: Path) -> None:
    """Where they stand, that is: the checks above rest on it."""
    module = tmp_path / "module.py"
    module.write_text(
        "import torch.nn\nfrom typing import TYPE_CHECKING\nimport openkith.audio\n"
        "if TYPE_CHECKING:\n    import av\n"
        "def f():\n    from scipy.stats import norm\n    require('parselmouth', 'synthesis', 'x')\n"
    )
    assert set(third_party_imports(module)) == {
        ("torch", True),
        ("av", False),
        ("scipy", False),
        ("parselmouth", False),
    }


def test_version_has_one_source() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    source = (ROOT / hatch["version"]["path"]).read_text(encoding="utf-8")
    assert f'__version__ = "{openkith.__version__}"' in source
    others = [path for path in SOURCE.rglob("*.py") if "__version__ =" in path.read_text(encoding="utf-8")]
    assert others == [SOURCE / "__init__.py"]


def test_citation_and_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == openkith.__version__
    assert citation["license"] == PROJECT["license"]
    assert f"## [{openkith.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_torch_is_pinned_first() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "torch==2.13.0"


def test_pins_are_sorted_and_allowed() -> None:
    rest = list(pins())[1:]
    assert rest == sorted(rest)
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]:
        requirement = Requirement(text)
        if requirement.name != "openkith":
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), text


def test_every_installed_dependency_is_pinned() -> None:
    """The whole tree below openkith[dev], as far as it is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [("openkith", extra) for extra in ("", "dev")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform or Python
            continue
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                below = canonicalize_name(requirement.name)
                waiting += [(below, wanted) for wanted in ("", *requirement.extras)]
    installed = {name for name, _ in seen if _is_installed(name)} - {"openkith", "pip"}
    assert len(installed) > len(CORE)
    assert {name for name in installed if not CUDA.fullmatch(name)} - set(pins()) == set()


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def test_package_data_is_inside_the_package() -> None:
    """What the wheel must carry; tools/check_wheel.sh compares these files with those of an installed wheel."""
    data = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()}
    assert {"py.typed", "scoring/cohorts/ge2e.safetensors", "migrations/env.py", "report/report.css"} <= data
    assert any(name.startswith("migrations/versions/0001") for name in data)
    assert (SOURCE / "scoring" / "cohorts" / "ge2e.safetensors").stat().st_size < 16_000_000


def test_notice_names_what_is_not_ours() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for words in ("LibriSpeech", "CC BY 4.0", "Resemblyzer", "praat-parselmouth", "GPL-3.0-or-later"):
        assert words in notice


def test_pre_commit_clones_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {entry["repo"] for entry in config["repos"]} == {"local"}
    hooks = {hook["id"]: hook for entry in config["repos"] for hook in entry["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "mypy"}
    assert {hook["language"] for hook in hooks.values()} == {"system"}


@pytest.mark.parametrize(
    "step",
    [
        *("make demo", "make test", "make lint", "make types", "make test-slow", "tools/check_wheel.sh"),
        *("tools/install_test_programs.sh", "tools/audit_dependencies.sh"),
    ],
)
def test_ci_runs_every_check(step: str) -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "not executable"
    assert f"step {step}" in script.read_text(encoding="utf-8").splitlines()


def test_make_targets_of_ci_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    called = re.findall(
        r"^step make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert called
    assert set(called) <= set(targets)
