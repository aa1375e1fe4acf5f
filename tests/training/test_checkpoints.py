"""Checkpoints: whole or not at all, and read back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from openkith.errors import InputError, WeightsError
from openkith.training import list_checkpoints, read_weights, write_weights
from openkith.training.checkpoints import (
    Checkpoint,
    checkpoint_path,
    discard,
    read_checkpoint,
    sweep,
    write_checkpoint,
)


def make(value: float = 1.0) -> Checkpoint:
    weight = torch.full((2, 3), value)
    return Checkpoint(
        model={"a.weight": weight, "tied": weight, "half": weight.half().T, "count": torch.tensor(7)},
        optimiser={0: {"exp_avg": weight * 2, "step": torch.tensor(3.0)}, 12: {"exp_avg": weight}},
        random={"torch": torch.arange(5, dtype=torch.uint8)[None]},
        state={"step": 3, "loss": 0.1 + 0.2, "scale": {}},
        config={"kind": "scorer", "training": {"epochs": 2}},
    )


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def test_write_and_read(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make())
    found, expected = read_checkpoint(path), make()
    assert same(dict(found.model), dict(expected.model))
    assert found.optimiser.keys() == expected.optimiser.keys()
    assert all(same(dict(found.optimiser[n]), dict(expected.optimiser[n])) for n in expected.optimiser)
    assert same(dict(found.random), dict(expected.random))
    assert found.state == expected.state
    assert found.config == expected.config
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}
    assert json.loads((path / "config.json").read_text())["kind"] == "scorer"
    assert [file.name for file in path.parent.iterdir()] == ["step-00000003"]


def test_the_same_step_again_takes_its_place(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make(1.0))
    write_checkpoint(path, make(2.0))
    assert read_checkpoint(path).model["tied"][0, 0] == 2
    assert list_checkpoints(tmp_path) == [path]


def test_by_step_and_not_by_name(tmp_path: Path) -> None:
    steps = [100_000_000, 99_999_999, 5]
    for step in steps:
        checkpoint_path(tmp_path, step).mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000007").write_text("a file")
    (tmp_path / "checkpoints" / "notes").mkdir()
    expected = [checkpoint_path(tmp_path, step) for step in sorted(steps)]
    assert list_checkpoints(tmp_path) == list_checkpoints(tmp_path / "checkpoints") == expected
    assert list_checkpoints(tmp_path / "nothing") == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make(1.0))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left on device") as caught:
        write_checkpoint(checkpoint_path(tmp_path, 4), make())
    assert "step-00000004" in str(caught.value)
    with pytest.raises(InputError):
        write_checkpoint(path, make(2.0))
    assert [file.name for file in path.parent.iterdir()] == ["step-00000003"]
    assert read_weights(path)["tied"][0, 0] == 1


def test_leftovers_are_swept_and_never_listed(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make())
    folder = path.parent
    for name in (".step-00000004.0a1b2c3d.tmp", ".step-00000002.0a1b2c3d.tmp"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    (folder / ".mine").mkdir()
    assert list_checkpoints(tmp_path) == [path]
    sweep(tmp_path)
    assert {entry.name for entry in folder.iterdir()} == {path.name, ".mine"}


def test_discard(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make())
    discard(path)
    discard(path)
    assert list(path.parent.iterdir()) == []


def test_weights_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "average.safetensors"
    write_weights(make().model, file)
    assert same(read_weights(file), dict(make().model))
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    write_weights({"a": torch.zeros(1)}, file)
    assert list(read_weights(file)) == ["a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_weights(make().model, tmp_path / "file" / "a.safetensors")


def test_damaged(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such file"):
        read_weights(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_weights(tmp_path / "bad.safetensors")
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, make())
    for text, message in (("{", "not readable JSON"), ("[]", "no keys and values")):
        (path / "state.json").write_text(text)
        with pytest.raises(WeightsError, match=message) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
