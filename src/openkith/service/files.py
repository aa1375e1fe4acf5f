"""The web page: files of the package, read once. A request's path is looked up in a table, never on the disk."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from openkith.service import problems
from openkith.service.problems import ProblemError

__all__ = ["page_router"]

INDEX = "index.html"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}


@dataclass(frozen=True)
class StaticFile:
    """A file with its type and the ETag of its bytes."""

    body: bytes
    media_type: str
    etag: str


def page_router() -> APIRouter:
    """Routes ``/`` and ``/page/...``."""
    files = {name: _read(file) for name, file in _walk(resources.files("openkith.service") / "page")}
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        """The page."""
        return _serve(files, INDEX, request)

    @router.get("/page/{name:path}")
    async def part(name: str, request: Request) -> Response:
        """What belongs to it."""
        return _serve(files, name, request)

    return router


def _serve(files: dict[str, StaticFile], name: str, request: Request) -> Response:
    file = files.get(name)
    if file is None:
        raise ProblemError(problems.NOT_FOUND, "there is no such file of the page")
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{name}/")
        elif not entry.name.endswith((".py", ".pyc")):
            found.append((name, entry))
    return found


def _read(file: Traversable) -> StaticFile:
    body = file.read_bytes()
    suffix = f".{file.name.rpartition('.')[2]}"
    kind = TYPES.get(suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return StaticFile(body, kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
