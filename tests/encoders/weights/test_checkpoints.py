"""Foreign checkpoints: where their tensors stand, which names count, and what is said of those that do not fit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openkith.encoders.weights.checkpoints import NESTED_UNDER, find_checkpoint, load_strictly, read_state
from openkith.errors import WeightsError


def weights() -> dict[str, torch.Tensor]:
    return {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.running_var": torch.ones(2)}


def saved(folder: Path, content: Any, name: str = "model.pt") -> Path:
    (save_file if name.endswith(".safetensors") else torch.save)(content, folder / name)
    return folder / name


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(WeightsError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


# Reading


@pytest.mark.parametrize("name", ["model.pt", "avg_model.ckpt", "model.bin", "model.safetensors"])
def test_a_plain_state_dict(tmp_path: Path, name: str) -> None:
    assert same(read_state(saved(tmp_path, weights(), name)), weights())


@pytest.mark.parametrize("key", NESTED_UNDER)
def test_a_nested_state_dict(tmp_path: Path, key: str) -> None:
    assert same(read_state(saved(tmp_path, {"epoch": 3, "args": {"lr": 0.1}, key: weights()})), weights())


def test_floats_become_float32_and_counters_stay(tmp_path: Path) -> None:
    state = {
        "a": torch.ones(2, dtype=torch.float16),
        "b": torch.ones(2, dtype=torch.float64),
        "n": torch.tensor(7),
    }
    types = {name: tensor.dtype for name, tensor in read_state(saved(tmp_path, state)).items()}
    assert types == {"a": torch.float32, "b": torch.float32, "n": torch.int64}


def test_names_that_are_ignored(tmp_path: Path) -> None:
    state = {**weights(), "projection.weight": torch.ones(2), "a.num_batches_tracked": torch.tensor(1)}
    file = saved(tmp_path, state)
    assert same(read_state(file, ignored=("projection.*", "*num_batches_tracked")), weights())
    assert same(read_state(file), state)


def test_prefixes_are_taken_off(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in weights().items()}
    assert same(read_state(saved(tmp_path, state)), weights())
    mixed = {"__S__.a": torch.ones(1), "__L__.fc": torch.zeros(1), "b": torch.ones(2)}
    file = saved(tmp_path, mixed)
    bare = {"a": mixed["__S__.a"], "b": mixed["b"]}
    assert same(read_state(file, ignored=("__L__.*",), strip=("__S__.",)), bare)
    assert same(read_state(file, ignored=("fc",), strip=("__S__.", "__L__.")), bare)
    assert same(read_state(file, strip=()), mixed)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, {"a": torch.ones(1), "module.a": torch.zeros(1)})
    expected = f"{file}: a is there both with and without 'module.'; give one model's weights"
    assert error_of(lambda: read_state(file)) == expected


@pytest.mark.parametrize("content", [[], {}, {"epoch": 3}, {"model": "large"}, torch.ones(3)])
def test_no_state_dict(tmp_path: Path, content: Any) -> None:
    file = saved(tmp_path, content)
    expected = f"{file}: holds no weights of an encoder; give a checkpoint with tensors by name"
    assert error_of(lambda: read_state(file)) == expected


def test_nothing_left_after_ignoring(tmp_path: Path) -> None:
    file = saved(tmp_path, weights())
    assert "holds no weights" in error_of(lambda: read_state(file, ignored=("*",)))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_file_that_is_neither(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    assert error_of(lambda: read_state(tmp_path / name)).startswith(f"{tmp_path / name}: not a ")


def test_no_file(tmp_path: Path) -> None:
    assert error_of(lambda: read_state(tmp_path / "a.pt")).startswith(
        f"{tmp_path / 'a.pt'}: no such weights file"
    )


class Bomb:
    """What a pickle may do to whom unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_nothing_is_run(tmp_path: Path, save: Callable[[Any, Path], object]) -> None:
    file, mark = tmp_path / "bomb.pt", tmp_path / "run"
    save({"a": torch.ones(1), "b": Bomb(mark)}, file)
    assert "not a torch checkpoint of plain tensors" in error_of(lambda: read_state(file))
    assert not mark.exists()


# Finding


def test_a_file_is_itself(tmp_path: Path) -> None:
    file = saved(tmp_path, weights())
    assert find_checkpoint(file, ("*.safetensors",)) == find_checkpoint(str(file), ()) == file


def test_the_most_wanted_of_a_folder(tmp_path: Path) -> None:
    for name in ("avg_model.pt", "model.ckpt", "config.yaml"):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path, ("*.safetensors", "avg_model.pt", "*.ckpt")) == tmp_path / "avg_model.pt"
    assert find_checkpoint(tmp_path, ("*.ckpt", "*.pt")) == tmp_path / "model.ckpt"


def test_several_or_none(tmp_path: Path) -> None:
    for epoch in range(4):
        (tmp_path / f"model_{epoch}.pt").touch()
    several = f"{tmp_path}: 4 checkpoints (model_0.pt, model_1.pt, model_2.pt); give the file that is meant"
    assert error_of(lambda: find_checkpoint(tmp_path, ("*.pt",))) == several
    none = f"{tmp_path}: no checkpoint there (*.bin, *.ckpt); give the file"
    assert error_of(lambda: find_checkpoint(tmp_path, ("*.bin", "*.ckpt"))) == none
    assert "no such weights file or folder" in error_of(lambda: find_checkpoint(tmp_path / "x", ("*.pt",)))


# Loading


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def full_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(tensor.shape, generator=generator)
        for name, tensor in network().state_dict().items()
        if "num_batches" not in name
    }


@pytest.mark.parametrize("counters", [{}, {"1.num_batches_tracked": torch.tensor(9)}])
def test_it_loads_with_and_without_counters(counters: dict[str, torch.Tensor]) -> None:
    model = network()
    load_strictly(model, {**full_state(), **counters}, "file")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in full_state().items())
    assert model(torch.ones(4, 3)).shape == (4, 2)


def test_a_network_without_weights_of_its_own() -> None:
    with torch.device("meta"):
        model = network()
    load_strictly(model, full_state(), "file")
    expected = network()
    expected.load_state_dict(full_state(), strict=False)
    x = torch.rand(4, 3)
    assert torch.equal(model.eval()(x), expected.eval()(x))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}


def test_the_type_is_the_networks() -> None:
    model = network()
    load_strictly(model, {name: tensor.half() for name, tensor in full_state().items()}, "file")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}


def test_what_does_not_fit_is_named() -> None:
    state = full_state()
    state["linear.weight"] = state.pop("0.weight")
    state["0.bias"] = torch.ones(5)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert error_of(lambda: load_strictly(model, state, "avg.pt")) == (
        "avg.pt: not weights of this Sequential (without 0.weight; with unknown linear.weight; "
        "with other shapes for 0.bias 5 instead of 2); give a checkpoint of its layout"
    )
    assert same(model.state_dict(), before)


def test_only_a_few_names_are_given() -> None:
    state = {**full_state(), **{f"extra.{i}": torch.ones(1) for i in range(20)}}
    message = error_of(lambda: load_strictly(network(), state, "avg.pt"))
    assert "with unknown extra.0, extra.1, extra.2 and 17 more)" in message


def test_matrices_and_scalars_are_shown_by_shape() -> None:
    state = {**full_state(), "0.weight": torch.tensor(1.0)}
    assert "0.weight scalar instead of 2x3" in error_of(lambda: load_strictly(network(), state, "a"))
