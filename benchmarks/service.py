"""The daemon beside the library: latency of a request, and many clients at once. On a manifest of real speech.

    python benchmarks/service.py ../shared/speech/home-clean.tsv [--people 10] [--clips 60] [--seconds 120]
        [--clients 32] [--workers 1] [--gallery postgresql://...]

The first people of the manifest are enrolled, and a head is tuned; the daemon runs as a process of its own, with one
thread of torch. Clips are 2 s of its test rows.

Latency: a request and a bare `Recognizer.identify` of the same clip in turn, in the same run: the median of each, and
their ratio (to reach: 1.5). The request is everything: connection kept open, upload, decoding in another process, the
decision, its row in the history on the disk, the answer. Also what is left of it without the decision: `/v1/status`.

Load: clients that send one clip after the other, without a pause unless they are told to come again (then 50 ms,
far less than Retry-After says). Answers by status; each decision is compared with the one for the same clip without
load, and the history must have as many rows as there were answers of 200.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# One thread on both sides, before anything with threads of its own is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import numpy as np

from openkith.audio import SAMPLE_RATE, load, save
from openkith.data import Row, read_manifest
from openkith.gallery import Gallery
from openkith.recognizer import Recognizer

CLIP_SECONDS = 2.0
WARM_UP = 5
AFTER_REFUSAL = 0.05  # seconds
START_SECONDS = 120.0


class Client:
    """One connection to a daemon, opened again where it was closed."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "audio/wav"} if body else {}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@contextmanager
def daemon(gallery: str, *options: str) -> Iterator[str]:
    """URL of a daemon on a gallery."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "openkith", "serve", "--gallery", gallery, "--port", "0"]
        command += ["--rate", "0", "--threads", "1", *options]
        process = subprocess.Popen(command, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                log.seek(0)
                found = re.search(r" at (http://\S+) \(page", log.read())
                if found and Client(found.group(1)).ask("GET", "/readyz")[0] == 200:
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"the daemon did not start: {log.read()}")
                time.sleep(0.2)
            yield found.group(1)
        finally:
            process.terminate()
            process.wait(60)


def cut(rows: Sequence[Row], folder: Path, n: int) -> list[bytes]:
    """WAV files of 2 s, from the middle of test recordings that are long enough."""
    found = []
    for row in rows:
        audio = load(row.path, start=row.start, end=row.end)
        length = round(CLIP_SECONDS * SAMPLE_RATE)
        if len(audio.samples) >= length:
            first = (len(audio.samples) - length) // 2
            path = folder / "clip.wav"
            save(path, audio.samples[first : first + length])
            found.append(path.read_bytes())
        if len(found) == n:
            break
    return found


def enrol(recognizer: Recognizer, rows: Sequence[Row], people: Sequence[str]) -> None:
    for name in people:
        own = [row for row in rows if row.speaker == name and row.role == "enroll"]
        recognizer.enroll(f"person {name}", [load(row.path, start=row.start, end=row.end) for row in own])
    print(f"{len(people)} people, tuned: {recognizer.tune().method}")


def latency(url: str, recognizer: Recognizer, clips: Sequence[bytes]) -> None:
    client = Client(url)
    for clip in clips[:WARM_UP]:
        client.ask("POST", "/v1/identify", clip)
        recognizer.identify(clip)
    asked, bare, status = [], [], []
    for clip in clips:
        begun = time.perf_counter()
        code, answer = client.ask("POST", "/v1/identify", clip)
        asked.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        decision = recognizer.identify(clip)
        bare.append(time.perf_counter() - begun)
        assert code == 200, answer
        assert (answer["status"], answer["name"]) == (decision.status, decision.name), (answer, decision)
        begun = time.perf_counter()
        client.ask("GET", "/v1/status")
        status.append(time.perf_counter() - begun)
    for what, times in (("request", asked), ("bare identify", bare), ("GET /v1/status", status)):
        p50, p90 = np.quantile(times, [0.5, 0.9]) * 1e3
        print(f"{what:16} p50 {p50:7.1f} ms   p90 {p90:7.1f} ms")
    print(f"ratio of the medians: {np.median(asked) / np.median(bare):.2f} (to reach: 1.5)")


def pressure(url: str, clips: Sequence[bytes], clients: int, seconds: float) -> None:
    first = Client(url)
    truth = [first.ask("POST", "/v1/identify", clip)[1] for clip in clips]
    last = max(answer["id"] for answer in truth)
    statuses: Counter[int] = Counter()
    times: list[float] = []
    wrong = unadvised = lost = 0
    lock, end = threading.Lock(), time.monotonic() + seconds

    def work(start: int) -> None:
        nonlocal wrong, unadvised, lost
        client, at = Client(url), start
        while time.monotonic() < end:
            at += 1
            begun = time.perf_counter()
            try:
                client._connection.request(
                    "POST", "/v1/identify", clips[at % len(clips)], {"Content-Type": "audio/wav"}
                )
                answer = client._connection.getresponse()
                body = json.loads(answer.read())
            except OSError:
                with lock:
                    lost += 1
                client = Client(url)
                continue
            took = time.perf_counter() - begun
            with lock:
                statuses[answer.status] += 1
                if answer.status == 200:
                    times.append(took)
                    expected = truth[at % len(clips)]
                    wrong += (body["status"], body["name"]) != (expected["status"], expected["name"])
                elif answer.status == 429:
                    unadvised += int(answer.headers.get("retry-after", 0)) < 1
            if answer.status == 429:
                time.sleep(AFTER_REFUSAL)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    first, kept, before = Client(url), 0, None
    while True:
        _, page = first.ask("GET", "/v1/decisions?limit=500" + (f"&before={before}" if before else ""))
        kept += sum(entry["id"] > last for entry in page["decisions"])
        before = page["next"]
        if before is None or before <= last:
            break
    p50, p99 = np.quantile(times, [0.5, 0.99])
    print(f"{clients} clients, {took:.0f} s: answers by status {dict(sorted(statuses.items()))}")
    print(f"  {statuses[200] / took:.1f} decisions a second, p50 {p50:.2f} s, p99 {p99:.2f} s")
    print(f"  wrong {wrong}, 429 without Retry-After {unadvised}, without an answer {lost}")
    print(f"  rows in the history: {kept}, answers of 200: {statuses[200]}")
    if wrong or unadvised or lost or kept != statuses[200] or set(statuses) - {200, 429}:
        sys.exit("  not as it should be")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="of load; 0: none")
    parser.add_argument("--gallery", help="an empty one; default: a file that is gone afterwards")
    given = parser.parse_args()
    rows = list(read_manifest(given.manifest).rows)
    people = list(dict.fromkeys(row.speaker for row in rows if row.role == "enroll"))[: given.people]
    with tempfile.TemporaryDirectory() as folder:
        where = given.gallery or str(Path(folder) / "gallery.db")
        with Gallery(where) as gallery:
            recognizer = Recognizer(gallery, threads=1)
            enrol(recognizer, rows, people)
            tests = [row for row in rows if row.role == "test"]
            clips = cut(tests[:: max(1, len(tests) // (2 * given.clips))], Path(folder), given.clips)
            with daemon(where, "--workers", str(given.workers)) as url:
                latency(url, recognizer, clips)
                if given.seconds:
                    pressure(url, clips, given.clients, given.seconds)


if __name__ == "__main__":
    main()
