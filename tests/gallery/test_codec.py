from __future__ import annotations

import numpy as np
import pytest

from openkith.errors import GalleryError
from openkith.gallery.codec import pack_arrays, pack_json, unpack_arrays, unpack_json


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool", ">f4"])
def test_arrays_round_trip(dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    turned = array.transpose(2, 0, 1)[:, :, ::-1]  # neither C order nor forward strides
    arrays = {"a": array, "turned": turned, "scalar": array[0, 0, 1].reshape(()), "none": array[:0]}
    back = unpack_arrays(pack_arrays(arrays, "x"), "x", "y")
    assert back.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(back[key], value)
        assert back[key].shape == value.shape
        assert back[key].dtype == array.dtype.newbyteorder("=")
        assert back[key].flags.writeable


def test_arrays_that_cannot_be_stored() -> None:
    with pytest.raises(GalleryError, match=r"a\.wav: array 'words' has type <U3"):
        pack_arrays({"words": np.array(["one"])}, "a.wav")
    with pytest.raises(GalleryError, match="'things' has type object"):
        pack_arrays({"things": np.array([None])}, "a.wav")


@pytest.mark.parametrize("damage", [slice(0, -1), slice(0, 0), slice(8, None), slice(0, 20)])
def test_damaged_arrays(damage: slice) -> None:
    blob = pack_arrays({"a": np.ones(5, np.float32)}, "x")
    with pytest.raises(GalleryError, match="clip 3: the stored arrays are damaged: drop it"):
        unpack_arrays(blob[damage], "clip 3", "drop it")


def test_json_round_trip() -> None:
    value = {"far": 0.01, "b": [1, None, "é", True], "a": {"x": -1.5e-300}}
    assert unpack_json(pack_json(value, "x"), "x", "y") == value


def test_json_that_cannot_be_stored_or_read() -> None:
    with pytest.raises(GalleryError, match="setting 'far': only plain JSON values"):
        pack_json({"far": np.float32(1)}, "setting 'far'")
    with pytest.raises(GalleryError, match="head 1: the stored values are damaged: tune"):
        unpack_json('{"far": ', "head 1", "tune")
