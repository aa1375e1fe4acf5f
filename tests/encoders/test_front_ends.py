"""Front ends by name, and NeMo's filter bank against its definition in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openkith.audio.features import kaldi_fbank, mel_filterbank, power_mel
from openkith.encoders.front_ends import FRONT_ENDS, FrontEnd, nemo_fbank, waveform
from openkith.encoders.voxceleb_mel import normalised_log_mel
from openkith.errors import ConfigError

NOISE = (np.random.default_rng(0).standard_normal(8000) * 0.1).astype(np.float32)


def nemo_by_definition(samples: NDArray[Any], n_mels: int) -> NDArray[np.float64]:
    """Frames of 400 every 160: pre-emphasis, periodic Hann window, power of 512, Slaney's filters, logarithm."""
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = samples[start : start + 400].astype(np.float64)
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        frame *= 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        rows.append(np.log(mel_filterbank(n_mels, 512, 16_000).astype(np.float64) @ power))
    return np.array(rows)


@pytest.mark.parametrize("n_mels", [64, 80])
def test_nemo_fbank_by_definition(n_mels: int) -> None:
    expected = nemo_by_definition(NOISE, n_mels)
    found = nemo_fbank(NOISE, n_mels=n_mels, per_feature=False)
    assert found.shape == expected.shape == (48, n_mels)
    np.testing.assert_allclose(found, expected, atol=3e-4)
    normalised = (expected - expected.mean(axis=0)) / (expected.std(axis=0) + 1e-5)
    np.testing.assert_allclose(nemo_fbank(NOISE, n_mels=n_mels), normalised, atol=1e-3)


def test_nemo_fbank_takes_other_frames() -> None:
    assert nemo_fbank(NOISE, frame_ms=20, step_ms=20).shape == (25, 80)
    assert nemo_fbank(NOISE[:399]).shape == (0, 80)
    with pytest.raises(ConfigError, match="window is 'kaiser'; give one of: hann"):
        nemo_fbank(NOISE, window="kaiser")


def test_waveform() -> None:
    np.testing.assert_array_equal(waveform(NOISE), NOISE)
    np.testing.assert_allclose(waveform(NOISE, scale=32768.0), NOISE * 32768.0)
    unit = waveform(NOISE + 0.3, unit_variance=True)
    assert unit.dtype == np.float32
    assert abs(unit.mean()) < 1e-5
    assert abs(unit.std() - 1.0) < 1e-4
    assert np.isfinite(waveform(np.zeros(100, np.float32), unit_variance=True)).all()


def test_options_are_complete_and_named_in_the_tag() -> None:
    front_end = FrontEnd("kaldi-fbank", {"window": "hamming"})
    assert front_end.options == {"window": "hamming", "scale": 1.0, "n_mels": 80, "subtract_mean": True}
    assert front_end.tag == "kaldi-fbank(n_mels=80,scale=1.0,subtract_mean=True,window=hamming)"
    assert front_end == FrontEnd("kaldi-fbank", front_end.options)
    np.testing.assert_array_equal(front_end(NOISE), kaldi_fbank(NOISE, window="hamming"))
    assert front_end.but(window=None) == front_end
    assert front_end.but(scale=2.0).options["scale"] == 2.0


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (kaldi_fbank, FrontEnd("kaldi-fbank")),
        (partial(kaldi_fbank, scale=32768.0), FrontEnd("kaldi-fbank", {"scale": 32768.0})),
        (partial(normalised_log_mel, n_mels=64), FrontEnd("voxceleb-log-mel", {"n_mels": 64})),
        (partial(waveform, unit_variance=True), FrontEnd("waveform", {"unit_variance": True})),
        (power_mel, None),
        (lambda samples: samples, None),
    ],
)
def test_of_a_function(features: Any, expected: FrontEnd | None) -> None:
    assert FrontEnd.of(features) == expected
    if expected is not None:
        np.testing.assert_array_equal(expected(NOISE), features(NOISE))


def test_with_bands() -> None:
    assert FrontEnd.with_bands("kaldi-fbank", 40).options["n_mels"] == 40
    assert FrontEnd.with_bands("voxceleb-log-mel", 40).options["n_mels"] == 40
    assert FrontEnd.with_bands("waveform", 40) == FrontEnd("waveform")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mfcc", {}, f"front_end is 'mfcc'; give one of: {', '.join(FRONT_ENDS)}"),
        ("waveform", {"window": "hann"}, "front end waveform has no option 'window'; there are: scale"),
        ("kaldi-fbank", {"n_mels": 80.5}, "n_mels is 80.5; give a value of the type int"),
        ("kaldi-fbank", {"n_mels": True}, "n_mels is True"),
        ("kaldi-fbank", {"subtract_mean": 1}, "subtract_mean is 1; give a value of the type bool"),
        ("kaldi-fbank", {"scale": "loud"}, "scale is 'loud'"),
        ("voxceleb-log-mel", {}, "front end voxceleb-log-mel needs the option 'n_mels'"),
    ],
)
def test_refusals(name: str, options: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        FrontEnd(name, options)
