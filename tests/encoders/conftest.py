"""Weights of the right shape that no index has to be asked for, and a server of files on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from openkith.encoders.networks.ge2e import GE2E


def random_state(seed: int) -> dict[str, torch.Tensor]:
    """A GE2E state dict, by the shapes of the published one, with the two numbers of its training loss."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(3):
        shapes[f"lstm.weight_ih_l{layer}"] = (4 * 256, 40 if layer == 0 else 256)
        shapes[f"lstm.weight_hh_l{layer}"] = (4 * 256, 256)
        shapes[f"lstm.bias_ih_l{layer}"] = shapes[f"lstm.bias_hh_l{layer}"] = (4 * 256,)
    shapes |= {"linear.weight": (256, 256), "linear.bias": (256,)}
    shapes |= {"similarity_weight": (1,), "similarity_bias": (1,)}
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as it is published: the state dict under ``model_state``, beside other entries."""
    file = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save({"step": 3, "model_state": random_state(0)}, file)
    return file


@pytest.fixture(scope="session")
def small(checkpoint: Path) -> GE2E:
    """GE2E with random weights: everything but the voices can be tested with it."""
    return GE2E(checkpoint, threads=1)


@dataclass
class Page:
    """What the server gives for an address.

    Attributes:
        content: The whole.
        headers: Further ones, such as ETag.
        ranges: Whether parts can be had.
        status: Of the answer; another than 200 has no content.
        drops: For each of the next answers, bytes after which the connection breaks; None for one that is whole.
    """

    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    status: int = 200
    drops: list[int | None] = field(default_factory=list)


class Web:
    """A server of files, on the loopback interface."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}  # by path and query
        self.asked: list[tuple[str, str, str | None]] = []  # method, path and query, Range
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nothing is written."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def serve(self, path: str, content: bytes = b"", **options: Any) -> Page:
        """Give this for a path and query from now on; options are those of `Page`."""
        self.pages[path] = Page(content, **options)
        return self.pages[path]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def gets(self, path: str) -> list[str | None]:
        """The Range of each GET of a path."""
        return [part for method, asked, part in self.asked if (method, asked) == ("GET", path)]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        part = handler.headers.get("Range")
        self.asked.append((handler.command, handler.path, part))
        page = self.pages.get(handler.path, Page(status=404))
        if page.status != 200:
            handler.send_response(page.status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        condition = handler.headers.get("If-Range")
        start = 0
        if part and page.ranges and condition in (None, page.headers.get("ETag")):
            start = int(part.removeprefix("bytes=").partition("-")[0])
        content = page.content[start:]
        if start >= len(page.content) > 0:
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content)))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(page.content) - 1}/{len(page.content)}")
        for name, value in page.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            drop = page.drops.pop(0) if page.drops else None
            handler.wfile.write(content if drop is None else content[:drop])
            handler.close_connection = True


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server without files; downloads do not wait between attempts, and go by no proxy."""
    monkeypatch.setattr("openkith.encoders.weights.downloads.PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KITH_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    served = Web()
    yield served
    served.close()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of fetched weights."""
    folder = tmp_path / "models"
    monkeypatch.setenv("KITH_MODELS", str(folder))
    return folder
