"""One file: what was planned, read, mixed and written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openkith.audio.degrade import Samples, babble
from openkith.audio.degrade import noise as make_noise
from openkith.audio.io import SAMPLE_RATE, load, save
from openkith.audio.noise_folders import NoiseFolderKind, NoiseTree
from openkith.audio.rooms import TALKING_DISTANCE, WALL_DISTANCE, Room, convolve, draw_room, room_response
from openkith.data.simulation.mixing import Mixture, concat, mix, noisy, overlap, plain
from openkith.data.simulation.planning import (
    BABBLE,
    CANDIDATES,
    GENERATED,
    Plan,
    SimulationOptions,
    Source,
    TestFile,
    Voices,
    generator,
    output_path,
    plan,
)
from openkith.errors import AudioError, KithError

__all__ = ["COLUMNS", "Job", "Made", "make_files"]

COLUMNS = (
    *("path", "speaker", "target", "interferer", "interferer_speaker", "noise", "noise_files", "room"),
    *("seconds", "target_begin", "target_end", "interferer_begin", "interferer_end"),
    *("snr", "overlap", "gain", "interferer_gain"),
)
"""Of the table of a scenario; see `openkith.data.simulation.folder`."""
BETWEEN = ";"  # of several files in one cell

Read = Callable[[Path], NDArray[np.float32]]


@dataclass(frozen=True)
class Job:
    """What all files of a run have in common.

    Attributes:
        root: The folder of the trial list's paths.
        out: The folder to write to.
        options: What is simulated.
        voices: Interferers, and the voices of babble.
        tree: A folder of noise; None: noise is made.
    """

    root: Path
    out: Path
    options: SimulationOptions
    voices: Voices
    tree: NoiseTree | None


class Made(NamedTuple):
    """What came of one test utterance in one scenario.

    Attributes:
        scenario: One of `SCENARIOS`.
        test: Its path in the trial list.
        row: Cells under `COLUMNS`; empty where no file could be made.
        bad: (file, reason) of each file that could not be used; the last one is why there is no row.
    """

    scenario: str
    test: str
    row: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()


def make_files(job: Job, test: TestFile, scenarios: Iterable[str]) -> list[Made]:
    """Write the files of one test utterance, which is read once.

    Raises:
        KithError: A file cannot be written. What cannot be read is in the outcome.
    """
    scenarios = tuple(scenarios)
    path = job.root / test.path
    try:
        target = load(path).samples
    except Exception as error:  # whatever is wrong with this file, the others go on
        return [Made(name, test.path, (), ((test.path, reason(error, path)),)) for name in scenarios]
    return [
        _Making(job, plan(test, name, job.options, job.voices, job.tree), target).make() for name in scenarios
    ]


def reason(error: Exception, path: Path) -> str:
    """What is wrong with a file, in one line and without its path, which stands beside it."""
    return cell(" ".join(str(error).split()).removeprefix(f"{path}: ") or type(error).__name__)


def cell(text: str) -> str:
    """Text as a cell of a table holds it: without tabs, line ends and other control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Making:
    """One file in the making, and the bad files that were met."""

    def __init__(self, job: Job, chosen: Plan, target: Samples) -> None:
        self.job, self.plan, self.target = job, chosen, target
        self.bad: list[tuple[str, str]] = []

    def make(self) -> Made:
        scenario, test = self.plan.scenario, self.plan.test
        try:
            mixture, about = self._mixed()
        except KithError as error:
            self.bad.append((test.path, reason(error, self.job.root / test.path)))
            return Made(scenario, test.path, (), tuple(self.bad))
        where = output_path(scenario, test.path)
        path = self.job.out / where
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, mixture.samples)
        begin, end = _span(mixture.target)
        cells = {
            "path": where,
            "speaker": test.speaker,
            "target": test.path,
            "seconds": _seconds(len(mixture.samples)),
            "target_begin": begin,
            "target_end": end,
            "gain": f"{mixture.gain:.9g}",
            **about,
        }
        if mixture.other is not None:
            cells["interferer_begin"], cells["interferer_end"] = _span(mixture.other)
            cells["snr"] = f"{self.plan.snr_db:g}"
            cells["interferer_gain"] = f"{mixture.other_gain:.9g}"
        row = tuple(cell(cells.get(column, "")) for column in COLUMNS)
        return Made(scenario, test.path, row, tuple(self.bad))

    def _mixed(self) -> tuple[Mixture, dict[str, str]]:
        """The mixture, and the cells that say what is in it."""
        scenario, x = self.plan.scenario, self.target
        if scenario == "clean":
            return plain(x), {}
        if self.plan.noise is not None:
            other, about = self._noise(len(x))
            x, _, room = self._in_room(x, None)
            return noisy(x, other, self.plan.snr_db), about | room
        source, y = self._interferer()
        x, y, room = self._in_room(x, y)
        about = {"interferer": source.shown, "interferer_speaker": source.speaker} | room
        if scenario == "concat":
            mixture = concat(x, y, self.plan.snr_db, target_first=self.plan.target_first)
        elif scenario == "overlap":
            mixture = overlap(x, y, self.plan.snr_db, self.plan.ratio, target_first=self.plan.target_first)
            about["overlap"] = f"{self.plan.ratio:.6f}"
        else:
            mixture = mix(x, y, self.plan.snr_db)
        return mixture, about

    def _interferer(self) -> tuple[Source, Samples]:
        """The first recording that will do.

        For an overlap that is one long enough that nothing of the target has to be cut; where none is, the longest.
        """
        least = self.plan.ratio * len(self.target) if self.plan.scenario == "overlap" else 0
        longest: tuple[Source, Samples] | None = None
        for source in self.plan.interferers:
            samples = self._read(source)
            if samples is not None and (longest is None or len(samples) > len(longest[1])):
                longest = source, samples
            if longest is not None and len(longest[1]) >= least:
                break
        if longest is None:
            raise AudioError("none of the recordings drawn to be mixed in can be read")
        return longest

    def _noise(self, n: int) -> tuple[Samples, dict[str, str]]:
        """Noise (n,), and the cells about it."""
        wanted = self.plan.noise
        assert wanted is not None
        rng = self._rng("noise samples")
        if wanted.kind in GENERATED:
            return make_noise(n, GENERATED[wanted.kind], rng), {"noise": wanted.kind}
        parts: list[tuple[Source, Samples]] = []
        for source in wanted.sources:
            samples = (
                self._read(source) if wanted.kind == BABBLE else self._stretch(source, wanted.kind, n, rng)
            )
            if samples is not None:
                parts.append((source, samples))
            if len(parts) == wanted.files:
                break
        if not parts:
            raise AudioError("none of the recordings drawn as noise can be read")
        about = {
            "noise": wanted.kind,
            "noise_files": BETWEEN.join(source.shown for source, _ in parts),
            "interferer_speaker": BETWEEN.join(source.speaker for source, _ in parts if source.speaker),
        }
        if len(parts) == 1 and wanted.kind != BABBLE:
            return parts[0][1], about
        return babble([samples for _, samples in parts], n, rng), about

    def _read(self, source: Source) -> Samples | None:
        """A whole recording; None where it cannot be read."""
        try:
            return load(source.path).samples
        except Exception as error:
            self.bad.append((self._name(source), reason(error, source.path)))
            return None

    def _stretch(self, source: Source, kind: str, n: int, rng: np.random.Generator) -> Samples | None:
        """A stretch of a file of the noise folder; None where it cannot be used."""
        try:
            return self._alone(source.path, kind).draw(_folder_kind(kind), n, rng)
        except Exception as error:
            self._blame(source.path, error)
            return None

    def _in_room(self, x: Samples, y: NDArray[Any] | None) -> tuple[Samples, Any, dict[str, str]]:
        """Both talkers in one room, each at a place of its own; as they are where they are in none."""
        if not self.plan.in_room:
            return x, y, {}
        rng = self._rng("room responses")
        if self.job.tree is not None and "response" in self.job.tree.kinds:
            responses, name = self._folder_responses(rng, 1 if y is None else 2)
        else:
            room = draw_room(rng)
            responses = [room_response(room, rng)]
            if y is not None:
                responses.append(room_response(_another_mouth(room, rng), rng))
            name = f"t60={room.t60:.3f}"
        return convolve(x, responses[0]), None if y is None else convolve(y, responses[-1]), {"room": name}

    def _folder_responses(self, rng: np.random.Generator, count: int) -> tuple[list[Samples], str]:
        tree = self.job.tree
        assert tree is not None
        files = tree.files["response"]
        found: list[tuple[Path, Samples]] = []
        for place in rng.integers(len(files), size=CANDIDATES):
            file = files[int(place)]
            try:
                found.append((file, self._alone(file, "response").draw_response(rng)))
            except Exception as error:
                self._blame(file, error)
            if len(found) == count:
                break
        if not found:
            raise AudioError("none of the impulse responses drawn can be used")
        shown = dict.fromkeys(file.relative_to(tree.root).as_posix() for file, _ in found)
        return [response for _, response in found], BETWEEN.join(shown)

    def _alone(self, file: Path, kind: str) -> NoiseTree:
        """The noise folder with this file alone, so that what is drawn from it is of this file."""
        assert self.job.tree is not None
        return NoiseTree(self.job.tree.root, {_folder_kind(kind): (file,)})

    def _blame(self, file: Path, error: Exception) -> None:
        assert self.job.tree is not None
        text = " ".join(str(error).split()).removeprefix(f"{self.job.tree.root}: ")
        self.bad.append((cell(str(file)), cell(text.removeprefix(f"cannot use {file}: "))))

    def _name(self, source: Source) -> str:
        """How the list of errors calls a recording: as the trial list does, or by its whole path."""
        listed = source.path == self.job.root / source.shown
        return cell(source.shown if listed else str(source.path))

    def _rng(self, purpose: str) -> np.random.Generator:
        return generator(self.job.options.seed, self.plan.scenario, self.plan.test.path, purpose)


def _another_mouth(room: Room, rng: np.random.Generator) -> Room:
    """The same room and microphone, and somebody else in it."""
    while True:
        x, y, z = (float(rng.uniform(WALL_DISTANCE, side - WALL_DISTANCE)) for side in room.size)
        if math.dist((x, y, z), room.microphone) >= TALKING_DISTANCE:
            return Room(room.size, (x, y, z), room.microphone, room.t60)


def _folder_kind(kind: str) -> NoiseFolderKind:
    return kind  # type: ignore[return-value]


def _span(span: tuple[int, int]) -> tuple[str, str]:
    return _seconds(span[0]), _seconds(span[1])


def _seconds(samples: int) -> str:
    """A number of samples in seconds, exactly."""
    return repr(samples / SAMPLE_RATE)
