"""Speed and memory of GE2E beside Resemblyzer 0.1.4. `python benchmarks/encoder_speed.py`.

1. One thread, from file to embedding, file by file in turn, and ours once more in batches of 16: load, voice activity,
   mel powers, LSTM, and where the time goes. At least 1.25 times as fast in float32 and, where the processor computes
   in bfloat16, 2 times in that. Cosine of the two embeddings of one waveform, as Resemblyzer preprocesses it: at least
   0.9999 and 0.998. (From the file the two differ more: Resemblyzer raises a quiet clip before silences are cut,
   and keeps its DC.) CPU seconds of the process, so that a busy machine does not count.
2. All cores, 250 files of a folder, each in a process of its own with the threads it takes by default: Resemblyzer as
   its README uses it, file after file, and `embed_files`. At least 2.5 times as fast in float32, 4 times in bfloat16.
   Seconds by the clock: give it a quiet machine.
3. 200 clips of 1 to 15 s in one call and one by one: to reach 1.5 times, equal to 1e-4. On one thread, CPU seconds;
   and with the default threads, by the clock.
4. `embed_file_windows` on files of 10 minutes and of 2 hours, each in a process of its own: under 1.5 GB at the peak.

Ratios are medians over rounds, in each of which all run in turn. Resemblyzer and librosa are installed by pip into a
folder of their own (`--install DIR`, otherwise a temporary one). Exits 1 on a miss.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from encoder_parity import SPEECH, import_resemblyzer, install
from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.encoders.clips.streaming import embed_file_windows, embed_files
from openkith.encoders.networks.ge2e import GE2E

PARTS = ("one-thread", "cores", "batch", "long")
WORKER_PARTS = ("cores-resemblyzer", "cores-ours", "batch-ours", "long-ours")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
STEPS = ("load", "voice activity", "mel powers", "LSTM")
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.998}
LEAST_ONE_THREAD = {"float32": 1.25, "bfloat16": 2.0}
LEAST_CORES = {"float32": 2.5, "bfloat16": 4.0}
LEAST_BATCH = 1.5
LARGEST_DIFFERENCE = 1e-4
MOST_BYTES = 1.5e9
BATCH = 16
BATCH_CLIPS, BATCH_SECONDS = 200, (1.0, 15.0)
LONG_SECONDS = (600, 7200)

misses: list[str] = []


def judge(what: str, value: float, least: float, text: str = "{:.2f}") -> str:
    """The value beside what it has to reach; a miss is remembered."""
    if not value >= least:
        misses.append(what)
    return f"{text.format(value)} (at least {least:g}{'' if value >= least else ', MISSED'})"


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16: elsewhere it is slower than float32."""
    cpu = torch.cpu
    return any(
        bool(getattr(cpu, name, lambda: False)())
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def precisions() -> list[str]:
    return ["float32", *(["bfloat16"] if has_bfloat16() else [])]


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux ru_maxrss also counts what the process was before it became Python
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def speech_files(speech: Path, count: int, scratch: Path) -> list[Path]:
    """Recordings of the test speech, each third of them long; made-up ones where there is none."""
    found = [*sorted(speech.glob("home/**/*.flac")), *sorted(speech.glob("strangers/**/*.flac"))]
    if found:
        found += sorted(speech.glob("degraded/**/*.flac"))
        rng = np.random.default_rng(0)
        return [found[i] for i in sorted(rng.permutation(min(len(found), max(count, 226)))[:count])]
    made = []
    for i in range(count):
        made.append(scratch / f"{i}.flac")
        soundfile.write(made[-1], made_up(np.random.default_rng(i), 2.0 + i % 13), SAMPLE_RATE)
    return made


def made_up(rng: np.random.Generator, seconds: float) -> NDArray[np.float64]:
    """Pulses through resonances, in syllables, with pauses."""
    n = round(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    pitch, x = rng.uniform(90, 220), np.zeros(n)
    for k in range(1, int(4000 / pitch)):
        level = np.exp(
            -0.5 * ((k * pitch - rng.uniform([300, 900, 2000], [800, 1900, 3200])) / 150) ** 2
        ).sum()
        x += (level + 0.01) * np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6))
    x *= np.clip(np.sin(2 * np.pi * 3 * t), 0, None) * (np.sin(2 * np.pi * t / 4) > -0.7)
    return 0.3 * x / np.abs(x).max() + 1e-4 * rng.standard_normal(n)


