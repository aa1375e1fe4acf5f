"""What a report is made of: scored runs, in groups, and what became of each probe."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openkith.errors import InputError
from openkith.metrics import OpenSetMetrics

UNKNOWN = -1
BASELINE = "cosine"
AUTO = "auto"


class ScoredRun(Protocol):
    """One manifest scored by one method with one seed: p probes, C enrolled people, n enrolment clips."""

    @property
    def manifest(self) -> str:
        """Name of the manifest."""

    @property
    def method(self) -> str:
        """The method that was asked for, for example ``cosine`` or ``auto``."""

    @property
    def chosen(self) -> str:
        """What ``auto`` chose; else the method."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def names(self) -> tuple[str, ...]:
        """(C,) enrolled people."""

    @property
    def labels(self) -> NDArray[Any]:
        """(p,) index of each probe's speaker in the names, or -1 for a stranger."""

    @property
    def scores(self) -> NDArray[Any]:
        """(p, C) natural-log likelihood ratios."""

    @property
    def probabilities(self) -> NDArray[Any]:
        """(p, C + 1) probability of each person; the last column is that of "unknown"."""

    @property
    def statuses(self) -> tuple[str, ...]:
        """(p,) ``known``, ``unsure`` or ``unknown``."""

    @property
    def decided(self) -> tuple[str | None, ...]:
        """(p,) the name given; None for ``unknown``, and for ``unsure`` if the guess is not told."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """(p,) why, in words."""

    @property
    def seconds(self) -> NDArray[Any]:
        """(p,) seconds of speech."""

    @property
    def probes(self) -> tuple[str, ...]:
        """(p,) file and cut."""

    @property
    def truth(self) -> tuple[str, ...]:
        """(p,) who really speaks, of strangers too."""

    @property
    def threshold(self) -> float:
        """Log-likelihood ratio that the best person must reach."""

    @property
    def far(self) -> float:
        """Share of strangers that the threshold was set to let through."""

    @property
    def embeddings(self) -> NDArray[Any]:
        """(p, d) of the probes."""

    @property
    def enrolment_embeddings(self) -> NDArray[Any]:
        """(n, d) of the enrolment clips."""

    @property
    def enrolment_labels(self) -> NDArray[Any]:
        """(n,) index of each enrolment clip's speaker in the names."""

    @property
    def metrics(self) -> OpenSetMetrics:
        """The metrics of the run."""

    @property
    def tune_seconds(self) -> float:
        """Time of enrolment, tuning and calibration."""

    @property
    def score_seconds(self) -> float:
        """Time of scoring all probes."""


class Outcome(enum.Enum):
    """What became of a probe: a mark, and words that need no colour."""

    WRONG_NAME = ("✗", "wrong name")
    NAMED_STRANGER = ("✗", "stranger named")
    MISSED = ("✗", "not recognised")
    UNSURE = ("?", "unsure")
    UNSURE_STRANGER = ("?", "unsure of a stranger")
    RIGHT_NAME = ("✓", "right name")
    REFUSED = ("✓", "stranger refused")

    @property
    def mark(self) -> str:
        """A sign: right, wrong, or neither."""
        return self.value[0]

    @property
    def words(self) -> str:
        """The same in words."""
        return self.value[1]


def outcomes(run: ScoredRun) -> tuple[Outcome, ...]:
    """What became of each probe, in their order."""
    return tuple(
        _outcome(status, given, None if label == UNKNOWN else run.names[label])
        for status, given, label in zip(run.statuses, run.decided, run.labels, strict=True)
    )


def _outcome(status: str, given: str | None, own: str | None) -> Outcome:
    if status == "unsure":
        return Outcome.UNSURE if own is not None else Outcome.UNSURE_STRANGER
    if own is None:
        return Outcome.REFUSED if status == "unknown" else Outcome.NAMED_STRANGER
    if status == "unknown":
        return Outcome.MISSED
    return Outcome.RIGHT_NAME if given == own else Outcome.WRONG_NAME


def guesses(run: ScoredRun) -> NDArray[np.intp]:
    """(p,) column of the name given, of the most probable person if ``unsure`` came without a name, or C for none."""
    columns = {name: column for column, name in enumerate(run.names)}
    likeliest = np.argmax(run.probabilities[:, :-1], axis=1)
    return np.array(
        [
            len(columns) if status == "unknown" else best if given is None else columns[given]
            for status, given, best in zip(run.statuses, run.decided, likeliest, strict=True)
        ],
        dtype=np.intp,
    )


