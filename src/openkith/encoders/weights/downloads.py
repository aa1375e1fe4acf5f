"""One file from a URL: resumed where it broke off, checked, and under its name only when it is whole.

What has come so far is kept beside the file as ``NAME.partial``; with it, what the server said the version was, so
that two versions are never joined. Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``).
"""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from openkith.errors import WeightsError

__all__ = ["ATTEMPTS", "Progress", "download", "file_sha256", "open_url"]

Progress = Callable[
    [str, int, int], None
]  # what is being done, bytes that are here, bytes in all (0: unknown)

ATTEMPTS = 5  # in a row that bring nothing new
PAUSE_SECONDS = 0.5  # before the second attempt; doubled before each further one
TIMEOUT_SECONDS = 60.0  # of silence
CHUNK_BYTES = 1 << 18
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another in a moment
_PAGE = "text/html"
_AGENT = "openkith"


@dataclass(frozen=True)
class _Partial:
    """What has come of a file so far, and the version that it is of."""

    target: Path

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.partial")

    @property
    def version_path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.partial.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str:
        return self.version_path.read_text(encoding="utf-8") if self.version_path.is_file() else ""

    def begin(self, version: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self.version_path.write_text(version, encoding="utf-8")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.version_path.unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Fetch a file; its SHA-256.

    Args:
        url: http or https.
        target: Where it goes; its folder is made where there is none.
        sha256: What its digest must be, where it is known.
        size: Its length in bytes, where it is known.
        progress: Called with what is being done, bytes that are here and bytes in all.

    Raises:
        WeightsError: The server has no such file or does not answer, the file comes incomplete or is another than
            was asked for, or cannot be written.
    """
    partial = _Partial(target)
    try:
        _complete(url, partial, sha256, size, progress)
        found = file_sha256(partial.path)
        if sha256 is not None and found != sha256.lower():
            partial.drop()
            raise WeightsError(
                f"{url} has SHA-256 {found[:12]}..., not the expected {sha256[:12]}..., and is not used; "
                "it was changed there or on the way"
            )
        partial.path.replace(target)
        partial.drop()
    except OSError as error:
        raise WeightsError(
            f"{target.parent}: cannot write the weights there ({error.strerror or error}); "
            "set KITH_MODELS to another folder"
        ) from error
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_url(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """The server's answer, open for reading.

    Raises:
        WeightsError: It refuses for good, as for a file that it does not have.
        OSError, http.client.HTTPException: No answer, or one that may be another in a moment.
    """
    request = urllib.request.Request(
        url, headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **(headers or {})}
    )
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in _AGAIN or error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            remedy = "check the name" if error.code == HTTPStatus.NOT_FOUND else "it needs rights to be read"
            raise WeightsError(f"{url}: the server says {error.code} {error.reason}; {remedy}") from error


def _complete(
    url: str, partial: _Partial, sha256: str | None, size: int | None, progress: Progress | None
) -> None:
    """Fetch until all is there, in as many answers as it takes while each brings something new."""
    best, failures, reason = partial.size, 0, ""
    if size is not None and partial.size == size:
        return  # all but its name: an earlier process was stopped just then
    while failures < ATTEMPTS:
        if failures:
            time.sleep(PAUSE_SECONDS * 2.0 ** (failures - 1))
        try:
            total = _attempt(url, partial, sha256, progress)
        except (_NetworkError, http.client.HTTPException) as error:
            reason = str(error)
        else:
            whole = size if size is not None else total
            if whole is None or partial.size == whole:
                return
            if partial.size > whole:
                partial.drop()
                raise WeightsError(f"{url} is longer than the {whole} bytes it should have, and is not used")
            reason = f"it broke off after {partial.size} of {whole} bytes"
        failures = 0 if partial.size > best else failures + 1
        best = max(best, partial.size)
    raise WeightsError(
        f"{url} cannot be fetched ({reason}); try again when the network is well: it goes on from there"
    )


class _NetworkError(Exception):
    """The connection, not the disk."""


def _attempt(url: str, partial: _Partial, sha256: str | None, progress: Progress | None) -> int | None:
    """Add what one answer brings; the length of the whole file in bytes, where the server says it."""
    here, version = partial.size, partial.version
    headers = {}
    # Without a version, only a digest can tell that the rest is of the same file.
    if here and (version or sha256 is not None):
        headers = {"Range": f"bytes={here}-", **({"If-Range": version} if version else {})}
    try:
        answer = open_url(url, headers)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.drop()
        raise _NetworkError(f"the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _NetworkError(str(error.reason)) from error
    except OSError as error:
        raise _NetworkError(str(error)) from error
    with answer:
        if answer.headers.get_content_type() == _PAGE and Path(partial.target).suffix not in {
            ".html",
            ".htm",
        }:
            raise WeightsError(f"{url}: the server sent a page for a browser, not a file; check the address")
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        start, total = _range(answer.headers.get("Content-Range", "")) if resumed else (0, None)
        if start != (here if resumed else 0):
            partial.drop()
            raise _NetworkError("the server sent another part than was asked for")
        if not resumed:
            partial.begin(_version(answer.headers))
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
        with partial.path.open("ab") as file:
            while chunk := _read(answer):
                file.write(chunk)
                if progress:
                    progress(f"fetching {partial.target.name}", file.tell(), total or 0)
    return total


def _version(headers: Mapping[str, str]) -> str:
    """What a later request can name as the version that it goes on with; a weak tag will not do."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _read(answer: Any) -> bytes:
    try:
        return bytes(answer.read(CHUNK_BYTES))
    except OSError as error:
        raise _NetworkError(str(error)) from error


def _range(text: str) -> tuple[int, int | None]:
    """First byte and length of the whole of ``bytes 5-9/10``; -1 for what is not such a text."""
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        return -1, None
    return int(first), int(whole) if whole.isdigit() else None
