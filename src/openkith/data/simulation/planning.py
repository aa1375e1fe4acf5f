"""Who is mixed with whom, and how: drawn from the seed, the scenario and the name of the test file alone.

So a file is the same whatever else is simulated, in whichever order and by how many processes.
"""

from __future__ import annotations

import hashlib
import math
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from openkith.audio.degrade import NoiseKind
from openkith.audio.noise_folders import NoiseTree
from openkith.data.corpus import AUDIO_SUFFIXES, load_corpus
from openkith.data.trees import FOLDERS, detect, place_in
from openkith.data.trials import Trial
from openkith.errors import ConfigError, ManifestError, NotEnoughDataError

__all__ = [
    "GENERATED",
    "SCENARIOS",
    "TWO_TALKERS",
    "NoisePlan",
    "Plan",
    "SimulationOptions",
    "Source",
    "TestFile",
    "Voices",
    "check_voices",
    "generator",
    "list_interferers",
    "list_tests",
    "noise_kinds",
    "output_path",
    "plan",
]

SCENARIOS = ("clean", "noisy", "concat", "overlap", "mix")
TWO_TALKERS = ("concat", "overlap", "mix")
SNR_STEPS = 2  # per dB
MOST_DB = 100.0
CANDIDATES = 8  # files that are drawn to be mixed in; the first that will do is
BABBLE = "babble"
BABBLE_VOICES = (3, 7)
GENERATED: dict[str, NoiseKind] = {
    "white": "white",
    "pink": "pink",
    "brown": "brown",
    "speech-shaped": "speech",
}
"""Kinds of noise that are made -> `openkith.audio.degrade.noise`'s name for them."""


@dataclass(frozen=True)
class SimulationOptions:
    """What is simulated.

    Attributes:
        scenarios: Some of `SCENARIOS`, in any order.
        snr: The least and the largest ratio of target to interferer or noise, in dB; drawn in steps of 0.5.
        overlap: The least and the largest share of a mixture in which both talk, above 0 and up to 1.
        rooms: Share of the files whose talkers are in a room; never those of the scenario clean.
        seed: From 0 up.

    Raises:
        ConfigError: A value is unknown or out of range.
    """

    scenarios: tuple[str, ...] = SCENARIOS
    snr: tuple[float, float] = (-3.0, 3.0)
    overlap: tuple[float, float] = (0.1, 0.9)
    rooms: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.scenarios:
            if name not in SCENARIOS:
                raise ConfigError(f"scenario {name!r} is unknown; use {', '.join(SCENARIOS)}")
        if not self.scenarios:
            raise ConfigError(f"scenarios is empty; give one or more of {', '.join(SCENARIOS)}")
        object.__setattr__(self, "scenarios", tuple(name for name in SCENARIOS if name in self.scenarios))
        for name in ("snr", "overlap"):
            low, high = (float(value) for value in getattr(self, name))
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ConfigError(f"{name} is {low:g} to {high:g}; give two numbers, the smaller one first")
            object.__setattr__(self, name, (low, high))
        if not 0 < self.overlap[0] <= self.overlap[1] <= 1:
            raise ConfigError(
                f"overlap is {self.overlap[0]:g} to {self.overlap[1]:g}; give shares above 0 and up to 1"
            )
        if max(abs(self.snr[0]), abs(self.snr[1])) > MOST_DB:
            raise ConfigError(
                f"snr is {self.snr[0]:g} to {self.snr[1]:g} dB; stay within {MOST_DB:g} dB of 0"
            )
        if math.ceil(SNR_STEPS * self.snr[0]) > math.floor(SNR_STEPS * self.snr[1]):
            raise ConfigError(
                f"snr is {self.snr[0]:g} to {self.snr[1]:g} dB, and no step of 0.5 is in it; give a wider range"
            )
        if not 0 <= self.rooms <= 1:
            raise ConfigError(f"rooms is {self.rooms:g}; give a share of the files, 0 to 1")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; give an integer from 0 up")


class Source(NamedTuple):
    """A file to mix in, and who speaks in it (noise: nobody, which is empty)."""

    speaker: str
    path: Path
    shown: str


@dataclass(frozen=True)
class TestFile:
    """A test utterance of a trial list.

    Attributes:
        path: As it stands in the list.
        speaker: Who speaks.
        avoided: Who is never mixed in: all speakers who enrol in its trials, and its own.
        trials: How many trials it has.
    """

    __test__ = False  # for pytest: no class of tests

    path: str
    speaker: str
    avoided: frozenset[str]
    trials: int


