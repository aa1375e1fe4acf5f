"""``kith neural-scoring``: each of its commands is one call of the library, and what it gave, printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from openkith.cli.decisions import SeedOption
from openkith.cli.options import DeviceOption, JsonOption, ThreadsOption, given
from openkith.cli.output import check_folder, percent, print_json, print_table, progress, say

if TYPE_CHECKING:
    from openkith.neural_scoring.mixtures import Noises
    from openkith.training import Settings, Trained

__all__ = ["NEURAL_SCORING_COMMANDS"]

T = TypeVar("T")

CorpusArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS", help="A folder per speaker, a VoxCeleb tree, or a Kaldi folder.", show_default=False
    ),
]
RunOption = Annotated[
    Path,
    typer.Option("--out", metavar="RUN", help="The folder for checkpoints and logs.", show_default=False),
]
NoiseOption = Annotated[
    Path | None,
    typer.Option(
        "--noise",
        metavar="DIR",
        help="Noise, music, talk and rooms as MUSAN and RIRS_NOISES have them. Default: both are generated.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Instead of what the configuration says, as in train.epochs=2; may be given several times.",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of RUN.", show_default=False)
]
DevicesOption = Annotated[
    int | None,
    typer.Option("--devices", metavar="N", help="GPUs of this machine; train.devices.", show_default=False),
]
TrainPrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="NAME", help="32, bf16-mixed or 16-mixed; train.precision.", show_default=False
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", help="Processes that read audio. Default: none.", show_default=False
    ),
]


def enrol_model(
    corpus: CorpusArgument,
    out: RunOption,
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="YAML, or enrol-model, or small-enrol-model.")
    ] = "enrol-model",
    noise: NoiseOption = None,
    settings: SetOption = None,
    devices: DevicesOption = None,
    train_precision: TrainPrecisionOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn an enrolment model: ResNet34 with AAM-softmax over the speakers of a corpus.

    RUN gets checkpoints, logs and, at the end, model.safetensors.
    """
    from openkith.neural_scoring.enrol_model import EnrolModelConfig, train_enrol_model

    configured = _configure(EnrolModelConfig, config, settings, devices, train_precision)
    quiet = _begin(configured, as_json)
    noises = _noises(noise)
    with progress("listing recordings", quiet=quiet) as step:
        trained = train_enrol_model(
            configured.options, corpus, out, noises=noises, resume=resume, progress=step
        )
    _end(trained, out, as_json)


