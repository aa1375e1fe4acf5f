"""Do short and noisy clips count for more through the enhancer that ships? On people that it has not learned from.

    python benchmarks/enhancement.py ../shared/speech [--published] [--crops FILE] [--seed 0]
        [--precision float32]

Single crops of 1.5 to 3 s of home (10 people, 10 utterances each: 2 clean crops and 2 degraded of each) and of the
strangers who are not negative in ``home-clean.tsv`` (63 people, one utterance each: 8 and 8), each compared by cosine
with each other; crops of one utterance that overlap are not. Degraded is a noise at 3 to 15 dB, half the time in a room
as well. No noise is of a kind that the enhancer has learned from (hum, a narrow band, clicks, blue noise, notes), and
the rooms are boxes by image sources where it learned from decaying noise. EER in %: of pairs of clean crops, of a clean
and a degraded one, of degraded ones, and of all; ratios to raw in the second table.

- raw: embeddings as the encoder gives them;
- enhanced: the enhancer that ships.

With ``--published`` also what is learned in this run (20 minutes of a core) from what the enhancer was learned from, 61
other people at 11 speeds, 40 crops of each; ``--crops`` keeps those for the next run:

- centred: less the mean; LDA-120: Fisher's projection; whitened: the first step of the enhancer alone;
- v1 to v4 of 2022 with ELU and the published losses, 500 steps of 256 by Adam at 3e-4, as they are and with the mean
  of their outputs taken off. Recordings, for DA: the clean crops are one, the degraded ones others.

Then clean crops alone, end to end so that none overlap, by their length, of home (other utterances for the most part)
and of the strangers (other parts of one utterance): what pooling the two in clean-clean hides.

Then every manifest of the folder by `openkith.evaluation.evaluate`, methods cosine and auto, raw and enhanced; by auto
also with the enhancer where held-out clips get better: EER of all trials, EER of known against unknown, OSCR, in %. The
people of its test rows are none of the 63.

Exits 1 if all is above 0.62 of raw, or clean-clean above raw.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neural_scoring import clicks, hum, narrow_band, read_people, read_strangers
from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.degrade import add_noise
from openkith.audio.rooms import convolve, draw_room, room_response
from openkith.encoders import load_encoder
from openkith.encoders.base import Encoder, torch_threads
from openkith.encoders.clips.clip_cache import usual_cache
from openkith.enhancement.cohort_crops import Crops, make_crops, negative_people
from openkith.enhancement.cohort_training import Recipe, whitener
from openkith.enhancement.enhancer import Enhancer, NetSpec, shipped_enhancer
from openkith.evaluation import ClipStore, evaluate
from openkith.losses import EnhancementBatch, build_enhancement_loss
from openkith.metrics import eer
from openkith.scoring.base import normalise

WAYS = ("", ", enhanced", ", where better")
CROP_SECONDS, SNR_DB, ROOM_SHARE = (1.5, 3.0), (3.0, 15.0), 0.5
LENGTHS, OF_PERSON = (1.5, 2.0, 2.5, 3.0), 12  # of clean crops end to end
OF_HOME, OF_STRANGERS = 2, 8  # clean crops of an utterance, and degraded ones
NAMES = ("clean-clean", "clean-degraded", "degraded-degraded", "all")
ALL_SHARE = 0.62
LDA_DIMENSIONS, LDA_SHRINKAGE = 120, 0.1
STEPS, BATCH, RATE = 500, 256, 3e-4
PUBLISHED = (
    *[("v2", loss) for loss in ("mse", "mae", "cs", "mse+cs", "softmax", "mse+softmax", "triplet+cs")],
    *[("v2", "da+cs"), ("v2", "da+mse")],
    *[(net, "mse+cs") for net in ("v1", "v3", "v4")],
)

Samples = NDArray[Any]
Transform = Callable[[Samples], Samples]


@dataclass
class Clips:
    """Crops, and where each is from.

    Attributes:
        clips: (n).
        people, utterances, starts, ends: (n,) person, utterance, and samples of it.
        degraded: (n,)
        strangers: How many of the people are strangers; they come last.
    """

    clips: list[Audio] = field(default_factory=list)
    people: list[int] = field(default_factory=list)
    utterances: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    degraded: list[bool] = field(default_factory=list)
    strangers: int = 0


def blue(n: int, rng: np.random.Generator) -> Samples:
    """Power that rises by 3 dB per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(spectrum * np.sqrt(np.arange(len(spectrum))), n)


