"""``kith enhance``, what training needs: each command is one call of the library, and what it gave, printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from openkith.cli.decisions import SeedOption
from openkith.cli.options import JsonOption, given
from openkith.cli.output import check_folder, print_json, progress, say

__all__ = ["ENHANCEMENT_COMMANDS"]

SHOWN_NAMES = 5

TreeArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="Embeddings, speaker/recording/file.npy: kith embed --crops 10.",
        show_default=False,
    ),
]


def targets(
    tree: TreeArgument,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="A|B|C",
            help="A: plain mean of the utterances; B: of them L2-normalised; C: their mean, L2-normalised.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="OUT", help="The folder for the targets.", show_default=False),
    ],
    as_json: JsonOption = False,
) -> None:
    """Write multi-utterance embeddings: for each speaker the one that enhancement is to predict."""
    from openkith.enhancement.targets import write_targets
    from openkith.enhancement.tree import read_tree

    with progress("listing embeddings", quiet=as_json) as step:
        made = write_targets(read_tree(tree), kind, out, progress=step)
    if as_json:
        print_json(
            {
                "out": out,
                "type": kind,
                "speakers": len(made.speakers),
                "utterances": int(made.utterances.sum()),
                "dim": made.dim,
                "encoder": made.encoder,
                "single": made.single,
            }
        )
        return
    say(f"type {kind} of {len(made.speakers)} speakers, {made.utterances.sum()} utterances: {out}")
    if made.single:
        more = ", ..." if len(made.single) > SHOWN_NAMES else ""
        say(
            f"{len(made.single)} of them with one utterance only, so that the target is of that one: "
            f"{', '.join(made.single[:SHOWN_NAMES])}{more}",
            "yellow",
        )


def lists(
    form: Annotated[
        str,
        typer.Argument(metavar="FORM", help="normal, triplet, distribution or test.", show_default=False),
    ],
    tree: TreeArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The list; in a folder it is called NAME_FORM_list.txt.",
            show_default=False,
        ),
    ],
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a list of embeddings to learn from, or to be tested on.

    normal: speaker file. triplet: speaker file other_speaker. distribution: speaker file1 file2 same_recording_flag.
    test: same_speaker_flag file1 file2, for each file 4 of the same speaker and 4 of others.
    """
    from openkith.enhancement.lists import check_form, list_name, make_list, write_list
    from openkith.enhancement.tree import read_tree

    check_form(form)
    path = out / list_name(tree.resolve().name, form) if out.is_dir() else out
    check_folder(path)
    with progress("listing embeddings", quiet=as_json) as step:
        found = read_tree(tree)
        step("drawing entries", 0, 0)
        entries = make_list(form, found, **given(seed=seed))
        step("writing the list", 0, 0)
        write_list(path, entries)
    counts = entries.counts()
    if as_json:
        print_json({"out": path, "form": form, "seed": seed or 0, **counts})
        return
    said = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number)
    say(f"{form} list, {said}: {path}")


ENHANCEMENT_COMMANDS: dict[str, Callable[..., None]] = {"targets": targets, "lists": lists}
