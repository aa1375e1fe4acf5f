"""Recordings in a request: a multipart form of one or many, or the body itself. All of it stays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from openkith.service import problems
from openkith.service.bodies import body_of
from openkith.service.problems import ProblemError

__all__ = ["UPLOAD_BODY", "Upload", "read_upload", "read_uploads"]

MOST_PARTS = 100
LONGEST_NAME = 100
RAW_TYPES = {"application/octet-stream", "application/ogg", "video/webm", "video/mp4"}
PARTIAL_HEADER_BYTES = 4096
PARAMETERS = "a recording (any format: WAV, FLAC, Ogg, MP3, M4A, WebM)"


@dataclass(frozen=True)
class Upload:
    """One recording as it came.

    Attributes:
        data: Its bytes.
        name: That the client gave it, for people to read: it is never used as a path.
    """

    data: bytes
    name: str


def UPLOAD_BODY(field: str, *, many: bool = False) -> dict[str, Any]:  # noqa: N802  (a constant but for the field)
    """The request body of an upload, for OpenAPI."""
    binary: dict[str, Any] = {"type": "string", "format": "binary", "description": PARAMETERS}
    part: dict[str, Any] = {"type": "array", "items": binary, "minItems": 1} if many else binary
    form = {"type": "object", "required": [field], "properties": {field: part}}
    raw = {"schema": {"type": "string", "format": "binary"}}
    content = {"multipart/form-data": {"schema": form}, "audio/wav": raw, "application/octet-stream": raw}
    return {"requestBody": {"required": True, "content": content}}


def read_upload(request: Request, field: str) -> Upload:
    """The one recording of a request.

    Raises:
        ProblemError: 415 for another content type; 422 where there is none, or more than one.
    """
    uploads = read_uploads(request, field)
    if len(uploads) > 1:
        raise ProblemError(problems.INVALID, f"{len(uploads)} recordings; send one in {field!r}", field)
    return uploads[0]


def read_uploads(request: Request, field: str) -> list[Upload]:
    """The recordings of a request, one or more.

    Args:
        request: Whose body was read by `openkith.service.bodies`.
        field: Of the multipart form.

    Raises:
        ProblemError: 415 for another content type; 422 where there is none, or the form is malformed.
    """
    content_type = request.headers.get("content-type", "")
    kind, body = content_type.partition(";")[0].strip().lower(), body_of(request.scope)
    if kind == "multipart/form-data":
        uploads = _parts(content_type, body, field)
    elif kind.startswith("audio/") or kind in RAW_TYPES:
        uploads = [Upload(body, f"upload.{_clean(kind.partition('/')[2])}")]
    else:
        raise ProblemError(
            problems.WRONG_TYPE,
            f"send the recording as the body with Content-Type: audio/wav (or application/octet-stream ...), or as "
            f"{field!r} of multipart/form-data",
        )
    if not uploads:
        raise ProblemError(problems.INVALID, f"the form has no field {field!r} with a recording", field)
    for upload in uploads:
        if not upload.data:
            raise ProblemError(
                problems.UNUSABLE_AUDIO, f"{upload.name}: empty (0 bytes); record it again", field
            )
    return uploads


def _parts(content_type: str, body: bytes, field: str) -> list[Upload]:
    _, options = parse_options_header(content_type)
    collected = _Form(field)
    try:
        parser = MultipartParser(options[b"boundary"], collected.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (KeyError, ValueError, FormParserError) as error:
        raise ProblemError(problems.BAD_REQUEST, "the multipart body is malformed; send it again") from error
    if not collected.ended:
        raise ProblemError(problems.BAD_REQUEST, "the multipart body ends too early; send it again")
    return collected.uploads


class _Form:
    """Collects the parts of one field."""

    def __init__(self, field: str) -> None:
        self.uploads: list[Upload] = []
        self.ended = False
        self._field = field.encode()
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []
        self._seen = 0

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._seen += 1
        if self._seen > MOST_PARTS:
            raise ProblemError(
                problems.TOO_LARGE, f"more than {MOST_PARTS} parts; send them in several requests"
            )
        self._headers, self._data = {}, []

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > PARTIAL_HEADER_BYTES:
            raise ProblemError(problems.BAD_REQUEST, "a part of the multipart body has an endless header")

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") == self._field:
            name = options.get(b"filename", b"").decode("utf-8", "replace")
            self.uploads.append(Upload(b"".join(self._data), _clean(name) or "upload"))

    def _finish(self) -> None:
        self.ended = True


def _clean(name: str) -> str:
    """The last part of a name that a client gave, of letters that can be seen."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[-LONGEST_NAME:].strip()
