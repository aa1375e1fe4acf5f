"""Embeddings read back, of openkith and of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.kaldi import encode_ark
from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.reading import Embeddings, read_embeddings
from openkith.bulk.store import EmbeddingStore, StoreConfig
from openkith.errors import InputError, NotEnoughDataError

VECTORS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two shards of two, and an error."""
    names = ("ann/1.wav", "ann/2.wav", "ben/1.flac", "ben/2.wav")
    outcomes = [
        Outcome(name, f"/c/{name}", name[:3], vector, Measures(1.0, 1.0))
        for name, vector in zip(names, VECTORS, strict=True)
    ]
    outcomes.insert(3, Outcome("ben/x.wav", "/c/ben/x.wav", "ben", None, None, "empty file"))
    config = StoreConfig("fake", "fake/1", 3, "safetensors", "/c")
    with EmbeddingStore(tmp_path / "own", config) as store:
        store.commit(outcomes[:2])
        store.commit(outcomes[2:])
        store.finish()
    return tmp_path / "own"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, vector in zip(("a/1", "a/2", "b/1", "b/2"), VECTORS, strict=True):
        path = tmp_path / "tree" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vector)
    return tmp_path / "tree"


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """As another program leaves it: no index, absolute paths."""
    folder = tmp_path / "kaldi"
    folder.mkdir()
    keys = ("u1", "u2", "u3", "u4")
    content, offsets = encode_ark(keys, VECTORS)
    (folder / "xvector.ark").write_bytes(content)
    lines = [f"{key} {folder}/xvector.ark:{offset}\n" for key, offset in zip(keys, offsets, strict=True)]
    (folder / "xvector.scp").write_text("".join(lines))
    return folder


def test_own(own: Path) -> None:
    held = read_embeddings(own)
    assert held.utterances == ("ann/1.wav", "ann/2.wav", "ben/1.flac", "ben/2.wav")
    assert held.speakers == ("ann", "ann", "ben", "ben")
    assert (held.fingerprint, len(held)) == ("fake/1", 4)
    np.testing.assert_array_equal(held.gather(), VECTORS)
    np.testing.assert_array_equal(held.gather([3, 0, 3]), VECTORS[[3, 0, 3]])
    assert held.gather([]).shape == (0, 0)
    assert held.labels().tolist() == [0, 0, 1, 1]
    assert held.why_not("ben/x.wav") == held.why_not("ben/x") == "empty file"
    assert held.why_not("ben/y.wav") == ""


def test_a_run_whose_journal_was_not_copied(own: Path) -> None:
    (own / "journal.jsonl").unlink()
    assert len(read_embeddings(own)) == 4


def test_a_tree_of_another_program(tree: Path) -> None:
    (tree / ".hidden").mkdir()
    np.save(tree / ".hidden" / "x.npy", VECTORS[0])
    held = read_embeddings(tree)
    assert held.utterances == ("a/1.npy", "a/2.npy", "b/1.npy", "b/2.npy")
    assert (held.speakers, held.fingerprint) == (("a", "a", "b", "b"), "")
    np.testing.assert_array_equal(held.gather(), VECTORS)
    np.save(tree / "b" / "2.npy", VECTORS[:1].astype(np.float64))  # (1, d)
    np.testing.assert_array_equal(read_embeddings(tree).gather([3]), VECTORS[:1])


def test_crops_are_averaged(tree: Path) -> None:
    crops = np.stack([VECTORS[0] / np.linalg.norm(VECTORS[0]), VECTORS[1] / np.linalg.norm(VECTORS[1])])
    np.save(tree / "a" / "1.npy", crops)
    mean = crops.mean(axis=0)
    np.testing.assert_allclose(read_embeddings(tree).gather([0])[0], mean / np.linalg.norm(mean), rtol=1e-6)


def test_kaldi_of_another_program(kaldi: Path) -> None:
    for source in (kaldi, kaldi / "xvector.scp"):
        held = read_embeddings(source)
        assert (held.utterances, held.speakers) == (("u1", "u2", "u3", "u4"), ("", "", "", ""))
        np.testing.assert_array_equal(held.gather([2, 1]), VECTORS[[2, 1]])
    with pytest.raises(NotEnoughDataError, match="not told who speaks in 'u1'"):
        held.labels()
    (kaldi / "utt2spk").write_text("u1 ann\nu2 ann\nu3 ben\nu4 ben\n")
    assert read_embeddings(kaldi).speakers == ("ann", "ann", "ben", "ben")


def test_ids_with_other_suffixes() -> None:
    names = ("a/1.wav", "a/2.flac", "a/2.wav", "b/1")
    held = Embeddings(Path("x"), names, ("",) * 4, "", ((Path("x"), 0),) * 4, lambda path, rows: VECTORS)  # noqa: ARG005
    assert [held.find(name) for name in names] == [0, 1, 2, 3]
    assert [held.find(name) for name in ("a/1", "a/1.npy", "a/1.m4a", "b/1.wav")] == [0, 0, 0, 3]
    assert [held.find(name) for name in ("a/2", "a/2.npy", "a/3.wav", "1.wav")] == [None] * 4


def test_folders_without_embeddings(tmp_path: Path, own: Path) -> None:
    with pytest.raises(InputError, match="no such folder of embeddings"):
        read_embeddings(tmp_path / "nope")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no embeddings in it"):
        read_embeddings(tmp_path / "empty")
    (own / "embeddings-00001.safetensors").unlink()
    held = read_embeddings(own)
    np.testing.assert_array_equal(held.gather([0]), VECTORS[:1])
    with pytest.raises(InputError, match=r"embeddings-00001.safetensors: no shard of embeddings"):
        held.gather()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array(["text"]), "<U4 of shape"),
        (np.arange(3), "int64 of shape"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.array([1.0, np.nan, 0.0], np.float32), "NaN or infinite"),
        (np.ones(2, np.float32), r"b/2.npy: 2 numbers, and others have 3"),
    ],
)
def test_files_that_are_no_embedding(tree: Path, array: np.ndarray, said: str) -> None:
    np.save(tree / "b" / "2.npy", array)
    with pytest.raises(InputError, match=said):
        read_embeddings(tree).gather()


def test_damaged_files(tree: Path, kaldi: Path) -> None:
    (tree / "b" / "2.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="no embedding"):
        read_embeddings(tree).gather()
    content = (kaldi / "xvector.ark").read_bytes()
    (kaldi / "xvector.ark").write_bytes(content[:-2])
    with pytest.raises(InputError, match="no vector there"):
        read_embeddings(kaldi).gather()
    (kaldi / "xvector.ark").unlink()
    with pytest.raises(InputError, match="cannot read"):
        read_embeddings(kaldi).gather()


def test_an_index_that_was_changed(own: Path) -> None:
    index = own / "index.tsv"
    index.write_text(index.read_text().replace("\t0\t1.000", "\tfirst\t1.000", 1))
    with pytest.raises(InputError, match=r"index.tsv:2: row 'first' is no number"):
        read_embeddings(own)
