"""Measures of speech, recordings to start from, and a speech server of one's own."""

from __future__ import annotations

import importlib.util
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from openkith.audio.io import Audio


@pytest.fixture(scope="session")
def praat() -> None:
    """Skips where praat-parselmouth is absent."""
    if importlib.util.find_spec("parselmouth") is None:
        pytest.skip("the extra 'synthesis' (praat-parselmouth) is absent")


@pytest.fixture(scope="session")
def rms_db() -> Callable[[np.ndarray], float]:
    return lambda x: float(10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-30))


@pytest.fixture(scope="session")
def median_pitch() -> Callable[[Audio], float]:
    """Median of the autocorrelation's peak lag (Hz) over the loud frames, between 60 and 400 Hz."""

    def measure(audio: Audio) -> float:
        found = []
        level = np.sqrt(np.mean(audio.samples.astype(np.float64) ** 2))
        for start in range(0, len(audio.samples) - 1024, 512):
            frame = audio.samples[start : start + 1024].astype(np.float64)
            if np.sqrt(np.mean(frame**2)) > 0.6 * level:
                correlation = scipy.signal.correlate(frame, frame)[1023:]
                lags = np.arange(16_000 // 400, 16_000 // 60)
                found.append(16_000 / lags[correlation[lags].argmax()])
        return float(np.median(found))

    return measure


@dataclass
class Server:
    """A speech server: what it was asked, and what it answers next.

    Attributes:
        url: Its address.
        asked: (path, headers, body) of each request.
        answers: (status, headers, body) of the next requests; after the last, speech.
        delay: Seconds before each answer.
    """

    url: str = ""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    delay: float = 0.0
    drip: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def wants(self, index: int = -1) -> dict[str, Any]:
        """The fields of a request in JSON."""
        value: dict[str, Any] = json.loads(self.asked[index][2])
        return value


def wav(text: str, seconds: float = 0.6, rate: int = 24_000) -> bytes:
    """A hum that hangs on what is said."""
    pitch = 100 + sum(text.encode()) % 97
    t = np.arange(round(seconds * rate)) / rate
    buffer = io.BytesIO()
    soundfile.write(
        buffer, 0.2 * scipy.signal.sawtooth(2 * np.pi * pitch * t), rate, format="WAV", subtype="PCM_16"
    )
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A real server on this machine, which speaks in hums."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KITH_SPEECH_KEY", raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked.append((self.path, dict(self.headers), body))
            state.stop.wait(state.delay)
            said = str(json.loads(body)) if body.startswith(b"{") else body.decode("latin-1")
            status, headers, answer = (
                state.answers.pop(0) if state.answers else (200, {"Content-Type": "audio/wav"}, wav(said))
            )
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if state.drip:
                    for byte in answer:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if state.stop.wait(state.drip):
                            return
                self.wfile.write(answer)
            except OSError:  # the client has gone
                pass

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    state.stop.set()
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are not waited."""
    waits: list[float] = []
    real = time.sleep
    monkeypatch.setattr("openkith.data.synthesis.http.time.sleep", lambda s: (waits.append(s), real(0))[1])
    return waits


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """A folder per person, for ann (3 recordings) and ben (2)."""
    root = tmp_path_factory.mktemp("people")
    for person, (name, takes) in enumerate((("ann", 3), ("ben", 2))):
        for take in range(takes):
            record(person, take, root / name / f"{take}.wav", 1.5)
    return root
