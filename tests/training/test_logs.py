"""Tables that can be gone on with, TensorBoard's files, and the time left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import openkith.training.logs
from openkith.errors import ConfigError, InputError, MissingDependencyError
from openkith.training.logs import Logs, Table, TimeLeft, duration


def table(path: Path, steps: range, begin: int) -> str:
    it = Table(path, begin)
    for step in steps:
        it.write({"step": step, "loss": step / 3})
    return path.read_text()


def test_going_on_gives_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    whole = table(path, range(1, 13), 0)
    assert whole.splitlines()[:2] == ["step,loss", "1,0.3333333333333333"]
    path.write_text(whole[:-10])  # killed while it wrote a row
    assert table(path, range(8, 13), 7) == whole
    assert table(path, range(1, 13), 0) == whole  # begun anew
    assert table(tmp_path / "lost.csv", range(8, 13), 7).splitlines()[1].startswith("8,")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_row_with_other_columns(tmp_path: Path) -> None:
    it = Table(tmp_path / "steps.csv", 0)
    it.write({"step": 1, "loss": 0.5})
    with pytest.raises(ConfigError, match=r"its columns are step, loss, and a row has step, cost; "):
        it.write({"step": 2, "cost": 0.5})


def test_the_folder_is_made_or_refused(tmp_path: Path) -> None:
    with Logs(tmp_path / "a" / "b", 0, tensorboard=False) as logs:
        logs.step(1, 1, 0.1, {"loss": 2.0, "part": 1.0})
        logs.epoch(1, 1, 2.0, 0.1, {"eer": 0.25}, 1.234)
    assert (
        tmp_path / "a" / "b" / "steps.csv"
    ).read_text() == "step,epoch,loss,learning_rate,part\n1,1,2.0,0.1,1.0\n"
    assert (tmp_path / "a" / "b" / "epochs.csv").read_text().splitlines() == [
        "epoch,step,loss,learning_rate,eer,seconds",
        "1,1,2.0,0.1,0.25,1.23",
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep logs there"):
        Logs(tmp_path / "file", 0, tensorboard=False)
    (tmp_path / "a" / "b" / "epochs.csv").write_text("not,a,log\n1,2,3\n")
    with pytest.raises(InputError, match="cannot keep logs there"):
        Logs(tmp_path / "a" / "b", 1, tensorboard=False)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with Logs(tmp_path, 0, tensorboard=True) as logs:
        logs.step(1, 1, 0.1, {"loss": 2.0, "part": 1.0})
        logs.epoch(1, 1, 2.0, 0.1, {"eer": 0.25}, 1.2)
    [events] = (tmp_path / "tensorboard").iterdir()
    written = events.read_bytes()
    for name in (b"train/loss", b"train/learning_rate", b"train/part", b"epoch/loss", b"held_out/eer"):
        assert written.count(name) == 1


def test_without_tensorboardx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[training\]'"):
        Logs(tmp_path, 0, tensorboard=True)


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 steps 4 were done by an earlier run; 2 took 10 s, so the last 4 take 20 s."""
    clock = [100.0]
    monkeypatch.setattr(openkith.training.logs.time, "monotonic", lambda: clock[0])
    told: list[tuple[str, int, int]] = []
    left = TimeLeft(lambda *what: told.append(what), done=4)
    clock[0] = 110.0
    left.tell("epoch 1", 6, 10)
    clock[0] = 110.1
    left.tell("too soon", 7, 10)
    left.tell("the end", 10, 10)
    assert told == [("epoch 1, 20 s left", 6, 10), ("the end", 10, 10)]
    TimeLeft(None, 0).tell("nobody listens", 1, 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[
            (0.4, "0 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (3569, "59 min"),
            (3599, "1 h 0 min"),
            (4800, "1 h 20 min"),
        ],
        *[(86_400, "1 d 0 h"), (190_800, "2 d 5 h")],
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
