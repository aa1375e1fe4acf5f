"""GE2E beside the package its weights come from. `python benchmarks/encoder_parity.py`.

Resemblyzer 0.1.4 and librosa are installed by pip into a folder of their own (`--install DIR`; otherwise a
temporary one) and imported from there. 40 clips of the test speech, ten from each of its folders, are
preprocessed by Resemblyzer; the same waveform goes to both. The smallest cosine of the two embeddings must
be 0.9999 or more. Seconds are of the embedding alone, both on one thread, clip by clip in turn, the median of
the repeats. Exits 1 on a miss.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from threadpoolctl import threadpool_limits

from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.encoders.networks.ge2e import GE2E

SPEECH = Path(os.environ.get("KITH_TEST_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
FOLDERS = ("home", "strangers", "digits", "degraded")
CLIPS_PER_FOLDER = 10
LEAST_COSINE = 0.9999
LEAST_SECONDS = 0.1  # what preprocessing must leave of a clip: of some digits it leaves nothing
REPEATS = 5
SHARED = ("numpy", "scipy", "scikit-learn", "soundfile", "soxr", "joblib")  # same versions in both folders


def install(folder: Path) -> None:
    """Put Resemblyzer, without its dependencies (webrtcvad no longer builds), and librosa in a folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    constraints = folder / "constraints.txt"
    folder.mkdir(parents=True, exist_ok=True)
    constraints.write_text("".join(f"{name}=={importlib.metadata.version(name)}\n" for name in SHARED))
    subprocess.run([*pip, "--target", str(folder), "--no-deps", "Resemblyzer==0.1.4"], check=True)
    subprocess.run([*pip, "--target", str(folder), "-c", str(constraints), "librosa"], check=True)


def import_resemblyzer(folder: Path) -> Any:
    """Import from that folder; what this environment has too is taken from this environment."""
    sys.path.append(str(folder))
    sys.modules["scipy.ndimage.morphology"] = scipy.ndimage  # where binary_dilation was in 2019
    import resemblyzer

    assert Path(resemblyzer.__file__).is_relative_to(folder)
    return resemblyzer


def preprocessed_clips(resemblyzer: Any, speech: Path) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    chosen = []
    for folder in FOLDERS:
        files = sorted(file for file in (speech / folder).rglob("*") if file.suffix in {".wav", ".flac"})
        wanted = len(chosen) + CLIPS_PER_FOLDER
        for i in rng.permutation(len(files)):
            if len(chosen) == wanted:
                break
            samples = np.asarray(resemblyzer.preprocess_wav(load(files[i]).samples), np.float32)
            if len(samples) >= LEAST_SECONDS * SAMPLE_RATE:
                chosen.append((str(files[i].relative_to(speech)), samples))
        if len(chosen) < wanted:
            sys.exit(f"{speech / folder}: fewer than {CLIPS_PER_FOLDER} usable clips")
    return chosen


def compare(resemblyzer: Any, speech: Path) -> int:
    clips = preprocessed_clips(resemblyzer, speech)
    torch.set_num_threads(1)
    threadpool_limits(1)
    theirs = resemblyzer.VoiceEncoder(device="cpu", verbose=False)
    ours = GE2E(threads=1, repeat_short=False)  # repeating is ours
    audio = [Audio(samples, name) for name, samples in clips]
    theirs.embed_utterance(clips[0][1])  # librosa compiles on first use
    ours.embed(audio[:1])

    cosines: list[float] = []
    seconds: list[tuple[float, float, float]] = []
    for _ in range(REPEATS):
        spent_theirs = spent_ours = 0.0
        cosines.clear()
        for clip, (_, samples) in zip(audio, clips, strict=True):
            start = time.perf_counter()
            reference = theirs.embed_utterance(samples)
            middle = time.perf_counter()
            embedding = ours.embed([clip])[0]
            spent_ours += time.perf_counter() - middle
            spent_theirs += middle - start
            cosines.append(
                float(reference @ embedding / np.linalg.norm(reference) / np.linalg.norm(embedding))
            )
        start = time.perf_counter()
        ours.embed(audio)
        seconds.append((spent_theirs, spent_ours, time.perf_counter() - start))
    theirs_s, ours_s, batched_s = (statistics.median(column) for column in zip(*seconds, strict=True))

    total = sum(clip.seconds for clip in audio)
    lowest = int(np.argmin(cosines))
    print(f"{len(clips)} clips, {total:.0f} s of speech, {audio[0].sample_rate} Hz, one thread")
    print(f"smallest cosine: {cosines[lowest]:.7f} on {clips[lowest][0]} (at least {LEAST_COSINE})")
    print(f"Resemblyzer {theirs_s:.3f} s; here {ours_s:.3f} s clip by clip, {batched_s:.3f} s in one batch")
    print(f"throughput here / Resemblyzer: {theirs_s / ours_s:.2f}, in one batch {theirs_s / batched_s:.2f}")
    return 0 if cosines[lowest] >= LEAST_COSINE else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare GE2E with Resemblyzer 0.1.4 on real speech.")
    parser.add_argument(
        "--install", type=Path, metavar="DIR", help="install Resemblyzer here, or find it here"
    )
    parser.add_argument(
        "--speech", type=Path, default=SPEECH, metavar="DIR", help="the folder of test speech"
    )
    arguments = parser.parse_args()
    if not (arguments.speech / "home").is_dir():
        parser.error(f"{arguments.speech}: no test speech there")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.install or Path(temporary)).resolve()
        if not (folder / "resemblyzer").is_dir():
            install(folder)
        return compare(import_resemblyzer(folder), arguments.speech)


if __name__ == "__main__":
    sys.exit(main())
