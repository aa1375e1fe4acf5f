"""Praat in a process of its own: its speech synthesiser (eSpeak NG) and its change of recorded voices.

A call into Praat has been seen to hang. `synthesize` and `change_voices` start ``python -m openkith.data.praat JOB
RESULT`` (this file), wait for as long as the work can need, and end the process if it takes longer. Each call has a
process: eSpeak keeps a state from text to text, so that only a fresh process gives the same samples each time.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.audio.io import SAMPLE_RATE
from openkith.errors import ConfigError, KithError, require

__all__ = ["SYNTHESIZER_RATE", "Change", "Phrase", "change_voices", "synthesize"]

SYNTHESIZER_RATE = 44_100  # Hz
WORD_GAP_SECONDS = 0.01
START_SECONDS = 15.0  # limit for starting Python and Praat
SECONDS_PER_TEXT = 5.0  # limit for one text; 0.05 s is usual
SECONDS_PER_CLIP = 5.0  # limit for one recording, and besides
SECONDS_PER_SECOND = 1.0  # limit for each second of it; 0.02 s is usual
ATTEMPTS = 2
PROGRAM = (sys.executable, "-P", "-m", "openkith.data.praat")  # -P: nothing from the working folder
PITCH_FLOOR, PITCH_CEILING = 60.0, 600.0  # Hz, of the pitch that Praat looks for
SHORTEST_CLIP = 0.06  # seconds: three periods of the lowest pitch, and a little
RANDOM_SEED = 20  # of Praat's generator, which fills voiceless sounds: the same samples each time


@dataclass(frozen=True)
class Phrase:
    """What to say and how, in the terms of Praat's SpeechSynthesizer.

    Attributes:
        language: Praat's name of a language, ``"English (Great Britain)"``.
        voice: Praat's name of a voice variant, ``"Male1"``.
        pitch: Multiplier of the voice's pitch, 0.5 to 2.
        pitch_range: Multiplier of its pitch range, 0 to 2.
        rate: Words per minute.
        text: What to say.
    """

    language: str
    voice: str
    pitch: float
    pitch_range: float
    rate: float
    text: str


@dataclass(frozen=True)
class Change:
    """How to change a recorded voice, in the terms of Praat's command "Change gender".

    Attributes:
        pitch: Multiplier of the median pitch, 0.5 to 2.
        pitch_range: Multiplier of how far the pitch moves about its median, 0 to 3.
        duration: Multiplier of the length, 0.5 to 2.
        formants: Multiplier of the formants, 0.7 to 1.4.

    Raises:
        ConfigError: A value is out of range.
    """

    pitch: float = 1.0
    pitch_range: float = 1.0
    duration: float = 1.0
    formants: float = 1.0

    def __post_init__(self) -> None:
        for field, low, high in (
            ("pitch", 0.5, 2.0),
            ("pitch_range", 0.0, 3.0),
            ("duration", 0.5, 2.0),
            ("formants", 0.7, 1.4),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"change of a voice: {field} is {value}; give {low:g} to {high:g}")


def synthesize(phrases: Sequence[Phrase]) -> list[NDArray[np.float32]]:
    """Say each phrase, in order, in one fresh process.

    Returns:
        One array (n,) float32 for each, at `SYNTHESIZER_RATE`.

    Raises:
        MissingDependencyError: praat-parselmouth is not installed.
        KithError: Praat refuses, crashes, or takes too long twice.
    """
    require("parselmouth", "synthesis", "a synthetic voice")
    return _run(
        "phrases",
        phrases,
        [],
        limit=START_SECONDS + SECONDS_PER_TEXT * len(phrases),
        what=f"Praat's speech synthesiser (voice {phrases[0].voice!r})" if phrases else "",
    )


def change_voices(
    clips: Sequence[NDArray[np.float32]], changes: Sequence[Change], sources: Sequence[str] = ()
) -> list[NDArray[np.float32]]:
    """Change each recording, in order, in one fresh process.

    What has no pitch (a whisper, noise) keeps that; its formants and its length change all the same.

    Args:
        clips: Speech (n,) at 16 kHz, of 0.06 s or more.
        changes: One for each.
        sources: What to call each clip in an error.

    Returns:
        One array (m,) float32 at 16 kHz for each; m is about n times the duration.

    Raises:
        MissingDependencyError: praat-parselmouth is not installed.
        KithError: A clip is too short, or Praat refuses, crashes, or takes too long twice.
    """
    require("parselmouth", "synthesis", "a changed voice")
    names = list(sources) or [f"clip {index + 1}" for index in range(len(clips))]
    seconds = [len(clip) / SAMPLE_RATE for clip in clips]
    for name, length in zip(names, seconds, strict=True):
        if length < SHORTEST_CLIP:
            raise KithError(
                f"{name}: {length:.3f} s is too short to change a voice; give {SHORTEST_CLIP} s or more"
            )
    return _run(
        "changes",
        changes,
        clips,
        limit=START_SECONDS + SECONDS_PER_CLIP * len(clips) + SECONDS_PER_SECOND * sum(seconds),
        what=f"Praat's change of a voice ({names[0]}{' and others' if len(names) > 1 else ''})"
        if names
        else "",
    )


def _run(
    kind: str,
    items: Sequence[Phrase] | Sequence[Change],
    clips: Sequence[NDArray[np.float32]],
    limit: float,
    what: str,
) -> list[NDArray[np.float32]]:
    """One job in a fresh process, and once more if it crashes or takes longer than ``limit`` seconds."""
    if not items:
        return []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.curdir for entry in sys.path)}
    problem = ""
    with tempfile.TemporaryDirectory(prefix="kith-praat-") as folder:
        job, result = Path(folder, "job.json"), Path(folder, "result.npz")
        job.write_text(
            json.dumps({"kind": kind, "items": [dataclasses.asdict(item) for item in items]}),
            encoding="utf-8",
        )
        np.savez(job.with_suffix(".npz"), **{str(index): clip for index, clip in enumerate(clips)})  # type: ignore[arg-type]
        for _ in range(ATTEMPTS):
            try:
                done = subprocess.run(
                    [*PROGRAM, str(job), str(result)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                problem = f"gave no answer within {limit:g} s and was stopped"
                continue
            if done.returncode == 0:
                with np.load(result, allow_pickle=False) as arrays:
                    return [arrays[str(index)] for index in range(len(items))]
            lines = done.stderr.decode("utf-8", "replace").split("\n")
            problem = next(
                (line.strip() for line in reversed(lines) if line.strip()), f"ended with {done.returncode}"
            )
    raise KithError(f"{what}: {problem}; run it again, or install praat-parselmouth anew")


def _say(parselmouth: Any, phrase: Phrase, clip: None) -> NDArray[Any]:  # noqa: ARG001
    synthesizer = parselmouth.praat.call("Create SpeechSynthesizer", phrase.language, phrase.voice)
    parselmouth.praat.call(
        synthesizer,
        "Speech output settings",
        float(SYNTHESIZER_RATE),
        WORD_GAP_SECONDS,
        phrase.pitch,
        phrase.pitch_range,
        phrase.rate,
        "IPA",
    )
    sound = parselmouth.praat.call(synthesizer, "To Sound", phrase.text, "no")
    sound = sound[0] if isinstance(sound, list) else sound
    return np.asarray(sound.values[0])


def _change(parselmouth: Any, change: Change, clip: NDArray[Any]) -> NDArray[Any]:
    call = parselmouth.praat.call
    sound = parselmouth.Sound(np.asarray(clip, dtype=np.float64), float(SAMPLE_RATE))
    pitch = call(sound, "To Pitch", 0.0, PITCH_FLOOR, PITCH_CEILING)
    median = call(pitch, "Get quantile", 0.0, 0.0, 0.5, "Hertz")
    wanted = 0.0  # keep it: there is none
    if math.isfinite(median) and median > 0:
        wanted = min(max(median * change.pitch, PITCH_FLOOR), PITCH_CEILING)
    for pitch_range in (change.pitch_range, 1.0):
        changed = call(
            *(sound, "Change gender", PITCH_FLOOR, PITCH_CEILING),
            *(change.formants, wanted, pitch_range, change.duration),
        )
        if np.any(changed.values[0]) or not np.any(clip):
            break  # with some pitch ranges Praat gives silence; then the range stays as it is
    else:
        raise RuntimeError("Praat made silence of it")
    samples = np.asarray(changed.values[0])
    if not np.isfinite(samples).all():
        raise RuntimeError("the changed voice has samples that are not finite")
    return samples


KINDS: dict[str, tuple[type[Any], Callable[[Any, Any, Any], NDArray[Any]]]] = {
    "phrases": (Phrase, _say),
    "changes": (Change, _change),
}


def _serve(job: Path, result: Path) -> None:
    """In the process of its own: read the job, write its samples."""
    import warnings

    import parselmouth

    warnings.simplefilter("ignore")  # Praat's, of speech without a pitch
    parselmouth.praat.run(f"random_initializeWithSeedUnsafelyButPredictably: {RANDOM_SEED}")
    wanted = json.loads(job.read_text(encoding="utf-8"))
    make, function = KINDS[wanted["kind"]]
    arrays: dict[str, Any] = {}
    with np.load(job.with_suffix(".npz"), allow_pickle=False) as clips:
        for index, item in enumerate(wanted["items"]):
            made = function(parselmouth, make(**item), clips.get(str(index)))
            arrays[str(index)] = np.asarray(made, dtype=np.float32)
    np.savez(result, **arrays)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
