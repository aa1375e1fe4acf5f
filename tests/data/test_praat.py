"""The synthesiser's process: right samples each time, and an end to every call."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openkith.data import praat
from openkith.data.praat import SYNTHESIZER_RATE, Phrase, synthesize
from openkith.errors import KithError, MissingDependencyError

needs_praat = pytest.mark.skipif(
    importlib.util.find_spec("parselmouth") is None,
    reason="the extra 'synthesis' (praat-parselmouth) is absent",
)
HELLO = Phrase("English (Great Britain)", "Male1", 1.0, 1.0, 175.0, "Good morning, everybody.")


@needs_praat
def test_the_same_samples_each_time() -> None:
    first, second = synthesize([HELLO, HELLO]), synthesize([HELLO, HELLO])
    for one, two in zip(first, second, strict=True):
        assert one.dtype == np.float32
        assert 0.8 < len(one) / SYNTHESIZER_RATE < 3
        assert np.abs(one).max() > 0.1
        assert np.array_equal(one, two)


@needs_praat
def test_rate_is_heard() -> None:
    slow, fast = synthesize(
        [Phrase(HELLO.language, HELLO.voice, 1.0, 1.0, rate, HELLO.text) for rate in (120.0, 240.0)]
    )
    assert 1.4 < len(slow) / len(fast) < 2.6


@needs_praat
def test_what_praat_refuses_is_one_line() -> None:
    with pytest.raises(
        KithError,
        match=r"^Praat's speech synthesiser \(voice 'Nobody'\): .*not a valid option.*; run it again",
    ) as caught:
        synthesize([Phrase("English (Great Britain)", "Nobody", 1.0, 1.0, 175.0, "Hello.")])
    assert "\n" not in str(caught.value)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in Praat's place; parselmouth may be absent."""
    program = tmp_path / "program.py"
    monkeypatch.setattr(praat, "PROGRAM", (sys.executable, str(program)))
    monkeypatch.setattr(praat, "require", lambda *_: None)
    return program


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="signal 0 asks for a process on POSIX only")
def test_a_call_that_hangs_is_ended_and_tried_once_more(
    tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    stand_in.write_text(
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(600)\n"
    )
    monkeypatch.setattr(praat, "START_SECONDS", 1.5)
    monkeypatch.setattr(praat, "SECONDS_PER_TEXT", 0.5)
    begin = time.monotonic()
    with pytest.raises(KithError, match=r"gave no answer within 2 s and was stopped; run it again"):
        synthesize([HELLO])
    assert time.monotonic() - begin < 60  # 600 if it were waited for
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert not any(is_alive(pid) for pid in started)


def test_a_crash_is_tried_once_more(tmp_path: Path, stand_in: Path) -> None:
    mark = tmp_path / "mark"
    stand_in.write_text(
        "import os, sys, numpy, pathlib\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n    mark.touch()\n    os._exit(7)\n"
        "numpy.savez(sys.argv[2], **{'0': numpy.ones(3, numpy.float32)})\n"
    )
    assert synthesize([HELLO])[0].tolist() == [1, 1, 1]


def test_a_crash_twice_is_an_error(stand_in: Path) -> None:
    stand_in.write_text("import os\nos._exit(7)\n")
    with pytest.raises(KithError, match="ended with 7"):
        synthesize([HELLO])


def test_the_extra_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[synthesis\]'"):
        synthesize([HELLO])
