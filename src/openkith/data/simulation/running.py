"""All files of a trial list, with as many processes as there are cores, and after a kill from where it stopped."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, NamedTuple

from openkith.audio.noise_folders import NoiseTree, load_noise_tree
from openkith.data.simulation.folder import ERRORS, SimulationFolder
from openkith.data.simulation.making import Job, Made, make_files
from openkith.data.simulation.planning import (
    SimulationOptions,
    TestFile,
    Voices,
    check_voices,
    list_interferers,
    list_tests,
)
from openkith.data.trials import Trial, read_trials
from openkith.errors import ConfigError, InputError, ManifestError

__all__ = ["SimulationSummary", "simulate"]

WAITING = 2  # test utterances that each process has before it, with the one in hand
DIED = "the process that made it died, as when memory runs out"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What a run did.

    Attributes:
        out: The folder.
        scenarios: What was simulated.
        tests: Test utterances of the list.
        files: Files that belong into the folder: one per test utterance and scenario.
        written: Of these, in it now.
        before: Of these, in it when the run began.
        bad: Files that could not be used.
        trials: Trials of the list.
        left_out: Trials that were left out for bad files, of all lists together.
        errors: The file that says which and why; None where there is nothing to say.
        seconds: Wall time of this run.
    """

    out: Path
    scenarios: tuple[str, ...]
    tests: int
    files: int
    written: int
    before: int
    bad: int
    trials: int
    left_out: int
    errors: Path | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class _Task(NamedTuple):
    """A test utterance, and what is missing of it."""

    test: TestFile
    scenarios: tuple[str, ...]


def simulate(
    trials: str | Path,
    root: str | Path,
    out: str | Path,
    options: SimulationOptions | None = None,
    *,
    noise: str | Path | None = None,
    interferers: str | Path | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
) -> SimulationSummary:
    """Write a degraded file for each test utterance and scenario of a trial list, or what is missing of them.

    The files are the same for any number of workers, and for a run that was killed and begun again; see
    `openkith.data.simulation.folder` for what is in the folder. What can be mixed in are the recordings of the list
    itself (of both sides), or those of a folder; never of a speaker who enrols in one of the test utterance's trials.

    Args:
        trials: The list, see `openkith.data.trials`; its paths tell the speakers, as VoxCeleb's or by a folder per
            speaker, see `openkith.data.trees`.
        root: The folder that its paths are relative to.
        out: The folder to write, new or of an earlier run with the same options.
        options: Default: `SimulationOptions()`.
        noise: A folder of noise, music and speech, see `openkith.audio.noise_folders`; None: noise is generated.
        interferers: A folder of other speakers, see `openkith.data.corpus`; None: those of the list.
        workers: Processes; None: one per core.
        progress: Called with what is being done, files written and files in all.

    Raises:
        ManifestError: The list or a folder is malformed; a path does not tell who speaks.
        ConfigError: Something is out of range, or ``out`` was begun with other options.
        NotEnoughDataError: Nobody is left to be mixed with a test utterance.
        InputError: ``out`` cannot be written, or not one file could be made.
    """
    started = time.perf_counter()
    options = options or SimulationOptions()
    workers = _usable_cores() if workers is None else workers
    if workers < 1:
        raise ConfigError(f"workers is {workers}; give 1 or more")
    source, root, out = Path(trials), Path(root), Path(out)
    if not root.is_dir():
        raise ManifestError(
            f"{root}: no such folder; give the one that the paths of {source} are relative to"
        )
    for given in (noise, interferers):
        if given is not None and out.resolve().is_relative_to(Path(given).resolve()):
            raise ConfigError(f"{out}: is in {given}, which is read; choose a folder outside it")
    report = progress or _unheard
    report("reading the list", 0, 0)
    listed = read_trials(source)
    tests, voices, speakers = list_tests(listed, source, root)
    if interferers is not None:
        report("listing interferers", 0, 0)
        voices = list_interferers(Path(interferers))
    tree = None
    if noise is not None:
        report("listing noise", 0, 0)
        tree = load_noise_tree(Path(os.path.abspath(noise)))  # noqa: PTH100
    check_voices(tests, voices, tree, options, source)
    job = Job(Path(os.path.abspath(root)), Path(os.path.abspath(out)), options, _found_from(voices), tree)  # noqa: PTH100
    order = [(scenario, test.path) for scenario in options.scenarios for test in tests]
    with SimulationFolder(out, _config(listed, job, interferers)) as folder:
        tasks = [
            _Task(test, missing)
            for test in tests
            if (missing := tuple(name for name in options.scenarios if not folder.is_made(name, test.path)))
        ]
        before = len(order) - sum(len(task.scenarios) for task in tasks)
        pace = _Pace(before, len(order), report)
        failed: list[Made] = []
        for outcomes in _run(job, tasks, workers):
            folder.add(outcomes)
            failed += [made for made in outcomes if not made.row]
            pace.step(len(outcomes))
        report("writing lists", len(order), len(order))
        places = {key: place for place, key in enumerate(order)}
        failed.sort(key=lambda made: places[made.scenario, made.test])
        bad, left_out = folder.finish(order, failed, listed, root, speakers)
    if len(failed) == len(order):
        raise InputError(f"{source}: not one of {len(order)} files could be made; {out / ERRORS} says why")
    return SimulationSummary(
        out=out,
        scenarios=options.scenarios,
        tests=len(tests),
        files=len(order),
        written=len(order) - len(failed),
        before=before,
        bad=bad,
        trials=len(listed),
        left_out=left_out,
        errors=out / ERRORS if bad else None,
        seconds=time.perf_counter() - started,
    )


