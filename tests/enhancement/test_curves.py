"""Curves, of a training that has ended or goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openkith.enhancement.curves import ABOUT, read_curves
from openkith.errors import InputError, NotEnoughDataError

ABOUT_RUN = {
    "net": {"name": "v2"},
    "loss": "mse",
    "epochs": 3,
    "lists": {"eer": "home"},
    "raw": {"eer": 0.2},
}
HEADER = "epoch,step,loss,learning_rate,eer,seconds\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / ABOUT).write_text(json.dumps(ABOUT_RUN))
    return tmp_path


def test_a_line_that_is_being_written_is_left_out(run: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="no epoch is done yet"):
        read_curves(run)
    (run / "epochs.csv").write_text(HEADER + "1,10,0.5,1e-05,0.18,1.0\n2,20,0.25,1e-05,0.")
    found = read_curves(run)
    assert found.to_dict() == {
        "run": str(run),
        "net": "v2",
        "loss_name": "mse",
        "planned": 3,
        "epochs": [1],
        "loss": [0.5],
        "rates": {"eer": [0.18]},
        "raw": {"eer": 0.2},
        "lists": {"eer": "home"},
    }


def test_without_a_test_list(run: Path) -> None:
    (run / "epochs.csv").write_text("epoch,step,loss,learning_rate,seconds\n1,10,0.5,1e-05,1.0\n")
    assert read_curves(run).rates == {}


def test_errors_name_the_file(run: Path, tmp_path: Path) -> None:
    (run / "epochs.csv").write_text(HEADER + "1,10,much,1e-05,0.18,1.0\n")
    with pytest.raises(InputError, match=r"epochs\.csv or about\.json is damaged"):
        read_curves(run)
    (run / ABOUT).write_text("[]")
    with pytest.raises(InputError, match=r"about\.json: cannot be read \(no keys and values\)"):
        read_curves(run)
    with pytest.raises(InputError, match="give the folder that kith enhance train --out was given"):
        read_curves(tmp_path / "nowhere")
