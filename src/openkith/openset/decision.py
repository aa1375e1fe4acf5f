"""The answer to "who is this?": known, unsure or unknown, with a probability and a reason a person can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from openkith.scoring.calibration import Calibration

__all__ = ["Decision", "HeardPerson", "decide", "decide_claim", "decide_several", "talking_prior"]

SHORT_SECONDS = 1.0  # with less speech a name or a refusal must be near certain
SHORT_PROBABILITY = 0.9
RIVAL_SHARE = 0.5  # of the best person's probability: a second person that close makes it unsure
SPANS = 3  # of a person, that a reason names

Status = Literal["known", "unsure", "unknown"]


@dataclass(frozen=True)
class HeardPerson:
    """An enrolled person in a recording of several voices.

    Attributes:
        name: The person.
        probability: That the person talks in it.
        times: When, (start, end) in seconds, in order; some tenths of a second off.
    """

    name: str
    probability: float
    times: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Decision:
    """Who speaks.

    Attributes:
        status: "known", "unsure" or "unknown".
        name: The person; for "unsure" the best guess, for "unknown" None; for `verify` always the person claimed.
        probability: Of the name; for "unknown" of that, for `verify` of the claim.
        probabilities: Of every enrolled person and of "unknown"; they sum to 1. Where there are several voices, each
            person's of talking, and "unknown" is that none of them does.
        margin: The probability minus the largest of the others (with several voices: minus that of the contrary);
            below 0 where another answer is likelier.
        speech_seconds: Seconds of speech that the decision stands on.
        reason: Why, in words.
        method: The back end that scored, for example "fusion" or "as-norm".
        score: Natural-log likelihood ratio of the best (or claimed) person.
        threshold: What the score had to reach.
        accepted: Whether a name is given, or the claim holds: the status is "known".
        several: Whether more than one voice was heard (`identify`, with the default encoder).
        heard: With several voices: every enrolled person among them, the likeliest first; empty otherwise.
        warnings: What speaks for a recording that was played again (`openkith.recognizer.replay`); no person is named
            in them, and they change nothing of the answer.
    """

    status: Status
    name: str | None
    probability: float
    probabilities: dict[str, float]
    margin: float
    speech_seconds: float
    reason: str
    method: str
    score: float
    threshold: float
    accepted: bool
    several: bool = False
    heard: tuple[HeardPerson, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        heard = [{**asdict(person), "times": [list(span) for span in person.times]} for person in self.heard]
        return {**asdict(self), "heard": heard, "warnings": list(self.warnings)}


def decide(
    llrs: npt.NDArray[Any],
    names: Sequence[str],
    calibration: Calibration,
    seconds: float,
    method: str,
    note: str = "",
) -> Decision:
    """Identification: ratios (C,) of one probe to a decision.

    Args:
        llrs: Natural-log likelihood ratios, (C,).
        names: The C people.
        calibration: Prior and threshold.
        seconds: Of speech.
        method: The back end.
        note: Said at the end of the reason, for example that the head is stale.
    """
    posterior = calibration.posteriors(llrs[None])[0]
    best = int(np.argmax(llrs))
    name, p, p_unknown = names[best], float(posterior[best]), float(posterior[-1])
    rival = _likeliest_other(posterior, best)
    accepted = bool(llrs[best] >= calibration.threshold)
    status: Status
    if accepted and rival is not None and posterior[rival] > RIVAL_SHARE * p:
        status, reason = "unsure", f"sounds like {name} and like {names[rival]}: too close to call"
    elif accepted and seconds < SHORT_SECONDS and p < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure, most like {name}"
    elif accepted and p < p_unknown:
        status, reason = "unsure", f"like {name}, but somewhat likelier a stranger"
    elif accepted:
        status, reason = "known", f"{name}'s voice, from {seconds:.1f} s of speech"
    elif seconds < SHORT_SECONDS and p_unknown < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure, least unlike {name}"
    elif p > p_unknown:
        status, reason = "unsure", f"more like {name} than like a stranger, but below the threshold"
    else:
        status, reason = "unknown", f"like nobody enrolled; least unlike {name}"
    answer = -1 if status == "unknown" else best
    return Decision(
        status=status,
        name=None if status == "unknown" else name,
        probability=float(posterior[answer]),
        probabilities=_by_name(posterior, names),
        margin=_margin(posterior, answer),
        speech_seconds=seconds,
        reason=f"{reason}; {note}" if note else reason,
        method=method,
        score=float(llrs[best]),
        threshold=calibration.threshold,
        accepted=status == "known",
    )


def decide_claim(
    llrs: npt.NDArray[Any],
    claimed: int,
    names: Sequence[str],
    calibration: Calibration,
    seconds: float,
    method: str,
    note: str = "",
) -> Decision:
    """Verification: is the voice the claimed person's? As `decide`, for the person at index ``claimed``."""
    posterior = calibration.posteriors(llrs[None])[0]
    name, p = names[claimed], float(posterior[claimed])
    rival = _likeliest_other(posterior, claimed)
    better = None if rival is None or posterior[rival] <= p else names[rival]
    accepted = bool(llrs[claimed] >= calibration.verify_threshold)
    status: Status
    if accepted and better:
        status, reason = "unsure", f"sounds like {name}, but more like {better}"
    elif accepted and seconds < SHORT_SECONDS and p < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure that it is {name}"
    elif accepted:
        status, reason = "known", f"{name}'s voice, from {seconds:.1f} s of speech"
    elif seconds < SHORT_SECONDS and p > 1.0 - SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to confirm {name}"
    elif p > posterior[-1] and not better:
        status, reason = "unsure", f"more like {name} than like anybody else, but below the threshold"
    else:
        other = (
            f"more like {better}"
            if better and posterior[-1] < posterior[rival]
            else "more like nobody enrolled"
        )
        status, reason = "unknown", f"not {name}'s voice: {other}"
    return Decision(
        status=status,
        name=name,
        probability=p,
        probabilities=_by_name(posterior, names),
        margin=_margin(posterior, claimed),
        speech_seconds=seconds,
        reason=f"{reason}; {note}" if note else reason,
        method=method,
        score=float(llrs[claimed]),
        threshold=calibration.verify_threshold,
        accepted=status == "known",
    )


