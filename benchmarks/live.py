"""Live decisions beside `identify` on whole files, and warnings of replays. On the test clips of manifests.

    python benchmarks/live.py ../shared/speech/home-*.tsv [--clips 60] [--seed 0] [--only replay]

The people of each manifest are enrolled with its enroll rows, and a head is tuned.

Live: test clips, drawn at random, are streamed in chunks of 100 ms with a second and a half of faint noise at either
end. Of the clips that are one utterance:
  same as file     the final decision has the status and the name that `identify` gives for the file (the reference)
  first name       seconds of speech, and of audio since the voice began, at the first update with the right name as
                   "known"; median and 90th percentile, of known people whom the file's decision names
  early            share of utterances with an early answer, after how much speech, and how many of these answers are
                   what the file's decision says
  name changes     of updates and the final decision, after the first one, per utterance, guesses of "unsure" ones
                   included; and in how many utterances a name that was said for sure ("known") is not what the final
                   decision says: as shown, and as the same updates decided (raw), without hysteresis
  cost             seconds of one core's time per second of audio: all updates; with the final decision

Replay: every test clip is honest, and every warning a false alarm; strangers are checked as if they had been taken for
the first person, whose clips they are compared with. Then copies of the enrolled clips: how many are noticed, by check.
Cost of the checks beside that of `identify`. Bit errors of fingerprints (a copy is told by 20 % or less): the most of
any copy, and the fewest of any honest clip in any alignment with an enrolled one.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from threadpoolctl import threadpool_limits

from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.audio.fingerprint import LEAST_WORDS, Fingerprint, FingerprintIndex, fingerprint
from openkith.data import Row, read_manifest
from openkith.data.manifest import Manifest
from openkith.encoders import Encoder, load_encoder
from openkith.openset.decision import Decision
from openkith.openset.talkers import Voices
from openkith.recognizer import Recognizer
from openkith.recognizer.live import LiveEvent, LiveSession
from openkith.recognizer.replay import KnownRecordings, warnings_for

CHUNK = SAMPLE_RATE // 10
SILENCE = round(1.5 * SAMPLE_RATE)
FAINT = 10 ** (-75 / 20)  # RMS of the noise around clips
COPIED = 15  # enrolled clips that are copied in each way
ALIGNED = 8192  # words of two clips that are laid over each other: 47 s each at most

Samples = NDArray[np.float32]


class Watched:
    """A recogniser that keeps what it decided, and how long that took."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self.decided: list[tuple[Voices, Decision, float]] = []

    def identify(self, clip: Audio, *, voices: Voices = "auto") -> Decision:
        began = time.thread_time()
        decision = self._recognizer.identify(clip, voices=voices)
        self.decided.append((voices, decision, time.thread_time() - began))
        return decision


def read(row: Row) -> Audio:
    return load(row.path, start=row.start, end=row.end)


@dataclass
class Live:
    """What was seen of the clips of a manifest."""

    clips: int = 0
    utterances: int = 0
    alone: int = 0  # clips that are one utterance
    same: int = 0
    named: int = 0  # clips of known people whom the file's decision names
    first_speech: list[float] = field(default_factory=list)
    first_audio: list[float] = field(default_factory=list)
    early_speech: list[float] = field(default_factory=list)
    early_right: int = 0
    shown_changes: list[int] = field(default_factory=list)
    raw_changes: list[int] = field(default_factory=list)
    shown_withdrawn: int = 0
    raw_withdrawn: int = 0
    audio_seconds: float = 0.0
    update_cost: float = 0.0
    final_cost: float = 0.0


def changes(decisions: list[Decision]) -> int:
    names = [decision.name for decision in decisions]
    return sum(a != b for a, b in pairwise(names))


def withdrawn(decisions: list[Decision]) -> bool:
    """Whether a name was said for sure that is not that of the last decision."""
    last = decisions[-1]
    final = last.name if last.status == "known" else None
    return any(decision.status == "known" and decision.name != final for decision in decisions)


def stream(watched: Watched, audio: Audio, rng: np.random.Generator) -> list[LiveEvent]:
    quiet = [(FAINT * rng.standard_normal(SILENCE)).astype(np.float32) for _ in range(2)]
    samples = np.concatenate([quiet[0], audio.samples, quiet[1]])
    session = LiveSession(watched, clock=time.thread_time)  # one core, as if nothing else ran on it
    events: list[LiveEvent] = []
    for start in range(0, len(samples), CHUNK):
        events += session.feed(samples[start : start + CHUNK])
    return events + session.finish()


