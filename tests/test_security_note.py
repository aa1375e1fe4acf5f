"""docs/security.md: its figures are those of docs/benchmarks.md, its limits those of the code, its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from openkith.cli import app
from openkith.gallery import SCOPES
from openkith.gallery.database import WIPED_SERVER
from openkith.gallery.safekeeping.encryption import SEALED
from openkith.recognizer.review import ReviewSettings
from openkith.service.settings import ServiceSettings

ROOT = Path(__file__).parents[1]
NOTE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def rows(text: str, begins: str) -> list[list[str]]:
    """The cells of the first table whose header begins so."""
    lines = iter(text.splitlines())
    header = next(line for line in lines if line.startswith(begins))
    found = [header, *(line for line in _table(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def _table(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        if not line.startswith("|---"):
            yield line


# (row of the note, beginning of the table of the benchmarks, row there, columns of the four figures)
FIGURES = [
    ("home-clean", "| manifest | EER: published", "home-clean", (3, 7, 2, 6)),
    ("home-short", "| manifest | EER: published", "home-short", (3, 7, 2, 6)),
    ("home-noisy: noise", "| manifest | EER: published", "home-noisy", (3, 7, 2, 6)),
    ("home-noisy, other", "| manifest | EER: cosine", "home-noisy", (2, 4, 1, 3)),
    ("crowd-40", "| manifest | EER: published", "crowd-40", (3, 7, 2, 6)),
    ("digits", "| manifest | EER: published", "digits, mean", (3, 7, 2, 6)),
    ("telephone", "| condition | EER", "telephone", (2, 5, 1, 4)),
    ("another mood", "| condition | EER", "mood", (2, 5, 1, 4)),
]


@pytest.mark.parametrize(("row", "table", "there", "columns"), FIGURES, ids=[entry[0] for entry in FIGURES])
def test_figures_are_those_that_were_measured(
    row: str, table: str, there: str, columns: tuple[int, ...]
) -> None:
    (stated,) = [cells for cells in rows(NOTE, "| where it was measured") if cells[0].startswith(row)]
    (measured,) = [cells for cells in rows(BENCHMARKS, table) if cells[0].startswith(there)]
    assert stated[1:] == [measured[column] for column in columns]


def test_every_figure_is_checked() -> None:
    assert len(rows(NOTE, "| where it was measured")) - 1 == len(FIGURES)


def test_limits_are_those_of_the_daemon() -> None:
    settings = ServiceSettings()
    assert settings.max_bytes == 32 * 2**20
    for option, value in (
        ("--max-bytes", "32 MiB"),
        ("--max-seconds", f"{settings.max_seconds:g} s"),
        ("--rate", f"{settings.rate:g} a second"),
        ("--queue", f"{settings.queue}"),
        ("--streams", f"{settings.streams}"),
    ):
        assert f"`{option}`, {value} |" in NOTE
    assert f"`--history-days` ({settings.history_days})" in NOTE
    review = ReviewSettings()
    assert not review.keep
    assert f"({review.days} at first)" in NOTE


def test_scopes_and_encrypted_columns() -> None:
    assert [cells[0] for cells in rows(NOTE, "| scope")][1:] == [f"`{scope}`" for scope in SCOPES]
    stored = " ".join(cells[1] for cells in rows(NOTE, "| what | table") if cells[2] != "no")
    for table, column, _ in SEALED:
        assert f"`{table.name}.{column.name}`" in stored or f"`{table.name}`" in stored


def test_what_a_receipt_leaves_to_the_administrator() -> None:
    left = NOTE[NOTE.index("What the receipt cannot erase") :]
    for words in ("write-ahead log", "base backups", "replicas", "logical dumps", "kith backup"):
        assert words in WIPED_SERVER
        assert words in left


def commands() -> list[list[str]]:
    """Every command of kith in the note, as words."""
    fenced = [
        line for block in re.findall(r"^```sh\n(.*?)^```$", NOTE, re.M | re.S) for line in block.splitlines()
    ]
    running = re.findall(r"`(kith [^`]+)`", re.sub(r"^```.*?^```$", "", NOTE, flags=re.M | re.S))
    return [shlex.split(line)[1:] for line in [*fenced, *running] if line.startswith("kith ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_and_options_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while isinstance(command, TyperGroup):
        command = command.commands[rest.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options


def test_links_go_somewhere() -> None:
    headings = re.findall(r"^## (.+)$", NOTE, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", NOTE)) == anchors
    for target in re.findall(r"\]\(([^)#]+)\)", NOTE):
        assert (ROOT / "docs" / target).is_file()
    for path in re.findall(r"`((?:deploy|tools|benchmarks)/[^`]*)`", NOTE):
        assert (ROOT / path).exists()
