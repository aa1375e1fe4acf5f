"""The command itself: help, version, options before and after, errors, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openkith
from openkith import cli
from openkith.errors import AudioError, KithError

DESIGNED = {
    *("demo", "enroll", "tune", "calibrate", "identify", "verify", "list", "show", "rename", "drop-clip"),
    *("forget", "undo", "evaluate", "models", "doctor", "reembed", "embed", "score", "metrics"),
    *("simulate", "backup", "restore", "serve"),
}
Run = Callable[..., Any]


def test_commands_are_those_of_the_design(kith: Run) -> None:
    names = {name for commands in cli.COMMANDS.values() for name in commands}
    assert names | {"models"} == DESIGNED
    assert set(cli.MODEL_COMMANDS) == {"list", "info", "pull", "export"}
    text = kith("--help").stdout
    assert all(f" {name} " in text for name in DESIGNED)


@pytest.mark.parametrize("command", sorted(DESIGNED))
def test_every_command_has_help(kith: Run, command: str) -> None:
    result = kith(command, "--help")
    assert result.exit_code == 0
    assert f"kith {command}" in result.stdout


PRINT_RESULTS = sorted(DESIGNED - {"rename", "drop-clip", "models", "serve"})


@pytest.mark.parametrize("command", PRINT_RESULTS)
def test_commands_that_print_a_result_take_json(kith: Run, command: str) -> None:
    assert "--json" in kith(command, "--help").stdout


def test_version(kith: Run) -> None:
    result = kith("--version")
    assert (result.exit_code, result.stdout) == (0, f"openkith {openkith.__version__}\n")


def test_no_command_shows_the_help(kith: Run) -> None:
    result = kith()
    assert result.exit_code == 2
    assert "Usage: kith" in result.stdout + result.stderr


@pytest.mark.parametrize("args", [["--help"], ["identify", "--help"], ["--version"], ["models", "--help"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys\nfrom openkith.cli import main\n"
        f"sys.argv = ['kith', *{args!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'sqlalchemy', 'alembic', 'matplotlib', 'av', 'parselmouth'}\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} & heavy\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_options_before_the_command(kith: Run, enrolled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert json.loads(kith("list", "--json").stdout)["people"]
    before = json.loads(kith("--gallery", other, "--json", "list").stdout)
    assert (before["gallery"], before["people"]) == (f"sqlite:///{other}", [])
    after = json.loads(kith("--gallery", other, "list", "--gallery", enrolled, "--json").stdout)
    assert len(after["people"]) == 3


def test_options_before_a_command_of_models(kith: Run) -> None:
    assert json.loads(kith("--json", "models", "list").stdout)["models"]


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["identify"],
        ["verify", "ann"],
        ["enroll"],
        ["enroll", "ann"],
        ["enroll", "ann", "--from", "x"],
        ["calibrate", "--far", "many"],
        ["calibrate", "--far", "nan%%"],
        ["drop-clip", "ann", "first"],
        ["tune", "--seed", "x"],
        ["evaluate"],
        ["models"],
        ["models", "pull"],
        ["list", "--no-such-option"],
    ],
)
def test_wrong_usage(kith: Run, gallery: Path, args: list[str]) -> None:
    result = kith(*args)
    assert result.exit_code == 2
    assert "Usage: kith" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not gallery.exists()


def test_an_error_of_openkith_is_one_line(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, enrolled: Path
) -> None:
    def fail(*_: object) -> None:
        raise AudioError("a.wav: first\nsecond \x1b[31mred\x1b[0m")

    monkeypatch.setattr("openkith.Recognizer.verify", fail)
    line = only_line(kith("verify", "ann", enrolled))
    assert line == r"kith: a.wav: first second \x1b[31mred\x1b[0m"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/x/y"), "kith: /x/y: No space left on device"),
        (OSError("odd"), "kith: odd"),
        (PermissionError(13, "Permission denied"), "kith: Permission denied"),
        (KithError("plain"), "kith: plain"),
    ],
)
def test_errors_of_the_system_are_one_line(
    kith: Run, only_line: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("openkith.Gallery.people", fail)
    assert only_line(kith("list")) == line


def test_interrupt(kith: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("openkith.Gallery.people", interrupt)
    result = kith("list")
    assert result.exit_code == 130
    assert result.stderr.strip() == "kith: interrupted"


def test_interrupt_of_a_process(tmp_path: Path, tree: Path) -> None:
    """A real signal, as late as the imports are done."""
    code = "import sys; sys.argv = ['kith', 'evaluate', sys.argv[1]]; from openkith.cli import main; "
    # A shell starts background jobs with the signal ignored, and children inherit that.
    code += "import openkith.evaluation as e, signal, os; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "e.evaluate = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT); "
    code += "import openkith.encoders as n; n.load_encoder = lambda *a, **k: None; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tree)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr.strip()) == (130, "kith: interrupted")


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise there")
@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["show", "ann"]])
def test_a_pipe_that_closes_early(enrolled: Path, args: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # nobody ever reads
    try:
        done = subprocess.run(
            [sys.executable, "-m", "openkith", "--gallery", str(enrolled), *args],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def test_names_that_the_terminal_cannot_show(
    start: Run, kith: Run, clips: dict[tuple[int, int], Path]
) -> None:
    assert kith("enroll", "Zoë 🦊 [red]x[/red] :smile:", clips[0, 0]).exit_code == 0
    done = start("list", env={"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert "\\U0001f98a" in done.stdout
    done = start("list", env={"PYTHONIOENCODING": "utf-8"})
    assert "Zoë 🦊 [red]x[/red] :smile:" in done.stdout
    data = json.loads(start("list", "--json", env={"PYTHONIOENCODING": "ascii"}).stdout)
    assert data["people"][0]["name"] == "Zoë 🦊 [red]x[/red] :smile:"


def test_a_gallery_that_is_none(start: Run, only_line: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no gallery\n" * 100)
    assert str(path) in only_line(start("list", "--gallery", path))
    assert only_line(start("list", "--gallery", "mysql://x/y")).startswith(
        "kith: a gallery cannot be kept in"
    )


def test_json_goes_to_standard_output_alone(start: Run, gallery: Path) -> None:
    began = time.time()
    done = start("--json", "list")
    assert json.loads(done.stdout) == {"gallery": f"sqlite:///{gallery}", "people": [], "head": None}
    assert done.stderr == ""
    assert gallery.stat().st_mtime >= began - 2
