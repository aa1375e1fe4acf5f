"""Tables, JSON, progress, questions."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import typer
from rich.text import Text

from openkith.cli import output
from openkith.errors import InputError


@dataclass(frozen=True)
class Thing:
    rate: float
    parts: tuple[float, ...]
    path: Path
    when: datetime
    day: date


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    thing = Thing(math.nan, (1.0, math.inf), Path("x/y"), when, date(2026, 3, 1))
    output.print_json({"a": thing, "b": [None, True, 3]})
    assert json.loads(capsys.readouterr().out) == {
        "a": {
            "rate": None,
            "parts": [1.0, None],
            "path": "x/y",
            "when": "2026-01-02T03:04:00+00:00",
            "day": "2026-03-01",
        },
        "b": [None, True, 3],
    }


@pytest.mark.parametrize(
    ("share", "text"),
    [
        *((0.0, "0.0 %"), (0.0004, "<0.1 %"), (0.001, "0.1 %"), (0.1234, "12.3 %"), (0.999, "99.9 %")),
        *((0.9996, ">99.9 %"), (1.0, "100.0 %"), (math.nan, "–")),
    ],
)
def test_percent_is_never_surer_than_it_is(share: float, text: str) -> None:
    assert output.percent(share) == text


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.print_table({"file": "left", "n": "right"}, [[long, "1"], ["b", Text("2")]], "title")
    assert capsys.readouterr().out.splitlines() == [
        "title",
        f"{'file':300}  n",
        f"{long}  1",
        f"{'b':300}  2",
    ]


def test_a_table_in_a_terminal_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    output.print_table({"file": "left", "n": "right"}, [["x" * 100, "1"]])
    text = terminal.getvalue()
    assert text.count("x") == 100
    assert "…" not in text


def test_markup_and_control_characters_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("[bold]a[/bold] :smile: \x1b[2J\rb\nc")
    assert capsys.readouterr().out == "[bold]a[/bold] :smile: \\x1b[2J\\rb c\n"
    output.complain("one\ntwo\x07")
    assert capsys.readouterr().err == "kith: one two\\x07\n"


def test_progress_is_seen_in_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def shown(stream: io.StringIO, *, quiet: bool) -> str:
        monkeypatch.setattr("sys.stderr", stream)
        with output.progress("beginning", quiet=quiet) as step:
            step("half [b]way[/b]", 1, 2)
        return stream.getvalue()

    assert "half [b]way[/b]" in shown(Terminal(), quiet=False)
    assert shown(Terminal(), quiet=True) == ""
    assert shown(io.StringIO(), quiet=False) == ""


def test_progress_ends_with_an_error() -> None:
    with pytest.raises(InputError, match="inside"), output.progress("x", quiet=False):
        raise InputError("inside")


def test_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> bool:
        raise AssertionError("asked")

    monkeypatch.setattr(typer, "confirm", never)
    assert output.ask("sure?", yes=True)

    def nobody(*_: object, **__: object) -> bool:
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", nobody)
    with pytest.raises(InputError, match="give --yes"):
        output.ask("sure?", yes=False)


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        assert output.local_time(datetime(2026, 1, 1, 22, 30, tzinfo=UTC)) == "2026-01-02 01:30"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_check_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for fine in (None, tmp_path / "x.html", Path("x.html")):
        output.check_folder(fine)
    with pytest.raises(InputError, match="there is no folder"):
        output.check_folder(tmp_path / "no" / "x.html")
    with pytest.raises(InputError, match="is a folder"):
        output.check_folder(tmp_path)
