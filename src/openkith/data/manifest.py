"""Manifests: which clips enrol, which test, and which only teach the head what others sound like.

A manifest is a tab-separated file with the header ``path speaker role start end``; role is enroll, test or
negative; start and end are seconds, empty for the whole file; paths are relative to the manifest. Blank lines
and lines that begin with ``#`` are passed over. A test row whose speaker has no enroll row is an unknown
speaker.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openkith.errors import ManifestError

__all__ = ["ROLES", "UNKNOWN", "Manifest", "Row", "read_manifest", "write_manifest"]

ROLES = ("enroll", "test", "negative")
UNKNOWN = "unknown"
"""The name that decisions give to people who are not enrolled; nobody can be enrolled under it."""

COLUMNS = ("path", "speaker", "role", "start", "end")
REQUIRED_COLUMNS = ("path", "speaker", "role")
COMMENT = "#"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One clip of a manifest.

    Attributes:
        path: The audio file, made absolute.
        speaker: Who speaks, in Unicode's composed form (NFC), since file systems differ in it.
        role: ``"enroll"``, ``"test"`` or ``"negative"``.
        start: Where the clip begins in the file, in seconds; None is the file's beginning.
        end: Where it ends, in seconds; None is the file's end.
        line: Its line in the manifest, from 1; 0 where it was not read from a file. Not compared.

    Raises:
        ManifestError: A field has a value that no manifest can hold.
    """

    path: Path
    speaker: str
    role: str
    start: float | None = None
    end: float | None = None
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        _check_text("path", str(self.path))
        _check_text("speaker", self.speaker)
        # Not Path.resolve(): it asks the disk about every folder of every row.
        object.__setattr__(self, "path", Path(os.path.abspath(self.path)))  # noqa: PTH100
        object.__setattr__(self, "speaker", unicodedata.normalize("NFC", self.speaker))
        if self.role not in ROLES:
            raise ManifestError(f"field 'role': {self.role!r} is unknown; use enroll, test or negative")
        if self.role == "enroll" and self.speaker == UNKNOWN:
            raise ManifestError(
                f"field 'speaker': {UNKNOWN!r} is the name for people who are not enrolled; "
                "enrol this person under another name"
            )
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ManifestError(f"field {name!r}: {value} is not a time; give seconds from 0 up")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ManifestError(
                f"field 'end': {self.end} is not after start {self.start or 0.0}; "
                "give an end after the start, or leave it empty"
            )