def notes(n: int, rng: np.random.Generator) -> Samples:
    """Chords of three plucked strings, four a second."""
    x, length = np.zeros(n), SAMPLE_RATE
    t = np.arange(length) / SAMPLE_RATE
    for start in range(0, n, SAMPLE_RATE // 4):
        for _ in range(3):
            pitch = 110.0 * 2 ** (rng.integers(36) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9)) * np.exp(-4 * t)
            x[start : start + length] += tone[: n - start]
    return x


NOISES = (hum, narrow_band, clicks, blue, notes)


def make_clips(folder: Path, seed: int) -> Clips:
    """Of home, then of the strangers, each of whom is one utterance."""
    rng = np.random.default_rng(seed)
    home = [(utterances, OF_HOME) for utterances in read_people(folder / "home")]
    strangers = [([speech], OF_STRANGERS) for speech in read_strangers(folder)]
    made = Clips(strangers=len(strangers))
    for person, (utterances, each) in enumerate(home + strangers):
        for number, speech in enumerate(utterances):
            for degraded in (False, True) * each:
                n = min(round(rng.uniform(*CROP_SECONDS) * SAMPLE_RATE), len(speech))
                start = int(rng.integers(len(speech) - n + 1))
                samples = speech[start : start + n]
                if degraded:
                    if rng.random() < ROOM_SHARE:
                        samples = convolve(samples, room_response(draw_room(rng), rng))
                    noise = NOISES[int(rng.integers(len(NOISES)))](n, rng)
                    samples = add_noise(samples, noise, rng.uniform(*SNR_DB))
                made.clips.append(Audio(np.asarray(samples, np.float32), "<crop>"))
                made.people.append(person)
                made.utterances.append(number)
                made.starts.append(start)
                made.ends.append(start + n)
                made.degraded.append(degraded)
    return made


@dataclass
class Pairs:
    """Trials: rows (t,) and (t,), whether they are of one person (t,), how many of the two are degraded (t,),
    and how many are of home (t,).
    """

    first: Samples
    second: Samples
    same: Samples
    degraded: Samples
    home: Samples

    @classmethod
    def of(cls, clips: Clips) -> Pairs:
        """All pairs but those that have samples in common."""
        people, utterances, starts, ends, degraded = (
            np.array(column)
            for column in (clips.people, clips.utterances, clips.starts, clips.ends, clips.degraded)
        )
        i, j = np.triu_indices(len(people), 1)
        same = people[i] == people[j]
        common = same & (utterances[i] == utterances[j]) & (starts[i] < ends[j]) & (starts[j] < ends[i])
        i, j, same = i[~common], j[~common], same[~common]
        home = people < len(set(people)) - clips.strangers
        return cls(i, j, same, degraded[i].astype(int) + degraded[j], home[i].astype(int) + home[j])

    def of_one_folder(self, embeddings: Samples) -> list[float]:
        """EER in % of clean-clean and all, within home and within the strangers."""
        unit = normalise(embeddings)
        scores = (unit @ unit.T)[self.first, self.second]
        rates = []
        for home in (2, 0):
            for kind in (self.degraded == 0, self.degraded >= 0):
                kept = kind & (self.home == home)
                rates.append(100 * eer(scores[kept & self.same], scores[kept & ~self.same]))
        return rates

    def rates(self, embeddings: Samples) -> list[float]:
        """EER in % of each of `NAMES`."""
        unit = normalise(embeddings)
        scores = (unit @ unit.T)[self.first, self.second]
        kinds = [*(self.degraded == kind for kind in range(3)), np.ones(len(scores), bool)]
        return [100 * eer(scores[kind & self.same], scores[kind & ~self.same]) for kind in kinds]


def lda(crops: Crops) -> Transform:
    """Fisher's linear discriminant, with a little of the identity in the covariance within voices."""
    x = crops.embeddings.astype(np.float64)
    mean = x.mean(axis=0)
    means = np.stack([x[crops.voices == voice].mean(axis=0) for voice in range(len(crops.persons))])
    within = np.cov(x - means[crops.voices], rowvar=False, bias=True)
    within = (1 - LDA_SHRINKAGE) * within + LDA_SHRINKAGE * np.trace(within) / len(within) * np.eye(len(mean))
    half = np.linalg.cholesky(np.linalg.inv(within))
    between = half.T @ np.cov(means, rowvar=False, bias=True) @ half
    projection = half @ np.linalg.eigh(between)[1][:, -LDA_DIMENSIONS:]
    return lambda embeddings: (embeddings - mean) @ projection


