"""Scores of trials in files, ``enrol test score label``, and the metrics of verification over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from openkith.bulk.tables import replacing
from openkith.data.manifest import read_lines
from openkith.data.trials import trial_fields
from openkith.errors import InputError, ManifestError
from openkith.metrics.sweep import Costs, Sweep

__all__ = [
    "PRIORS",
    "SCORE_COLUMNS",
    "ScoreMetrics",
    "TrialList",
    "TrialScores",
    "measure_scores",
    "read_scores",
    "read_trial_list",
]

SCORE_COLUMNS = ("enrol", "test", "score", "label")
PRIORS = (0.01, 0.1)
"""Priors of a target at which detection costs are told."""
_LABELS = {"0": 0, "1": 1, "nontarget": 0, "target": 1}
_BLOCK = 65_536  # lines written at once

IntArray = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrialList:
    """Trials as numbers: 13 bytes each, and every id once.

    Attributes:
        source: The file.
        names: Ids, in the order in which they first appear.
        enrol, test: (n,) index into ``names``.
        targets: (n,) whether both are of one speaker.
        lines: (n,) line of each in the file, from 1.
    """

    source: Path
    names: tuple[str, ...]
    enrol: IntArray
    test: IntArray
    targets: npt.NDArray[np.bool_]
    lines: IntArray

    def __len__(self) -> int:
        return len(self.targets)

    def line_of(self, name: int) -> int:
        """The first line that has an id."""
        return int(self.lines[np.flatnonzero((self.enrol == name) | (self.test == name))[0]])


@dataclass(frozen=True, eq=False)
class TrialScores:
    """Scores of a list.

    Attributes:
        trials: The list.
        scores: (n,), larger is more likely the same speaker.
    """

    trials: TrialList
    scores: Doubles

    def write(self, out: str | Path | IO[str]) -> None:
        """Write ``enrol test score label`` under a header, to a file that is complete before it has its name.

        Raises:
            InputError: The file cannot be written.
        """
        if isinstance(out, str | Path):
            with replacing(Path(out)) as file:
                self.write(file)
            return
        out.write("\t".join(SCORE_COLUMNS) + "\n")
        for block in self._blocks():
            out.write(block)

    def _blocks(self) -> Iterator[str]:
        trials, names = self.trials, self.trials.names
        for first in range(0, len(trials), _BLOCK):
            part = slice(first, first + _BLOCK)
            columns = (
                each[part].tolist() for each in (trials.enrol, trials.test, self.scores, trials.targets)
            )
            yield "".join(
                f"{names[enrol]}\t{names[test]}\t{score:.9g}\t{target:d}\n"
                for enrol, test, score, target in zip(*columns, strict=True)
            )


@dataclass(frozen=True)
class ScoreMetrics:
    """Metrics of verification; rates and costs are fractions, Cllr is in bits.

    Attributes:
        n_targets, n_nontargets: Trials of one speaker, and of two.
        eer: Equal error rate.
        min_dcf: Prior of a target to the smallest normalised detection cost, costs 1.
        act_dcf: The same at the Bayes threshold; None where the scores are no log-likelihood ratios.
        cllr: Cost of the log-likelihood ratio; None likewise.
        min_cllr: The same after the best monotone calibration.
    """

    n_targets: int
    n_nontargets: int
    eer: float
    min_dcf: dict[float, float]
    act_dcf: dict[float, float] | None
    cllr: float | None
    min_cllr: float

    @property
    def n_trials(self) -> int:
        """All of them."""
        return self.n_targets + self.n_nontargets

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"n_trials": self.n_trials, **asdict(self)}


def read_trial_list(path: str | Path) -> TrialList:
    """Read a trial list, ``label enrol_path test_path``, as `openkith.data.trials.read_trials` does, but as numbers.

    Raises:
        ManifestError: The file or a line of it is wrong; the message names file and line.
    """
    source = Path(path)
    numbers: dict[str, int] = {}
    enrol, test, targets, lines = [], [], [], []
    for target, first, second, number in trial_fields(source):
        enrol.append(numbers.setdefault(first, len(numbers)))
        test.append(numbers.setdefault(second, len(numbers)))
        targets.append(target)
        lines.append(number)
    return TrialList(
        source,
        tuple(numbers),
        np.array(enrol, np.int32),
        np.array(test, np.int32),
        np.array(targets, np.bool_),
        np.array(lines, np.int32),
    )


def read_scores(path: str | Path) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """The scores of a file and whether each is of a target, both (n,).

    A line is ``enrol test score label``, separated by tabs, or by other white space where no id has any; label is 1 or
    target, 0 or nontarget. The header is passed over.

    Raises:
        ManifestError: The file or a line of it is wrong; the message names file, line and field.
    """
    source = Path(path)
    scores: list[float] = []
    targets: list[int] = []
    form = " ".join(SCORE_COLUMNS)
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        if not scores and tuple(fields) == SCORE_COLUMNS:
            continue
        if len(fields) != 4:
            raise ManifestError(f"{source}:{number}: {len(fields)} fields, not 4; a line is '{form}'")
        _, _, score, label = fields
        target = _LABELS.get(label.strip())
        if target is None:
            raise ManifestError(
                f"{source}:{number}: field 'label': {label!r}; give 1 (same speaker) or 0 (different)"
            )
        try:
            value = float(score)
        except ValueError:
            raise ManifestError(f"{source}:{number}: field 'score': {score!r} is not a number") from None
        if value != value:
            raise ManifestError(
                f"{source}:{number}: field 'score': NaN; score that trial again, or remove it"
            )
        scores.append(value)
        targets.append(target)
    if not scores:
        raise ManifestError(f"{source}: no scores; write one trial a line, '{form}'")
    return np.array(scores), np.array(targets, np.bool_)


def measure_scores(
    scores: Doubles,
    targets: npt.NDArray[np.bool_],
    priors: Sequence[float] = PRIORS,
    *,
    llr: bool = False,
    source: str | Path = "scores",
) -> ScoreMetrics:
    """The metrics of scores (n,), sorted once.

    Args:
        scores: Of all trials.
        targets: (n,) whether each is of a target.
        priors: Of a target, for the detection costs.
        llr: Whether the scores are natural-log likelihood ratios, so that actual costs mean something.
        source: What to call them in an error.

    Raises:
        InputError: There are no targets or no nontargets, or a prior is not between 0 and 1.
    """
    for kind, wanted in (("target", True), ("nontarget", False)):
        if not (targets == wanted).any():
            raise InputError(
                f"{source}: no {kind} trials; metrics need targets (label 1) and nontargets (label 0)"
            )
    costs = {prior: Costs(prior, 1.0, 1.0) for prior in priors}
    sweep = Sweep.of(scores[targets], scores[~targets])
    return ScoreMetrics(
        n_targets=int(targets.sum()),
        n_nontargets=int((~targets).sum()),
        eer=sweep.eer(),
        min_dcf={prior: sweep.min_dcf(cost) for prior, cost in costs.items()},
        act_dcf={prior: sweep.actual_dcf(cost) for prior, cost in costs.items()} if llr else None,
        cllr=sweep.cllr() if llr else None,
        min_cllr=sweep.min_cllr(),
    )
