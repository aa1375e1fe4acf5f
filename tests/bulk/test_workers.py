"""Several processes, and what becomes of them and of the work when somebody kills one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from openkith.bulk import workers
from openkith.bulk.embedding import EncoderSpec, embed_corpus
from openkith.bulk.workers import Processes, usual_workers
from openkith.errors import ConfigError, KithError

Contents = Callable[[Path], dict[str, bytes]]
Embedded = Callable[[], list[str]]
SPEC = EncoderSpec("counting")
GOOD, BATCH = 20, 3

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")


def clips(embedded: Embedded) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in embedded()]


def command(voxceleb: Path, out: Path, count: int) -> list[str]:
    options = ["--encoder", "counting", "--out", str(out), "--workers", str(count), "--batch", str(BATCH)]
    return [sys.executable, "-W", "error", "-m", "openkith", "embed", str(voxceleb), *options]


def test_as_many_processes_as_one_likes(
    tmp_path: Path,
    voxceleb: Path,
    counting: Embedded,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, together, meeting = tmp_path / "alone", tmp_path / "together", tmp_path / "meeting"
    embed_corpus(voxceleb, alone, SPEC, batch=BATCH, shard_rows=9)
    assert sorted(Counter(clips(counting)).values()) == [1] * GOOD
    meeting.mkdir()
    monkeypatch.setenv("KITH_TEST_MEET", str(meeting))
    embed_corpus(voxceleb, together, SPEC, workers=2, batch=BATCH, shard_rows=9)
    assert len({line.split()[0] for line in counting()}) == 3  # this process, and two more
    assert contents(alone) == contents(together)


def test_kill_and_resume(tmp_path: Path, voxceleb: Path, counting: Embedded, contents: Contents) -> None:
    """Killed again and again, the files are the same to the byte, and nothing was embedded twice."""
    embed_corpus(voxceleb, tmp_path / "undisturbed", SPEC, batch=BATCH)
    before = len(counting())
    out = tmp_path / "out"
    for further in (5, 9):
        env = {**os.environ, "KITH_TEST_KILL_AT": str(before + further)}
        done = subprocess.run(command(voxceleb, out, 1), env=env, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert before + 5 < len(counting()) < before + GOOD
    embed_corpus(voxceleb, out, SPEC, batch=BATCH)
    assert sorted(Counter(clips(counting)[before:]).values()) == [1] * GOOD
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_kill_the_first_process(
    tmp_path: Path, voxceleb: Path, counting: Embedded, contents: Contents
) -> None:
    """The others end by themselves; what they had in hand, and nothing else, is embedded again."""
    embed_corpus(voxceleb, tmp_path / "undisturbed", SPEC, batch=BATCH)
    before = len(counting())
    out = tmp_path / "out"
    env = {**os.environ, "KITH_TEST_SLEEP": "0.3"}
    running = subprocess.Popen(
        command(voxceleb, out, 2), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(counting()) < before + 2 * BATCH and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    others = {int(line.split()[0]) for line in counting()[before:]}
    while any(map(alive, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert others
    assert not any(map(alive, others))
    assert before + BATCH < len(counting()) < before + GOOD
    embed_corpus(voxceleb, out, SPEC, batch=BATCH)
    counts = Counter(clips(counting)[before:])
    assert len(counts) == GOOD
    assert sum(counts.values()) <= GOOD + 2 * BATCH
    assert contents(out) == contents(tmp_path / "undisturbed")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_file_on_which_processes_die(
    tmp_path: Path, voxceleb: Path, counting: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITH_TEST_DEADLY", "id10000/video1/00001.wav")
    summary = embed_corpus(voxceleb, tmp_path / "out", SPEC, workers=2, batch=BATCH)
    assert (summary.embedded, summary.bad) == (GOOD - 1, 2)
    errors = (tmp_path / "out" / "errors.tsv").read_text()
    assert "the process that embedded it died (SIGKILL)\tid10000/video1/00001.wav\n" in errors
    assert len(set(clips(counting))) == GOOD - 1


@pytest.mark.slow
def test_processes_that_die_one_after_another(
    tmp_path: Path, voxceleb: Path, counting: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MOST_DEATHS", 1)
    monkeypatch.setenv("KITH_TEST_DEADLY", ".wav")
    with pytest.raises(KithError, match=r"die one after another \(SIGKILL\); give --workers 1"):
        embed_corpus(voxceleb, tmp_path / "out", SPEC, workers=2, batch=BATCH)
    assert counting() == []


def test_usual_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    assert usual_workers("cpu") == 16
    assert usual_workers("cuda:1") == usual_workers("mps") == 4
    assert usual_workers() in (4, 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
    assert usual_workers("cuda") == 2


@pytest.mark.usefixtures("counting")
def test_encoders_that_cannot_be_loaded() -> None:
    with pytest.raises(ConfigError, match="no encoder is named 'magic'"):
        Processes(EncoderSpec("magic"), 1)
    with pytest.raises(
        KithError, match=r"the process that loads the encoder 'counting' died \(exit code 3\)"
    ):
        Processes(EncoderSpec("counting", weights="deadly"), 1)
