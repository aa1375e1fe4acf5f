"""Does `Recognizer.identify` notice a second voice, and say who both are? On test clips of a manifest.

    python benchmarks/several_voices.py ../shared/speech/home-clean.tsv [more.tsv] [--pairs 60] [--clips 200] [--seed 0]

The people of the manifest are enrolled with its enroll rows. Then, at equal levels, test clips of two different people
one after the other (in turn, up to 6 s and up to 3 s of each), and at once, as long as the shorter; and test clips as
they are, of people enrolled and of strangers. Printed are the share taken for several voices, by what the clip itself
sounds like and in the end (`openkith.openset.talkers.sounds_like_several`); and, where it is decided as several, how
many of the two are heard and how many others.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openkith.audio import SAMPLE_RATE, Audio, load, trim_silence
from openkith.data import Row, read_manifest
from openkith.encoders import Encoder, load_encoder
from openkith.neural_scoring.talker_model import shipped_model
from openkith.openset.model import OpenSetModel
from openkith.openset.talkers import decide_talkers, fit_talkers, sounds_like_several, speech_tokens
from openkith.recognizer import Recognizer
from openkith.recognizer.roster import take_snapshot

LONG, SHORT = 6.0, 3.0  # seconds


def read(rows: Sequence[Row]) -> list[Audio]:
    return [load(row.path, start=row.start, end=row.end) for row in rows]


def at_one_level(clip: Audio, seconds: float | None = None) -> NDArray[np.float32]:
    samples = clip.samples if seconds is None else clip.samples[: round(seconds * SAMPLE_RATE)]
    return np.asarray(0.03 * samples / np.sqrt(np.mean(np.square(samples))), np.float32)


def mixtures(first: Audio, second: Audio) -> dict[str, Audio]:
    a, b = at_one_level(first), at_one_level(second)
    n = min(len(a), len(b))
    made = {
        f"in turn, {seconds:g} s": np.concatenate([at_one_level(clip, seconds) for clip in (first, second)])
        for seconds in (LONG, SHORT)
    }
    return {name: Audio(samples, name) for name, samples in {**made, "at once": a[:n] + b[:n]}.items()}


def noticed(talkers: OpenSetModel, encoder: Encoder, clip: Audio) -> tuple[bool, bool]:
    tokens = speech_tokens(encoder, trim_silence(clip))
    return shipped_model().several_voices(tokens) > 0.0, sounds_like_several(talkers, tokens)


def measure(encoder: Encoder, path: Path, pairs: int, clips: int, seed: int) -> None:
    manifest, rng = read_manifest(path), np.random.default_rng(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        Recognizer(Path(folder) / "gallery.db", encoder) as recognizer,
    ):
        for name in manifest.speakers:
            recognizer.enroll(name, read([row for row in manifest.enroll if row.speaker == name]))
        snapshot = take_snapshot(recognizer.gallery, all_clips=True)
    talkers = fit_talkers(snapshot.enrolment()[0], encoder.fingerprint)
    assert talkers is not None
    test = [manifest.test[i] for i in rng.permutation(len(manifest.test))[:clips]]
    alone = [noticed(talkers, encoder, clip) for clip in read(test)]
    print(
        f"\n{manifest.name}: {len(snapshot.names)} people\n"
        f"{'':18}{'clip itself':>12}{'in all':>9}{'heard':>8}{'others':>8}"
    )
    print(
        f"{'one voice':18}{np.mean([own for own, _ in alone]):12.1%}{np.mean([full for _, full in alone]):9.1%}"
    )
    known = [row for row in manifest.test if row.speaker in manifest.speakers]
    found: dict[str, list[tuple[float, ...]]] = {}
    while len(next(iter(found.values()), [])) < pairs:
        rows = [known[i] for i in rng.choice(len(known), 2, replace=False)]
        people = {row.speaker for row in rows}
        if len(people) < 2:
            continue
        for name, clip in mixtures(*read(rows)).items():
            speech = trim_silence(clip)
            tokens = speech_tokens(encoder, speech)
            decision = decide_talkers(talkers, snapshot.names, encoder, tokens, clip, speech.seconds)
            heard = {person.name for person in decision.heard}
            counts = len(heard & people), len(heard - people)
            found.setdefault(name, []).append((*noticed(talkers, encoder, clip), *counts))
    for name, own in found.items():
        itself, full, both, others = np.mean(np.array(own, float), axis=0)
        print(f"{name:18}{itself:12.1%}{full:9.1%}{both:8.2f}{others:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--pairs", type=int, default=60, help="of test clips of two people enrolled")
    parser.add_argument("--clips", type=int, default=200, help="of one voice, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    encoder = load_encoder("ge2e", threads=1)
    for path in options.manifests:
        measure(encoder, path, options.pairs, options.clips, options.seed)


if __name__ == "__main__":
    main()
