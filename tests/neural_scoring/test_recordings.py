"""Recordings by speaker, and stretches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openkith.audio import save
from openkith.data.corpus import Utterance
from openkith.errors import AudioError, ConfigError, NotEnoughDataError
from openkith.neural_scoring.recordings import Recordings, stack, to_samples

RATE = 16_000


def ramp(path: Path, seconds: float = 2.0) -> Path:
    """Every place of it has another value, so that a stretch tells where it is from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n = round(seconds * RATE)
    save(path, np.linspace(-0.9, 0.9, n).astype(np.float32) + 0.05 * (-1.0) ** np.arange(n, dtype=np.float32))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for speaker in ("a", "b", "c", "d"):
        for take in range(3):
            ramp(tmp_path / speaker / f"{take}.wav")
    return tmp_path


def test_speakers_and_their_utterances(root: Path) -> None:
    recordings = Recordings.of(root)
    assert recordings.speakers == ("a", "b", "c", "d")
    assert len(recordings) == 12
    for speaker, own in enumerate(recordings.own):
        assert [recordings.utterances[i].speaker for i in own] == [recordings.speakers[speaker]] * 3
        assert (recordings.owners[own] == speaker).all()


def test_others_are_different_and_of_the_speaker(root: Path) -> None:
    recordings, rng = Recordings.of(root), np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        one, two = recordings.others(4, 2, rng)
        assert one != two
        assert 4 not in (one, two)
        assert recordings.owners[one] == recordings.owners[two] == recordings.owners[4]
        seen.add((one, two))
    assert seen == {(3, 5), (5, 3)}
    assert sorted(recordings.of_speaker(1, 3, rng)) == [3, 4, 5]
    assert set(recordings.of_speaker(1, 7, rng)) == {3, 4, 5}


def test_a_speaker_of_one_utterance(tmp_path: Path) -> None:
    recordings = Recordings(
        [Utterance("a", ramp(tmp_path / "a.wav")), Utterance("b", ramp(tmp_path / "b.wav"))]
    )
    assert recordings.others(1, 2, np.random.default_rng(0)) == [1, 1]


def test_held_out_speakers_are_drawn_by_the_seed(root: Path) -> None:
    recordings = Recordings.of(root)
    splits = {}
    for seed in range(12):
        seen, held_out = recordings.split(2, seed)
        assert held_out is not None
        assert {*seen.speakers} | {*held_out.speakers} == {"a", "b", "c", "d"}
        assert not {*seen.speakers} & {*held_out.speakers}
        assert len(seen) == len(held_out) == 6
        again = recordings.split(2, seed)[1]
        assert again is not None
        assert again.speakers == held_out.speakers
        splits[held_out.speakers] = seed
    assert len(splits) > 2
    assert recordings.split(0, 0) == (recordings, None)
    for count in (1, 3):
        with pytest.raises(NotEnoughDataError, match=f"held_out is {count} of 4"):
            recordings.split(count, 0)


def test_crops_begin_anywhere(tmp_path: Path) -> None:
    """The tone rises from 200 to 2000 Hz in 2 s, so that a stretch tells where it is from."""
    t = np.arange(2 * RATE) / RATE
    save(tmp_path / "a.wav", (0.5 * np.sin(2 * np.pi * (200 * t + 450 * t**2))).astype(np.float32))
    recordings = Recordings([Utterance("a", tmp_path / "a.wav"), Utterance("b", ramp(tmp_path / "b.wav"))])
    n, places = RATE // 2, []
    for seed in range(60):
        samples, replaced = recordings.crop(0, n, np.random.default_rng(seed))
        assert samples.shape == (n,)
        assert samples.dtype == np.float32
        assert not replaced
        mean_hertz = np.count_nonzero(np.diff(np.signbit(samples))) / 2 / 0.5
        places.append((mean_hertz - 200) / 900 - 0.25)  # seconds of its beginning
    assert -0.02 < min(places) < 0.1
    assert 1.4 < max(places) < 1.52
    assert np.mean(places) == pytest.approx(0.75, abs=4 * 1.5 / np.sqrt(12 * 60))
    same = [recordings.crop(0, n, np.random.default_rng(4)).samples for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_a_crop_is_from_the_part_that_a_segment_has(tmp_path: Path) -> None:
    x = np.zeros(4 * RATE, np.float32)
    x[RATE : 2 * RATE] = 0.5 * np.sin(np.arange(RATE) * 0.3)
    save(tmp_path / "a.wav", x)
    ramp(tmp_path / "b.wav")
    parts = [Utterance("a", tmp_path / "a.wav", 1.0, 2.0), Utterance("b", tmp_path / "b.wav")]
    recordings = Recordings(parts)
    for seed in range(10):
        crop = recordings.crop(0, RATE // 2, np.random.default_rng(seed))
        assert np.sqrt(np.mean(crop.samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_a_short_part(root: Path) -> None:
    """Shorter than what can be read alone, such as the beginning of a mixture."""
    samples = Recordings.of(root).crop(0, 700, np.random.default_rng(0)).samples
    assert samples.shape == (700,)
    assert np.polyfit(np.arange(700), samples, 1)[0] == pytest.approx(1.8 / (2 * RATE), rel=0.1)


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    short = Utterance("a", ramp(tmp_path / "a.wav", 0.5))
    recordings = Recordings([short, Utterance("b", ramp(tmp_path / "b.wav"))])
    samples = recordings.crop(0, RATE, np.random.default_rng(0)).samples
    np.testing.assert_array_equal(samples[: RATE // 2], samples[RATE // 2 :])


def test_another_stands_in_for_what_cannot_be_read(root: Path) -> None:
    (root / "a" / "0.wav").write_bytes(b"no audio")
    save(root / "a" / "1.wav", np.zeros(2 * RATE, np.float32))  # nor what is silent
    recordings = Recordings.of(root)
    for row in (0, 1):
        samples, replaced = recordings.crop(row, RATE, np.random.default_rng(row))
        assert replaced
        assert np.ptp(samples) > 0.5
    (root / "a" / "2.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"a/\d\.wav"):
        recordings.crop(0, RATE, np.random.default_rng(0))


def test_one_speaker_is_too_few(tmp_path: Path) -> None:
    ramp(tmp_path / "a" / "0.wav")
    with pytest.raises(NotEnoughDataError, match="1 speakers"):
        Recordings.of(tmp_path)


def test_lengths() -> None:
    assert to_samples("seconds", 1.5) == 24_000
    for seconds in (0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="seconds is"):
            to_samples("seconds", seconds)


def test_stack() -> None:
    batch = stack([{"x": np.full((2, 3), k, np.float32), "who": k} for k in range(4)])
    assert batch["x"].shape == (4, 2, 3)
    assert batch["who"].tolist() == [0, 1, 2, 3]
