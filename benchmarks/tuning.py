"""Cost and accuracy of tuning a head. `python benchmarks/tuning.py [SPEECH_FOLDER]`.

1. `tune()` with its defaults for 10 people x 3 clips, in at most a tenth of the time of 30 sequential runs of the
   released recipe (one adapter, 100 epochs of SGD, batches of 16 known and 48 unknown clips, beta 0.01) on the same
   embeddings, with no worse EER; the 30 are fused by the mean of their scores. The released recipe runs in this
   library's own loop, which is faster than a plain PyTorch one; of that, one run is printed too.
2. Adding one person to 60 (continual tuning), in at most a fifth of the time of tuning the 61 from nothing, with no
   worse EER.
3. Scoring one probe against a head over 1 000 people, in at most a tenth of the time of embedding a 3-s clip.

Speakers are synthetic: Gaussian means in a subspace, Gaussian clips about them, unit length. With a folder of manifests
(`*.tsv`), 1. is also counted on each of them: EER over all trials and known against unknown, enrolment clips as they
are and negative rows as unknown clips, test rows scored only.

Times are CPU time in this process on one thread, which a busy machine moves little; of a ratio, the median over the
draws; in 3. the least of the repeats, each score right after an embedding, which empties the caches. Exits 1 on a miss.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from openkith.audio import Audio, load
from openkith.data.manifest import Row, read_manifest
from openkith.encoders import Encoder, load_encoder
from openkith.losses import make_loss
from openkith.metrics import eer
from openkith.tuning import TuneConfig, TunedHead, tune

RELEASED_RUNS = 30
MOST_OF_RELEASED = 0.1
MOST_OF_NOTHING = 0.2
MOST_OF_EMBEDDING = 0.1
WORSE_EER = 0.005  # of the mean over draws, that is still "no worse"
DRAWS = 3
DIM, SUBSPACE, NOISE = 256, 40, 1.5
PROBES, STRANGER_CLIPS, STRANGERS = 8, 5, 60
CLIP_SECONDS = 3.0
REPEATS = 15

Floats = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Household:
    """Embeddings of one task: enrolment, unknown clips to learn from, probes, probes of strangers."""

    enrolment: Floats
    labels: NDArray[np.int64]
    unknown: Floats
    probes: Floats
    truth: NDArray[np.int64]  # -1 for a stranger


def synthetic(seed: int, people: int, clips: int = 3) -> Household:
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(SUBSPACE, DIM)) / np.sqrt(SUBSPACE)

    def speak(voices: Floats, n: int) -> tuple[Floats, NDArray[np.int64]]:
        labels = np.repeat(np.arange(len(voices)), n)
        x = voices[labels] @ basis + NOISE * rng.normal(size=(len(labels), DIM))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels

    def voices(n: int) -> Floats:
        return rng.normal(size=(n, SUBSPACE)).astype(np.float32)

    known = voices(people)
    enrolment, labels = speak(known, clips)
    unknown, _ = speak(voices(STRANGERS), STRANGER_CLIPS)
    probes, truth = speak(known, PROBES)
    strangers, _ = speak(voices(STRANGERS), STRANGER_CLIPS)
    return Household(
        enrolment,
        labels,
        unknown,
        np.concatenate([probes, strangers]),
        np.concatenate([truth, np.full(len(strangers), -1)]),
    )


def from_manifest(path: Path, encoder: Encoder) -> Household:
    manifest = read_manifest(path)
    column = {name: i for i, name in enumerate(manifest.speakers)}

    def embed(rows: tuple[Row, ...]) -> Floats:
        return encoder.embed([load(row.path, start=row.start, end=row.end) for row in rows])

    return Household(
        embed(manifest.enroll),
        np.array([column[row.speaker] for row in manifest.enroll]),
        embed(manifest.negative),
        embed(manifest.test),
        np.array([column.get(row.speaker, -1) for row in manifest.test]),
    )


def rates(scores: Floats, truth: NDArray[np.int64]) -> tuple[float, float]:
    """EER over all trials, and of known against unknown on each probe's largest score."""
    own = truth[:, None] == np.arange(scores.shape[1])
    best, known = scores.max(axis=1), truth >= 0
    return eer(scores[own], scores[~own]), eer(best[known], best[~known])


