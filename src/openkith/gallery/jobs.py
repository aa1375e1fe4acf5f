"""Jobs that take minutes, tuning and calibrating: handed in by anybody, taken by one daemon at a time.

A daemon that takes a job has it for the seconds of its lease, and renews that while it works. When it dies, the
lease runs out, and whoever comes next takes the job up from the start. The daemons' clocks must agree to a few
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from openkith.errors import BusyError, UnknownItemError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_json, unpack_json
from openkith.gallery.people import names_by_id
from openkith.gallery.pseudonyms import hide_names, show_names
from openkith.gallery.store import Gallery

__all__ = ["MOST_CLAIMS", "Job", "Jobs"]

MOST_CLAIMS = 3  # a job whose worker died that often is given up
GIVEN_UP = "its process died three times: look at the daemon's log, then try again"
OPEN = ("waiting", "running")

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Attributes:
        id: Unique in the gallery, never used again.
        kind: ``tune`` or ``calibrate``.
        settings: How it is to be done.
        actor: Who handed it in.
        state: ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
        created: When it was handed in, UTC.
        started: When it was last taken up.
        finished: When it came to an end.
        worker: Who has it, or had it last.
        lease: Until when it is theirs, unless renewed.
        claims: How often it was taken up.
        stage: What is being done.
        done: Of `total` steps.
        total: 0 where nobody knows.
        result: What came of it, once it is done.
        error: Why it failed, in one line; names are present ones.
    """

    id: int
    kind: str
    settings: dict[str, Any]
    actor: str
    state: State
    created: datetime
    started: datetime | None
    finished: datetime | None
    worker: str | None
    lease: datetime | None
    claims: int
    stage: str
    done: int
    total: int
    result: Any
    error: str | None


