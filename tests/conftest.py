"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

SPEECH = Path(os.environ.get("KITH_TEST_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech with its manifests; skipped where it is absent."""
    if not (SPEECH / "home-clean.tsv").is_file():
        pytest.skip(f"no real speech at {SPEECH}; set KITH_TEST_SPEECH to a folder that has it")
    return SPEECH