def observe(live: Live, recognizer: Recognizer, row: Row, known: bool, rng: np.random.Generator) -> None:
    audio = read(row)
    reference = recognizer.identify(audio)
    watched = Watched(recognizer)
    events = stream(watched, audio, rng)
    live.clips += 1
    live.utterances += sum(event.kind == "final" for event in events)
    live.audio_seconds += audio.seconds + 2 * SILENCE / SAMPLE_RATE
    updating = [(decision, cost) for voices, decision, cost in watched.decided if voices == "one"]
    live.update_cost += sum(cost for _, cost in updating)
    live.final_cost += sum(cost for voices, _, cost in watched.decided if voices != "one")
    finals = [event.decision for event in events if event.kind == "final"]
    if len(finals) != 1 or finals[0] is None:
        return
    [final] = finals
    live.alone += 1
    live.same += (final.status, final.name) == (reference.status, reference.name)
    updates = [event for event in events if event.kind == "update" and event.decision]
    shown = [event.decision for event in updates if event.decision]
    raw = [decision for decision, _ in updating]
    live.shown_changes.append(changes([*shown, final]))
    live.raw_changes.append(changes([*raw, final]))
    live.shown_withdrawn += withdrawn([*shown, final])
    live.raw_withdrawn += withdrawn([*raw, final])
    early = [event.decision for event in updates if event.early and event.decision]
    if early:
        live.early_speech.append(early[0].speech_seconds)
        live.early_right += (early[0].status, early[0].name) == (reference.status, reference.name)
    if known and reference.status == "known" and reference.name == row.speaker:
        live.named += 1
        for event in updates:
            said = event.decision
            if said and said.status == "known" and said.name == row.speaker:
                live.first_speech.append(said.speech_seconds)
                live.first_audio.append(event.end - event.start)
                break


def spread(values: list[float]) -> str:
    return "-" if not values else f"{np.median(values):.1f} / {np.quantile(values, 0.9):.1f} s"


def report_live(live: Live) -> None:
    alone = max(live.alone, 1)
    print(f"  live: {live.clips} clips, {live.utterances} utterances, {live.alone} clips are one")
    print(f"    same as file   {live.same / alone:.1%} of {live.alone}")
    print(
        f"    first name     {len(live.first_speech)} of {live.named} before the end; speech "
        f"{spread(live.first_speech)}, audio {spread(live.first_audio)}"
    )
    print(
        f"    early          {len(live.early_speech) / alone:.0%} after {spread(live.early_speech)} of speech; "
        f"{live.early_right} of {len(live.early_speech)} as the file's decision"
    )
    for what, counts, taken in (
        ("shown", live.shown_changes, live.shown_withdrawn),
        ("raw", live.raw_changes, live.raw_withdrawn),
    ):
        print(
            f"    name changes   {what:5} {np.mean(counts):.2f} per utterance, "
            f"none in {np.mean(np.array(counts) == 0):.0%}; said for sure and taken back in {taken}"
        )
    update, both = live.update_cost, live.update_cost + live.final_cost
    print(f"    cost           {update / live.audio_seconds:.2f}; {both / live.audio_seconds:.2f}")


def coded(samples: Samples, form: str, subtype: str, rate: int = SAMPLE_RATE, **options: float) -> Samples:
    """The samples after coding and decoding."""
    file = io.BytesIO()
    soundfile.write(
        file, soxr.resample(samples, SAMPLE_RATE, rate), rate, format=form, subtype=subtype, **options
    )
    file.seek(0)
    return np.asarray(soxr.resample(soundfile.read(file, dtype="float32")[0], rate, SAMPLE_RATE), np.float32)


