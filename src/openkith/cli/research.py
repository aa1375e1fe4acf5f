"""Commands that measure: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from openkith.cli.decisions import EnhancerOption, SeedOption, ShareOption, answer
from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    first_task,
    given,
    open_encoder,
)
from openkith.cli.output import check_folder, percent, print_json, print_table, progress, say

if TYPE_CHECKING:
    from openkith.data import Manifest
    from openkith.demo import DemoOutcome
    from openkith.evaluation import Result
    from openkith.report.tables import Measure

__all__ = ["demo", "evaluate"]

SHOWN = ("eer", "detection_eer", "oscr", "accuracy", "fnir_at_fpir_1", "min_dcf", "act_dcf", "cllr")
SHORT = ("EER", "k/u EER", "OSCR", "acc.", "FNIR", "minDCF", "actDCF", "Cllr")
MARK_STYLES = {"✓": "green", "?": "yellow", "✗": "red"}


def evaluate(
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST...", help="Manifests, or folders with a folder per speaker.", show_default=False
        ),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="May be given several times. Default: auto, what kith tune would choose.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", help="Runs with seeds 0 to N - 1.", show_default=False),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            metavar="N",
            help="The manifest as it is, and N - 1 times with other enrolment clips, drawn from each person's.",
            show_default=False,
        ),
    ] = None,
    far: ShareOption = None,
    enhancer: EnhancerOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Write a report too, of the manifests as they are.",
            show_default=False,
        ),
    ] = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure methods on manifests: enrol, tune on enroll and negative rows, score test rows.

    With several seeds or draws, means are printed, and below them the standard deviations.
    """
    from openkith.encoders.clips.clip_cache import usual_cache
    from openkith.evaluation import ClipStore
    from openkith.evaluation import evaluate as measure

    check_folder(report)
    loaded = _load(manifests)
    options = given(
        methods=tuple(method) if method else None, seeds=seeds, draws=draws, far=far, enhancer=enhancer
    )
    results: list[Result] = []
    with progress(first_task("loading the encoder", encoder), quiet=as_json) as step:
        store = ClipStore(open_encoder(encoder, threads, device, precision), usual_cache())
        for manifest in loaded:
            results += measure(manifest, store=store, progress=step, **options)
    if as_json:
        print_json({"results": [result.to_dict() for result in results]})
    else:
        _print_results(results)
    if report is not None:
        from openkith.report import write_report

        names = ", ".join(manifest.name for manifest in loaded)
        as_they_are = [result for result in results if result.draw == 0]
        write_report(report, as_they_are, title="Speaker recognition, evaluated", subtitle=names)
        if not as_json:
            say(f"report: {report}")


def _load(paths: list[Path]) -> list[Manifest]:
    """All manifests, read and checked before the first is scored; two of one name are told apart by their paths."""
    from openkith.data import read_manifest, split_corpus

    paths = list(dict.fromkeys(paths))
    manifests = [split_corpus(path) if path.is_dir() else read_manifest(path) for path in paths]
    names = Counter(manifest.name for manifest in manifests)
    for manifest in manifests:
        manifest.check_evaluable()
    return [
        manifest if names[manifest.name] == 1 else replace(manifest, name=str(path))
        for path, manifest in zip(paths, manifests, strict=True)
    ]


def _print_results(results: list[Result]) -> None:
    """A line for each manifest and method: what came out, or the means over seeds and draws and their spread."""
    import numpy as np

    runs: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        runs.setdefault((result.manifest, result.method), []).append(result)
    counts = {
        name: len({getattr(result, name.removesuffix("s")) for result in results})
        for name in ("seeds", "draws")
    }
    counts = {name: count for name, count in counts.items() if count > 1}
    measures = [_measures()[name] for name in SHOWN]
    rows: list[list[str]] = []
    for (manifest, _), own in runs.items():
        values = np.array([[getattr(result.metrics, name) for name in SHOWN] for result in own])
        seconds = f"{np.mean([result.tune_seconds for result in own]):.1f} s"
        means = [
            measure.show(float(mean)) for measure, mean in zip(measures, values.mean(axis=0), strict=True)
        ]
        rows.append([manifest, _methods(own), *map(str, counts.values()), *means, seconds])
        if counts:
            spread = [
                measure.show(float(deviation))
                for measure, deviation in zip(measures, values.std(axis=0), strict=True)
            ]
            rows.append(["", "±", *[""] * len(counts), *spread, ""])
    columns = {"manifest": "left", "method": "left", **dict.fromkeys(counts, "right")}
    print_table({**columns, **dict.fromkeys(SHORT, "right"), "tune": "right"}, rows)
    say(
        "EER over all trials; k/u EER: known against unknown; FNIR at 1 % FPIR; costs at a prior of 10 %.",
        "dim",
    )
    if counts:
        over = " and ".join(counts)
        say(f"Means over {over}; ± is the standard deviation.", "dim")


