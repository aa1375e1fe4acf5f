"""The command ``kith``: each of its commands is one call of the library, and what it gave, printed.

The modules::

    people      enroll, list, show, rename, drop-clip, forget, undo, reembed
    decisions   tune, calibrate, identify, verify
    research    demo, evaluate
    corpora     embed, score, metrics
    cohort      cohort build
    enhancement  enhance targets, enhance lists
    enhancement_training  enhance train, enhance apply, enhance curves, enhance analyse
    neural_scoring  neural-scoring enrol-model, mine, train, average, evaluate
    protocol    protocol household, protocol voxceleb, protocol embeddings
    simulation  simulate
    synthesis   synthesize unknown, synthesize styles
    safekeeping  backup, restore, encryption make-key, encryption rotate, encryption status
    serve       serve, keys create, keys list, keys revoke
    setup       models, doctor
    options     what several commands take
    output      tables, JSON, progress bars, errors

Exit codes: 0 done, 1 the answer is no, 2 bad input. Heavy packages are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import openkith
from openkith.cli import (
    cohort,
    corpora,
    decisions,
    people,
    protocol,
    research,
    safekeeping,
    serve,
    setup,
    simulation,
    synthesis,
)
from openkith.cli.enhancement import ENHANCEMENT_COMMANDS
from openkith.cli.enhancement_training import ENHANCEMENT_TRAINING_COMMANDS
from openkith.cli.neural_scoring import NEURAL_SCORING_COMMANDS
from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    GalleryOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    given,
)
from openkith.cli.output import complain, seal_stdout
from openkith.errors import KithError

__all__ = ["app", "main"]

BAD_INPUT = 2
INTERRUPTED = 130  # as of a program that SIGINT ended
CLOSED_PIPE = 141  # as of a program that SIGPIPE ended

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "People": {
        "enroll": people.enroll,
        "list": people.list_people,
        "show": people.show,
        "rename": people.rename,
        "drop-clip": people.drop_clip,
        "forget": people.forget,
        "undo": people.undo,
        "reembed": people.reembed,
    },
    "Decisions": {
        "tune": decisions.tune,
        "calibrate": decisions.calibrate,
        "identify": decisions.identify,
        "verify": decisions.verify,
    },
    "Measuring": {
        "demo": research.demo,
        "evaluate": research.evaluate,
        "embed": corpora.embed,
        "score": corpora.score,
        "metrics": corpora.metrics,
        "simulate": simulation.simulate,
    },
    "Daemon": {"serve": serve.serve},
    "Safekeeping": {"backup": safekeeping.backup, "restore": safekeeping.restore},
    "Installation": {"doctor": setup.doctor},
}
MODEL_COMMANDS: dict[str, Callable[..., None]] = {
    "list": setup.list_models,
    "info": setup.show_model,
    "pull": setup.pull_model,
    "export": setup.export_model,
}
COHORT_COMMANDS: dict[str, Callable[..., None]] = {"build": cohort.build}
PROTOCOL_COMMANDS: dict[str, Callable[..., None]] = {
    "household": protocol.household,
    "voxceleb": protocol.voxceleb,
    "embeddings": protocol.embeddings,
}
SYNTHESIS_COMMANDS: dict[str, Callable[..., None]] = {
    "unknown": synthesis.unknown,
    "styles": synthesis.styles,
}


class _Group(TyperGroup):
    """Turns what goes wrong on purpose into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe is met here, and not when the interpreter ends
            return result
        except KithError as error:
            complain(error)
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt as error:
            complain("interrupted")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            seal_stdout()
            raise typer.Exit(CLOSED_PIPE) from error
        except OSError as error:
            complain(
                ": ".join(
                    filter(None, [error.filename and str(error.filename), error.strerror or str(error)])
                )
            )
            raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    cls=_Group,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(no_args_is_help=True, help="List, fetch and export encoders.")
