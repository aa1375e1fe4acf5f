"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openkith.errors import WeightsError

if TYPE_CHECKING:
    from openkith.encoders.ge2e import GE2E

os.environ.setdefault("OMP_NUM_THREADS", "1")

SPEECH = Path(os.environ.get("KITH_TEST_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech with its manifests; skipped where it is absent."""
    if not (SPEECH / "home-clean.tsv").is_file():
        pytest.skip(f"no real speech at {SPEECH}; set KITH_TEST_SPEECH to a folder that has it")
    return SPEECH


@pytest.fixture(scope="session")
def ge2e() -> GE2E:
    """The default encoder, published weights; skipped where neither the cache nor an index has them."""
    from openkith.encoders import load_encoder
    from openkith.encoders.ge2e import GE2E

    try:
        encoder = load_encoder("ge2e", threads=1)
    except WeightsError as error:
        if str(error).startswith("no weights"):
            pytest.skip(str(error))
        raise
    assert isinstance(encoder, GE2E)
    return encoder
