from __future__ import annotations

import struct

import numpy as np
import pytest
import webrtcvad
from scipy.ndimage import binary_dilation

from openkith.audio import Audio, load, trim_silence
from openkith.audio.vad import DETECTORS, Detector, speech_mask, speech_seconds, speech_segments
from openkith.errors import ConfigError


def clip(samples: np.ndarray) -> Audio:
    return Audio(np.asarray(samples, dtype=np.float32), "x")


class Scripted:
    """A detector that says what it is told, and remembers what it heard."""

    flags: tuple[int, ...] = ()
    heard: list[np.ndarray]
    mode = None

    def __init__(self, mode: int) -> None:
        type(self).mode = mode
        type(self).heard = []

    def is_speech(self, frame: bytes, rate: int) -> bool:
        assert rate == 16_000
        assert len(frame) == 960  # 30 ms of 16 bits
        self.heard.append(np.frombuffer(frame, dtype=np.int16))
        return bool(self.flags[len(self.heard) - 1])


@pytest.fixture
def script(monkeypatch):
    def set_flags(flags: str) -> Audio:
        monkeypatch.setattr(Scripted, "flags", tuple(int(flag) for flag in flags))
        monkeypatch.setattr(webrtcvad, "Vad", Scripted)
        return clip(0.1 * np.random.default_rng(0).standard_normal(480 * len(flags)))

    return set_flags


def by_frame(audio: Audio) -> str:
    mask = speech_mask(audio)
    frames = mask[: len(mask) // 480 * 480].reshape(-1, 480)
    assert (frames == frames[:, :1]).all()
    return "".join(str(int(frame[0])) for frame in frames)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        # An average over frames i-3 to i+4 of more than a half, then 3 frames more on either side.
        ("0" * 30, "0" * 30),
        ("1" * 30, "1" * 30),
        ("0" * 10 + "1" * 4 + "0" * 10, "0" * 24),  # 4 of 8 is no more than a half
        # Five flags, 10 to 14: only frames 10 to 13 have all five in reach; with the dilation 7 to 16.
        ("0" * 10 + "1" * 5 + "0" * 10, "0" * 7 + "1" * 10 + "0" * 8),
        # Eight flags, 10 to 17: five or more for i = 10 - 4 + 4 = 10 .. 16, dilated 7 to 19.
        ("0" * 10 + "1" * 8 + "0" * 10, "0" * 7 + "1" * 13 + "0" * 8),
        ("1" * 5 + "0" * 15, "1" * 7 + "0" * 13),  # frames before the beginning count as silent
    ],
)
def test_smoothing_by_hand(script, flags, expected):
    audio = script(flags)
    assert by_frame(audio) == expected
    assert Scripted.mode == 3
    assert speech_seconds(audio) == pytest.approx(0.03 * expected.count("1"))


def test_segments_by_hand(script):
    audio = script("0" * 10 + "1" * 5 + "0" * 20 + "1" * 5 + "0" * 10)
    np.testing.assert_allclose(speech_segments(audio), [(0.21, 0.51), (0.96, 1.26)])
    assert speech_segments(script("0" * 20)) == []


def test_the_trailing_part_of_a_frame_is_dropped(script):
    whole = script("1" * 40)
    audio = clip(np.append(whole.samples, np.full(479, 0.1)))
    mask = speech_mask(audio)
    assert mask.shape == (40 * 480 + 479,)
    assert mask[: 40 * 480].all()
    assert not mask[40 * 480 :].any()
    assert len(trim_silence(audio).samples) == 40 * 480


def test_trimmed_audio_is_cut_from_the_original(script):
    audio = script("0" * 20 + "1" * 5 + "0" * 20)
    trimmed = trim_silence(audio)
    np.testing.assert_array_equal(trimmed.samples, audio.samples[17 * 480 : 27 * 480])
    assert trimmed.source == audio.source


def test_clips_under_a_second_come_back_whole(script):
    flags = "0" * 20 + "1" * 5 + "0" * 20
    audio = clip(script(flags).samples[-15_999:])
    assert trim_silence(audio) is audio
    audio = clip(script(flags).samples[-16_000:])
    assert len(trim_silence(audio).samples) == 10 * 480


@pytest.mark.parametrize(("speech_frames", "kept"), [(5, 10), (0, 40)])
def test_too_little_speech_is_no_reason_to_return_nothing(script, speech_frames, kept):
    audio = script("0" * 15 + "1" * speech_frames + "0" * (25 - speech_frames))
    assert len(trim_silence(audio).samples) == kept * 480


def test_one_flag_is_no_speech(script):
    audio = script("1" + "0" * 60)
    assert not speech_mask(audio).any()
    assert trim_silence(audio) is audio


@pytest.mark.parametrize(("level", "heard"), [(0.001, -30), (0.01, -30), (0.1, -20), (0.2, -14)])
def test_quiet_clips_are_raised_and_loud_ones_left(script, level, heard):
    samples = script("1" * 50).samples
    audio = clip(samples * level / np.sqrt(np.mean(samples**2)))
    before = audio.samples.copy()
    speech_mask(audio)
    level_heard = np.sqrt(np.mean(np.concatenate(Scripted.heard).astype(float) ** 2)) / 32767
    assert 20 * np.log10(level_heard) == pytest.approx(heard, abs=0.1)
    np.testing.assert_array_equal(audio.samples, before)


