"""How much better than cosine is what `kith tune` chooses, on real speech?

    python benchmarks/open_set.py ../shared/speech [--seeds 5] [--draws 5] [--methods cosine as-norm plda auto ...]

Every method in one process, on the same embeddings. Rates are fractions. For each manifest, means over the seeds (and
the draws of the enrolment clips, of which the first is the manifest as it is), then

- spread: population standard deviation of the EER over seeds, also as a share of the mean EER; with several draws the
  mean of each draw's;
- calibrated: whether the actual DCF is at most max(0.2 minDCF, 0.01) above minDCF;
- ratio: what `auto` leaves of the EER and of the known-vs-unknown EER of the reference, and the difference. The
  reference is the better of this run's cosine and of the cosine in the folder's README (the Resemblyzer package, no
  tuning). The README knows the manifests as they are: of other draws the reference is this run's cosine.

"digits mean" is the mean of the three manifests of digits, of their spreads too; it is calibrated if each of them is.
With --draws, tables of the manifests as they are come first, then those over all draws. `--methods` is for ablations
too: any methods, with cosine and auto or without.

Exit code 1 if auto is worse than cosine in EER by more than 0.002 on any manifest as it is.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openkith.encoders import load_encoder
from openkith.encoders.clips.clip_cache import usual_cache
from openkith.evaluation import ClipStore, Result, evaluate
from openkith.openset.model import AUTO, BASELINE, METHODS

TOLERANCE = 0.002
DIGITS, DIGITS_MEAN = "digits-", "digits mean"
SEEDLESS = ("cosine", "as-norm", "s-norm", "whitened", "plda")  # the same with every seed
MEASURES = ("eer", "detection_eer", "oscr", "min_dcf", "act_dcf")
EXCESS, LEAST_EXCESS = 0.2, 0.01  # of the actual DCF over minDCF

Rates = tuple[float, float]  # EER and known-vs-unknown EER


@dataclass(frozen=True)
class Line:
    """Means of one method on one manifest."""

    method: str
    means: dict[str, float]
    spread: float
    calibrated: bool

    @property
    def rates(self) -> Rates:
        return self.means["eer"], self.means["detection_eer"]


def published(folder: Path) -> dict[str, Rates]:
    """EER and known-vs-unknown EER of each manifest in the table of the folder's README."""
    readme = folder / "README.md"
    table: dict[str, Rates] = {}
    for line in readme.read_text().splitlines() if readme.is_file() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"[01]\.\d+", cells[3]):
            table[cells[0].split()[0]] = (float(cells[3]), float(cells[4]))
    return table


def summarise(results: Sequence[Result]) -> Line:
    """Of the runs of one method on one manifest."""
    means = {name: statistics.fmean(getattr(run.metrics, name) for run in results) for name in MEASURES}
    spreads = [
        statistics.pstdev(run.metrics.eer for run in results if run.draw == draw)
        for draw in {run.draw for run in results}
    ]
    method, chosen = results[0].method, sorted({run.chosen for run in results})
    return Line(
        method=method if chosen == [method] else f"{method}={'/'.join(chosen)}",
        means=means,
        spread=statistics.fmean(spreads),
        calibrated=is_calibrated(means),
    )


def is_calibrated(means: Mapping[str, float]) -> bool:
    """Whether the actual DCF is near enough to the smallest."""
    return means["act_dcf"] <= means["min_dcf"] + max(EXCESS * means["min_dcf"], LEAST_EXCESS)


def mean_line(lines: Sequence[Line]) -> Line:
    """Of one method over several manifests."""
    chosen = sorted({line.method for line in lines})
    means = {name: statistics.fmean(line.means[name] for line in lines) for name in MEASURES}
    return Line(
        method=" ".join(chosen) if len(chosen) == 1 else chosen[0].partition("=")[0],
        means=means,
        spread=statistics.fmean(line.spread for line in lines),
        calibrated=all(line.calibrated for line in lines),
    )


def mean_rates(rates: Iterable[Rates]) -> Rates:
    first, second = (statistics.fmean(column) for column in zip(*rates, strict=True))
    return first, second


