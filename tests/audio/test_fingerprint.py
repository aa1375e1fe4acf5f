from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from openkith.audio import SAMPLE_RATE, Audio, load
from openkith.audio.fingerprint import (
    HOP_SECONDS,
    LEAST_WORDS,
    FingerprintIndex,
    Match,
    fingerprint,
)


def audio(samples: np.ndarray) -> Audio:
    return Audio(np.ascontiguousarray(samples, np.float32), "x")


def sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Noise whose colour changes every 60 ms, as speech does."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE)
    parts = []
    while sum(map(len, parts)) < n:
        spectrum = np.fft.rfft(rng.standard_normal(960))
        parts.append(np.fft.irfft(spectrum * 10 ** np.repeat(rng.normal(0, 0.5, 37), 13), 960))
    return np.float32(0.02) * np.concatenate(parts)[:n].astype(np.float32)


def words(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 2**32, n, dtype=np.uint32)


# the words


@pytest.mark.parametrize(("seconds", "expected"), [(0.2, 0), (0.37, 0), (0.39, 1), (1.0, 54), (10.0, 830)])
def test_a_word_every_hop_but_for_the_first_window(seconds: float, expected: int) -> None:
    found = fingerprint(audio(sound(0, seconds)))
    assert (found.shape, found.dtype) == ((expected,), np.uint32)
    assert expected == max(0, int((seconds - 0.3712) / HOP_SECONDS))


def test_the_bits_are_those_of_the_paper() -> None:
    """Energies of 33 bands, summed bin by bin of a plain Fourier transform, in double precision."""
    rng = np.random.default_rng(0)
    tones = sum(
        np.sin(2 * np.pi * f * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE + rng.uniform(0, 6))
        * rng.uniform(0, 1)
        for f in rng.uniform(300, 2000, 80)
    )
    found = fingerprint(audio(0.01 * tones))
    x = soxr.resample((0.01 * tones).astype(np.float32), SAMPLE_RATE, 5000).astype(np.float64)
    edges = [round(300 * (2000 / 300) ** (m / 33) * 2048 / 5000) for m in range(34)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1856) / 1855)

    def energies(frame: int) -> list[float]:
        power = np.abs(np.fft.rfft(x[58 * frame : 58 * frame + 1856] * window, 2048)) ** 2
        return [power[a:b].sum() for a, b in pairwise(edges)]

    wrong = 0
    for frame in (1, 2, 50, 100, 139):
        now, before = energies(frame), energies(frame - 1)
        for m in range(32):
            expected = now[m] - now[m + 1] - (before[m] - before[m + 1]) > 0
            wrong += expected != bool(int(found[frame - 1]) >> m & 1)
    assert wrong <= 2  # of 160: ties, in single precision


def test_level_changes_nothing_and_silence_is_zero() -> None:
    x = sound(1)
    plain = fingerprint(audio(x))
    assert np.array_equal(fingerprint(audio(x / 8)), plain)
    assert np.count_nonzero(plain == 0) == 0
    with_pause = np.concatenate([x[:32000], np.zeros(32000, np.float32)])
    found = fingerprint(audio(with_pause))
    assert np.all(found[200:] == 0)
    assert np.array_equal(found[:130], plain[:130])
    assert not fingerprint(audio(np.zeros(16000))).any()


def test_long_audio_is_taken_in_blocks() -> None:
    x = sound(2, 30.0)
    whole, part = fingerprint(audio(x)), fingerprint(audio(x[: 16000 * 5]))
    assert np.mean(whole[: len(part) - 2] == part[:-2]) > 0.98  # the resampler's own end differs


# finding


def test_nothing_is_found_in_nothing() -> None:
    assert FingerprintIndex([]).find(words(100)) is None
    index = FingerprintIndex([np.zeros(0, np.uint32), words(100), np.zeros(80, np.uint32)])
    assert index.find(np.zeros(0, np.uint32)) is None
    assert index.find(np.zeros(80, np.uint32)) is None  # silence is like nothing
    assert index.find(words(100, seed=1)) is None