def margins(run: ScoredRun) -> NDArray[np.float64]:
    """(p,) best score less the next person's, in nats; NaN where one person is enrolled."""
    if run.scores.shape[1] < 2:
        return np.full(len(run.scores), np.nan)
    two = np.sort(np.asarray(run.scores, dtype=np.float64), axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):  # two equal infinities
        return np.asarray(two[:, 1] - two[:, 0])


@dataclass(frozen=True)
class MethodRuns:
    """The runs of one method on one manifest, one per seed; the first is the one that is drawn."""

    method: str
    runs: tuple[ScoredRun, ...]

    @property
    def first(self) -> ScoredRun:
        """The run whose figures and decisions are shown."""
        return self.runs[0]

    @property
    def label(self) -> str:
        """The method, and what it chose."""
        chosen = sorted({run.chosen for run in self.runs} - {self.method})
        return f"{self.method} ({', '.join(chosen)})" if chosen else self.method

    def values(self, field: str) -> NDArray[np.float64]:
        """(seeds,) a field of the metrics, or else of the run."""
        found = [getattr(run.metrics, field, None) for run in self.runs]
        if None in found:
            found = [getattr(run, field) for run in self.runs]
        return np.array(found, dtype=np.float64)

    def mean(self, field: str) -> float:
        """Mean over seeds; NaN if it is not defined for one of them."""
        return float(np.mean(self.values(field)))

    def counts(self) -> Counter[Outcome]:
        """How many probes of the first run had which outcome."""
        return Counter(outcomes(self.first))


@dataclass(frozen=True)
class Section:
    """All runs on one manifest: the baseline first, else as they came."""

    manifest: str
    methods: tuple[MethodRuns, ...]

    @property
    def focus(self) -> MethodRuns:
        """The method that the section is about: ``auto``, else the last."""
        return next((m for m in self.methods if m.method == AUTO), self.methods[-1])

    @property
    def n_seeds(self) -> int:
        """The largest number of seeds of a method."""
        return max(len(m.runs) for m in self.methods)


def group(runs: Sequence[ScoredRun]) -> tuple[Section, ...]:
    """Check the runs and group them by manifest, then by method.

    Raises:
        InputError: There are none, one has no probes or nobody enrolled, shapes do not fit, NaN scores or
            embeddings, or an unknown status or name.
    """
    if not runs:
        raise InputError("runs: none to report; score at least one manifest")
    manifests: dict[str, dict[str, list[ScoredRun]]] = {}
    for run in runs:
        _check(run)
        manifests.setdefault(run.manifest, {}).setdefault(run.method, []).append(run)
    return tuple(
        Section(
            manifest,
            tuple(
                MethodRuns(method, tuple(sorted(of_method, key=lambda run: run.seed)))
                for method, of_method in sorted(methods.items(), key=lambda item: item[0] != BASELINE)
            ),
        )
        for manifest, methods in manifests.items()
    )


def _check(run: ScoredRun) -> None:
    where = f"run {run.method!r} on {run.manifest!r}"
    p, people = len(run.probes), len(run.names)
    if not p or not people:
        raise InputError(f"{where}: {p} probes of {people} people; a report needs at least one of each")
    shapes = {
        "labels": (p,),
        "scores": (p, people),
        "probabilities": (p, people + 1),
        "seconds": (p,),
        "embeddings": (p, np.shape(run.embeddings)[-1]),
        "enrolment_embeddings": (len(run.enrolment_labels), np.shape(run.embeddings)[-1]),
        **dict.fromkeys(("statuses", "decided", "reasons", "truth"), (p,)),
    }
    for field, expected in shapes.items():
        value = getattr(run, field)
        found = np.shape(value) if isinstance(value, np.ndarray) else (len(value),)
        if found != expected:
            raise InputError(f"{where}: field {field!r} has shape {found}; give {expected}")
    for field, least in (("labels", UNKNOWN), ("enrolment_labels", 0)):
        values = getattr(run, field)
        wrong = values[(values < least) | (values >= people)]
        if wrong.size:
            raise InputError(f"{where}: field {field!r} holds {wrong[0]}; give {least} to {people - 1}")
    if np.isnan(run.scores).any():
        raise InputError(f"{where}: field 'scores' has NaN; give numbers or infinities")
    for field in ("embeddings", "enrolment_embeddings"):
        if not np.isfinite(getattr(run, field)).all():
            raise InputError(f"{where}: field {field!r} has NaN or infinities; give finite numbers")
    strange = set(run.statuses) - {"known", "unsure", "unknown"}
    if strange:
        raise InputError(f"{where}: status {min(strange)!r}; give known, unsure or unknown")
    strange = {name for name in run.decided if name is not None} - set(run.names)
    if strange:
        raise InputError(f"{where}: decided for {min(strange)!r}, who is not enrolled; give enrolled names")
