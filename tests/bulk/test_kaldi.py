"""Archives of Kaldi's, there and back, and as Kaldi's documentation has them byte by byte."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.kaldi import encode_ark, read_ark, read_scp, read_vector
from openkith.errors import InputError, ManifestError

VECTORS = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
KEYS = ("a/1.wav", "b-é", "c")


@pytest.mark.parametrize("text", [False, True])
def test_there_and_back(tmp_path: Path, text: bool) -> None:
    content, offsets = encode_ark(KEYS, VECTORS, text=text)
    path = tmp_path / "x.ark"
    path.write_bytes(content)
    found = dict(read_ark(path))
    assert tuple(found) == KEYS
    np.testing.assert_array_equal(np.stack(list(found.values())), VECTORS)
    with path.open("rb") as file:
        for offset, vector in zip(offsets[::-1], VECTORS[::-1], strict=True):
            np.testing.assert_array_equal(read_vector(file, offset, "it"), vector)


def test_bytes() -> None:
    content, offsets = encode_ark(["u"], np.array([[1.0, -2.0]], np.float32))
    assert content == b"u \0BFV \x04\x02\x00\x00\x00" + struct.pack("<2f", 1.0, -2.0)
    assert offsets == [2]
    assert encode_ark(["u"], np.array([[0.5, -2.0]], np.float32), text=True)[0] == b"u  [ 0.5 -2 ]\n"


def test_vectors_of_doubles(tmp_path: Path) -> None:
    path = tmp_path / "x.ark"
    path.write_bytes(b"u \0BDV \x04\x02\x00\x00\x00" + struct.pack("<2d", 1.0, 2.5))
    [(key, vector)] = read_ark(path)
    assert (key, vector.dtype, vector.tolist()) == ("u", np.float32, [1.0, 2.5])


@pytest.mark.parametrize(
    "content",
    [
        b"u \0BFM \x04\x02\x00\x00\x00\x04\x02\x00\x00\x00",  # a matrix
        b"u \0BFV \x04\x02\x00\x00\x00\x00\x00",  # cut short
        b"u \0BFV \x04\xff\xff\xff\xff",
        b"u \0BFV \x08\x02\x00\x00\x00",
        b"u  [ 1 2\n",
        b"u  [ 1 x ]\n",
        b"u \n",
    ],
)
def test_what_is_no_vector(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ark"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.ark: 'u': no vector there"):
        list(read_ark(path))
    with pytest.raises(InputError, match="no vector there"):
        read_vector(io.BytesIO(content), 2, "u")


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.ark"
    path.write_bytes(b"\x00" * 5000)
    with pytest.raises(InputError, match="not an archive"):
        list(read_ark(path))
    with pytest.raises(InputError, match="cannot read"):
        list(read_ark(tmp_path / "nope.ark"))


def test_a_key_with_white_space() -> None:
    with pytest.raises(InputError, match="'a b' has white space"):
        encode_ark(["a b"], VECTORS[:1])


def test_scp(tmp_path: Path) -> None:
    scp = tmp_path / "x.scp"
    scp.write_text("a /elsewhere/x.ark:12\nb y:z.ark:5\n")
    assert [tuple(place) for place in read_scp(scp).values()] == [
        (Path("/elsewhere/x.ark"), 12),
        (Path("y:z.ark"), 5),
    ]
    (tmp_path / "x.ark").touch()  # moved with the list
    assert read_scp(scp)["a"].ark == tmp_path / "x.ark"
    scp.write_text("a x.ark\n")
    with pytest.raises(InputError, match=r":1: 'x\.ark' is no place in an archive"):
        read_scp(scp)
    with pytest.raises(ManifestError, match="cannot read"):
        read_scp(tmp_path / "nope.scp")
