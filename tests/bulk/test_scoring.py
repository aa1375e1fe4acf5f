"""Trials scored with embeddings, against plain loops and against the back ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from openkith.bulk import scoring
from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.plda import PairPLDA
from openkith.bulk.reading import read_embeddings
from openkith.bulk.scoring import ScoreOptions, score_pairs, score_trials
from openkith.bulk.store import EmbeddingStore, StoreConfig
from openkith.data.trials import Trial, write_trials
from openkith.errors import ConfigError, EncoderMismatchError, InputError, NotEnoughDataError
from openkith.scoring import PLDA, AsNorm, EmbeddingSet, norm

DIM = 6


def store(
    folder: Path,
    speakers: int,
    clips: int,
    seed: int,
    *,
    fingerprint: str = "fake/1",
    dim: int = DIM,
    bad: Sequence[str] = (),
) -> Path:
    rng = np.random.default_rng(seed)
    outcomes = []
    for speaker in range(speakers):
        place = rng.standard_normal(dim)
        for clip in range(clips):
            name = f"s{speaker:02d}/{clip}.wav"
            vector = (place + 0.7 * rng.standard_normal(dim)).astype(np.float32)
            outcomes.append(Outcome(name, f"/c/{name}", name[:3], vector, Measures(1.0, 1.0)))
    outcomes += [Outcome(name, f"/c/{name}", name[:3], None, None, "empty file") for name in bad]
    with EmbeddingStore(folder, StoreConfig("fake", fingerprint, dim, "safetensors", "/c")) as opened:
        opened.commit(outcomes)
        opened.finish()
    return folder


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    return store(tmp_path / "test", 5, 3, 0)


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    """All pairs, in both directions."""
    names = [f"s{speaker:02d}/{clip}.wav" for speaker in range(5) for clip in range(3)]
    path = tmp_path / "trials.txt"
    write_trials(path, [Trial(a[:3] == b[:3], a, b) for a in names for b in names if a != b])
    return path


def loop(trials: Path, embeddings: Path) -> list[float]:
    """A cosine for each line, one after another."""
    held = read_embeddings(embeddings)
    vectors = dict(zip(held.utterances, held.gather().astype(np.float64), strict=True))
    scores = []
    for line in trials.read_text().splitlines():
        _, first, second = line.split()
        a, b = vectors[first], vectors[second]
        scores.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    return scores


def test_cosine_equals_a_loop(trials: Path, embeddings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_BLOCK_VALUES", 17 * DIM)
    scored = score_trials(trials, embeddings)
    np.testing.assert_allclose(scored.scores, loop(trials, embeddings), atol=1e-6)
    assert scored.trials.targets.sum() == 30


def test_score_pairs_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows, pairs = rng.standard_normal((9, 33)), rng.integers(0, 9, (2, 40))
    whole = score_pairs(rows, rows, *pairs)
    monkeypatch.setattr(scoring, "_BLOCK_VALUES", 7 * 33)
    np.testing.assert_array_equal(score_pairs(rows, rows, *pairs), whole)
    np.testing.assert_allclose(whole, [rows[a] @ rows[b] for a, b in pairs.T], rtol=1e-12)


@pytest.mark.parametrize("top", [None, 20, 10_000])
def test_as_norm_equals_the_back_end(
    tmp_path: Path, trials: Path, embeddings: Path, monkeypatch: pytest.MonkeyPatch, top: int | None
) -> None:
    monkeypatch.setattr(scoring, "_MOST_VALUES", 300)  # several blocks of statistics
    monkeypatch.setattr(norm, "to_half", lambda x: x)  # the back end stores its cohort so
    cohort = store(tmp_path / "cohort", 40, 3, 1)
    scored = score_trials(trials, embeddings, ScoreOptions(as_norm=cohort, top=top))
    held, others = read_embeddings(embeddings), read_embeddings(cohort)

    class Back(AsNorm):
        top_share = AsNorm.top_share if top is None else min(1.0, top / 120)

    people = EmbeddingSet.plain(held.gather(), np.arange(len(held)))
    back = Back().fit(people, EmbeddingSet.plain(others.gather(), others.labels())).score(held.gather())
    expected = [
        back[held.find(line.split()[2]), held.find(line.split()[1])]
        for line in trials.read_text().splitlines()
    ]
    np.testing.assert_allclose(scored.scores, expected, rtol=1e-5, atol=1e-5)


def test_as_norm_by_its_definition(tmp_path: Path, trials: Path, embeddings: Path) -> None:
    """With the means of the cohort's speakers, of which the 12 most similar count."""
    cohort = store(tmp_path / "cohort", 30, 4, 1)
    scored = score_trials(trials, embeddings, ScoreOptions(as_norm=cohort, top=12, speaker_means=True))
    others = read_embeddings(cohort).gather().astype(np.float64)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    means = others.reshape(30, 4, DIM).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    held = read_embeddings(embeddings)
    unit = held.gather().astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for line, score, cosine in zip(
        trials.read_text().splitlines(), scored.scores, loop(trials, embeddings), strict=True
    ):
        normalised = []
        for name in line.split()[1:]:
            similar = np.sort(means @ unit[held.find(name)])[-12:]
            normalised.append((cosine - similar.mean()) / similar.std())
        assert score == pytest.approx(np.mean(normalised), abs=1e-4)