@pytest.mark.parametrize("start", [0, 37, 150])
def test_a_part_is_found_and_so_is_a_whole_inside_something_longer(start: int) -> None:
    whole = words(200)
    index = FingerprintIndex([words(300, seed=1), whole])
    part = whole[start : start + 50]
    expected = Match(1, 0.0, pytest.approx(50 * HOP_SECONDS))  # type: ignore[arg-type]
    assert index.find(part) == expected
    longer = np.concatenate([words(start, seed=2), whole, words(70, seed=3)])
    found = index.find(longer)
    assert found is not None
    assert (found.number, found.errors, found.seconds) == (1, 0.0, pytest.approx(200 * HOP_SECONDS))


@pytest.mark.parametrize(("flipped", "errors"), [(0, 0.0), (8, 0.125), (12, 0.1875), (16, None)])
def test_errors_are_counted_bit_by_bit(flipped: int, errors: float | None) -> None:
    whole = words(50)
    probe = whole.copy()
    for i in range(0, 50, 2):  # every other word
        probe[i] ^= np.uint32((1 << flipped) - 1 << i % 8)
    found = FingerprintIndex([whole]).find(probe)
    assert (None if found is None else found.errors) == errors


def test_every_word_may_differ_in_one_bit() -> None:
    whole = words(60)
    found = FingerprintIndex([words(60, 1), whole]).find(
        whole ^ (np.uint32(1) << np.arange(60, dtype=np.uint32) % 32)
    )
    assert found is not None
    assert (found.number, found.errors) == (1, pytest.approx(1 / 32))


def test_too_little_in_common_is_no_match() -> None:
    whole = words(100)
    index = FingerprintIndex([whole])
    assert index.find(whole[:LEAST_WORDS]) is not None
    assert index.find(whole[: LEAST_WORDS - 1]) is None
    silent = whole.copy()
    silent[LEAST_WORDS - 1 :] = 0  # what is silence in one of them does not count
    assert index.find(silent) is None


def test_the_best_of_several_is_told() -> None:
    whole = words(100)
    worse = whole.copy()
    worse[::2] ^= np.uint32(0xF)
    found = FingerprintIndex([worse, whole]).find(whole)
    assert found is not None
    assert (found.number, found.errors) == (1, 0.0)


# sound


def coded(x: np.ndarray, form: str, subtype: str) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, x, SAMPLE_RATE, format=form, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "louder and clipped": lambda x: 3 * np.clip(x, -2 * x.std(), 2 * x.std()),
    "MP3": lambda x: coded(x, "MP3", "MPEG_LAYER_III"),
    "Opus": lambda x: coded(x, "OGG", "OPUS"),
    "8 bits": lambda x: coded(x, "WAV", "PCM_U8"),
    "cut by an odd number of samples": lambda x: x[12_345:-7_777],
    "later": lambda x: np.concatenate([sound(99, 1.234), x]),
    "noisy": lambda x: (
        x + 0.1 * x.std() * np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    ),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_and_other_sounds_are_not(how: str) -> None:
    index = FingerprintIndex([fingerprint(audio(sound(seed))) for seed in range(5)])
    found = index.find(fingerprint(audio(COPIES[how](sound(3)))))
    assert found is not None
    assert (found.number, found.errors < 0.18) == (3, True)
    assert index.find(fingerprint(audio(COPIES[how](sound(7))))) is None


def test_other_clips_of_the_same_people_are_not_found(speech: Path) -> None:
    folders = sorted((speech / "home").iterdir())[:5]
    clips = [[load(path) for path in sorted(folder.glob("*.flac"))[:4]] for folder in folders]
    index = FingerprintIndex([fingerprint(own[0]) for own in clips])
    for number, own in enumerate(clips):
        assert [index.find(fingerprint(other)) for other in own[1:]] == [None, None, None]
        again = index.find(fingerprint(audio(0.3 * own[0].samples[8_000:40_001])))
        assert again is not None
        assert again.number == number