def test_what_is_raised_over_full_scale_is_clipped(script):
    script("1" * 50)
    samples = np.zeros(24_000)
    samples[::4000] = 0.02  # a crest factor of 36 dB
    speech_mask(clip(samples * np.array([1, -1] * 12_000)))
    assert np.abs(np.concatenate(Scripted.heard).astype(int)).max() == 32_767
    speech_mask(clip(samples * 100))
    assert np.concatenate(Scripted.heard).max() == 32_767


@pytest.mark.parametrize("n", [1, 100, 479, 480, 1599, 1600, 3000])
def test_short_or_silent_clips_come_back_whole(n):
    rng = np.random.default_rng(n)
    for samples in (np.zeros(n), 1e-4 * rng.standard_normal(n)):
        audio = clip(samples)
        assert trim_silence(audio) is audio
        assert speech_mask(audio).shape == (n,)
        assert speech_seconds(audio) >= 0


def test_noise_comes_back_whole():
    audio = clip(0.02 * np.random.default_rng(0).standard_normal(48_000))
    if speech_seconds(audio) < 0.1:
        assert trim_silence(audio) is audio
    assert len(trim_silence(audio).samples) >= 1600


def test_hum_is_not_speech():
    audio = clip(0.05 * np.sin(2 * np.pi * 50 * np.arange(48_000) / 16_000))
    assert speech_seconds(audio) < 0.5


def test_a_voice_between_pauses(voice):
    samples = np.concatenate([np.zeros(32_000), voice(2.0) / 32768, np.zeros(32_000)])
    audio = clip(samples + 1e-4 * np.random.default_rng(0).standard_normal(len(samples)))
    ((start, end),) = speech_segments(audio)
    assert 1.7 < start < 2.2
    assert 3.7 < end < 4.3
    assert trim_silence(audio).seconds == pytest.approx(end - start)


def reference(samples: np.ndarray) -> np.ndarray:
    """What the encoder's training data went through, step by step."""
    samples = samples.astype(np.float64)
    change = -30 - 20 * np.log10(np.sqrt(np.mean((samples * 32767) ** 2)) / 32767)
    if change > 0:
        samples = samples * 10 ** (change / 20)
    count = len(samples) // 480
    detector = webrtcvad.Vad(mode=3)
    flags = []
    for k in range(count):
        frame = np.round(samples[k * 480 : (k + 1) * 480] * 32767).clip(-32768, 32767).astype(int)
        flags.append(detector.is_speech(struct.pack("480h", *frame), 16_000))
    padded = [0] * 3 + [int(flag) for flag in flags] + [0] * 4
    averages = np.array([sum(padded[k : k + 8]) / 8 for k in range(count)])
    speech = binary_dilation(np.round(averages).astype(bool), np.ones(6 + 1))
    return np.repeat(speech, 480)


def test_real_speech_is_cut_as_the_encoder_expects(speech):
    paths = sorted(speech.glob("home/*/*.flac"))[::9] + sorted(speech.glob("degraded/**/*.flac"))[::20]
    assert len(paths) > 15
    for path in paths:
        audio = load(path)
        mask, expected = speech_mask(audio), reference(audio.samples)
        np.testing.assert_array_equal(mask[: len(expected)], expected)
        assert not mask[len(expected) :].any()


def test_how_quiet_does_not_change_what_is_speech(speech):
    for path in sorted(speech.glob("home/*/*.flac"))[::20]:
        samples = load(path).samples
        masks = [speech_mask(clip(samples * gain)) for gain in (0.1, 0.01, 0.001)]
        assert masks[0].any()
        for mask in masks[1:]:
            assert np.mean(mask == masks[0]) > 0.99


def test_no_digit_is_lost(speech):
    paths = sorted(speech.glob("digits/**/*.wav"))[::5]
    assert len(paths) > 100
    for path in paths:
        audio = load(path)
        assert 1600 <= len(trim_silence(audio).samples) <= len(audio.samples)


# The other detector


def test_an_unknown_detector_is_refused():
    for function in (speech_mask, speech_segments, speech_seconds, trim_silence):
        with pytest.raises(ConfigError, match=r"^detector is 'energy'; give one of: webrtc, silero$"):
            function(clip(np.zeros(8000)), detector="energy")


def test_a_detector_is_given_the_raised_clip_and_its_frames_are_cut(monkeypatch):
    heard = []

    def flags(samples):
        heard.append(samples)
        return np.arange(len(samples) // 512) % 4 == 1

    monkeypatch.setitem(DETECTORS, "silero", Detector(512, flags))
    audio = clip(1e-4 * np.random.default_rng(0).standard_normal(40 * 512 + 100))
    mask = speech_mask(audio, "silero")
    assert mask.shape == audio.samples.shape
    np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(40 * 512).reshape(10, 4, 512)[:, 1].ravel())
    np.testing.assert_array_equal(trim_silence(audio, "silero").samples, audio.samples[mask])
    assert speech_seconds(audio, "silero") == pytest.approx(10 * 0.032)
    np.testing.assert_allclose(
        speech_segments(audio, "silero"),
        [(0.032 * k, 0.032 * (k + 1)) for k in range(1, 40, 4)],
    )
    level = 20 * np.log10(np.sqrt(np.mean(heard[0].astype(float) ** 2)))
    assert level == pytest.approx(-30, abs=0.1)
    assert speech_mask(clip(np.ones(511)), "silero").sum() == 0


def test_the_default_detector_is_webrtc(monkeypatch, voice):
    audio = clip(voice(2.0) / 32768)
    np.testing.assert_array_equal(speech_mask(audio), speech_mask(audio, "webrtc"))
    monkeypatch.setitem(DETECTORS, "silero", Detector(512, lambda _: pytest.fail("was asked")))
    trim_silence(audio)
