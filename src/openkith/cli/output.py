"""What the commands print: tables, JSON, progress, questions, and the one line of an error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from openkith.errors import InputError

__all__ = [
    "Step",
    "ask",
    "bullets",
    "check_folder",
    "complain",
    "local_time",
    "percent",
    "print_json",
    "print_table",
    "printable",
    "progress",
    "say",
    "seal_stdout",
]

Step = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

PIPE_WIDTH = 1000  # columns where nobody reads along: nothing is wrapped or cut short
LEAST_SHOWN = 0.001  # probabilities nearer to 0 or 1 than this are not written as 0 or 100 %


def say(text: str = "", style: str = "") -> None:
    """A line of text on standard output; markup in it is shown, not obeyed."""
    _write(Text(printable(text), style=style))


def print_table(columns: Mapping[str, str], rows: Iterable[Iterable[str | Text]], title: str = "") -> None:
    """A table on standard output.

    Args:
        columns: Header to justification, "left" or "right".
        rows: Cells, as many in each row.
        title: A line above it.
    """
    if title:
        say(title, "bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header, justify in columns.items():
        if justify == "right":
            table.add_column(header, justify="right", no_wrap=True)
        else:
            table.add_column(header, overflow="fold")  # a long name goes on below, and is not cut short
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    _write(table)


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN and infinities become null."""
    typer.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def bullets(lines: Iterable[str]) -> None:
    """Lines with a dash."""
    for line in lines:
        say(f"  - {line}")


def complain(message: object) -> None:
    """One line on standard error."""
    typer.echo(f"kith: {printable(str(message))}", err=True)


def ask(question: str, *, yes: bool) -> bool:
    """Whether the user wants it; ``yes`` is an answer given beforehand.

    Raises:
        InputError: Nobody is there to answer.
    """
    if yes:
        return True
    try:
        return typer.confirm(printable(question), err=True)
    except typer.Abort:
        typer.echo(err=True)
        raise InputError("no answer, and nothing was changed; give --yes where nobody can answer") from None


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Step]:
    """A progress bar on standard error while the block runs, where a person can see it.

    Args:
        what: Shown until the first step is reported.
        quiet: No bar.
    """
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(printable(what), total=None)

        def step(text: str, done: int, total: int) -> None:
            bar.update(task, description=printable(text), completed=done, total=total)

        yield step


def percent(share: float) -> str:
    """A probability or rate as text; never 0 % or 100 % of what is only near it."""
    if math.isnan(share):
        return "–"
    if 0.0 < share < LEAST_SHOWN:
        return "<0.1 %"
    if 1.0 - LEAST_SHOWN < share < 1.0:
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def local_time(time: datetime) -> str:
    """A time of the gallery (UTC) by the user's clock."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M")


def check_folder(path: Path | None) -> None:
    """Refuse a file that could not be written, before the work and not after it.

    Raises:
        InputError: Its folder does not exist, or it is a folder itself.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(
            f"{path}: is a folder; give the name of a file in it, such as {path / 'report.html'}"
        )
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or choose another")


def seal_stdout() -> None:
    """After a pipe has closed: let nothing more be written to it, at the interpreter's end either."""
    with suppress(OSError, ValueError, AttributeError):  # standard output may be no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(content: Text | Table) -> None:
    # Made anew each time: standard output may have been replaced since. Nothing of what users named is markup.
    shown = sys.stdout.isatty()
    console = Console(width=None if shown else PIPE_WIDTH, markup=False, highlight=False, emoji=False)
    with console.capture() as drawn:  # rich would end the program, with exit code 1, where a pipe has closed
        console.print(content)
    for line in drawn.get().splitlines():
        typer.echo(line if shown else line.rstrip())  # without the blanks that fill the last column


def printable(text: str) -> str:
    """One line without control characters: names and files may hold what would move the terminal's cursor."""
    line = " ".join(text.split("\n"))
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date):  # and moments, which are days too
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
