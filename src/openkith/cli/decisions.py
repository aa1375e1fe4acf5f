"""Commands that tune, calibrate and decide: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    GalleryOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    first_task,
    given,
    open_recognizer,
    parse_share,
)
from openkith.cli.output import bullets, complain, percent, print_json, print_table, printable, progress, say
from openkith.errors import KithError

if TYPE_CHECKING:
    from openkith.openset.decision import Decision
    from openkith.scoring import Calibration
    from openkith.scoring.calibration import ErrorEstimate

__all__ = ["EnhancerOption", "SeedOption", "ShareOption", "answer", "calibrate", "identify", "tune", "verify"]

STYLES = {"known": "green", "unsure": "yellow", "unknown": "cyan"}

ShareOption = Annotated[
    float | None,
    typer.Option(
        "--far",
        metavar="SHARE",
        parser=parse_share,
        help="Share of strangers that may get any name, such as 0.1% or 0.001.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Of everything random.", show_default=False)
]

EnhancerOption = Annotated[
    str | None,
    typer.Option(
        "--enhancer",
        metavar="NAME",
        help="What embeddings go through first: off (the default), shipped, auto (the one that ships, where held-out "
        "clips get better), or the folder of a trained one.",
        show_default=False,
    ),
]


def tune(
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="cosine, as-norm, s-norm, whitened, plda, speaker-rpl, speaker-rpl+, speaker-rpl-v2, fusion, "
            "multi-talker (where others talk at the same time), or auto (the default): the fusion, unless held-out "
            "clips speak clearly against it.",
            show_default=False,
        ),
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(
            "--unknown",
            metavar="DIR",
            help="Recordings of other people to learn from, beside those that ship.",
            show_default=False,
        ),
    ] = None,
    synthetic: Annotated[
        int | None,
        typer.Option(
            "--synthetic",
            metavar="N",
            help="Learn from N synthetic voices too (extra synthesis).",
            show_default=False,
        ),
    ] = None,
    styles: Annotated[
        bool,
        typer.Option(
            "--styles",
            help="Learn everybody older, younger, happy, sad, angry, tired, fast and slow too (extra synthesis), from "
            "kept audio or the files that were enrolled.",
        ),
    ] = False,
    members: Annotated[
        int | None,
        typer.Option(
            "--members",
            metavar="N",
            help="Adapters of the SpeakerRPL methods. Default: the method's own number.",
            show_default=False,
        ),
    ] = None,
    enhancer: EnhancerOption = None,
    seed: SeedOption = None,
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune a head to the people enrolled, and calibrate it."""
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task("tuning", encoder), quiet=as_json) as step,
    ):
        options = given(
            method=method,
            unknown=unknown,
            synthetic=synthetic,
            members=members,
            enhancer=enhancer,
            seed=seed,
        )
        report = recognizer.tune(**options, styles=styles, progress=step)
    if as_json:
        print_json(report.to_dict())
        return
    say(f"in use: {report.method}{', enhanced' if report.enhancer else ''}", "bold")
    say(report.kept)
    say()
    print_table(
        {"method": "left", "EER": "right", "known/unknown EER": "right"},
        [[name, percent(e.eer), percent(e.detection_eer)] for name, e in report.errors.items()],
        "Errors on held-out clips",
    )
    _say_calibration(report.calibration)
    _say_findings(finding.text for finding in report.findings)


