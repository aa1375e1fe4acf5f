"""What becomes of test utterances, measured on the samples: each talker is a tone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openkith.audio import save
from openkith.audio.noise_folders import load_noise_tree
from openkith.errors import ConfigError
from openkith.neural_scoring.mixtures import MixtureConfig, Noises, Sample, TrialSamples
from openkith.neural_scoring.recordings import Recordings
from openkith.neural_scoring.trials import NO_TALKER

RATE, BLOCK = 16_000, 40
TONES = {"a": 400, "b": 800, "c": 1200, "d": 1600}  # Hz, of whole periods in a block
NOISE_HZ = 2400
ENROLMENT, TEST = 6400, 16_000  # samples


def tone(path: Path, hertz: int, seconds: float = 3.0, level: float = 0.3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(
        path, (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    root = tmp_path_factory.mktemp("tones")
    for speaker, hertz in TONES.items():
        for take in range(3):
            tone(root / speaker / f"{take}.wav", hertz, level=0.1 * (take + 1))
    return Recordings.of(root)


@pytest.fixture(scope="module")
def hum(tmp_path_factory: pytest.TempPathFactory) -> Noises:
    root = tmp_path_factory.mktemp("musan")
    tone(root / "noise" / "hum.wav", NOISE_HZ)
    return Noises(load_noise_tree(root))


def levels(samples: np.ndarray, hertz: int) -> np.ndarray:
    """Amplitude of a tone in each block."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float64)
    wave = np.exp(-2j * np.pi * hertz * np.arange(BLOCK) / RATE)
    return 2 / BLOCK * np.abs(blocks @ wave)


def make(
    recordings: Recordings, count: int = 40, noises: Noises | None = None, **options: Any
) -> list[Sample]:
    config = MixtureConfig(**{"mixed": 0.0, "noisy": 0.0, "augment": 0.0, **options})
    samples = TrialSamples(recordings, ENROLMENT, TEST, config, noises)
    return [samples.sample(k % len(recordings), np.random.default_rng(k)) for k in range(count)]


