"""Commands about the installation: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from openkith.cli.options import GalleryOption, JsonOption
from openkith.cli.output import print_json, print_table, progress, say

__all__ = ["doctor", "list_models", "pull_model"]

MARKS = {"ok": Text("ok", "green"), "note": Text("note", "yellow"), "problem": Text("problem", "bold red")}


def doctor(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """Look whether everything works here; the exit code is 2 where something essential does not."""
    from openkith.doctor import examine

    with progress("looking", quiet=as_json):
        diagnosis = examine(gallery)
    if as_json:
        print_json(diagnosis.to_dict())
    else:
        print_table(
            {"": "left", "what": "left", "found": "left"},
            [[MARKS[check.state], check.topic, check.text] for check in diagnosis.checks],
        )
        say("all is well" if diagnosis.healthy else "something essential is broken: see the problems above")
    if not diagnosis.healthy:
        raise typer.Exit(2)


def list_models(as_json: JsonOption = False) -> None:
    """List the encoders that there are."""
    from openkith.encoders.catalog import models

    with progress("looking", quiet=as_json):
        found = models()
    if as_json:
        print_json({"models": found})
        return
    print_table(
        {
            "name": "left",
            "dim": "right",
            "weights": "left",
            "size": "right",
            "licence": "left",
            "source": "left",
        },
        [
            [
                model.name,
                str(model.dim or "–"),
                "here" if model.cached else "not fetched yet" if model.source else "its own",
                f"{model.size / 1e6:.1f} MB" if model.size else "–",
                model.licence or "–",
                model.source or "–",
            ]
            for model in found
        ],
    )


def pull_model(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)], as_json: JsonOption = False
) -> None:
    """Fetch an encoder's weights, unless they are here, and check them."""
    from openkith.encoders.catalog import pull

    with progress(f"fetching the weights of {name}", quiet=as_json):
        model = pull(name)
    if as_json:
        print_json(model)
    else:
        say(f"{model.name}: {model.path}")
