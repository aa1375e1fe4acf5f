"""serve, keys create, keys list, keys revoke."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openkith import Gallery
from openkith.errors import MissingDependencyError
from openkith.gallery.api_keys import ApiKeys
from openkith.service import ServiceSettings

Run = Callable[..., Any]


def test_a_key_is_shown_once(kith: Run, gallery: Path) -> None:
    result = kith("keys", "create", "kitchen")
    text = result.stdout.strip()
    assert result.exit_code == 0
    assert text.startswith("kith_1_")
    assert "identify, read" in result.stderr
    with Gallery(gallery) as opened:
        key = ApiKeys(opened).check(text)
    assert key is not None
    assert (key.name, key.scopes) == ("kitchen", {"read", "identify"})
    assert text not in kith("keys", "list").stdout
    assert text.rpartition("_")[2].encode() not in gallery.read_bytes()


def test_scopes(kith: Run) -> None:
    made = json.loads(kith("keys", "create", "all", "--scope", "admin", "--json").stdout)
    assert (made["id"], made["name"], made["scopes"]) == (1, "all", ["admin"])
    assert made["key"].startswith("kith_1_")
    wrong = kith("keys", "create", "odd", "--scope", "write")
    assert wrong.exit_code == 2
    assert "write" in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1


def test_list_and_revoke(kith: Run) -> None:
    assert "no key" in kith("keys", "list").stdout
    kith("keys", "create", "one")
    kith("keys", "create", "two", "--scope", "enrol", "--scope", "read")
    found = json.loads(kith("keys", "list", "--json").stdout)
    assert [(key["id"], key["name"], key["scopes"], key["revoked"]) for key in found] == [
        (1, "one", ["identify", "read"], None),
        (2, "two", ["enrol", "read"], None),
    ]
    assert "'one', is revoked" in kith("keys", "revoke", "1").stdout
    assert json.loads(kith("keys", "revoke", "1", "--json").stdout)["revoked"]
    assert "one" in kith("keys", "list").stdout
    assert kith("keys", "revoke", "3").exit_code == 2


def test_options_become_settings(kith: Run, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def run(recognizer: Any, settings: Any, worker: Any, started: Any) -> None:
        started("http://127.0.0.1:1")
        ran.extend([recognizer.gallery.path, settings, worker])

    monkeypatch.setattr("openkith.service.server.serve", run)
    options = ["--port", 1234, "--queue", 3, "--cors-origin", "https://a.example", "--allow-host", "kith.lan"]
    result = kith("serve", *options, "--history-days", 0, "--max-seconds", 30)
    assert result.exit_code == 0
    path, settings, worker = ran
    assert path == gallery
    assert settings == ServiceSettings(
        port=1234,
        queue=3,
        origins=("https://a.example",),
        allow_hosts=("kith.lan",),
        history_days=0,
        max_seconds=30.0,
    )
    assert (worker.gallery, worker.encoder) == (None, "bands")
    assert "http://127.0.0.1:1/docs" in result.stderr
    kith("serve")
    assert ran[-2] == ServiceSettings()


def test_what_is_not_installed_is_said(kith: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, extra: str, purpose: str) -> None:
        raise MissingDependencyError(f"{purpose} needs {package}: pip install 'openkith[{extra}]'")

    monkeypatch.setattr("openkith.cli.serve.require", missing)
    result = kith("serve")
    assert result.exit_code == 2
    assert "pip install 'openkith[service]'" in result.stderr


def test_bad_settings(kith: Run) -> None:
    for options in (["--port", 99999], ["--workers", 0], ["--host", "0.0.0.0"], ["--tls-cert", "c.pem"]):
        result = kith("serve", *options)
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
