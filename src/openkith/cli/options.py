"""Options that several commands have, and the recogniser that they open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from openkith.encoders import Encoder
    from openkith.gallery import Gallery
    from openkith.recognizer import Recognizer

__all__ = [
    "DeviceOption",
    "EncoderOption",
    "GalleryOption",
    "JsonOption",
    "PrecisionOption",
    "ThreadsOption",
    "YesOption",
    "first_task",
    "given",
    "open_encoder",
    "open_gallery",
    "open_recognizer",
    "parse_share",
]

GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        metavar="PATH|URL",
        help="Where the people are kept: a file, or postgresql://... "
        "Default: KITH_GALLERY, else a file in the user's data folder.",
        show_default=False,
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME|PATH",
        help="See: kith models list. Or an .onnx file, or a transformers folder.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="For embedding: cpu, cuda, cuda:1 or mps. Default: the fastest that is there.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="For embedding: float32, or bfloat16, which is less exact. Default: float32.",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", help="For embedding. Default: one per physical core.", show_default=False
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, for programs.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]


def parse_share(text: str) -> float:
    """A share as people write it: ``0.1%``, ``1 %`` or ``0.001``."""
    number = text.strip()
    try:
        if number.endswith("%"):
            return float(number.removesuffix("%")) / 100.0
        return float(number)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a share; write it as 0.1% or as 0.001") from None


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave; for the others the library has its defaults."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def open_gallery(url: str | None) -> Iterator[Gallery]:
    """The gallery, closed after the block."""
    from openkith.gallery import Gallery

    with Gallery(url) as gallery:
        yield gallery


def open_encoder(
    encoder: str | None, threads: int | None, device: str | None = None, precision: str | None = None
) -> Encoder:
    """The encoder that was chosen, or the default one."""
    from openkith.encoders import load_encoder

    chosen = given(name_or_path=encoder, threads=threads, device=device, precision=precision)
    return load_encoder(**chosen)


@contextmanager
def open_recognizer(
    url: str | None,
    encoder: str | None,
    threads: int | None,
    device: str | None = None,
    precision: str | None = None,
) -> Iterator[Recognizer]:
    """A recogniser, whose gallery is closed after the block."""
    from openkith.recognizer import Recognizer

    chosen: Encoder | str | None = encoder
    if device is not None or precision is not None:
        chosen = open_encoder(encoder, threads, device, precision)
    with Recognizer(url, **given(encoder=chosen, threads=threads)) as recognizer:
        yield recognizer


def first_task(what: str, encoder: str | None) -> str:
    """What a progress bar says at first: fetching weights where there are none yet, else ``what``."""
    from openkith.encoders.catalog import DEFAULT, needs_fetching

    name = encoder or DEFAULT
    return f"fetching the weights of {name}, once" if needs_fetching(name) else what