def calibrate(
    far: ShareOption = None,
    verify_far: Annotated[
        float | None,
        typer.Option(
            "--verify-far",
            metavar="SHARE",
            parser=parse_share,
            help="Share of false claims that may pass kith verify. Default: as --far.",
            show_default=False,
        ),
    ] = None,
    prior_unknown: Annotated[
        float | None,
        typer.Option(
            "--prior-unknown",
            metavar="SHARE",
            parser=parse_share,
            help="How often a voice is a stranger's, before it is heard.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            "--background",
            metavar="DIR",
            help="Recordings of your room, television and guests, without anybody enrolled. Kept as embeddings.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how often a stranger may get a name, and say what that costs."""
    options = given(far=far, verify_far=verify_far, unknown_prior=prior_unknown, background=background)
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task("calibrating", encoder), quiet=as_json) as step,
    ):
        report = recognizer.calibrate(**options, progress=step)
    if as_json:
        print_json(report.to_dict())
        return
    say(f"calibrated: {report.method}", "bold")
    _say_calibration(report.calibration)
    _say_findings([*report.notes, *(finding.text for finding in report.findings)])


def identify(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", show_default=False)],
    voices: Annotated[
        str | None,
        typer.Option(
            "--voices",
            metavar="HOW_MANY",
            help="one or several voices in each clip, where that is known; auto (the default) listens for a second.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say who speaks in each clip, or that it is nobody known."""
    answers: list[tuple[Path, Decision | None]] = []
    results: list[dict[str, Any]] = []
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task("listening", encoder), quiet=as_json) as step,
    ):
        for i, clip in enumerate(clips):
            try:
                decision = recognizer.identify(clip, **given(voices=voices))
            except KithError as error:
                if len(clips) == 1 or not _is_of_one_clip(error):
                    raise
                complain(error)
                answers.append((clip, None))
                results.append({"file": str(clip), "error": str(error)})
            else:
                answers.append((clip, decision))
                results.append({"file": str(clip), **decision.to_dict()})
            step("listening", i + 1, len(clips))
    if as_json:
        print_json({"results": results})
    else:
        _print_decisions(answers)
    if any(decision is None for _, decision in answers):
        raise typer.Exit(2)


def _is_of_one_clip(error: KithError) -> bool:
    """Whether other clips may fare better."""
    from openkith.errors import AudioError, MissingDependencyError

    return isinstance(error, AudioError | MissingDependencyError)


def _print_decisions(answers: list[tuple[Path, Decision | None]]) -> None:
    rows: list[list[str | Text]] = []
    for clip, decision in answers:
        if decision is None:
            rows.append([str(clip), Text("not answered", "red"), "", "", "", "see the error"])
            continue
        rows.append(
            [
                str(clip),
                answer(decision),
                percent(decision.probability),
                f"{100 * decision.margin:.1f}",
                f"{decision.speech_seconds:.1f} s",
                decision.reason,
            ]
        )
    numbers = dict.fromkeys(("P", "margin", "speech"), "right")
    print_table({"file": "left", "answer": "left", **numbers, "reason": "left"}, rows)
    bullets([f"{clip}: {warning}" for clip, decision in answers if decision for warning in decision.warnings])


def answer(decision: Decision) -> Text:
    """What was decided, in its colour."""
    name = ", ".join(person.name for person in decision.heard) or decision.name
    text = f"unsure ({name}?)" if decision.status == "unsure" else name or decision.status
    return Text(printable(text), STYLES[decision.status])


def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    clip: Annotated[Path, typer.Argument(metavar="CLIP", show_default=False)],
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a clip is of the person it is said to be; the exit code is 0 for yes and 1 for no."""
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task("listening", encoder), quiet=as_json),
    ):
        decision = recognizer.verify(name, clip)
    if as_json:
        print_json({"file": str(clip), "claim": name, **decision.to_dict()})
    else:
        say("yes" if decision.accepted else "no", "bold green" if decision.accepted else "bold cyan")
        say(
            f"{decision.reason}; P({decision.name}) {percent(decision.probability)}, "
            f"{decision.speech_seconds:.1f} s of speech, by {decision.method}"
        )
        bullets(decision.warnings)
    if not decision.accepted:
        raise typer.Exit(1)


def _say_calibration(calibration: Calibration) -> None:
    say()
    doubtful = ", extrapolated" if calibration.extrapolated else ""
    print_table(
        {"": "left", "false accepts": "right", "threshold": "right", "expected refusals": "left"},
        [
            [
                "identify",
                percent(calibration.far),
                f"{calibration.threshold:+.2f}",
                _estimate(calibration.miss),
            ],
            [
                "verify",
                percent(calibration.verify_far),
                f"{calibration.verify_threshold:+.2f}",
                _estimate(calibration.verify_miss),
            ],
        ],
        "Decisions",
    )
    say(
        f"Thresholds are natural-log likelihood ratios, from {calibration.unknown_clips} clips of other people"
        f"{doubtful}; prior of an unknown voice {percent(calibration.unknown_prior)}.",
        "dim",
    )


def _estimate(miss: ErrorEstimate) -> str:
    return (
        f"{percent(miss.rate)} of your people's clips (90 % interval {percent(miss.low)} to {percent(miss.high)}, "
        f"from {miss.clips} held-out clips)"
    )


def _say_findings(lines: Any) -> None:
    lines = list(lines)
    if lines:
        say()
        say("To know", "bold")
        bullets(lines)