@dataclass(frozen=True)
class Manifest:
    """A set of clips with their roles.

    Attributes:
        name: What to call it in tables: the file's name without suffix.
        rows: The clips, in the order of the file.
        source: The file or folder that it came from.

    Raises:
        ManifestError: A clip appears twice, a clip both enrols and tests, or an enrolled speaker is a
            negative as well.
    """

    name: str
    rows: tuple[Row, ...]
    source: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        _check_rows(self.rows, self.source)

    @property
    def enroll(self) -> tuple[Row, ...]:
        """The rows that enrol."""
        return self._of_role("enroll")

    @property
    def test(self) -> tuple[Row, ...]:
        """The rows that are recognised and counted."""
        return self._of_role("test")

    @property
    def negative(self) -> tuple[Row, ...]:
        """The rows of other people, from whom a tuned head may learn."""
        return self._of_role("negative")

    @property
    def speakers(self) -> tuple[str, ...]:
        """The enrolled speakers, sorted."""
        return tuple(sorted({row.speaker for row in self.enroll}))

    @property
    def unknown_speakers(self) -> tuple[str, ...]:
        """The speakers of test rows who are not enrolled, sorted."""
        return tuple(sorted({row.speaker for row in self.test} - set(self.speakers)))

    def check_evaluable(self) -> None:
        """Make sure that there is something to enrol and something to test.

        Raises:
            ManifestError: There are no enroll rows, or no test rows.
        """
        for role in ("enroll", "test"):
            if not self._of_role(role):
                raise ManifestError(
                    f"{self.source}: field 'role': no row is {role!r}; evaluation needs rows that enrol and "
                    f"rows that test, so give some clips the role {role}"
                )

    def _of_role(self, role: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.role == role)


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and check all of it, up to whether each file is there.

    Args:
        path: A UTF-8 file of tab-separated lines, as the module describes.

    Raises:
        ManifestError: The file or a line of it is wrong; the message names file, line, field and remedy.
    """
    source = Path(path)
    lines = [
        (number, line)
        for number, line in enumerate(read_lines(source), start=1)
        if line.strip() and not line.startswith(COMMENT)
    ]
    if not lines:
        raise ManifestError(f"{source}: no lines; begin with the header '{_HEADER_AS_TEXT}'")
    columns = _parse_header(lines[0][1], f"{source}:{lines[0][0]}")
    if len(lines) == 1:
        raise ManifestError(f"{source}: no rows under the header; add one line for each clip")
    folder = source.resolve().parent
    rows = []
    for number, line in lines[1:]:
        try:
            rows.append(_parse_row(line, columns, folder, number))
        except ManifestError as error:
            raise ManifestError(f"{source}:{number}: {error}") from None
    found: set[Path] = set()
    for row in rows:
        # Not Path.is_file(): it raises for a name too long and for a folder without permission.
        if row.path not in found and not os.path.isfile(row.path):  # noqa: PTH113
            raise ManifestError(
                f"{source}:{row.line}: field 'path': no file {row.path}; paths are relative to the manifest"
            )
        found.add(row.path)
    return Manifest(name=source.stem, rows=tuple(rows), source=source)


def write_manifest(path: str | Path, rows: Iterable[Row]) -> None:
    """Write a manifest, with paths relative to it where the file system allows.

    The file is written under a temporary name and renamed, so that no reader meets half of it.

    Args:
        path: The file to write; its folder must exist.
        rows: The clips. Comments of a manifest that was read are not kept.

    Raises:
        ManifestError: The rows contradict each other, or the file cannot be written.
    """
    target = Path(path)
    rows = tuple(rows)
    _check_rows(rows, target)
    folder = target.resolve().parent
    lines = ["\t".join(COLUMNS)]
    for row in rows:
        times = ("" if value is None else repr(float(value)) for value in (row.start, row.end))
        lines.append("\t".join((_relative(row.path, folder), row.speaker, row.role, *times)))
    text = "\n".join(lines) + "\n"
    temporary = folder / f".{target.name}.{uuid.uuid4().hex}"
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(target)
    except (OSError, ValueError) as error:  # UnicodeEncodeError and embedded NUL are ValueErrors
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{target}: cannot write: {reason}; choose another name or folder") from None


_HEADER_AS_TEXT = "<tab>".join(COLUMNS)


def _check_text(name: str, value: str) -> None:
    """Refuse what a cell of a tab-separated file cannot carry there and back."""
    if not value:
        raise ManifestError(f"field {name!r}: empty; every row needs a {name}")
    if value != value.strip(" ") or _CONTROL.search(value):
        raise ManifestError(
            f"field {name!r}: {value!r} has a control character, or a space at either end; rename it"
        )


def read_lines(source: Path) -> list[str]:
    """The lines of a UTF-8 file, with or without byte order mark, ended by LF or CRLF."""
    if source.is_dir():
        raise ManifestError(f"{source}: a folder, not a manifest; read it as a corpus, or give a .tsv file")
    try:
        content = source.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{source}: cannot read: {reason}; check the path") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{source}:{line}: not UTF-8 text; save the file as UTF-8") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _parse_header(line: str, where: str) -> list[str]:
    columns = [cell.strip(" ") for cell in line.split("\t")]
    for position, column in enumerate(columns):
        if column not in COLUMNS or column in columns[:position]:
            problem = "appears twice" if column in columns[:position] else "is not a column of a manifest"
            raise ManifestError(
                f"{where}: header: {column!r} {problem}; the header is '{_HEADER_AS_TEXT}', separated by tabs"
            )
    for column in REQUIRED_COLUMNS:
        if column not in columns:
            raise ManifestError(
                f"{where}: header: no column {column!r}; the header is '{_HEADER_AS_TEXT}', separated by tabs"
            )
    return columns


def _parse_row(line: str, columns: Sequence[str], folder: Path, number: int) -> Row:
    cells = [cell.strip(" ") for cell in line.split("\t")]
    if len(cells) > len(columns):
        raise ManifestError(
            f"field {len(columns) + 1}: {len(cells)} fields under {len(columns)} columns; remove the rest"
        )
    values = dict(itertools.zip_longest(columns, cells, fillvalue=""))
    _check_text("path", values["path"])
    return Row(
        path=folder / values["path"],
        speaker=values["speaker"],
        role=values["role"],
        start=_parse_seconds("start", values.get("start", "")),
        end=_parse_seconds("end", values.get("end", "")),
        line=number,
    )


def _parse_seconds(name: str, text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ManifestError(f"field {name!r}: {text!r} is not a number; give seconds, such as 1.5")
    return float(text)


def _check_rows(rows: Sequence[Row], source: Path) -> None:
    """Refuse rows that contradict each other, or that would let a test clip be learnt from."""
    by_clip: dict[tuple[Path, float, float], Row] = {}
    by_file: dict[tuple[Path, str], list[Row]] = {}
    for row in rows:
        first = by_clip.setdefault((row.path, *_span(row)), row)
        if first is not row:
            raise ManifestError(f"{_where(source, row)}: field 'path': {_clash(first, row)}")
        by_file.setdefault((row.path, row.speaker), []).append(row)
    for parts in by_file.values():
        _check_overlap(parts, source)
    enrolled = {row.speaker for row in rows if row.role == "enroll"}
    for row in rows:
        if row.role == "negative" and row.speaker in enrolled:
            raise ManifestError(
                f"{_where(source, row)}: field 'role': {row.speaker!r} is enrolled and a negative; "
                "negatives are other people, so remove one of the two"
            )


def _check_overlap(parts: list[Row], source: Path) -> None:
    """Refuse a test row that shares a stretch of one person's recording with a row that is learnt from."""
    parts = sorted(parts, key=_span)
    reach: dict[bool, Row] = {}  # for test rows and for the others, the row that reaches furthest so far
    for row in parts:
        is_test = row.role == "test"
        other = reach.get(not is_test)
        if other is not None and _span(row)[0] < _span(other)[1]:
            first, second = sorted((other, row), key=lambda row: row.line)
            raise ManifestError(f"{_where(source, second)}: field 'start': {_clash(first, second)}")
        if is_test not in reach or _span(row)[1] > _span(reach[is_test])[1]:
            reach[is_test] = row


def _clash(first: Row, second: Row) -> str:
    roles = {first.role, second.role}
    at = f" (see line {first.line})" if first.line else ""
    if first.speaker != second.speaker:
        return f"the same clip has two speakers, {first.speaker!r} and {second.speaker!r}{at}; keep one row"
    if roles == {"enroll", "test"}:
        return f"the same clip enrols and tests{at}; keep one row, or give parts that do not overlap"
    if roles == {"negative", "test"}:
        return f"the same clip is a negative and tests{at}; keep one row, or give parts that do not overlap"
    return f"the same clip appears twice{at}; remove one row"


def _where(source: Path, row: Row) -> str:
    return f"{source}:{row.line}" if row.line else str(source)


def _span(row: Row) -> tuple[float, float]:
    return (row.start or 0.0, math.inf if row.end is None else row.end)


def _relative(path: Path, folder: Path) -> str:
    try:
        text = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        text = path.as_posix()
    return f"./{text}" if text.startswith((COMMENT, " ")) else text