class Profile:
    """CPU seconds by the name of what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start
        return result

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def theirs_from_file(resemblyzer: Any, encoder: Any, path: Path, profile: Profile) -> NDArray[np.float32]:
    import librosa

    samples, rate = profile("load", lambda: librosa.load(str(path), sr=None))
    wave = profile("voice activity", lambda: resemblyzer.preprocess_wav(samples, rate))
    mel = resemblyzer.audio.wav_to_mel_spectrogram
    mels = Profile()
    resemblyzer.voice_encoder.audio.wav_to_mel_spectrogram = lambda x: mels("mel powers", lambda: mel(x))
    try:
        embedding = profile("LSTM", lambda: encoder.embed_utterance(wave))
    finally:
        resemblyzer.voice_encoder.audio.wav_to_mel_spectrogram = mel
    profile.seconds["LSTM"] -= mels.total
    profile.seconds["mel powers"] = profile.seconds.get("mel powers", 0.0) + mels.total
    return np.asarray(embedding)


def ours_from_files(encoder: GE2E, paths: list[Path], profile: Profile) -> NDArray[np.float32]:
    audio = profile("load", lambda: [load(path) for path in paths])
    clips = profile("voice activity", lambda: [trim_silence(clip) for clip in audio])
    windows = profile("mel powers", lambda: [encoder._windows(clip)[1] for clip in clips])
    return np.asarray(profile("LSTM", lambda: encoder._mean_of_windows(windows)))


def one_thread(resemblyzer: Any, files: list[Path], rounds: int) -> None:
    theirs = resemblyzer.VoiceEncoder(device="cpu", verbose=False)
    ours = {precision: GE2E(threads=1, precision=precision) for precision in precisions()}
    theirs_from_file(resemblyzer, theirs, files[0], Profile())  # librosa compiles on first use
    for encoder in ours.values():
        ours_from_files(encoder, files[:2], Profile())

    names = [
        "Resemblyzer",
        *(f"{precision}, {how}" for precision in ours for how in ("one by one", "batches")),
    ]
    profiles: dict[str, list[Profile]] = {name: [] for name in names}
    from_file: dict[str, list[float]] = {precision: [] for precision in ours}
    for _ in range(rounds):
        for name in names:
            profiles[name].append(Profile())
        for first in range(0, len(files), BATCH):
            group = files[first : first + BATCH]
            expected = []
            for path in group:
                expected.append(theirs_from_file(resemblyzer, theirs, path, profiles[names[0]][-1]))
                for precision, encoder in ours.items():
                    ours_from_files(encoder, [path], profiles[f"{precision}, one by one"][-1])
            for precision, encoder in ours.items():
                found = ours_from_files(encoder, group, profiles[f"{precision}, batches"][-1])
                from_file[precision] += (found * np.array(expected)).sum(axis=1).tolist()

    print(f"{len(files)} files, one thread; share of Resemblyzer's CPU seconds, median of {rounds} rounds:")
    print(f"{'':24}" + "".join(f"{step:>16}" for step in [*STEPS, "all", "times as fast"]))
    for name in names:
        ratios = [p.total / q.total for p, q in zip(profiles[names[0]], profiles[name], strict=True)]
        shares = [
            statistics.median(
                q.seconds.get(step, 0.0) / p.total
                for p, q in zip(profiles[names[0]], profiles[name], strict=True)
            )
            for step in STEPS
        ]
        text = "".join(f"{share:16.1%}" for share in [*shares, 1 / statistics.median(ratios)])
        least = LEAST_ONE_THREAD.get(name.partition(",")[0], 1.0)
        print(f"{name:24}{text}   " + judge(f"one thread, {name}", statistics.median(ratios), least))
    waves = [resemblyzer.preprocess_wav(path) for path in files]
    expected = np.array([theirs.embed_utterance(wave) for wave in waves])
    clips = [Audio(np.asarray(wave, np.float32), str(path)) for wave, path in zip(waves, files, strict=True)]
    for precision, encoder in ours.items():
        cosine = float((encoder.embed(clips) * expected).sum(axis=1).min())
        print(
            f"{precision}: smallest cosine to Resemblyzer's, same waveform "
            + judge(f"cosine, {precision}", cosine, LEAST_COSINE[precision], "{:.7f}")
            + f"; from the file: median {statistics.median(from_file[precision]):.5f}, "
            f"smallest {min(from_file[precision]):.5f}"
        )


def worker(arguments: list[str], paths: list[Path]) -> dict[str, float]:
    """Run this file once more, with the default threads, and read what it prints last."""
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(arguments: argparse.Namespace) -> None:
    """What one of those processes does."""
    paths = [Path(line) for line in sys.stdin.read().splitlines()]
    if arguments.work == "cores-resemblyzer":
        resemblyzer = import_resemblyzer(arguments.install.resolve())
        encoder = resemblyzer.VoiceEncoder(verbose=False)
        encoder.embed_utterance(resemblyzer.preprocess_wav(paths[0]))
        start = time.perf_counter()
        for path in paths:
            encoder.embed_utterance(resemblyzer.preprocess_wav(path))
    elif arguments.work == "cores-ours":
        ours = GE2E(precision=arguments.precision)
        list(embed_files(ours, paths[:3]))
        start = time.perf_counter()
        assert len(list(embed_files(ours, paths))) == len(paths)
    elif arguments.work == "batch-ours":
        ours = GE2E(precision=arguments.precision)
        ratios, _ = batch_ratios(ours, make_clips(paths), arguments.rounds, time.perf_counter)
        print(json.dumps({"ratio": statistics.median(ratios)}))
        return
    else:
        ours = GE2E(precision=arguments.precision)
        start = time.perf_counter()
        windows = sum(len(times) for times, _ in embed_file_windows(ours, paths[0]))
        found = {"seconds": time.perf_counter() - start, "windows": windows, "peak": peak_bytes()}
        print(json.dumps(found))
        return
    print(json.dumps({"seconds": time.perf_counter() - start}))


def cores(folder: Path, files: list[Path], rounds: int) -> None:
    ratios: dict[str, list[float]] = {precision: [] for precision in precisions()}
    for _ in range(rounds):
        theirs = worker(["--work", "cores-resemblyzer", "--install", str(folder)], files)["seconds"]
        for precision, found in ratios.items():
            ours = worker(["--work", "cores-ours", "--precision", precision], files)["seconds"]
            found.append(theirs / ours)
    print(f"{len(files)} files, {os.cpu_count()} cores, default threads, {rounds} rounds:")
    for precision, found in ratios.items():
        text = judge(f"all cores, {precision}", statistics.median(found), LEAST_CORES[precision])
        print(f"{precision}: times as fast as Resemblyzer {text}; {min(found):.2f} to {max(found):.2f}")


def make_clips(files: list[Path]) -> list[Audio]:
    rng = np.random.default_rng(0)
    voice = np.concatenate([trim_silence(load(path)).samples for path in files[:40]])
    clips = []
    for seconds in rng.uniform(*BATCH_SECONDS, BATCH_CLIPS):
        size = round(seconds * SAMPLE_RATE)
        start = rng.integers(0, max(1, len(voice) - size))
        clips.append(Audio(voice[start : start + size].copy(), "<part>"))
    return clips


def batch_ratios(
    encoder: GE2E, clips: list[Audio], rounds: int, clock: Callable[[], float]
) -> tuple[list[float], float]:
    """Seconds one by one over seconds of one call, in each round; and the largest difference of the embeddings."""
    encoder.embed(clips[:4])
    ratios, difference = [], 0.0
    for _ in range(rounds):
        start = clock()
        alone = np.concatenate([encoder.embed([clip]) for clip in clips])
        middle = clock()
        together = encoder.embed(clips)
        ratios.append((middle - start) / (clock() - middle))
        difference = max(difference, float(np.abs(alone - together).max()))
    return ratios, difference


def batch(files: list[Path], rounds: int) -> None:
    clips = make_clips(files)
    print(f"{BATCH_CLIPS} clips of {BATCH_SECONDS[0]:g} to {BATCH_SECONDS[1]:g} s, {rounds} rounds:")
    for precision in precisions():
        ratios, difference = batch_ratios(
            GE2E(threads=1, precision=precision), clips, rounds, time.process_time
        )
        if difference > LARGEST_DIFFERENCE:
            misses.append(f"batch equals single clips, {precision}")
        text = judge(f"batch, one thread, {precision}", statistics.median(ratios), LEAST_BATCH)
        arguments = ["--work", "batch-ours", "--precision", precision, "--rounds", str(rounds)]
        cores_ratio = worker(arguments, files)["ratio"]
        print(
            f"{precision}: one call is {text} times as fast as one by one on one thread; "
            f"{cores_ratio:.2f} times on all cores; largest difference {difference:.1e}"
        )


def long(files: list[Path], scratch: Path) -> None:
    voice = np.concatenate([load(path).samples for path in files[:40]])
    peaks = []
    for seconds in LONG_SECONDS:
        path = scratch / f"{seconds}.wav"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
            left = seconds * SAMPLE_RATE
            while left > 0:
                file.write(voice[:left])
                left -= len(voice)
        found = worker(["--work", "long-ours", "--precision", precisions()[-1]], [path])
        path.unlink()
        peaks.append(found["peak"])
        print(
            f"{seconds / 60:.0f} minutes: {found['windows']:.0f} windows, "
            f"{seconds / found['seconds']:.0f} times as fast as it plays ({precisions()[-1]}), "
            f"peak {found['peak'] / 1e9:.2f} GB"
        )
    if peaks[-1] > MOST_BYTES:
        misses.append("memory of a long file")
    print(f"peak of 2 hours {peaks[-1] / 1e9:.2f} GB (at most {MOST_BYTES / 1e9:g})")


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed and memory of GE2E beside Resemblyzer 0.1.4.")
    parser.add_argument(
        "--install", type=Path, metavar="DIR", help="install Resemblyzer here, or find it here"
    )
    parser.add_argument(
        "--speech", type=Path, default=SPEECH, metavar="DIR", help="the folder of test speech"
    )
    parser.add_argument("--files", type=int, default=250, help="of part 2; part 1 takes a quarter of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; can be given again")
    parser.add_argument("--work", choices=WORKER_PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments)
        return 0
    threadpool_limits(1)  # the processes of part 2 have no such limit
    torch.set_num_threads(1)
    chosen = arguments.only or PARTS
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folder = (arguments.install or scratch / "resemblyzer").resolve()
        if {"one-thread", "cores"} & set(chosen) and not (folder / "resemblyzer").is_dir():
            install(folder)
        files = speech_files(arguments.speech, arguments.files, scratch)
        for part in chosen:
            if part == "one-thread":
                one_thread(import_resemblyzer(folder), files[:: max(1, min(4, len(files)))], arguments.rounds)
            elif part == "cores":
                cores(folder, files, arguments.rounds)
            elif part == "batch":
                batch(files, arguments.rounds)
            else:
                long(files, scratch)
            print(flush=True)
    for miss in misses:
        print(f"missed: {miss}")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
