"""tools/audit_dependencies.sh, with a pip-audit that says what the test wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "audit_dependencies.sh"
FINE = {"name": "numpy", "version": "2.1.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["9.9"], "aliases": ["CVE-2026-1"], "description": "bad"}
BAD = {"name": "rich", "version": "13.0", "vulns": [FLAW]}

Audit = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a script for bash")


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """audit(packages=..., error=...): the script, where pip-audit reports these packages, or says this and fails."""

    def run(packages: list[object] | None = None, error: str = "") -> subprocess.CompletedProcess[str]:
        report, log = tmp_path / "report.json", tmp_path / "log"
        if packages is not None:
            report.write_text(json.dumps({"dependencies": packages, "fixes": []}), encoding="utf-8")
        log.write_text(error, encoding="utf-8")
        python = tmp_path / "bin" / "python"
        python.parent.mkdir()
        python.write_text(
            "#!/usr/bin/env bash\n"
            f'[ "$1" = -m ] || exec {sys.executable} "$@"\n'
            '[ "$2" = pip_audit ] || exit 3\n'
            'while [ "$1" != --output ]; do shift; done\n'
            f'cat {log} >&2; [ -f {report} ] || exit 1; cp {report} "$2"; grep -q PYSEC "$2" && exit 1; exit 0\n'
        )
        python.chmod(0o700)
        environment = {**os.environ, "VENV": str(tmp_path)}
        return subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)

    return run


def test_nothing_is_known(audit: Audit) -> None:
    done = audit([FINE, SKIPPED])
    assert (done.returncode, done.stdout) == (
        0,
        "1 of 2 packages audited, 0 with known vulnerabilities\n",
    )


def test_a_vulnerability(audit: Audit) -> None:
    done = audit([FINE, BAD])
    assert done.returncode == 1
    assert "rich 13.0: PYSEC-2026-1 (CVE-2026-1), fixed in 9.9" in done.stdout
    assert "2 of 2 packages audited, 1 with" in done.stdout


def test_offline(audit: Audit) -> None:
    error = "ERROR: pip_audit._service.interface.ConnectionError: Could not connect to PyPI's vulnerability feed\n"
    done = audit(error=error)
    assert done.returncode == 0
    assert done.stdout.startswith("offline: ")


def test_an_index_without_advisories(audit: Audit) -> None:
    done = audit([SKIPPED])
    assert done.returncode == 0
    assert "none of 1 packages was audited" in done.stdout


def test_a_broken_audit_is_no_clean_one(audit: Audit) -> None:
    done = audit(error="No module named pip_audit\n")
    assert done.returncode == 1
    assert "No module named pip_audit" in done.stderr
