"""Resampling, mixing, and what is held in memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from openkith.audio import load
from openkith.audio.mixdown import mix_down
from openkith.audio.stream import Stream
from openkith.errors import AudioError


def tone(hz: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize(
    "rate", [8000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]
)
@pytest.mark.parametrize("hz", [100, 1000, 3000])
def test_a_tone_keeps_frequency_phase_and_amplitude(rate, hz):
    audio = load(tone(hz, rate), rate)
    assert audio.native_rate == rate
    assert len(audio.samples) == 16_000
    inside = slice(800, -800)
    np.testing.assert_allclose(audio.samples[inside], tone(hz, 16_000)[inside], atol=2e-3)


@pytest.mark.parametrize("rate", [32_000, 44_100, 192_000])
def test_what_16_khz_cannot_hold_is_filtered_out(rate):
    mixed = load(tone(1000, rate) + tone(9500, rate), rate).samples
    np.testing.assert_allclose(mixed[800:-800], tone(1000, 16_000)[800:-800], atol=2e-3)


def test_blocks_resample_like_the_whole(voice):
    samples = (voice(2.0, 44_100) / 32768).astype(np.float32)
    samples -= np.float32(samples.mean(dtype=np.float64))
    expected = soxr.resample(samples, 44_100, 16_000)
    np.testing.assert_allclose(load(samples, 44_100).samples, expected - expected.mean(), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(500, 9999), max_size=6, unique=True), st.sampled_from([16_000, 8000, 44_100]))
def test_the_blocks_do_not_matter(cuts, rate):
    samples = (np.random.default_rng(0).standard_normal((10_000, 2)) * 0.1 + 0.2).astype(np.float32)
    edges = [0, *sorted(cuts), 10_000]

    def read(first, last):
        assert (first, last) == (0, 10_000)
        for one, two in itertools.pairwise(edges):
            yield samples[one:two]

    got, _ = mix_down(Stream(rate, 10_000, 0, read), "x", start=None, end=None, max_seconds=9)
    expected = load(samples, rate).samples
    assert got.shape == expected.shape
    # What is taken off before resampling is the mean of the first block: a trace of it may be at the ends.
    np.testing.assert_allclose(got[200:-200], expected[200:-200], atol=1e-4)


def test_dc_leaves_no_ringing_at_the_ends():
    plain = load(tone(440, 48_000, amplitude=0.1), 48_000).samples
    offset = load(tone(440, 48_000, amplitude=0.1) + 0.7, 48_000).samples
    np.testing.assert_allclose(offset, plain, atol=1e-4)


def test_channels_are_averaged():
    left, right = tone(300, 16_000), tone(700, 16_000)
    got = load(np.stack([left, right], axis=1), 16_000).samples
    np.testing.assert_allclose(got, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_clipping_is_measured_before_resampling(rate):
    wave = np.clip(tone(200, rate, amplitude=1.25), -1, 1)
    clipped = load(np.stack([wave, wave * 0.5], axis=1), rate).clipped
    # |sin| > 0.8 for 41 % of the time, and turned down the flat tops are as flat.
    assert clipped == pytest.approx(0.41, abs=0.02)
    assert load(np.stack([wave, tone(200, rate)], axis=1), rate).clipped == pytest.approx(0.21, abs=0.02)


def test_an_endless_stream_is_not_read_to_its_end():
    read_frames = 0

    def endless(first, last):
        nonlocal read_frames
        assert first == 0
        for k in itertools.count():
            if last is not None and k * 1000 >= last:
                return
            read_frames += 1000
            yield np.full((1000, 1), 0.1 * (-1) ** k, dtype=np.float32)

    with pytest.raises(AudioError, match=r"^bomb: .* over the limit of 2 s; cut it, or raise max_seconds$"):
        mix_down(Stream(16_000, None, 0, endless), "bomb", start=None, end=None, max_seconds=2)
    assert read_frames <= 34_000


def test_a_declared_length_is_refused_before_decoding():
    def never(*_):
        raise AssertionError("decoded")
        yield

    with pytest.raises(AudioError, match=r"^bomb: 5000.0 s of audio or more, over the limit of 3600 s"):
        mix_down(Stream(16_000, 80_000_000, 0, never), "bomb", start=None, end=None, max_seconds=3600)


def test_fewer_frames_than_declared():
    def short(*_):
        yield np.random.default_rng(0).standard_normal((8000, 1)).astype(np.float32)

    with pytest.raises(
        AudioError, match=r"^x: truncated, 1.000 s were promised and 0.500 s can be read; copy"
    ):
        mix_down(Stream(16_000, 16_000, 7999, short), "x", start=None, end=None, max_seconds=9)
    assert (
        len(mix_down(Stream(16_000, 16_000, 8000, short), "x", start=None, end=None, max_seconds=9)[0])
        == 8000
    )


def test_an_end_outside_a_stream_of_unknown_length():
    def short(*_):
        yield np.random.default_rng(0).standard_normal((8000, 1)).astype(np.float32)

    stream = Stream(16_000, None, 0, short)
    assert len(mix_down(stream, "x", start=None, end=0.5, max_seconds=9)[0]) == 8000
    with pytest.raises(AudioError, match=r"^x: the part is outside the file, which is 0.500 s long"):
        mix_down(stream, "x", start=None, end=0.6, max_seconds=9)
