"""Neural scoring on trial lists, beside cosine of its own enrolment model.

Lists are those of VoxCeleb or of `openkith.data.simulation`, one for each scenario. Over all of them together one
threshold holds: this is the paper's overall error rate.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openkith.audio.io import load
from openkith.data.trials import Trial, read_trials
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import eer, min_dcf
from openkith.neural_scoring.scorer import NeuralScorer

__all__ = ["METHODS", "OVERALL", "ListScores", "Measured", "evaluate_lists", "measure", "write_scores"]

METHODS = ("cosine", "neural-scoring")
OVERALL = "overall"
P_TARGET = (0.01,)  # priors of a target at which detection costs are told
SCORE_COLUMNS = ("enrol", "test", "score", "label")

Doubles = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class ListScores:
    """Scores of a trial list.

    Attributes:
        name: Of the list, its file's stem.
        trials: As they stand in it.
        scores: Method, one of `METHODS`, to scores (n,): cosines, or log odds.
    """

    name: str
    trials: tuple[Trial, ...]
    scores: dict[str, Doubles]

    @property
    def targets(self) -> npt.NDArray[np.bool_]:
        """Whether the enrolled person talks, (n,)."""
        return np.array([trial.target for trial in self.trials])


@dataclass(frozen=True)
class Measured:
    """Error rates of one method on one list, or on all together.

    Attributes:
        trials_of: The list's name, or `OVERALL`.
        method: One of `METHODS`.
        trials, targets: How many.
        eer: Equal error rate, a fraction.
        min_dcf: Prior of a target to the smallest normalised detection cost, costs 1.
    """

    trials_of: str
    method: str
    trials: int
    targets: int
    eer: float
    min_dcf: dict[float, float]


def evaluate_lists(
    scorer: NeuralScorer,
    lists: Sequence[str | Path],
    root: str | Path,
    *,
    cosine: bool = True,
    progress: Progress | None = None,
) -> tuple[ListScores, ...]:
    """Score trial lists. Every file is read once, though several lists name it.

    Args:
        scorer: With encoders of its own, or given one.
        lists: Files of lines ``label enrol_path test_path``.
        root: The folder that their paths are relative to.
        cosine: Also between embeddings of both sides, by the scorer's enrolment encoder.
        progress: Called with what is being done, files done, files in all.

    Raises:
        InputError: Two lists have one name.
        ManifestError: A list is malformed.
        AudioError: A file cannot be read.
    """
    root = Path(root)
    paths = [Path(each) for each in lists]
    names = [path.stem for path in paths]
    for name in names:
        if names.count(name) > 1 or name == OVERALL:
            raise InputError(f"{name}: several lists would be called so; rename one")
    loaded = [read_trials(path) for path in paths]
    enrolled = dict.fromkeys(trial.enrol for trials in loaded for trial in trials)
    tested: dict[str, list[tuple[int, int]]] = {}
    for number, trials in enumerate(loaded):
        for place, trial in enumerate(trials):
            tested.setdefault(trial.test, []).append((number, place))
    total, done = len(enrolled) + len(tested), 0

    def tell(text: str) -> None:
        if progress is not None:
            progress(text, done, total)

    embeddings: dict[str, npt.NDArray[np.float32]] = {}
    for path in enrolled:
        embeddings[path] = scorer.enrol([load(root / path)])[0]
        done += 1
        tell("enrolling")
    methods = METHODS if cosine else METHODS[1:]
    scores = [{method: np.zeros(len(trials)) for method in methods} for trials in loaded]
    for path, places in tested.items():
        clip = load(root / path)
        asked = np.stack([embeddings[loaded[number][place].enrol] for number, place in places])
        found = {"neural-scoring": scorer.log_odds(asked, scorer.frames(clip))}
        if cosine:
            own = embeddings[path] if path in embeddings else scorer.enrol([clip])[0]
            found["cosine"] = _cosines(asked, own)
        for method, values in found.items():
            for (number, place), value in zip(places, values, strict=True):
                scores[number][method][place] = value
        done += 1
        tell("listening")
    return tuple(ListScores(*each) for each in zip(names, loaded, scores, strict=True))


def measure(lists: Sequence[ListScores], p_target: Sequence[float] = P_TARGET) -> tuple[Measured, ...]:
    """Error rates of each list, and, of several, of all trials together with one threshold.

    Raises:
        ConfigError: A prior is out of range.
        NotEnoughDataError: A list has not both kinds of trials.
    """
    for prior in p_target:
        if not 0 < prior < 1:
            raise ConfigError(f"p_target is {prior}; give a probability between 0 and 1")
    rows = [
        _measured(each.name, method, each.scores[method], each.targets, p_target)
        for each in lists
        for method in each.scores
    ]
    if len(lists) > 1:
        targets = np.concatenate([each.targets for each in lists])
        for method in lists[0].scores:
            pooled = np.concatenate([each.scores[method] for each in lists])
            rows.append(_measured(OVERALL, method, pooled, targets, p_target))
    return tuple(rows)


def write_scores(folder: str | Path, lists: Iterable[ListScores]) -> list[Path]:
    """Write ``LIST.METHOD.tsv`` for each list and method, with the columns ``enrol test score label``.

    Raises:
        InputError: They cannot be written.
    """
    folder, written = Path(folder), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in lists:
            for method, scores in each.scores.items():
                lines = ["\t".join(SCORE_COLUMNS)] + [
                    f"{trial.enrol}\t{trial.test}\t{score:.9g}\t{trial.target:d}"
                    for trial, score in zip(each.trials, scores, strict=True)
                ]
                path = folder / f"{each.name}.{method}.tsv"
                temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
                temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
                temporary.replace(path)
                written.append(path)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); give another folder"
        ) from error
    return written


def _measured(
    name: str, method: str, scores: Doubles, targets: npt.NDArray[np.bool_], p_target: Sequence[float]
) -> Measured:
    if targets.all() or not targets.any():
        raise NotEnoughDataError(f"{name}: trials of one label only; give a list with both")
    sides = scores[targets], scores[~targets]
    costs = {prior: min_dcf(*sides, p_target=prior) for prior in p_target}
    return Measured(name, method, len(scores), int(targets.sum()), eer(*sides), costs)


def _cosines(asked: npt.NDArray[np.float32], own: npt.NDArray[np.float32]) -> Doubles:
    """Of rows (n, d) with a vector (d,)."""
    x, y = asked.astype(np.float64), own.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y)
    result: Doubles = x @ y / np.maximum(lengths, 1e-12)
    return result
