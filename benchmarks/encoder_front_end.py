"""Which front end GE2E should have, by number. `python benchmarks/encoder_front_end.py`.

Two questions: (a) are quiet clips raised to -30 dBFS only, as in training, or is every clip brought to that
level? (b) is a clip under 1.6 s followed by silence, or embedded a second time, repeated to fill the window?
Cosine scores against class means, on rows with role enroll and negative only: no test row is read.

1. Each manifest: every enrolment clip against the mean of its speaker's others (targets) and against the
   other speakers, and every negative clip against all speakers (nontargets); as recorded, and once more with
   each clip at -12 to +12 dB.
2. 20 episodes among those negative speakers of home-clean who talk for 9 s or more: five are enrolled with 4
   clips from the first half of their file, everybody's probes are 4 from the second half, at -12 to +12 dB. EER
   is over all trials, "known?" the EER of known against unknown on each probe's largest score; the mean of the
   episodes.

As recorded, most speakers have a level of their own, which raising leaves as a cue and a fixed level hides; a
distance to the microphone that changes takes that cue away.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openkith.audio import Audio, load, trim_silence
from openkith.audio.augment import NOISE_KINDS, add_noise, crop, gain, noise, resample_through
from openkith.data.manifest import Manifest, Row, read_manifest
from openkith.encoders.networks.ge2e import GE2E
from openkith.metrics import detection_scores, eer, trial_scores

SPEECH = Path(os.environ.get("KITH_TEST_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
EPISODES = 20
ENROLLED = 5
LEAST_SECONDS = 9.0  # of a recording, so that clips of 4 s from its halves differ
CLIPS = 4  # of each speaker, for enrolment and again as probes
GAIN_DB = 12.0
SNR_DB = (0.0, 15.0)

RAISED, FIXED, PADDED = "raised", "fixed", "padded"
FRONT_ENDS = {
    RAISED: {"repeat_short": True},
    FIXED: {"lower": True, "repeat_short": True},
    PADDED: {"repeat_short": False},
}

Embeddings = dict[str, NDArray[np.float32]]
Errors = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Clips:
    """What one kind of episode is made of: seconds of an enrolment clip and of a probe, and what is done to
    both."""

    name: str
    enrol: tuple[float, float]
    probe: tuple[float, float]
    narrow: bool = False  # 4 kHz of bandwidth
    noisy: bool = False  # the probes


KINDS = (
    Clips("4 s", (4.0, 4.0), (4.0, 4.0)),
    Clips("0.6-1.4 s", (0.6, 1.4), (0.6, 1.4)),
    Clips("0.3-0.6 s, 8 kHz", (0.3, 0.6), (0.3, 0.6), narrow=True),
    Clips("4 s, probes 0.3-0.6 s", (4.0, 4.0), (0.3, 0.6)),
)


def embed(encoders: dict[str, GE2E], clips: list[Audio]) -> Embeddings:
    return {name: encoder.embed(clips) for name, encoder in encoders.items()}


def cosine(embeddings: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
    return embeddings @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T


def leave_one_out(embeddings: NDArray[np.float32], owner: NDArray[np.int64]) -> float:
    """EER of enrolment and negative clips (owner -1) against the class means, without the clip itself.

    A speaker's only clip makes a mean, and no trials.
    """
    speakers = np.arange(owner.max() + 1)
    scores = cosine(embeddings, np.stack([embeddings[owner == k].mean(axis=0) for k in speakers]))
    for i in np.flatnonzero(owner >= 0):
        others = (owner == owner[i]) & (np.arange(len(owner)) != i)
        if not others.any():
            continue
        scores[i, owner[i]] = cosine(embeddings[i : i + 1], embeddings[others].mean(axis=0, keepdims=True))[
            0, 0
        ]
    tried = (owner < 0) | (np.bincount(owner + 1)[owner + 1] > 1)
    return eer(*trial_scores(scores[tried], owner[tried]))


def on_manifest(
    encoders: dict[str, GE2E], manifest: Manifest, gain_db: float, cache: dict[Row, Embeddings]
) -> Errors:
    rows = [row for row in manifest.rows if row.role in ("enroll", "negative")]
    keys = [replace(row, speaker="-", role="enroll", line=0) for row in rows]
    new = [key for key in dict.fromkeys(keys) if key not in cache]
    rng = np.random.default_rng(0)
    clips = []
    for key in new:
        clip = load(key.path, start=key.start, end=key.end)
        clips.append(trim_silence(replace(clip, samples=gain(clip.samples, rng.uniform(-gain_db, gain_db)))))
    found = embed(encoders, clips) if clips else {}
    cache.update({key: {name: found[name][i] for name in found} for i, key in enumerate(new)})
    owner = np.array([manifest.speakers.index(row.speaker) if row.role == "enroll" else -1 for row in rows])
    return {
        name: np.array([leave_one_out(np.stack([cache[key][name] for key in keys]), owner)])
        for name in encoders
    }


def make_clip(
    half: NDArray[np.float32], seconds: float, kind: Clips, noisy: bool, rng: np.random.Generator
) -> Audio:
    x = crop(half, rng, seconds)
    if noisy:
        x = add_noise(x, noise(len(x), rng.choice(NOISE_KINDS), rng), rng.uniform(*SNR_DB))
    if kind.narrow:
        x = resample_through(x)
    x = gain(x, rng.uniform(-GAIN_DB, GAIN_DB))
    return trim_silence(Audio(np.asarray(x, np.float32), "<crop>"))


def on_episodes(encoders: dict[str, GE2E], voices: list[NDArray[np.float32]], kind: Clips) -> Errors:
    """EER and known-against-unknown EER, shape (episodes, 2), for each front end."""
    rng = np.random.default_rng(0)
    enrol, probes = [], []
    for voice in voices:
        half = len(voice) // 2
        for _ in range(CLIPS):
            enrol.append(make_clip(voice[:half], rng.uniform(*kind.enrol), kind, False, rng))
            probes.append(make_clip(voice[half:], rng.uniform(*kind.probe), kind, kind.noisy, rng))
    enrolled, probed = embed(encoders, enrol), embed(encoders, probes)
    errors: Errors = {name: np.empty((EPISODES, 2)) for name in encoders}
    for episode in range(EPISODES):
        known = np.random.default_rng(episode).permutation(len(voices))[:ENROLLED]
        labels = np.full(len(voices), -1)
        labels[known] = np.arange(ENROLLED)
        labels = labels.repeat(CLIPS)
        for name in encoders:
            means = enrolled[name].reshape(len(voices), CLIPS, -1).mean(axis=1)
            scores = cosine(probed[name], means[known])
            errors[name][episode] = eer(*trial_scores(scores, labels)), eer(*detection_scores(scores, labels))
    return errors


def ratio(above: float, below: float) -> str:
    return f"{above / below:5.3f}" if below else "    -"


def show(name: str, errors: Errors) -> None:
    """One row: the mean over episodes for each front end, and the two ratios."""
    raised, fixed, padded = (errors[key] for key in (RAISED, FIXED, PADDED))
    columns = [f"{errors[key].mean():8.4f}" for key in (RAISED, FIXED, PADDED)]
    columns += [f"{ratio(fixed.mean(), raised.mean()):>14}", f"{ratio(raised.mean(), padded.mean()):>24}"]
    print(f"{name:42}" + "".join(columns), flush=True)


def show_mean(name: str, rows: list[Errors]) -> None:
    show(f"MEAN of the {name}", {key: np.array([row[key].mean() for row in rows]) for key in rows[0]})


def main() -> int:
    if not (SPEECH / "home-clean.tsv").is_file():
        print(f"no real speech at {SPEECH}; set KITH_TEST_SPEECH to a folder that has it")
        return 2
    started = time.monotonic()
    encoders = {name: GE2E(threads=1, **options) for name, options in FRONT_ENDS.items()}
    print(f"{'':42}{'raised':>8}{'fixed':>8}{'padded':>8}{'fixed/raised':>14}{'padded+repeated/padded':>24}")
    for title, gain_db in (("as recorded", 0.0), (f"at +-{GAIN_DB:g} dB", GAIN_DB)):
        rows: list[Errors] = []
        cache: dict[Row, Embeddings] = {}
        for path in sorted(SPEECH.glob("*.tsv")):
            rows.append(on_manifest(encoders, read_manifest(path), gain_db, cache))
            show(f"{path.stem} {title}: EER", rows[-1])
        show_mean(f"manifests {title}", rows)
    rows = []
    recordings = [load(row.path) for row in read_manifest(SPEECH / "home-clean.tsv").negative]
    voices = [audio.samples for audio in recordings if audio.seconds >= LEAST_SECONDS]
    for kind in KINDS:
        for noisy in (False, True):
            errors = on_episodes(encoders, voices, replace(kind, noisy=noisy))
            for column, metric in enumerate(("EER", "known? EER")):
                rows.append({name: errors[name][:, column] for name in errors})
                show(f"{kind.name}{', noise' if noisy else ''}: {metric}", rows[-1])
    show_mean("episodes", rows)
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
