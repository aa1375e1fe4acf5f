"""What enhancement does to scores and distances: those of before and of after, side by side.

Scores are cosines of the trials of test lists. Distances are of pairs of one speaker's utterances: from one recording,
and across recordings. The two kinds lie apart because a recording leaves its mark on an embedding; that they come to
lie as one is what the adaptation losses are after (DA+CS with 1 - cosine, DA+MSE with the RMS difference).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.config import from_dict
from openkith.errors import InputError, NotEnoughDataError
from openkith.metrics import eer

__all__ = [
    "ANALYSIS",
    "Analysis",
    "Histograms",
    "PairDistances",
    "TrialScores",
    "compare_distances",
    "compare_scores",
    "read_analysis",
    "write_analysis",
]

ANALYSIS = "analysis.json"
BINS = 60
_MOST_FOR_MMD = 2000  # pairs of a speaker, whose differences are a matrix

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Histograms:
    """Counts of two kinds of numbers in the same bins, before and after.

    Attributes:
        edges: (k + 1) ends of the bins; what lies beyond is in the outermost.
        before, after: Kind to (k) counts.
    """

    edges: list[float]
    before: dict[str, list[int]]
    after: dict[str, list[int]]


@dataclass(frozen=True)
class TrialScores:
    """The trials of a test list.

    Attributes:
        name: Of the list.
        trials: How many.
        targets: How many of them are of one speaker.
        eer_before, eer_after: Equal error rates.
        scores: Of kinds ``same`` and ``different``.
    """

    name: str
    trials: int
    targets: int
    eer_before: float
    eer_after: float
    scores: Histograms


@dataclass(frozen=True)
class Spread:
    """Some numbers in short.

    Attributes:
        mean, deviation: Theirs.
    """

    mean: float
    deviation: float


@dataclass(frozen=True)
class PairDistances:
    """Distances of pairs of one speaker's utterances by one measure.

    Attributes:
        measure: ``1 - cosine`` or ``RMS difference``.
        same_recording, cross_recording: How many pairs of each kind.
        before, after: Kind, ``same_recording`` or ``cross_recording``, to how they lie.
        mmd_before, mmd_after: Squared MMD between the two kinds, the mean over speakers who have both; sigma as below.
        sigma: Of its kernel.
        distances: Of the two kinds.
    """

    measure: str
    same_recording: int
    cross_recording: int
    before: dict[str, Spread]
    after: dict[str, Spread]
    mmd_before: float
    mmd_after: float
    sigma: float
    distances: Histograms


@dataclass(frozen=True)
class Analysis:
    """What an enhancer does.

    Attributes:
        enhancer: Its fingerprint.
        checkpoint: The checkpoint it is of, where the training has not ended; else empty.
        scores: Of each test list.
        distances: By each measure; empty where there is no pair.
    """

    enhancer: str
    checkpoint: str
    scores: tuple[TrialScores, ...]
    distances: tuple[PairDistances, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare_scores(
    name: str, same_speaker: npt.NDArray[np.bool_], before: Floats, after: Floats
) -> TrialScores:
    """The trials of a list before and after.

    Args:
        name: Of the list.
        same_speaker: (t,) whether a trial is of one speaker.
        before, after: (t,) scores.

    Raises:
        NotEnoughDataError: All trials are of one kind.
    """
    if same_speaker.all() or not same_speaker.any():
        raise NotEnoughDataError(f"{name}: trials of one kind only; give a list with both")
    kinds = {"same": same_speaker, "different": ~same_speaker}
    return TrialScores(
        name=name,
        trials=len(same_speaker),
        targets=int(same_speaker.sum()),
        eer_before=eer(before[same_speaker], before[~same_speaker]),
        eer_after=eer(after[same_speaker], after[~same_speaker]),
        scores=_histograms(kinds, before, after),
    )


def compare_distances(
    measure: str,
    speakers: npt.NDArray[np.integer[Any]],
    same_recording: npt.NDArray[np.bool_],
    before: Floats,
    after: Floats,
    sigma: float = 1.0,
) -> PairDistances:
    """Pairs of one speaker's utterances before and after.

    Args:
        measure: Name of the distance.
        speakers: (p,) whose each pair is.
        same_recording: (p,) whether it is of one recording.
        before, after: (p,) distances.
        sigma: Of the kernel of the MMD.
    """
    kinds = {"same_recording": same_recording, "cross_recording": ~same_recording}
    there = {name: mask for name, mask in kinds.items() if mask.any()}
    return PairDistances(
        measure=measure,
        same_recording=int(same_recording.sum()),
        cross_recording=int((~same_recording).sum()),
        before={name: _spread(before[mask]) for name, mask in there.items()},
        after={name: _spread(after[mask]) for name, mask in there.items()},
        mmd_before=_mmd(before, same_recording, speakers, sigma),
        mmd_after=_mmd(after, same_recording, speakers, sigma),
        sigma=sigma,
        distances=_histograms(there, before, after),
    )


def write_analysis(run: str | Path, analysis: Analysis) -> Path:
    """Keep an analysis in the folder of its training; it appears whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    path = Path(run) / ANALYSIS
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            temporary.write_text(json.dumps(analysis.to_dict()) + "\n", "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free space there"
        ) from error
    return path


def read_analysis(run: str | Path) -> Analysis | None:
    """The analysis that is kept in a folder of a training; None where there is none.

    Raises:
        InputError: It is damaged.
    """
    path = Path(run) / ANALYSIS
    if not path.is_file():
        return None
    try:
        return from_dict(Analysis, json.loads(path.read_text("utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); make it again with: kith enhance analyse") from error


def _histograms(kinds: Mapping[str, npt.NDArray[np.bool_]], before: Floats, after: Floats) -> Histograms:
    low, high = _limits((before, after))
    edges = np.linspace(low, high, BINS + 1)
    counts = [
        {
            name: np.histogram(np.clip(values[mask], low, high), edges)[0].tolist()
            for name, mask in kinds.items()
        }
        for values in (before, after)
    ]
    return Histograms(edges.tolist(), *counts)


def _limits(values: Sequence[Floats]) -> tuple[float, float]:
    """Ends of bins that hold nearly all numbers."""
    ends = np.array([np.quantile(each, [0.0005, 0.9995]) for each in values])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    room = 0.02 * (high - low) or 0.01
    return low - room, high + room


def _spread(values: Floats) -> Spread:
    return Spread(float(np.mean(values, dtype=np.float64)), float(np.std(values, dtype=np.float64)))


def _mmd(
    distances: Floats,
    same_recording: npt.NDArray[np.bool_],
    speakers: npt.NDArray[np.integer[Any]],
    sigma: float,
) -> float:
    """The mean over speakers who have pairs of both kinds; NaN where nobody has."""
    order = np.argsort(speakers, kind="stable")
    starts = np.flatnonzero(np.diff(speakers[order], prepend=-1))
    found = []
    for rows in np.split(order, starts[1:]):
        own, kind = distances[rows[:_MOST_FOR_MMD]], same_recording[rows[:_MOST_FOR_MMD]]
        if kind.all() or not kind.any():
            continue
        weights = np.where(kind, 1.0 / kind.sum(), -1.0 / (~kind).sum())
        kernel = np.exp(-((own[:, None] - own[None]) ** 2) / (2.0 * sigma**2))
        found.append(float(weights @ kernel @ weights))
    return float(np.mean(found)) if found else float("nan")
