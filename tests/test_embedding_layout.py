"""Ready embeddings in the released layout: read, refused with the file's name, and measured."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openkith.embedding_layout import CONTROL, TEST, TRAIN, evaluate_layout, read_layout
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import open_set_report

DIM = 24


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four known people and three unknown ones, with 12 others to learn from; noise of half a voice's size."""
    root = tmp_path_factory.mktemp("ready")
    rng = np.random.default_rng(0)
    voices = rng.standard_normal((19, DIM))

    def clips(part: str, people: range, first: int, count: int) -> None:
        for person in people:
            for clip in range(count):
                values = voices[person] + 0.8 * rng.standard_normal(DIM)
                save(root / part / str(person - first) / f"{clip}.npy", values.astype(np.float32))

    clips(TRAIN, range(4), 0, 4)
    clips(TEST, range(7), 0, 5)
    clips(CONTROL, range(7, 19), 7, 4)
    return root


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(ready, tmp_path / "set")


def test_what_is_read(ready: Path) -> None:
    layout = read_layout(ready)
    assert layout.n_known == 4
    assert layout.enrolment.embeddings.shape == (16, DIM)
    assert layout.enrolment.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert layout.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5 + [-1] * 15
    assert layout.control is not None
    assert (layout.control.n_speakers, len(layout.control)) == (12, 48)
    assert np.array_equal(layout.probes[5], np.load(ready / TEST / "1" / "0.npy"))


def test_known_may_be_fewer(ready: Path) -> None:
    layout = read_layout(ready, known=2)
    assert layout.enrolment.labels.tolist() == [0] * 4 + [1] * 4
    assert layout.labels.tolist() == [0] * 5 + [1] * 5 + [-1] * 25


def test_ids_are_numbers_and_not_words(copy: Path) -> None:
    """Id 10 comes after 9, and 007 is 7."""
    for person in range(4, 11):
        save(copy / TRAIN / f"{person:03d}" / "0.npy", np.full((1, DIM), person, np.float64))
    layout = read_layout(copy)
    assert layout.n_known == 11
    assert layout.enrolment.embeddings[-7:, 0].tolist() == list(range(4, 11))
    assert layout.labels.max() == 6
    assert (layout.labels >= 0).all()


def test_what_is_passed_over(copy: Path) -> None:
    (copy / TRAIN / "notes.txt").touch()
    (copy / TRAIN / "0" / "notes.txt").touch()
    (copy / TRAIN / "0" / ".hidden.npy").touch()
    (copy / TRAIN / ".git").mkdir()
    (copy / CONTROL / "anna").mkdir()  # without embeddings
    (copy / TEST / "99").mkdir()
    layout = read_layout(copy)
    assert len(layout.enrolment) == 16
    assert layout.control is not None
    assert sorted(set(layout.control.labels.tolist())) == list(range(12))
    assert len(layout.probes) == 35


def test_without_unknown_samples(copy: Path) -> None:
    shutil.rmtree(copy / CONTROL)
    layout = read_layout(copy)
    assert layout.control is None
    assert [result.unknown_samples for result in evaluate_layout(layout, ["cosine"])] == [False]
    with pytest.raises(NotEnoughDataError, match="as-norm needs clips of other people"):
        evaluate_layout(layout, ["as-norm"])


@pytest.mark.parametrize(
    ("part", "message"),
    [(".", "no such folder; give a folder that holds emb_train and emb_test"), (TRAIN, TRAIN), (TEST, TEST)],
)
def test_missing_folders(copy: Path, part: str, message: str) -> None:
    shutil.rmtree(copy / part)
    with pytest.raises(InputError, match=message) as caught:
        read_layout(copy)
    assert str(caught.value).startswith(f"{copy / part}: no such folder")