def demo(
    speech: Annotated[
        Path | None,
        typer.Option(
            "--speech",
            metavar="DIR",
            help="Real speech, a folder per person. Default: a household of synthetic voices.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The report.")] = Path(
        "kith-report.html"
    ),
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enrol people, tune to them, hear them and strangers again, and write a report."""
    from openkith.demo import run_demo
    from openkith.report import write_report

    check_folder(out)
    with progress(first_task("beginning", encoder), quiet=as_json) as step:
        loaded = open_encoder(encoder, threads, device, precision)
        outcome = run_demo(**given(speech=speech, seed=seed), progress=step, encoder=loaded)
        step("writing the report", 0, 0)
        write_report(out, outcome.results, title="openkith demonstration", subtitle=outcome.setting)
    if as_json:
        print_json({**outcome.to_dict(), "report": str(out)})
    else:
        _tell(outcome)
        say(f"report: {out}")


def _tell(outcome: DemoOutcome) -> None:
    from openkith.report.runs import outcomes
    from openkith.report.sections import headline

    say(f"{outcome.setting}.")
    say()
    print_table(
        {"enrolled": "left", "clips": "right", "speech": "right"},
        [[person.name, str(person.clips), f"{person.seconds:.1f} s"] for person in outcome.people],
    )
    say()
    tuned = outcome.tuned
    judged = outcomes(tuned)
    columns = {"": "left", "who speaks": "left", "kith says": "left", "P": "right", "speech": "right"}
    for title, known in (("Heard later: people enrolled", True), ("Heard later: strangers", False)):
        rows: list[list[str | Text]] = [
            [
                Text(fate.mark, MARK_STYLES[fate.mark]),
                speaker,
                answer(decision),
                percent(decision.probability),
                f"{decision.speech_seconds:.1f} s",
                clip,
            ]
            for fate, speaker, decision, clip, label in zip(
                judged, tuned.truth, tuned.decisions, tuned.probes, tuned.labels, strict=True
            )
            if (label >= 0) == known
        ]
        if rows:
            print_table({**columns, "clip": "left"}, rows, title)
            say()
    say(headline(tuned, Counter(judged)))
    television = (
        f", and {outcome.television} more synthetic voices, not heard above" if outcome.television else ""
    )
    say(
        f"The threshold was set for {percent(tuned.far)} of strangers to get a name, if they are like those who were "
        f"learned from: the cohort that ships{television}.",
        "dim",
    )
    say()
    measures = _measures()
    print_table(
        {"": "left", **{_method(result): "right" for result in outcome.results}},
        [
            [
                measures[name].name,
                *(measures[name].show(getattr(result.metrics, name)) for result in outcome.results),
            ]
            for name in SHOWN
        ],
        "Cosine beside what kith tune chose",
    )
    say()
    say(f"{outcome.seconds:.0f} s, with seed {outcome.seed}", "dim")


def _measures() -> dict[str, Measure]:
    from openkith.report.tables import MEASURES

    return {measure.field: measure for measure in MEASURES}


def _method(result: Result) -> str:
    return _methods([result])


def _methods(results: list[Result]) -> str:
    """The method of several runs, and what it chose in them."""
    method = results[0].method
    chosen = sorted({result.chosen for result in results})
    return method if chosen == [method] else f"{method} ({'/'.join(chosen)})"
