"""Speed of trial scoring, beside one call per trial. `python benchmarks/trial_scoring.py`.

1. A million trials of VoxCeleb's form between 5 000 utterances of 256 numbers, from files to a file: the list and the
   embeddings are read, scored and written, as `kith score` does. At least 20 times faster than scikit-learn's
   `cosine_similarity` called once for each trial, with embeddings in memory and nothing written: on a sample of the
   same trials, multiplied up. scipy's `cosine`, which checks less of what it is given, is shown too.
2. The same with AS-norm over a cohort of 6 000 embeddings, and with PLDA, for the time they add.
3. Scores equal those of the reference on the sample to 1e-6.

Reference and subject run in turn in this process; the median of the repeats counts. Exits 1 on a miss.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cosine
from sklearn.metrics.pairwise import cosine_similarity

from openkith.bulk.parts import Measures, Outcome
from openkith.bulk.plda import PairPLDA
from openkith.bulk.reading import read_embeddings
from openkith.bulk.scoring import ScoreOptions, score_trials
from openkith.bulk.store import EmbeddingStore, StoreConfig

N_TRIALS = 1_000_000
N_UTTERANCES = 5_000
N_COHORT = 6_000
DIM = 256
SAMPLE = 2_000
REPEATS = 3
LEAST_TIMES = 20.0
CLOSE = 1e-6


def write_embeddings(folder: Path, n: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    with EmbeddingStore(folder, StoreConfig("random", "random/1", DIM, "safetensors", "/none")) as store:
        for first in range(0, n, 4096):
            outcomes = []
            for i in range(first, min(n, first + 4096)):
                name = f"id{10_000 + i // 10}/video{i % 10:06d}/00001.wav"
                vector = rng.standard_normal(DIM).astype(np.float32)
                outcomes.append(Outcome(name, f"/none/{name}", name[:7], vector, Measures(8.0, 7.0)))
            store.commit(outcomes)
        store.finish()
    return folder


def write_list(path: Path, names: tuple[str, ...], n: int) -> Path:
    rng = np.random.default_rng(2)
    pairs = rng.integers(0, len(names), (n, 2))
    lines = [f"{int(names[a][:7] == names[b][:7])} {names[a]} {names[b]}\n" for a, b in pairs.tolist()]
    path.write_text("".join(lines))
    return path


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--trials", type=int, default=N_TRIALS)
    n_trials = arguments.parse_args().trials
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        embeddings = write_embeddings(here / "test", N_UTTERANCES, 0)
        cohort = write_embeddings(here / "cohort", N_COHORT, 1)
        held = read_embeddings(embeddings)
        trials = write_list(here / "trials.txt", held.utterances, n_trials)
        vectors = held.gather()
        listed = score_trials(trials, held).trials
        rows = np.array([held.find(name) for name in listed.names])
        sample = np.linspace(0, n_trials - 1, min(SAMPLE, n_trials)).astype(int)
        pairs = [(rows[listed.enrol[i]], rows[listed.test[i]]) for i in sample]

        def one_by_one() -> list[float]:
            return [float(cosine_similarity(vectors[a : a + 1], vectors[b : b + 1])[0, 0]) for a, b in pairs]

        def one_by_one_scipy() -> list[float]:
            return [1.0 - float(cosine(vectors[a], vectors[b])) for a, b in pairs]

        def all_at_once(options: ScoreOptions | None = None) -> np.ndarray:
            scored = score_trials(trials, embeddings, options)
            scored.write(here / "scores.tsv")
            return scored.scores

        worst = float(np.abs(all_at_once()[sample] - one_by_one()).max())
        times: dict[str, list[float]] = {"sklearn": [], "scipy": [], "kith": []}
        for _ in range(REPEATS):
            times["sklearn"].append(seconds_of(one_by_one) * n_trials / len(sample))
            times["scipy"].append(seconds_of(one_by_one_scipy) * n_trials / len(sample))
            times["kith"].append(seconds_of(all_at_once))
        median = {name: statistics.median(values) for name, values in times.items()}
        as_norm = seconds_of(lambda: all_at_once(ScoreOptions(as_norm=cohort)))
        PairPLDA.learn(read_embeddings(cohort)).save(here / "model")
        plda = seconds_of(lambda: all_at_once(ScoreOptions(plda=here / "model")))
    print(f"{n_trials} trials of {N_UTTERANCES} utterances, {DIM} numbers each")
    print(f"sklearn cosine_similarity per trial: {median['sklearn']:.1f} s (from {len(sample)} trials)")
    print(f"scipy cosine per trial: {median['scipy']:.1f} s (from {len(sample)} trials)")
    print(f"kith score, files to file: {median['kith']:.2f} s")
    print(f"with AS-norm over {N_COHORT}: {as_norm:.2f} s; with PLDA: {plda:.2f} s")
    print(f"largest difference: {worst:.1e} (at most {CLOSE:g})")
    faster = median["sklearn"] / median["kith"]
    print(f"ratio sklearn / kith score: {faster:.1f} (at least {LEAST_TIMES:g})")
    print(f"ratio scipy / kith score: {median['scipy'] / median['kith']:.1f}")
    return 0 if faster >= LEAST_TIMES and worst <= CLOSE else 1


if __name__ == "__main__":
    sys.exit(main())
