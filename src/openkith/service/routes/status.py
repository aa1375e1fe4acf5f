"""How the daemon stands, for the page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from openkith import __version__
from openkith.gallery.api_keys import SCOPES
from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.plain import plain
from openkith.service.schemas import PROBLEM_RESPONSES, StatusOut

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["operations"], responses=PROBLEM_RESPONSES)


@router.get("/status", response_model=StatusOut)
def status(daemon: DaemonDep, caller: Annotated[Caller, Depends(needs("read"))]) -> Any:
    """Encoder, method, rates and limits, and what the caller may do."""
    standing, review = daemon.recognizer.standing(), daemon.review.settings
    return plain(
        {
            "version": __version__,
            "encoder": daemon.recognizer.encoder.name,
            **standing.to_dict(),
            "people": len(daemon.gallery.people()),
            "review": {"keep": review.keep, "days": review.days},
            "limits": {
                "max_bytes": daemon.settings.max_bytes,
                "max_seconds": daemon.settings.max_seconds,
            },
            "scopes": [scope for scope in SCOPES if caller.may(scope)],
        }
    )
