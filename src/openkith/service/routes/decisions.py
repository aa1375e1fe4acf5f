"""What was answered, and what was written: the history and the audit log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.plain import plain
from openkith.service.schemas import LARGEST_ID, PROBLEM_RESPONSES, AuditPage, DecisionPage

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["history"], responses=PROBLEM_RESPONSES)

Reader = Annotated[Caller, Depends(needs("read"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Only what came before this number.")]


@router.get("/decisions", response_model=DecisionPage)
def list_decisions(
    daemon: DaemonDep,
    caller: Reader,  # noqa: ARG001
    limit: Limit = 50,
    before: Before = None,
    status: Literal["known", "unsure", "unknown", ""] = "",
    speaker_id: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> Any:
    """What was answered, newest first, with reasons."""
    found = daemon.decisions.page(limit, before, status or None, speaker_id)
    entries = [
        {
            "id": record.id,
            "time": record.time,
            "kind": record.kind,
            "status": record.status,
            "speaker_id": record.person_id,
            "name": record.name,
            "probability": record.probability,
            "seconds": record.seconds,
            "method": record.method,
            "reason": record.reason,
            "actor": record.actor,
            "warnings": record.warnings,
        }
        for record in found
    ]
    return plain({"decisions": entries, "next": found[-1].id if len(found) == limit else None})


@router.get("/audit", response_model=AuditPage)
def list_writes(daemon: DaemonDep, caller: Admin, limit: Limit = 50, before: Before = None) -> Any:  # noqa: ARG001
    """Every write to the gallery, newest first: who, when and what, never a voice print."""
    return plain({"entries": daemon.gallery.audit(limit, before)[::-1]})
