"""Commands about the people enrolled: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    GalleryOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    YesOption,
    first_task,
    given,
    open_gallery,
    open_recognizer,
)
from openkith.cli.output import (
    ask,
    bullets,
    complain,
    local_time,
    print_json,
    print_table,
    progress,
    say,
)

if TYPE_CHECKING:
    from openkith.gallery import Clip
    from openkith.recognizer.enrolment import EnrolmentReport

__all__ = ["drop_clip", "enroll", "forget", "list_people", "reembed", "rename", "show", "undo"]

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def enroll(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Whose clips.", show_default=False)
    ] = None,
    clips: Annotated[
        list[Path] | None, typer.Argument(metavar="CLIP...", help="Recordings.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER|TSV",
            help="Enrol everybody in a folder with one folder per person, or in the enroll rows of a manifest.",
            show_default=False,
        ),
    ] = None,
    keep_audio: Annotated[
        bool,
        typer.Option(
            "--keep-audio", help="Keep the recordings too, so that kith reembed can read them again."
        ),
    ] = False,
    consent: Annotated[
        datetime | None,
        typer.Option(
            "--consent",
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The day on which the person agreed, such as 2026-11-21.",
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
    """Enrol a person from clips, or everybody in a folder or manifest.

    Three clips or more, ten seconds of speech in all, are a good beginning. All clips of a person are stored, or none.
    """
    if source is not None:
        if name or clips or consent:
            raise typer.BadParameter("give either NAME and CLIPs, or --from")
        _enroll_all(source, keep_audio, gallery, encoder, threads, device, precision, as_json)
        return
    if name is None or not clips:
        raise typer.BadParameter("give NAME and at least one CLIP, or --from FOLDER|TSV")
    what = f"enrolling {name}"
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task(what, encoder), quiet=as_json) as step,
    ):
        report = recognizer.enroll(
            name,
            clips,
            keep_audio=keep_audio,
            **given(consent=consent and consent.date()),
            progress=lambda done, total: step(what, done, total),
        )
    if as_json:
        print_json(report)
    else:
        _say_enrolled(report)


def _enroll_all(
    source: Path,
    keep_audio: bool,
    gallery: str | None,
    encoder: str | None,
    threads: int | None,
    device: str | None,
    precision: str | None,
    as_json: bool,
) -> None:
    from openkith.bulk import enroll_all

    outcomes = []
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task(f"reading {source}", encoder), quiet=as_json) as step,
    ):
        for outcome in enroll_all(recognizer, source, keep_audio=keep_audio, progress=step):
            outcomes.append(outcome)
            if outcome.error:
                complain(f"{outcome.name} is not enrolled: {outcome.error}")
            elif not as_json and outcome.report is not None:
                _say_enrolled(outcome.report)
            elif not as_json:
                say(f"{outcome.name}: all {_clips(outcome.skipped)} enrolled already")
    failed = sum(outcome.error is not None for outcome in outcomes)
    if as_json:
        print_json({"people": outcomes, "failed": failed})
    elif failed:
        say(f"{len(outcomes) - failed} of {len(outcomes)} people are enrolled, {failed} not")
    if failed:
        raise typer.Exit(2)


def _say_enrolled(report: EnrolmentReport) -> None:
    alike = "" if report.cohesion is None else f", mean cosine between them {report.cohesion:.2f}"
    say(
        f"{report.name}: {_clips(report.added)} added; {_clips(report.clips)} with {report.seconds:.1f} s of speech "
        f"in all{alike}"
    )
    bullets(report.advice)


def list_people(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """List who is enrolled, and whether a head is tuned to them."""
    with open_gallery(gallery) as opened:
        people, head = opened.people(), opened.head()
        fresh = head is not None and head.revision == opened.revision()
        url, label = opened.url, str(opened.path or opened.url)
    if as_json:
        about = head and {"method": head.method, "created": head.created, "fresh": fresh}
        print_json({"gallery": url, "people": people, "head": about})
        return
    if not people:
        say(f"nobody is enrolled in {label}; begin with: kith enroll NAME CLIP...")
        return
    print_table(
        {"name": "left", "clips": "right", "seconds": "right", "since": "left"},
        [[p.name, str(p.clips), f"{p.seconds:.1f}", local_time(p.created)] for p in people],
    )
    if head is None:
        say("no head is tuned yet: kith tune")
    elif fresh:
        say(f"tuned head: {head.method}, of {local_time(head.created)}")
    else:
        say(f"tuned head: {head.method}, of {local_time(head.created)}, older than the clips: kith tune")


def show(name: NameArgument, gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Show a person's clips."""
    with open_gallery(gallery) as opened:
        person, clips = opened.person(name), opened.clips(name)
    if as_json:
        print_json({**asdict(person), "clips": [_clip_values(clip) for clip in clips]})
        return
    consent = f", consent of {person.consent}" if person.consent else ""
    say(f"{person.name}, enrolled {local_time(person.created)}{consent}", "bold")
    if person.note:
        say(person.note)
    columns = ("id", "seconds", "speech", "SNR", "clipped", "bandwidth")
    print_table(
        {**dict.fromkeys(columns, "right"), "added": "left", "audio": "left", "source": "left"},
        [
            [
                str(clip.id),
                f"{clip.seconds:.1f}",
                _measured(clip, "speech_seconds", "{:.1f} s"),
                _measured(clip, "snr_db", "{:.0f} dB"),
                _measured(clip, "clipped", "{:.1%}"),
                _measured(clip, "bandwidth_hz", "{:.0f} Hz"),
                local_time(clip.created),
                "kept" if clip.has_audio else "not kept",
                clip.source,
            ]
            for clip in clips
        ],
    )


