"""The application: routes, and what each request passes before it reaches one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from openkith import __version__
from openkith.recognizer import Recognizer
from openkith.service import problems
from openkith.service.bodies import Bodies
from openkith.service.daemon import Daemon
from openkith.service.envelope import Envelope
from openkith.service.files import page_router
from openkith.service.gate import Gate
from openkith.service.idempotency import Idempotency
from openkith.service.job_worker import WorkerSpec
from openkith.service.reference import install_reference
from openkith.service.routes import ROUTERS
from openkith.service.schemas import ProblemOut
from openkith.service.settings import ServiceSettings

__all__ = ["create_app"]

THREADS = 12  # for what waits for the gallery, whose connections are 15
DESCRIPTION = (
    "Who is speaking: people enrolled from a few clips, and 'unknown' for all others. A voice match is a convenience, "
    "not a lock."
)


def create_app(
    recognizer: Recognizer, settings: ServiceSettings | None = None, *, worker: WorkerSpec | None = None
) -> FastAPI:
    """The daemon as an ASGI application.

    Args:
        recognizer: Whose gallery is served. It stays open when the application ends.
        settings: Default: loopback only.
        worker: How the processes of jobs open the same gallery; None: tuning and calibrating run in a thread of this
            process, which is simpler, and slows other requests down meanwhile.

    Example:
        >>> app = create_app(Recognizer("family.db"))                     # doctest: +SKIP
        >>> uvicorn.run(app, host="127.0.0.1", port=8737)                 # doctest: +SKIP
    """
    settings = settings or ServiceSettings()
    daemon = Daemon(recognizer, settings, worker)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await daemon.start()
        try:
            yield
        finally:
            await daemon.stop()

    app = FastAPI(
        title="openkith",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.daemon = daemon
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(page_router())
    install_reference(app)
    _describe_problems(app)
    # The one added last is the outermost.
    app.add_middleware(Idempotency, answers=daemon.answers)
    app.add_middleware(Bodies, max_bytes=settings.max_bytes)
    app.add_middleware(Gate, keyring=daemon.keyring, settings=settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"],
            expose_headers=["ETag", "Location", "Retry-After", "Idempotency-Replayed"],
        )
    app.add_middleware(
        Envelope,
        metrics=daemon.metrics,
        tls=settings.tls_cert is not None,
        shared=bool(settings.origins),
    )
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the schema that every route's problems refer to into the OpenAPI description."""
    plain_openapi = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            description = plain_openapi()
            schemas = description.setdefault("components", {}).setdefault("schemas", {})
            schemas["ProblemOut"] = ProblemOut.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
