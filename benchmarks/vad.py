"""Both voice activity detectors: speed, and what they do to errors. `python benchmarks/vad.py ../shared/speech`.

1. Milliseconds of CPU for a second of audio, on one thread, in turn over the same clips; webrtc is the reference.
2. For each manifest: clips are trimmed by the detector, embedded by GE2E (plain view), and each test clip is scored by
   its cosine to the mean of each person's enrolment clips. EER over all trials, EER of known against unknown on the
   largest score of each clip, and the seconds of speech that are left. No threshold and no parameter of a detector was
   chosen on these rows. "none": nothing is trimmed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from openkith.audio import Audio, load, trim_silence
from openkith.audio.vad import DETECTORS, speech_mask
from openkith.data.manifest import Manifest, Row, read_manifest
from openkith.encoders.networks.ge2e import GE2E
from openkith.metrics import detection_scores, eer, trial_scores

SPEED_CLIPS = 40
NONE = "none"
TRIMMED = (NONE, *DETECTORS)

Key = tuple[Path, float | None, float | None]


def speed(clips: list[Audio], rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in DETECTORS}
    for turn in range(rounds + 1):
        spent = dict.fromkeys(DETECTORS, 0.0)
        for clip in clips:
            for name in DETECTORS:
                start = time.process_time()
                speech_mask(clip, name)
                spent[name] += time.process_time() - start
        if turn:  # the first warms up
            for name, value in spent.items():
                seconds[name].append(value)
    total = sum(clip.seconds for clip in clips)
    print(f"{len(clips)} clips, {total:.0f} s, one thread, median of {rounds} rounds")
    reference = seconds["webrtc"]
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, reference, strict=True))
        print(
            f"{name}: {1000 * statistics.median(values) / total:.2f} ms a second, {ratio:.1f} times webrtc's"
        )


def embedded(
    encoder: GE2E, rows: list[Row], kept: dict[Key, dict[str, tuple[NDArray[np.float32], float]]]
) -> None:
    """Embed what is not yet, under every detector."""
    new = list(dict.fromkeys(key_of(row) for row in rows if key_of(row) not in kept))
    for first in range(0, len(new), 64):
        clips = [load(path, start=start, end=end) for path, start, end in new[first : first + 64]]
        for name in TRIMMED:
            trimmed = clips if name == NONE else [trim_silence(clip, name) for clip in clips]
            for key, clip, embedding in zip(
                new[first : first + 64], trimmed, encoder.embed(trimmed), strict=True
            ):
                kept.setdefault(key, {})[name] = embedding, clip.seconds


def key_of(row: Row) -> Key:
    return row.path, row.start, row.end


def errors(
    manifest: Manifest, of_key: dict[Key, tuple[NDArray[np.float32], float]]
) -> tuple[float, float, float]:
    """EER, known-against-unknown EER, and mean seconds of a test clip."""
    means = []
    for speaker in manifest.speakers:
        own = [of_key[key_of(row)][0] for row in manifest.enroll if row.speaker == speaker]
        mean = np.mean(own, axis=0)
        means.append(mean / np.linalg.norm(mean))
    heard = [of_key[key_of(row)] for row in manifest.test]
    scores = np.stack([embedding for embedding, _ in heard]) @ np.stack(means).T
    index = {speaker: i for i, speaker in enumerate(manifest.speakers)}
    labels = np.array([index.get(row.speaker, -1) for row in manifest.test])
    known = (
        eer(*detection_scores(scores, labels)) if (labels < 0).any() and (labels >= 0).any() else float("nan")
    )
    return eer(*trial_scores(scores, labels)), known, statistics.mean(seconds for _, seconds in heard)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Both voice activity detectors: speed, and what they do to errors."
    )
    parser.add_argument("speech", type=Path, help="a folder of manifests (.tsv)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    paths = sorted(arguments.speech.glob("*.tsv"))
    if not paths:
        parser.error(f"{arguments.speech}: no manifests there")
    threadpool_limits(1)
    manifests = {path.stem: read_manifest(path) for path in paths}
    files = list(dict.fromkeys(row.path for manifest in manifests.values() for row in manifest.rows))
    speed(
        [load(path) for path in files[:: max(1, len(files) // SPEED_CLIPS)][:SPEED_CLIPS]], arguments.rounds
    )

    encoder = GE2E(threads=1)
    kept: dict[Key, dict[str, tuple[NDArray[np.float32], float]]] = {}
    print(
        f"\n{'EER / known or not, %':16}"
        + "".join(f"{name:>16}" for name in TRIMMED)
        + "   seconds of a test clip"
    )
    table = []
    for name, manifest in manifests.items():
        embedded(encoder, [*manifest.enroll, *manifest.test], kept)
        found = [errors(manifest, {key: one[trim] for key, one in kept.items()}) for trim in TRIMMED]
        table.append([row[:2] for row in found])
        cells = "".join(f"{100 * one:9.2f} /{100 * two:5.1f}" for one, two, _ in found)
        print(f"{name:22}{cells}   " + " / ".join(f"{seconds:.2f}" for *_, seconds in found), flush=True)
    mean = np.nanmean(np.array(table), axis=0)
    print(f"{'mean':22}" + "".join(f"{100 * one:9.2f} /{100 * two:5.1f}" for one, two in mean))
    return 0


if __name__ == "__main__":
    sys.exit(main())
