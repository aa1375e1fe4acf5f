"""Commands of the daemon: serve, and the keys that programs and people need to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from openkith.cli.options import (
    DeviceOption,
    EncoderOption,
    GalleryOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    given,
    open_gallery,
    open_recognizer,
)
from openkith.cli.output import complain, local_time, print_json, print_table, say
from openkith.errors import require

__all__ = ["KEY_COMMANDS", "create_key", "list_keys", "revoke_key", "serve"]

PACKAGES = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ADDRESS", help="Listen here. Default: 127.0.0.1.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", help="Default: 8737; 0: any that is free.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Threads that identify. Default: 1.", show_default=False),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(
            "--queue",
            metavar="N",
            help="Requests that may wait for them; the next one is told to come again. Default: 16.",
            show_default=False,
        ),
    ] = None,
    decoders: Annotated[
        int | None,
        typer.Option(
            "--decoders", metavar="N", help="Processes that decode uploads. Default: 2.", show_default=False
        ),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-bytes", metavar="N", help="Largest upload. Default: 33554432 (32 MiB).", show_default=False
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds", metavar="S", help="Longest recording. Default: 600.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="N",
            help="Requests a second for each key; 0: no limit. Default: 50.",
            show_default=False,
        ),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(
            "--streams", metavar="N", help="Live streams at a time. Default: 4.", show_default=False
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="PEM", help="Certificate, for HTTPS.", show_default=False),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="PEM", help="Its key.", show_default=False)
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            metavar="ORIGIN",
            help="A web origin whose pages may call the daemon, such as https://home.example; may be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name, besides localhost, that it may be asked by while there is no key; may be repeated.",
            show_default=False,
        ),
    ] = None,
    history_days: Annotated[
        int | None,
        typer.Option(
            "--history-days",
            metavar="N",
            help="How long decisions are kept; 0: for ever. Default: 90.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    encoder: EncoderOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Run the daemon: HTTP API, live streams and a web page, until Ctrl-C or SIGTERM.

    Without any API key it answers to this machine only. To let others in: kith keys create NAME, then --host 0.0.0.0
    with --tls-cert and --tls-key.
    """
    for package in PACKAGES:
        require(package, "service", "kith serve")
    from openkith.service.job_worker import WorkerSpec
    from openkith.service.server import serve as run
    from openkith.service.settings import ServiceSettings

    options = given(
        host=host,
        port=port,
        workers=workers,
        queue=queue,
        decoders=decoders,
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        rate=rate,
        streams=streams,
        tls_cert=tls_cert,
        tls_key=tls_key,
        history_days=history_days,
    )
    settings = ServiceSettings(
        **options, origins=tuple(cors_origin or ()), allow_hosts=tuple(allow_host or ())
    )
    worker = WorkerSpec(gallery, encoder, threads, device, precision)
    with (
        _log_to_stderr(),
        open_recognizer(gallery, encoder, threads, device, precision) as recognizer,
    ):
        where = recognizer.gallery.path or recognizer.gallery.url

        def started(url: str) -> None:
            complain(f"{where} at {url} (page: {url}/, API: {url}/docs)")
            if not settings.loopback and settings.tls_cert is None:
                complain(
                    "without TLS anybody on the network can read keys and recordings; see docs/service.md"
                )

        run(recognizer, settings, worker, started)


def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="read, identify, enrol or admin (all of them); may be repeated. Default: read and identify.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key. It is shown once: the gallery keeps a hash of it.

    From the first key on, nobody can use the daemon without one.
    """
    from openkith.gallery.api_keys import ApiKeys

    with open_gallery(gallery) as opened:
        key, text = ApiKeys(opened).create(name, scope or ["read", "identify"])
    if as_json:
        print_json({**_shown(key), "key": text})
    else:
        typer.echo(text)
        complain(f"key {key.id} for {key.name!r} may: {', '.join(sorted(key.scopes))}; it is shown this once")


def list_keys(gallery: GalleryOption = None, as_json: JsonOption = False) -> None:
    """List the API keys, those that were revoked too."""
    from openkith.gallery.api_keys import ApiKeys

    with open_gallery(gallery) as opened:
        keys = ApiKeys(opened).list()
    if as_json:
        print_json([_shown(key) for key in keys])
        return
    if not keys:
        say("There is no key: the daemon answers to this machine only.")
        return
    columns = {"id": "right", "name": "left", "may": "left", "created": "left", "revoked": "left"}
    rows = [
        (
            str(key.id),
            key.name,
            ", ".join(sorted(key.scopes)),
            local_time(key.created),
            "" if key.revoked is None else local_time(key.revoked),
        )
        for key in keys
    ]
    print_table(columns, rows)


def revoke_key(
    key: Annotated[int, typer.Argument(metavar="ID", help="See: kith keys list.", show_default=False)],
    gallery: GalleryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key; daemons that run refuse it within a second."""
    from openkith.gallery.api_keys import ApiKeys

    with open_gallery(gallery) as opened:
        revoked = ApiKeys(opened).revoke(key)
    if as_json:
        print_json(_shown(revoked))
    else:
        say(f"Key {revoked.id}, {revoked.name!r}, is revoked.")


def _shown(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created": key.created,
        "revoked": key.revoked,
    }


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """What goes wrong in the daemon, with the time, on standard error while the block runs."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    levels = {"openkith.service": logging.INFO, "uvicorn.error": logging.WARNING}
    for name, level in levels.items():
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name in levels:
            logging.getLogger(name).removeHandler(handler)


KEY_COMMANDS: dict[str, Callable[..., None]] = {"create": create_key, "list": list_keys, "revoke": revoke_key}