def mine(
    corpus: CorpusArgument,
    model: Annotated[
        Path,
        typer.Option("--model", metavar="PATH", help="An enrolment model, or its RUN.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The dictionary: .json or .tsv.", show_default=False),
    ],
    top: Annotated[
        int | None,
        typer.Option("--top", metavar="N", help="Others of each speaker. Default: 100.", show_default=False),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips", metavar="N", help="Utterances of each speaker. Default: 20.", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            metavar="S",
            help="Of each utterance, from a random place. Default: 4.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = None,
    device: DeviceOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find hard speakers: for each one the others whose mean embedding is closest by cosine."""
    from openkith.neural_scoring import save_hard_speakers
    from openkith.neural_scoring.enrol_model import find_hard_speakers

    check_folder(out)
    options = given(top=top, clips=clips, seconds=seconds, workers=workers, device=device, seed=seed)
    with progress("listing recordings", quiet=as_json) as step:
        found = find_hard_speakers(corpus, model, progress=step, **options)
    save_hard_speakers(out, found)
    closest = max(map(len, found.values()))
    if as_json:
        print_json({"out": out, "speakers": len(found), "closest": closest})
    else:
        say(f"{len(found)} speakers, {closest} others of each: {out}")


def train(
    corpus: CorpusArgument,
    out: RunOption,
    config: Annotated[
        str,
        typer.Option("--config", metavar="FILE", help="YAML, or clean, multi or small.", show_default=False),
    ],
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="An enrolment model, or a scorer to go on from: a RUN, what average wrote, an NS-SV checkpoint.",
            show_default=False,
        ),
    ] = None,
    hard_speakers: Annotated[
        Path | None,
        typer.Option(
            "--hard-speakers",
            metavar="FILE",
            help="Of kith neural-scoring mine. Default: people meet by chance.",
            show_default=False,
        ),
    ] = None,
    noise: NoiseOption = None,
    settings: SetOption = None,
    devices: DevicesOption = None,
    train_precision: TrainPrecisionOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn neural scoring: clean from an enrolment model, then on mixtures from what that gave.

    RUN gets checkpoints and logs; kith neural-scoring average makes the model of them.
    """
    from openkith.neural_scoring import load_hard_speakers
    from openkith.neural_scoring.trainer import ScorerConfig, train_scorer

    configured = _configure(ScorerConfig, config, settings, devices, train_precision)
    quiet = _begin(configured, as_json)
    neighbours = None if hard_speakers is None else load_hard_speakers(hard_speakers)
    noises = _noises(noise)
    with progress("listing recordings", quiet=quiet) as step:
        trained = train_scorer(
            configured.options,
            corpus,
            out,
            start=start,
            neighbours=neighbours,
            noises=noises,
            resume=resume,
            progress=step,
        )
    _end(trained, out, as_json)


def average(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the model.", show_default=False)
    ],
    last: Annotated[int, typer.Option("--last", metavar="N", help="Checkpoints.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Write the mean of a training's last checkpoints as a model."""
    from openkith.neural_scoring.model_files import average_run

    kind, count = average_run(run, out, last)
    if as_json:
        print_json({"out": out, "kind": kind, "checkpoints": count})
    else:
        say(f"{kind}, the mean of {count} checkpoints: {out}")


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="What average wrote, a RUN, or an NS-SV checkpoint.", show_default=False
        ),
    ],
    lists: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRIALS...", help="Lists of 'label enrol_path test_path'.", show_default=False
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(
            "--root", metavar="DIR", help="The folder that their paths are relative to.", show_default=False
        ),
    ],
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="DIR", help="Write the scores there too.", show_default=False),
    ] = None,
    p_target: Annotated[
        list[float] | None,
        typer.Option(
            "--p-target",
            metavar="P",
            help="Prior of a target, for costs; may be given several times. Default: 0.01.",
            show_default=False,
        ),
    ] = None,
    no_cosine: Annotated[
        bool,
        typer.Option("--no-cosine", help="Without cosine of the enrolment model.", show_default=False),
    ] = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure neural scoring on trial lists, each and all together, beside cosine of its own enrolment model.

    Of kith simulate's folder, give all its lists: they are a table of the scenarios.
    """
    from openkith.neural_scoring import NeuralScorer
    from openkith.neural_scoring.evaluation import evaluate_lists, measure, write_scores
    from openkith.neural_scoring.model_files import load_network

    with progress("loading the model", quiet=as_json) as step:
        scorer = NeuralScorer(load_network(model), **given(device=device, threads=threads))
        heard = evaluate_lists(scorer, lists, root, cosine=not no_cosine, progress=step)
        if scores is not None:
            write_scores(scores, heard)
        measured = measure(heard, **given(p_target=tuple(p_target) if p_target else None))
    if as_json:
        print_json({"model": model, "results": measured})
        return
    priors = list(measured[0].min_dcf)
    print_table(
        {
            "list": "left",
            "method": "left",
            "trials": "right",
            "EER": "right",
            **{f"minDCF, P = {prior:g}": "right" for prior in priors},
        },
        [
            [each.trials_of, each.method, str(each.trials), f"{100 * each.eer:.2f} %"]
            + [f"{each.min_dcf[prior]:.3f}" for prior in priors]
            for each in measured
        ],
    )


NEURAL_SCORING_COMMANDS: dict[str, Callable[..., None]] = {
    "enrol-model": enrol_model,
    "mine": mine,
    "train": train,
    "average": average,
    "evaluate": evaluate,
}


def _configure(
    cls: type[T], config: str, settings: list[str] | None, devices: int | None, precision: str | None
) -> Settings[T]:
    """The configuration; an option of its own holds against ``--set``."""
    from openkith.neural_scoring.trainer import CONFIGS
    from openkith.training import configure, find_config

    own = []
    if devices is not None:
        own.append(f"train.devices={devices}")
    if precision is not None:
        own.append(f"train.precision='{precision}'")  # 32 is text here
    return configure(cls, find_config(config, CONFIGS), [*(settings or []), *own])


def _noises(folder: Path | None) -> Noises:
    from openkith.audio.noise_folders import load_noise_tree
    from openkith.neural_scoring.mixtures import Noises

    return Noises(None if folder is None else load_noise_tree(folder))


def _begin(configured: Settings[Any], as_json: bool) -> bool:
    """Show the configuration; whether nothing more is to be shown."""
    from openkith.training import is_first_process

    quiet = as_json or not is_first_process()
    if not quiet:
        for line in configured.lines():
            say(line, "dim")
    return quiet


def _end(trained: Trained, out: Path, as_json: bool) -> None:
    from openkith.training import is_first_process

    if not is_first_process():
        return
    if as_json:
        print_json({"out": out, **vars(trained)})
        return
    loss = "" if trained.loss is None else f", loss {trained.loss:.4g}"
    error = "" if trained.measure is None else f", EER {percent(trained.measure)} held out at best"
    say(f"{trained.steps} steps, {trained.epochs} epochs{loss}{error}; last checkpoint: {trained.checkpoint}")
