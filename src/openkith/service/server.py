"""Listens, with or without TLS, and stops without dropping what runs."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from types import FrameType

import uvicorn

from openkith.errors import ConfigError
from openkith.gallery.api_keys import ApiKeys
from openkith.recognizer import Recognizer
from openkith.service.app import create_app
from openkith.service.daemon import Daemon
from openkith.service.job_worker import WorkerSpec
from openkith.service.settings import ServiceSettings

__all__ = ["check_binding", "listen", "serve"]

BACKLOG = 512  # connections that wait to be taken
KEEP_ALIVE_SECONDS = 15
HEADER_BYTES = 2**15
MESSAGE_BYTES = 2**20  # of a WebSocket
STREAM_SECONDS = 5.0  # that live streams have to end in good order


def check_binding(recognizer: Recognizer, settings: ServiceSettings) -> None:
    """Refuse to let anybody on the network in without a key.

    Raises:
        ConfigError: The address is not loopback, and the gallery has no key.
    """
    if not settings.loopback and not ApiKeys(recognizer.gallery).any():
        raise ConfigError(
            f"--host {settings.host} lets others in, and the gallery has no API key; make one first: kith keys create "
            "NAME --scope admin"
        )


def listen(settings: ServiceSettings) -> socket.socket:
    """Take the address.

    Raises:
        ConfigError: It is another program's, or none of this machine.
    """
    host = settings.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {settings.host} port {settings.port} ({error.strerror}); choose another with --host and "
            "--port"
        ) from error
    return listener


def serve(
    recognizer: Recognizer,
    settings: ServiceSettings,
    worker: WorkerSpec | None = None,
    started: Callable[[str], None] = lambda url: None,  # noqa: ARG005
) -> None:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT): what runs is finished first.

    Args:
        recognizer: Whose gallery is served.
        settings: See `ServiceSettings`.
        worker: See `openkith.service.create_app`.
        started: Called with the URL once the daemon answers.

    Raises:
        ConfigError: The address cannot be had, is open to others without a key, or the certificate cannot be used.
    """
    check_binding(recognizer, settings)
    _check_certificate(settings)
    listener = listen(settings)
    try:
        app = create_app(recognizer, settings, worker=worker)
        config = uvicorn.Config(
            app,
            http="h11",  # which has a limit for headers
            h11_max_incomplete_event_size=HEADER_BYTES,
            ws="websockets-sansio",
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header that anybody can send says nothing
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(settings.shutdown_seconds) or 1,
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
        )
        shown = f"[{settings.host}]" if ":" in settings.host.strip("[]") else settings.host
        url = f"{settings.scheme}://{shown.replace('[[', '[').replace(']]', ']')}:{listener.getsockname()[1]}"
        server = _Server(config, app.state.daemon, lambda: started(url))
        asyncio.run(server.serve(sockets=[listener]))
        if not server.started:
            raise ConfigError("the daemon could not start; the lines above say why")
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """A server that says when it has started, and when it is told to stop."""

    def __init__(self, config: uvicorn.Config, daemon: Daemon, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._daemon, self._on_start = daemon, on_start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also say that the daemon answers."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let live streams say their last first, which uvicorn would cut off; a second signal does."""
        self._told += 1
        self._daemon.close_soon()
        if self._told > 1 or self._loop is None:
            super().handle_exit(sig, frame)
            return
        loop, task = self._loop, self._exit_after_streams(sig, frame)
        loop.call_soon_threadsafe(lambda: self._daemon.spawn(task))

    async def _exit_after_streams(self, sig: int, frame: FrameType | None) -> None:
        deadline = asyncio.get_running_loop().time() + STREAM_SECONDS
        while self._daemon.streaming.admitted and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(STREAM_SECONDS / 100)
        super().handle_exit(sig, frame)


def _check_certificate(settings: ServiceSettings) -> None:
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for path in (settings.tls_cert, settings.tls_key):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; give a certificate and its key in PEM")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key
        )
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{settings.tls_cert}: not a certificate with the key {settings.tls_key} ({error}); give both in PEM"
        ) from error


logging.getLogger("openkith.service").addHandler(logging.NullHandler())
