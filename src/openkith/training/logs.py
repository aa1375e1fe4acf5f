"""What a training writes down: two tables, TensorBoard's files, and a line with the time left."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from openkith.errors import ConfigError, InputError, require

__all__ = ["Logs", "Progress", "Table", "TimeLeft"]

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

_PAUSE = 0.2  # seconds between two calls of a progress callback, at least


class Table:
    """A CSV file that a training adds rows to, each written at once.

    Args:
        path: The file. Of a file that is there, the rows up to a step are kept: a training that was killed may
            have written more than its last checkpoint knows of, and will write it again.
        step: That step; 0: none are.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if step and path.is_file() else []
        whole = [line for line in lines if line.endswith("\n")]
        self._columns = next(csv.reader(whole[:1]), [])
        kept = whole[:1] + [line for line in whole[1:] if self._step(line) <= step]
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(kept), encoding="utf-8", newline="")
        temporary.replace(path)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; the first one's keys are the columns.

        Raises:
            ConfigError: The keys are others than those of the rows before.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        if list(row) != self._columns:
            raise ConfigError(
                f"{self._path}: its columns are {', '.join(self._columns)}, and a row has {', '.join(row)}; "
                "let the loss and the held-out evaluation give the same names each time"
            )
        writer.writerow(row.values())
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())

    def _step(self, line: str) -> int:
        return int(next(csv.reader([line]))[self._columns.index("step")])


class Logs:
    """``steps.csv``, ``epochs.csv`` and, where asked for, ``tensorboard/`` in the folder of a training.

    Args:
        run: The folder.
        step: Where the training goes on from; what was written of later steps is dropped.
        tensorboard: Whether TensorBoard's files are written too.

    Raises:
        InputError: The folder cannot be written to.
        MissingDependencyError: TensorBoard is asked for, and tensorboardX is not installed.
    """

    def __init__(self, run: Path, step: int, tensorboard: bool) -> None:
        package = require("tensorboardX", "training", "writing TensorBoard's files") if tensorboard else None
        try:
            run.mkdir(parents=True, exist_ok=True)
            self._steps = Table(run / "steps.csv", step)
            self._epochs = Table(run / "epochs.csv", step)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{run}: cannot keep logs there ({reason}); choose another folder") from error
        first = step + 1 if step else None
        self._board: Any = package and package.SummaryWriter(str(run / "tensorboard"), purge_step=first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def step(self, step: int, epoch: int, rate: float, means: Mapping[str, float]) -> None:
        """Write down the means of loss and parts of the steps since the last row."""
        values = {"loss": means["loss"], "learning_rate": rate, **means}
        self._steps.write({"step": step, "epoch": epoch, **values})
        self._draw(step, {f"train/{name}": value for name, value in values.items()})

    def epoch(
        self, step: int, epoch: int, loss: float, rate: float, held_out: Mapping[str, float], seconds: float
    ) -> None:
        """Write down an epoch: its mean loss, the held-out measures, and how long it took."""
        row = {"epoch": epoch, "step": step, "loss": loss, "learning_rate": rate, **held_out}
        self._epochs.write({**row, "seconds": round(seconds, 2)})
        self._draw(step, {"epoch/loss": loss})
        self._draw(step, {f"held_out/{name}": value for name, value in held_out.items()})

    def _draw(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


class TimeLeft:
    """Calls a progress callback, not too often, with a line that says how long it will still take.

    Args:
        progress: The callback; None: none is called.
        done: Steps that an earlier run has done.
    """

    def __init__(self, progress: Progress | None, done: int) -> None:
        self._progress = progress
        self._first = done
        self._began = time.monotonic()
        self._told = -_PAUSE

    def tell(self, text: str, done: int, total: int) -> None:
        """Call it, where it has not just been called, or this is the end."""
        now = time.monotonic()
        if self._progress is None or (done < total and now - self._told < _PAUSE):
            return
        self._told = now
        rest = (now - self._began) / max(1, done - self._first) * (total - done)
        self._progress(f"{text}, {duration(rest)} left" if done < total else text, done, total)


def duration(seconds: float) -> str:
    """Seconds as text with at most two units: 12 s, 3 min, 1 h 20 min, 2 d 5 h."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
