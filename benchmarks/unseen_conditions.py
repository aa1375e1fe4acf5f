"""Telephone, rooms, other people talking, and moods: `kith tune`'s choice against cosine where nothing was recorded.

    python benchmarks/unseen_conditions.py ../shared/speech/home-clean.tsv [--seeds 2]

The enroll and negative rows of a manifest stay as they are; its test clips are cut to 3 s and degraded in four ways,
none of which any copy is made by:

- telephone: 300-3400 Hz, 8 kHz, mu-law, at -15 to 5 dB;
- room: a box room by image sources (`openkith.audio.rooms`), noise at 18 to 30 dB;
- babble: two to five of the negative people, at 5 to 15 dB;
- mood: pitch, pitch range and tempo changed by Praat (extra `synthesis`), tilt and level changed.

Rates are fractions, means over seeds; "lower" is what `auto` takes off the rate of cosine in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from openkith.audio import SAMPLE_RATE, load, trim_silence
from openkith.audio.degrade import (
    add_noise,
    babble,
    band_limit,
    crop,
    gain,
    match_level,
    noise,
    resample_through,
    spectral_tilt,
)
from openkith.audio.rooms import convolve, draw_room, room_response
from openkith.data.manifest import Manifest, Row, read_manifest
from openkith.data.praat import Change, change_voices
from openkith.encoders import load_encoder
from openkith.encoders.clips.clip_cache import usual_cache
from openkith.evaluation import ClipStore, evaluate

SECONDS = 3.0
Samples = NDArray[Any]


def telephone(x: Samples, rng: np.random.Generator) -> Samples:
    narrow = resample_through(band_limit(x, rng.uniform(250, 350), rng.uniform(3000, 3500)))
    peak = float(np.abs(narrow).max()) or 1.0
    coded = np.round(128 * np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256)) / 128
    heard = peak * np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    return gain(match_level(heard, x), rng.uniform(-15, 5))


def room(x: Samples, rng: np.random.Generator) -> Samples:
    wet = match_level(convolve(x, room_response(draw_room(rng), rng)), x)
    return add_noise(wet, noise(len(wet), "pink", rng), rng.uniform(18, 30))


def mood(rng: np.random.Generator) -> Change:
    pitch, spread, duration = np.exp(rng.uniform(np.log([0.85, 0.6, 0.77]), np.log([1.6, 2.0, 1.3])))
    return Change(float(pitch), float(spread), float(duration), float(rng.uniform(0.98, 1.03)))


def degraded(manifest: Manifest, folder: Path) -> dict[str, Manifest]:
    """A manifest for each condition, its test clips written into the folder."""
    others = [load(row.path, start=row.start, end=row.end).samples for row in manifest.negative]
    kept = [row for row in manifest.rows if row.role != "test"]
    clips, seeds = [], []
    for row in manifest.test:
        seeds.append(zlib.crc32(f"{row.path.name} {row.start} {row.end}".encode()))
        speech = trim_silence(load(row.path, start=row.start, end=row.end)).samples
        clips.append(crop(speech, np.random.default_rng(seeds[-1]), SECONDS))
    rngs = [np.random.default_rng([seed, 1]) for seed in seeds]
    moods = change_voices([clip.astype(np.float32) for clip in clips], [mood(rng) for rng in rngs])
    made = {
        "telephone": [telephone(clip, rng) for clip, rng in zip(clips, rngs, strict=True)],
        "room": [room(clip, rng) for clip, rng in zip(clips, rngs, strict=True)],
        "babble": [
            add_noise(clip, babble([others[i] for i in some], len(clip), rng), rng.uniform(5, 15))
            for clip, rng in zip(clips, rngs, strict=True)
            for some in [rng.choice(len(others), int(rng.integers(2, 6)), replace=False)]
        ],
        "mood": [
            gain(spectral_tilt(clip, rng.uniform(-5, 5)), rng.uniform(-6, 8))
            for clip, rng in zip(moods, rngs, strict=True)
        ],
    }
    manifests = {}
    for name, all_samples in made.items():
        rows = list(kept)
        for i, (row, samples) in enumerate(zip(manifest.test, all_samples, strict=True)):
            path = folder / f"{name}-{i}.wav"
            soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="FLOAT")
            rows.append(Row(path, row.speaker, "test", None, None))
        manifests[name] = Manifest(name, tuple(rows), manifest.source)
    return manifests


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    store = ClipStore(load_encoder(threads=options.threads), usual_cache())
    print(f"{'condition':10} {'method':7} {'EER':>7} {'det.EER':>8} {'OSCR':>6} {'minDCF':>7} {'actDCF':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, manifest in degraded(read_manifest(options.manifest), Path(folder)).items():
            rates = {}
            for method, seeds in (("cosine", 1), ("auto", options.seeds)):
                metrics = [
                    result.metrics for result in evaluate(manifest, [method], store=store, seeds=seeds)
                ]
                means = [
                    statistics.fmean(getattr(each, measure) for each in metrics)
                    for measure in ("eer", "detection_eer", "oscr", "min_dcf", "act_dcf")
                ]
                rates[method] = means
                print(f"{name:10} {method:7} " + " ".join(f"{mean:7.4f}" for mean in means), flush=True)
            lower = [
                1 - auto / max(cosine, 1e-9)
                for auto, cosine in zip(rates["auto"][:2], rates["cosine"][:2], strict=True)
            ]
            print(f"{name:10} lower   EER {lower[0]:.0%}, known against unknown {lower[1]:.0%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
