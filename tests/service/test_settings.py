"""Settings of the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openkith.errors import ConfigError
from openkith.service import ServiceSettings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("[::1]", True), ("localhost", True)],
        *[("0.0.0.0", False), ("::", False), ("192.168.1.4", False), ("kith.example", False)],
        ("localhost.evil.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert ServiceSettings(host=host).loopback is loopback


def test_the_default_is_this_machine_alone() -> None:
    settings = ServiceSettings()
    assert settings.loopback
    assert settings.scheme == "http"
    assert settings.origins == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"host": " "}, "host"),
        ({"port": 65_536}, "port"),
        ({"port": -1}, "port"),
        ({"workers": 0}, "workers"),
        ({"queue": 0}, "queue"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
        ({"rate": -1.0}, "rate"),
        ({"history_days": -1}, "history_days"),
        ({"tls_cert": Path("c.pem")}, "--tls-key"),
        ({"origins": ("*",)}, "origin"),
        ({"origins": ("https://a.example/path",)}, "origin"),
        ({"origins": ("https://user@a.example",)}, "origin"),
        ({"origins": ("file:///x",)}, "origin"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as raised:
        ServiceSettings(**changes)
    assert "\n" not in str(raised.value)


def test_origins_as_browsers_send_them() -> None:
    origins = ("https://home.example", "http://10.0.0.7:8080")
    assert ServiceSettings(origins=origins).origins == origins


def test_https_with_a_certificate() -> None:
    assert ServiceSettings(tls_cert=Path("c.pem"), tls_key=Path("k.pem")).scheme == "https"