class Jobs:
    """The jobs of a gallery. They and their progress write no entries of the audit log; what they do may.

    Args:
        gallery: What they work on.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._database = gallery.database

    def submit(self, kind: str, settings: Mapping[str, Any], *, actor: str = "") -> Job:
        """Hand in a job.

        Args:
            kind: ``tune`` or ``calibrate``.
            settings: Plain JSON values; people stand here as ids, never as names.
            actor: Who does it.

        Raises:
            BusyError: Another one of the kind is waiting or running.
            GalleryError: The settings are no plain values.
        """
        table = schema.jobs
        values = {
            "kind": kind,
            "settings": pack_json(dict(settings), "job: settings"),
            "actor": actor,
            "state": "waiting",
            "created": queries.now(),
        }
        other = (
            select(table.c.id, table.c.state).where(table.c.kind == kind, table.c.state.in_(OPEN)).limit(1)
        )
        with self._database.write() as connection:
            busy = connection.execute(other).one_or_none()
            if busy is not None:
                raise BusyError(f"job {busy.id}, {kind}, is {busy.state} already: let it end, or cancel it")
            return _read(connection, queries.insert_row(connection, table, **values))

    def claim(self, worker: str, lease_seconds: float) -> Job | None:
        """Take the oldest job that waits, or whose worker let the lease run out.

        One whose workers died `MOST_CLAIMS` times fails instead.

        Args:
            worker: A name that no other process has.
            lease_seconds: For how long, unless renewed.

        Returns:
            The job, which starts anew; None where there is none to be had.
        """
        table = schema.jobs
        with self._database.read() as connection:
            if connection.execute(select(table.c.id).where(_free(queries.now())).limit(1)).scalar() is None:
                return None  # without taking the lock of writers: daemons ask often
        with self._database.write() as connection:
            while True:
                time = queries.now()
                query = select(table).where(_free(time)).order_by(table.c.id).limit(1)
                row = connection.execute(query).one_or_none()
                if row is None:
                    return None
                if row.claims >= MOST_CLAIMS:
                    values = {"state": "failed", "finished": time, "lease": None, "error": GIVEN_UP}
                else:
                    values = {
                        "state": "running",
                        "claims": row.claims + 1,
                        "started": time,
                        "worker": worker,
                        "lease": time + timedelta(seconds=lease_seconds),
                        "stage": "",
                        "done": 0,
                        "total": 0,
                    }
                connection.execute(update(table).where(table.c.id == row.id).values(values))
                if row.claims < MOST_CLAIMS:
                    return _read(connection, row.id)

    def renew(
        self, job_id: int, worker: str, lease_seconds: float, stage: str = "", done: int = 0, total: int = 0
    ) -> bool:
        """Keep a job for longer, and say how far it is.

        Args:
            job_id: The job.
            worker: Who has it.
            lease_seconds: From now.
            stage: What is being done; never a name.
            done: Of `total` steps.
            total: 0 where nobody knows.

        Returns:
            False where it was cancelled, or another worker has it by now: then stop.
        """
        lease = queries.now() + timedelta(seconds=lease_seconds)
        values = {"lease": lease, "stage": stage, "done": done, "total": total}
        return self._update_own(job_id, worker, values)

    def finish(self, job_id: int, worker: str, result: Any) -> bool:
        """The job is done.

        Args:
            job_id: The job.
            worker: Who has it.
            result: A plain JSON value; people stand here as ids, never as names.

        Returns:
            False where it was cancelled, or another worker has it by now: then nothing is written.

        Raises:
            GalleryError: The result is no plain value.
        """
        text = pack_json(result, f"job {job_id}: result")
        return self._end(job_id, worker, {"state": "done", "result": text})

    def fail(self, job_id: int, worker: str, error: str) -> bool:
        """The job failed, for this reason, in which names of people may stand; returns what `finish` does."""
        with self._database.read() as connection:
            ids = {name: number for number, name in names_by_id(connection).items()}
        return self._end(job_id, worker, {"state": "failed", "error": hide_names(error, ids)})

    def give_back(self, job_id: int, worker: str) -> bool:
        """Let a job wait for another worker, as a daemon does that ends in good order; False as in `finish`."""
        values = {
            "state": "waiting",
            "claims": schema.jobs.c.claims - 1,
            "lease": None,
            "stage": "",
            "done": 0,
            "total": 0,
        }
        return self._update_own(job_id, worker, values)

    def cancel(self, job_id: int) -> Job:
        """End a job that waits or runs; its worker learns of it by `renew`. One that has ended stays as it is.

        Raises:
            UnknownItemError: There is no such job.
        """
        table = schema.jobs
        values = {"state": "cancelled", "finished": queries.now(), "lease": None}
        with self._database.write() as connection:
            is_open = (table.c.id == queries.known_id(job_id), table.c.state.in_(OPEN))
            connection.execute(update(table).where(*is_open).values(values))
            return _read(connection, job_id)

    def get(self, job_id: int) -> Job:
        """A job.

        Raises:
            UnknownItemError: There is no such job.
        """
        with self._database.read() as connection:
            return _read(connection, job_id)

    def list(self, limit: int = 50) -> list[Job]:
        """The latest jobs, newest first."""
        table = schema.jobs
        query = select(table).order_by(table.c.id.desc()).limit(min(max(limit, 0), queries.LARGEST_ID))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            names = names_by_id(connection) if rows else {}
        return [_job_of(row, names) for row in rows]

    def purge(self, before: datetime) -> int:
        """Delete the jobs that ended before a moment; returns how many there were."""
        table = schema.jobs
        old = and_(table.c.state.not_in(OPEN), table.c.finished < before)
        with self._database.read() as connection:
            if connection.execute(select(table.c.id).where(old).limit(1)).scalar() is None:
                return 0  # without taking the lock of writers
        with self._database.write() as connection:
            return connection.execute(delete(table).where(old)).rowcount

    def _end(self, job_id: int, worker: str, values: dict[str, Any]) -> bool:
        return self._update_own(job_id, worker, values | {"finished": queries.now(), "lease": None})

    def _update_own(self, job_id: int, worker: str, values: dict[str, Any]) -> bool:
        """Write to a job that this worker has; False where that one does not."""
        with self._database.write() as connection:
            changed = connection.execute(update(schema.jobs).where(_own(job_id, worker)).values(values))
        return changed.rowcount == 1


def _free(time: datetime) -> ColumnElement[bool]:
    """Jobs that may be taken at this moment."""
    table = schema.jobs
    return or_(table.c.state == "waiting", and_(table.c.state == "running", table.c.lease < time))


def _own(job_id: int, worker: str) -> ColumnElement[bool]:
    """The job, as long as this worker has it: also with a lease that ran out, if nobody took it."""
    table = schema.jobs
    return and_(table.c.id == queries.known_id(job_id), table.c.state == "running", table.c.worker == worker)


def _read(connection: Connection, job_id: int) -> Job:
    """The job of that number; raises UnknownItemError."""
    query = select(schema.jobs).where(schema.jobs.c.id == queries.known_id(job_id))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise UnknownItemError(f"there is no job {job_id}: GET /v1/jobs lists those that are")
    return _job_of(row, {} if row.error is None else names_by_id(connection))


def _job_of(row: Any, names: Mapping[int, str]) -> Job:
    remedy = "restore a copy of the gallery"
    result = row.result and unpack_json(row.result, f"job {row.id}: result", "do it again")
    return Job(
        id=row.id,
        kind=row.kind,
        settings=unpack_json(row.settings, f"job {row.id}", remedy),
        actor=row.actor,
        state=row.state,
        created=row.created,
        started=row.started,
        finished=row.finished,
        worker=row.worker,
        lease=row.lease,
        claims=row.claims,
        stage=row.stage,
        done=row.done,
        total=row.total,
        result=result,
        error=row.error and show_names(row.error, names),
    )
