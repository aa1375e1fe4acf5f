"""docs/service.md: its endpoints, options, scopes, statuses and counters are those that there are."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer

from openkith.cli import app
from openkith.service import ServiceSettings, problems
from openkith.service.auth import needs
from openkith.service.problems import Problem
from openkith.service.routes import ROUTERS

NOTE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return NOTE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def cells(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def without_names(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def scopes() -> dict[tuple[str, str], str]:
    """The scope of each route, from its dependencies."""
    found = {}
    for router in ROUTERS:
        for route in router.routes:
            dependant = getattr(route, "dependant", None)
            for dependency in dependant.dependencies if dependant else []:
                if isinstance(dependency.call, needs):
                    for method in getattr(route, "methods", ()):
                        found[method, route.path] = dependency.call.scope
    return found


def test_endpoints_and_scopes(client: Any) -> None:
    told = {}
    for what, scope, _ in cells("Every endpoint")[1:]:
        for method, path in re.findall(r"`(\w+) ([^`?]+)", what):
            told[method, without_names(path)] = scope
    api = client.get("/openapi.json").json()["paths"]
    real = {(method.upper(), path) for path, operations in api.items() for method in operations}
    extra = {("WS", "/v1/stream"), ("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json")}
    assert set(told) == {(method, without_names(path)) for method, path in real} | extra
    needed = scopes()
    assert len(needed) > 25
    for (method, path), scope in needed.items():
        assert told[method, without_names(path)] == scope, path


def test_options_and_their_defaults() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    real = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    told = {name for row in cells("Run it")[1:] for name in re.findall(r"--[\w-]+", row[0])}
    assert told == real - {"--help"}
    defaults = ServiceSettings()
    table = {row[0]: row[1] for row in cells("Run it")}
    assert table["`--host`, `--port`"] == f"{defaults.host}, {defaults.port}"
    assert table["`--max-bytes`, `--max-seconds`"] == (
        f"{defaults.max_bytes // 2**20} MiB, {defaults.max_seconds:g} s"
    )
    for name in ("workers", "queue", "decoders", "rate", "streams"):
        assert table[f"`--{name}`"] == f"{getattr(defaults, name):g}"
    assert table["`--history-days`"] == str(defaults.history_days)


def test_statuses() -> None:
    told = {
        (row[0], name)
        for row in cells("Answers that are no success")[1:]
        for name in re.findall(r"`([\w-]+)`", row[1])
    }
    kinds = {kind for kind in vars(problems).values() if isinstance(kind, Problem)} | set(
        problems.PROBLEMS.values()
    )
    assert told == {(str(kind.status), kind.slug) for kind in kinds}


def test_counters(client: Any) -> None:
    page = client.get("/metrics").text
    for name in re.findall(r"`(kith_\w+)", section("Operations")):
        if not re.match(r"kith_\d", name):
            assert name in page, name


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)#:]+)\)", NOTE))
def test_links(name: str) -> None:
    docs = Path(__file__).parents[2] / "docs"
    if name.startswith("service/") and not (docs / "service").is_dir():
        pytest.skip("no pictures were taken yet")
    assert (docs / name).is_file()


def test_the_error_that_is_shown(client: Any) -> None:
    shown = re.search(r'"detail": "who\.wav: (.*)"', section("Answers that are no success"))
    assert shown is not None
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 640)
    soundfile.write(file, noise, 16_000, format="WAV")
    answer = client.post("/v1/measure", files={"clip": ("who.wav", file.getvalue())})
    assert answer.json()["detail"] == f"who.wav: {shown.group(1)}"