class Payload:
    """Something that only unpickling could read."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, DIM), np.float32), r"shape \(2, 24\); a file holds one embedding, \(d,\) or \(1, d\)"),
        (np.zeros((DIM, 1), np.float32), r"shape \(24, 1\)"),
        (np.zeros((), np.float32), r"shape \(\)"),
        (np.zeros((1, 1, DIM), np.float32), r"shape \(1, 1, 24\)"),
        (np.zeros(DIM - 1, np.float32), r"23 numbers, and .*0\.npy has 24; embed all clips with one encoder"),
        (np.full(DIM, np.nan), "NaN or infinite values"),
        (np.full(DIM, np.inf), "NaN or infinite values"),
        (np.full(DIM, 1e300), "NaN or infinite values"),  # float32 cannot hold it
        (np.zeros(DIM, np.int64), "numbers of type int64"),
        (np.zeros(DIM, np.complex64), "numbers of type complex64"),
        (np.array([Payload()], dtype=object), "no embedding: Array can't be memory-mapped"),
    ],
)
def test_files_that_hold_something_else(copy: Path, values: np.ndarray, message: str) -> None:
    path = copy / TEST / "1" / "3.npy"
    np.save(path, values)
    with pytest.raises(InputError, match=message) as caught:
        read_layout(copy)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_array(copy: Path) -> None:
    path = copy / TEST / "1" / "3.npy"
    np.save(path, np.zeros(0, np.float32))
    with pytest.raises(InputError, match=r"3\.npy: "):
        read_layout(copy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"no array",
        lambda whole: whole[:-4],
        lambda whole: whole[:20],
        lambda whole: whole.replace(b"(24,)", b"(99999999999999,)"),
        lambda whole: b"PK\x03\x04" + whole,
    ],
)
def test_files_that_are_no_arrays(copy: Path, damage: Callable[[bytes], bytes]) -> None:
    path = copy / TRAIN / "1" / "3.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"no embedding: .*; save one with numpy\.save") as caught:
        read_layout(copy)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_ids_that_are_no_numbers(copy: Path) -> None:
    (copy / TRAIN / "anna").mkdir()
    with pytest.raises(InputError, match="anna: its name is no id; name people's folders 0, 1, 2"):
        read_layout(copy)


def test_an_id_twice(copy: Path) -> None:
    (copy / TEST / "01").mkdir()
    with pytest.raises(InputError, match="a second folder of id 1; keep one"):
        read_layout(copy)


def test_a_known_id_without_clips(copy: Path) -> None:
    (copy / TRAIN / "2").rename(copy / TRAIN / "8")
    with pytest.raises(
        NotEnoughDataError, match=f"{TRAIN}: no embedding of id 2; the known people are the ids 0 to 3"
    ):
        read_layout(copy)
    assert read_layout(copy, known=2).n_known == 2
    shutil.rmtree(copy / TRAIN)
    (copy / TRAIN).mkdir()
    with pytest.raises(NotEnoughDataError, match="no embedding of id 0"):
        read_layout(copy)


def test_nothing_to_test(copy: Path) -> None:
    shutil.rmtree(copy / TEST)
    (copy / TEST / "0").mkdir(parents=True)
    with pytest.raises(NotEnoughDataError, match=f"{TEST}: no .npy file"):
        read_layout(copy)


def test_known_out_of_range(ready: Path) -> None:
    with pytest.raises(ConfigError, match="known is 0; give 1 or more"):
        read_layout(ready, known=0)
    with pytest.raises(NotEnoughDataError, match="no embedding of id 4"):
        read_layout(ready, known=5)


# ---- measuring


def cosine_by_hand(ready: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scores (p, 4) of every probe against every person's mean direction, and the labels."""

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def load(part: str, person: int) -> np.ndarray:
        return unit(np.stack([np.load(path) for path in sorted((ready / part / str(person)).iterdir())]))

    means = unit(np.stack([load(TRAIN, person).mean(0) for person in range(4)]))
    scores = np.concatenate([load(TEST, person) @ means.T for person in range(7)])
    return scores, np.repeat([0, 1, 2, 3, -1, -1, -1], 5)


def test_plain_cosine_is_what_it_says(ready: Path) -> None:
    results = evaluate_layout(read_layout(ready), ["cosine"])
    assert [result.unknown_samples for result in results] == [False, True]
    expected = open_set_report(*cosine_by_hand(ready))
    for result in results:
        for name in ("eer", "detection_eer", "oscr", "accuracy", "min_dcf", "auroc"):
            assert getattr(result.metrics, name) == pytest.approx(getattr(expected, name), abs=1e-6)
        assert result.metrics.act_dcf >= result.metrics.min_dcf
        assert (result.metrics.n_speakers, result.metrics.n_known, result.metrics.n_unknown) == (4, 20, 15)
    assert results[0].metrics.act_dcf != results[1].metrics.act_dcf  # calibrated on other people too


def test_methods_that_need_unknown_samples_are_measured_with_them_only(ready: Path) -> None:
    results = evaluate_layout(read_layout(ready), ["as-norm", "cosine"])
    assert [(result.method, result.unknown_samples) for result in results] == [
        ("as-norm", True),
        ("cosine", False),
        ("cosine", True),
    ]


def test_no_such_method(ready: Path) -> None:
    with pytest.raises(ConfigError, match="no method is named 'magic'; there are: released, auto, cosine"):
        evaluate_layout(read_layout(ready), ["cosine", "magic"])


def test_progress_and_json(ready: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    results = evaluate_layout(
        read_layout(ready), ["cosine"], progress=lambda what, done, total: seen.append((what, done, total))
    )
    assert seen == [("cosine, without unknown samples", 0, 2), ("cosine, with unknown samples", 1, 2)]
    row = json.loads(json.dumps(results[0].to_dict()))
    assert (row["method"], row["unknown_samples"], row["eer"]) == ("cosine", False, results[0].metrics.eer)


def test_the_released_recipe_with_and_without_unknown_samples(ready: Path) -> None:
    results = evaluate_layout(read_layout(ready), ["released"])
    assert [(result.method, result.unknown_samples) for result in results] == [
        ("released", False),
        ("released", True),
    ]
    for result in results:
        assert result.metrics.accuracy > 0.9  # chance: 0.25
        assert result.metrics.eer < 0.2
        assert result.metrics.act_dcf >= result.metrics.min_dcf
    alone = replace(read_layout(ready), control=None)
    [again] = evaluate_layout(alone, ["released"])
    assert again.metrics == results[0].metrics
    [other] = evaluate_layout(alone, ["released"], seed=1)
    assert other.metrics != again.metrics


def test_single_clips_cannot_calibrate_but_are_measured(copy: Path) -> None:
    for person in range(4):
        for clip in (1, 2, 3):
            (copy / TRAIN / str(person) / f"{clip}.npy").unlink()
    for result in evaluate_layout(read_layout(copy), ["released"]):
        assert 0.0 <= result.metrics.eer <= 0.5
        assert math.isnan(result.metrics.act_dcf) or result.metrics.act_dcf >= result.metrics.min_dcf
