"""Settings of `auto`, settled on households that are drawn from the cohort's 63 people, and on no test row.

    python benchmarks/cohort_episodes.py [--episodes 24]

In an episode 3 to 12 people of the cohort are enrolled with all their clips but one, which is the probe; 20 others
are strangers, and the rest is the cohort. Every clip comes with its degraded copies. In every other episode people are
enrolled by words, and asked by words: short copies, each as a clip of its own. Three questions:

1. How far may a condition move the line of the calibration? For each setting EER, known-vs-unknown EER, minDCF, actual
   DCF and how often that is at most max(0.2 minDCF, 0.01) above minDCF, over the episodes by sentences.
2. When should `auto` drop the fused head? Mean of the two error rates of the head that each rule chooses.
3. How wide should the adapters be, and how long trained? EER and known-vs-unknown EER of the fusion's own scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

import numpy as np

from openkith.audio.augment import GROUPS
from openkith.encoders import load_encoder
from openkith.metrics import open_set_report
from openkith.openset import model as openset
from openkith.openset.model import OpenSetModel, fit_open_set
from openkith.scoring import EmbeddingSet, calibration
from openkith.scoring.base import guessed_conditions
from openkith.scoring.calibration import Calibration
from openkith.scoring.cohort import shipped_cohort
from openkith.tuning import SpeakerRPLPlus, TuneConfig

STRANGERS = 20
WORDS = [i for i, group in enumerate(GROUPS) if group.startswith("short")]
METHODS = ("cosine", "as-norm", "fusion")
# Ridge on offsets, ridge on gains (none: a number so large that nothing moves), share of targets.
SETTINGS = {
    "one line": (1e9, 1e9, 0.5),
    "offsets 3": (3.0, 1e9, 0.5),
    "offsets 1": (1.0, 1e9, 0.5),
    "offsets .3": (0.3, 1e9, 0.5),
    "both 3": (3.0, 3.0, 0.5),
    "both 1": (1.0, 1.0, 0.5),
    "both .3": (0.3, 0.3, 0.5),
    "1, 1, targets 10 %": (1.0, 1.0, 0.1),
    ".3, 1, targets 10 %": (0.3, 1.0, 0.1),
    ".3, 1, targets 20 %": (0.3, 1.0, 0.2),
    ".1, .3, targets 20 %": (0.1, 0.3, 0.2),
}
Chosen = Callable[[dict[str, OpenSetModel]], str]
RULES: dict[str, Chosen] = {
    "always the fusion": lambda models: "fusion",  # noqa: ARG005
    "the best on held-out clips": lambda models: min(models, key=lambda name: _held_out(models, name)),
    "the fusion, but for two standard errors": lambda models: _unless_doubted(models),
}
ADAPTERS = {
    "256, 128, 128 to 96, 4 members, 80 steps": ((256, 128, 128), 96, 4, 80, 0.02),
    "256, 128, 128 to 96, 4 members, 160 steps": ((256, 128, 128), 96, 4, 160, 0.02),
    "512, 256, 256 to 192, 5 members, 120 steps": ((512, 256, 256), 192, 5, 120, 0.01),
}


@dataclass(frozen=True, eq=False)
class Episode:
    """A household, probes and cohort; labels (p,) of probes are -1 for strangers."""

    seed: int
    words: bool
    enrolment: EmbeddingSet
    cohort: EmbeddingSet
    probes: np.ndarray
    labels: np.ndarray


def renumbered(items: EmbeddingSet, as_clips: bool = False) -> EmbeddingSet:
    """With labels and clips from 0; or each row as a clip of its own."""
    clips = np.arange(len(items)) if as_clips else np.unique(items.clips, return_inverse=True)[1]
    labels = np.unique(items.labels, return_inverse=True)[1]
    copies = np.zeros(len(items), np.bool_) if as_clips else items.copies
    return EmbeddingSet(items.embeddings, labels, clips, items.groups, copies)


def episodes(cohort: EmbeddingSet, n: int) -> Iterator[Episode]:
    """Even ones by sentences, odd ones by words."""
    ids = np.unique(cohort.labels)
    clips = {speaker: np.unique(cohort.clips[cohort.labels == speaker]) for speaker in ids}
    for seed in range(n):
        rng = np.random.default_rng(seed)
        words = seed % 2 == 1
        order = rng.permutation(ids)
        size = rng.choice([3, 3, 5, 8] if words else [3, 5, 8, 12])
        people = sorted([speaker for speaker in order if len(clips[speaker]) >= 3][:size])
        others = [speaker for speaker in order if speaker not in people]
        asked = [rng.choice(clips[speaker]) for speaker in people]
        own = cohort.select(np.isin(cohort.labels, people))
        enrolled, probes = own.select(~np.isin(own.clips, asked)), own.select(np.isin(own.clips, asked))
        strangers = cohort.select(np.isin(cohort.labels, others[:STRANGERS]))
        if words:
            enrolled, probes, strangers = (
                each.select(np.isin(each.groups, WORDS)) for each in (enrolled, probes, strangers)
            )
        yield Episode(
            seed,
            words,
            renumbered(enrolled, as_clips=words),
            renumbered(cohort.select(np.isin(cohort.labels, others[STRANGERS:]))),
            np.concatenate([probes.embeddings, strangers.embeddings]),
            np.concatenate([np.searchsorted(people, probes.labels), np.full(len(strangers), -1)]),
        )


def _held_out(models: dict[str, OpenSetModel], name: str) -> float:
    return models[name].errors[name].mean


def _unless_doubted(models: dict[str, OpenSetModel]) -> str:
    better = min(_held_out(models, openset.BASELINE), _held_out(models, openset.FALLBACK))
    doubt = openset._doubt(better, models[openset.TUNED].held_out)
    return openset.FALLBACK if _held_out(models, openset.TUNED) > better + doubt else openset.TUNED


def errors(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """EER, known-vs-unknown EER, minDCF, actual DCF, and whether that is near enough."""
    report = open_set_report(np.asarray(scores, np.float64), labels)
    near = report.act_dcf <= report.min_dcf + max(0.2 * report.min_dcf, 0.01)
    return np.array([report.eer, report.detection_eer, report.min_dcf, report.act_dcf, near])


def by_setting(model: OpenSetModel, episode: Episode) -> dict[str, np.ndarray]:
    scores = model.scorer.score(episode.probes)
    conditions = guessed_conditions(model.scorer, episode.probes)
    found = {}
    for name, (offsets, gains, share) in SETTINGS.items():
        constants = {"_OFFSET_RIDGE": offsets, "_GAIN_RIDGE": gains, "P_TARGET": share}
        constants["_PRIOR_LOG_ODDS"] = float(np.log(share / (1.0 - share)))
        with patch.multiple(calibration, **constants):
            found[name] = errors(Calibration.fit(model.held_out).llr(scores, conditions), episode.labels)
    return found


def by_adapter(episode: Episode) -> dict[str, np.ndarray]:
    n_people = int(episode.enrolment.labels.max()) + 1
    found = {}
    for name, (hidden, out, members, steps, rate) in ADAPTERS.items():
        config = TuneConfig(
            seed=episode.seed, members=members, hidden=hidden, out=out, steps=steps, learning_rate=rate
        )
        fusion = openset._fusion(n_people, episode.seed)
        adapters = replace(fusion.parts[-1], make=partial(SpeakerRPLPlus, config, space="raw"))
        fusion.parts = (*fusion.parts[:-1], adapters)
        found[name] = errors(
            fusion.fit(episode.enrolment, episode.cohort).score(episode.probes), episode.labels
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=int, default=24)
    arguments = parser.parse_args()
    cohort = shipped_cohort(load_encoder(threads=1).fingerprint)
    if cohort is None:
        parser.exit(2, "no cohort ships for the default encoder\n")
    settings: dict[str, list[np.ndarray]] = {name: [] for name in SETTINGS}
    adapters: dict[str, list[np.ndarray]] = {name: [] for name in ADAPTERS}
    rules: dict[bool, dict[str, list[float]]] = {
        words: {name: [] for name in (*RULES, *METHODS)} for words in (False, True)
    }
    for episode in episodes(cohort, arguments.episodes):
        models = {
            name: fit_open_set(name, episode.enrolment, episode.cohort, seed=episode.seed) for name in METHODS
        }
        rates = {
            name: errors(model.llrs(episode.probes), episode.labels)[:2].mean()
            for name, model in models.items()
        }
        for name, rate in rates.items():
            rules[episode.words][name].append(rate)
        for name, rule in RULES.items():
            rules[episode.words][name].append(rates[rule(models)])
        if not episode.words:
            for name, found in by_setting(models["fusion"], episode).items():
                settings[name].append(found)
            for name, found in by_adapter(episode).items():
                adapters[name].append(found)
        print(f"episode {episode.seed} done", flush=True)

    print(f"\nLines by condition\n{'':22} {'EER':>7} {'det.EER':>7} {'minDCF':>7} {'actDCF':>7}  near enough")
    for name, rows in settings.items():
        means = np.mean(rows, axis=0)
        print(f"{name:22} " + " ".join(f"{value:7.4f}" for value in means[:4]) + f"  {means[4]:7.0%}")
    print(f"\nMean of EER and known-vs-unknown EER\n{'':42} sentences   words")
    for name in (*METHODS, *RULES):
        print(f"{name:42} " + "   ".join(f"{np.mean(rules[words][name]):7.4f}" for words in (False, True)))
    print(f"\nAdapters of the fusion\n{'':46} {'EER':>7} {'det.EER':>7}")
    for name, rows in adapters.items():
        print(f"{name:46} " + " ".join(f"{value:7.4f}" for value in np.mean(rows, axis=0)[:2]))


if __name__ == "__main__":
    main()
