"""Files are decoded in processes of their own: with the same result as here, and whatever the files hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.isolated import sandbox as sandbox_module
from openkith.audio.isolated.sandbox import DecodePool, Worker
from openkith.errors import AudioError, ConfigError, KithError, MissingDependencyError

sys.path.insert(0, str(Path(__file__).parents[2]))

from hostile import REFUSED, bomb

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool() as pool:
        yield pool


@pytest.fixture(scope="module")
def clip(encode, voice) -> bytes:
    return encode(voice(1.0), 16_000, "WAV")


@pytest.fixture(scope="module")
def long() -> bytes:
    """An hour of two channels, which takes a second or so to decode."""
    return bomb(60, channels=2)


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def only(pool: DecodePool) -> Worker:
    (worker,) = pool._idle
    assert worker is not None
    return worker


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "kind",
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_same_as_load(pool, encode, voice, kind, rate):
    data = encode(voice(1.0, rate) / 32768, rate, *kind)
    here, there = load(data), pool.decode(data, max_seconds=60)
    assert np.array_equal(here.samples, there.samples)
    assert (there.source, there.native_rate, there.clipped) == ("<bytes>", rate, here.clipped)
    assert there.sha256 == here.sha256
    assert there.samples.flags.writeable


def test_same_as_load_for_webm(pool, mux, voice):
    data = mux(voice(1.0, 48_000), 48_000, "webm", "libopus")
    assert np.array_equal(load(data).samples, pool.decode(data, max_seconds=60).samples)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(pool, clip, name):
    """Each with an error of one line, and the same worker decodes the next honest clip."""
    data, expected = REFUSED[name]
    worker = only(pool)
    with pytest.raises((AudioError, MissingDependencyError), match=expected) as caught:
        pool.decode(data, max_seconds=30)
    text = str(caught.value)
    assert text.startswith("<bytes>: ")
    assert "\n" not in text
    assert len(text) < 300
    assert pool.decode(clip, max_seconds=30).seconds == 1.0
    assert only(pool) is worker


def test_the_error_is_that_of_load(pool, clip):
    for data, limit in ((clip[:2000], 60.0), (clip, 0.5), (b"nothing", 60.0), (clip, -1.0)):
        with pytest.raises(AudioError) as here:
            load(data, max_seconds=limit)
        with pytest.raises(AudioError) as there:
            pool.decode(data, max_seconds=limit)
        assert str(there.value) == str(here.value)


@LINUX
def test_a_bomb_is_decoded_no_further_than_the_limit(pool, clip):
    """Half an hour of eight channels in few bytes, whose length the header does not tell."""
    data = bomb(30, channels=8, told=False)
    assert len(data) < 30 * 60 * 8 * 8000 * 2 / 100
    pool.decode(clip, max_seconds=30)
    worker = only(pool).pid
    marks = [processor_seconds(worker)]
    with pytest.raises(AudioError, match="over the limit of 30 s"):
        pool.decode(data, max_seconds=30)
    marks.append(processor_seconds(worker))
    assert pool.decode(data, max_seconds=1801).seconds == pytest.approx(1800)
    marks.append(processor_seconds(worker))
    assert marks[1] - marks[0] < (marks[2] - marks[1]) / 4


def test_time_limit(clip, long):
    with DecodePool(seconds=0.3) as pool:
        pool.decode(clip, max_seconds=10)  # it is up
        first = only(pool)
        with pytest.raises(AudioError, match=r"^<bytes>: decoding takes longer than 0\.3 s; cut it"):
            pool.decode(long, max_seconds=10_000)
        second = only(pool)
        assert second is not first
        assert second.usable
        assert not first.usable
        if sys.platform == "linux":
            assert gone(first.pid)


@LINUX
def test_memory_limit(clip):
    with DecodePool(memory_mb=40) as pool:
        assert pool.decode(bomb(1), max_seconds=10_000).seconds == 60
        first = only(pool)
        with pytest.raises(AudioError, match=r"^<bytes>: decoding takes more than 40 MB of memory; cut it"):
            pool.decode(bomb(30), max_seconds=10_000)  # 115 MB of samples
        assert only(pool) is not first
        assert pool.decode(clip, max_seconds=10).seconds == 1.0


def test_too_many_bytes_never_reach_a_worker():
    with (
        DecodePool(memory_mb=4) as pool,
        pytest.raises(AudioError, match="1048577 bytes, over the limit of 1048576"),
    ):
        pool.decode(bytes(2**20 + 1), max_seconds=10)


def test_a_crash_in_the_middle(clip, long):
    """As a bug in a decoder would end the process."""
    with DecodePool() as pool:
        pool.decode(clip, max_seconds=10)
        worker = only(pool)
        threading.Timer(0.15, os.kill, (worker.pid, signal.SIGABRT)).start()
        with pytest.raises(AudioError, match=r"^<bytes>: its decoder stopped in the middle"):
            pool.decode(long, max_seconds=10_000)
        assert pool.decode(clip, max_seconds=10).seconds == 1.0


def test_a_worker_that_died_idle_costs_no_file(clip):
    with DecodePool() as pool:
        pool.decode(clip, max_seconds=10)
        worker = only(pool)
        os.kill(worker.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        worker._process.wait()
        assert pool.decode(clip, max_seconds=10).seconds == 1.0


def test_replaced_after_many_files(clip, monkeypatch):
    monkeypatch.setattr(sandbox_module, "MAX_FILES", 3)
    with DecodePool() as pool:
        seen = []
        for _ in range(7):
            seen.append(only(pool).pid)
            pool.decode(clip, max_seconds=10)
        assert [seen.count(pid) for pid in dict.fromkeys(seen)] == [3, 3, 1]


def test_many_threads(encode, voice):
    """Each gets its own answer."""
    files = [encode(voice(0.3, seed=seed), 16_000, "WAV") for seed in range(8)]
    expected = [load(data).sha256 for data in files]
    with DecodePool(workers=2) as pool, ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda n: pool.decode(files[n % 8], max_seconds=10).sha256, range(80)))
        assert len(pool._idle) == 2
    assert found == [expected[n % 8] for n in range(80)]


def test_refused_files_among_good_ones(clip):
    def one(n: int) -> bool:
        try:
            return pool.decode(clip if n % 2 else b"noise", max_seconds=10).seconds == 1.0
        except AudioError:
            return False

    with DecodePool(workers=2) as pool, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(40))) == [bool(n % 2) for n in range(40)]


def test_closed(clip):
    pool = DecodePool()
    pids = [only(pool).pid]
    pool.close()
    pool.close()
    with pytest.raises(KithError, match="closed"):
        pool.decode(clip, max_seconds=10)
    with pytest.raises(KithError, match="closed"):
        pool.detach()
    if sys.platform == "linux":
        assert all(map(gone, pids))


def test_closing_ends_calls_that_wait_and_decode(clip, long):
    pool = DecodePool()
    pool.decode(clip, max_seconds=10)
    errors: list[str] = []

    def one() -> None:
        try:
            pool.decode(long, max_seconds=10_000)
        except KithError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert wait_for(lambda: bool(pool._busy))
    time.sleep(0.05)
    pool.close()
    for thread in threads:
        thread.join(5)
    assert len(errors) == 3
    assert all("closed" in error for error in errors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"memory_mb": 0}, "memory_mb is 0"),
    ],
)
def test_options(options, message):
    with pytest.raises(ConfigError, match=message):
        DecodePool(**options)


def test_a_worker_that_cannot_start(clip, monkeypatch):
    monkeypatch.setattr(sandbox_module, "SET_VARIABLES", {"PYTHONHOME": "/nowhere"})
    with (
        DecodePool() as pool,
        pytest.raises(KithError, match=r"does not start; see why with: .* -m openkith"),
    ):
        pool.decode(clip, max_seconds=10)


def test_no_process_to_be_had(clip, monkeypatch):
    """The call fails, and a later one, when there are processes again, does not."""
    with DecodePool() as pool:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere/python")
            only(pool).interrupt()
            with pytest.raises(KithError, match="cannot start a process that decodes audio"):
                pool.decode(clip, max_seconds=10)
        assert pool.decode(clip, max_seconds=10).seconds == 1.0


def test_answers_are_not_taken_on_trust(clip, monkeypatch):
    """A worker that a file has taken over could send anything."""
    nan = np.full(16_000, np.nan, np.float32).tobytes()
    good = np.ones(16_000, np.float32).tobytes()
    head = sandbox_module.wire.AUDIO_HEAD.pack(16_000, 0.0)
    answers = [
        (sandbox_module.wire.AUDIO, b""),
        (sandbox_module.wire.AUDIO, head),
        (sandbox_module.wire.AUDIO, head + nan),
        (sandbox_module.wire.AUDIO, head + good + b"\0"),
        (sandbox_module.wire.AUDIO, head + good * 12),
        (sandbox_module.wire.AUDIO, sandbox_module.wire.AUDIO_HEAD.pack(7, 0.0) + good),
        (sandbox_module.wire.AUDIO, sandbox_module.wire.AUDIO_HEAD.pack(16_000, 3.0) + good),
        (sandbox_module.wire.SAMPLES, good),
        (b"?", b""),
    ]
    with DecodePool() as pool:
        worker = only(pool)
        for kind, payload in [*answers, (sandbox_module.wire.AUDIO, head + good)]:
            worker._ready, worker._expired = True, False
            monkeypatch.setattr(Worker, "_exchange", lambda *_, answer=(kind, payload): answer)
            if (kind, payload) in answers:
                with pytest.raises(AudioError, match="its decoder stopped in the middle"):
                    worker.decode(clip, max_seconds=10.0)
                assert not worker.usable
            else:
                assert worker.decode(clip, max_seconds=10.0).seconds == 1.0


def test_an_error_text_of_a_worker_stays_one_line(clip, monkeypatch):
    with DecodePool() as pool:
        answer = (sandbox_module.wire.FAILED, bytearray(b"<bytes>: two\nlines \xff" + b"x" * 100_000))
        monkeypatch.setattr(Worker, "_exchange", lambda *_: answer)
        worker = only(pool)
        worker._ready = True
        with pytest.raises(AudioError, match="two lines") as caught:
            worker.decode(clip, max_seconds=10.0)
        assert len(str(caught.value)) < 10_000


def test_an_interrupted_call_leaves_no_answer_for_the_next_one(clip, long, monkeypatch):
    """Ctrl-C between question and answer."""

    def receive(*_: object) -> None:
        raise KeyboardInterrupt

    with DecodePool() as pool:
        pool.decode(clip, max_seconds=10)
        with monkeypatch.context() as patch:
            patch.setattr(sandbox_module.wire, "receive", receive)
            with pytest.raises(KeyboardInterrupt):
                pool.decode(long, max_seconds=10_000)
        assert pool.decode(clip, max_seconds=10).seconds == 1.0


def test_detached(clip):
    """A stream takes a warm worker for itself, and the pool has another one."""
    with DecodePool() as pool:
        pool.decode(clip, max_seconds=10)
        worker = only(pool)
        mine = pool.detach()
        try:
            assert mine is worker
            assert only(pool) is not mine
            assert pool.decode(clip, max_seconds=10).seconds == 1.0
            assert mine.decode(clip, 10.0).seconds == 1.0
        finally:
            mine.kill()


@LINUX
def test_limits_and_environment(monkeypatch, clip):
    secrets = {
        "KITH_KEY": "secret",
        "KITH_KEY_FILE": "/key",
        "KITH_GALLERY": "postgresql://u:p@h/db",
        "PGPASSWORD": "p",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    with DecodePool(memory_mb=256) as pool:
        pool.decode(clip, max_seconds=10)
        process = Path(f"/proc/{only(pool).pid}")
        environment = (process / "environ").read_bytes().split(b"\0")
        names = {entry.partition(b"=")[0].decode() for entry in environment if entry}
        assert not names & set(secrets)
        limits = {
            line[:26].strip(): line[26:47].strip() for line in (process / "limits").read_text().splitlines()
        }
        assert limits["Max core file size"] == "0"
        assert limits["Max file size"] == "0"
        assert int(limits["Max open files"]) == 64
        assert 256 * 2**20 < int(limits["Max address space"]) < 4 * 2**30
        assert int(limits["Max cpu time"]) < 60
        assert "NoNewPrivs:\t1" in (process / "status").read_text()
        loaded = (process / "maps").read_text()
        assert "torch" not in loaded
        assert "sndfile" in loaded


@LINUX
def test_workers_end_with_their_parent():
    """Killed without a chance to say goodbye."""
    code = (
        "import time; from openkith.audio.isolated.sandbox import DecodePool\n"
        "pool = DecodePool(workers=2)\n"
        "print(*(worker.pid for worker in pool._idle), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        assert len(pids) == 2
        assert not any(map(gone, pids))
        parent.kill()
    assert wait_for(lambda: all(map(gone, pids)))


@pytest.mark.slow
def test_overhead(pool, encode, voice):
    """A clip of two seconds takes a few milliseconds more than in this process."""
    data = encode(voice(2.0), 16_000, "WAV")
    times: dict[str, list[float]] = {"here": [], "there": []}
    for _ in range(100):
        for name, decode in (("here", load), ("there", lambda data: pool.decode(data, max_seconds=60))):
            start = time.perf_counter()
            decode(data)
            times[name].append(time.perf_counter() - start)
    assert np.median(times["there"]) - np.median(times["here"]) < 0.010
