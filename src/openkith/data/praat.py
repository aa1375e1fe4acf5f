"""Praat's speech synthesiser (eSpeak NG) in a process of its own: a call into it has been seen to hang.

`synthesize` starts ``python -m openkith.data.praat JOB RESULT`` (this file), waits for as long as the texts
can need, and ends the process if it takes longer. Each call has a process: eSpeak keeps a state from text to
text, so that only a fresh process gives the same samples each time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openkith.errors import KithError, require

__all__ = ["SYNTHESIZER_RATE", "Phrase", "synthesize"]

SYNTHESIZER_RATE = 44_100  # Hz
WORD_GAP_SECONDS = 0.01
START_SECONDS = 15.0  # limit for starting Python and Praat
SECONDS_PER_TEXT = 5.0  # limit for one text; 0.05 s is usual
ATTEMPTS = 2
PROGRAM = (sys.executable, "-P", "-m", "openkith.data.praat")  # -P: nothing from the working folder


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


def synthesize(phrases: Sequence[Phrase]) -> list[NDArray[np.float32]]:
    """Say each phrase, in order, in one fresh process.

    Returns:
        One array (n,) float32 for each, at `SYNTHESIZER_RATE`.

    Raises:
        MissingDependencyError: praat-parselmouth is not installed.
        KithError: Praat refuses, crashes, or takes too long twice.
    """
    require("parselmouth", "synthesis", "a synthetic voice")
    limit = START_SECONDS + SECONDS_PER_TEXT * len(phrases)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.curdir for entry in sys.path)}
    problem = ""
    with tempfile.TemporaryDirectory(prefix="kith-praat-") as folder:
        job, result = Path(folder, "job.json"), Path(folder, "result.npz")
        job.write_text(json.dumps([dataclasses.asdict(item) for item in phrases]), encoding="utf-8")
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
                    return [arrays[str(index)] for index in range(len(phrases))]
            lines = done.stderr.decode("utf-8", "replace").split("\n")
            problem = next(
                (line.strip() for line in reversed(lines) if line.strip()), f"ended with {done.returncode}"
            )
    raise KithError(
        f"Praat's speech synthesiser (voice {phrases[0].voice!r}): {problem}; "
        "run it again, or install praat-parselmouth anew"
    )


def _serve(job: Path, result: Path) -> None:
    """In the process of its own: read the phrases, write their samples."""
    import parselmouth

    arrays: dict[str, Any] = {}
    for index, item in enumerate(json.loads(job.read_text(encoding="utf-8"))):
        want = Phrase(**item)
        synthesizer = parselmouth.praat.call("Create SpeechSynthesizer", want.language, want.voice)
        parselmouth.praat.call(
            synthesizer,
            "Speech output settings",
            float(SYNTHESIZER_RATE),
            WORD_GAP_SECONDS,
            want.pitch,
            want.pitch_range,
            want.rate,
            "IPA",
        )
        sound = parselmouth.praat.call(synthesizer, "To Sound", want.text, "no")
        sound = sound[0] if isinstance(sound, list) else sound
        arrays[str(index)] = np.asarray(sound.values[0], dtype=np.float32)
    np.savez(result, **arrays)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