def timed(call: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def released(home: Household) -> list[TunedHead]:
    return [
        tune(home.enrolment, home.labels, home.unknown, TuneConfig.released(seed=seed))
        for seed in range(RELEASED_RUNS)
    ]


def plain_released(home: Household) -> None:
    """One released run as plain PyTorch: modules, SGD, a schedule, an index for each batch."""
    from itertools import pairwise

    layers: list[torch.nn.Module] = []
    for a, b in pairwise((DIM, 512, 256, 256)):
        norm = torch.nn.LayerNorm(b, elementwise_affine=False)  # instance norm of single vectors
        layers += [torch.nn.Linear(a, b, bias=False), norm, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(256, 192, bias=False))
    criterion = make_loss("speaker-rpl", int(home.labels.max()) + 1, 192, variant="released")
    optimiser = torch.optim.SGD(
        [*network.parameters(), *criterion.parameters()], lr=0.01, momentum=0.9, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [50, 80])
    x, y, u = (torch.from_numpy(array) for array in (home.enrolment, home.labels, home.unknown))
    for _ in range(100):
        for rows in torch.randperm(len(x)).split(16):
            others = torch.randint(len(u), (48,))
            value = criterion(network(x[rows]), y[rows], network(u[others]))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        schedule.step()


def against_released(homes: dict[str, Household], limit: bool) -> bool:
    """Print times and error rates of both; whether a limit was missed."""
    ratios, ours, theirs = [], [], []
    for seed, (name, home) in enumerate(homes.items()):
        head, seconds = timed(
            lambda home=home, seed=seed: tune(
                home.enrolment, home.labels, home.unknown, TuneConfig(seed=seed)
            )
        )
        heads, reference = timed(lambda home=home: released(home))
        ratios.append(seconds / reference)
        ours.append(rates(head.score(home.probes), home.truth))
        fused = np.mean([each.score(home.probes) for each in heads], axis=0)
        theirs.append(rates(fused, home.truth))
        print(
            f"  {name:12} tune {seconds:6.2f} s, released x {RELEASED_RUNS} {reference:6.2f} s; EER {ours[-1][0]:.4f}"
            f" / {theirs[-1][0]:.4f}, known-vs-unknown {ours[-1][1]:.4f} / {theirs[-1][1]:.4f}",
            flush=True,
        )
    mean, reference_mean = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    ratio = statistics.median(ratios)
    print(
        f"  ratio tune / released x {RELEASED_RUNS}: {ratio:.3f}" + (f" (at most {MOST_OF_RELEASED})" * limit)
    )
    print(
        f"  EER {mean[0]:.4f} against {reference_mean[0]:.4f}, {mean[1]:.4f} against {reference_mean[1]:.4f}"
    )
    worse = bool(mean[0] > reference_mean[0] + WORSE_EER)
    return worse or (limit and ratio > MOST_OF_RELEASED)


def one_more_person() -> bool:
    """Print time and error rate of adding one to 60; whether a limit was missed."""
    ratios, added, whole = [], [], []
    for seed in range(DRAWS):
        home = synthetic(seed, 61)
        first = home.labels < 60
        sixty = tune(home.enrolment[first], home.labels[first], home.unknown, TuneConfig(seed=seed))
        more, seconds = timed(
            lambda home=home, sixty=sixty: tune(home.enrolment, home.labels, home.unknown, initial=sixty)
        )
        anew, reference = timed(
            lambda home=home, seed=seed: tune(
                home.enrolment, home.labels, home.unknown, TuneConfig(seed=seed)
            )
        )
        ratios.append(seconds / reference)
        added.append(rates(more.score(home.probes), home.truth))
        whole.append(rates(anew.score(home.probes), home.truth))
        print(f"  one more: {seconds:.2f} s; 61 from nothing: {reference:.2f} s", flush=True)
    ratio = statistics.median(ratios)
    mean, reference_mean = np.mean(added, axis=0), np.mean(whole, axis=0)
    print(f"  ratio one more / from nothing: {ratio:.3f} (at most {MOST_OF_NOTHING})")
    print(
        f"  EER {mean[0]:.4f} against {reference_mean[0]:.4f}, {mean[1]:.4f} against {reference_mean[1]:.4f}"
    )
    return ratio > MOST_OF_NOTHING or bool(mean[0] > reference_mean[0] + WORSE_EER)


def one_probe(encoder: Encoder) -> bool:
    """Print the time of one probe against 1 000 people; whether the limit was missed."""
    rng = np.random.default_rng(0)
    clip = Audio(
        (0.1 * rng.normal(size=round(CLIP_SECONDS * encoder.sample_rate))).astype(np.float32), "noise"
    )
    home = synthetic(0, 1000)
    head = tune(home.enrolment, home.labels, home.unknown, TuneConfig(steps=2))  # the cost is the same
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(REPEATS + 1):
        scored = timed(lambda i=i: head.score(home.probes[i : i + 1]))[1]
        embedded = timed(lambda: encoder.embed([clip]))[1]
        if i:  # the first of each warms up
            seconds[0].append(scored)
            seconds[1].append(embedded)
    scoring, embedding = map(min, seconds)  # what else runs here can only add
    print(f"  score {scoring * 1e3:.2f} ms, {head.members} members; embed {embedding * 1e3:.1f} ms")
    print(f"  ratio score / embed: {scoring / embedding:.3f} (at most {MOST_OF_EMBEDDING})")
    return scoring / embedding > MOST_OF_EMBEDDING


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speech", type=Path, nargs="?", help="a folder with manifests of real speech")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = load_encoder(threads=1)
    tune(*_small(), TuneConfig(steps=5))  # loads and warms up

    print("1. 10 people x 3 clips, synthetic; tune() / 30 released runs fused")
    homes = {f"draw {seed}": synthetic(seed, 10) for seed in range(DRAWS)}
    print(f"  one released run as plain PyTorch: {timed(lambda: plain_released(homes['draw 0']))[1]:.2f} s")
    missed = against_released(homes, limit=True)
    if options.speech:
        print("   the same on real speech")
        paths = sorted(options.speech.glob("*.tsv"))
        missed |= against_released({path.stem: from_manifest(path, encoder) for path in paths}, limit=False)
    print("2. One person more than 60")
    missed |= one_more_person()
    print("3. One probe against 1000 people")
    missed |= one_probe(encoder)
    return int(missed)


def _small() -> tuple[Floats, NDArray[np.int64], Floats]:
    home = synthetic(0, 3)
    return home.enrolment, home.labels, home.unknown


if __name__ == "__main__":
    sys.exit(main())
