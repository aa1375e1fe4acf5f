"""``kith synthesize``: each command is one call of the library, and what it wrote, printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openkith.cli.options import GalleryOption, JsonOption, given, open_gallery
from openkith.cli.output import print_json, progress, say
from openkith.errors import ConfigError

if TYPE_CHECKING:
    from openkith.data import Manifest
    from openkith.data.synthesis import SpeechSource

__all__ = ["styles", "unknown"]

OutArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder for WAV files and a manifest.", show_default=False)
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Speech server, as http://localhost:8880. It gets the texts, and recordings where it clones voices.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The server's model.", show_default=False)
]
VoicesOption = Annotated[
    str | None,
    typer.Option(
        "--voices", metavar="A,B,...", help="The server's voices, separated by commas.", show_default=False
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key-env",
        metavar="VARIABLE",
        help="Environment variable with the server's key. Default: KITH_SPEECH_KEY.",
        show_default=False,
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference-field",
        metavar="FIELD",
        help="Field of the request for a recording of the voice to clone, where the server takes one.",
        show_default=False,
    ),
]
ReferenceFormOption = Annotated[
    str | None,
    typer.Option(
        "--reference-form",
        metavar="FORM",
        help="base64 (default), data-url or multipart: how the recording is sent.",
        show_default=False,
    ),
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="KEY=VALUE",
        help="One more field for the server; may be given several times.",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="For one answer of the server. Default: 60.", show_default=False
    ),
]
TextsOption = Annotated[
    Path | None,
    typer.Option(
        "--texts",
        metavar="FILE",
        help="What is said, a sentence on each line. Default: 28 sentences of everyday English.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same speech.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what an earlier run wrote.")]


def unknown(
    out: OutArgument,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", metavar="N", help="How many. Default: 50, or all the source has.", show_default=False
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", metavar="N", help="Recordings of each.")] = 2,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="espeak, transform or server.")
    ] = "espeak",
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="CLIP|FOLDER|TSV",
            help="People to make others of (transform), or to clone (server); may be given several times.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    model: ModelOption = None,
    voices: VoicesOption = None,
    key_env: KeyOption = None,
    reference_field: ReferenceOption = None,
    reference_form: ReferenceFormOption = None,
    field: FieldOption = None,
    timeout: TimeoutOption = None,
    texts: TextsOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make people who do not exist, for kith tune --unknown: eSpeak's voices, changed recordings, a server's voices."""
    from openkith.data.synthesis import make_source, write_unknown
    from openkith.data.synthesis.recordings import recordings_by_speaker

    speaks = make_source(
        source,
        recordings=recordings_by_speaker(recordings or ()),
        voices=_names(voices),
        texts=_texts(texts),
        server=_server(url, model, key_env, reference_field, reference_form, field, timeout),
    )
    what = "making unknown speakers"
    with progress(what, quiet=as_json) as step:
        manifest = write_unknown(
            out, speaks, n, clips, seed, force=force, progress=lambda done, total: step(what, done, total)
        )
    _tell(manifest, speaks, as_json)


def styles(
    out: OutArgument,
    of: Annotated[str, typer.Option("--of", metavar="NAME", help="Whose voice.", show_default=False)],
    wanted: Annotated[
        list[str] | None,
        typer.Option(
            "--styles",
            metavar="STYLE",
            help="older, younger, happy, sad, angry, tired, fast or slow; several with commas, or given several "
            "times. Default: all.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="transform, or server where it clones voices.")
    ] = "transform",
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="CLIP|FOLDER|TSV",
            help="The person's recordings. Default: those that the gallery kept, or their files.",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    model: ModelOption = None,
    voices: VoicesOption = None,
    key_env: KeyOption = None,
    reference_field: ReferenceOption = None,
    reference_form: ReferenceFormOption = None,
    field: FieldOption = None,
    timeout: TimeoutOption = None,
    texts: TextsOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make recordings of an enrolled person in other moods and at other tempos, to enrol or to tune with."""
    from openkith.data.synthesis import make_source, style_named, write_styles
    from openkith.data.synthesis.recordings import gallery_recordings, recordings_of

    chosen = style_named([name for text in wanted or () for name in _names(text)])
    speaks = make_source(
        source,
        voices=_names(voices),
        texts=_texts(texts),
        server=_server(url, model, key_env, reference_field, reference_form, field, timeout),
    )
    if recordings:
        clips = recordings_of(of, recordings)
    else:
        with open_gallery(gallery) as opened:
            of = opened.person(of).name
            clips = gallery_recordings(opened, of)
    what = f"making styles of {of}"
    with progress(what, quiet=as_json) as step:
        manifest = write_styles(
            out,
            speaks,
            of,
            clips,
            chosen,
            seed,
            force=force,
            progress=lambda done, total: step(what, done, total),
        )
    _tell(manifest, speaks, as_json)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _texts(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    from openkith.data.synthesis import read_texts

    return read_texts(path)


def _server(
    url: str | None,
    model: str | None,
    key_env: str | None,
    reference_field: str | None,
    reference_form: str | None,
    fields: list[str] | None,
    timeout: float | None,
) -> dict[str, Any]:
    """The settings of a server that the user gave."""
    return given(
        url=url,
        model=model,
        key_variable=key_env,
        reference_field=reference_field,
        reference_form=reference_form,
        fields=dict(map(_field, fields)) if fields else None,
        timeout=timeout,
    )


def _field(text: str) -> tuple[str, Any]:
    """KEY=VALUE, where the value is JSON (a number, true, a list) or else text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--field {text!r} is not KEY=VALUE; write it as language=en")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _tell(manifest: Manifest, source: SpeechSource, as_json: bool) -> None:
    rows = manifest.rows
    speakers = list(dict.fromkeys(row.speaker for row in rows))
    if as_json:
        print_json(
            {
                "manifest": manifest.source,
                "source": source.name,
                "speakers": speakers,
                "clips": [{"path": row.path, "speaker": row.speaker, "role": row.role} for row in rows],
            }
        )
        return
    people = speakers[0] if len(speakers) == 1 else f"{len(speakers)} speakers"
    say(f"{people}: {len(rows)} recordings by {source.name}")
    say(f"manifest: {manifest.source}")