def _measured(clip: Clip, quality: str, form: str) -> str:
    return form.format(clip.quality[quality]) if quality in clip.quality else "–"


def _clip_values(clip: Clip) -> dict[str, Any]:
    """A clip without its embeddings."""
    names = ("id", "sha256", "seconds", "quality", "encoder", "created", "source", "has_audio")
    return {name: getattr(clip, name) for name in names}


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False)],
    gallery: GalleryOption = None,
) -> None:
    """Give a person another name."""
    with open_gallery(gallery) as opened:
        opened.rename(old, new)
    say(f"{old} is called {new} from now on")


def drop_clip(
    name: NameArgument,
    clip: Annotated[
        int, typer.Argument(metavar="ID", help="As kith show NAME lists it.", show_default=False)
    ],
    gallery: GalleryOption = None,
) -> None:
    """Erase one clip of a person."""
    with open_gallery(gallery) as opened:
        opened.drop_clip(name, clip)
    say(f"clip {clip} of {name} is erased; a head that was tuned with it is out of date: kith tune")


def forget(
    name: NameArgument, yes: YesOption = False, gallery: GalleryOption = None, as_json: JsonOption = False
) -> None:
    """Erase a person: clips, embeddings, and every head that learned from them."""
    with open_gallery(gallery) as opened:
        person = opened.person(name)
        if not ask(
            f"Erase {person.name} with {_clips(person.clips)} ({person.seconds:.0f} s) for good?", yes=yes
        ):
            _nothing_changed()
        receipt = opened.forget(name)
    if as_json:
        print_json(receipt)
        return
    say(f"{receipt.name} is forgotten, {local_time(receipt.time)}")
    kept = [f"kept audio erased: {source}" for source in receipt.files]
    heads = f"{receipt.heads} tuned head{'' if receipt.heads == 1 else 's'} erased"
    bullets([f"{_clips(receipt.clips)} erased, {receipt.seconds:.1f} s", *kept, heads, receipt.note])


def undo(yes: YesOption = False, gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Take back the last enrolment."""
    with open_gallery(gallery) as opened:
        clips = opened.clips()
        if (
            clips
        ):  # the newest clip is of the last enrolment; undo itself says what it means that there is none
            newest = clips[-1]
            question = (
                f"Take back the last enrolment, which gave clips to {newest.person} on "
                f"{local_time(newest.created)} ({Path(newest.source).name})?"
            )
            if not ask(question, yes=yes):
                _nothing_changed()
        result = opened.undo()
    if as_json:
        print_json(result)
        return
    gone = f"; {result.name} is not enrolled any more" if result.person_removed else ""
    say(f"{_clips(result.clips)} of {result.name} taken back{gone}")


def reembed(
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed every clip again with another encoder, where the audio was kept."""
    what = "embedding"
    with (
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
        progress(first_task(what, encoder), quiet=as_json) as step,
    ):
        clips = recognizer.reembed(progress=lambda done, total: step(what, done, total))
        fingerprint = recognizer.encoder.fingerprint
    if as_json:
        print_json({"clips": clips, "encoder": fingerprint})
    else:
        say(f"{_clips(clips)} embedded again by {fingerprint}; tune again: kith tune")


def _nothing_changed() -> None:
    typer.echo("nothing was changed", err=True)
    raise typer.Exit(1)


def _clips(n: int) -> str:
    return f"{n} clip{'' if n == 1 else 's'}"
