"""Multi-utterance embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from openkith.enhancement.targets import (
    TYPES,
    make_targets,
    multi_utterance,
    read_targets,
    write_targets,
)
from openkith.enhancement.tree import pack_tree, read_tree
from openkith.errors import ConfigError, InputError

# Two utterances, of length 5 and 2: plain mean (1.5, 3), mean of the directions (0.3, 0.9).
MEANS = np.array([[3.0, 4.0], [0.0, 2.0]])
BY_HAND = {
    "A": [1.5, 3.0],
    "B": [0.3, 0.9],
    "C": [1.5 / 11.25**0.5, 3.0 / 11.25**0.5],
}


@pytest.mark.parametrize("kind", list(TYPES))
def test_by_hand(kind: str) -> None:
    found = multi_utterance(MEANS, kind)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, BY_HAND[kind], rtol=1e-6)


def test_of_one_utterance() -> None:
    assert multi_utterance([[3.0, 4.0]], "A").tolist() == [3.0, 4.0]
    for kind in ("B", "C"):
        np.testing.assert_allclose(multi_utterance([[3.0, 4.0]], kind), [0.6, 0.8], rtol=1e-6)


def test_what_has_none() -> None:
    with pytest.raises(ConfigError, match="no target is of type 'D'; there are: A, B, C"):
        multi_utterance(MEANS, "D")
    for rows in (np.zeros(3), np.zeros((0, 3))):
        with pytest.raises(InputError, match="a row for each utterance"):
            multi_utterance(rows, "A")


@pytest.mark.parametrize("kind", list(TYPES))
def test_of_a_tree(kind: str, crops_tree: Path, tmp_path: Path) -> None:
    tree = read_tree(crops_tree)
    (crops_tree / "config.json").write_text(json.dumps({"encoder": "ge2e", "fingerprint": "ge2e/1"}))
    made = write_targets(read_tree(crops_tree), kind, tmp_path / "targets")
    assert (made.kind, made.dim, made.speakers) == (kind, 4, ("ann", "bob", "eve"))
    assert (made.utterances.tolist(), made.single) == ([4, 4, 1], ("eve",))
    for speaker, target in zip(made.speakers, made.embeddings, strict=True):
        files = sorted((crops_tree / speaker).rglob("*.npy"))
        rows = np.stack([np.load(file).astype(np.float64).mean(axis=0) for file in files])
        if kind == "B":
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        expected = rows.mean(axis=0)
        if kind == "C":
            expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-7)
    read = read_targets(tmp_path / "targets")
    assert (read.kind, read.speakers, read.encoder, read.fingerprint) == (
        kind,
        made.speakers,
        "ge2e",
        "ge2e/1",
    )
    np.testing.assert_array_equal(read.embeddings, made.embeddings)
    np.testing.assert_array_equal(read.utterances, made.utterances)
    packed = make_targets(tree, kind, pack_tree(tree, tmp_path / "pack"))
    np.testing.assert_array_equal(packed.embeddings, made.embeddings)


def test_targets_by_name(crops_tree: Path) -> None:
    made = make_targets(read_tree(crops_tree), "B")
    np.testing.assert_array_equal(made.of(["eve", "ann", "eve"]), made.embeddings[[2, 0, 2]])
    assert made.of([]).shape == (0, 4)
    with pytest.raises(InputError, match="speaker 'zoe' has no target"):
        made.of(["ann", "zoe"])


def test_earlier_targets_are_replaced_and_other_folders_are_not(crops_tree: Path, tmp_path: Path) -> None:
    tree, out = read_tree(crops_tree), tmp_path / "targets"
    for kind in ("A", "C"):
        write_targets(tree, kind, out)
        assert read_targets(out).kind == kind
    with pytest.raises(ConfigError, match="type 'D'"):
        write_targets(tree, "D", tmp_path / "new")
    with pytest.raises(InputError, match="there is something else; give a new folder"):
        write_targets(tree, "A", crops_tree)
    tree.path(8).write_bytes(b"")
    with pytest.raises(InputError, match="no embedding"):
        write_targets(tree, "A", out)
    assert read_targets(out).kind == "C"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops", "targets"]


def test_progress_is_told(crops_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openkith.enhancement.tree._STEP", 4)
    heard: list[tuple[Any, ...]] = []
    make_targets(read_tree(crops_tree), "A", progress=lambda *step: heard.append(step))
    assert heard == [("reading embeddings", 4, 9), ("reading embeddings", 8, 9)]


def test_what_are_no_targets(crops_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "targets"
    with pytest.raises(InputError, match=r"no targets .*; make them with: kith enhance targets"):
        read_targets(out)
    write_targets(read_tree(crops_tree), "A", out)
    config = json.loads((out / "config.json").read_text())
    for change in ({"kind": "plda"}, {"type": "D"}, {"speakers": ["ann"]}, {"utterances": [1]}, {"dim": 5}):
        (out / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match="no targets"):
            read_targets(out)
    for text in ("[]", "{", json.dumps({"kind": config["kind"], "version": 1})):
        (out / "config.json").write_text(text)
        with pytest.raises(InputError, match="no targets"):
            read_targets(out)
    (out / "config.json").write_text(json.dumps(config))
    save_file({"x": np.zeros((3, 4), np.float32)}, out / "targets.safetensors")
    with pytest.raises(InputError, match="no targets"):
        read_targets(out)
    (out / "targets.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="no targets"):
        read_targets(out)
