"""How much better than cosine is what `kith tune` chooses, on real speech?

    python benchmarks/open_set.py ../shared/speech [--seeds 5] [--methods cosine as-norm auto ...]

Every method in one process, on the same embeddings; rates are fractions, "ratio" is auto over the better of this run's
cosine and the cosine of the folder's README (the Resemblyzer package, no tuning). Exit code 1 if auto is worse than
cosine in EER by more than 0.002 on any manifest.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

from openkith.encoders import load_encoder
from openkith.evaluation import ClipStore, Result, evaluate

TOLERANCE = 0.002


def published(folder: Path) -> dict[str, tuple[float, float]]:
    """EER and known-vs-unknown EER of each manifest in the table of the folder's README."""
    table: dict[str, tuple[float, float]] = {}
    for line in (folder / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"[01]\.\d+", cells[3]):
            table[cells[0].split()[0]] = (float(cells[3]), float(cells[4]))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["cosine", "as-norm", "auto"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    reference = published(options.folder)
    store = ClipStore(load_encoder(threads=options.threads))
    worse = False
    print(
        f"{'manifest':11} {'method':13} {'EER':>7} {'spread':>7} {'det.EER':>8} {'OSCR':>6} {'minDCF':>7} {'actDCF':>7}"
    )
    for path in sorted(options.folder.glob("*.tsv")):
        means: dict[str, tuple[float, float]] = {}
        for method in options.methods:
            seeds = 1 if method in ("cosine", "as-norm", "whitened") else options.seeds
            results = evaluate(path, [method], store=store, seeds=seeds)
            means[method] = report(path.stem, results)
        best = tuple(map(min, means["cosine"], reference.get(path.stem, (1.0, 1.0))))
        if "auto" in means:
            ratios = [auto / max(cosine, 1e-9) for auto, cosine in zip(means["auto"], best, strict=True)]
            readme = "/".join(map(str, reference.get(path.stem, ())))
            print(
                f"{path.stem:11} ratio EER {ratios[0]:.2f}, det.EER {ratios[1]:.2f}; README cosine {readme}"
            )
            worse |= means["auto"][0] > means["cosine"][0] + TOLERANCE
    return int(worse)


def report(manifest: str, results: list[Result]) -> tuple[float, float]:
    """Print the means over seeds; EER and known-vs-unknown EER."""

    def mean(name: str) -> float:
        return statistics.fmean(getattr(result.metrics, name) for result in results)

    rates = [result.metrics.eer for result in results]
    chosen = {result.chosen for result in results}
    label = (
        results[0].method
        if chosen == {results[0].method}
        else f"{results[0].method}={'/'.join(sorted(chosen))}"
    )
    print(
        f"{manifest:11} {label:13} {mean('eer'):7.4f} {statistics.pstdev(rates):7.4f} {mean('detection_eer'):8.4f} "
        f"{mean('oscr'):6.3f} {mean('min_dcf'):7.3f} {mean('act_dcf'):7.3f}",
        flush=True,
    )
    return mean("eer"), mean("detection_eer")


if __name__ == "__main__":
    sys.exit(main())
