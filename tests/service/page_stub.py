"""A daemon for the page that answers out of memory, inside the browser's own request routing: no model.

Only the page's files come from a port: a browser loads the module of an audio thread past the routing. It speaks the
contract of the HTTP API with invented numbers, so that tests of the page alone are quick, and can show what is rare: a
key that is refused, a name full of markup, nobody enrolled.
"""

from __future__ import annotations

import json
import math
import mimetypes
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route, WebSocketRoute

POLICY = "default-src 'self'"
PAGE = Path(str(files("openkith") / "service" / "page"))
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)


def decision(
    name: str | None, status: str, probability: float, others: dict[str, float], **more: Any
) -> dict[str, Any]:
    reasons = {
        "known": f"{name}'s voice, from 2.4 s of speech",
        "unsure": f"more like {name} than like a stranger, but below the threshold",
        "unknown": f"like nobody enrolled; least unlike {next(iter(others), None)}",
    }
    return {
        "status": status,
        "name": name,
        "probability": probability,
        "probabilities": {name or "unknown": probability, **others},
        "speech_seconds": 2.4,
        "reason": reasons[status],
        "method": "fusion",
        "heard": [],
        "warnings": [],
        **more,
    }


class PageFiles(BaseHTTPRequestHandler):
    """The files of the page, as the daemon serves them."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        file = PAGE / ("index.html" if path == "/" else path.removeprefix("/page/"))
        self.send_response(200 if file.is_file() else 404)
        self.send_header("Content-Type", mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())

    def log_message(self, *_: object) -> None:
        pass


class StubDaemon:
    """State and routes of a daemon that is not there; a context manager.

    Attributes:
        origin: Address of the page.
        key: The API key that is asked for; None for none.
        calls: (method, path, JSON body or None) of every write, in order.
        outside: Addresses beyond the origin that the page asked for: there must be none.
        full: Whether no more streams are taken.
        utterances: What the stream answers: (start, end, decision) each.
    """

    def __init__(self, names: tuple[str, ...] = (), key: str | None = None) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), PageFiles)
        self.origin = f"http://localhost:{self.server.server_port}"  # a secure context for the browser
        self.key = key
        self.calls: list[tuple[str, str, Any]] = []
        self.outside: list[str] = []
        self.note = ""
        self.tuned = bool(names)
        self.far = 0.01
        self.speakers: dict[int, dict[str, Any]] = {}
        self.clips: dict[int, list[dict[str, Any]]] = {}
        self.review: dict[str, Any] = {"keep": False, "days": 30, "groups": []}
        self.busy = 0  # answers with 429 before the next that is not
        self.full = False
        self.job: dict[str, Any] | None = None
        self.utterances: list[tuple[float, float, dict[str, Any]]] = []
        for name in names:
            self._clips(self._person(name, "2026-03-01", "")["id"], 3)

    def __enter__(self) -> StubDaemon:
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def serve(self, page: Page) -> None:
        page.route("**/*", self._handle)
        page.route_web_socket(f"{self.origin.replace('http', 'ws')}/v1/stream", self._stream)

    # -- HTTP

    def _handle(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if f"{url.scheme}://{url.netloc}" != self.origin:
            self.outside.append(route.request.url)
            route.abort()
        elif url.path.startswith("/v1/"):
            self._call(route, url.path.removeprefix("/v1/"), parse_qs(url.query))
        else:
            route.continue_()

    def _call(self, route: Route, path: str, _query: dict[str, list[str]]) -> None:
        request = route.request
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            problem(route, 401, "Not allowed", "an API key is needed")
            return
        if self.busy:
            self.busy -= 1
            problem(route, 429, "Too many requests", "the daemon is busy", {"Retry-After": "0.1"})
            return
        if request.method != "GET" and path != "measure":
            sent = request.post_data_json if "json" in request.headers.get("content-type", "") else None
            self.calls.append((request.method, path, sent))
            assert request.headers.get("idempotency-key")
        answer = self._answer(request.method, path, request)
        if answer is None:
            route.fulfill(status=204)
        elif isinstance(answer, bytes):
            kind = "audio/flac" if path.endswith("audio") else "text/event-stream"
            route.fulfill(body=answer, content_type=kind)
        elif isinstance(answer, int):
            problem(route, answer, "Refused", "it was refused")
        else:
            status = 201 if request.method == "POST" and path.startswith("speakers") else 200
            route.fulfill(status=status, json=answer)

    def _answer(self, method: str, path: str, request: Any) -> Any:
        kind, *rest = path.split("/")
        numbers = [int(part) for part in rest if part.isdigit()]
        match method, kind, len(numbers), rest[-1] if rest else "":
            case "GET", "status", _, _:
                return self._status()
            case "GET", "speakers", 0, _:
                return {"speakers": list(self.speakers.values())}
            case "POST", "speakers", 0, _:
                sent = request.post_data_json
                return self._person(sent["name"], sent["consent"], sent["note"])
            case "PATCH", "speakers", 1, _:
                if request.headers.get("if-match") != f'"{self.speakers[numbers[0]]["etag"]}"':
                    return 412
                self.speakers[numbers[0]].update(request.post_data_json)
                return self.speakers[numbers[0]]
            case "DELETE", "speakers", 1, _:
                gone = self.speakers.pop(numbers[0])
                self.note = f"{gone['name']} was forgotten since the last tuning"
                receipt = {"clips": gone["clips"], "seconds": gone["seconds"], "heads": 1, "files": []}
                return {"name": gone["name"], **receipt, "time": moment(), "note": "Nothing is left."}
            case "GET", "speakers", 1, "clips":
                return {"clips": self.clips.get(numbers[0], [])}
            case "POST", "speakers", 1, "clips":
                return self._enrol(numbers[0], request.post_data_buffer.count(b'name="clips"'))
            case "DELETE", "speakers", 2, _:
                kept = [clip for clip in self.clips[numbers[0]] if clip["id"] != numbers[1]]
                self.clips[numbers[0]] = kept
                self.speakers[numbers[0]].update(clips=len(kept))
                return None
            case "POST", "measure", _, _:
                return self._measure(len(request.post_data_buffer or b""))
            case "POST", "undo", _, _:
                newest = max(self.speakers)
                name, clips = self.speakers[newest]["name"], len(self.clips.pop(newest))
                del self.speakers[newest]
                return {"name": name, "clips": clips, "person_removed": True}
            case "GET", "separability", _, _:
                return self._separability()
            case "GET", "quality", _, _:
                return quality(self.far)
            case "POST", "tune" | "calibrate", _, _:
                self.job = {
                    "id": 1,
                    "kind": kind,
                    "state": "running",
                    "stage": "fitting",
                    "done": 1,
                    "total": 4,
                }
                self.far = (request.post_data_json or {}).get("far", self.far)
                return self.job
            case "GET", "jobs", 1, "events":
                assert self.job
                self.tuned, self.note = True, ""
                ended = {**self.job, "state": "done", "done": 4, "result": {"kept": "the tuned head wins"}}
                return events(("progress", self.job), ("end", ended))
            case "GET", "jobs", _, _:
                return {"jobs": []}
            case "GET", "review", 0, _:
                return self.review
            case "PUT", "review", _, "settings":
                self.review.update(request.post_data_json)
                return self.review
            case "GET", "review", 1, "audio":
                return flac()
            case "POST", "review", _, action:
                return self._reviewed(action, request.post_data_json)
        return 404

    def _status(self) -> dict[str, Any]:
        return {
            "version": "0.9",
            "encoder": "ge2e",
            "method": "fusion",
            "tuned": self.tuned,
            "note": self.note,
            "people": len(self.speakers),
            "far": self.far,
            "verify_far": 0.01,
            "unknown_prior": 0.5,
            "miss": 0.04,
            "review": {"keep": self.review["keep"], "days": self.review["days"]},
            "limits": {"max_bytes": 25_000_000, "max_seconds": 600},
            "scopes": ["read", "identify", "enrol", "admin"],
        }

    def _person(self, name: str, consent: str | None, note: str) -> dict[str, Any]:
        number = max(self.speakers, default=0) + 1
        self.speakers[number] = {
            "id": number,
            "name": name,
            "created": moment(),
            "consent": consent,
            "note": note,
            "clips": 0,
            "seconds": 0.0,
            "last_heard": moment(hours=-number) if self.tuned else None,
            "etag": f"tag{number}",
        }
        self.clips[number] = []
        return self.speakers[number]

    def _clips(self, person: int, count: int) -> None:
        for _ in range(count):
            number = 10 * person + len(self.clips[person])
            clip = {"id": number, "seconds": 6.2, "created": moment(), "source": "", "has_audio": False}
            self.clips[person].append({**clip, **self._measure(300_000), "cohesion": 0.87})
        clips = self.clips[person]
        self.speakers[person].update(clips=len(clips), seconds=sum(clip["seconds"] for clip in clips))

    def _enrol(self, person: int, count: int) -> dict[str, Any]:
        self._clips(person, count)
        self.note = f"{self.speakers[person]['name']} was enrolled since the last tuning"
        clips = len(self.clips[person])
        report = {"added": count, "clips": clips, "seconds": 6.2 * clips, "cohesion": 0.87}
        return {
            "name": self.speakers[person]["name"],
            **report,
            "advice": ["record one from across the room"],
        }

    @staticmethod
    def _measure(size: int) -> dict[str, Any]:
        seconds = size / 96_000
        good = {"snr_db": 31.0, "clipped": 0.0, "bandwidth_hz": 7750.0, "advice": []}
        return {"seconds": seconds, "speech_seconds": 0.85 * seconds, **good}

    def _separability(self) -> Any:
        if len(self.speakers) < 2:
            return 422
        n = len(self.speakers)
        shares = np.eye(n)
        shares[0, 1] = shares[1, 0] = 0.31
        names = [speaker["name"] for speaker in self.speakers.values()]
        text = f"{names[0]} and {names[1]} sound too alike to be told apart surely"
        found = [{"kind": "alike", "names": names[:2], "clip": None, "text": text}]
        return {"names": names, "ids": list(self.speakers), "matrix": shares.tolist(), "findings": found}

    def _reviewed(self, action: str, sent: Any) -> Any:
        if action == "undo":
            self.review["groups"] = self._dismissed
            return {"undone": "dismissed", "clips": [1]}
        self._dismissed = self.review["groups"]
        left = [
            group
            for group in self.review["groups"]
            if not {clip["id"] for clip in group["clips"]} & set(sent["clips"])
        ]
        self.review["groups"] = left
        if action == "dismiss":
            return None
        return {"name": sent["name"], "added": len(sent["clips"]), "clips": 4, "seconds": 9.0, "advice": []}

    def keep_review(self) -> None:
        """Some voices that wait for a name."""
        first = next(iter(self.speakers.values()))
        guess = {"id": first["id"], "name": first["name"]}

        def clip(number: int, **more: Any) -> dict[str, Any]:
            return {"id": number, "time": moment(hours=-number), "seconds": 2.6, **more}

        likely = [clip(i, status="unsure", probability=0.62, guess=guess) for i in (1, 2)]
        nobody = [clip(3, status="unknown", probability=0.97, guess=None)]
        self.review = {
            "keep": True,
            "days": 30,
            "groups": [
                {"clips": likely, "likely": {**guess, "probability": 0.71}, "seconds": 5.2},
                {"clips": nobody, "likely": None, "seconds": 2.6},
            ],
        }

    # -- the stream

    def _stream(self, socket: WebSocketRoute) -> None:
        heard = {"bytes": 0, "said": 0}
        begun: dict[str, Any] = {}

        def say(**message: Any) -> None:
            socket.send(json.dumps(message))

        def take(message: str | bytes) -> None:
            if isinstance(message, bytes):
                heard["bytes"] += len(message)
                seconds = heard["bytes"] / 2 / begun["sample_rate"]
                self._speak(say, heard, seconds)
                return
            sent = json.loads(message)
            if sent.get("type") == "stop":
                self._speak(say, heard, math.inf)
                say(type="end")
            elif self.key and sent.get("key") != self.key:
                say(
                    type="error", problem={"status": 401, "title": "No key", "detail": "an API key is needed"}
                )
                socket.close()
            elif self.full:
                say(type="error", problem={"status": 429, "title": "Full", "detail": "4 streams are running"})
                socket.close()
            else:
                begun.update(sent)
                say(type="ready")

        socket.on_message(take)

    def _speak(self, say: Any, heard: dict[str, int], seconds: float) -> None:
        for number, (start, end, given) in enumerate(self.utterances):
            if number < heard["said"] // 2 or start > seconds:
                continue
            at = {"utterance": number, "start": start, "end": min(end, seconds), "early": False}
            if heard["said"] == 2 * number:
                say(type="start", decision=None, **at)
                heard["said"] += 1
            if seconds >= end:
                say(type="final", decision=given, **at)
                heard["said"] += 1
            elif seconds > start + 0.8:
                say(type="update", decision=given, **at)


def problem(
    route: Route, status: int, title: str, detail: str, headers: dict[str, str] | None = None
) -> None:
    body = {"type": "urn:openkith:problem:test", "title": title, "status": status, "detail": detail}
    kind = "application/problem+json"
    route.fulfill(status=status, body=json.dumps(body), headers={"Content-Type": kind, **(headers or {})})


def events(*messages: tuple[str, dict[str, Any]]) -> bytes:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in messages).encode()


def moment(hours: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def flac() -> bytes:
    file = BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(16_000) / 6), 16_000, format="FLAC")
    return file.getvalue()


def quality(far: float) -> dict[str, Any]:
    """Curves of two normal distributions, wider apart after tuning."""
    return {"before": curves("as-norm", 1.9, 1), "after": curves("fusion", 2.6, 2), "far": far}


def curves(method: str, apart: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    people, strangers = rng.normal(apart, 1.2, 300), rng.normal(-apart, 1.2, 900)
    edges = np.linspace(-8, 8, 41)
    shares = [np.histogram(llrs, edges)[0] / len(llrs) for llrs in (people, strangers)]
    levels = np.linspace(8, -8, 80)
    det = [{"far": float(np.mean(strangers >= x)), "frr": float(np.mean(people < x))} for x in levels]
    rows = []
    for rate in RATES:
        threshold = float(np.quantile(strangers, 1 - rate))
        miss = float(np.mean(people < threshold))
        rows.append(
            {
                "far": rate,
                "threshold": threshold,
                "miss": miss,
                "miss_low": 0.7 * miss,
                "miss_high": 1.5 * miss,
            }
        )
    return {
        "method": method,
        "edges": edges.tolist(),
        "people": shares[0].tolist(),
        "strangers": shares[1].tolist(),
        "det": det,
        "thresholds": rows,
    }
