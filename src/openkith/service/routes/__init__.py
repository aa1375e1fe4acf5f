"""The routes, one module for each kind of thing that is asked for; `ROUTERS` is all of them."""

from __future__ import annotations

from openkith.service.routes import (
    clips,
    decisions,
    health,
    identify,
    insight,
    jobs,
    review,
    speakers,
    status,
    stream,
)

__all__ = ["ROUTERS"]

ROUTERS = tuple(
    module.router
    for module in (status, speakers, clips, jobs, identify, decisions, review, insight, stream, health)
)
