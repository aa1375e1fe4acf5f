"""Trial lists: one trial a line, ``label enrol_path test_path``, as VoxCeleb's are.

The label is 1 where both files are of one speaker and 0 where they are not; paths are relative to the folder of the
audio, and hold no white space. Blank lines are passed over.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from openkith.data.manifest import read_lines
from openkith.errors import ManifestError

__all__ = ["Trial", "read_trials", "write_trials"]

FORM = "label enrol_path test_path"


@dataclass(frozen=True)
class Trial:
    """One trial of a list.

    Attributes:
        target: Whether both files are of one speaker.
        enrol: The file that enrols, as it stands in the list.
        test: The file that is tested.
        line: Its line in the list, from 1; 0 where it was not read from a file. Not compared.

    Raises:
        ManifestError: A path that no list can hold.
    """

    target: bool
    enrol: str
    test: str
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        for name, path in (("enrol_path", self.enrol), ("test_path", self.test)):
            if path.split() != [path]:
                raise ManifestError(
                    f"field {name!r}: {path!r} is empty or has white space, which parts the fields; rename the file"
                )


def read_trials(path: str | Path) -> tuple[Trial, ...]:
    """Read a trial list. Whether the files are there is not looked at.

    Raises:
        ManifestError: The file or a line of it is wrong; the message names file and line.
    """
    return tuple(Trial(*fields) for fields in trial_fields(path))


def trial_fields(path: str | Path) -> Iterator[tuple[bool, str, str, int]]:
    """The trials of a list one after another: whether of one speaker, the two paths, the number of the line.

    Raises:
        ManifestError: As `read_trials`.
    """
    source, number_of_trials = Path(path), 0
    for number, line in enumerate(read_lines(source), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3:
            raise ManifestError(f"{source}:{number}: {len(fields)} fields, not 3; a line is '{FORM}'")
        label, enrol, test = fields
        if label not in ("0", "1"):
            raise ManifestError(
                f"{source}:{number}: label {label!r}; give 1 (same speaker) or 0 (different), as in '{FORM}'"
            )
        number_of_trials += 1
        yield label == "1", enrol, test, number
    if not number_of_trials:
        raise ManifestError(f"{source}: no trials; write one a line, '{FORM}'")


def write_trials(path: str | Path, trials: Iterable[Trial]) -> None:
    """Write a trial list, under a temporary name that is then changed to ``path``.

    Raises:
        ManifestError: The file cannot be written.
    """
    target = Path(path)
    lines = [f"{int(trial.target)} {trial.enrol} {trial.test}\n" for trial in trials]
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
        temporary.replace(target)
    except (OSError, ValueError) as error:  # UnicodeEncodeError and embedded NUL are ValueErrors
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{target}: cannot write: {reason}; choose another name or folder") from None
