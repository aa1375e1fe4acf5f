"""The answer to "who is this?": known, unsure or unknown, with a probability and a reason a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from openkith.scoring.calibration import Calibration

__all__ = ["Decision", "decide", "decide_claim"]

SHORT_SECONDS = 1.0  # with less speech a name or a refusal must be near certain
SHORT_PROBABILITY = 0.9
RIVAL_SHARE = 0.5  # of the best person's probability: a second person that close makes it unsure

Status = Literal["known", "unsure", "unknown"]


@dataclass(frozen=True)
class Decision:
    """Who speaks.

    Attributes:
        status: "known", "unsure" or "unknown".
        name: The person; for "unsure" the best guess, for "unknown" None; for `verify` always the person claimed.
        probability: Of the name; for "unknown" of that, for `verify` of the claim.
        probabilities: Of every enrolled person and of "unknown"; they sum to 1.
        margin: Probability of the best person minus that of the next best (or of "unknown", if that is next).
        speech_seconds: Seconds of speech that the decision stands on.
        reason: Why, in words.
        method: The back end that scored, for example "fusion" or "as-norm".
        score: Natural-log likelihood ratio of the best (or claimed) person.
        threshold: What the score had to reach.
        accepted: Whether it did: for `verify`, the answer.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


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
    rivals = np.delete(posterior, best)
    rival = int(np.argmax(rivals[:-1])) if len(names) > 1 else -1
    accepted = bool(llrs[best] >= calibration.threshold)
    status: Status
    if accepted and rival >= 0 and rivals[rival] > RIVAL_SHARE * p:
        other = [n for i, n in enumerate(names) if i != best][rival]
        status, reason = "unsure", f"sounds like {name} and like {other}: too close to call"
    elif accepted and seconds < SHORT_SECONDS and p < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure, most like {name}"
    elif accepted:
        status, reason = "known", f"{name}'s voice, from {seconds:.1f} s of speech"
    elif seconds < SHORT_SECONDS and p_unknown < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure, least unlike {name}"
    elif p > p_unknown:
        status, reason = "unsure", f"more like {name} than like a stranger, but below the threshold"
    else:
        status, reason = "unknown", f"like nobody enrolled; least unlike {name}"
    return _decision(
        status, name, best, posterior, names, llrs, calibration.threshold, seconds, reason, method, note
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
    accepted = bool(llrs[claimed] >= calibration.verify_threshold)
    status: Status
    if accepted and seconds < SHORT_SECONDS and p < SHORT_PROBABILITY:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to be sure that it is {name}"
    elif accepted:
        status, reason = "known", f"{name}'s voice, from {seconds:.1f} s of speech"
    elif seconds < SHORT_SECONDS:
        status, reason = "unsure", f"{seconds:.1f} s of speech: too short to confirm {name}"
    else:
        best = int(np.argmax(posterior))
        other = (
            f"more like {names[best]}" if best not in (claimed, len(names)) else "more like nobody enrolled"
        )
        status, reason = "unknown", f"not {name}'s voice: {other}"
    decision = _decision(
        status,
        name,
        claimed,
        posterior,
        names,
        llrs,
        calibration.verify_threshold,
        seconds,
        reason,
        method,
        note,
    )
    return replace(decision, name=name, probability=p)


def _decision(
    status: Status,
    name: str,
    index: int,
    posterior: npt.NDArray[Any],
    names: Sequence[str],
    llrs: npt.NDArray[Any],
    threshold: float,
    seconds: float,
    reason: str,
    method: str,
    note: str,
) -> Decision:
    unknown = status == "unknown"
    return Decision(
        status=status,
        name=None if unknown else name,
        probability=float(posterior[-1] if unknown else posterior[index]),
        probabilities={
            **dict(zip(names, posterior[:-1].tolist(), strict=True)),
            "unknown": float(posterior[-1]),
        },
        margin=float(posterior[index] - np.delete(posterior, index).max()),
        speech_seconds=seconds,
        reason=f"{reason}; {note}" if note else reason,
        method=method,
        score=float(llrs[index]),
        threshold=float(threshold),
        accepted=bool(llrs[index] >= threshold) and status != "unsure",
    )
