"""What a training of an enhancer has reached so far: loss and error rates by epoch, read while it runs, too."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.errors import InputError, NotEnoughDataError

__all__ = ["ABOUT", "EER", "SECOND_EER", "Curves", "read_about", "read_curves"]

ABOUT = "about.json"
"""In the folder of a training: what is trained on what, and the error rates of embeddings as they are."""
EER, SECOND_EER = "eer", "second_eer"
_EPOCHS = "epochs.csv"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curves:
    """A training, epoch by epoch.

    Attributes:
        run: Its folder.
        net, loss_name: What is trained.
        planned: Epochs in all.
        epochs: (e,) whole numbers from 1.
        loss: (e,) mean loss of each.
        rates: Measure to (e,) error rates after each: ``eer``, and ``second_eer`` where there is a second corpus.
        raw: Measure to the error rate of embeddings as they are.
        lists: Measure to the name of its test list.
    """

    run: Path
    net: str
    loss_name: str
    planned: int
    epochs: npt.NDArray[np.int64]
    loss: Floats
    rates: dict[str, Floats]
    raw: dict[str, float]
    lists: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": str(self.run),
            "net": self.net,
            "loss_name": self.loss_name,
            "planned": self.planned,
            "epochs": self.epochs.tolist(),
            "loss": self.loss.tolist(),
            "rates": {name: values.tolist() for name, values in self.rates.items()},
            "raw": self.raw,
            "lists": self.lists,
        }


def read_curves(run: str | Path) -> Curves:
    """The curves of a training, finished or not.

    Args:
        run: Its folder.

    Raises:
        InputError: It is no folder of a training, or its files are damaged.
        NotEnoughDataError: No epoch is done yet.
    """
    run = Path(run)
    about = read_about(run)
    rows = _rows(run / _EPOCHS)
    if not rows:
        raise NotEnoughDataError(f"{run}: no epoch is done yet; ask again later")
    try:
        measures = [name for name in (EER, SECOND_EER) if name in rows[0]]
        return Curves(
            run=run,
            net=str(about["net"]["name"]),
            loss_name=str(about["loss"]),
            planned=int(about["epochs"]),
            epochs=np.array([int(row["epoch"]) for row in rows]),
            loss=np.array([float(row["loss"]) for row in rows]),
            rates={name: np.array([float(row[name]) for row in rows]) for name in measures},
            raw={name: float(value) for name, value in about["raw"].items()},
            lists={name: str(value) for name, value in about["lists"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{run}: {_EPOCHS} or {ABOUT} is damaged ({error!r}); train again") from error


def read_about(run: str | Path) -> dict[str, Any]:
    """What a training wrote of itself when it began.

    Raises:
        InputError: It is no folder of a training.
    """
    path = Path(run) / ABOUT
    try:
        about = json.loads(path.read_text("utf-8"))
        if not isinstance(about, dict):
            raise ValueError("no keys and values")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot be read ({reason}); give the folder that kith enhance train --out was given"
        ) from error
    return about


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that are whole: the last line may be being written."""
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train again") from error
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))
