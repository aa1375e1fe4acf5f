"""What was answered to whom: the history of identify, verify and stream, which knows people by number only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import delete, func, select

from openkith.errors import ConfigError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_json, unpack_json
from openkith.gallery.people import names_by_id
from openkith.gallery.pseudonyms import SOMEBODY, display_name, hide_names, show_names
from openkith.gallery.records import RESERVED_NAME
from openkith.gallery.store import Gallery

__all__ = ["DecisionLog", "DecisionRecord", "HeardRecord", "MadeDecision", "NewDecision"]

KEPT_PROBABILITIES = 5  # of the likeliest people
DIGITS = 4  # of a probability that is kept
SEVERAL_AMONG = (
    10_000  # decisions, the newest ones, that `last_heard` searches for recordings of several voices
)
_HEARD = '{"heard": [{%'  # how the detail of a decision begins that heard several people


class MadeDecision(Protocol):
    """A decision, as `openkith.openset` makes them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        ...


@dataclass(frozen=True, eq=False)
class NewDecision:
    """A decision to be kept.

    Attributes:
        decision: The decision, or what its ``to_dict`` gave.
        kind: ``identify``, ``verify`` or ``stream``.
        people: The number of everybody it can name, by name, as they were when it was made.
        actor: Who asked.
        warnings: What else was noticed; by default those of the decision itself.
        time: When it was made, UTC.
    """

    decision: MadeDecision | Mapping[str, Any]
    kind: str
    people: Mapping[str, int]
    actor: str = ""
    warnings: Sequence[str] = ()
    time: datetime = field(default_factory=queries.now)


@dataclass(frozen=True)
class HeardRecord:
    """One of several voices: whose (by number, and the present name), how likely, and when in seconds."""

    person_id: int
    name: str
    probability: float
    times: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DecisionRecord:
    """A decision that was kept. Names are present ones; who is gone is "person 3".

    Attributes:
        id: Larger than those of all decisions before.
        time: When it was made, UTC.
        kind: ``identify``, ``verify`` or ``stream``.
        actor: Who asked.
        status: ``known``, ``unsure`` or ``unknown``.
        person_id: Of the name given, guessed or claimed; None where there is none.
        name: Theirs.
        probability: Of the name, or of "unknown".
        probabilities: Of the likeliest people and of "unknown".
        seconds: Of speech.
        method: The back end that scored.
        reason: Why, in words.
        several: Whether more than one voice was heard.
        heard: Who was, where there were several.
        warnings: What else was noticed, for example an exact replay.
    """

    id: int
    time: datetime
    kind: str
    actor: str
    status: str
    person_id: int | None
    name: str | None
    probability: float
    probabilities: dict[str, float]
    seconds: float
    method: str
    reason: str
    several: bool
    heard: tuple[HeardRecord, ...]
    warnings: tuple[str, ...]


