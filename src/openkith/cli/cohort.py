"""Commands about impostor cohorts: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from openkith.cli.output import check_folder, print_json, progress, say

__all__ = ["build"]

SHOWN = 3  # recordings left out that are named


def build(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|MANIFEST",
            help="A folder with a folder of clips per speaker; or a manifest, for its negative rows.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A safetensors file. Default: where tuning looks for this encoder's, in the user's data folder.",
            show_default=False,
        ),
    ] = None,
    no_copies: Annotated[
        bool,
        typer.Option(
            "--no-copies",
            help="Leave out the degraded copies of every stretch: faster, but tuning learns less of noise.",
            show_default=False,
        ),
    ] = False,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds-per-speaker",
            metavar="S",
            help="In stretches of four seconds. Default: 12.",
            show_default=False,
        ),
    ] = None,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Take all rows of the manifest.", show_default=False)
    ] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            metavar="TEXT",
            help="Which recordings, under which licence; stored with it. Default: the name of the folder.",
            show_default=False,
        ),
    ] = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed other people's speech, so that an encoder can be tuned and calibrated; no audio is kept."""
    from openkith.cohort_building import write_cohort
    from openkith.scoring.cohort import user_cohort_path

    check_folder(out)
    with progress(first_task("reading the corpus", encoder), quiet=as_json) as step:
        loaded = open_encoder(encoder, threads, device, precision)
        options = given(copies=False if no_copies else None, max_seconds=max_seconds, origin=origin)
        written = write_cohort(source, loaded, out, all_rows=all_rows, progress=step, **options)
    if as_json:
        print_json(written.to_dict())
        return
    say(
        f"{written.path}: {written.speakers} speakers, {written.stretches} stretches with {written.seconds:.0f} s of "
        f"speech, {written.embeddings} embeddings of {written.encoder}"
    )
    if not written.found:
        say(f"to have it used, copy it to {user_cohort_path(written.encoder)}")
    if written.skipped:
        say(f"left out: {len(written.skipped)}", "yellow")
        for line in written.skipped[:SHOWN]:
            say(f"  {line}", "dim")
