"""Whether the daemon lives and is ready, and its counters."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from openkith.service import problems
from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.metrics import CONTENT_TYPE
from openkith.service.problems import ProblemError
from openkith.service.schemas import PROBLEM_RESPONSES

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: PROBLEM_RESPONSES["default"]})
def readyz(daemon: DaemonDep) -> dict[str, str]:
    """Whether the encoder is loaded and the gallery can be read, with the key that it has now."""
    if not daemon.ready or daemon.closing.is_set():
        raise ProblemError(problems.UNAVAILABLE, daemon.not_ready, headers={"Retry-After": "2"})
    daemon.gallery.database.check_key()
    return {"status": "ready"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **PROBLEM_RESPONSES},
)
def metrics(daemon: DaemonDep, caller: Annotated[Caller, Depends(needs("read"))]) -> Any:  # noqa: ARG001
    """Counters for Prometheus."""
    return Response(daemon.metrics.page(), media_type=CONTENT_TYPE)
