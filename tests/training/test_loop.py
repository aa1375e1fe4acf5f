"""Trainings of a small task from beginning to end, and from where another ended."""

from __future__ import annotations

import csv
import inspect
import json
import pickle
import random
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openkith.errors import ConfigError, InputError, WeightsError
from openkith.training import TrainConfig, average, list_checkpoints, read_weights, train

sys.path.insert(0, str(Path(__file__).parent))
from training_task import Waves, collate, held_out, make_model, run, squares

STEPS_AN_EPOCH = 6  # of 96 rows in batches of 16


def config(**settings: Any) -> TrainConfig:
    given = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, **settings}
    return TrainConfig(accelerator="cpu", **given)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def final(folder: Path) -> dict[str, Tensor]:
    return read_weights(list_checkpoints(folder)[-1])


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def measures(*values: float) -> Any:
    """An evaluation that gives one of them after the other."""
    left = list(values)
    return lambda _model: left.pop(0)


def fit(folder: Path, evaluate: Any = None, loss: Any = squares, **settings: Any) -> Any:
    return train(make_model(), loss, Waves(), config(**settings), folder, collate=collate, evaluate=evaluate)


def test_it_learns_and_writes_down(tmp_path: Path) -> None:
    trained = run(tmp_path, config(epochs=15, learning_rate=0.1))
    steps, epochs = rows(tmp_path / "steps.csv"), rows(tmp_path / "epochs.csv")
    assert [int(row["step"]) for row in steps] == list(range(1, 15 * STEPS_AN_EPOCH + 1))
    assert list(steps[0]) == ["step", "epoch", "loss", "learning_rate", "root"]
    assert [int(row["epoch"]) for row in epochs] == list(range(1, 16))
    assert float(epochs[-1]["eer"]) < 0.5 * float(epochs[0]["eer"])
    first = [float(row["loss"]) for row in steps[:STEPS_AN_EPOCH]]
    assert float(epochs[0]["loss"]) == pytest.approx(sum(first) / len(first))
    assert trained.loss == float(epochs[-1]["loss"])
    assert trained.measure == min(float(row["eer"]) for row in epochs)
    assert (trained.steps, trained.epochs, trained.waited_long) == (15 * STEPS_AN_EPOCH, 15, False)
    assert trained.checkpoint == list_checkpoints(tmp_path)[-1]


def test_the_model_is_trained_in_place_and_left_in_evaluation_mode(tmp_path: Path) -> None:
    model = make_model()
    train(model, squares, Waves(), config(), tmp_path, collate=collate)
    assert same(dict(model.state_dict()), final(tmp_path))
    assert not model.training


def test_the_last_rows_are_means_of_what_is_between(tmp_path: Path) -> None:
    run(tmp_path / "each", config())
    run(tmp_path / "fourth", config(log_every=4))
    each, fourth = rows(tmp_path / "each" / "steps.csv"), rows(tmp_path / "fourth" / "steps.csv")
    assert [int(row["step"]) for row in fourth] == [4, 8, 12]
    expected = [sum(float(row["loss"]) for row in each[k : k + 4]) / 4 for k in (0, 4, 8)]
    assert [float(row["loss"]) for row in fourth] == pytest.approx(expected)


def test_the_learning_rate_goes_down_at_a_plateau(tmp_path: Path) -> None:
    settings: Any = {"schedule": "plateau", "decay": 0.5, "plateau": 2, "epochs": 6}
    fit(tmp_path, measures(0.3, 0.3, 0.4, 0.2, 0.3, 0.3), **settings)
    assert [float(row["learning_rate"]) for row in rows(tmp_path / "epochs.csv")] == [0.02] * 3 + [0.01] * 3
    assert [float(row["learning_rate"]) for row in rows(tmp_path / "steps.csv")] == [0.02] * 18 + [0.01] * 18


@pytest.mark.parametrize(
    ("better", "values", "epochs", "best"),
    [("lower", (0.3, 0.2, 0.25, 0.2, 0.1), 4, 2), ("higher", (0.3, 0.2, 0.25, 0.4), 3, 1)],
)
def test_it_ends_early_and_the_best_is_kept(
    tmp_path: Path, better: Any, values: tuple[float, ...], epochs: int, best: int
) -> None:
    trained = fit(tmp_path, measures(*values), epochs=9, patience=2, better=better, keep=1)
    assert (trained.epochs, trained.waited_long) == (epochs, True)
    assert trained.measure == values[best - 1]
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        f"step-{STEPS_AN_EPOCH * epoch:08d}" for epoch in (best, epochs)
    ]
    assert trained.best == list_checkpoints(tmp_path)[0]
    fit(tmp_path / "short", epochs=best)
    assert same(read_weights(trained.best), final(tmp_path / "short"))


