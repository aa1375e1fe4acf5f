"""The demonstration: people enrolled from a few clips, a head tuned to them, later clips named, strangers refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openkith.data import UNKNOWN, Manifest, Utterance, read_corpus, split_corpus
from openkith.data.synthesis import write_household
from openkith.encoders import Encoder, load_encoder
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.evaluation import ClipStore, Progress, Result, evaluate
from openkith.openset.model import AUTO, BASELINE

__all__ = ["DemoOutcome", "DemoPerson", "run_demo"]

PEOPLE = 5  # of a synthetic household, and as many strangers
TELEVISION = 6  # more synthetic voices, to learn from: those of the cohort that ships are people's
MAX_PEOPLE = 10  # of real speech, and as many strangers at most
ENROL_CLIPS = 3
LATER_CLIPS = 4  # of each person and each stranger


@dataclass(frozen=True)
class DemoPerson:
    """An enrolled person: how many clips, and seconds of speech in them."""

    name: str
    clips: int
    seconds: float


@dataclass(frozen=True, eq=False)
class DemoOutcome:
    """What the demonstration gave.

    Attributes:
        synthetic: Whether the voices are eSpeak's; otherwise they were given.
        people: Who was enrolled.
        strangers: Who was not, and is heard nevertheless.
        television: Voices that are neither, and that the head may learn from beside the cohort that ships.
        results: Of cosine, then of what ``kith tune`` would choose, on the same clips.
        seed: Of everything random.
        seconds: Wall time of all of it.
    """

    synthetic: bool
    people: tuple[DemoPerson, ...]
    strangers: tuple[str, ...]
    television: int
    results: tuple[Result, Result]
    seed: int
    seconds: float

    @property
    def tuned(self) -> Result:
        """The result whose decisions are told."""
        return self.results[1]

    @property
    def setting(self) -> str:
        """What was enrolled and heard, in a sentence."""
        voices = "synthetic eSpeak voices" if self.synthetic else f"people of {self.tuned.manifest}"
        room = ", in a noisy room" if self.synthetic else ""
        return (
            f"{len(self.people)} {voices}, enrolled from {ENROL_CLIPS} clips each; heard again in other clips"
            f"{room}, among clips of {len(self.strangers)} strangers"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        tuned = self.tuned
        return {
            "synthetic": self.synthetic,
            "seed": self.seed,
            "people": [asdict(person) for person in self.people],
            "strangers": list(self.strangers),
            "television": self.television,
            "decisions": [
                {"clip": clip, "speaker": truth, **decision.to_dict()}
                for clip, truth, decision in zip(tuned.probes, tuned.truth, tuned.decisions, strict=True)
            ],
            "results": [result.to_dict() for result in self.results],
            "seconds": self.seconds,
        }


def run_demo(
    speech: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    encoder: Encoder | None = None,
) -> DemoOutcome:
    """Enrol people, tune, and hear them and strangers; cosine beside the tuned head.

    Args:
        speech: A corpus that `openkith.data.read_corpus` reads, of which up to ten people and as many strangers are
            taken; default: a household of synthetic voices (extra ``synthesis``), whose later clips are noisy.
        seed: Decides on voices, on who enrols with which clips, and on everything else random.
        progress: Called with what is being done, steps done and steps in all.
        encoder: Default: the default encoder.

    Raises:
        MissingDependencyError: Synthetic voices without the extra ``synthesis``.
        NotEnoughDataError: Nobody has enough clips.
        InputError: The folder or a file in it is not usable, or the seed is negative.
    """
    started = time.perf_counter()
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give an integer from 0 up")
    with tempfile.TemporaryDirectory(prefix="kith-demo-") as scratch:
        manifest = (
            _synthesize(Path(scratch), seed, progress) if speech is None else _choose(Path(speech), seed)
        )
        store = ClipStore(encoder or load_encoder())
        cosine, tuned = evaluate(manifest, (BASELINE, AUTO), store=store, progress=progress)
        enrolled = store.get(manifest.enroll, copies=True)  # embedded already
    people = []
    for name in manifest.speakers:
        own = [clip for row, clip in zip(manifest.enroll, enrolled, strict=True) if row.speaker == name]
        people.append(DemoPerson(name, len(own), sum(clip.speech_seconds for clip in own)))
    return DemoOutcome(
        synthetic=speech is None,
        people=tuple(people),
        strangers=manifest.unknown_speakers,
        television=len({row.speaker for row in manifest.negative}),
        results=(cosine, tuned),
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def _synthesize(folder: Path, seed: int, progress: Progress | None) -> Manifest:
    """A household, strangers, and the voices of the television as negative rows."""

    def step(done: int, total: int) -> None:
        if progress:
            progress("making voices", done, total)

    manifest = write_household(folder, PEOPLE, PEOPLE + TELEVISION, ENROL_CLIPS, LATER_CLIPS, seed, step)
    outside = list(
        dict.fromkeys(row.speaker for row in manifest.test if row.speaker not in manifest.speakers)
    )
    television = set(outside[PEOPLE:])
    rows = [replace(row, role="negative") if row.speaker in television else row for row in manifest.rows]
    return replace(manifest, rows=tuple(rows))


def _choose(folder: Path, seed: int) -> Manifest:
    """A few people of a corpus, and about as many strangers."""
    clips: dict[str, list[Utterance]] = {}
    for utterance in read_corpus(folder):
        clips.setdefault(utterance.speaker, []).append(utterance)
    names = _shuffled(sorted(clips), seed)
    can = [name for name in names if len(clips[name]) > ENROL_CLIPS and name != UNKNOWN]
    if not can:
        raise NotEnoughDataError(
            f"{folder}: nobody in it has {ENROL_CLIPS + 1} clips, {ENROL_CLIPS} to enrol with and one to be "
            "recognised in; add clips"
        )
    n_people = min((len(names) + 1) // 2, len(can), MAX_PEOPLE)
    others = [name for name in names if name not in can] + can[n_people:]
    strangers = others[:n_people]
    heard = [clip for name in [*can[:n_people], *strangers] for clip in clips[name]]
    manifest = split_corpus(
        heard, enroll_clips=ENROL_CLIPS, test_clips=LATER_CLIPS, unknown=len(strangers), seed=seed
    )
    return replace(manifest, name=folder.resolve().name, source=folder)


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
