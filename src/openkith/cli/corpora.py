"""Commands on lists and trees, for researchers: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    first_task,
    given,
)
from openkith.cli.output import check_folder, complain, print_json, print_table, progress, say
from openkith.errors import InputError

if TYPE_CHECKING:
    from openkith.bulk.trial_scores import ScoreMetrics

__all__ = ["embed", "metrics", "score"]

EMBEDDINGS_HELP = "Of kith embed, or an .scp file, or a tree of .npy files."


def embed(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A folder of audio, a VoxCeleb tree, a manifest, or a wav.scp or its folder.",
            show_default=False,
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
    encoder: EncoderOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="PATH|ID|URL",
            help="Instead of the published ones: a file, a folder, the id of a model on a hub, a URL.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="safetensors, npy-tree (a file for each), kaldi or kaldi-text. Default: safetensors; with --crops, "
            "npy-tree.",
            show_default=False,
        ),
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            "--crops",
            metavar="N",
            help="Embed N evenly spaced crops: (N, d) a file in an npy-tree; in other formats their mean.",
            show_default=False,
        ),
    ] = None,
    crop_seconds: Annotated[
        float | None,
        typer.Option("--crop-seconds", metavar="S", help="Length of a crop. Default: 4.", show_default=False),
    ] = None,
    vad: Annotated[
        str | None,
        typer.Option(
            "--vad",
            metavar="NAME",
            help="Embed only what webrtc or silero takes for speech; none: clips as they are, as results on VoxCeleb "
            "are published. Default: webrtc.",
            show_default=False,
        ),
    ] = None,
    no_quality: Annotated[
        bool,
        typer.Option("--no-quality", help="Do not measure noise and bandwidth: faster.", show_default=False),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes that decode and embed. Default: one per core; at most 4 on an accelerator.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", metavar="N", help="Files embedded together. Default: 16.", show_default=False
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Try the files in errors.tsv again.", show_default=False),
    ] = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed a corpus, with all cores, and after a kill from where it stopped.

    DIR gets the embeddings, index.tsv and errors.tsv. A file that cannot be embedded stops nothing. Each worker has one
    thread unless --threads says otherwise. The exit code is 0 if any file was embedded, 2 if none could be.
    """
    from openkith.bulk.embedding import EmbedOptions, EncoderSpec, embed_corpus
    from openkith.bulk.workers import usual_workers

    spec = EncoderSpec(
        **given(name=encoder, weights=weights, device=device, precision=precision, threads=threads)
    )
    options = EmbedOptions(
        quality=not no_quality,
        **given(format=form, crops=crops, crop_seconds=crop_seconds, vad=vad),
    )
    count = usual_workers(spec.device) if workers is None else workers
    with progress(first_task("listing files", encoder), quiet=as_json) as step:
        summary = embed_corpus(
            source, out, spec, options, workers=count, retry=retry, progress=step, **given(batch=batch)
        )
    if summary.errors is not None:
        complain(f"{summary.bad} of {summary.files} files could not be embedded; {summary.errors} says why")
    if as_json:
        print_json(summary)
        return
    new = summary.embedded - summary.before
    earlier = f", {summary.before} before" if summary.before else ""
    pace = f", {new / summary.seconds:.1f} files/s" if new else ""
    say(
        f"{summary.embedded} embeddings of {summary.encoder} ({summary.dim} numbers each) in {out}: {new} now{earlier}"
        f"; {summary.seconds:.1f} s{pace}"
    )


def score(
    trials: Annotated[
        Path,
        typer.Argument(metavar="TRIALS", help="Lines of 'label enrol_path test_path'.", show_default=False),
    ],
    embeddings: Annotated[
        Path,
        typer.Option("--embeddings", metavar="DIR", help=EMBEDDINGS_HELP, show_default=False),
    ],
    as_norm: Annotated[
        Path | None,
        typer.Option(
            "--as-norm",
            metavar="DIR",
            help="Embeddings of other people: normalise scores.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            help="How many of the cohort's scores count. Default: 8 % of them.",
            show_default=False,
        ),
    ] = None,
    speaker_means: Annotated[
        bool,
        typer.Option(
            "--speaker-means", help="The cohort is the mean of each of its speakers.", show_default=False
        ),
    ] = False,
    plda: Annotated[
        Path | None,
        typer.Option(
            "--plda",
            metavar="DIR",
            help="A saved model, or embeddings with speakers to learn one from. Default: cosine.",
            show_default=False,
        ),
    ] = None,
    save_plda: Annotated[
        Path | None,
        typer.Option(
            "--save-plda", metavar="DIR", help="Save the model that was learned.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="SCORES.tsv", help="Default: standard output.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a trial list with embeddings: cosine or PLDA, with AS-norm if wanted.

    The scores are lines of 'enrol test score label'.
    """
    from openkith.bulk.scoring import ScoreOptions, score_trials

    if as_json and out is None:
        raise InputError("--json prints a summary; give the scores a file with --out")
    check_folder(out)
    options = ScoreOptions(
        as_norm=as_norm, top=top, speaker_means=speaker_means, plda=plda, save_plda=save_plda
    )
    with progress("reading trials", quiet=as_json) as step:
        scored = score_trials(trials, embeddings, options, progress=step)
        if out is not None:
            step("writing scores", 0, 0)
            scored.write(out)
    if out is None:
        scored.write(sys.stdout)
    elif as_json:
        print_json(
            {
                "out": out,
                "method": options.method,
                "trials": len(scored.trials),
                "utterances": len(scored.trials.names),
                "targets": int(scored.trials.targets.sum()),
            }
        )
    else:
        say(f"{len(scored.trials)} trials of {len(scored.trials.names)} utterances: {options.method}; {out}")


def metrics(
    scores: Annotated[
        Path,
        typer.Argument(metavar="SCORES.tsv", help="Lines of 'enrol test score label'.", show_default=False),
    ],
    p_target: Annotated[
        list[float] | None,
        typer.Option(
            "--p-target",
            metavar="P",
            help="Prior of a target, for costs; may be given several times. Default: 0.01 and 0.1.",
            show_default=False,
        ),
    ] = None,
    llr: Annotated[
        bool,
        typer.Option(
            "--llr",
            help="The scores are natural-log likelihood ratios: actual costs and Cllr too.",
            show_default=False,
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure scores of trials: EER and detection costs."""
    from openkith.bulk.trial_scores import measure_scores, read_scores

    with progress("reading scores", quiet=as_json):
        values, targets = read_scores(scores)
        measured = measure_scores(
            values, targets, llr=llr, source=scores, **given(priors=tuple(p_target) if p_target else None)
        )
    if as_json:
        print_json({"scores": scores, **measured.to_dict()})
    else:
        _print_metrics(measured)


def _print_metrics(measured: ScoreMetrics) -> None:
    rows = [["EER", f"{100 * measured.eer:.3f} %"]]
    rows += [[f"minDCF, P = {prior:g}", f"{cost:.4f}"] for prior, cost in measured.min_dcf.items()]
    rows += [[f"actDCF, P = {prior:g}", f"{cost:.4f}"] for prior, cost in (measured.act_dcf or {}).items()]
    if measured.cllr is not None:
        rows.append(["Cllr", f"{measured.cllr:.4f} bit"])
    rows.append(["minCllr", f"{measured.min_cllr:.4f} bit"])
    print_table({"": "left", "of all trials": "right"}, rows)
    say(
        f"{measured.n_trials} trials: {measured.n_targets} targets, {measured.n_nontargets} nontargets", "dim"
    )
