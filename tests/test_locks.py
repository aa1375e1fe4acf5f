"""One process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openkith.locks import locked, try_lock

HOLD = """
import sys, time
from pathlib import Path
from openkith.locks import locked
with locked(Path(sys.argv[1])):
    began = time.time()
    time.sleep(0.2)
    print(began, time.time())
"""


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a.lock")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    spans = sorted(
        [float(time) for time in process.communicate(timeout=60)[0].split()] for process in processes
    )
    assert spans[0][1] <= spans[1][0]


def test_a_process_that_died_holds_no_lock(tmp_path: Path) -> None:
    code = HOLD.replace("time.sleep(0.2)", "import os; os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.lock")], check=False)
    assert done.returncode == -9
    with locked(tmp_path / "a.lock"):
        pass


def test_a_file_that_another_has(tmp_path: Path) -> None:
    with (tmp_path / "a").open("ab") as first, (tmp_path / "a").open("ab") as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)
