"""Arrays: their numbers, shapes and rates."""

from __future__ import annotations

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.stream import array_stream, to_float
from openkith.errors import AudioError

WAVE = np.sin(2 * np.pi * 440 * np.arange(4000) / 16_000) * 0.5


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([-32768, 0, 16384], np.int16, [-1, 0, 0.5]),
        ([-32768, 0, 16384], ">i2", [-1, 0, 0.5]),
        ([-(2**31), 0, 2**30], np.int32, [-1, 0, 0.5]),
        ([-128, 0, 64], np.int8, [-1, 0, 0.5]),
        ([0, 128, 192], np.uint8, [-1, 0, 0.5]),
        ([0, 32768, 49152], np.uint16, [-1, 0, 0.5]),
        ([-32768, 0, 16384], np.int64, [-1, 0, 0.5]),  # 16-bit numbers in wider integers
        ([0, 0, 16384], np.uint32, [0, 0, 0.5]),
        ([0, 0, 16384], np.uint64, [0, 0, 0.5]),
        ([-1, 0, 0.5], np.float16, [-1, 0, 0.5]),
        ([-1, 0, 0.5], np.float32, [-1, 0, 0.5]),
        ([-1, 0, 0.5], np.float64, [-1, 0, 0.5]),
        ([-1, 0, 0.5], np.longdouble, [-1, 0, 0.5]),
    ],
)
def test_full_scale_of_every_type(values, dtype, expected):
    np.testing.assert_array_equal(to_float(np.array(values, dtype=dtype), "x"), expected)


@pytest.mark.parametrize("dtype", [np.complex64, bool, object, "U5"])
def test_what_is_not_samples(dtype):
    with pytest.raises(
        AudioError, match=r"^<array>: numbers of type .* are not samples; convert them to float32"
    ):
        load(np.ones(4000).astype(dtype), 16_000)


def test_wide_integers_without_a_known_scale():
    with pytest.raises(AudioError, match=r"int64 numbers outside 16 bits .* convert them to int16, int32"):
        load((WAVE * 2**40).astype(np.int64), 16_000)


@pytest.mark.parametrize("peak", [33.0, 20_000.0, 1e300])
def test_floats_that_were_never_scaled(peak):
    with pytest.raises(AudioError, match=r"^<array>: samples of up to .* lies between -1 and 1; scale it"):
        load(WAVE * 2 * peak, 16_000)


def test_overs_are_no_error():
    assert np.abs(load(WAVE * 4, 16_000).samples).max() == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 5, 64])
def test_shapes(channels):
    columns = np.stack([WAVE * (k + 1) / channels for k in range(channels)], axis=1)
    expected = columns.mean(axis=1)
    for array in (columns, columns.T, np.asfortranarray(columns), columns[::1, :]):
        audio = load(array, 16_000)
        np.testing.assert_allclose(audio.samples, expected - expected.mean(), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((65, 4000), "which axis of shape (65, 4000) is time is not clear"),
        ((4000, 4000), "which axis of shape (4000, 4000) is time is not clear"),
        ((2, 4000, 2), "shape (2, 4000, 2) is not audio; pass (n,) or (n, channels)"),
        ((), "shape () is not audio"),
        ((0,), "empty array of shape (0,); pass samples"),
        ((4000, 0), "empty array"),
        ((0, 4000), "empty array"),
        ((20, 30), "0.001 s of audio, under 0.1 s"),
    ],
)
def test_shapes_that_are_refused(shape, expected):
    with pytest.raises(AudioError) as caught:
        load(np.zeros(shape), 16_000)
    assert str(caught.value).startswith("<array>: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("rate", [16_000, 16_000.0, np.int64(16_000), np.float32(16_000)])
def test_rates(rate):
    assert load(WAVE, rate).seconds == 0.25


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (None, "the sample rate of an array is not known; pass sample_rate="),
        ("16000", "sample rate '16000' is not a whole number of Hz"),
        (True, "sample rate True is not a whole number"),
        (16_000.5, "sample rate 16000.5 is not a whole number"),
        (float("nan"), "sample rate nan is not a whole number"),
        (float("inf"), "sample rate inf is not a whole number"),
        (0, "sample rate 0 Hz is outside 8000 to 192000 Hz; resample it"),
        (-16_000, "sample rate -16000 Hz is outside"),
        (7999, "sample rate 7999 Hz is outside"),
        (192_001, "sample rate 192001 Hz is outside"),
    ],
)
def test_rates_that_are_refused(rate, expected):
    with pytest.raises(AudioError) as caught:
        load(WAVE, rate)
    assert str(caught.value).startswith(f"<array>: {expected}")


def test_a_part_of_an_array():
    stream = array_stream(np.arange(12.0).reshape(4, 3) / 12, 8000, "x")
    assert (stream.rate, stream.frames) == (8000, 4)
    (block,) = stream.read(1, 3)
    np.testing.assert_allclose(block, np.arange(3, 9).reshape(2, 3) / 12)
