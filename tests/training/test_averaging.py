"""The mean of weights, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openkith.errors import ConfigError, WeightsError
from openkith.training import average, write_weights
from openkith.training.checkpoints import Checkpoint, checkpoint_path, write_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four checkpoints with weights 1, 2, 4 and 8, and a counter."""
    for step, value in enumerate((1.0, 2.0, 4.0, 8.0), start=1):
        model = {"w": torch.tensor([value, -value]), "seen": torch.tensor(step)}
        write_checkpoint(checkpoint_path(tmp_path, step), Checkpoint(model, {}, {}, {}, {}))
    return tmp_path


def test_of_the_last(run: Path) -> None:
    found = average(run, last=3)
    assert torch.equal(found["w"], torch.tensor([14 / 3, -14 / 3]))
    assert found["w"].dtype == torch.float32
    assert found["seen"].item() == 4


def test_of_all_where_there_are_fewer(run: Path) -> None:
    assert average(run)["w"][0] == 3.75
    assert average(str(run / "checkpoints"))["w"][0] == 3.75


def test_of_files_that_are_named(run: Path) -> None:
    write_weights({"w": torch.tensor([10.0, 0.0]), "seen": torch.tensor(9)}, run / "a.safetensors")
    torch.save({"w": torch.tensor([1.0, 0.0]), "seen": torch.tensor(5)}, run / "b.pt")
    found = average([run / "a.safetensors", str(run / "b.pt"), checkpoint_path(run, 3)])
    assert torch.equal(found["w"], torch.tensor([5.0, -4 / 3]))
    assert found["seen"].item() == 3
    assert average([run / "a.safetensors", checkpoint_path(run, 3)], last=1)["w"][0] == 4


def test_in_double_precision(tmp_path: Path) -> None:
    """A sum in float32 would lose the small ones."""
    values = [2.0**24, 1.0, 1.0, 2.0]
    for number, value in enumerate(values):
        write_weights({"w": torch.tensor([value])}, tmp_path / f"{number}.safetensors")
    found = average([tmp_path / f"{number}.safetensors" for number in range(4)])
    assert found["w"].item() == 2.0**22 + 1


@pytest.mark.parametrize(
    "other",
    [
        {"w": torch.zeros(3), "seen": torch.tensor(1)},
        {"w": torch.zeros(2)},
        {"seen": torch.tensor(1), "v": torch.zeros(2)},
    ],
)
def test_of_two_models(run: Path, other: dict[str, torch.Tensor]) -> None:
    write_weights(other, run / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors: \w+ is not as in .*step-00000001") as caught:
        average([checkpoint_path(run, 1), run / "other.safetensors"])
    assert "\n" not in str(caught.value)


def test_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no checkpoints to average"):
        average(tmp_path)
    with pytest.raises(ConfigError, match="last is 0"):
        average(tmp_path, last=0)
