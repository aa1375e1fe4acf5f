"""Trees of embeddings, and a small corpus of invented ones with its lists."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from embedding_trees import names, write_tree
from openkith.enhancement.lists import list_name, make_list, write_list
from openkith.enhancement.settings import EnhancementConfig
from openkith.enhancement.tree import EmbeddingTree, read_tree
from openkith.training import configure


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trees ``learn`` and ``home`` of different people, and a list of each form of them."""
    root = tmp_path_factory.mktemp("corpus")
    for name, people, forms in (
        ("learn", names("s", 12), ("normal", "triplet", "distribution")),
        ("home", names("t", 8), ("test",)),
    ):
        tree = read_tree(write_tree(root / name, people, seed=len(name)))
        for form in forms:
            write_list(root / list_name(name, form), make_list(form, tree, 0))
    return root


@pytest.fixture
def config(corpus: Path) -> Callable[..., EnhancementConfig]:
    """config("train.epochs=2", form="triplet"): a configuration for the corpus."""

    def make(*settings: str, form: str = "normal", test: bool = True) -> EnhancementConfig:
        own = [
            f"data.embeddings={corpus / 'learn'}",
            f"data.list={corpus / list_name('learn', form)}",
            "net.name=residual",
            "net.activation=null",
            "train.epochs=2",
            "train.batch_size=40",
            "train.learning_rate=1e-3",
            "train.accelerator=cpu",
        ]
        if test:
            own += [
                f"data.test_list={corpus / list_name('home', 'test')}",
                f"data.test_embeddings={corpus / 'home'}",
            ]
        return configure(EnhancementConfig, None, [*own, *settings]).options

    return make


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[Mapping[str, Mapping[str, int]]], EmbeddingTree]:
    """plant({"ann": {"r0": 3}}): a tree, speaker to recording to files, without a byte in them."""

    def make(shape: Mapping[str, Mapping[str, int]]) -> EmbeddingTree:
        root = tmp_path / "tree"
        for speaker, recordings in shape.items():
            for recording, files in recordings.items():
                (root / speaker / recording).mkdir(parents=True)
                for file in range(files):
                    (root / speaker / recording / f"{file:05d}.npy").touch()
        return read_tree(root)

    return make


@pytest.fixture
def crops_tree(tmp_path: Path) -> Path:
    """Embeddings (3, 4): two files of two recordings of ann and of bob, one file of eve."""
    root, rng = tmp_path / "crops", np.random.default_rng(5)
    several = [f"{who}/{recording}/{file}" for who in ("ann", "bob") for recording in "rs" for file in "01"]
    for name in (*several, "eve/r/0"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{name}.npy", rng.normal(size=(3, 4)).astype(np.float32))
    return root
