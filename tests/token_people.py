"""Made-up people of a small space, their mixtures, and a model of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openkith.neural_scoring.cohort_mixtures import SCENARIOS, Mixtures
from openkith.neural_scoring.several_voices import LENGTHS, SPREADS, SeveralVoices
from openkith.neural_scoring.talker_model import CohortTrials, TalkerModel, Tokens

DIM, LOOKS, WINDOWS, PREFIXES = 12, 2, 4, 3


def unit(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def some_tokens(rng: np.random.Generator, windows: int = WINDOWS) -> Tokens:
    states = unit(rng.standard_normal((LOOKS, windows, PREFIXES, DIM)))
    begin = 0.3 * np.arange(windows)
    return Tokens(states[:, :, -1], states, np.stack([begin, begin + 1.6], axis=1))


def some_model(rng: np.random.Generator, voices: int = 40) -> TalkerModel:
    def half(*shape: int) -> NDArray[np.float32]:
        return (0.3 * rng.standard_normal(shape)).astype(np.float16).astype(np.float32)

    return TalkerModel(
        centre=half(DIM),
        token_centres=half(LOOKS, DIM),
        maps=half(LOOKS, DIM, DIM),
        token_maps=half(LOOKS, DIM, DIM),
        centroids=unit(rng.standard_normal((voices, DIM))).astype(np.float16).astype(np.float32),
        weights=np.array([0.25, 0.75, 1.0], np.float32),
        temperatures=np.array([10.0, 14.0], np.float32),
        line=(8.0, -0.5),
        window_line=(7.0, -0.25),
        several=SeveralVoices(half(LOOKS, DIM), half(len(LENGTHS), LOOKS, SPREADS), half(len(LENGTHS))),
        trials=CohortTrials(2.0 * np.abs(half(50)), half(30, 20)),
        fingerprint="small/1",
        source="nobody",
    )


def some_mixtures(rng: np.random.Generator, people: int = 12, per_scenario: int = 40) -> Mixtures:
    """Voices told apart by six of twelve numbers, and tokens disturbed in two others most of all.

    Noise is twice as strong in the scenario noisy; of two talkers, each has half of the windows in all scenarios.
    """
    spread = np.r_[np.ones(6), np.zeros(DIM - 6)]
    loud = np.r_[np.full(6, 0.5), np.zeros(4), 8.0, 8.0]
    voice = rng.standard_normal((people, DIM)) * spread + 0.3
    enrolments = unit(voice.repeat(2, axis=0) + 0.2 * rng.standard_normal((2 * people, DIM)))
    states, scenarios, own, other = [], [], [], []
    for scenario in SCENARIOS:
        for i in range(per_scenario):
            two = scenario in ("concat", "overlap", "mix")
            target = 2 * (i % people) + int(rng.integers(2))
            second = 2 * ((i + 1 + int(rng.integers(people - 1))) % people)
            mean = np.stack([voice[target // 2], voice[(second if two else target) // 2]])
            heard = mean[[0, 1] * (WINDOWS // 2)][None, :, None]
            strength = 2.0 if scenario == "noisy" else 1.0
            noise = rng.standard_normal((LOOKS, WINDOWS, PREFIXES, DIM)) * loud * strength
            states.append(unit(heard + noise).astype(np.float16))
            scenarios.append(scenario)
            own.append(target)
            other.append(second if two else -1)
    begin = 0.3 * np.arange(WINDOWS)
    return Mixtures(
        states=np.stack(states),
        times=np.stack([begin, begin + 1.6], axis=1),
        scenarios=np.array(scenarios),
        enrolments=enrolments,
        voices=np.arange(people).repeat(2),
        persons=np.arange(people).repeat(2),
        own=np.array(own),
        other=np.array(other),
    )
