"""Commands about the installation: each is one call of the library, and what it gave, printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from openkith.cli.options import GalleryOption, JsonOption, first_task
from openkith.cli.output import check_folder, print_json, print_table, progress, say

if TYPE_CHECKING:
    from openkith.encoders.catalog import Model

__all__ = ["doctor", "export_model", "list_models", "pull_model", "show_model"]

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="See: kith models list.", show_default=False)
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|ID|URL",
        help="See: kith models list. Or owner/name on Hugging Face, modelscope:owner/name, or a URL.",
        show_default=False,
    ),
]

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
    """List published models and encoders: whence, under which licence, here or not."""
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
            "Vox1-O EER": "right",
            "weights": "left",
            "size": "right",
            "licence": "left",
            "source": "left",
        },
        [
            [
                model.name,
                str(model.dim or "–"),
                _eer(model),
                _weights(model),
                f"{model.size / 1e6:.1f} MB" if model.size else "–",
                model.licence or "–",
                model.source or "–",
            ]
            for model in found
        ],
    )
    say(
        "EER: as published, cosine on the original trials of VoxCeleb1; kith models info NAME says where.",
        "dim",
    )


def show_model(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show what is known of a model."""
    from openkith.encoders.catalog import info

    model = info(name)
    if as_json:
        print_json(model)
        return
    rows = {
        "encoder": model.encoder,
        "dimension": str(model.dim or "as in the weights"),
        "source": model.source or "its own, or a file of yours",
        "weights": _weights(model),
        "path": str(model.path or "–"),
        "size": f"{model.size} bytes" if model.size else "unknown",
        "licence": model.licence or "unknown",
        "Vox1-O EER": f"{_eer(model)}, {model.eer_source}"
        if model.eer_source
        else "not published for these weights",
        "SHA-256": model.sha256 or "not pinned",
        "note": model.note or "–",
    }
    print_table({model.name: "left", "": "left"}, rows.items())


def pull_model(name: SourceArgument, as_json: JsonOption = False) -> None:
    """Fetch weights, unless they are here, and check them."""
    from openkith.encoders.catalog import pull

    with progress(f"fetching the weights of {name}", quiet=as_json) as step:
        model = pull(name, progress=step)
    if as_json:
        print_json(model)
    else:
        say(f"{model.name}: {model.path}")


def export_model(
    name: NameArgument,
    out: Annotated[
        Path, typer.Argument(metavar="OUT.onnx", help="The file to be written.", show_default=False)
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="PATH|ID|URL",
            help="Instead of the published ones: a file or folder, owner/name on Hugging Face, "
            "modelscope:owner/name, or a URL.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an encoder as ONNX, compare it with the original, and refuse what differs."""
    from openkith.encoders import load_encoder
    from openkith.encoders.graphs.export import export_onnx

    check_folder(out)
    with progress(first_task(f"exporting {name}", name if weights is None else None), quiet=as_json):
        report = export_onnx(load_encoder(name, weights), out)
    if as_json:
        print_json(report)
    else:
        say(str(report))


def _eer(model: Model) -> str:
    return "–" if model.eer is None else f"{model.eer:g} %"


def _weights(model: Model) -> str:
    if model.source is None:
        return "none published"
    return "here" if model.cached else "not fetched yet"
