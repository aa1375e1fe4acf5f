"""kith neural-scoring, from a folder of recordings to a table of error rates."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from openkith.bulk.trial_scores import read_scores
from openkith.metrics import eer
from talkers import write_talkers

Run = Callable[..., Any]

PEOPLE = 20  # whom the trained scorer has never heard
NAMES = [f"s{k:02}" for k in range(6)]
SHORT = ("--set", "enrolment_seconds=0.3", "--set", "test_seconds=0.3", "--set", "train.accelerator=cpu")
TINY = ("--set", "network={width: 16, feed_forward: 16, dropout: 0}", "--set", "train.batch_size=3", *SHORT)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talkers(tmp_path_factory.mktemp("corpus"), NAMES, 3, 0.5)


def write_trials(path: Path, names: list[str], takes: int) -> Path:
    """Take 0 of everybody enrols, against all other takes of everybody."""
    lines = [
        f"{int(one == other)} {one}/0.wav {other}/{take}.wav"
        for one in names
        for other in names
        for take in range(1, takes)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_command(kith: Run, corpus: Path, tmp_path: Path) -> None:
    enrol, clean, multi = (tmp_path / name for name in ("enrol", "clean", "multi"))

    def run(*words: object) -> str:
        result = kith("neural-scoring", *words)
        assert (result.exit_code, result.stderr) == (0, "")
        return str(result.stdout)

    steps = ("--set", "train.max_steps=2")
    said = run(
        *("enrol-model", corpus, "--out", enrol, "--config", "small-enrol-model", *steps),
        *(
            "--set",
            "seconds=0.3",
            "--set",
            "train.batch_size=3",
            "--set",
            "train.accelerator=cpu",
            "--set",
            "held_out=2",
        ),
    )
    assert "seconds: 0.3 (--set)\n" in said
    assert "dim: 256 (" in said
    assert "train.momentum: 0.9 (default)\n" in said
    assert said.splitlines()[-1].startswith("2 steps, 0 epochs; last checkpoint: ")
    hard = tmp_path / "hard.json"
    said = run("mine", corpus, "--model", enrol, "--out", hard, "--top", 2, "--clips", 1, "--device", "cpu")
    assert said == f"6 speakers, 2 others of each: {hard}\n"
    assert json.loads(hard.read_text()).keys() == set(NAMES)

    said = run(
        *(
            "train",
            corpus,
            "--config",
            "clean",
            "--from",
            enrol,
            "--hard-speakers",
            hard,
            "--out",
            clean,
            *TINY,
        ),
        *(
            "--set",
            "held_out=2",
            "--set",
            "train.max_steps=2",
            "--set",
            "turns=1",
            "--set",
            "train.workers=0",
        ),
        *("--set", "train.log_every=1", "--json"),
    )
    done = json.loads(said)
    assert (done["steps"], done["epochs"], done["out"]) == (2, 2, str(clean))
    assert 0 <= done["measure"] <= 1
    small = ("--config", "small", *TINY, "--set", "turns=1", "--set", "train.epochs=1")
    said = run(
        "train",
        corpus,
        *small,
        "--from",
        clean,
        "--hard-speakers",
        hard,
        "--out",
        multi,
        "--precision",
        "bf16-mixed",
    )
    assert "train.precision: bf16-mixed (--set)\n" in said
    assert "2 steps, 1 epochs, loss " in said
    said = run(
        "train",
        corpus,
        *small,
        "--set",
        "train.epochs=2",
        "--out",
        multi,
        "--resume",
        "--precision",
        "bf16-mixed",
    )
    assert "4 steps, 2 epochs, loss " in said

    model = tmp_path / "model"
    said = run("average", multi, "--last", 2, "--out", model)
    assert said == f"neural-scorer, the mean of 2 checkpoints: {model}\n"
    trials = write_trials(tmp_path / "trials.txt", NAMES[:4], 2)
    result = kith(
        *("simulate", trials, "--root", corpus, "--out", tmp_path / "sets", "--workers", 1),
        *("--interferers", corpus, "--scenarios", "clean", "mix"),
    )
    assert result.exit_code == 0
    lists = [tmp_path / "sets" / f"{name}.txt" for name in ("clean", "mix")]
    said = run(
        "evaluate",
        model,
        *lists,
        "--root",
        tmp_path / "sets",
        "--device",
        "cpu",
        "--scores",
        tmp_path / "scores",
    )
    rows = [line.split() for line in said.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["clean", "cosine", "16"],
        ["clean", "neural-scoring", "16"],
        ["mix", "cosine", "16"],
        ["mix", "neural-scoring", "16"],
        ["overall", "cosine", "32"],
        ["overall", "neural-scoring", "32"],
    ]
    values, targets = read_scores(tmp_path / "scores" / "mix.neural-scoring.tsv")
    assert f"{100 * eer(values[targets == 1], values[targets == 0]):.2f}" == rows[4][3]
    said = run(
        "evaluate", multi, lists[0], "--root", tmp_path / "sets", "--device", "cpu", "--no-cosine", "--json"
    )
    (only,) = json.loads(said)["results"]
    assert (only["trials_of"], only["method"], only["targets"]) == ("clean", "neural-scoring", 4)


def test_wrong_input(kith: Run, only_line: Callable[[Any], str], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train = ("neural-scoring", "train", corpus, "--out", out, "--config")
    line = only_line(kith(*train, "cleaner"))
    assert "cleaner: no such file; give a YAML file, or one of clean" in line
    assert "unknown key 'epoch'; did you mean 'epochs'" in only_line(
        kith(*train, "small", "--set", "train.epoch=3")
    )
    assert "train.devices=0" in only_line(kith(*train, "small", "--devices", 0))
    assert "nothing to begin from" in only_line(kith(*train, "small"))
    assert "no such folder" in only_line(kith(*train, "small", "--noise", tmp_path / "nowhere"))
    assert "cannot be read" in only_line(kith(*train, "small", "--hard-speakers", tmp_path / "hard.json"))
    line = only_line(kith("neural-scoring", "enrol-model", tmp_path / "nowhere", "--out", out))
    assert "no such folder" in line
    line = only_line(
        kith("neural-scoring", "mine", corpus, "--model", tmp_path, "--out", tmp_path / "hard.json")
    )
    assert "no checkpoint there" in line
    assert "no checkpoints to average" in only_line(kith("neural-scoring", "average", tmp_path, "--out", out))
    line = only_line(kith("neural-scoring", "evaluate", tmp_path / "x", tmp_path / "y", "--root", tmp_path))
    assert "no such weights file or folder" in line
    assert not out.exists()


@pytest.mark.slow
def test_learning(kith: Run, tmp_path: Path) -> None:
    """From nothing to people whom it has never heard, in three minutes: by far more than luck."""
    seen = write_talkers(tmp_path / "seen", [f"s{k:02}" for k in range(60)], 3)
    strangers = [f"t{k:02}" for k in range(PEOPLE)]
    unseen = write_talkers(tmp_path / "unseen", strangers, 4, 0.8)

    def run(*words: object) -> None:
        result = kith("neural-scoring", *words)
        assert (result.exit_code, result.stderr) == (0, "")

    def losses(folder: Path) -> list[float]:
        with (folder / "steps.csv").open(newline="") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    enrol, trained, model = tmp_path / "enrol", tmp_path / "trained", tmp_path / "model"
    run(
        *("enrol-model", seen, "--config", "small-enrol-model", "--out", enrol, "--set", "seconds=0.4"),
        *("--set", "train.max_steps=40", "--set", "augment=0", "--set", "margin=0.1"),
        *("--set", "train.keep=1"),
    )
    assert np.mean(losses(enrol)[-8:]) < 0.5 * np.mean(losses(enrol)[:8])
    hard = tmp_path / "hard.tsv"
    run("mine", seen, "--model", enrol, "--out", hard, "--top", 8, "--seconds", 0.4)
    run(
        *("train", seen, "--config", "small", "--from", enrol, "--hard-speakers", hard, "--out", trained),
        *("--set", "enrolment_seconds=0.4", "--set", "test_seconds=0.4", "--set", "train.max_steps=50"),
        *("--set", "mixture={mixed: 0, noisy: 0, augment: 0}", "--set", "network={width: 256, dropout: 0}"),
        *("--set", "train.learning_rate=2e-4", "--set", "group=2", "--set", "turns=4"),
    )
    assert np.mean(losses(trained)[-6:]) < 0.6 * np.mean(losses(trained)[:6])
    run("average", trained, "--last", 2, "--out", model)
    trials = write_trials(tmp_path / "trials.txt", strangers, 4)
    run("evaluate", model, trials, "--root", unseen, "--scores", tmp_path / "scores", "--no-cosine")
    values, _ = read_scores(tmp_path / "scores" / "trials.neural-scoring.tsv")
    scores = values.reshape(PEOPLE, PEOPLE, 3)  # enrolled, tested, take

    def error(owners: np.ndarray) -> float:
        own = np.arange(PEOPLE)[:, None] == owners[None]
        return eer(scores[own].ravel(), scores[~own].ravel())

    rng = np.random.default_rng(0)
    by_luck = [error(rng.permutation(PEOPLE)) for _ in range(2000)]
    found = error(np.arange(PEOPLE))
    assert found < 0.35
    assert found < min(by_luck)  # p < 1/2000 for whoever does not know who is who