@dataclass(frozen=True)
class Voices:
    """Recordings by speaker, to draw from.

    Attributes:
        files: Speaker -> recordings, at least one each.
    """

    files: Mapping[str, tuple[Source, ...]]

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self.files))

    def besides(self, avoided: Set[str]) -> int:
        """How many speakers there are, not counting some."""
        return len(self.files) - sum(name in self.files for name in avoided)

    def draw(self, rng: np.random.Generator, count: int, avoided: Set[str]) -> tuple[Source, ...]:
        """Recordings of different speakers, none of whom is to be avoided; fewer where there are not so many.

        Every speaker is as likely as every other, and so is every recording of a speaker.
        """
        taken = sorted(
            place
            for name in avoided
            if (place := bisect_left(self.speakers, name)) < len(self.speakers)
            and self.speakers[place] == name
        )
        drawn = []
        for _ in range(min(count, len(self.speakers) - len(taken))):
            place = int(rng.integers(len(self.speakers) - len(taken)))
            for other in taken:  # sorted: count past those that are out
                place += other <= place
            taken.append(place)
            taken.sort()
            own = self.files[self.speakers[place]]
            drawn.append(own[int(rng.integers(len(own)))])
        return tuple(drawn)


class NoisePlan(NamedTuple):
    """Noise to mix in.

    Attributes:
        kind: A key of `GENERATED`, ``babble``, or a kind of files of a noise folder.
        files: How many recordings are added up; 0 for noise that is made.
        sources: Recordings to take these from, in their order.
    """

    kind: str
    files: int
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Plan:
    """How one file is made.

    Attributes:
        scenario: One of `SCENARIOS`.
        test: The test utterance.
        snr_db: Target to interferer or noise.
        ratio: Share of the mixture in which both talk, for the scenario overlap.
        target_first: Whether the target begins, for concat and overlap.
        interferers: Recordings of which the first that will do is mixed in, for two talkers.
        noise: For the scenario noisy.
        in_room: Whether the talkers are in a room.
    """

    scenario: str
    test: TestFile
    snr_db: float
    ratio: float
    target_first: bool
    interferers: tuple[Source, ...]
    noise: NoisePlan | None
    in_room: bool