def copies(samples: Samples, rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    n = len(samples)
    cut = samples[int(rng.uniform(0.1, 0.3) * n) : n - int(rng.uniform(0.1, 0.3) * n)]
    low = {"compression_level": 0.99}
    yield "20 dB down", 0.1 * samples
    yield "12 dB up, clipped", np.clip(4.0 * samples, -1.0, 1.0)
    yield "MP3", coded(samples, "MP3", "MPEG_LAYER_III")
    yield "MP3, lowest rate", coded(samples, "MP3", "MPEG_LAYER_III", **low)
    yield "Ogg Vorbis, lowest", coded(samples, "OGG", "VORBIS", **low)
    yield "Opus", coded(samples, "OGG", "OPUS")
    yield "8 bits", coded(samples, "WAV", "PCM_U8")
    yield "telephone", coded(samples, "WAV", "ULAW", 8000)
    yield "noise, 20 dB SNR", samples + 0.1 * np.sqrt(np.mean(samples**2)) * rng.standard_normal(n)
    yield "cut at both ends", cut
    yield "cut, down, MP3", coded(0.3 * cut, "MP3", "MPEG_LAYER_III", **low)
    yield "2 s of it", samples[n // 3 : n // 3 + 2 * SAMPLE_RATE]


def spectrum(words: Fingerprint) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Fourier transforms over time of the bits, as -1 and 1, (32, f), and of where there is sound, (f,)."""
    words = words[: ALIGNED // 2]
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).astype(np.float32) * 2 - 1
    bits[words == 0] = 0
    return rfft(bits.T, ALIGNED), rfft((words != 0).astype(np.float32), ALIGNED)


def fewest_errors(
    probe: Fingerprint, enrolled: Sequence[tuple[NDArray[np.complex64], NDArray[np.complex64]]]
) -> float:
    """The least share of different bits in any alignment in which enough words are compared."""
    bits, sounding = spectrum(probe)
    fewest = 1.0
    for their_bits, theirs_sounding in enrolled:
        shared = irfft(sounding * theirs_sounding.conj(), ALIGNED)
        agreeing = irfft((bits * their_bits.conj()).sum(axis=0), ALIGNED)
        enough = shared > LEAST_WORDS - 0.5
        if enough.any():
            fewest = min(fewest, float((0.5 - agreeing[enough] / (64 * shared[enough])).min()))
    return fewest


def report_replay(recognizer: Recognizer, manifest: Manifest, rng: np.random.Generator) -> None:
    known = KnownRecordings.of(recognizer.gallery, None)
    people = manifest.speakers
    alarms, cost, usual = 0, 0.0, 0.0
    for i, row in enumerate(manifest.test):
        audio = read(row)
        speech = trim_silence(audio)
        began = time.thread_time()
        found = warnings_for(audio, speech, row.speaker if row.speaker in people else people[0], known)
        if i % 10 == 0:
            cost += time.thread_time() - began
            began = time.thread_time()
            recognizer.identify(audio)  # warns too: a little dearer than without
            usual += time.thread_time() - began
        alarms += bool(found)
        for warning in found:
            print(f"    false alarm: {row.path.name}: {warning}")
    print(
        f"  replay: {alarms} of {len(manifest.test)} honest clips are warned of; {cost / usual:.1%} of identify"
    )
    enrolled = [fingerprint(read(row)) for row in manifest.enroll]
    index = FingerprintIndex(enrolled)
    spectra = [spectrum(words) for words in enrolled]
    fewest = min(fewest_errors(fingerprint(read(row)), spectra) for row in manifest.test)
    most: float = 0.0
    noticed: dict[str, Counter[str]] = {}
    rows = manifest.enroll[:COPIED]
    for row in rows:
        for what, samples in copies(read(row).samples, rng):
            audio = Audio(np.ascontiguousarray(samples, np.float32), what)
            said = warnings_for(audio, trim_silence(audio), row.speaker, known)
            noticed.setdefault(what, Counter()).update(warning.split(":")[0] for warning in said)
            match = index.find(fingerprint(audio))
            most = max(most, 1.0 if match is None else match.errors)
    for what, counts in noticed.items():
        others = ", ".join(f"{check} {count}" for check, count in counts.items() if check != "replay")
        print(f"    {what:20}{counts['replay']:4} of {len(rows)}   {others}")
    print(f"    bit errors: copies {most:.1%} at most, honest clips {fewest:.1%} at least")


def measure(encoder: Encoder, path: Path, clips: int, seed: int, only: str | None) -> None:
    manifest, rng = read_manifest(path), np.random.default_rng(seed)
    print(f"\n{manifest.name}: {len(manifest.speakers)} people", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Recognizer(Path(folder) / "gallery.db", encoder) as recognizer,
    ):
        for name in manifest.speakers:
            recognizer.enroll(name, [read(row) for row in manifest.enroll if row.speaker == name])
        if only != "replay":
            recognizer.tune()
            live = Live()
            for i in rng.permutation(len(manifest.test))[:clips]:
                row = manifest.test[i]
                observe(live, recognizer, row, row.speaker in manifest.speakers, rng)
            report_live(live)
        if only != "live":
            report_replay(recognizer, manifest, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description="Live decisions and warnings of replays.")
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=60, help="that are streamed, of each manifest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("live", "replay"))
    arguments = parser.parse_args()
    with threadpool_limits(1):
        encoder = load_encoder("ge2e", threads=1)
        for path in arguments.manifests:
            measure(encoder, path, arguments.clips, arguments.seed, arguments.only)


if __name__ == "__main__":
    main()
