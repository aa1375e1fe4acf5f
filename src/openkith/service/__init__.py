"""The daemon: the library over HTTP, without any logic of its own.

Every route is one call of the library::

    settings         how the daemon runs
    app              create_app: all of this put together
    daemon           what the routes share: stores, threads, processes
    server           listening, TLS, and stopping without dropping what runs
    routes           one module for each kind of thing that is asked for
    schemas          what goes in and comes out, for validation and OpenAPI
    envelope, gate, bodies, idempotency    what each request passes, from the outside in
    auth, limits     who may do what, and how much of it
    problems         errors as RFC 9457 Problem Details
    uploads          recordings in a request
    decision_writer  keeps each decision before it is told
    job_runner, job_worker    tuning and calibrating, in a process of their own
    metrics          for Prometheus
    files, reference the web page, and the page about the API

It needs the extra ``service``: fastapi, uvicorn, python-multipart and prometheus-client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openkith.errors import require
from openkith.service.settings import ServiceSettings

if TYPE_CHECKING:
    from openkith.service.app import create_app

__all__ = ["ServiceSettings", "create_app"]


def __getattr__(name: str) -> Any:
    """`create_app`, imported when it is asked for: the settings need none of the packages of a server."""
    if name == "create_app":
        for package in ("fastapi", "python_multipart", "prometheus_client"):
            require(package, "service", "the daemon")
        from openkith.service.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
