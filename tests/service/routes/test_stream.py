"""Live streams over a WebSocket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from openkith.audio import load
from openkith.gallery.api_keys import ApiKeys
from openkith.service.routes import stream

Clip = Callable[..., bytes]
URL = "ws://localhost:8737/v1/stream"
PCM = {"format": "pcm16", "sample_rate": 16_000}


def samples_of(data: bytes) -> np.ndarray:
    return load(data).samples


def pcm(*parts: np.ndarray) -> bytes:
    quiet = np.random.default_rng(0).normal(0.0, 1e-4, 24_000)
    whole = np.concatenate([quiet, *(piece for part in parts for piece in (part, quiet))])
    return np.clip(np.rint(whole * 32768), -32768, 32767).astype("<i2").tobytes()


def talk(client: Any, data: bytes, opening: Any = PCM, step: int = 6400) -> list[dict[str, Any]]:
    """Everything that a stream is told."""
    with client.websocket_connect(URL) as socket:
        socket.send_text(json.dumps(opening))
        found = [socket.receive_json()]
        if found[0]["type"] != "ready":
            return found
        for at in range(0, len(data), step):
            socket.send_bytes(data[at : at + step])
        socket.send_text('{"type": "stop"}')
        while found[-1]["type"] not in ("end", "error"):
            found.append(socket.receive_json())
        return found


def test_two_people_talk(client: Any, clip: Clip, household: dict[str, int]) -> None:
    data = pcm(samples_of(clip(1, 9)), samples_of(clip(2, 9)))
    events = talk(client, data)
    assert (events[0], events[-1]) == ({"type": "ready"}, {"type": "end"})
    finals = [event for event in events if event["type"] == "final"]
    assert [event["utterance"] for event in finals] == [1, 2]
    assert [event["decision"]["name"] for event in finals] == ["Alice", "Bob"]
    assert [event["decision"]["speaker_id"] for event in finals] == list(household.values())
    kept = client.get("/v1/decisions?limit=2").json()["decisions"][::-1]
    assert [entry["id"] for entry in kept] == [event["decision"]["id"] for event in finals]
    assert {entry["kind"] for entry in kept} == {"stream"}
    for event in events[1:-1]:
        assert set(event) == {"type", "utterance", "start", "end", "early", "decision"}
        assert (event["decision"] is None) == (event["type"] == "start")


@pytest.mark.usefixtures("household")
def test_another_rate_and_a_container(
    client: Any,
    clip: Clip,
    tmp_path: Path,
) -> None:
    import soundfile

    audio = samples_of(clip(1, 8))
    slow = pcm(audio[::2])
    assert talk(client, slow, {**PCM, "sample_rate": 8000})[-1] == {"type": "end"}
    pytest.importorskip("av")
    path = tmp_path / "a.ogg"
    samples = np.frombuffer(pcm(audio), "<i2")
    soundfile.write(path, samples, 16_000, format="OGG", subtype="OPUS")
    events = talk(client, path.read_bytes(), {"format": "ogg"}, step=1000)
    assert [e["decision"]["name"] for e in events if e["type"] == "final"] == ["Alice"]


def test_what_gets_no_name_goes_to_review(
    start_app: Callable[..., Any], clip: Clip, enrolled: Callable[..., int], wait_until: Callable[..., Any]
) -> None:
    client = start_app()
    enrolled(client, "Alice", 1)
    enrolled(client, "Bob", 2)
    client.put("/v1/review/settings", json={"keep": True, "days": 3})
    events = talk(client, pcm(samples_of(clip(77, 1))))
    assert [e["decision"]["status"] for e in events if e["type"] == "final"] != ["known"]
    wait_until(lambda: client.get("/v1/review").json()["groups"])


@pytest.mark.parametrize(
    ("opening", "field"),
    [
        ({"format": "mp3"}, "format"),
        ({"format": "pcm16", "sample_rate": 1}, "sample_rate"),
        ({"format": "pcm16", "x": 1}, "x"),
        ([], "message"),
        ("text", "message"),
    ],
)
def test_bad_openings(client: Any, opening: Any, field: str) -> None:
    (answer,) = talk(client, b"", opening)
    assert (answer["type"], answer["problem"]["status"], answer["problem"]["field"]) == ("error", 422, field)


@pytest.mark.usefixtures("household")
def test_messages_out_of_place(client: Any) -> None:
    for first in (b"\x00\x00", b""):
        with client.websocket_connect(URL) as socket:
            socket.send_bytes(first)
            assert socket.receive_json()["problem"]["status"] == 422
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert closed.value.code == 1008
    with client.websocket_connect(URL) as socket:
        socket.send_text(json.dumps(PCM))
        assert socket.receive_json() == {"type": "ready"}
        socket.send_text("[" * 100_000)
        assert socket.receive_json()["problem"]["status"] == 422


@pytest.mark.usefixtures("household")
def test_hostile_audio(client: Any) -> None:
    assert talk(client, b"\x00")[-1]["problem"]["type"] == "urn:openkith:problem:unusable-audio"
    pytest.importorskip("av")
    events = talk(client, b"\x1a\x45\xdf\xa3" + b"\xff" * 20_000, {"format": "webm"})
    assert events[-1]["problem"]["type"] == "urn:openkith:problem:unusable-audio"
    assert talk(client, b"")[-1] == {"type": "end"}


def test_nobody_is_enrolled(start_app: Callable[..., Any]) -> None:
    (answer,) = talk(start_app(), b"")
    assert answer["problem"]["type"] == "urn:openkith:problem:not-enough-data"


def test_keys(start_app: Callable[..., Any], enrolled: Callable[..., int]) -> None:
    client = start_app()
    enrolled(client, "Alice", 1)
    enrolled(client, "Bob", 2)
    keys = ApiKeys(client.app.state.daemon.gallery)
    reader, identifier = keys.create("r", ["read"])[1], keys.create("i", ["identify"])[1]
    client.app.state.daemon.keyring._open = (False, 0.0)
    statuses = {}
    for name, key in (("none", None), ("wrong", "kith_1_x"), ("reader", reader), ("right", identifier)):
        opening = {**PCM, **({} if key is None else {"key": key})}
        answer = talk(client, b"", opening)[-1]
        statuses[name] = answer.get("problem", {}).get("status", answer["type"])
    assert statuses == {"none": 401, "wrong": 401, "reader": 403, "right": "end"}


def test_so_many_at_a_time(start_app: Callable[..., Any], enrolled: Callable[..., int]) -> None:
    client = start_app(streams=1)
    enrolled(client, "Alice", 1)
    enrolled(client, "Bob", 2)
    with client.websocket_connect(URL) as first:
        first.send_text(json.dumps(PCM))
        assert first.receive_json() == {"type": "ready"}
        assert "kith_streams 1.0" in client.get("/metrics").text
        assert talk(client, b"")[0]["problem"]["status"] == 429
        first.send_text('{"type": "stop"}')
        assert first.receive_json() == {"type": "end"}
    assert talk(client, b"")[-1] == {"type": "end"}
    assert "kith_streams 0.0" in client.get("/metrics").text


@pytest.mark.usefixtures("household")
def test_who_says_nothing_is_let_go(
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "OPENING_SECONDS", 0.05)
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.05)
    with client.websocket_connect(URL) as socket:
        assert socket.receive_json()["problem"]["status"] == 408


@pytest.mark.usefixtures("household")
def test_a_client_that_goes_leaves_its_place(
    client: Any,
    wait_until: Callable[..., Any],
) -> None:
    for _ in range(6):
        with client.websocket_connect(URL) as socket:
            socket.send_text(json.dumps(PCM))
            assert socket.receive_json() == {"type": "ready"}
    wait_until(lambda: "kith_streams 0.0" in client.get("/metrics").text)
