"""A real process that trains, killed with -9, and gone on with by another."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openkith.training import TrainConfig, configure, list_checkpoints

sys.path.insert(0, str(Path(__file__).parent))
from training_task import run

SCRIPT = Path(__file__).with_name("training_task.py")
SETTINGS = [
    *("accelerator=cpu", "epochs=4", "batch_size=4", "accumulate=2", "learning_rate=0.02", "clip=1.0"),
    *("schedule=plateau", "decay=0.5", "checkpoint_every=5", "log_every=3", "keep=3", "patience=4"),
]
STEPS = 48
WAIT = 90  # seconds
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(FOLDER, ...)`: the script in a process of its own, ended with the test."""
    running = []

    def begin(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def kill_after(process: subprocess.Popen[bytes], folder: Path, step: int, more: float) -> None:
    """Kill it some time after the checkpoint of a step, or a later one, is there."""
    end = time.monotonic() + WAIT
    while not any(int(path.name[5:]) >= step for path in list_checkpoints(folder)):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(more)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(WAIT) == -signal.SIGKILL


def assert_same(one: Path, other: Path) -> None:
    """Logs and last checkpoints, bit for bit but for the time they took."""
    assert (one / "steps.csv").read_bytes() == (other / "steps.csv").read_bytes()
    epochs = []
    for folder in (one, other):
        with (folder / "epochs.csv").open(newline="") as file:
            epochs.append([{**row, "seconds": ""} for row in csv.DictReader(file)])
    assert epochs[0] == epochs[1]
    a, b = list_checkpoints(one)[-1], list_checkpoints(other)[-1]
    assert a.name == b.name
    for name in ("model.safetensors", "optimiser.safetensors", "random.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    assert json.loads((a / "state.json").read_text()) == json.loads((b / "state.json").read_text())


def whole(folder: Path) -> None:
    """The training that nobody kills."""
    trained = run(folder, configure(TrainConfig, settings=SETTINGS).options)
    assert trained.steps == STEPS


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_killed_in_the_middle_of_an_epoch(tmp_path: Path, start: Start) -> None:
    """With workers that make its batches; without them it goes on."""
    process = start(tmp_path / "killed", *SETTINGS, "workers=1", "--pause", 0.02)
    kill_after(process, tmp_path / "killed", 15, random.uniform(0, 0.2))
    assert int(list_checkpoints(tmp_path / "killed")[-1].name[5:]) < STEPS
    run(tmp_path / "killed", configure(TrainConfig, settings=SETTINGS).options, resume=True)
    whole(tmp_path / "whole")
    assert_same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_killed_again_and_again(tmp_path: Path, start: Start) -> None:
    for step in (1, 10, 20, 33, 42):
        process = start(tmp_path / "killed", *SETTINGS, "checkpoint_every=1", "--resume", "--pause", 0.02)
        kill_after(process, tmp_path / "killed", step, random.uniform(0, 0.1))
    run(tmp_path / "killed", configure(TrainConfig, settings=SETTINGS).options, resume=True)
    whole(tmp_path / "whole")
    assert_same(tmp_path / "killed", tmp_path / "whole")
