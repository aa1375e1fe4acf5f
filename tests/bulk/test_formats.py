"""The files that embeddings are written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from openkith.bulk.formats import FORMATS, TENSOR, check_names, get_format, npy_name, stem
from openkith.bulk.kaldi import read_ark
from openkith.errors import ConfigError, ManifestError

VECTORS = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
IDS = ("s/a.wav", "s/b.flac")


def test_safetensors(tmp_path: Path) -> None:
    written = FORMATS["safetensors"].write(tmp_path, 7, IDS, VECTORS)
    assert written.places == [("embeddings-00007.safetensors", 0), ("embeddings-00007.safetensors", 1)]
    np.testing.assert_array_equal(load_file(tmp_path / "embeddings-00007.safetensors")[TENSOR], VECTORS)
    assert written.scp == ""


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_npy_tree(tmp_path: Path, shape: tuple[int, ...]) -> None:
    vectors = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    written = FORMATS["npy-tree"].write(tmp_path, 0, IDS, vectors)
    assert written.places == [("s/a.npy", 0), ("s/b.npy", 0)]
    for (name, _), vector in zip(written.places, vectors, strict=True):
        np.testing.assert_array_equal(np.load(tmp_path / name), vector)


@pytest.mark.parametrize("name", ["kaldi", "kaldi-text"])
def test_kaldi(tmp_path: Path, name: str) -> None:
    written = FORMATS[name].write(tmp_path, 3, IDS, VECTORS)
    assert written.places == [("xvector.3.ark", 0), ("xvector.3.ark", 1)]
    assert [line.split(maxsplit=1)[0] for line in written.scp.splitlines()] == list(IDS)
    assert f"{tmp_path}/xvector.3.ark:8\n" in written.scp
    np.testing.assert_array_equal([vector for _, vector in read_ark(tmp_path / "xvector.3.ark")], VECTORS)


@pytest.mark.parametrize(
    ("utterance", "expected"),
    [
        ("id1/video/1.wav", "id1/video/1.npy"),
        ("a.b.FLAC", "a.b.npy"),
        ("utt-1", "utt-1.npy"),
        ("version.2", "version.2.npy"),
        ("a.wav#1.0-2.5", "a#1.0-2.5.npy"),
        ("../../etc/x.wav", "etc/x.npy"),
        ("/etc/x.wav", "etc/x.npy"),
    ],
)
def test_npy_name(utterance: str, expected: str) -> None:
    assert npy_name(utterance) == expected


def test_stem() -> None:
    assert [stem(name) for name in ("a/b.wav", "a/b.npy", "a/b.MP3", "a/b", "a.x/b")] == [
        *["a/b"] * 4,
        "a.x/b",
    ]


def test_names_that_a_format_cannot_hold() -> None:
    for name in FORMATS:
        check_names(name, ["a.wav", "b.wav"])
    check_names("safetensors", ["a.wav", "a.flac", "a b.wav"])
    with pytest.raises(ManifestError, match=r"'a b\.wav' has white space"):
        check_names("kaldi", ["a b.wav"])
    with pytest.raises(ManifestError, match=r"'a.flac' and 'a.wav' would both be a.npy"):
        check_names("npy-tree", ["a.flac", "a.wav"])


def test_no_such_format() -> None:
    with pytest.raises(
        ConfigError, match="format is 'hdf5'; there are: safetensors, npy-tree, kaldi, kaldi-text"
    ):
        get_format("hdf5")
