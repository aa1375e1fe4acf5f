"""The file of one utterance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.enhancement.utterances import load_crops, load_embedding, load_mean
from openkith.errors import InputError


def test_crops_their_mean_and_its_direction(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[3.0, 0.0], [3.0, 8.0]], np.float32))
    assert load_crops(path).tolist() == [[3.0, 0.0], [3.0, 8.0]]
    assert load_mean(path).tolist() == [3.0, 4.0]
    np.testing.assert_allclose(load_embedding(path), [0.6, 0.8], rtol=1e-6)


def test_one_embedding_of_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([0.0, 5.0]))
    assert load_crops(path).tolist() == [[0.0, 5.0]]
    assert load_embedding(path).tolist() == [0.0, 1.0]
    assert load_embedding(path).dtype == np.float32


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_form_of_npy(tmp_path: Path, version: Any, dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(12).reshape(4, 3), dtype=dtype, order=order)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    np.testing.assert_array_equal(load_crops(tmp_path / "a.npy"), np.load(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([1, 2]), "int64 of shape (2,)"),
        (np.zeros((2, 2, 2)), "float64 of shape (2, 2, 2)"),
        (np.zeros((0, 4)), "float64 of shape (0, 4)"),
        (np.float64(1.0), "float64 of shape ()"),
        (np.array([1.0, np.nan]), "NaN or infinite"),
        (np.array([1e300, 1.0]), "NaN or infinite"),
        (np.array([{}]), "Python objects"),
    ],
)
def test_what_is_no_embedding(tmp_path: Path, array: Any, said: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError) as caught:
        load_crops(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((10, 256), np.float32))
    whole = path.read_bytes()
    for content in (b"", b"nothing of the kind", whole[:5], whole[:40], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npy: no embedding: .*; embed it again"):
            load_crops(path)
    with pytest.raises(InputError, match="cannot read: No such file"):
        load_crops(tmp_path / "none.npy")