class DecisionLog:
    """The decisions of a gallery. No entry of the audit log is written for them: this is the log of them.

    Args:
        gallery: Whose people they name.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._database = gallery.database

    def add(
        self,
        decision: MadeDecision | Mapping[str, Any],
        *,
        kind: str,
        people: Mapping[str, int],
        actor: str = "",
        warnings: Sequence[str] = (),
    ) -> int:
        """Keep a decision; returns its number. See `NewDecision` for the arguments, `add_many` for errors."""
        return self.add_many([NewDecision(decision, kind, people, actor, warnings)])[0]

    def add_many(self, decisions: Sequence[NewDecision]) -> list[int]:
        """Keep several decisions in one transaction; returns their numbers.

        Raises:
            ConfigError: A decision lacks a field.
            GalleryError: The database fails.
        """
        rows = [_row_of(new) for new in decisions]
        if not rows:
            return []
        with self._database.write() as connection:
            return [queries.insert_row(connection, schema.decisions, **row) for row in rows]

    def page(
        self,
        limit: int = 50,
        before: int | None = None,
        status: str | None = None,
        person_id: int | None = None,
    ) -> list[DecisionRecord]:
        """The latest decisions, newest first.

        Args:
            limit: At most so many.
            before: Only those before the decision of this number: the last one of the page before.
            status: Only these.
            person_id: Only those that name, guess or were asked about this person.
        """
        table = schema.decisions
        query = select(table).order_by(table.c.id.desc()).limit(min(max(limit, 0), queries.LARGEST_ID))
        if before is not None:
            query = query.where(table.c.id < min(max(before, 0), queries.LARGEST_ID))
        if status is not None:
            query = query.where(table.c.status == status)
        if person_id is not None:
            query = query.where(table.c.person_id == queries.known_id(person_id))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            names = names_by_id(connection) if rows else {}
        return [_record_of(row, names) for row in rows]

    def last_heard(self) -> dict[int, datetime]:
        """When each person was last recognised, by number; those who never were are left out.

        A recording of several voices counts for all who were heard in it where it is among the newest 10 000
        decisions, and for the likeliest one only where it is older.
        """
        table, people = schema.decisions, schema.people
        known = table.c.status == "known"
        # a look at the end of the index for each person, where a maximum would read all rows
        latest = (
            select(table.c.time)
            .where(known, table.c.person_id == people.c.id)
            .order_by(table.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        named = select(people.c.id, latest.label("time"))
        newest = select(func.max(table.c.id)).scalar_subquery()
        several = select(table.c.id, table.c.time, table.c.detail).where(
            known, table.c.detail.like(_HEARD), table.c.id > newest - SEVERAL_AMONG
        )
        with self._database.read() as connection:
            last = {row.id: row.time for row in connection.execute(named) if row.time is not None}
            rows = connection.execute(several).all()
            present = names_by_id(connection) if rows else {}
        for row in rows:
            for heard in _unpack(row)["heard"]:
                number = heard["id"]
                if number in present and (number not in last or last[number] < row.time):
                    last[number] = row.time
        return last

    def purge(self, before: datetime) -> int:
        """Delete the decisions made before a moment; returns how many there were."""
        old = schema.decisions.c.time < before
        with self._database.read() as connection:
            if connection.execute(select(schema.decisions.c.id).where(old).limit(1)).scalar() is None:
                return 0  # without taking the lock of writers
        with self._database.write() as connection:
            return connection.execute(delete(schema.decisions).where(old)).rowcount


def _row_of(new: NewDecision) -> dict[str, Any]:
    """The row of a decision, people as numbers."""
    values = new.decision if isinstance(new.decision, Mapping) else new.decision.to_dict()
    try:
        probabilities: Mapping[str, float] = values["probabilities"]
        heard: Sequence[Mapping[str, Any]] = values["heard"]
        named = {*probabilities, *(person["name"] for person in heard), values["name"]}
        # whoever is named and has no number was forgotten or renamed meanwhile: the name is not kept either
        ids = {name: new.people.get(name, SOMEBODY) for name in named - {None, RESERVED_NAME}}
        numbers = {**new.people, **ids}
        warnings = new.warnings or values.get("warnings", ())
        detail = {
            "probabilities": _likeliest(probabilities, ids),
            "several": bool(values["several"]),
            "warnings": [hide_names(warning, numbers) for warning in warnings],
        }
        if heard:
            detail["heard"] = [
                {
                    "id": ids[person["name"]],
                    "probability": round(float(person["probability"]), DIGITS),
                    "times": [[float(start), float(end)] for start, end in person["times"]],
                }
                for person in heard
            ]
        return {
            "time": new.time,
            "actor": new.actor,
            "kind": new.kind,
            "status": values["status"],
            "person_id": ids.get(values["name"]) or None,
            "probability": float(values["probability"]),
            "seconds": float(values["speech_seconds"]),
            "method": values["method"],
            "reason": hide_names(values["reason"], numbers),
            "detail": pack_json(detail, "decision"),
        }
    except KeyError as error:
        raise ConfigError(f"a decision has no field {error}: give what Decision.to_dict() gives") from error


def _likeliest(probabilities: Mapping[str, float], ids: Mapping[str, int]) -> dict[str, float]:
    """Probabilities of the likeliest people, by number, and of "unknown"."""
    people = sorted((name for name in probabilities if name in ids), key=lambda name: -probabilities[name])
    kept: dict[str, float] = {}
    for name in people[:KEPT_PROBABILITIES]:
        number = str(ids[name])  # several may be somebody
        kept[number] = kept.get(number, 0.0) + probabilities[name]
    if RESERVED_NAME in probabilities:
        kept[RESERVED_NAME] = probabilities[RESERVED_NAME]
    return {key: round(float(value), DIGITS) for key, value in kept.items()}


def _by_name(probabilities: Mapping[str, float], names: Mapping[int, str]) -> dict[str, float]:
    """What `_likeliest` kept, the likeliest person first and "unknown" last."""
    numbers = sorted(
        (key for key in probabilities if key != RESERVED_NAME), key=lambda key: -probabilities[key]
    )
    people = {display_name(int(key), names): probabilities[key] for key in numbers}
    return people | {key: probabilities[key] for key in probabilities if key == RESERVED_NAME}


def _unpack(row: Any) -> dict[str, Any]:
    detail: dict[str, Any] = unpack_json(row.detail, f"decision {row.id}", "restore a copy of the gallery")
    return detail


def _record_of(row: Any, names: Mapping[int, str]) -> DecisionRecord:
    """The record of a row, with present names."""
    detail = _unpack(row)
    return DecisionRecord(
        id=row.id,
        time=row.time,
        kind=row.kind,
        actor=row.actor,
        status=row.status,
        person_id=row.person_id,
        name=None if row.person_id is None else display_name(row.person_id, names),
        probability=float(row.probability),
        probabilities=_by_name(detail["probabilities"], names),
        seconds=float(row.seconds),
        method=row.method,
        reason=show_names(row.reason, names),
        several=detail["several"],
        heard=tuple(
            HeardRecord(
                heard["id"],
                display_name(heard["id"], names),
                heard["probability"],
                tuple((start, end) for start, end in heard["times"]),
            )
            for heard in detail.get("heard", ())
        ),
        warnings=tuple(show_names(warning, names) for warning in detail["warnings"]),
    )
