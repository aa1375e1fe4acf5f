"""Speed of the metrics, beside scikit-learn and beside the definition. `python benchmarks/metrics.py`.

1. One million scores (500 000 targets, 500 000 nontargets): EER, minDCF, AUROC and OSCR together, each by
   its public function with its own sort, in at most 4 times the time of `sklearn.metrics.roc_curve` alone.
   OSCR is given the same million as the largest scores of as many probes of a household of two.
2. OSCR of 20 000 probes at least 50 times faster than its definition: a loop over all thresholds that counts
   the known and the unknown probes above each.

Reference and subject run in turn in this process; the median of the repeats counts. Exits 1 on a miss.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from openkith.metrics import auroc, eer, min_dcf, oscr

N_TRIALS = 1_000_000
N_OSCR = 20_000
REPEATS = 7
REPEATS_DEFINITION = 3
MOST_TIMES_ROC_CURVE = 4.0
LEAST_TIMES_DEFINITION = 50.0


def household(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores (n, 2) and labels: half known, one in ten of them named wrongly, half unknown."""
    top = np.concatenate([rng.normal(2.0, 1.0, n // 2), rng.normal(0.0, 1.0, n // 2)])
    best = rng.integers(0, 2, n)
    scores = np.empty((n, 2))
    scores[np.arange(n), best] = top
    scores[np.arange(n), 1 - best] = top - rng.exponential(1.0, n) - 1e-3
    labels = np.where(rng.random(n) < 0.1, 1 - best, best)
    labels[n // 2 :] = -1
    return scores, labels


def oscr_by_definition(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    top, known = scores.max(axis=1), labels >= 0
    right = known & (scores.argmax(axis=1) == labels)
    right_scores, unknown_scores = top[right], top[~known]
    area = fpr_before = ccr_before = 0.0
    for threshold in sorted(set(top.tolist()), reverse=True):
        ccr = np.count_nonzero(right_scores >= threshold) / known.sum()
        fpr = np.count_nonzero(unknown_scores >= threshold) / unknown_scores.size
        area += (fpr - fpr_before) * (ccr + ccr_before) / 2.0
        fpr_before, ccr_before = fpr, ccr
    return area


def median_seconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def main() -> int:
    rng = np.random.default_rng(0)
    scores, labels = household(rng, N_TRIALS)
    top = scores.max(axis=1)
    targets, nontargets = top[labels >= 0], top[labels < 0]
    shuffle = rng.permutation(N_TRIALS)  # presorted classes would flatter either side
    is_known, top_shuffled = (labels >= 0)[shuffle], top[shuffle]
    scores, labels = scores[shuffle], labels[shuffle]

    def four_metrics() -> None:
        eer(targets, nontargets)
        min_dcf(targets, nontargets)
        auroc(targets, nontargets)
        oscr(scores, labels)

    reference, four = median_seconds([lambda: roc_curve(is_known, top_shuffled), four_metrics], REPEATS)
    print(f"sklearn roc_curve, {N_TRIALS} scores: {reference * 1e3:.1f} ms")
    print(f"EER + minDCF + AUROC + OSCR: {four * 1e3:.1f} ms")
    slower = four / reference
    print(f"ratio four metrics / roc_curve: {slower:.2f} (at most {MOST_TIMES_ROC_CURVE:g})")

    scores, labels = household(rng, N_OSCR)
    if abs(oscr(scores, labels) - oscr_by_definition(scores, labels)) > 1e-9:
        print("OSCR differs from its definition")
        return 1
    definition, sorted_once = median_seconds(
        [lambda: oscr_by_definition(scores, labels), lambda: oscr(scores, labels)], REPEATS_DEFINITION
    )
    print(f"OSCR by definition, {N_OSCR} probes: {definition * 1e3:.1f} ms; here: {sorted_once * 1e3:.2f} ms")
    faster = definition / sorted_once
    print(f"ratio definition / OSCR: {faster:.0f} (at least {LEAST_TIMES_DEFINITION:g})")
    return 0 if slower <= MOST_TIMES_ROC_CURVE and faster >= LEAST_TIMES_DEFINITION else 1


if __name__ == "__main__":
    sys.exit(main())