encryption = typer.Typer(
    no_args_is_help=True, help="Encrypt embeddings, heads and kept recordings where they are stored."
)
for panel, commands in COMMANDS.items():
    for command, function in commands.items():
        cls = simulation.COMMAND_CLASSES.get(command)
        app.command(command, cls=cls, rich_help_panel=panel)(function)
for command, function in MODEL_COMMANDS.items():
    models.command(command)(function)
app.add_typer(models, name="models", rich_help_panel="Installation")
for command, function in safekeeping.ENCRYPTION_COMMANDS.items():
    encryption.command(command)(function)
app.add_typer(encryption, name="encryption", rich_help_panel="Safekeeping")
keys = typer.Typer(no_args_is_help=True, help="API keys of the daemon: make, list and revoke them.")
for command, function in serve.KEY_COMMANDS.items():
    keys.command(command)(function)
app.add_typer(keys, name="keys", rich_help_panel="Daemon")
cohorts = typer.Typer(
    no_args_is_help=True,
    help="Other people's embeddings, which tuning and calibration need for each encoder.",
)
for command, function in COHORT_COMMANDS.items():
    cohorts.command(command)(function)
app.add_typer(cohorts, name="cohort", rich_help_panel="Decisions")
protocols = typer.Typer(no_args_is_help=True, help="Build and measure the protocols of the papers.")
for command, function in PROTOCOL_COMMANDS.items():
    protocols.command(command, cls=protocol.COMMAND_CLASSES.get(command))(function)
app.add_typer(protocols, name="protocol", rich_help_panel="Measuring")
neural_scorers = typer.Typer(
    no_args_is_help=True,
    help="Train and measure neural scoring: who talks in noise, and beside other talkers.",
)
for command, function in NEURAL_SCORING_COMMANDS.items():
    neural_scorers.command(command)(function)
app.add_typer(neural_scorers, name="neural-scoring", rich_help_panel="Measuring")
enhancers = typer.Typer(
    no_args_is_help=True,
    help="Train embedding enhancement: from one clip, the embedding that many clips would give.",
)
ENHANCE = {**ENHANCEMENT_COMMANDS, **ENHANCEMENT_TRAINING_COMMANDS}
for command, function in ENHANCE.items():
    enhancers.command(command)(function)
app.add_typer(enhancers, name="enhance", rich_help_panel="Measuring")
synthesizers = typer.Typer(no_args_is_help=True, help="Make synthetic unknown speakers and speaking styles.")
for command, function in SYNTHESIS_COMMANDS.items():
    synthesizers.command(command)(function)
app.add_typer(synthesizers, name="synthesize", rich_help_panel="Measuring")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openkith {openkith.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
    version: Annotated[  # noqa: ARG001  (its callback answers)
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version.", show_default=False
        ),
    ] = False,
) -> None:
    """Know the voices you were told about, and say "unknown" to all others.

    Options may stand before the command or after it.
    """
    common = given(
        gallery=gallery,
        encoder=encoder,
        threads=threads,
        device=device,
        precision=precision,
        as_json=as_json or None,
    )
    # What stands before the command is the default of what stands after it.
    defaults: dict[str, Any] = {name: common for group in COMMANDS.values() for name in group}
    for group, names in (
        ("models", MODEL_COMMANDS),
        ("encryption", safekeeping.ENCRYPTION_COMMANDS),
        ("keys", serve.KEY_COMMANDS),
        ("cohort", COHORT_COMMANDS),
        ("protocol", PROTOCOL_COMMANDS),
        ("synthesize", SYNTHESIS_COMMANDS),
        ("neural-scoring", NEURAL_SCORING_COMMANDS),
        ("enhance", ENHANCE),
    ):
        defaults[group] = dict.fromkeys(names, common)
    ctx.default_map = defaults


def main() -> None:
    """Entry point of ``kith``."""
    # Before torch is imported: a thread that waits spinning takes the core of one that works, on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal's encoding lacks is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="kith")
