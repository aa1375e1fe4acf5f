"""PLDA for trials, against the back end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.bulk.plda import PairPLDA, is_model, load_or_learn
from openkith.bulk.reading import read_embeddings
from openkith.errors import InputError, NotEnoughDataError
from openkith.scoring import PLDA, EmbeddingSet

Write = Callable[..., Path]


@pytest.fixture
def write() -> Write:
    """write(folder, n_speakers, clips, seed): a tree of embeddings; speakers differ more than their clips."""

    def make(folder: Path, speakers: int = 12, clips: int = 5, seed: int = 0, dim: int = 6) -> Path:
        rng = np.random.default_rng(seed)
        for speaker in range(speakers):
            place = rng.standard_normal(dim)
            (folder / f"s{speaker:02d}").mkdir(parents=True)
            for clip in range(clips):
                vector = place + 0.5 * rng.standard_normal(dim)
                np.save(folder / f"s{speaker:02d}" / f"{clip}.npy", vector.astype(np.float32))
        return folder

    return make


def test_ratios_are_those_of_the_back_end(tmp_path: Path, write: Write) -> None:
    train, test = (
        read_embeddings(write(tmp_path / "train")),
        read_embeddings(write(tmp_path / "test", 4, 2, 1)),
    )
    enrol, probe = PairPLDA.learn(train).sides(test.gather())
    ratios = enrol @ probe.T
    cohort = EmbeddingSet.plain(train.gather(), train.labels())
    people = EmbeddingSet.plain(test.gather(), np.arange(len(test)))  # one clip each
    expected = PLDA(space="raw").fit(people, cohort).score(test.gather())
    np.testing.assert_allclose(ratios, expected.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ratios, ratios.T, atol=1e-9)  # which of the two enrols does not matter
    assert np.ptp(ratios) > 1.0


def test_ratios_by_their_definition(tmp_path: Path, write: Write) -> None:
    """The log density of both embeddings of one speaker, against that of two speakers."""
    from scipy.stats import multivariate_normal

    model = PairPLDA.learn(read_embeddings(write(tmp_path / "train")))
    pair = read_embeddings(write(tmp_path / "test", 1, 2, 3)).gather()
    unit = (pair / np.linalg.norm(pair, axis=1, keepdims=True)).astype(np.float64)
    mean, between, within = model.model.mean, model.model.between, model.model.within
    total = between + within
    together = np.block([[total, between], [between, total]])
    same = multivariate_normal(np.tile(mean, 2), together).logpdf(unit.ravel())
    apart = multivariate_normal(mean, total).logpdf(unit).sum()
    enrol, probe = model.sides(pair)
    assert enrol[0] @ probe[1] == pytest.approx(same - apart, abs=1e-5)


def test_save_and_load(tmp_path: Path, write: Write) -> None:
    source = write(tmp_path / "train")
    model = load_or_learn(source)
    assert (model.n_speakers, model.n_clips, model.dim, model.fingerprint) == (12, 60, 6, "")
    model.save(tmp_path / "deep" / "model")
    assert sorted(path.name for path in (tmp_path / "deep").rglob("*")) == [
        "config.json",
        "model",
        "plda.safetensors",
    ]
    assert is_model(tmp_path / "deep" / "model")
    again = load_or_learn(tmp_path / "deep" / "model")
    assert (again.n_speakers, again.n_clips, again.dim) == (12, 60, 6)
    vectors = read_embeddings(source).gather()
    for one, other in zip(model.sides(vectors), again.sides(vectors), strict=True):
        np.testing.assert_array_equal(one, other)
    again.save(tmp_path / "deep" / "model")  # in place of what was there
    with pytest.raises(InputError, match="there is something else"):
        model.save(source)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        model.save(tmp_path / "file" / "model")


def test_models_that_are_damaged(tmp_path: Path, write: Write) -> None:
    folder = tmp_path / "model"
    PairPLDA.learn(read_embeddings(write(tmp_path / "train"))).save(folder)
    config = (folder / "config.json").read_text()
    for text in (config.replace('"dim": 6', '"dim": 7'), config.replace("plda", "head"), "", "[]"):
        (folder / "config.json").write_text(text)
        with pytest.raises(InputError, match="not a PLDA model") as raised:
            PairPLDA.load(folder)
        assert "\n" not in str(raised.value)
    (folder / "plda.safetensors").write_bytes(b"")
    (folder / "config.json").write_text(config)
    with pytest.raises(InputError, match="not a PLDA model"):
        PairPLDA.load(folder)


@pytest.mark.parametrize(("speakers", "clips"), [(1, 5), (5, 1)])
def test_too_little_to_learn_from(tmp_path: Path, write: Write, speakers: int, clips: int) -> None:
    with pytest.raises(NotEnoughDataError, match=f"{speakers} speakers, at most {clips} clips each"):
        load_or_learn(write(tmp_path / "train", speakers, clips))
