"""Trees, lists and targets, fitted together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.enhancement.material import Trees, read_material, read_tests
from openkith.enhancement.settings import EnhancementConfig
from openkith.enhancement.targets import write_targets
from openkith.enhancement.tree import read_tree
from openkith.errors import ConfigError, InputError, NotEnoughDataError

Config = Callable[..., EnhancementConfig]


def test_targets_are_made_or_read(config: Config, corpus: Path, tmp_path: Path) -> None:
    made = read_material(config(), "normal", "B", Trees(None))
    assert made.targets is not None
    own = [np.load(path) for path in sorted((corpus / "learn" / "s03").rglob("*.npy"))]
    unit = [x / np.linalg.norm(x) for x in own]
    np.testing.assert_allclose(made.targets[3], np.mean(unit, axis=0), atol=1e-6)
    write_targets(read_tree(corpus / "learn"), "C", tmp_path / "targets")
    read = read_material(config(f"data.targets={tmp_path / 'targets'}"), "normal", "B", Trees(None))
    assert read.targets is not None
    np.testing.assert_allclose(np.linalg.norm(read.targets, axis=1), 1.0, atol=1e-6)
    assert read_material(config(), "normal", None, Trees(None)).targets is None
    write_targets(read_tree(corpus / "home"), "C", tmp_path / "theirs")
    with pytest.raises(InputError, match=r"theirs: speaker 's00' has no target"):
        read_material(config(f"data.targets={tmp_path / 'theirs'}"), "normal", "B", Trees(None))


def test_a_tree_is_opened_once_and_packed_where_it_is_said(corpus: Path, tmp_path: Path) -> None:
    trees = Trees(tmp_path / "cache")
    first = trees.open(corpus / "learn")
    assert trees.open(corpus / "learn") is first
    assert trees.open(corpus / "home")[1] is not first[1]
    packed = sorted(path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert packed == ["home", "learn"]
    assert len(first[1]) == len(first[0]) == 108


def test_files_are_counted_once(config: Config) -> None:
    for form, count in (("normal", 108), ("triplet", 108)):
        assert len(read_material(config(form=form), form, None, Trees(None)).files) == count
    pairs = read_material(config(form="distribution"), "distribution", None, Trees(None))
    assert len(pairs.files) < 108
    assert set(pairs.files) == set(pairs.entries.pairs.ravel())  # type: ignore[union-attr]


def test_what_is_missing(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.list is not given; .* --set data\.list=PATH"):
        read_material(config("data.list=null"), "normal", None, Trees(None))
    one = tmp_path / "one.txt"
    one.write_text("s00 s00/r0/0.npy\ns00 s00/r0/1.npy\n")
    with pytest.raises(NotEnoughDataError, match=r"one\.txt: one speaker only"):
        read_material(config(f"data.list={one}"), "normal", None, Trees(None))
    kind = tmp_path / "kind.txt"
    kind.write_text("1 t00/r0/0.npy t00/r0/1.npy\n")
    with pytest.raises(NotEnoughDataError, match=r"kind\.txt: trials of one kind only"):
        read_tests(config(f"data.test_list={kind}").data, Trees(None))
    assert read_tests(config(test=False).data, Trees(None)) == {}
