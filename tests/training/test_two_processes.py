"""Two real processes on the CPU, and one that sees in a batch what both see together."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from openkith.training import TrainConfig, configure, list_checkpoints, read_weights

sys.path.insert(0, str(Path(__file__).parent))
from training_task import run

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")

SCRIPT = str(Path(__file__).with_name("training_task.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT]
SETTINGS = [
    "accelerator=cpu",
    "epochs=3",
    "accumulate=2",
    "learning_rate=0.02",
    "clip=0.5",
    "checkpoint_every=4",
]
CLOSE = 1e-4
WAIT = 120  # seconds


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def measures(folder: Path) -> list[float]:
    with (folder / "epochs.csv").open(newline="") as file:
        return [float(row["eer"]) for row in csv.DictReader(file)]


def execute(*command: object) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == 0, done.stderr


def assert_as_one_with_twice_the_batch(folder: Path, one: Path) -> None:
    run(one, configure(TrainConfig, settings=[*SETTINGS, "batch_size=16"]).options, plain=True)
    assert losses(folder) == pytest.approx(losses(one), abs=CLOSE)
    assert len(losses(folder)) == 9
    assert measures(folder) == pytest.approx(measures(one), abs=CLOSE)
    assert losses(one)[-1] < 0.7 * losses(one)[0]
    weights, expected = (read_weights(list_checkpoints(path)[-1]) for path in (folder, one))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=CLOSE)


def test_torchrun(tmp_path: Path) -> None:
    execute(*TORCHRUN, tmp_path / "two", "--plain", *SETTINGS, "batch_size=8")
    assert_as_one_with_twice_the_batch(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_devices(tmp_path: Path) -> None:
    """The script starts itself again for the second process."""
    execute(sys.executable, SCRIPT, tmp_path / "two", "--plain", *SETTINGS, "batch_size=8", "devices=2")
    assert_as_one_with_twice_the_batch(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_two_processes_killed_and_gone_on_with(tmp_path: Path) -> None:
    """Each has dropout and random numbers of its own, and gets them back."""
    settings = [*SETTINGS, "batch_size=8"]
    execute(*TORCHRUN, tmp_path / "whole", *settings)
    command = [*TORCHRUN, str(tmp_path / "killed"), *settings, "--pause", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as torchrun:
        assert torchrun.stdout is not None
        workers = [int(torchrun.stdout.readline()) for _ in range(2)]
        end = time.monotonic() + WAIT
        while not list_checkpoints(tmp_path / "killed") and time.monotonic() < end:
            time.sleep(0.01)
        for process in (torchrun.pid, *workers):
            os.kill(process, signal.SIGKILL)
    assert torchrun.returncode == -signal.SIGKILL
    assert len(losses(tmp_path / "killed")) < 9
    execute(*TORCHRUN, tmp_path / "killed", *settings, "--resume")
    assert (tmp_path / "killed" / "steps.csv").read_bytes() == (tmp_path / "whole" / "steps.csv").read_bytes()
    a, b = (list_checkpoints(tmp_path / name)[-1] for name in ("killed", "whole"))
    for name in ("model.safetensors", "optimiser.safetensors", "random.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