def test_plda_equals_the_back_end(tmp_path: Path, trials: Path, embeddings: Path) -> None:
    train = store(tmp_path / "train", 25, 4, 2)
    options = ScoreOptions(plda=train, save_plda=tmp_path / "model")
    scored = score_trials(trials, embeddings, options)
    held, others = read_embeddings(embeddings), read_embeddings(train)
    people = EmbeddingSet.plain(held.gather(), np.arange(len(held)))
    back = PLDA(space="raw").fit(people, EmbeddingSet.plain(others.gather(), others.labels()))
    ratios = back.score(held.gather())
    expected = [
        ratios[held.find(line.split()[2]), held.find(line.split()[1])]
        for line in trials.read_text().splitlines()
    ]
    np.testing.assert_allclose(scored.scores, expected, rtol=1e-4, atol=1e-4)
    again = score_trials(trials, embeddings, ScoreOptions(plda=tmp_path / "model"))
    np.testing.assert_array_equal(again.scores, scored.scores)
    assert PairPLDA.load(tmp_path / "model").fingerprint == "fake/1"


def test_as_norm_of_plda(tmp_path: Path, trials: Path, embeddings: Path) -> None:
    train, cohort = store(tmp_path / "train", 25, 4, 2), store(tmp_path / "cohort", 10, 3, 1)
    scored = score_trials(trials, embeddings, ScoreOptions(plda=train, as_norm=cohort, top=11))
    model, held = PairPLDA.learn(read_embeddings(train)), read_embeddings(embeddings)
    enrol, test = model.sides(held.gather())
    against = model.sides(read_embeddings(cohort).gather())[0]
    line = trials.read_text().splitlines()[7].split()
    a, b = held.find(line[1]), held.find(line[2])
    expected = []
    for each in (a, b):
        similar = np.sort([other @ test[each] for other in against])[-11:]
        expected.append((enrol[a] @ test[b] - similar.mean()) / similar.std())
    assert scored.scores[7] == pytest.approx(np.mean(expected), abs=1e-6)


def test_ids_without_an_embedding(tmp_path: Path) -> None:
    embeddings = store(tmp_path / "test", 2, 1, 0, bad=["s09/9.wav"])
    path = tmp_path / "trials.txt"
    path.write_text("1 s00/0.wav s01/0.wav\n0 s01/0 s09/9.wav\n0 s00/0.wav gone.wav\n")
    with pytest.raises(InputError) as raised:
        score_trials(path, embeddings)
    assert str(raised.value) == (
        f"{path}:2: no embedding of 's09/9.wav' in {embeddings}, nor of 1 more ids (empty file); "
        "embed what is missing, or leave the trial out"
    )


def test_encoders_are_not_mixed(tmp_path: Path, trials: Path, embeddings: Path) -> None:
    other = store(tmp_path / "other", 20, 3, 1, fingerprint="fake/2")
    short = store(tmp_path / "short", 20, 3, 1, dim=4)
    for kind in ("as_norm", "plda"):
        with pytest.raises(EncoderMismatchError, match=r"other: is of the encoder fake/2, and .* of fake/1"):
            score_trials(trials, embeddings, ScoreOptions(**{kind: other}))
        with pytest.raises(InputError, match=r"short: of length 4, and .* has 6"):
            score_trials(trials, embeddings, ScoreOptions(**{kind: short}))
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    for i in range(12):
        np.save(nobody / f"{i}.npy", np.random.default_rng(i).standard_normal(DIM))
    score_trials(trials, embeddings, ScoreOptions(as_norm=nobody))
    with pytest.raises(NotEnoughDataError, match="not told who speaks"):
        score_trials(trials, embeddings, ScoreOptions(as_norm=nobody, speaker_means=True))


def test_options() -> None:
    assert ScoreOptions().method == "cosine"
    assert ScoreOptions(plda=Path("x"), as_norm=Path("y")).method == "plda + as-norm"
    with pytest.raises(ConfigError, match="top is 3; give 10 or more"):
        ScoreOptions(as_norm=Path("x"), top=3)
    for wrong in ({"top": 10}, {"speaker_means": True}):
        with pytest.raises(ConfigError, match="are of the cohort"):
            ScoreOptions(**wrong)
    with pytest.raises(ConfigError, match="save_plda needs a model"):
        ScoreOptions(save_plda=Path("x"))


def test_progress(trials: Path, embeddings: Path) -> None:
    steps: list[str] = []
    score_trials(trials, embeddings, progress=lambda text, done, total: steps.append(text))  # noqa: ARG005
    assert steps == ["reading trials", "reading embeddings", "scoring"]
