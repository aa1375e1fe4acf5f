"""A small corpus with a folder per speaker, its trial list, and a run over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openkith.data.simulation import SimulationOptions, simulate

SPEAKERS, TAKES = 6, 3


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, record: Callable[..., Path]) -> Path:
    """id10000/v/0.wav ...: six people with three recordings of 0.6 to 2 s each."""
    root = tmp_path_factory.mktemp("corpus")
    for person in range(SPEAKERS):
        for take in range(TAKES):
            seconds = float(np.random.default_rng([person, take]).uniform(0.6, 2.0))
            record(person, take, root / f"id1000{person}" / "v" / f"{take}.wav", seconds)
    return root


@pytest.fixture(scope="session")
def trials(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every recording tested by its speaker and by the next one."""
    lines = []
    for person in range(SPEAKERS):
        for take in range(TAKES):
            test = f"id1000{person}/v/{take}.wav"
            lines.append(f"1 id1000{person}/v/{(take + 1) % TAKES}.wav {test}")
            lines.append(f"0 id1000{(person + 1) % SPEAKERS}/v/{take}.wav {test}")
    assert len(list(corpus.iterdir())) == SPEAKERS
    path = tmp_path_factory.mktemp("list") / "trials.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def run(corpus: Path, trials: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all scenarios, by one process."""
    out = tmp_path_factory.mktemp("run") / "out"
    simulate(trials, corpus, out, SimulationOptions(seed=1))
    return out