class _Pace:
    """How fast it goes, said with every step."""

    def __init__(self, done: int, total: int, report: Progress) -> None:
        self._first = self._done = done
        self._total, self._report = total, report
        self._started = time.perf_counter()
        report("simulating", done, total)

    def step(self, files: int) -> None:
        self._done += files
        rate = (self._done - self._first) / max(time.perf_counter() - self._started, 1e-9)
        minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
        self._report(f"simulating, {rate:.1f} files/s, {minutes}:{seconds:02d} left", self._done, self._total)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _unheard(text: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
    del text, done, total


def _found_from(voices: Voices) -> Voices:
    """Voices with absolute paths: other processes may have another working folder."""
    return Voices(
        {
            name: tuple(each._replace(path=Path(os.path.abspath(each.path))) for each in own)  # noqa: PTH100
            for name, own in voices.files.items()
        }
    )


def _config(listed: Sequence[Trial], job: Job, interferers: str | Path | None) -> Mapping[str, Any]:
    """What decides about the files, as plain values; of lists and folders what was in them."""
    lines = (f"{int(trial.target)} {trial.enrol} {trial.test}" for trial in listed)
    return {
        "trials": _digest(lines),
        "root": str(job.root),
        "noise": _listing(
            None if job.tree is None else job.tree.root,
            _noise_lines(job.tree) if job.tree is not None else (),
        ),
        "interferers": _listing(
            None if interferers is None else Path(os.path.abspath(interferers)),  # noqa: PTH100
            (f"{name} {each.shown}" for name in job.voices.speakers for each in job.voices.files[name]),
        ),
        **asdict(job.options),
    }


def _noise_lines(tree: NoiseTree) -> Iterator[str]:
    return (
        f"{kind} {file.relative_to(tree.root).as_posix()}" for kind in tree.kinds for file in tree.files[kind]
    )


def _listing(folder: Path | None, lines: Iterable[str]) -> str | None:
    return None if folder is None else f"{folder}, listing {_digest(lines)}"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _run(job: Job, tasks: Sequence[_Task], workers: int) -> Iterator[list[Made]]:
    """What came of each task, in the order in which they are done."""
    workers = min(workers, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield make_files(job, task.test, task.scenarios)
        return
    waiting = deque(tasks)
    while waiting:
        suspects: deque[_Task] = deque()
        yield from _until_death(job, workers, waiting, suspects)
        while suspects:  # one of them ended its process: alone, it does so again
            alone: deque[_Task] = deque()
            yield from _until_death(job, 1, suspects, alone)
            yield from (
                [Made(name, task.test.path, (), ((task.test.path, DIED),)) for name in task.scenarios]
                for task in alone
            )


def _until_death(
    job: Job, workers: int, waiting: deque[_Task], in_hand: deque[_Task]
) -> Iterator[list[Made]]:
    """Take tasks from those that wait until none is left, or a process dies: then these were in its hands or next."""
    ahead = 1 if workers == 1 else WAITING * workers
    with _pool(job, workers) as pool:
        running: dict[Future[list[Made]], _Task] = {}
        try:
            while waiting or running:
                while waiting and len(running) < ahead:
                    running[pool.submit(_make, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    made = future.result()
                    del running[future]
                    yield made
        except BrokenProcessPool:
            in_hand.extend(running.values())


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    """Processes of their own, since what other threads of this one hold would not survive a fork."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (job,))


_JOB: list[Job] = []  # of this process, which the run began


def _begin(job: Job) -> None:
    """What another process does first: remember the job, and end when the one that began it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run is ended by the process that began it
    _JOB[:] = [job]
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _make(task: _Task) -> list[Made]:
    return make_files(_JOB[0], task.test, task.scenarios)
