"""Scores of the multi-talker model, recomputed one cosine at a time."""

from __future__ import annotations

import sys
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.errors import InputError
from openkith.neural_scoring.talker_model import _ARRAYS, NEAREST, TalkerModel, Tokens

sys.path.insert(0, str(Path(__file__).parents[1]))
from token_people import DIM, some_model, some_tokens, unit


@pytest.fixture
def model() -> TalkerModel:
    return some_model(np.random.default_rng(0))


def moved(
    x: NDArray[np.float32], centre: NDArray[np.float32], matrix: NDArray[np.float32]
) -> NDArray[np.float64]:
    y = (x.astype(np.float64) - centre) @ matrix
    return y / np.linalg.norm(y)


def softpool(cosines: list[float], temperature: float) -> float:
    weights = np.exp(temperature * np.array(cosines))
    return float(np.sum(weights / weights.sum() * cosines))


def by_hand(model: TalkerModel, person: NDArray[np.float32], tokens: Tokens) -> float:
    pooled, windows, prefixes = [], [], []
    for look in (0, 1):
        x = moved(person / np.linalg.norm(person), model.centre, model.maps[look])
        centre, matrix = model.token_centres[look], model.token_maps[look]
        heard = [moved(window, centre, matrix) for window in tokens.windows[look]]
        mean = np.mean(heard, axis=0)
        pooled.append(float(x @ mean / np.linalg.norm(mean)))
        windows += [float(x @ window) for window in heard]
        prefixes += [float(x @ moved(p, centre, matrix)) for row in tokens.prefixes[look] for p in row]
    a, b, c = model.weights
    t, u = model.temperatures
    return a * np.mean(pooled) + b * softpool(windows, t) + c * softpool(prefixes, u)


def test_scores_are_what_the_formula_says(model: TalkerModel) -> None:
    rng = np.random.default_rng(1)
    tokens, people = some_tokens(rng), rng.standard_normal((3, DIM)).astype(np.float32)
    of_cohort = sorted(by_hand(model, voice, tokens) for voice in model.centroids)
    expected = [by_hand(model, person, tokens) - np.mean(of_cohort[-NEAREST:]) for person in people]
    assert model.scores(model.people(people), tokens) == pytest.approx(np.array(expected), abs=1e-5)


def test_a_small_cohort_counts_as_a_whole() -> None:
    model, rng = some_model(np.random.default_rng(0), voices=5), np.random.default_rng(1)
    tokens, people = some_tokens(rng), rng.standard_normal((2, DIM)).astype(np.float32)
    mean = np.mean([by_hand(model, voice, tokens) for voice in model.centroids])
    expected = [by_hand(model, person, tokens) - mean for person in people]
    assert model.scores(model.people(people), tokens) == pytest.approx(np.array(expected), abs=1e-5)


def test_nobody_changes_the_score_of_another(model: TalkerModel) -> None:
    rng = np.random.default_rng(2)
    tokens, people = some_tokens(rng), rng.standard_normal((200, DIM)).astype(np.float32)
    together = model.scores(model.people(people), tokens)
    assert together[:1] == pytest.approx(model.scores(model.people(people[:1]), tokens), abs=1e-5)
    assert len(model.scores(model.people(people[:0]), tokens)) == 0


def test_one_token_that_fits_outweighs_many_that_do_not(model: TalkerModel) -> None:
    rng = np.random.default_rng(3)
    model = replace(model, maps=model.token_maps, token_centres=np.stack([model.centre] * 2))
    tokens, person = some_tokens(rng, windows=9), unit(rng.standard_normal(DIM))
    before = model.scores(model.people(person[None]), tokens)[0]
    tokens.prefixes[:, 4] = person
    tokens.windows[:, 4] = person
    assert model.scores(model.people(person[None]), tokens)[0] > before + 0.3


@pytest.mark.parametrize("shape", [(DIM,), (2, DIM + 1), (2, 2, DIM)])
def test_embeddings_of_another_shape_are_refused(model: TalkerModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"n, {DIM}"):
        model.people(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="NaN"):
        model.people(np.full((1, DIM), np.nan, np.float32))


def test_a_file_gives_back_the_model(model: TalkerModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors")
    again = TalkerModel.load(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    for name in _ARRAYS:
        found = attrgetter(name)(again)
        assert found.dtype == np.float32
        assert np.array_equal(found, attrgetter(name)(model)), name
    for name in ("line", "window_line", "fingerprint", "source", "digest"):
        assert getattr(again, name) == getattr(model, name)
    assert replace(model, weights=2 * model.weights).digest != model.digest
    tokens = some_tokens(np.random.default_rng(4))
    assert np.array_equal(
        again.scores(again.people(model.centroids[:3]), tokens),
        model.scores(model.people(model.centroids[:3]), tokens),
    )


def test_files_that_are_no_model_are_refused(model: TalkerModel, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match=r"other\.safetensors: no model"):
        TalkerModel.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"MultiTalker\.fit"):
        TalkerModel.load(path)
    save_file({"centre": np.zeros(3, np.float16)}, str(path))
    with pytest.raises(InputError, match="format"):
        TalkerModel.load(path)
    replace(model, weights=np.zeros(4, np.float32)).save(path)
    with pytest.raises(InputError, match="shapes"):
        TalkerModel.load(path)
    with pytest.raises(InputError, match="cannot write"):
        model.save(tmp_path / "nowhere" / "model.safetensors")
