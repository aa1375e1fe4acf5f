"""Folders of embeddings enhanced into others, whatever stops it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.enhancing import enhance_embeddings
from openkith.bulk.kaldi import encode_ark
from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.reading import read_embeddings
from openkith.bulk.store import EmbeddingStore, StoreConfig, read_config
from openkith.enhancement.enhancer import Enhancer, NetSpec
from openkith.errors import ConfigError, EncoderMismatchError, InputError

DIM = 4
VECTORS = np.random.default_rng(0).standard_normal((7, DIM)).astype(np.float32)
NAMES = tuple(f"{name}/{number}.wav" for name in ("ann", "ben") for number in range(4))[:7]


@pytest.fixture
def enhancer() -> Enhancer:
    rng = np.random.default_rng(1)
    spec = NetSpec("residual", DIM, "relu", {"hidden": 3})
    weights = {name: rng.standard_normal(tensor.shape) for name, tensor in spec.build().state_dict().items()}
    return Enhancer(weights, spec, encoder="fake/1")


def store(folder: Path, form: str = "safetensors", fingerprint: str = "fake/1", crops: int = 0) -> Path:
    """A folder of ``kith embed``; of crops all the same where they are asked for."""
    config = StoreConfig("fake", fingerprint, DIM, form, "/c", crops=crops or None)
    outcomes = [
        Outcome(
            name,
            f"/c/{name}",
            name[:3],
            np.repeat(vector[None], crops, axis=0) if crops else vector,
            Measures(2.5, 1.0),
        )
        for name, vector in zip(NAMES, VECTORS, strict=True)
    ]
    with EmbeddingStore(folder, config) as held:
        held.commit([*outcomes[:3], Outcome("ben/x.wav", "/c/ben/x.wav", "ben", None, None, "empty file")])
        held.commit(outcomes[3:])
        held.finish()
    return folder


@pytest.mark.parametrize("form", ["safetensors", "npy-tree", "kaldi"])
def test_each_format(enhancer: Enhancer, tmp_path: Path, form: str) -> None:
    source, out = store(tmp_path / "in", form, crops=3 if form == "npy-tree" else 0), tmp_path / "out"
    heard: list[tuple[str, int, int]] = []
    summary = enhance_embeddings(
        enhancer, source, out, shard_rows=3, progress=lambda *words: heard.append(words)
    )
    assert (summary.embeddings, summary.before, summary.format, summary.dim) == (7, 0, form, DIM)
    assert heard == [("enhancing", 3, 7), ("enhancing", 6, 7), ("enhancing", 7, 7)]
    held = read_embeddings(out)
    assert (held.utterances, held.speakers) == (NAMES, tuple(name[:3] for name in NAMES))
    np.testing.assert_allclose(held.gather(), enhancer.transform(VECTORS), atol=1e-6)
    about = read_config(out)
    assert (about.encoder, about.crops) == ("fake", None)
    assert about.fingerprint == held.fingerprint == f"fake/1+{enhancer.fingerprint}"
    rows = [line.split("\t") for line in (out / "index.tsv").read_text().splitlines()]
    assert rows[1][:3] == ["ann/0.wav", "/c/ann/0.wav", "ann"]
    assert rows[1][5:7] == ["2.500", "1.00"]
    with pytest.raises(EncoderMismatchError, match="the enhancer is for fake/1"):  # never twice
        enhance_embeddings(enhancer, out, tmp_path / "twice")


def test_a_tree_and_an_archive_of_others(enhancer: Enhancer, tmp_path: Path) -> None:
    tree, kaldi = tmp_path / "tree", tmp_path / "kaldi"
    kaldi.mkdir()
    for name, vector in zip(NAMES, VECTORS, strict=True):
        path = tree / name.replace(".wav", ".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vector)
    content, offsets = encode_ark(("u1", "u2"), VECTORS[:2])
    (kaldi / "xvector.ark").write_bytes(content)
    lines = [f"{key} {kaldi}/xvector.ark:{at}\n" for key, at in zip(("u1", "u2"), offsets, strict=True)]
    (kaldi / "xvector.scp").write_text("".join(lines))
    for source, rows in ((tree, 7), (kaldi, 2), (kaldi / "xvector.scp", 2)):
        out = tmp_path / f"out-{source.name}"
        summary = enhance_embeddings(enhancer, source, out)
        assert summary.format == ("npy-tree" if source == tree else "kaldi")
        held = read_embeddings(out)
        assert held.utterances == read_embeddings(source).utterances
        np.testing.assert_allclose(held.gather(), enhancer.transform(VECTORS[:rows]), atol=1e-6)
    mirrored = np.load(tmp_path / "out-tree" / "ben" / "1.npy")
    np.testing.assert_allclose(mirrored, enhancer.transform(VECTORS[5]), atol=1e-6)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("form", ["safetensors", "npy-tree"])
def test_going_on_after_a_kill_gives_the_same_files(
    enhancer: Enhancer, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = store(tmp_path / "in", form), tmp_path / "out"
    enhance_embeddings(enhancer, source, tmp_path / "whole", shard_rows=2)
    calls = 0
    transform = enhancer.transform

    def dying(embeddings: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return transform(embeddings)

    with monkeypatch.context() as patch:
        patch.setattr(enhancer, "transform", dying)
        with pytest.raises(KeyboardInterrupt):
            enhance_embeddings(enhancer, source, out, shard_rows=2)
    assert len(read_embeddings(out)) == 4  # what is there can be used
    summary = enhance_embeddings(enhancer, source, out, shard_rows=2)
    assert (summary.embeddings, summary.before) == (7, 4)
    assert files(out) == files(tmp_path / "whole")
    assert enhance_embeddings(enhancer, source, out, shard_rows=2).before == 7


def test_what_does_not_belong_together(enhancer: Enhancer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(EncoderMismatchError, match=r"embeddings of other/1, and the enhancer is for fake/1"):
        enhance_embeddings(enhancer, store(tmp_path / "other", fingerprint="other/1"), out)
    with pytest.raises(InputError, match="no such folder of embeddings"):
        enhance_embeddings(enhancer, tmp_path / "nowhere", out)
    assert not out.exists()
    source = store(tmp_path / "in")
    enhance_embeddings(enhancer, source, out)
    another = Enhancer({k: v + 1 for k, v in enhancer.weights.items()}, enhancer.spec, encoder="fake/1")
    with pytest.raises(EncoderMismatchError, match="give another --out"):
        enhance_embeddings(another, source, out)
    with pytest.raises(ConfigError, match="was begun with source"):
        enhance_embeddings(enhancer, store(tmp_path / "in2"), out)
    with pytest.raises(EncoderMismatchError):  # into itself
        enhance_embeddings(enhancer, source, source)
    np.testing.assert_array_equal(read_embeddings(source).gather(), VECTORS)