def print_table(tables: Mapping[str, Mapping[str, Line]], readme: Mapping[str, Rates], title: str) -> None:
    """A block of lines for each manifest, and for the digits together."""
    print(f"\n{title}")
    print(
        f"{'manifest':12} {'method':22} {'EER':>7} {'spread':>7} {'':>6} {'det.EER':>8} {'OSCR':>7} {'minDCF':>7} "
        f"{'actDCF':>7}  calibrated"
    )
    readme = dict(readme)
    tables = dict(tables)
    digits = [name for name in tables if name.startswith(DIGITS)]
    if len(digits) > 1:
        tables[DIGITS_MEAN] = {
            method: mean_line([tables[name][method] for name in digits]) for method in tables[digits[0]]
        }
        if set(digits) <= set(readme):
            readme[DIGITS_MEAN] = mean_rates(readme[name] for name in digits)
    for name, lines in tables.items():
        for line in lines.values():
            share = f"{line.spread / line.means['eer']:6.1%}" if line.means["eer"] else f"{'':6}"
            print(
                f"{name:12} {line.method:22} {line.means['eer']:7.4f} {line.spread:7.4f} {share} "
                f"{line.means['detection_eer']:8.4f} {line.means['oscr']:7.4f} {line.means['min_dcf']:7.4f} "
                f"{line.means['act_dcf']:7.4f}  {'yes' if line.calibrated else 'NO'}"
            )
        if AUTO in lines and BASELINE in lines:
            print(f"{name:12} {ratio(lines, readme.get(name))}")
    sys.stdout.flush()


def ratio(lines: Mapping[str, Line], given: Rates | None) -> str:
    """What auto leaves of the errors of the reference, in words."""
    cosine = lines[BASELINE].rates
    best = cosine if given is None else tuple(map(min, cosine, given))
    told = [
        f"{name} {auto / max(rate, 1e-9):.3f} ({1 - auto / max(rate, 1e-9):.0%} lower, {auto - rate:+.4f})"
        for name, auto, rate in zip(("EER", "det.EER"), lines[AUTO].rates, best, strict=True)
    ]
    known = "" if given is None else f"; README {given[0]:.4f} / {given[1]:.4f}"
    return f"auto/reference: {', '.join(told)}{known}"


def measure(
    paths: Sequence[Path], methods: Sequence[str], store: ClipStore, seeds: int, draws: int
) -> dict[str, dict[str, list[Result]]]:
    """All runs, by manifest and method."""
    runs: dict[str, dict[str, list[Result]]] = {}
    for path in paths:
        for method in methods:
            runs.setdefault(path.stem, {})[method] = evaluate(
                path, [method], store=store, seeds=1 if method in SEEDLESS else seeds, draws=draws
            )
            print(f"{path.stem}: {method} done", file=sys.stderr, flush=True)
    return runs


def tabulate(
    runs: Mapping[str, Mapping[str, list[Result]]], wanted: Callable[[Result], bool]
) -> dict[str, dict[str, Line]]:
    return {
        name: {method: summarise([run for run in own if wanted(run)]) for method, own in of_method.items()}
        for name, of_method in runs.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with manifests (*.tsv), and a README.md with their cosine")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=1, help="of the enrolment clips")
    parser.add_argument(
        "--methods", nargs="+", default=["cosine", "as-norm", "auto"], choices=[AUTO, *METHODS]
    )
    parser.add_argument("--manifests", nargs="+", help="their names; default: all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    paths = [
        path
        for path in sorted(options.folder.glob("*.tsv"))
        if not options.manifests or path.stem in options.manifests
    ]
    if not paths:
        parser.error(f"{options.folder}: no such manifests")
    store = ClipStore(load_encoder(threads=options.threads), usual_cache())
    runs = measure(paths, options.methods, store, options.seeds, options.draws)
    as_they_are = tabulate(runs, lambda run: run.draw == 0)
    print_table(as_they_are, published(options.folder), f"Manifests as they are, {options.seeds} seeds")
    if options.draws > 1:
        drawn = tabulate(runs, lambda _: True)
        print_table(drawn, {}, f"{options.draws} draws of the enrolment clips, {options.seeds} seeds each")
    worse = [
        name
        for name, lines in as_they_are.items()
        if {AUTO, BASELINE} <= set(lines) and lines[AUTO].rates[0] > lines[BASELINE].rates[0] + TOLERANCE
    ]
    if worse:
        print(f"auto is worse than cosine on {', '.join(worse)}")
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
