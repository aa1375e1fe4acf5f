"""How a gallery answers at present: by which method, at which rates, and what there is to say of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from openkith.recognizer.roster import Roster
from openkith.scoring.calibration import DEFAULT_FAR, DEFAULT_UNKNOWN_PRIOR

__all__ = ["Standing"]


@dataclass(frozen=True)
class Standing:
    """How a gallery answers.

    Attributes:
        method: The back end; None while nobody is enrolled.
        tuned: Whether a head is in use that knows everybody.
        note: What a decision says of it; may be empty.
        far, verify_far, unknown_prior: As they were set.
        miss: Expected share of the enrolled people's clips that do not get their name; None where nobody knows.
    """

    method: str | None
    tuned: bool
    note: str
    far: float
    verify_far: float
    unknown_prior: float
    miss: float | None

    @classmethod
    def of(cls, roster: Roster) -> Self:
        """While somebody is enrolled."""
        calibration, method = roster.answering(0)
        return cls(
            method=method,
            tuned=not roster.note,
            note=roster.note,
            far=calibration.far,
            verify_far=calibration.verify_far,
            unknown_prior=calibration.unknown_prior,
            miss=calibration.miss.rate,
        )

    @classmethod
    def of_nobody(
        cls,
        note: str,
        *,
        far: float = DEFAULT_FAR,
        verify_far: float | None = None,
        unknown_prior: float = DEFAULT_UNKNOWN_PRIOR,
    ) -> Self:
        """While nobody is, with the rates that were set."""
        return cls(None, False, note, far, far if verify_far is None else verify_far, unknown_prior, None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