def talkers(recordings: Recordings, made: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of the speaker and of the second talker in the test utterance."""
    names = recordings.speakers
    return levels(made.test, TONES[names[made.speaker]]), levels(made.test, TONES[names[made.second]])


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(20 * np.log10(np.median(one) / np.median(other)))


def test_the_paper_s_shares(recordings: Recordings) -> None:
    count = 500
    samples = TrialSamples(recordings, ENROLMENT, TEST)
    found = Counter(samples.sample(k % 12, np.random.default_rng(k)).scenario for k in range(count))
    wanted = {"plain": 0.2, "noisy": 0.1, "overlap": 0.7 / 3, "mix": 0.7 / 3, "concat": 0.7 / 3}
    assert found.keys() == wanted.keys()
    for scenario, share in wanted.items():
        assert abs(found[scenario] / count - share) < 4 * np.sqrt(share * (1 - share) / count)


def test_lengths_and_who_is_who(recordings: Recordings) -> None:
    for made in make(recordings, 60, mixed=1.0):
        names = recordings.speakers
        assert (len(made.enrolment), len(made.test), len(made.extra)) == (ENROLMENT, TEST, ENROLMENT)
        assert made.second not in (NO_TALKER, made.speaker)
        assert levels(made.enrolment, TONES[names[made.speaker]]).min() > 0.05
        assert levels(made.extra, TONES[names[made.second]]).min() > 0.05
        assert np.abs(made.test).max() == pytest.approx(1.0, abs=1e-3)


def test_plain(recordings: Recordings) -> None:
    for made in make(recordings):
        assert (made.scenario, made.second) == ("plain", NO_TALKER)
        own = levels(made.test, TONES[recordings.speakers[made.speaker]])
        assert np.ptp(own) < 0.01
        assert own.min() > 0.05


def test_mix(recordings: Recordings) -> None:
    made = [each for each in make(recordings, 60, mixed=1.0, snr=(2.0, 2.0)) if each.scenario == "mix"]
    assert len(made) > 8
    for each in made:
        own, second = talkers(recordings, each)
        assert min(own.min(), second.min()) > 0.1
        assert decibels(own, second) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_overlap(recordings: Recordings, ratio: float) -> None:
    config = {"mixed": 1.0, "snr": (-1.5, -1.5), "overlap": (ratio, ratio)}
    made = [each for each in make(recordings, 60, **config) if each.scenario == "overlap"]
    firsts = set()
    for each in made:
        own, second = talkers(recordings, each)
        talks, other = own > own.max() / 2, second > second.max() / 2
        assert np.mean(talks & other) == pytest.approx(ratio, abs=0.01)
        assert np.mean(talks | other) > 0.99
        assert decibels(own[talks], second[other]) == pytest.approx(-1.5, abs=0.1)
        firsts.add(bool(talks[0]))
    assert firsts == {True, False}


def test_concat(recordings: Recordings) -> None:
    config = {"mixed": 1.0, "snr": (3.0, 3.0), "first_part": (0.3, 0.4)}
    firsts = set()
    for each in make(recordings, 60, **config):
        if each.scenario != "concat":
            continue
        own, second = talkers(recordings, each)
        talks, other = own > own.max() / 2, second > second.max() / 2
        assert np.mean(talks & other) < 0.01
        assert np.mean(talks | other) > 0.99
        assert 0.295 < np.mean(talks if talks[0] else other) < 0.405
        assert decibels(own[talks], second[other]) == pytest.approx(3.0, abs=0.1)
        firsts.add(bool(talks[0]))
    assert firsts == {True, False}


def test_noisy(recordings: Recordings, hum: Noises) -> None:
    found = set()
    for each in make(recordings, 60, hum, noisy=1.0, augment=1.0):
        assert (each.scenario, each.second) == ("noisy", NO_TALKER)
        own = levels(each.test, TONES[recordings.speakers[each.speaker]])
        ratio = decibels(own, levels(each.test, NOISE_HZ))  # and no augmentation on top
        assert ratio == pytest.approx(round(2 * ratio) / 2, abs=0.1)
        found.add(round(2 * ratio) / 2)
    assert {-3.0, 3.0} <= found <= {step / 2 for step in range(-6, 7)}


def test_augmentation(recordings: Recordings, hum: Noises) -> None:
    made = make(recordings, 200, hum, augment=0.6)
    ratios = []
    for each in made:
        noise = levels(each.test, NOISE_HZ)
        if np.median(noise) > 1e-3:
            ratios.append(decibels(levels(each.test, TONES[recordings.speakers[each.speaker]]), noise))
    assert abs(len(ratios) / 200 - 0.6) < 4 * np.sqrt(0.6 * 0.4 / 200)
    assert -0.1 < min(ratios) < 2
    assert 13 < max(ratios) < 15.1


def test_augmentation_of_mixtures(recordings: Recordings, hum: Noises) -> None:
    made = make(recordings, 30, hum, mixed=1.0, augment=1.0)
    assert all(np.median(levels(each.test, NOISE_HZ)) > 1e-3 for each in made)


def test_rooms_of_a_folder(recordings: Recordings, tmp_path: Path) -> None:
    response = np.zeros(4000, np.float32)
    response[[0, 3000]] = 0.8, 0.4  # an echo
    (tmp_path / "simulated_rirs").mkdir()
    save(tmp_path / "simulated_rirs" / "r.wav", response)
    noises = Noises(load_noise_tree(tmp_path))
    for each in make(recordings, 5, noises, augment=1.0):
        own = levels(each.test, TONES[recordings.speakers[each.speaker]])
        assert own[: 2900 // BLOCK].mean() != pytest.approx(own[3100 // BLOCK :].mean(), rel=0.05)
    with pytest.raises(ConfigError, match="no noise, music or speech"):
        make(recordings, 1, noises, noisy=0.5)


def test_generated_noise_and_rooms(recordings: Recordings) -> None:
    noises = Noises()
    rng = np.random.default_rng(0)
    x = make(recordings, 1)[0].test
    changed = [noises.augment(x, rng) for _ in range(20)]
    assert all(each.shape == x.shape and np.isfinite(each).all() for each in changed)
    assert all(np.abs(each - x).max() > 1e-3 for each in changed)
    assert np.std(noises.noise(8000, rng)) == pytest.approx(1.0, rel=0.1)


def test_a_sample_depends_on_its_generator_alone(recordings: Recordings) -> None:
    samples = TrialSamples(recordings, ENROLMENT, TEST)
    alone = [samples.draw(row, np.random.default_rng([5, row])) for row in (3, 1, 2)]
    after = {row: samples.draw(row, np.random.default_rng([5, row])) for row in (1, 2, 3)}
    for row, one in zip((3, 1, 2), alone, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, after[row][name])
    one, other = (samples.draw(3, np.random.default_rng([5, k])) for k in (3, 4))
    assert not np.array_equal(one["enrolments"], other["enrolments"])


def test_what_a_batch_needs(recordings: Recordings) -> None:
    sample = TrialSamples(recordings, ENROLMENT, TEST)[4]
    assert sample["enrolments"].shape == sample["extras"].shape == (41, 80)
    assert sample["tests"].shape == (101, 80)
    assert sample["speakers"] == 1
    clean = MixtureConfig(mixed=0.0)
    assert "extras" not in TrialSamples(recordings, ENROLMENT, TEST, clean)[4]


def test_the_second_talker_sounds_like_the_first(recordings: Recordings) -> None:
    neighbours = {"a": ["c", "nobody"], "b": ["d"], "c": ["a"], "d": ["d"]}
    samples = TrialSamples(
        recordings, ENROLMENT, TEST, MixtureConfig(mixed=1.0, noisy=0.0), neighbours=neighbours
    )
    seconds: dict[int, set[int]] = {}
    for k in range(60):
        made = samples.sample(k % 12, np.random.default_rng(k))
        seconds.setdefault(made.speaker, set()).add(made.second)
    assert seconds == {0: {2}, 1: {3}, 2: {0}, 3: {0, 1, 2}}  # of the last, nobody else is known to be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixed": 1.2}, "mixed is 1.2"),
        ({"mixed": 0.7, "noisy": 0.4}, "mixed and noisy are 0.7 and 0.4"),
        ({"augment": -0.1}, "augment is -0.1"),
        ({"snr": (3.0, -3.0)}, "snr is"),
        ({"snr": (0.1, 0.2)}, "no step of 0.5"),
        ({"overlap": (0.0, 0.5)}, "overlap is"),
        ({"first_part": (0.5, 1.0)}, "first_part is"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixtureConfig(**options)
