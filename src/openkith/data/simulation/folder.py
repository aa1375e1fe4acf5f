"""The folder of a run.

::

    config.json       what was simulated of what; another run into the folder must have the same
    journal.jsonl     one line per file that was written, and the bad files that were met on the way
    <scenario>/       a 16-bit WAV file for each test utterance, under the path that it has in the trial list
    <scenario>.tsv    what is in each of them
    <scenario>.txt    the trial list, of paths below this folder
    enrol/            the files that enrol, as links to them (copies where the system has no links)
    files.tsv         all files that the lists name, with their speakers: to embed them in one go
    errors.tsv        the files that could not be used, why, and how many trials are left out for it

The columns of ``<scenario>.tsv``:

- ``path``, ``speaker``: the file that was written, and who is tested in it;
- ``target``, ``interferer``, ``interferer_speaker``: files that were mixed, as the trial list names them (or relative
  to the folder of interferers), and the second talker; of babble, all who talk;
- ``noise``, ``noise_files``: kind, and recordings (relative to the noise folder; of babble, as interferers are named),
  ``;`` between them;
- ``room``: the reverberation time of a generated room, or the responses, where the talkers are in one;
- ``seconds``, ``target_begin``, ``target_end``, ``interferer_begin``, ``interferer_end``: length, and where each is
  heard; a signal is used from its beginning, and is repeated where it is shorter than its span;
- ``snr`` (dB), ``overlap`` (share of the length);
- ``gain``, ``interferer_gain``: what the samples of the target and of interferer or noise were multiplied by. In a
  room, they are those of the talkers as heard in it.

A line of the journal is written when its file is complete. Whoever opens the folder again makes the files that have no
line or are not as long as their line says. When all are there, the journal is put into the order of the list, so that
the folder is the same however many processes worked and however often the run was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from openkith.audio.io import SAMPLE_RATE
from openkith.data.manifest import read_lines
from openkith.data.simulation.making import COLUMNS, Made, cell
from openkith.data.trials import Trial, write_trials
from openkith.errors import ConfigError, InputError
from openkith.locks import try_lock

__all__ = ["CONFIG", "ENROL", "ERRORS", "FILES", "JOURNAL", "SimulationFolder", "enrol_path"]

CONFIG, JOURNAL, ERRORS, FILES, ENROL = "config.json", "journal.jsonl", "errors.tsv", "files.tsv", "enrol"
LOCK = ".lock"
KIND, VERSION = "simulation", 1
WAV_HEADER = 44  # bytes
_SECONDS, _PATH = COLUMNS.index("seconds"), COLUMNS.index("path")


class SimulationFolder:
    """The folder of a run, open; only one process has it at a time.

    Args:
        path: Made where there is none.
        config: What is simulated of what, as plain values.

    Raises:
        ConfigError: An earlier run into the folder had another config; or there is something else in it.
        InputError: It cannot be written, or another process is writing to it.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self._made: dict[tuple[str, str], Made] = {}
        wanted = json.loads(json.dumps({"kind": KIND, "version": VERSION, **config}))
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_config(path, wanted)
            self._lock: IO[bytes] = (path / LOCK).open("ab")
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror or error}); choose another"
            ) from None
        try:
            if not try_lock(self._lock):
                raise InputError(f"{path}: another kith simulate is writing to it; wait for its end")
            _drop_temporary(path)
            self._journal: IO[bytes] = (path / JOURNAL).open("a+b")
            try:
                self._read_journal()
            except BaseException:
                self._journal.close()
                raise
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._lock.close()

    def is_made(self, scenario: str, test: str) -> bool:
        """Whether the file of a test utterance in a scenario is there."""
        return (scenario, test) in self._made

    def add(self, outcomes: Iterable[Made]) -> None:
        """Take down what was made. What was not is tried again by the next run."""
        for made in outcomes:
            if made.row:
                self._made[made.scenario, made.test] = made
                self._journal.write(_line(made).encode())
        self._journal.flush()

    def finish(
        self,
        order: Sequence[tuple[str, str]],
        failed: Sequence[Made],
        trials: Sequence[Trial],
        root: Path,
        speakers: Mapping[str, str],
    ) -> tuple[int, int]:
        """Write tables, lists and links, and put the journal in order.

        Args:
            order: Scenario and test utterance of all files of the run.
            failed: What could not be made.
            trials: The whole list.
            root: The folder of its paths.
            speakers: Of each of its paths.

        Returns:
            How many files are among the errors, and how many trials were left out of all lists.

        Raises:
            InputError: A file cannot be written.
        """
        made = [self._made[key] for key in order if key in self._made]
        names = list(dict.fromkeys(scenario for scenario, _ in order))
        errors: dict[tuple[str, str], int] = {}
        for outcome in (*made, *failed):
            for bad in outcome.bad:
                errors.setdefault(bad, 0)
        blamed = {(outcome.scenario, outcome.test): outcome.bad[-1] for outcome in failed}
        missing = self._link(dict.fromkeys(trial.enrol for trial in trials), root)
        for path, why in missing.items():
            errors.setdefault((path, why), 0)
        lists: dict[str, list[Trial]] = {name: [] for name in names}
        for name in names:
            for trial in trials:
                if trial.enrol in missing:
                    errors[trial.enrol, missing[trial.enrol]] += 1
                elif (name, trial.test) in blamed:
                    errors[blamed[name, trial.test]] += 1
                else:
                    row = self._made[name, trial.test].row
                    lists[name].append(Trial(trial.target, enrol_path(trial.enrol), row[_PATH]))
        for name in names:
            rows = (outcome.row for outcome in made if outcome.scenario == name)
            _write_table(self.path / f"{name}.tsv", COLUMNS, rows)
            write_trials(self.path / f"{name}.txt", lists[name])
        enrolled = sorted({trial.enrol for each in lists.values() for trial in each})
        listed = [(path, speakers[path.removeprefix(f"{ENROL}/")]) for path in enrolled]
        listed += [(outcome.row[_PATH], outcome.row[COLUMNS.index("speaker")]) for outcome in made]
        _write_table(self.path / FILES, ("path", "speaker"), listed)
        problems = [(path, why, str(count)) for (path, why), count in sorted(errors.items())]
        if problems:
            _write_table(self.path / ERRORS, ("path", "reason", "trials"), problems)
        else:
            (self.path / ERRORS).unlink(missing_ok=True)
        self._rewrite(made)
        return len({path for path, _ in errors}), sum(errors.values())

    def _link(self, paths: Iterable[str], root: Path) -> dict[str, str]:
        """Put the files that enrol into the folder; returns those that are not there, and why."""
        missing = {}
        for path in paths:
            source = Path(os.path.abspath(root / path))  # noqa: PTH100
            target = self.path / enrol_path(path)
            if not os.path.isfile(source):  # noqa: PTH113  (Path.is_file() raises for a name too long)
                missing[path] = "no such file; check the path"
                continue
            if target.exists() and target.samefile(source):
                continue
            temporary = target.with_name(f".{secrets.token_hex(4)}.tmp")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    temporary.symlink_to(source)
                except (OSError, NotImplementedError):  # a system, or a disk, without links
                    shutil.copyfile(source, temporary)
                temporary.replace(target)
            except OSError as error:
                raise InputError(
                    f"{target}: cannot write ({error.strerror or error}); choose another folder"
                ) from error
        return missing

    def _read_journal(self) -> None:
        """Take over what earlier runs wrote, as far as it is whole."""
        self._journal.seek(0)
        content = self._journal.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._journal.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                scenario, test, row, bad = json.loads(line)
                made = Made(scenario, test, tuple(row), tuple((path, why) for path, why in bad))
                expected = WAV_HEADER + 2 * round(float(made.row[_SECONDS]) * SAMPLE_RATE)
                size = (self.path / made.row[_PATH]).stat().st_size
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, IndexError) as error:
                raise InputError(
                    f"{self.path / JOURNAL}:{number}: damaged ({error}); begin in a new folder"
                ) from None
            if size == expected:
                self._made[scenario, test] = made

    def _rewrite(self, made: Sequence[Made]) -> None:
        """Put the journal into the order of the list; nothing can be added after it."""
        self._journal.close()
        with _replacing(self.path / JOURNAL) as file:
            file.writelines(map(_line, made))


def enrol_path(path: str) -> str:
    """Where a file that enrols is found in the folder."""
    return f"{ENROL}/{path}"


def _line(made: Made) -> str:
    return json.dumps(made) + "\n"


def _check_config(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Write the config into a new folder, or compare it with that of an earlier run."""
    path = folder / CONFIG
    if not path.exists():
        if any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ConfigError(
                f"{folder}: has files in it that kith simulate did not write; give an empty or a new folder"
            )
        with _replacing(path) as file:
            file.write(json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads("\n".join(read_lines(path)))
        if found["kind"] != KIND or found["version"] != VERSION:
            raise KeyError("kind")
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path}: is not of kith simulate, or of another version; give a new folder"
        ) from None
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ConfigError(
                f"{folder}: was begun with another {name} ({_shown(found.get(name))}, and now {_shown(value)}); "
                "give the same again, or a new folder"
            )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with _replacing(path) as file:
        for row in (columns, *rows):
            file.write("\t".join(map(cell, row)) + "\n")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A text file under a temporary name, which takes its own when the block ends well."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write ({error.strerror or error}); choose another folder"
        ) from error


def _drop_temporary(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for here, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                with suppress(OSError):
                    Path(here, name).unlink()
