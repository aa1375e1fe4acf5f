"""What is read from the names and shapes of a graph and from its metadata; whole graphs are in test_onnx.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.encoders.front_ends import FrontEnd
from openkith.encoders.graphs.onnx_graph import ARRANGE, Tensor, find_input, read_front_end, read_layout
from openkith.errors import WeightsError

PATH = Path("m.onnx")
WESPEAKER = FrontEnd("kaldi-fbank", {"window": "hamming", "scale": 32768.0})
FREE = ("B", "T", "F")
Shape = tuple[int | str | None, ...]


def tensor(name: str, shape: Shape, type_: str = "tensor(float)") -> Tensor:
    return Tensor(name, type_, shape)


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("feats", "embs", WESPEAKER),
        ("feats", "y", WESPEAKER),
        ("y", "embs", WESPEAKER),
        ("feature", "embedding", FrontEnd("kaldi-fbank")),
        ("x", "embedding", FrontEnd("kaldi-fbank")),
    ],
)
def test_front_end_by_names(name: str, output: str, expected: FrontEnd) -> None:
    assert read_front_end(tensor(name, FREE), [tensor(output, ("B", 192))], {}) == expected


def test_metadata_come_before_names() -> None:
    metadata = {"framework": "3D-Speaker"}
    assert read_front_end(tensor("feats", FREE), [tensor("embs", ("B", 192))], metadata) == FrontEnd(
        "kaldi-fbank"
    )
    ours = {"openkith_front_end": "voxceleb-log-mel", "openkith_front_end_options": '{"n_mels": 64}'}
    assert read_front_end(tensor("feats", FREE), [], ours) == FrontEnd("voxceleb-log-mel", {"n_mels": 64})


@pytest.mark.parametrize(
    ("shape", "metadata", "n_mels"),
    [
        (("B", "T", 64), {}, 64),
        (("B", 64, "T"), {}, 64),
        (("T", 40), {}, 40),
        (FREE, {}, 80),
        (FREE, {"feat_dim": "64"}, 64),
        (("B", "T", 64), {"feat_dim": "64"}, 64),
    ],
)
def test_bands(shape: Shape, metadata: dict[str, str], n_mels: int) -> None:
    assert read_front_end(tensor("x", shape), [], metadata).options["n_mels"] == n_mels


@pytest.mark.parametrize("shape", [("B", "N"), (1, None), ("N",), ("B", 1, "N"), ("B", 48_000)])
def test_samples(shape: Shape) -> None:
    assert read_front_end(tensor("wav", shape), [], {}) == FrontEnd("waveform")


@pytest.mark.parametrize(
    ("shape", "front_end", "framework", "layout"),
    [
        (("B", "T", 80), WESPEAKER, "", "btf"),
        (("B", 80, "T"), WESPEAKER, "", "bft"),
        (FREE, WESPEAKER, "", "btf"),
        (("B", "F", "T"), FrontEnd("nemo-fbank"), "nemo", "bft"),
        (("T", 80), WESPEAKER, "", "tf"),
        (("B", "N"), FrontEnd("waveform"), "", "bn"),
        (("B", 1, "N"), FrontEnd("waveform"), "", "b1n"),
        (("N",), FrontEnd("waveform"), "", "n"),
    ],
)
def test_layout(shape: Shape, front_end: FrontEnd, framework: str, layout: str) -> None:
    main = tensor("x", shape)
    assert read_layout(main, front_end, {"framework": framework}, PATH) == layout
    given = np.arange(2 * 50 * 80.0).reshape(2, 50, 80) if "f" in layout else np.arange(100.0).reshape(2, 50)
    if layout[0] != "b":
        given = given[:1]
    arranged = ARRANGE[layout](given.astype(np.float32))
    sizes = {"b": 2, "t": 50, "n": 50, "f": 80, "1": 1}
    assert arranged.shape == tuple(sizes[letter] for letter in layout)
    np.testing.assert_array_equal(np.sort(arranged.ravel()), np.sort(given.ravel()))
    if layout == "bft":
        np.testing.assert_array_equal(arranged[1, :, 3], given[1, 3])


def test_the_input_and_its_lengths() -> None:
    features, length = tensor("x", FREE), tensor("x_length", ("B",), "tensor(int64)")
    share = tensor("lens", ("B",))
    assert find_input([length, features], PATH) == (features, [length])
    assert find_input([features, share], PATH) == (features, [share])
    for inputs in (
        [],
        [length],
        [features, tensor("y", FREE)],
        [features, tensor("mask", ("B", "T"), "tensor(bool)")],
    ):
        with pytest.raises(WeightsError, match="its inputs are "):
            find_input(inputs, PATH)
