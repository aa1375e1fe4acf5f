"""Trial lists: scores in their places, and error rates of each list and of all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import Audio, save
from openkith.bulk.trial_scores import read_scores
from openkith.errors import AudioError, ConfigError, InputError, ManifestError, NotEnoughDataError
from openkith.neural_scoring.evaluation import evaluate_lists, measure, write_scores

FILES = ("a/0", "a/1", "b/0", "b/1")


class Level:
    """Embeds a clip as (1, its RMS), and hears its RMS: log odds are minus how far the two are apart."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def enrol(self, clips: list[Audio]) -> np.ndarray:
        self.heard += ["enrol"] * len(clips)
        return np.array([[1.0, np.std(clip.samples)] for clip in clips], np.float32)

    def frames(self, clip: Audio) -> np.ndarray:
        self.heard.append("frames")
        return np.array([[np.std(clip.samples)]], np.float32)

    def log_odds(self, enrolments: np.ndarray, frames: np.ndarray) -> np.ndarray:
        return -np.abs(enrolments[:, 1] - frames[0, 0]).astype(np.float64)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, name in enumerate(FILES):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        save(path, (0.1 * (place + 1) * (-1.0) ** np.arange(8000)).astype(np.float32))
    (tmp_path / "clean.txt").write_text(
        "1 a/0.wav a/1.wav\n0 b/1.wav a/1.wav\n1 b/0.wav b/1.wav\n0 a/0.wav b/1.wav\n"
    )
    (tmp_path / "mix.txt").write_text("1 a/0.wav b/0.wav\n0 b/0.wav b/1.wav\n")
    return tmp_path


def run(root: Path, *lists: str, **options: Any) -> tuple[Any, Level]:
    scorer = Level()
    return evaluate_lists(scorer, [root / name for name in lists], root, **options), scorer  # type: ignore[arg-type]


def test_scores_are_in_their_places(root: Path) -> None:
    told: list[tuple[int, int]] = []
    (clean, mix), scorer = run(
        root, "clean.txt", "mix.txt", progress=lambda _, done, total: told.append((done, total))
    )
    assert (clean.name, mix.name) == ("clean", "mix")
    np.testing.assert_allclose(clean.scores["neural-scoring"], [-0.1, -0.2, -0.1, -0.3], atol=1e-3)
    np.testing.assert_allclose(mix.scores["neural-scoring"], [-0.2, -0.1], atol=1e-3)
    levels = {"a/0.wav": 0.1, "a/1.wav": 0.2, "b/0.wav": 0.3, "b/1.wav": 0.4}
    expected = []
    for trial in clean.trials:
        x, y = np.array([1, levels[trial.enrol]]), np.array([1, levels[trial.test]])
        expected.append(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    np.testing.assert_allclose(clean.scores["cosine"], expected, atol=1e-4)
    assert clean.targets.tolist() == [True, False, True, False]
    assert told == [(k, 6) for k in range(1, 7)]  # 3 files enrol, 3 are tested
    assert scorer.heard.count("frames") == 3
    assert scorer.heard.count("enrol") == 4  # a/1 for cosine too


def test_without_cosine(root: Path) -> None:
    (clean,), scorer = run(root, "clean.txt", cosine=False)
    assert clean.scores.keys() == {"neural-scoring"}
    assert scorer.heard.count("enrol") == 3


def test_error_rates(root: Path) -> None:
    lists, _ = run(root, "clean.txt", "mix.txt", cosine=False)
    clean, mix, overall = measure(lists, (0.01, 0.5))
    assert (clean.trials_of, mix.trials_of, overall.trials_of) == ("clean", "mix", "overall")
    assert (clean.eer, mix.eer) == (0.0, 1.0)
    assert (clean.trials, clean.targets, overall.trials, overall.targets) == (4, 2, 6, 3)
    assert overall.eer == pytest.approx(1 / 3, abs=1e-6)  # targets -.1 -.1 -.2, others -.1 -.2 -.3
    assert clean.min_dcf == {0.01: 0.0, 0.5: 0.0}
    assert mix.min_dcf[0.01] == 1.0
    assert len(measure(lists[:1])) == 1  # nothing to take together


def test_what_cannot_be_measured(root: Path) -> None:
    lists, _ = run(root, "clean.txt")
    with pytest.raises(ConfigError, match="p_target is 1"):
        measure(lists, (1.0,))
    (root / "same.txt").write_text("1 a/0.wav a/1.wav\n")
    with pytest.raises(NotEnoughDataError, match="same: trials of one label only"):
        measure(run(root, "same.txt")[0])


def test_scores_on_disk(root: Path) -> None:
    lists, _ = run(root, "clean.txt", "mix.txt")
    written = write_scores(root / "out" / "scores", lists)
    assert sorted(path.name for path in written) == [
        *("clean.cosine.tsv", "clean.neural-scoring.tsv", "mix.cosine.tsv", "mix.neural-scoring.tsv")
    ]
    assert sorted(path.name for path in (root / "out" / "scores").iterdir()) == sorted(
        path.name for path in written
    )
    values, targets = read_scores(root / "out" / "scores" / "clean.neural-scoring.tsv")
    np.testing.assert_allclose(values, lists[0].scores["neural-scoring"], atol=1e-6)
    assert targets.tolist() == [True, False, True, False]
    with pytest.raises(InputError, match="cannot be written"):
        write_scores(root / "clean.txt", lists)


def test_wrong_lists(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "clean.txt").write_text("1 a/0.wav a/1.wav\n")
    with pytest.raises(InputError, match="clean: several lists would be called so"):
        run(root, "clean.txt", "sub/clean.txt")
    (root / "bad.txt").write_text("1 a/0.wav\n")
    with pytest.raises(ManifestError, match=r"bad\.txt:1"):
        run(root, "bad.txt")
    (root / "gone.txt").write_text("1 a/0.wav a/9.wav\n0 b/0.wav a/1.wav\n")
    with pytest.raises(AudioError, match=r"a/9\.wav"):
        run(root, "gone.txt")
