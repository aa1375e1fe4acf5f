"""The process that decodes, spoken to directly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.isolated import wire

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits that Linux enforces")
MB = 2**20


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """start(code, seconds, megabytes) -> a worker in which `code` ran first, once it is ready."""
    started: list[subprocess.Popen[bytes]] = []

    def make(code: str = "", seconds: float = 10.0, memory_mb: int = 1024) -> subprocess.Popen[bytes]:
        program = f"import sys, time\nfrom openkith.audio.isolated import worker\n{code}\nworker.main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, repr(seconds), str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        started.append(process)
        assert wire.receive(process.stdout, 0) == (wire.READY, b"")
        return process

    yield make
    for process in started:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        process.wait()


def ask(process: subprocess.Popen[bytes], kind: bytes, *parts: bytes) -> tuple[bytes, bytearray]:
    wire.send(process.stdin, kind, *parts)
    return wire.receive(process.stdout, 100 * MB)


def file(data: bytes, max_seconds: float = 60.0) -> tuple[bytes, bytes, bytes]:
    return wire.FILE, wire.SECONDS.pack(max_seconds), data


def test_a_file(start, encode, voice):
    data = encode(voice(0.5, 44_100), 44_100, "WAV")
    kind, payload = ask(start(), *file(data))
    assert kind == wire.AUDIO
    assert wire.AUDIO_HEAD.unpack_from(payload) == (44_100, 0.0)
    assert np.array_equal(np.frombuffer(payload[wire.AUDIO_HEAD.size :], "<f4"), load(data).samples)


def test_what_a_decoder_prints_is_no_answer(start, encode, voice):
    data = encode(voice(0.5), 16_000, "WAV")
    noisy = (
        "import os\ndef loud(*args, load=worker.load, **options):\n"
        "    os.write(1, b'noise'); print('noise', flush=True); return load(*args, **options)\nworker.load = loud"
    )
    kind, payload = ask(start(noisy), *file(data))
    assert kind == wire.AUDIO
    assert len(payload) == wire.AUDIO_HEAD.size + 8000 * 4


def test_ends_when_the_pipe_closes(start):
    process = start()
    process.stdin.close()
    assert process.wait(5) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no poll")
def test_ends_in_the_middle_of_a_file_when_the_pipe_closes(start):
    process = start("worker.WATCH_SECONDS = 0.1; worker.load = lambda *a, **k: time.sleep(60)")
    wire.send(process.stdin, *file(b"x"))
    time.sleep(0.1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(5) == 0


@LINUX
def test_ends_when_its_parent_has_gone_and_the_pipe_is_still_open(start):
    """As when another child of the parent has inherited the pipe."""
    process = start("worker.WATCH_SECONDS = 0.1; worker.os.getppid = lambda n=[]: n.append(1) or len(n)")
    assert process.wait(5) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_signals_that_are_meant_for_the_parent(start, encode, voice):
    process = start()
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    assert ask(process, *file(encode(voice(0.5), 16_000, "WAV")))[0] == wire.AUDIO


@LINUX
@pytest.mark.slow
def test_processor_time_is_limited_without_a_parent(start):
    process = start("worker.load = lambda *a, **k: [None for _ in iter(int, 1)]", seconds=0.1)
    wire.send(process.stdin, *file(b"x"))
    assert process.wait(10) == -signal.SIGXCPU


@LINUX
def test_memory_is_limited_and_then_the_worker_is_spent(start):
    process = start("worker.load = lambda *a, **k: bytearray(100 * 2**20)", memory_mb=50)
    kind, payload = ask(process, *file(b"x"))
    assert kind == wire.SPENT
    assert payload.startswith(b"<bytes>: decoding takes more than 50 MB of memory; ")


@LINUX
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("open('written', 'wb', buffering=0).write(b'x' * 9)", "OSError"),
        ("[open('/dev/null') for _ in range(200)].clear()", "OSError"),
    ],
)
def test_files_are_limited(start, code, error, tmp_path, monkeypatch):
    """Nothing is written, and few files are open at a time."""
    monkeypatch.chdir(tmp_path)
    lines = (
        f"def bad(*args, **options):\n    try:\n        {code}\n    except BaseException as caught:\n"
        "        raise worker.KithError(type(caught).__name__ + ' as it should be')\nworker.load = bad"
    )
    kind, payload = ask(start(lines), *file(b"x"))
    assert (kind, payload.decode()) == (wire.FAILED, f"{error} as it should be")


def test_loads_no_torch(start):
    told = "worker.load = lambda *a, **k: (_ for _ in ()).throw(worker.KithError(f'{[n in sys.modules for n in N]}'))"
    names = "N = ('numpy', 'soundfile', 'torch', 'matplotlib', 'sklearn', 'sqlalchemy')"
    kind, payload = ask(start(f"{names}\n{told}"), *file(b"x"))
    assert (kind, payload.decode()) == (wire.FAILED, "[True, True, False, False, False, False]")


def test_a_message_that_it_does_not_know_ends_it(start):
    process = start()
    wire.send(process.stdin, b"?")
    assert process.wait(5) == 0
