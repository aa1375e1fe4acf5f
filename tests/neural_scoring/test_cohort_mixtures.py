"""Mixtures of a cohort's people, measured on tones that stand for talkers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio import load
from openkith.audio.speeds import SPEEDS
from openkith.errors import AudioError, ConfigError, NotEnoughDataError
from openkith.neural_scoring.cohort_mixtures import (
    LEAST_SECONDS,
    SCENARIOS,
    Mixtures,
    make_mixtures,
    mixture,
    stretch,
)

if TYPE_CHECKING:
    from openkith.encoders.networks.ge2e import GE2E

RATE = 16_000


def tone(hz: float, seconds: float = 9.0) -> NDArray[np.float32]:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def levels(x: NDArray[np.float32], hz: float) -> NDArray[np.float64]:
    """RMS of a tone in each 20 ms."""
    frames = x[: len(x) // 320 * 320].reshape(-1, 320)
    wave = np.exp(-2j * np.pi * hz * np.arange(320) / RATE)
    return np.abs(frames @ wave) / 320 * np.sqrt(2)


def hiss(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal(n)


make = partial(mixture, person=tone(500), other=tone(1500), noises=[hiss])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lengths_peaks_and_seeds(scenario: str) -> None:
    one = make(scenario, rng=np.random.default_rng(1))
    assert one.dtype == np.float32
    assert one.shape == (64_000,)
    assert np.abs(one).max() == pytest.approx(1.0, abs=1e-3)
    assert np.array_equal(one, make(scenario, rng=np.random.default_rng(1)))
    assert len(make(scenario, rng=np.random.default_rng(1), seconds=2.5)) == 40_000


def talking(scenario: str, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """In which frames each talks, and the ratio of their energies while they do, in dB."""
    x = make(scenario, rng=np.random.default_rng(seed))
    person, other = levels(x, 500), levels(x, 1500)
    his, hers = person > 0.5 * person.max(), other > 0.5 * other.max()
    return his, hers, 20 * float(np.log10(np.median(person[his]) / np.median(other[hers])))


def test_who_talks_when() -> None:
    firsts, shares, ratios = [], [], []
    for seed in range(40):
        his, hers, ratio = talking("concat", seed)
        assert his.sum() == hers.sum() == 100
        assert not (his & hers).any()
        firsts.append(his[0])
        his, hers, _ = talking("overlap", seed)
        assert (his | hers).all()
        shares.append((his & hers).mean())
        his, hers, ratio = talking("mix", seed)
        assert his.all() and hers.all()  # noqa: PT018
        ratios.append(ratio)
    assert 10 < sum(firsts) < 30
    assert 0.09 <= min(shares) < 0.25
    assert 0.75 < max(shares) <= 0.91
    assert np.abs(ratios).max() <= 3.05
    assert np.ptp(ratios) > 4
    assert np.array(ratios) * 2 == pytest.approx(np.round(np.array(ratios) * 2), abs=0.1)


def test_noise_is_as_loud_as_told() -> None:
    found = []
    for seed in range(20):
        x = make("noisy", rng=np.random.default_rng(seed))
        person = np.median(levels(x, 500))
        found.append(10 * np.log10(person**2 / (np.mean(x.astype(float) ** 2) - person**2)))
    assert np.abs(found).max() <= 3.2
    assert np.ptp(found) > 3


def test_mistakes() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="scenario 'echo' is unknown"):
        make("echo", rng=rng)
    with pytest.raises(ConfigError, match="noise without a source"):
        mixture("noisy", tone(500), tone(900), [], rng)
    with pytest.raises(AudioError, match=r"2\.0 s of speech, where 4\.0"):
        stretch(tone(500, 2.0), 64_000, rng)


def test_labels() -> None:
    mixtures = Mixtures(
        states=np.zeros((2, 1, 1, 1, 1), np.float16),
        times=np.zeros((1, 2)),
        scenarios=np.array(["clean", "mix"]),
        enrolments=np.eye(8, 4, dtype=np.float32),
        voices=np.array([0, 0, 1, 1, 2, 2, 3, 3]),
        persons=np.array([0, 0, 0, 0, 1, 1, 2, 2]),
        own=np.array([1, 2]),
        other=np.array([-1, 5]),
    )
    assert mixtures.labels().tolist() == [[-1, 1, -1, -1, 0, 0, 0, 0], [-1, -1, 1, -1, -1, 1, 0, 0]]
    assert mixtures.centroids()[0].tolist() == [0.5, 0.5, 0, 0]
    assert mixtures.centroids().shape == (4, 4)


def test_mixtures_of_people(ge2e: GE2E, record: Callable[..., Path]) -> None:
    people = [load(record(person, 1, seconds=8.3)).samples for person in range(3)]
    people.append(people[0][:8000])  # too little to be anything but babble
    mixtures = make_mixtures(ge2e, people, 3, np.random.default_rng(0))
    slower = [speed for speed in SPEEDS if 8.3 / speed >= LEAST_SECONDS]
    assert len(mixtures.voices) == len(mixtures.enrolments) == 2 * 3 * len(slower)
    assert mixtures.persons.tolist() == [person for person in range(3) for _ in range(2 * len(slower))]
    assert mixtures.scenarios.tolist() == [scenario for scenario in SCENARIOS for _ in range(3)]
    assert mixtures.states.shape == (15, 2, 9, 10, 256)
    assert (mixtures.other[:6] == -1).all()
    assert (mixtures.persons[mixtures.own[6:]] != mixtures.persons[mixtures.other[6:]]).all()
    clean = mixtures.tokens(0)
    assert np.linalg.norm(clean.windows, axis=-1) == pytest.approx(np.ones((2, 9)), abs=1e-3)
    alike = clean.windows[0].mean(axis=0) @ mixtures.enrolments.T
    assert mixtures.persons[int(np.argmax(alike))] == mixtures.persons[mixtures.own[0]]
    with pytest.raises(NotEnoughDataError, match=r"fewer than two people say 8\.1 s"):
        make_mixtures(ge2e, people[2:], 3, np.random.default_rng(0))
