"""Tab-separated tables with a header line, and files that are complete before they take their names."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from openkith.data.manifest import read_lines
from openkith.errors import InputError, ManifestError

__all__ = ["cell", "read_table", "replacing"]

COMMENT = "#"


def cell(text: str) -> str:
    """Text as a cell holds it: control characters, and bytes of a file name that are no text, as backslash codes."""
    if text.isprintable():
        return text
    escaped = "".join(c if c.isprintable() or ord(c) > 0x9F else repr(c)[1:-1] for c in text)
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


def read_table(
    path: str | Path, needed: Sequence[str], *, comments: bool = False
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The columns of a table, and its rows.

    Args:
        path: UTF-8 text; blank lines are passed over.
        needed: Columns that must be there; others may be.
        comments: Whether lines that begin with ``#`` are passed over.

    Returns:
        The names of the columns; and for each row its line from 1, and its cells, as many as there are columns.

    Raises:
        ManifestError: No table, a column is missing, or a row has another number of cells; the message names the line.
    """
    source = Path(path)
    numbered = enumerate(read_lines(source), start=1)
    skipped = COMMENT if comments else "\n"  # no line begins with that
    lines = ((n, line.split("\t")) for n, line in numbered if line.strip() and not line.startswith(skipped))
    header = next(lines, None)
    wanted = ", ".join(needed)
    if header is None:
        raise ManifestError(f"{source}: no lines; begin with a header of the columns {wanted}")
    number, columns = header
    columns = [column.strip(" ") for column in columns]
    for column in needed:
        if column not in columns:
            raise ManifestError(
                f"{source}:{number}: header: no column {column!r}; it needs {wanted}, separated by tabs"
            )

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, cells in lines:
            if len(cells) > len(columns):
                raise ManifestError(
                    f"{source}:{number}: {len(cells)} fields under {len(columns)} columns; remove the rest"
                )
            yield number, cells + [""] * (len(columns) - len(cells))

    return columns, rows()


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[str]]:
    """A text file under a temporary name, which takes its own when the block ends well.

    Raises:
        InputError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open(mode, encoding="utf-8", newline="\n") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path}: cannot write ({reason}); choose a folder that exists and is writable"
        ) from error
