"""kith enhance targets and kith enhance lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.enhancement.lists import FORMS, make_list, read_list
from openkith.enhancement.targets import make_targets, read_targets
from openkith.enhancement.tree import read_tree

Run = Callable[..., Any]


@pytest.fixture
def embedded(kith: Run, record: Run, tmp_path: Path) -> Path:
    """Two speakers with two recordings of two files, and one with a single file, by ``kith embed --crops``."""
    for person, name in enumerate(("ann", "bob")):
        for take in range(4):
            record(person, take, tmp_path / "wav" / name / f"r{take // 2}" / f"{take % 2}.wav")
    record(2, 0, tmp_path / "wav" / "eve" / "r0" / "0.wav")
    out = tmp_path / "emb"
    options = ("--crops", 3, "--crop-seconds", 1, "--no-quality", "--vad", "none", "--workers", 1)
    assert kith("embed", tmp_path / "wav", "--out", out, *options).exit_code == 0
    return out


@pytest.mark.parametrize("kind", ["A", "B", "C"])
def test_targets(kith: Run, embedded: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "targets"
    result = kith("enhance", "targets", embedded, "--type", kind, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"type {kind} of 3 speakers, 9 utterances: {out}",
        "1 of them with one utterance only, so that the target is of that one: eve",
    ]
    read = read_targets(out)
    assert (read.kind, read.encoder, read.fingerprint) == (kind, "bands", "bands/1")
    np.testing.assert_array_equal(read.embeddings, make_targets(read_tree(embedded), kind).embeddings)


def test_targets_json(kith: Run, embedded: Path, tmp_path: Path) -> None:
    result = kith("enhance", "targets", embedded, "--type", "B", "--out", tmp_path / "t", "--json")
    assert json.loads(result.stdout) == {
        "out": str(tmp_path / "t"),
        "type": "B",
        "speakers": 3,
        "utterances": 9,
        "dim": 28,
        "encoder": "bands",
        "single": ["eve"],
    }


@pytest.mark.parametrize("form", list(FORMS))
def test_lists(kith: Run, embedded: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"home_{form}_list.txt"
    result = kith("enhance", "lists", form, embedded, "--out", path, "--seed", 4)
    assert (result.exit_code, result.stderr) == (0, "")
    made = make_list(form, read_tree(embedded), 4)
    assert path.read_text() == "".join(made.lines())
    assert result.stdout.startswith(f"{form} list, {len(made)} entries, ")
    assert result.stdout.endswith(f": {path}\n")
    again = kith("enhance", "lists", form, embedded, "--out", path, "--seed", 4, "--json")
    assert path.read_text() == "".join(made.lines())
    assert json.loads(again.stdout) == {"out": str(path), "form": form, "seed": 4, **made.counts()}
    assert len(read_list(path, embedded)) == len(made)


def test_a_list_in_a_folder_is_named_for_the_embeddings(kith: Run, embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    data = json.loads(
        kith("enhance", "lists", "distribution", embedded, "--out", tmp_path / "lists", "--json").stdout
    )
    path = tmp_path / "lists" / "emb_distribution_list.txt"
    assert (data["out"], data["seed"]) == (str(path), 0)
    assert (data["same_recording"], data["cross_recording"]) == (4, 4)
    assert path.is_file()


def test_what_is_wrong_is_one_line(kith: Run, only_line: Run, embedded: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    small = tmp_path / "small"
    (small / "ann").mkdir(parents=True)
    np.save(small / "ann" / "0.npy", np.ones(4))
    for args, said in (
        (("targets", embedded, "--type", "D", "--out", out), "no target is of type 'D'; there are: A, B, C"),
        (("targets", tmp_path / "no", "--type", "A", "--out", out), "no such folder of embeddings"),
        (("targets", embedded, "--type", "A", "--out", tmp_path / "wav"), "there is something else"),
        (("lists", "pairs", embedded, "--out", out), "no list is of the form 'pairs'; there are: normal, "),
        (("lists", "normal", tmp_path / "wav", "--out", out), "no .npy file in it; embed with: kith embed"),
        (("lists", "normal", embedded, "--out", out, "--seed", -1), "seed is -1; give 0 or more"),
        (("lists", "normal", embedded, "--out", tmp_path / "no" / "x.txt"), "there is no folder"),
        (("lists", "triplet", small, "--out", out), "1 speaker; a triplet list needs two or more"),
        (("lists", "distribution", small, "--out", out), "no recording has two files"),
    ):
        assert said in only_line(kith("enhance", *args))
    (embedded / "ann" / "r0" / "1.npy").write_bytes(b"")
    assert "1.npy: no embedding" in only_line(
        kith("enhance", "targets", embedded, "--type", "A", "--out", out)
    )
    assert not out.exists()


def test_help(kith: Run) -> None:
    text = kith("enhance", "--help").stdout
    assert " targets " in text
    assert " lists " in text
    for command in ("targets", "lists"):
        assert "--json" in kith("enhance", command, "--help").stdout
