"""``kith simulate``: one call of the library, and what it wrote, printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from openkith.cli.decisions import SeedOption
from openkith.cli.options import JsonOption, given
from openkith.cli.output import complain, print_json, print_table, progress, say
from openkith.errors import ConfigError

__all__ = ["COMMAND_CLASSES", "ManyScenarios", "simulate"]


class ManyScenarios(TyperCommand):
    """A command whose ``--scenarios`` takes all names that follow it: ``--scenarios clean noisy mix``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say the option again before each further name, as the parser wants it."""
        return super().parse_args(ctx, _repeated(args))


def _repeated(args: list[str]) -> list[str]:
    """The words of a command line, with the option before each of the names of scenarios that follow it."""
    if "--scenarios" not in args:
        return args  # without loading anything
    from openkith.data.simulation.planning import SCENARIOS

    words: list[str] = []
    following = False
    for place, word in enumerate(args):
        if word == "--":
            return words + args[place:]
        if following and word in SCENARIOS and words[-1] != "--scenarios":
            words.append("--scenarios")
        following = word == "--scenarios" or (following and set(word.split(",")) <= set(SCENARIOS))
        words.append(word)
    return words


COMMAND_CLASSES: dict[str, type[TyperCommand]] = {"simulate": ManyScenarios}
"""Commands that parse their words in their own way."""


def simulate(
    trials: Annotated[
        Path,
        typer.Argument(metavar="TRIALS", help="Lines of 'label enrol_path test_path'.", show_default=False),
    ],
    root: Annotated[
        Path,
        typer.Option(
            "--root", metavar="DIR", help="The folder that its paths are relative to.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="The folder to write; one that an earlier run began is gone on with.",
            show_default=False,
        ),
    ],
    noise: Annotated[
        Path | None,
        typer.Option(
            "--noise",
            metavar="DIR",
            help="Noise, music and speech as MUSAN has them. Default: noise is generated.",
            show_default=False,
        ),
    ] = None,
    interferers: Annotated[
        Path | None,
        typer.Option(
            "--interferers",
            metavar="DIR",
            help="A folder per speaker of people to mix in. Default: those of the list.",
            show_default=False,
        ),
    ] = None,
    scenarios: Annotated[
        list[str] | None,
        typer.Option(
            "--scenarios",
            metavar="NAME...",
            help="clean, noisy, concat, overlap, mix; several with blanks or commas. Default: all.",
            show_default=False,
        ),
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option(
            "--snr",
            metavar="LOW:HIGH",
            help="Target to interferer or noise, in dB, by steps of 0.5. Default: -3:3.",
            show_default=False,
        ),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap",
            metavar="LOW:HIGH",
            help="Share of a mixture in which both talk. Default: 0.1:0.9.",
            show_default=False,
        ),
    ] = None,
    rooms: Annotated[
        float | None,
        typer.Option(
            "--rooms",
            metavar="SHARE",
            help="Share of the files with the talkers in a room, of --noise's responses or generated. Default: 0.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Processes. Default: one per core.", show_default=False),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Degrade the test side of a trial list: noise, or a second talker after, across or over the one who is tested.

    DIR gets a 16-bit WAV file, peak-normalised, per test utterance and scenario, a trial list and a table of what was
    mixed per scenario, and errors.tsv. The paths of the lists are below DIR. The files depend on the seed alone, not on
    the number of workers. A file that cannot be used stops nothing.
    """
    from openkith.data.simulation import SimulationOptions
    from openkith.data.simulation import simulate as run

    options = SimulationOptions(
        **given(
            scenarios=_names(scenarios),
            snr=_range("snr", snr),
            overlap=_range("overlap", overlap),
            rooms=rooms,
            seed=seed,
        )
    )
    with progress("reading the list", quiet=as_json) as step:
        summary = run(
            trials, root, out, options, noise=noise, interferers=interferers, workers=workers, progress=step
        )
    if summary.errors is not None:
        complain(
            f"{summary.bad} files could not be used, and {summary.left_out} trials are left out; {summary.errors} says "
            "why"
        )
    if as_json:
        print_json(summary)
        return
    new = summary.written - summary.before
    earlier = f", {summary.before} before" if summary.before else ""
    say(
        f"{summary.written} files of {summary.tests} test utterances in {out}: {new} now{earlier}; "
        f"{summary.seconds:.1f} s, {new / summary.seconds:.1f} files/s"
    )
    print_table(
        {"scenario": "left", "trials": "left", "what was mixed": "left"},
        [[name, str(out / f"{name}.txt"), str(out / f"{name}.tsv")] for name in summary.scenarios],
    )


def _names(given_names: list[str] | None) -> tuple[str, ...] | None:
    if given_names is None:
        return None
    return tuple(name.strip() for text in given_names for name in text.split(",") if name.strip())


def _range(option: str, text: str | None) -> tuple[float, float] | None:
    """Two numbers, written as LOW:HIGH, or one number for both."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        return float(low), float(high if colon else low)
    except ValueError:
        raise ConfigError(f"--{option} {text!r} is not LOW:HIGH; write it as -3:3 or 0.1:0.9") from None
