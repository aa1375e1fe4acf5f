"""Tuning and calibrating, which go on in the background, and how far they are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from openkith.gallery.jobs import Job
from openkith.openset.model import check_method
from openkith.service.auth import Caller, needs
from openkith.service.daemon import Daemon, DaemonDep
from openkith.service.job_worker import shown
from openkith.service.plain import plain
from openkith.service.schemas import PROBLEM_RESPONSES, CalibrateBody, Id, JobList, JobOut, TuneBody

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["jobs"], responses=PROBLEM_RESPONSES)

LOOK_SECONDS = 0.5  # between looks at a job
QUIET_SECONDS = 15.0  # after which a comment keeps the connection open
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "end"]},
        "data": {"type": "string", "description": "The job, as JSON."},
    },
}
OPEN = ("waiting", "running")

Reader = Annotated[Caller, Depends(needs("read"))]
Enroller = Annotated[Caller, Depends(needs("enrol"))]
Admin = Annotated[Caller, Depends(needs("admin"))]


@router.post("/tune", status_code=202, response_model=JobOut)
def tune(response: Response, daemon: DaemonDep, caller: Enroller, body: TuneBody | None = None) -> Any:
    """Learn a head for the people enrolled, in the background; identify goes on with the one before."""
    settings = body or TuneBody()
    check_method(settings.method, speech=True)
    return _submit(daemon, "tune", settings.model_dump(), caller, response)


@router.post("/calibrate", status_code=202, response_model=JobOut)
def calibrate(response: Response, daemon: DaemonDep, caller: Admin, body: CalibrateBody | None = None) -> Any:
    """Set the false-accept rates, in the background."""
    settings = (body or CalibrateBody()).model_dump(exclude_none=True)
    return _submit(daemon, "calibrate", settings, caller, response)


@router.get("/jobs", response_model=JobList)
def list_jobs(
    daemon: DaemonDep,
    caller: Reader,  # noqa: ARG001
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Any:
    """The latest jobs, newest first."""
    return {"jobs": [_shown(daemon, job) for job in daemon.jobs.list(limit)]}


@router.get("/jobs/{job_id}", response_model=JobOut)
def show_job(job_id: Id, daemon: DaemonDep, caller: Reader) -> Any:  # noqa: ARG001
    """A job."""
    return _shown(daemon, daemon.jobs.get(job_id))


@router.delete("/jobs/{job_id}", response_model=JobOut)
def cancel_job(job_id: Id, daemon: DaemonDep, caller: Enroller) -> Any:  # noqa: ARG001
    """Cancel a job that waits or runs; one that has ended stays as it is."""
    return _shown(daemon, daemon.jobs.cancel(job_id))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
async def follow_job(job_id: Id, daemon: DaemonDep, caller: Reader) -> StreamingResponse:  # noqa: ARG001
    """How far a job is, as server-sent events: ``progress`` with the job, ``end`` with the last of it."""
    await run_in_threadpool(daemon.jobs.get, job_id)  # 404 before anything is sent
    return StreamingResponse(_events(daemon, job_id), media_type="text/event-stream")


async def _events(daemon: Daemon, job_id: int) -> AsyncIterator[str]:
    told, last = "", time.monotonic()
    while not daemon.closing.is_set():
        job = await run_in_threadpool(lambda: _shown(daemon, daemon.jobs.get(job_id)))
        text = json.dumps(job, allow_nan=False)
        ended = job["state"] not in OPEN
        if text != told or ended:
            yield f"event: {'end' if ended else 'progress'}\ndata: {text}\n\n"
            told, last = text, time.monotonic()
        elif time.monotonic() - last > QUIET_SECONDS:
            yield ": still here\n\n"
            last = time.monotonic()
        if ended:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _submit(
    daemon: Daemon, kind: str, settings: dict[str, Any], caller: Caller, response: Response
) -> dict[str, Any]:
    job = daemon.jobs.submit(kind, settings, actor=caller.actor)
    daemon.wake_jobs()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _shown(daemon, job)


def _shown(daemon: Daemon, job: Job) -> dict[str, Any]:
    """A job with the present names."""
    kept = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "stage": job.stage,
        "done": job.done,
        "total": job.total,
        "result": None if job.result is None else shown(job.result, daemon.gallery),
        "error": job.error,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
    }
    result: dict[str, Any] = plain(kept)
    return result