def targets_of(crops: Crops, kind: str | None) -> Samples:
    """Multi-utterance embeddings (V, d) of type B or C, the clean crops of a voice for its utterances."""
    clean = ~crops.degraded
    means = np.stack(
        [
            normalise(crops.embeddings[clean & (crops.voices == voice)]).mean(axis=0)
            for voice in range(len(crops.persons))
        ]
    )
    return normalise(means) if kind == "C" else means


def train_published(net_name: str, loss_name: str, crops: Crops, seed: int) -> Enhancer:
    """A network of 2022 with one of its losses, briefly."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dim = crops.embeddings.shape[1]
    spec = NetSpec(net_name, dim, "elu")
    net = spec.build()
    loss = build_enhancement_loss(loss_name, dim, len(crops.persons))
    targets = torch.from_numpy(targets_of(crops, loss.target_type).astype(np.float32))
    embeddings, voices = torch.from_numpy(crops.embeddings), torch.from_numpy(crops.voices)
    optimiser = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=RATE)
    net.train()
    for _ in range(STEPS):
        pairs = same_recording = None
        if loss.needs == "distribution":  # all crops of one voice: half of the pairs within the clean ones
            rows = np.flatnonzero(crops.voices == rng.integers(len(crops.persons)))
            clean, noisy = (np.flatnonzero(crops.degraded[rows] == kind) for kind in (False, True))
            within = rng.permutation(clean)[: len(clean) // 2 * 2].reshape(-1, 2)
            across = np.stack([rng.permutation(clean), rng.choice(noisy, len(clean), replace=False)], axis=1)
            pairs = torch.from_numpy(np.concatenate([within, across]))
            same_recording = torch.arange(len(pairs)) < len(within)
        else:
            rows = rng.choice(len(crops), BATCH, replace=False)
        x, labels = embeddings[rows], voices[rows]
        strangers = (labels + torch.from_numpy(rng.integers(1, len(targets), len(rows)))) % len(targets)
        batch = EnhancementBatch(
            outputs=net(x),
            inputs=x,
            targets=targets[labels],
            labels=labels,
            others=targets[strangers],
            pairs=pairs,
            same_recording=same_recording,
        )
        optimiser.zero_grad()
        loss(batch).backward()
        optimiser.step()
    return Enhancer(net.eval(), spec)


def learned_systems(crops: Crops, seed: int) -> dict[str, Transform]:
    """Everything that is learned in this run."""
    mean = crops.embeddings.mean(axis=0)
    matrix = whitener(crops, Recipe().shrinkage)
    systems: dict[str, Transform] = {
        "centred": lambda embeddings: embeddings - mean,
        f"LDA-{LDA_DIMENSIONS}": lda(crops),
        "whitened": lambda embeddings: (embeddings - mean) @ matrix,
    }
    for net, loss in PUBLISHED:
        began = time.perf_counter()
        with torch_threads(1):
            enhancer = train_published(net, loss, crops, seed)
        centre = enhancer.transform(crops.embeddings[::7]).mean(axis=0)
        systems[f"{net} {loss}"] = enhancer.transform
        systems[f"{net} {loss}, centred"] = lambda e, f=enhancer, c=centre: f.transform(e) - c
        print(f"{net} {loss}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return systems


def read_crops(encoder: Encoder, folder: Path, kept: Path | None, seed: int) -> Crops:
    """What the enhancer was learned from."""
    if kept is not None and kept.is_file():
        with np.load(kept) as file:
            return Crops(**file)
    crops = make_crops(encoder, negative_people(folder / "home-clean.tsv"), seed=seed)
    if kept is not None:
        np.savez(kept, **vars(crops))
    return crops


def clean_rates(
    encoder: Encoder, people: Sequence[Sequence[Samples]], seconds: float, transforms: Sequence[Transform]
) -> list[float]:
    """EER in % of clean crops of one length, the first of each person end to end, for each transform."""
    n = round(seconds * SAMPLE_RATE)
    parts = [
        [speech[i : i + n] for speech in utterances for i in range(0, len(speech) - n, n)][:OF_PERSON]
        for utterances in people
    ]
    owners = np.arange(len(parts)).repeat([len(own) for own in parts])
    embeddings = encoder.embed([Audio(part, "<crop>") for own in parts for part in own])
    i, j = np.triu_indices(len(owners), 1)
    same = owners[i] == owners[j]
    rates = []
    for transform in transforms:
        unit = normalise(transform(embeddings))
        scores = (unit @ unit.T)[i, j]
        rates.append(100 * eer(scores[same], scores[~same]))
    return rates


def manifest_rates(
    store: ClipStore, path: Path, method: str, enhancers: Sequence[Enhancer | str]
) -> list[list[float]]:
    """EER, EER of known against unknown and OSCR in % of a method, with each enhancer; then which was taken."""
    rates = []
    for enhancer in enhancers:
        [found] = evaluate(path, [method], store=store, enhancer=enhancer)
        own = [100 * getattr(found.metrics, key) for key in ("eer", "detection_eer", "oscr")]
        rates.append([*own, float(found.chosen.endswith("+enhancer"))])
    return rates


def print_table(title: str, columns: Sequence[str], table: dict[str, Sequence[float]]) -> None:
    print(f"\n{title}\n{'':26}" + "".join(f"{name:>19}" for name in columns))
    for name, own in table.items():
        print(f"{name:26}" + "".join(f"{value:19.2f}" for value in own), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with home/, strangers/ and manifests (*.tsv)")
    parser.add_argument("--published", action="store_true", help="train and measure the rest, too")
    parser.add_argument(
        "--crops", type=Path, help="file (.npz) of what they learn from; made if it is not there"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--model", type=Path, help="folder of an enhancer, instead of the one that ships")
    options = parser.parse_args()
    encoder = load_encoder("ge2e", threads=1, precision=options.precision)
    enhancer = shipped_enhancer(encoder) if options.model is None else Enhancer.load(options.model)
    clips = make_clips(options.folder, options.seed)
    pairs = Pairs.of(clips)
    embeddings = encoder.embed(clips.clips)
    print(
        f"{len(set(clips.people))} people, {len(clips.clips)} crops, {int(pairs.same.sum())} pairs of one person, "
        f"{int((~pairs.same).sum())} of two; {enhancer.fingerprint}"
    )
    systems: dict[str, Transform] = {"raw": normalise, "enhanced": enhancer.transform}
    if options.published:
        systems |= learned_systems(
            read_crops(encoder, options.folder, options.crops, options.seed), options.seed
        )
    rates = {name: pairs.rates(transform(embeddings)) for name, transform in systems.items()}
    print_table("EER, %", NAMES, rates)
    ratios = {name: [a / b for a, b in zip(own, rates["raw"], strict=True)] for name, own in rates.items()}
    print_table("EER / EER of raw", NAMES, ratios)
    print_table(
        "EER, %, within home (other utterances) and within the strangers (other parts of one)",
        ("home clean-clean", "home all", "strangers c.-c.", "strangers all"),
        {name: pairs.of_one_folder(systems[name](embeddings)) for name in ("raw", "enhanced")},
    )
    groups = {
        "home": read_people(options.folder / "home"),
        "strangers": [[speech] for speech in read_strangers(options.folder)],
    }
    by_length = {
        f"{group}, {seconds:g} s": clean_rates(encoder, people, seconds, (normalise, enhancer.transform))
        for group, people in groups.items()
        for seconds in LENGTHS
    }
    print_table("EER, %, clean crops end to end", ("raw", "enhanced"), by_length)
    store = ClipStore(load_encoder("ge2e", threads=1), usual_cache())
    columns = ("EER", "known-vs-unknown", "OSCR", "enhanced: 1 yes")
    for method, ways in (("cosine", ("off", enhancer)), ("auto", ("off", enhancer, "auto"))):
        table = {}
        for path in sorted(options.folder.glob("*.tsv")):
            rates_of = manifest_rates(store, path, method, ways)
            table |= {f"{path.stem}{way}": own for way, own in zip(WAYS, rates_of, strict=False)}
        print_table(f"{method} on manifests, %", columns, table)
    misses = {
        f"all is above {ALL_SHARE} of raw": ratios["enhanced"][3] > ALL_SHARE,
        "clean-clean is worse than raw": ratios["enhanced"][0] > 1.0,
    }
    for what in (what for what, missed in misses.items() if missed):
        print(f"NOT REACHED: {what}")
    return int(any(misses.values()))


if __name__ == "__main__":
    sys.exit(main())
