"""Trees of embeddings: listed, and packed into one array."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.enhancement.tree import (
    EmbeddingTree,
    MappedEmbeddings,
    load_embedding,
    load_mean,
    pack_tree,
    read_tree,
)
from openkith.errors import InputError

Plant = Callable[[Mapping[str, Mapping[str, int]]], EmbeddingTree]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_speakers_and_recordings(plant: Plant) -> None:
    tree = plant({"bob": {"r1": 1, "r0": 2}, "ann": {"x": 1}})
    assert tree.files == ("ann/x/00000.npy", "bob/r0/00000.npy", "bob/r0/00001.npy", "bob/r1/00000.npy")
    assert (tree.speakers, tree.speaker_of.tolist()) == (("ann", "bob"), [0, 1, 1, 1])
    assert (tree.recordings, tree.recording_of.tolist()) == (("ann/x", "bob/r0", "bob/r1"), [0, 1, 1, 2])
    assert tree.speaker_starts.tolist() == [0, 1, 4]
    assert tree.recording_starts.tolist() == [0, 1, 3, 4]
    assert len(tree) == 4
    assert tree.path(3) == tree.root / "bob" / "r1" / "00000.npy"
    assert (tree.encoder, tree.fingerprint) == ("", "")


def test_the_order_of_the_file_system_does_not_matter(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {f"s{k}": {f"r{r}": 3 for r in range(3)} for k in range(4)}
    tree = plant(shape)
    walk = os.walk

    def backwards(*args: Any, **options: Any) -> Any:
        for here, folders, names in sorted(walk(*args, **options), reverse=True):
            yield here, folders[::-1], sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    again = read_tree(tree.root)
    assert again.files == tree.files
    assert again.recordings == tree.recordings
    assert again.recording_of.tolist() == tree.recording_of.tolist()


def test_files_in_the_speakers_own_folder_are_recordings_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.npy", "ann/0.npy", "ann/r/0.npy", "ann/r/deep/0.npy")
    tree = read_tree(tmp_path)
    assert tree.recordings == ("ann/0.npy", "ann/1.npy", "ann/r", "ann/r/deep")
    assert tree.recording_of.tolist() == [0, 1, 2, 3]


def test_a_voxceleb_tree_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "dev/npy/id10002/v/0.npy", "dev/npy/id10001/v/0.npy", "test/npy/id10001/w/0.npy")
    touch(tmp_path, "test/npy/id10001/0.npy", "dev/npy/id10001/0.npy")
    tree = read_tree(tmp_path)
    assert tree.speakers == ("id10001", "id10002")
    assert tree.speaker_of.tolist() == [0, 0, 0, 0, 1]
    assert tree.recordings[2:] == ("id10001/v", "id10001/w", "id10002/v")
    assert sorted(tree.files[:2]) == ["dev/npy/id10001/0.npy", "test/npy/id10001/0.npy"]


def test_what_is_hidden_or_linked(tmp_path: Path) -> None:
    touch(tmp_path / "real", "r/0.npy", ".hidden.npy", "r/notes.txt", ".packed/x.npy")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "ann").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "tree")
    assert read_tree(tmp_path / "tree").files == ("ann/r/0.npy",)


def test_decomposed_names_are_one_speaker(tmp_path: Path) -> None:
    touch(tmp_path, "Jose\u0301/a/0.npy", "Jos\u00e9/b/0.npy")
    tree = read_tree(tmp_path)
    assert tree.speakers == ("Jos\u00e9",)
    assert all(tree.path(number).is_file() for number in range(2))


def test_audio_finds_its_embedding(plant: Plant) -> None:
    tree = plant({"ann": {"r.v2": 2}})
    for entry in ("ann/r.v2/00001.wav", "ann/r.v2/00001.npy", "./ann/r.v2/00001.WAV", "ann/r.v2/00001.m4a"):
        assert tree.find(entry) == 1
    for entry in ("ann/r.v2/00002.wav", "ann/r.v2/00001.txt", "ann/r.wav", "00001.wav"):
        assert tree.find(entry) is None


def test_the_encoder_is_known_where_kith_embedded(plant: Plant) -> None:
    tree = plant({"ann": {"r": 1}})
    config = tree.root / "config.json"
    config.write_text(json.dumps({"kind": "embeddings", "encoder": "ge2e", "fingerprint": "ge2e/1"}))
    again = read_tree(tree.root)
    assert (again.encoder, again.fingerprint) == ("ge2e", "ge2e/1")
    config.write_text("[1]")
    assert read_tree(tree.root).encoder == ""


def test_what_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of embeddings; make one with: kith embed"):
        read_tree(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.npy file in it; embed with: kith embed --format npy-tree"):
        read_tree(tmp_path)
    touch(tmp_path, "ann/r/0.npy", "0.npy")
    with pytest.raises(InputError, match=r"0\.npy: is in no speaker's folder"):
        read_tree(tmp_path)


def test_rows_of_a_packed_tree(crops_tree: Path, tmp_path: Path) -> None:
    tree, heard = read_tree(crops_tree), []
    packed = pack_tree(tree, tmp_path / "pack", lambda *step: heard.append(step))
    assert (len(packed), packed.dim) == (9, 4)
    numbers = [8, 0, 0, 3]
    for name, one in (("gather", load_embedding), ("means", load_mean)):
        expected = np.stack([one(tree.path(number)) for number in numbers])
        found = getattr(packed, name)(np.array(numbers))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert packed.gather([]).shape == (0, 4)
    found = packed.gather([1])
    found[:] = 0.0  # a copy: the file stays as it is
    assert packed.gather([1]).any()


def test_a_packed_tree_is_used_again_until_the_tree_changes(crops_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    rows = out / "embeddings.npy"
    pack_tree(read_tree(crops_tree), out)
    before = rows.stat().st_ino
    pack_tree(read_tree(crops_tree), out)
    assert rows.stat().st_ino == before
    changed = crops_tree / "ann" / "r" / "1.npy"
    stamp = changed.stat().st_mtime_ns
    np.save(changed, np.array([0.0, 0.0, 0.0, 7.0], np.float32))
    os.utime(changed, ns=(stamp + 10**9, stamp + 10**9))
    assert pack_tree(read_tree(crops_tree), out).means([1]).tolist() == [[0.0, 0.0, 0.0, 7.0]]
    np.save(crops_tree / "ann" / "r" / "9.npy", np.ones(4, np.float32))
    assert len(pack_tree(read_tree(crops_tree), out)) == 10
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["crops", "pack"]


def test_rows_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    values = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    np.save(tmp_path / "pack" / "embeddings.npy", values)
    packed, rng = MappedEmbeddings(tmp_path / "pack"), np.random.default_rng(1)
    for numbers in (rng.integers(0, 2000, 300), np.arange(2000), np.arange(700, 300, -1), [5, 5, 6, 4]):
        np.testing.assert_array_equal(packed.means(numbers), values[numbers])
    np.testing.assert_array_equal(packed.means([[1, 2], [4, 3]]), values[[[1, 2], [4, 3]]])
    for number in (-1, 2000):
        with pytest.raises(IndexError, match="there are rows from 0 to 1999"):
            packed.means([3, number])
    with (tmp_path / "pack" / "embeddings.npy").open("rb+") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match="it ends before row 7; pack the tree again"):
        packed.means([7])


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is counted in another way")
def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    """Every row of 200 MB, read in small batches, in a process of its own."""
    (tmp_path / "pack").mkdir()
    shape = (100_000, 512)
    np.lib.format.open_memmap(tmp_path / "pack" / "embeddings.npy", mode="w+", dtype=np.float32, shape=shape)
    code = (
        "import re, sys\nimport numpy as np\n"
        "from openkith.enhancement.tree import MappedEmbeddings\n"
        "packed = MappedEmbeddings(sys.argv[1])\n"
        # not ru_maxrss, which begins with what the parent held
        "peak = lambda: int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) >> 10\n"
        "before = peak()\n"
        "for batch in np.random.default_rng(0).permutation(100_000).reshape(-1, 500):\n"
        "    packed.gather(batch)\n"
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pack"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40


def test_it_goes_to_other_processes(crops_tree: Path, tmp_path: Path) -> None:
    packed = pack_tree(read_tree(crops_tree), tmp_path / "pack")
    here = packed.gather([2, 5])
    assert len(pickle.dumps(packed)) < 2000  # the place, and not the numbers
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(packed)).gather([2, 5]), here)


def test_what_cannot_be_packed(crops_tree: Path, tmp_path: Path) -> None:
    tree = read_tree(crops_tree)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="there is something else"):
        pack_tree(tree, tmp_path / "other")
    np.save(tree.path(7), np.ones(5))
    with pytest.raises(InputError, match=r"5 numbers, and .* has 4; embed all with one encoder"):
        pack_tree(tree, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    tree.path(7).unlink()
    with pytest.raises(InputError, match="cannot read: No such file"):
        pack_tree(tree, tmp_path / "pack")
    with pytest.raises(InputError, match="no packed embeddings: No such file"):
        MappedEmbeddings(tmp_path / "pack")
    np.save(tmp_path / "other" / "embeddings.npy", np.ones(3))
    with pytest.raises(InputError, match=r"float64 of shape \(3,\); pack the tree again"):
        MappedEmbeddings(tmp_path / "other")
