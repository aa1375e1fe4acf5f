"""Daemons as processes: listening, TLS, and stopping."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openkith.errors import ConfigError
from openkith.gallery import Gallery
from openkith.gallery.api_keys import ApiKeys
from openkith.recognizer import Recognizer
from openkith.service import ServiceSettings
from openkith.service.server import check_binding, listen, serve

Clip = Callable[..., bytes]


@pytest.fixture
def recognizer(tmp_path: Path, bands: Any) -> Any:
    with Recognizer(tmp_path / "g.db", encoder=bands) as opened:
        yield opened


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "kith.example"])
def test_nobody_is_let_in_without_a_key(recognizer: Recognizer, host: str) -> None:
    with pytest.raises(ConfigError, match="no API key") as refused:
        serve(recognizer, ServiceSettings(host=host))
    assert "\n" not in str(refused.value)
    ApiKeys(recognizer.gallery).create("one", ["read"])
    check_binding(recognizer, ServiceSettings(host=host))


def test_an_address_that_is_taken() -> None:
    with listen(ServiceSettings(port=0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match="--port") as refused:
            listen(ServiceSettings(port=port))
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="--host"):
        listen(ServiceSettings(host="192.0.2.1", port=0))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bad_certificate(recognizer: Recognizer, tmp_path: Path, content: str | None) -> None:
    paths = [tmp_path / "c.pem", tmp_path / "k.pem"]
    for path in paths:
        if content is not None:
            path.write_text(content)
    with pytest.raises(ConfigError, match=r"c\.pem"):
        serve(recognizer, ServiceSettings(port=0, tls_cert=paths[0], tls_key=paths[1]))


@pytest.mark.slow
def test_from_start_to_stop(start_daemon: Callable[..., Any], clip: Clip) -> None:
    daemon = start_daemon()
    numbers = [daemon.enrol(clip, name, person) for name, person in (("Alice", 1), ("Bob", 2))]
    assert daemon.send_clip("/v1/identify", clip(1, 9)).json()["speaker_id"] == numbers[0]
    job = daemon.ask("POST", "/v1/tune", value={"method": "cosine"}).json()
    events = daemon.ask("GET", f"/v1/jobs/{job['id']}/events").body.decode()
    assert json.loads(events.strip().split("data: ")[-1])["state"] == "done", events
    assert daemon.ask("GET", "/v1/status").json()["tuned"] is True
    assert "server" not in daemon.ask("GET", "/").headers
    assert daemon.stop() in (0, -15, 143)
    again = start_daemon()
    assert again.send_clip("/v1/identify", clip(2, 9)).json()["name"] == "Bob"
    assert [entry["name"] for entry in again.ask("GET", "/v1/decisions").json()["decisions"]] == [
        "Bob",
        "Alice",
    ]


@pytest.mark.slow
def test_what_runs_is_finished(start_daemon: Callable[..., Any], clip: Clip, wait_until: Any) -> None:
    daemon = start_daemon("--queue", "50")
    daemon.enrol(clip, "Alice", 1)
    daemon.enrol(clip, "Bob", 2)
    clips = [clip(1, take, 20.0) for take in range(100, 112)]
    with ThreadPoolExecutor(len(clips)) as pool:
        answers = [pool.submit(daemon.send_clip, "/v1/identify", data) for data in clips]
        wait_until(lambda: any(answer.done() for answer in answers))
        daemon.process.terminate()
        statuses = {answer.result().status for answer in answers if answer.exception() is None}
        failed = [answer.exception() for answer in answers if answer.exception() is not None]
    assert statuses == {200}
    # only a request that had not been taken yet may be refused, as the connection is
    assert all("refused" in str(error) or "reset" in str(error) for error in failed), failed
    assert daemon.process.wait(60) in (0, -15, 143)
    with Gallery(daemon.log.with_name("gallery.db")) as gallery:
        from openkith.gallery.decisions import DecisionLog

        kept = len(DecisionLog(gallery).page(limit=500))
    assert kept >= sum(1 for answer in answers if answer.exception() is None)


@pytest.mark.slow
def test_streams_end_in_good_order(start_daemon: Callable[..., Any], clip: Clip) -> None:
    client = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")
    daemon = start_daemon()
    daemon.enrol(clip, "Alice", 1)
    daemon.enrol(clip, "Bob", 2)
    with client.connect(daemon.url.replace("http", "ws") + "/v1/stream") as stream:
        stream.send('{"format": "pcm16"}')
        assert json.loads(stream.recv()) == {"type": "ready"}
        data = clip(1, 9)[44:]
        stream.send(data)
        stopper = threading.Timer(0.5, daemon.process.terminate)
        stopper.start()
        events = [json.loads(message) for message in stream]
    assert events[-1] == {"type": "end"}
    assert [event["decision"]["name"] for event in events if event["type"] == "final"] == ["Alice"]
    assert daemon.process.wait(60) in (0, -15, 143)


@pytest.mark.slow
def test_tls_and_keys(start_daemon: Callable[..., Any], tmp_path: Path, clip: Clip, wait_until: Any) -> None:
    certificate, key = make_certificate(tmp_path)
    with Gallery(tmp_path / "gallery.db") as gallery:
        admin = ApiKeys(gallery).create("admin", ["admin"])[1]
    daemon = start_daemon(
        "--host", "0.0.0.0", "--tls-cert", str(certificate), "--tls-key", str(key), key=admin
    )
    daemon.url = daemon.url.replace("0.0.0.0", "localhost")
    daemon.context = ssl.create_default_context(cafile=str(certificate))
    wait_until(lambda: daemon.ask("GET", "/readyz").status == 200)
    assert daemon.ask("GET", "/").headers["strict-transport-security"]
    daemon.enrol(clip, "Alice", 1)
    key, daemon.key = daemon.key, None
    assert daemon.ask("GET", "/v1/speakers").status == 401
    with Gallery(tmp_path / "gallery.db") as gallery:
        ApiKeys(gallery).revoke(1)
    daemon.key = key
    wait_until(lambda: daemon.ask("GET", "/v1/speakers").status == 401, 5.0)


@pytest.mark.slow
def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    for options, said in (
        (["--host", "0.0.0.0"], "no API key"),
        (["--port", "70000"], "port is 70000"),
        (["--cors-origin", "*"], "not an origin"),
        (["--tls-cert", "x.pem"], "--tls-key"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "openkith", "serve", "--gallery", str(tmp_path / "g.db"), *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