def test_held_out_measures_by_name(tmp_path: Path) -> None:
    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"corpus": 0.5, "second": held_out(model)}

    trained = fit(tmp_path, evaluate, measure="second")
    last = rows(tmp_path / "epochs.csv")[-1]
    assert list(last) == ["epoch", "step", "loss", "learning_rate", "corpus", "second", "seconds"]
    assert trained.measure == min(float(row["second"]) for row in rows(tmp_path / "epochs.csv"))
    with pytest.raises(ConfigError, match="measure is 'eer', and evaluate gave corpus, second"):
        fit(tmp_path / "other", evaluate)


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    """It draws, and the training's draws are the same; so are its own at every run."""
    fit(tmp_path / "with", held_out)
    fit(tmp_path / "without")
    assert (tmp_path / "with" / "steps.csv").read_text() == (tmp_path / "without" / "steps.csv").read_text()
    assert same(final(tmp_path / "with"), final(tmp_path / "without"))


def test_the_callers_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), np.random.random(), torch.rand(()).item()

    make_model()  # seeds
    expected = draw()
    fit(tmp_path / "a")
    first = draw()
    make_model()
    assert draw() == expected
    make_model()
    train(nn.Linear(4, 1), squares, Waves(), config(), tmp_path / "b", collate=collate)
    assert first == expected


def test_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, config(seed=seed))
    a, b, c = ((tmp_path / name / "steps.csv").read_text() for name in "abc")
    assert a == b != c


def test_going_on_is_as_if_it_had_never_ended(tmp_path: Path) -> None:
    """In the middle of an epoch, and at its end, with a window of the log open and a plateau behind it."""
    settings: Any = {
        "epochs": 5,
        "schedule": "plateau",
        "decay": 0.5,
        "accumulate": 2,
        "log_every": 4,
        "clip": 0.5,
    }
    run(tmp_path / "whole", config(**settings))
    run(tmp_path / "parts", config(**settings, max_steps=2))
    run(tmp_path / "parts", config(**{**settings, "epochs": 2}, checkpoint_every=1), resume=True)
    run(tmp_path / "parts", config(**settings, max_steps=10), resume=True)
    run(tmp_path / "parts", config(**settings), resume=True)
    assert (tmp_path / "parts" / "steps.csv").read_bytes() == (tmp_path / "whole" / "steps.csv").read_bytes()
    epochs = [
        [{**row, "seconds": ""} for row in rows(tmp_path / name / "epochs.csv")]
        for name in ("parts", "whole")
    ]
    assert epochs[0] == epochs[1]
    a, b = (list_checkpoints(tmp_path / name)[-1] for name in ("parts", "whole"))
    for file in ("model", "optimiser", "random"):
        assert (a / f"{file}.safetensors").read_bytes() == (b / f"{file}.safetensors").read_bytes()
    assert json.loads((a / "state.json").read_text()) == json.loads((b / "state.json").read_text())


def test_going_on_unpickles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, config(max_steps=4))
    [path] = list_checkpoints(tmp_path)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert run(tmp_path, config(), resume=True).steps == 12


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = run(tmp_path, config(), resume=True)  # nothing there: begun
    before = (tmp_path / "steps.csv").read_bytes()
    assert run(tmp_path, config(), resume=True) == first
    assert (tmp_path / "steps.csv").read_bytes() == before


def test_a_folder_is_not_trained_in_twice(tmp_path: Path) -> None:
    run(tmp_path, config(max_steps=1))
    with pytest.raises(ConfigError, match="has checkpoints of a training; resume it, or give another folder"):
        run(tmp_path, config())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size is 8, and .* was trained with 16"),
        ({"accumulate": 2}, "accumulate is 2, and .* was trained with 1"),
        ({"seed": 3}, "seed is 3, and .* was trained with 0"),
        ({"optimiser": "sgd"}, "optimiser is sgd, and .* was trained with adam"),
    ],
)
def test_what_cannot_change_when_going_on(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run(tmp_path, config(max_steps=1))
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, config(**change), resume=True)