def talking_prior(n_people: int, unknown_prior: float) -> float:
    """Prior probability that one of so many enrolled people talks, where two voices do."""
    return min(2.0 * (1.0 - unknown_prior) / n_people, 0.5)


def decide_several(
    llrs: npt.NDArray[Any],
    names: Sequence[str],
    calibration: Calibration,
    seconds: float,
    times: Callable[[npt.NDArray[np.int64]], Sequence[tuple[tuple[float, float], ...]]],
    method: str,
    note: str = "",
) -> Decision:
    """Which of the people enrolled are among several voices; whether one talks says nothing about another.

    Args:
        llrs: Natural-log likelihood ratios (C,) that each talks.
        names: The C people.
        calibration: Prior and threshold.
        seconds: Of speech.
        times: When people talk, given their indices.
        method: The back end.
        note: Said at the end of the reason.
    """
    prior = talking_prior(len(names), calibration.unknown_prior)
    probabilities = 0.5 * (1.0 + np.tanh(0.5 * (llrs + np.log(prior / (1.0 - prior)))))
    order = np.argsort(-llrs, kind="stable")
    passing = order[llrs[order] >= calibration.threshold]
    sure = passing[probabilities[passing] >= 0.5]
    heard = tuple(
        HeardPerson(names[i], float(probabilities[i]), when)
        for i, when in zip(sure, times(sure), strict=True)
    )
    nobody = float(np.prod(1.0 - probabilities))
    best = int(order[0])
    status: Status
    if heard:
        listed = " and ".join(f"{person.name} ({_spans(person.times)})" for person in heard)
        others = "" if len(heard) > 1 else ", with another voice"
        status, reason = "known", f"{listed}{others}, in {seconds:.1f} s of speech of several voices"
    elif len(passing) or probabilities[best] >= 0.5:
        status, reason = "unsure", f"several voices, perhaps {names[best]} among them"
    else:
        status, reason = "unknown", f"several voices, nobody enrolled among them; least unlike {names[best]}"
    p = nobody if status == "unknown" else float(probabilities[best])
    return Decision(
        status=status,
        name=None if status == "unknown" else names[best],
        probability=p,
        probabilities={**dict(zip(names, probabilities.tolist(), strict=True)), "unknown": nobody},
        margin=p - (1.0 - p),
        speech_seconds=seconds,
        reason=f"{reason}; {note}" if note else reason,
        method=method,
        score=float(llrs[best]),
        threshold=calibration.threshold,
        accepted=status == "known",
        several=True,
        heard=heard,
    )


def _spans(times: Sequence[tuple[float, float]]) -> str:
    spans = [f"{start:.1f}-{end:.1f}" for start, end in times[:SPANS]]
    return f"{', '.join(spans)} s{' and on' if len(times) > SPANS else ''}"


def _likeliest_other(posterior: npt.NDArray[Any], index: int) -> int | None:
    """The likeliest person but the one at ``index``; None where there is no other."""
    people = posterior[:-1].copy()
    people[index] = -1.0
    return int(np.argmax(people)) if len(people) > 1 else None


def _margin(posterior: npt.NDArray[Any], index: int) -> float:
    return float(posterior[index] - np.delete(posterior, index).max())


def _by_name(posterior: npt.NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    return dict(zip([*names, "unknown"], posterior.tolist(), strict=True))
