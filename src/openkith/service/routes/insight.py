"""How well people can be told apart, and what a threshold would cost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.plain import plain
from openkith.service.schemas import PROBLEM_RESPONSES, QualityOut, SeparabilityOut

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["quality"], responses=PROBLEM_RESPONSES)

Reader = Annotated[Caller, Depends(needs("read"))]


@router.get("/separability", response_model=SeparabilityOut)
async def separability(daemon: DaemonDep, caller: Reader) -> Any:  # noqa: ARG001
    """Which people could pass for each other, and clips that disagree with their person's others."""

    def look() -> dict[str, Any]:
        found = daemon.recognizer.separability()
        ids = {person.name: person.id for person in daemon.gallery.people()}
        shown: dict[str, Any] = plain(
            {
                "names": found.names,
                "ids": [ids.get(name) for name in found.names],
                "matrix": found.shares,
                "findings": found.findings,
            }
        )
        return shown

    async with daemon.looking.slot():
        return await daemon.looking.run(look)


@router.get("/quality", response_model=QualityOut)
async def quality(daemon: DaemonDep, caller: Reader) -> Any:  # noqa: ARG001
    """Scores and errors on held-out clips, before and after tuning, and what each threshold would cost."""
    async with daemon.looking.slot():
        curves = await daemon.looking.run(daemon.recognizer.error_curves)
    return plain(curves.to_dict())