def test_other_data_or_another_model(tmp_path: Path) -> None:
    fit(tmp_path, max_steps=1)
    with pytest.raises(ConfigError, match=r"rows is 50, and .* was trained with 96"):
        train(make_model(), squares, Waves(50), config(), tmp_path, collate=collate, resume=True)
    with pytest.raises(ConfigError, match="are not the ones it was begun with"):
        train(
            *(make_model(), squares, Waves(), config(), tmp_path),
            **{"collate": collate, "resume": True, "batches": lambda *_: [[0], [1], [2]]},
        )
    with pytest.raises(WeightsError, match="not of this model"):
        train(nn.Linear(4, 1), squares, Waves(), config(), tmp_path, collate=collate, resume=True)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_not_finite(tmp_path: Path, clip: float | None) -> None:
    """Told in one line; the last checkpoint is one that can be gone on from."""
    calls = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        calls.append(0)
        return squares(model, batch) * (torch.nan if len(calls) == 9 else 1)

    with pytest.raises(ConfigError) as caught:
        fit(tmp_path, loss=loss, checkpoint_every=4, clip=clip)
    message = str(caught.value)
    path = list_checkpoints(tmp_path)[-1]
    assert path.name == "step-00000008"
    assert message.startswith("learning_rate is 0.02 at step 9, and the loss is nan; ")
    assert str(path) in message
    assert "\n" not in message
    assert len(rows(tmp_path / "steps.csv")) == 8
    train(make_model(), squares, Waves(), config(clip=clip), tmp_path, collate=collate, resume=True)
    fit(tmp_path / "whole", clip=clip)
    assert same(final(tmp_path), final(tmp_path / "whole"))


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """The loss is finite, its gradient is not: the step after has no loss, and is not reached."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch[0]) * 0).abs().sqrt().mean()

    with pytest.raises(
        ConfigError, match=r"at step 1, and a weight is not finite; there is no checkpoint yet"
    ):
        fit(tmp_path, loss=loss, max_steps=1)
    assert list_checkpoints(tmp_path) == []


def test_the_newest_are_kept(tmp_path: Path) -> None:
    fit(tmp_path, checkpoint_every=4, keep=3)
    assert [int(path.name[5:]) for path in list_checkpoints(tmp_path)] == [6, 8, 12]
    mean = average(tmp_path, last=2)
    expected = [read_weights(path) for path in list_checkpoints(tmp_path)[-2:]]
    for key, value in mean.items():
        torch.testing.assert_close(value, (expected[0][key] + expected[1][key]) / 2)


def test_checkpoints_say_what_they_are(tmp_path: Path) -> None:
    model = make_model()
    about = {"kind": "waves", "hidden": [16]}
    trained = train(model, squares, Waves(), config(), tmp_path, collate=collate, about=about)
    told = json.loads((trained.checkpoint / "config.json").read_text())
    assert {key: told[key] for key in about} == about
    assert told["training"]["learning_rate"] == 0.02
    assert told["training"]["rows"] == 96
    with pytest.raises(ConfigError, match="about: has 'training'"):
        train(model, squares, Waves(), config(), tmp_path / "b", about={"training": 1})


def test_batches_of_the_callers_own(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def keep(samples: Any) -> Any:
        seen.append([round(x[1] * 96) for x, _ in samples])
        return collate(samples)

    def factory(epoch: int, rank: int, count: int) -> list[list[int]]:
        assert (rank, count) == (0, 1)
        return [[epoch, 1, 2], [5, 5]]

    train(make_model(), squares, Waves(), config(), tmp_path, collate=keep, batches=factory)
    assert seen == [[0, 1, 2], [5, 5], [1, 1, 2], [5, 5]]


def test_frozen_weights_stay(tmp_path: Path) -> None:
    model = make_model()
    assert isinstance(model, nn.Sequential)
    model[0].requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, squares, Waves(), config(), tmp_path, collate=collate)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"3.weight", "3.bias"}


def test_progress_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.training.logs._PAUSE", 0.0)
    told: list[tuple[str, int, int]] = []
    run(tmp_path, config(accumulate=4), progress=lambda *what: told.append(what))
    assert [done for _, done, _ in told] == [1, 2, 3, 4]
    assert {total for *_, total in told} == {4}
    assert told[0][0].startswith("epoch 1 of 2, loss 0.")
    assert told[0][0].endswith(" s left")
    assert "left" not in told[-1][0]


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, config(tensorboard=True, precision="bf16-mixed"))
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "tensorboard").iterdir())


def test_what_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset: has no rows"):
        train(make_model(), squares, [], config(), tmp_path / "a")
    with pytest.raises(ConfigError, match="patience is 2, and nothing is held out; give evaluate, or 0"):
        fit(tmp_path / "a", patience=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep logs there"):
        fit(tmp_path / "file")
    assert not (tmp_path / "a").exists()


def test_the_example_of_the_docstring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(train) or ""
    example = textwrap.dedent(text[text.index("    import torch\n") : text.index("The same script")])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"print": lambda *_: None}
    exec(example, names)
    weight = names["model"].weight[0]
    assert weight[0].item() == pytest.approx(3, abs=0.5)
    assert weight[1].item() == pytest.approx(-1, abs=0.3)
