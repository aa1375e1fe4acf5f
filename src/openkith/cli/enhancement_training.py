"""``kith enhance`` train, apply, curves and analyse: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from openkith.cli.neural_scoring import (
    DevicesOption,
    ResumeOption,
    RunOption,
    SetOption,
    TrainPrecisionOption,
)
from openkith.cli.options import JsonOption
from openkith.cli.output import percent, print_json, print_table, progress, say

__all__ = ["ENHANCEMENT_TRAINING_COMMANDS"]

CURVES, ANALYSED, REPORT = "curves.png", "analysis.png", "report.html"

RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="The folder of a training; it may still be running.", show_default=False
    ),
]


def train(
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="FILE",
            help="YAML, or one of those that come with openkith: v2-mse, v2-cs, v2-mse-cs, v2-softmax, v2-triplet, "
            "v2-da-cs, v2-da-mse, residual-supcon.",
            show_default=False,
        ),
    ],
    out: RunOption,
    settings: SetOption = None,
    devices: DevicesOption = None,
    train_precision: TrainPrecisionOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn an enhancer from a list of embeddings.

    What it learns from is named in the file, or by --set data.embeddings=DIR --set data.list=FILE; see kith enhance
    lists. RUN gets checkpoints, logs and, at the end, the enhancer.
    """
    from openkith.enhancement.settings import CONFIGS, EnhancementConfig
    from openkith.enhancement.trainer import ENHANCER, train_enhancer
    from openkith.training import configure, find_config, is_first_process

    own = []
    if devices is not None:
        own.append(f"train.devices={devices}")
    if train_precision is not None:
        own.append(f"train.precision='{train_precision}'")  # 32 is text here
    configured = configure(EnhancementConfig, find_config(config, CONFIGS), [*(settings or []), *own])
    quiet = as_json or not is_first_process()
    if not quiet:
        for line in configured.lines():
            say(line, "dim")
    with progress("listing embeddings", quiet=quiet) as step:
        trained = train_enhancer(configured.options, out, resume=resume, progress=step)
    if not is_first_process():
        return
    if as_json:
        print_json({"out": out, "enhancer": out / ENHANCER, **vars(trained)})
        return
    loss = "" if trained.loss is None else f", loss {trained.loss:.4g}"
    error = "" if trained.measure is None else f", EER {percent(trained.measure)} at best"
    say(f"{trained.steps} steps, {trained.epochs} epochs{loss}{error}: {out / ENHANCER}")


def apply(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="An enhancer, or the RUN of a training.", show_default=False),
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="Of kith embed, or an .scp file, or a tree of .npy files.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The folder to write; one that an earlier run began is gone on with.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Enhance a folder of embeddings into another of the same format, and after a kill from where it stopped."""
    from openkith.bulk.enhancing import enhance_embeddings
    from openkith.enhancement.runs import load_enhancer

    enhancer, checkpoint = load_enhancer(model)
    with progress("enhancing", quiet=as_json) as step:
        summary = enhance_embeddings(enhancer, source, out, progress=step)
    if as_json:
        print_json({**summary.to_dict(), "checkpoint": checkpoint})
        return
    of = f" of {checkpoint}, while the training goes on" if checkpoint else ""
    earlier = f", {summary.before} before" if summary.before else ""
    say(
        f"{summary.embeddings} enhanced embeddings{of} in {summary.out}: {summary.embeddings - summary.before} now"
        f"{earlier}; {summary.seconds:.1f} s"
    )


def curves(run: RunArgument, as_json: JsonOption = False) -> None:
    """Draw loss and error rates by epoch: curves.png and report.html in RUN."""
    from openkith.enhancement.analysis import read_analysis
    from openkith.enhancement.curves import read_curves
    from openkith.report.enhancement import draw_curves, write_enhancement_report

    found = read_curves(run)
    files = (
        draw_curves(found, run / CURVES),
        write_enhancement_report(run / REPORT, found, read_analysis(run)),
    )
    if as_json:
        print_json({**found.to_dict(), "files": files})
        return
    print_table(
        {
            "epoch": "right",
            "loss": "right",
            **{f"EER {found.lists.get(key, key)}": "right" for key in found.rates},
        },
        [
            ["as they are", "", *(percent(found.raw[key]) for key in found.rates)],
            *(
                [str(epoch), f"{found.loss[i]:.4g}", *(percent(values[i]) for values in found.rates.values())]
                for i, epoch in enumerate(found.epochs)
            ),
        ],
    )
    say(f"{found.epochs[-1]} of {found.planned} epochs: {', '.join(map(str, files))}")


def analyse(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show what the enhancer does to scores and distances: analysis.png and report.html in RUN.

    Scores of the test lists, of one speaker and of two; distances between utterances of one speaker, from one recording
    and from two.
    """
    from openkith.enhancement.curves import read_curves
    from openkith.enhancement.runs import analyse_run
    from openkith.report.enhancement import draw_analysis, write_enhancement_report

    with progress("listing embeddings", quiet=as_json) as step:
        found = analyse_run(run, progress=step)
    files = (
        draw_analysis(found, run / ANALYSED),
        write_enhancement_report(run / REPORT, read_curves(run), found),
    )
    if as_json:
        print_json({**found.to_dict(), "files": files})
        return
    print_table(
        {"list": "left", "trials": "right", "EER before": "right", "EER after": "right"},
        [
            [each.name, str(each.trials), percent(each.eer_before), percent(each.eer_after)]
            for each in found.scores
        ],
    )
    print_table(
        {"distance": "left", "pairs": "left", "number": "right", "before": "right", "after": "right"},
        [
            [
                each.measure,
                kind.replace("_", " "),
                str(getattr(each, kind)),
                f"{each.before[kind].mean:.3f}",
                f"{each.after[kind].mean:.3f}",
            ]
            for each in found.distances
            for kind in each.before
        ]
        + [
            [each.measure, "squared MMD", "", f"{each.mmd_before:.2e}", f"{each.mmd_after:.2e}"]
            for each in found.distances
        ],
    )
    say(", ".join(map(str, files)))


ENHANCEMENT_TRAINING_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "apply": apply,
    "curves": curves,
    "analyse": analyse,
}
