"""How the daemon runs: where it listens, what it takes, and how long it keeps what it answered."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from openkith.errors import ConfigError

__all__ = ["ServiceSettings"]

MEBIBYTE = 2**20
LARGEST_PORT = 65_535


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of `kith serve`.

    Attributes:
        host: Address to listen at; one that is not loopback needs an API key in the gallery.
        port: 0 takes any that is free.
        workers: Threads that identify; more than one pays where cores are to spare.
        queue: Requests that may wait for them; the next one is answered 429.
        decoders: Processes that decode uploads.
        max_bytes: Largest request body, in bytes.
        max_seconds: Longest recording, in seconds.
        rate: Requests a second for each key (without keys: for each address), twice as many at once; 0: no limit.
        streams: Live streams at a time.
        tls_cert, tls_key: PEM files of a certificate and its key: HTTPS.
        origins: Other web origins whose pages may call this daemon (CORS), such as ``https://home.example``.
        allow_hosts: Names, besides those of this machine, that the daemon is asked by while it has no key.
        history_days: How long decisions are kept; 0: for ever.
        shutdown_seconds: How long a stopping daemon waits for what runs.

    Raises:
        ConfigError: It names the setting and what it may be.
    """

    host: str = "127.0.0.1"
    port: int = 8737
    workers: int = 1
    queue: int = 16
    decoders: int = 2
    max_bytes: int = 32 * MEBIBYTE
    max_seconds: float = 600.0
    rate: float = 50.0
    streams: int = 4
    tls_cert: Path | None = None
    tls_key: Path | None = None
    origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    history_days: int = 90
    shutdown_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise ConfigError("host is empty; give an address, such as 127.0.0.1")
        if not 0 <= self.port <= LARGEST_PORT:
            raise ConfigError(f"port is {self.port}; give a number from 0 to {LARGEST_PORT}")
        for name in ("workers", "queue", "decoders", "max_bytes", "streams"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("max_seconds", "shutdown_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number of seconds above 0")
        for name in ("rate", "history_days"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("TLS needs both a certificate and its key; give --tls-cert and --tls-key")
        for origin in self.origins:
            _check_origin(origin)

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def scheme(self) -> str:
        """Of the daemon's URL: "https" with a certificate."""
        return "http" if self.tls_cert is None else "https"


def _check_origin(origin: str) -> None:
    """Refuse what no browser would send as the origin of a page; "*" is none either."""
    parts = urlsplit(origin)
    plain = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not parts.hostname or plain != origin or "@" in parts.netloc:
        raise ConfigError(f"{origin!r} is not an origin; give scheme and host alone: https://home.example")