def generator(seed: int, scenario: str, path: str, purpose: str) -> np.random.Generator:
    """The generator of one purpose for one file: no draw for another changes what it gives."""
    digest = hashlib.sha256("\0".join((scenario, path, purpose)).encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def plan(
    test: TestFile, scenario: str, options: SimulationOptions, voices: Voices, tree: NoiseTree | None = None
) -> Plan:
    """How the file of a test utterance in a scenario is made.

    Args:
        test: Of `list_tests`.
        scenario: One of `SCENARIOS`.
        options: Ranges and seed.
        voices: Interferers, and the voices of babble.
        tree: A folder of noise; None: noise is made.
    """

    def rng(purpose: str) -> np.random.Generator:
        return generator(options.seed, scenario, test.path, purpose)

    steps = math.ceil(SNR_STEPS * options.snr[0]), math.floor(SNR_STEPS * options.snr[1])
    noise = None
    if scenario == "noisy":
        noise = _plan_noise(test, voices, tree, rng("noise"))
    return Plan(
        scenario=scenario,
        test=test,
        snr_db=int(rng("snr").integers(steps[0], steps[1] + 1)) / SNR_STEPS,
        ratio=float(rng("overlap").uniform(*options.overlap)),
        target_first=bool(rng("order").random() < 0.5) if scenario in ("concat", "overlap") else True,
        interferers=voices.draw(rng("interferer"), CANDIDATES, test.avoided)
        if scenario in TWO_TALKERS
        else (),
        noise=noise,
        in_room=scenario != "clean" and bool(rng("room").random() < options.rooms),
    )


def noise_kinds(voices: int, tree: NoiseTree | None) -> tuple[str, ...]:
    """The kinds of noise of a folder; without one the generated kinds, and babble if there are voices for it."""
    if tree is not None:
        return tuple(kind for kind in tree.kinds if kind != "response")
    return (*GENERATED, *([BABBLE] if voices else []))


def _plan_noise(
    test: TestFile, voices: Voices, tree: NoiseTree | None, rng: np.random.Generator
) -> NoisePlan:
    kinds = noise_kinds(voices.besides(test.avoided), tree)
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind in GENERATED:
        return NoisePlan(kind, 0, ())
    count = int(rng.integers(BABBLE_VOICES[0], BABBLE_VOICES[1] + 1)) if kind in (BABBLE, "speech") else 1
    if tree is None:
        return NoisePlan(kind, count, voices.draw(rng, CANDIDATES, test.avoided))
    files = next(found for name, found in tree.files.items() if name == kind)
    order = rng.choice(len(files), size=min(CANDIDATES, len(files)), replace=False)
    return NoisePlan(kind, count, tuple(_noise_source(tree, files[int(i)]) for i in order))


def _noise_source(tree: NoiseTree, file: Path) -> Source:
    return Source("", file, file.relative_to(tree.root).as_posix())


def list_tests(
    trials: Sequence[Trial], source: Path, root: Path
) -> tuple[tuple[TestFile, ...], Voices, dict[str, str]]:
    """The test utterances of a trial list, in the order in which they appear; and all its recordings.

    Args:
        trials: The list.
        source: Its file, for messages.
        root: The folder that its paths are relative to.

    Returns:
        The test utterances; the recordings of both sides by speaker; and the speaker of each path of the list.

    Raises:
        ManifestError: A path does not tell who speaks or leaves the root, a label contradicts the paths, or two test
            utterances would be written to one file; the message names list and line.
    """
    first: dict[str, int] = {}
    for trial in trials:
        for path in (trial.enrol, trial.test):
            first.setdefault(path, trial.line)
    tree = detect([PurePosixPath(path) for path in first])
    speakers = {}
    for path, line in first.items():
        where = f"{source}:{line}: {path}"
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ManifestError(f"{where}: is not below the root; give paths relative to {root}")
        speakers[path] = place_in(tree, pure, where).speaker
    enrolled: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for trial in trials:
        one, other = speakers[trial.enrol], speakers[trial.test]
        if (one == other) != trial.target:
            hint = "; paths must begin with the speaker's folder" if tree is FOLDERS and one == other else ""
            raise ManifestError(
                f"{source}:{trial.line}: label {int(trial.target)}, and the folders say {one} and {other}; correct the "
                f"line{hint}"
            )
        enrolled.setdefault(trial.test, set()).add(one)
        counts[trial.test] = counts.get(trial.test, 0) + 1
    written: dict[str, str] = {}
    for path in enrolled:
        before = written.setdefault(output_path("", path), path)
        if before != path:
            raise ManifestError(
                f"{source}:{first[path]}: {path} and {before} would be written to one file; rename one"
            )
    tests = tuple(
        TestFile(path, speakers[path], frozenset({*names, speakers[path]}), counts[path])
        for path, names in enrolled.items()
    )
    return tests, _voices((speakers[path], root / path, path) for path in first), speakers


def list_interferers(folder: Path) -> Voices:
    """The recordings of a folder with a folder per speaker, or of another tree, see `openkith.data.corpus`.

    Raises:
        ManifestError: It is no such folder.
    """
    top = Path(os.path.abspath(folder))  # noqa: PTH100  (links stay as the user named them)
    utterances = load_corpus(folder).utterances
    return _voices(
        (each.speaker, each.path, Path(os.path.relpath(each.path, top)).as_posix()) for each in utterances
    )


def check_voices(
    tests: Sequence[TestFile],
    voices: Voices,
    tree: NoiseTree | None,
    options: SimulationOptions,
    source: Path,
) -> None:
    """Make sure that there is something to mix in, for every test utterance and scenario.

    Raises:
        NotEnoughDataError: All speakers enrol in the trials of one test utterance.
        ConfigError: The noise folder has nothing but responses.
    """
    if "noisy" in options.scenarios and tree is not None and not noise_kinds(0, tree):
        raise ConfigError(
            f"{tree.root}: no noise, music or speech in it; give another folder, or leave the scenario noisy out"
        )
    if not set(TWO_TALKERS) & set(options.scenarios):
        return
    for test in tests:
        if not voices.besides(test.avoided):
            raise NotEnoughDataError(
                f"{source}: nobody is left to interfere with {test.path}: all {len(voices.speakers)} speakers enrol in "
                "its trials; give a folder of other speakers with --interferers"
            )


def output_path(scenario: str, path: str) -> str:
    """Where the file of a test utterance is written, relative to the folder of the run."""
    pure = PurePosixPath(scenario) / path
    suffix = pure.suffix if pure.suffix.lower() in AUDIO_SUFFIXES else ""
    return pure.as_posix().removesuffix(suffix) + ".wav"


def _voices(found: Iterable[tuple[str, Path, str]]) -> Voices:
    files: dict[str, list[Source]] = {}
    for speaker, path, shown in found:
        files.setdefault(speaker, []).append(Source(speaker, path, shown))
    return Voices({name: tuple(sorted(own, key=lambda each: each.shown)) for name, own in files.items()})
