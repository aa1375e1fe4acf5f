"""What tuning and calibrating found out: the method, what it is expected to cost, and what no threshold mends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openkith.openset.decision import RIVAL_SHARE
from openkith.openset.model import AUTO, FALLBACK, HeldOutErrors, OpenSetModel
from openkith.scoring.calibration import Calibration, HeldOutScores

__all__ = [
    "CalibrationReport",
    "Finding",
    "Separability",
    "TuneReport",
    "confusions",
    "find_problems",
    "limits",
    "why",
]

CONFUSED_SHARE = 0.25  # of two people's held-out clips that could pass for the other one's
CONFUSED_QUANTILE = (
    0.998  # of the cohort's scores; above it a half of an only clip could pass for another person's
)
ODD_LLR = 0.0  # a held-out clip below it is more like a stranger than like the person
ODD_MARGIN = 3.0  # nats by which a held-out clip is more like another person


@dataclass(frozen=True)
class Finding:
    """Something about the enrolled people that no threshold mends.

    Attributes:
        kind: "alike" (two people cannot be told apart well) or "odd-clip" (a clip disagrees with its person's others).
        names: The people.
        clip: The gallery's number of the clip, for "odd-clip".
        text: The finding in words.
    """

    kind: str
    names: tuple[str, ...]
    clip: int | None
    text: str


@dataclass(frozen=True)
class TuneReport:
    """What tuning gave.

    Attributes:
        method: The method in use from now on.
        enhancer: Fingerprint of the enhancer that embeddings go through first; None where there is none.
        asked: The method that was asked for.
        errors: Held-out error rates of every method that was tried.
        kept: Why this method, in words.
        calibration: Thresholds, and what they are expected to cost.
        findings: People too alike, and clips that disagree.
    """

    method: str
    enhancer: str | None
    asked: str
    errors: dict[str, HeldOutErrors]
    kept: str
    calibration: Calibration
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: a rate that is not defined is None."""
        errors = {
            name: {key: None if math.isnan(rate) else rate for key, rate in asdict(rates).items()}
            for name, rates in self.errors.items()
        }
        return {**asdict(self), "errors": errors}


@dataclass(frozen=True)
class CalibrationReport:
    """What calibrating gave.

    Attributes:
        method: The back end that is calibrated.
        calibration: Thresholds, and what they are expected to cost.
        basis: How each person was held out, by name: "clips", "crops", "cohort" or "none" (see `HeldOutScores`).
        notes: What limits the numbers, in words.
        findings: People too alike, and clips that disagree.
    """

    method: str
    calibration: Calibration
    basis: dict[str, str]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Separability:
    """How well people can be told apart.

    Attributes:
        names: The C people.
        shares: (C, C) see `confusions`.
        findings: People too alike, and clips that disagree.
    """

    names: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def why(model: OpenSetModel) -> str:
    """Why the method in use is in use."""
    rates = ", ".join(f"{name} {errors.mean:.1%}" for name, errors in model.errors.items())
    if model.asked != AUTO:
        return f"{model.label}, as asked; held-out errors: {rates}"
    if len(model.errors) == 1:
        return (
            f"{model.method}: without a cohort for this encoder there is nothing to tune with; run: kith cohort build "
            "DIR --encoder NAME, or give clips of other people with --unknown DIR"
        )
    if model.method == FALLBACK:
        return f"cosine with AS-norm stays: the tuned head was clearly worse on held-out clips ({rates})"
    if all(model.errors[model.label].mean <= errors.mean for errors in model.errors.values()):
        return f"the tuned head wins on held-out clips ({rates})"
    return f"the tuned head stays: it was not clearly worse on held-out clips ({rates})"


def limits(calibration: Calibration, names: Sequence[str]) -> list[str]:
    """What limits the numbers of a calibration, a sentence each."""
    notes = []
    if calibration.extrapolated:
        rate = min(calibration.far, calibration.verify_far)
        notes.append(
            f"{calibration.unknown_clips} clips of other people cannot show a rate of {rate:.2%}: the threshold is "
            "extrapolated from the tail of their scores; give more with --background DIR"
        )
    for basis, text in (
        ("crops", "calibrated from two halves of the only clip; a second clip makes it honest"),
        ("cohort", "one short clip: calibrated from how other people's clips vary; record a second one"),
        (
            "none",
            "one short clip, and nothing to calibrate it from: the rates are a guess; record a second one",
        ),
        ("shipped", "calibrated on mixtures of other people's voices, not on their own clips"),
    ):
        people = [name for name, kind in zip(names, calibration.basis, strict=True) if kind == basis]
        if people:
            notes.append(f"{', '.join(people)}: {text}")
    return notes


def confusions(held_out: HeldOutScores, calibration: Calibration) -> npt.NDArray[np.float64]:
    """Which share of the held-out clips of two people could pass for the other one's: (C, C), symmetric.

    On the diagonal stands the share of a person's own clips that get their name; 0 where none was held out.

    Args:
        held_out: Scores of held-out clips; the degraded copies do not count.
        calibration: Of these scores.
    """
    rows, labels, llrs, own, by_clips = _recorded(held_out, calibration)
    # Too close to call, as a decision would say; and not merely unlike both, as a stranger's clip is.
    passes = (llrs > own[:, None] + np.log(RIVAL_SHARE)) & (llrs >= ODD_LLR)
    if len(held_out.unknown) and not by_clips.all():
        # Two halves of one recording are more like each other than two recordings of one person ever are.
        scores = held_out.known[rows[~by_clips]]
        passes[~by_clips] |= scores >= np.quantile(held_out.unknown, CONFUSED_QUANTILE, axis=0)
    n_people = len(held_out.basis)
    counts = np.zeros((n_people, n_people))
    np.add.at(counts, labels, passes)
    clips = np.bincount(labels, minlength=n_people)
    shares: npt.NDArray[np.float64] = (counts + counts.T) / np.maximum(clips[:, None] + clips, 1)
    named = (llrs.argmax(axis=1) == labels) & (own >= calibration.threshold) if len(rows) else rows
    np.fill_diagonal(shares, np.bincount(labels, named, minlength=n_people) / np.maximum(clips, 1))
    return shares


def _recorded(held_out: HeldOutScores, calibration: Calibration) -> tuple[Any, Any, Any, Any, Any]:
    """Of the m held-out clips as recorded.

    Returns:
        Rows (m,), labels (m,), ratios (m, C), ratios (m,) for their own person, and (m,) whether the person was held
        out clip by clip.
    """
    rows = np.flatnonzero(~held_out.copies)
    labels = held_out.labels[rows]
    conditions = held_out.known_conditions[rows] if held_out.has_conditions else None
    llrs = calibration.llr(held_out.known[rows], conditions)
    by_clips = np.array([basis == "clips" for basis in held_out.basis], np.bool_)[labels]
    return rows, labels, llrs, llrs[np.arange(len(rows)), labels], by_clips


def find_problems(
    held_out: HeldOutScores, calibration: Calibration, names: Sequence[str], clip_ids: Sequence[int]
) -> tuple[Finding, ...]:
    """People too close to be told apart, and clips that disagree with the person's others.

    Both are judged on clips as recorded that were scored without having been learned from.

    Args:
        held_out: Scores of held-out clips.
        calibration: Of these scores.
        names: The C people.
        clip_ids: The gallery's number of each enrolment clip, which ``held_out.clips`` is an index into.
    """
    rows, labels, llrs, own, by_clips = _recorded(held_out, calibration)
    shares = confusions(held_out, calibration)
    alike = (shares > CONFUSED_SHARE) & ~np.eye(len(names), dtype=np.bool_)
    findings = []
    for a, b in np.argwhere(np.triu(alike, 1)).tolist():
        text = (
            f"{names[a]} and {names[b]} sound too alike to be told apart surely: {shares[a, b]:.0%} of their clips "
            "could pass for the other one's"
        )
        findings.append(Finding("alike", (names[a], names[b]), None, text))
    others = np.where(alike[labels], -np.inf, llrs)
    others[np.arange(len(rows)), labels] = -np.inf
    nearest = others.max(axis=1)
    odd = by_clips & ((own < ODD_LLR) | (nearest > own + ODD_MARGIN))
    for row in np.flatnonzero(odd).tolist():
        name, clip = names[labels[row]], int(clip_ids[held_out.clips[rows[row]]])
        hint = (
            f" but like {names[int(np.argmax(others[row]))]}" if nearest[row] > max(own[row], ODD_LLR) else ""
        )
        text = (
            f"clip {clip} of {name} does not sound like the others{hint}: listen to it, and if it is not {name}: "
            f"kith drop-clip {name} {clip}"
        )
        findings.append(Finding("odd-clip", (name,), clip, text))
    return tuple(findings)
