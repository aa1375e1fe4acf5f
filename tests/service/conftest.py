"""Applications with a gallery of their own, in this process and as daemons, and the voices of `record` as bytes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from fastapi.testclient import TestClient

from openkith.audio.isolated.sandbox import DecodePool
from openkith.gallery import Gallery
from openkith.recognizer import Recognizer
from openkith.service import ServiceSettings, create_app

CONFTEST = Path(__file__).parents[1] / "conftest.py"
LOCAL = "http://localhost:8737"
DAEMON_SECONDS = 60.0  # until a daemon answers, on a busy machine

# A distribution whose entry point is the encoder of tests/conftest.py, for processes of their own.
BANDS_MODULE = f"""
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("kith_tests_conftest", {str(CONFTEST)!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
Bands = module.Bands
"""


def load_conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kith_tests_conftest", CONFTEST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip(record: Callable[..., Path]) -> Callable[..., bytes]:
    """clip(person, take) -> a WAV file's bytes."""

    def read(person: int, take: int, seconds: float = 2.0) -> bytes:
        return record(person, take, seconds=seconds).read_bytes()

    return read


@pytest.fixture(scope="session", autouse=True)
def shared_decoder() -> Iterator[None]:
    """One process that decodes, for the applications of all tests: each would start its own."""
    pool = DecodePool(1)

    def borrow(workers: int) -> Any:  # noqa: ARG001
        return SimpleNamespace(decode=pool.decode, detach=pool.detach, close=lambda: None)

    with pytest.MonkeyPatch.context() as patch, pool:
        patch.setattr("openkith.service.daemon.DecodePool", borrow)
        yield


@contextmanager
def running(folder: Path, **changes: Any) -> Iterator[Any]:
    """A client of an application with an empty gallery, which is not shared."""
    with Gallery(folder / "gallery.db") as gallery:
        recognizer = Recognizer(gallery, encoder=load_conftest().Bands())
        app = create_app(recognizer, ServiceSettings(**{"decoders": 1, "rate": 0.0, **changes}))
        with TestClient(app, base_url=LOCAL) as client:
            deadline = time.monotonic() + DAEMON_SECONDS
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield client


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """start_app(rate=...) -> a client of an application with an empty gallery."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(tmp_path, **changes))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of an application that the tests of a file share."""
    with running(tmp_path_factory.mktemp("app")) as opened:
        yield opened


def enrol(client: Any, clip: Callable[..., bytes], name: str, person: int, takes: int = 3) -> int:
    """Add somebody with clips; their number."""
    added = client.post("/v1/speakers", json={"name": name})
    assert added.status_code == 201, added.text
    number: int = added.json()["id"]
    files = [("clips", (f"{take}.wav", clip(person, take), "audio/wav")) for take in range(takes)]
    answer = client.post(f"/v1/speakers/{number}/clips", files=files)
    assert answer.status_code == 201, answer.text
    return number


@pytest.fixture(scope="session")
def enrolled(clip: Callable[..., bytes]) -> Callable[..., int]:
    """enrolled(client, "Alice", 1) -> the number of a person with three clips."""
    return lambda client, name, person, takes=3: enrol(client, clip, name, person, takes)


@pytest.fixture(scope="module")
def household(client: Any, enrolled: Callable[..., int]) -> dict[str, int]:
    """Two people of the shared client, by name."""
    return {"Alice": enrolled(client, "Alice", 1), "Bob": enrolled(client, "Bob", 2)}


@dataclass
class Answer:
    """What a daemon answered."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Process:
    """A daemon in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    key: str | None = None
    context: Any = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
        value: Any = None,
    ) -> Answer:
        sent = dict(headers or {})
        if self.key is not None:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        if value is not None:
            body = json.dumps(value).encode()
            sent.setdefault("Content-Type", "application/json")
        request = Request(self.url + path, data=body, headers=sent, method=method)
        try:
            with urlopen(request, timeout=timeout, context=self.context) as answer:
                return Answer(answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()})
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read(), {k.lower(): v for k, v in error.headers.items()})

    def send_clip(self, path: str, data: bytes, timeout: float = 60.0) -> Answer:
        return self.ask("POST", path, data, {"Content-Type": "audio/wav"}, timeout)

    def enrol(self, clip: Callable[..., bytes], name: str, person: int, takes: int = 3) -> int:
        """Add somebody with clips; their number."""
        added = self.ask("POST", "/v1/speakers", value={"name": name})
        assert added.status == 201, added.body
        number: int = added.json()["id"]
        for take in range(takes):
            answer = self.send_clip(f"/v1/speakers/{number}/clips", clip(person, take))
            assert answer.status == 201, answer.body
        return number

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture(scope="session")
def bands_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH, with which a new process knows the encoder "bands"."""
    folder = tmp_path_factory.mktemp("bands")
    (folder / "kith_test_bands.py").write_text(BANDS_MODULE)
    info = folder / "kith_test_bands-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kith-test-bands\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[openkith.encoders]\nbands = kith_test_bands:Bands\n")
    return folder


@contextmanager
def daemons(folder: Path, bands_path: Path) -> Iterator[Callable[..., Process]]:
    """What starts daemons, which end with the block."""
    started: list[Process] = []

    def start(
        *options: str,
        gallery: str | Path | None = None,
        encoder: str = "bands",
        key: str | None = None,
        wait: bool = True,
        **variables: str,
    ) -> Process:
        log = folder / f"daemon-{len(started)}.log"
        environment = {**os.environ, "PYTHONPATH": str(bands_path), "OMP_NUM_THREADS": "1", **variables}
        where = str(gallery or folder / "gallery.db")
        command = [sys.executable, "-m", "openkith", "serve", "--gallery", where, "--encoder", encoder]
        command += ["--port", "0", "--decoders", "1", "--rate", "0", *options]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
        daemon = Process(process, "", log, key)
        started.append(daemon)
        if wait:
            daemon.url = wait_for(daemon)
        return daemon

    try:
        yield start
    finally:
        for daemon in started:
            if daemon.process.poll() is None:
                daemon.kill()


@pytest.fixture
def start_daemon(tmp_path: Path, bands_path: Path) -> Iterator[Callable[..., Process]]:
    """start_daemon("--queue", "3") -> a daemon that answers; ended with the test."""
    with daemons(tmp_path, bands_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory, bands_path: Path) -> Iterator[Process]:
    """A daemon that the tests of a file share."""
    with daemons(tmp_path_factory.mktemp("daemon"), bands_path) as start:
        yield start("--max-bytes", "1000000", "--max-seconds", "30")


def wait_for(daemon: Process) -> str:
    """The URL of a daemon, once it is ready."""
    deadline = time.monotonic() + DAEMON_SECONDS
    while time.monotonic() < deadline:
        said = daemon.log.read_text(errors="replace")
        assert daemon.process.poll() is None, said
        found = re.search(r" at (https?://\S+) \(page", said)
        if found:
            daemon.url = found.group(1)
            if daemon.url.startswith("https") or daemon.ask("GET", "/readyz").status == 200:
                return daemon.url
        time.sleep(0.05)
    raise AssertionError(f"the daemon did not start: {daemon.log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """wait_until(look) -> what `look` gives once that is true."""

    def wait(look: Callable[[], Any], seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)

    return wait
