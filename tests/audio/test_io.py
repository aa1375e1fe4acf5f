from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import openkith.audio
from openkith.audio import SAMPLE_RATE, Audio, load, save
from openkith.errors import AudioError, InputError


def message(call) -> str:
    """The message of the AudioError that a call ends with: one line."""
    with pytest.raises(AudioError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def wav(tmp_path, voice) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, voice(), 16_000)
    return path


def test_public_names():
    names = {"SAMPLE_RATE", "Audio", "Quality", "load", "measure_quality", "save", "trim_silence"}
    assert set(openkith.audio.__all__) == names
    assert all(hasattr(openkith.audio, name) for name in openkith.audio.__all__)


# ------------------------------------------------------------------ Audio


def test_sha256_is_that_of_the_16_bit_samples():
    numbers = np.array([1, -1, 32767, -32768, 0, 5], dtype="<i2")
    audio = Audio((numbers / 32768).astype(np.float32), "x")
    assert audio.sha256 == hashlib.sha256(numbers.tobytes()).hexdigest()
    nudged = Audio((numbers / 32768 + 0.3 / 32768).astype(np.float32), "x")
    assert nudged.sha256 == audio.sha256
    louder = Audio((numbers / 32768 + 0.7 / 32768).astype(np.float32), "x")
    assert louder.sha256 != audio.sha256


def test_sha256_clips_what_16_bits_cannot_hold():
    audio = Audio(np.array([1.5, -1.5], dtype=np.float32), "x")
    assert audio.sha256 == hashlib.sha256(np.array([32767, -32768], dtype="<i2").tobytes()).hexdigest()


def test_audio_is_frozen_and_compared_by_identity():
    samples = np.zeros(10, dtype=np.float32)
    one, other = Audio(samples, "x"), Audio(samples, "x")
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.source = "y"  # type: ignore[misc]
    assert one.seconds == 10 / 16_000
    assert (one.sample_rate, one.native_rate, one.clipped) == (SAMPLE_RATE, 16_000, None)


@pytest.mark.parametrize("samples", [np.zeros(9), np.zeros((9, 1), np.float32), [0.0] * 9])
def test_audio_refuses_other_samples(samples):
    assert "float32 array of shape (n,)" in message(lambda: Audio(samples, "clip"))


def test_audio_is_16_khz():
    text = message(lambda: Audio(np.zeros(9, np.float32), "clip", sample_rate=8000))
    assert "clip: sample_rate 8000" in text


# ------------------------------------------------------------------ load


def test_load_gives_the_numbers_of_the_file(wav, voice):
    audio = load(wav)
    expected = voice() / 32768
    np.testing.assert_allclose(audio.samples, expected - expected.mean(), atol=1e-7)
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == (16_000,)
    assert (audio.source, audio.sample_rate, audio.native_rate) == (str(wav), 16_000, 16_000)
    assert audio.seconds == 1.0


def test_path_string_and_bytes_are_the_same_clip(wav):
    data = wav.read_bytes()
    clips = [load(source) for source in (wav, str(wav), data, bytearray(data), memoryview(data))]
    assert len({clip.sha256 for clip in clips}) == 1
    assert [clip.source for clip in clips] == [str(wav)] * 2 + ["<bytes>"] * 3


def test_wav_and_flac_are_the_same_clip(tmp_path, voice):
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, voice(), 16_000, subtype="PCM_16")
    hashes = {load(tmp_path / name).sha256 for name in ("a.wav", "a.flac", "a.aiff")}
    assert len(hashes) == 1
    soundfile.write(tmp_path / "b.flac", voice(seed=1), 16_000)
    assert load(tmp_path / "b.flac").sha256 not in hashes


@pytest.mark.parametrize(
    "name", ["clip", "clip.raw", "clip.RAW", "clip.mp3", "clip.txt", "Füße 語.wav", "a b;c.flac"]
)
def test_the_name_does_not_matter(wav, name):
    other = wav.with_name(name)
    other.write_bytes(wav.read_bytes())
    assert load(other).sha256 == load(wav).sha256


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text(wav):
    other = os.fsencode(wav.parent) + b"/\xff\xfe.wav"
    Path(os.fsdecode(other)).write_bytes(wav.read_bytes())
    assert load(os.fsdecode(other)).sha256 == load(wav).sha256


def test_audio_passes_through(wav):
    audio = load(wav)
    assert load(audio) is audio


def test_loading_does_not_touch_the_array():
    samples = np.sin(np.arange(4000, dtype=np.float32)) + 0.5
    before = samples.copy()
    audio = load(samples, 16_000)
    np.testing.assert_array_equal(samples, before)
    assert not np.shares_memory(audio.samples, samples)


def test_dc_is_removed(tmp_path, voice):
    samples = voice().astype(np.float64) / 32768
    soundfile.write(tmp_path / "dc.wav", samples + 0.3, 16_000, subtype="PCM_24")
    audio = load(tmp_path / "dc.wav")
    assert abs(audio.samples.mean()) < 1e-7
    np.testing.assert_allclose(audio.samples, samples - samples.mean(), atol=1e-6)


# ------------------------------------------------------------------ parts


def test_part_of_a_file(wav, voice):
    audio = load(wav, start=0.25, end=0.5)
    expected = voice()[4000:8000] / 32768
    np.testing.assert_allclose(audio.samples, expected - expected.mean(), atol=1e-7)
    assert load(wav, start=0.75).seconds == 0.25
    assert load(wav, end=0.25).seconds == 0.25
    assert load(wav, start=0, end=1).sha256 == load(wav).sha256


@pytest.mark.parametrize(
    ("fmt", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("MP3", None), ("WAV", "PCM_24")]
)
def test_a_part_is_the_same_as_that_cut_from_the_whole(encode, voice, fmt, subtype):
    data = encode(voice(2.0), 16_000, fmt, subtype)
    whole = load(data).samples
    part = load(data, start=0.7, end=1.3).samples
    expected = whole[11_200:20_800]
    assert np.corrcoef(part, expected)[0, 1] > 0.9999
    np.testing.assert_allclose(part, expected - expected.mean(), atol=2e-3)


def test_part_of_an_audio_and_of_an_array(wav):
    audio = dataclasses.replace(load(wav), native_rate=8000, clipped=0.25)
    part = load(audio, start=0.25, end=0.5)
    expected = audio.samples[4000:8000]
    np.testing.assert_allclose(part.samples, expected - expected.mean(), atol=1e-7)
    assert (part.source, part.native_rate, part.clipped) == (str(wav), 8000, 0.25)
    np.testing.assert_array_equal(load(audio.samples, 16_000, start=0.25, end=0.5).samples, part.samples)


def test_only_the_part_is_checked(tmp_path, voice):
    samples = (voice() / 32768).astype(np.float32)
    samples[12_000] = np.nan
    path = tmp_path / "nan.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    assert load(path, end=0.5).seconds == 0.5
    assert "NaN or infinite samples at 0.750 s" in message(lambda: load(path))
    assert "NaN or infinite samples at 0.750 s" in message(lambda: load(path, start=0.6))


def test_one_frame_past_the_end_is_rounding(wav):
    assert load(wav, start=0.5, end=16_001 / 16_000).seconds == 0.5
    text = message(lambda: load(wav, start=0.5, end=16_002 / 16_000))
    assert text == f"{wav}: end=1.00012 is outside the file, which is 1.000 s long; give a time inside it"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"start": 1.0}, "start=1 is outside the file, which is 1.000 s long; give a time inside it"),
        ({"start": 7}, "start=7 is outside the file"),
        ({"end": 2.0}, "end=2 is outside the file"),
        ({"start": -0.5}, "start=-0.5 is not a time; give seconds from the beginning"),
        ({"end": float("nan")}, "end=nan is not a time"),
        ({"end": float("inf")}, "end=inf is not a time"),
        ({"start": "0.5"}, "start='0.5' is not a time"),
        ({"start": True}, "start=True is not a time"),
        ({"start": 0.5, "end": 0.25}, "end=0.25 is not after start=0.5; give end > start"),
        ({"start": 0.5, "end": 0.5}, "end=0.5 is not after start=0.5"),
        ({"start": 0.5, "end": 0.55}, "0.050 s of audio, under 0.1 s; record a longer clip"),
        ({"start": 0.5, "end": 0.500001}, "holds no samples"),
        (
            {"start": 0.1, "end": 0.9, "max_seconds": 0.5},
            "over the limit of 0.5 s; cut it, or raise max_seconds",
        ),
    ],
)
def test_parts_that_are_refused(wav, part, expected):
    text = message(lambda: load(wav, **part))
    assert text.startswith(f"{wav}: ")
    assert expected in text
    assert expected in message(lambda: load(load(wav), **part))


# ------------------------------------------------------------------ errors


def test_no_such_file(tmp_path):
    path = tmp_path / "absent.wav"
    assert message(lambda: load(path)) == f"{path}: no such file; check the path"


def test_directory(tmp_path):
    assert message(lambda: load(tmp_path)) == f"{tmp_path}: is a directory; give one audio file"


def test_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    assert message(lambda: load(path)) == f"{path}: empty file (0 bytes); record or copy it again"
    assert message(lambda: load(b"")).startswith("<bytes>: empty file")


@pytest.mark.parametrize(
    "data", [b"hello, this is text\n" * 50, b"\0" * 5000, b"x", b"%PDF-1.4" + b"x" * 999]
)
def test_not_audio(tmp_path, data):
    path = tmp_path / "notes.wav"
    path.write_bytes(data)
    text = message(lambda: load(path))
    assert text.startswith(f"{path}: not audio that openkith can read (WAV, FLAC, OGG and MP3")
    assert "; convert it with `ffmpeg" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_not_a_regular_file(tmp_path):
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    assert message(lambda: load(path)) == f"{path}: not a regular file; save the audio to a file first"


def test_unreadable_names(tmp_path, monkeypatch, wav):
    assert "a" * 300 in message(lambda: load(tmp_path / ("a" * 300)))
    assert "no such file" in message(lambda: load("null\0byte.wav"))
    assert "two lines.wav: no such file" in message(lambda: load("two\nlines.wav"))

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    expected = f"{wav}: cannot be read (Permission denied); check the path and its permissions"
    assert message(lambda: load(wav)) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, voice, value):
    samples = (voice() / 32768).astype(np.float32)
    samples[4000] = value
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    expected = "NaN or infinite samples at 0.250 s; export the recording again"
    assert message(lambda: load(path)) == f"{path}: {expected}"
    assert message(lambda: load(samples, 16_000)) == f"<array>: {expected}"
    assert message(lambda: load(samples.astype(np.float64), 16_000)) == f"<array>: {expected}"


@pytest.mark.parametrize("level", [0.0, 0.25, -1.0])
def test_digital_silence(tmp_path, level):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.full(8000, level), 16_000)
    expected = "digital silence, every sample is the same; check that the microphone was on"
    assert message(lambda: load(path)) == f"{path}: {expected}"
    assert message(lambda: load(np.full(8000, level), 44_100)) == f"<array>: {expected}"


def test_channels_that_cancel(tmp_path, voice):
    path = tmp_path / "wires.wav"
    soundfile.write(path, np.stack([voice(), -voice()], axis=1), 16_000)
    assert message(lambda: load(path)) == (
        f"{path}: digital silence, the channels cancel each other out; load one of them"
    )


def test_shortest_and_longest(tmp_path, voice):
    path = tmp_path / "clip.wav"
    for rate in (8000, 16_000, 44_100):
        soundfile.write(path, voice(1.0, rate)[: rate // 10], rate)
        assert load(path).seconds == pytest.approx(0.1, abs=1e-4)
        soundfile.write(path, voice(1.0, rate)[: rate // 10 - 1], rate)
        assert message(lambda: load(path)) == (
            f"{path}: {(rate // 10 - 1) / rate:.3f} s of audio, under 0.1 s; record a longer clip"
        )
    soundfile.write(path, voice(1.0), 16_000)
    assert load(path, max_seconds=1.0).seconds == 1.0
    assert message(lambda: load(path, max_seconds=0.999)) == (
        f"{path}: 1.0 s of audio or more, over the limit of 0.999 s; cut it, or raise max_seconds"
    )
    assert load(path, max_seconds=float("inf")).seconds == 1.0


def test_the_limit_is_an_hour(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(np.array([0, 9], dtype=np.int16), 8000 * 1801), 8000)
    assert "3602.0 s of audio or more, over the limit of 3600 s" in message(lambda: load(path))
    assert load(path, start=3600).seconds == 2.0


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "10", None])
def test_a_limit_that_is_none(wav, limit):
    assert f"max_seconds={limit!r} is not a length" in message(lambda: load(wav, max_seconds=limit))


@pytest.mark.parametrize("rate", [4000, 7999, 192_001, 384_000])
def test_rates_outside(tmp_path, voice, rate):
    path = tmp_path / "clip.wav"
    soundfile.write(path, voice(4.0), rate)
    assert message(lambda: load(path)) == (
        f"{path}: sample rate {rate} Hz is outside 8000 to 192000 Hz; resample it to 16000 Hz"
    )


def test_a_file_tells_its_rate(wav):
    text = message(lambda: load(wav, 16_000))
    assert text == f"{wav}: sample_rate is the rate of an array, and a file tells its own; leave it out"


@pytest.mark.parametrize("source", [None, 5, [0.0, 0.1], {"a": 1}])
def test_other_things(source):
    text = message(lambda: load(source))
    assert text.startswith(f"<{type(source).__name__}>: not something to load; give a path")


def test_audio_error_is_an_input_error():
    assert issubclass(AudioError, InputError)


# ------------------------------------------------------------------ save


def test_save_writes_16_bit_wav(tmp_path, wav):
    audio = load(wav)
    path = tmp_path / "out.wav"
    save(path, audio)
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 16_000, 1)
    np.testing.assert_allclose(soundfile.read(path)[0], audio.samples, atol=0.5001 / 32768)
    assert load(path).sha256 == audio.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.wav", "out.wav"]


def test_save_an_array(tmp_path):
    path = tmp_path / "a.wav"
    numbers = np.array([0, 1, -1, 32767, -32768] * 400, dtype=np.int16)
    save(path, numbers, 8000)
    read, rate = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(read, numbers)
    assert rate == 8000
    save(str(path), np.array([2.0, -2.0, 0.5, 1.0]))  # replaces it; clips
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], [32767, -32768, 16384, 32767])


def test_a_failed_save_leaves_the_old_file(tmp_path, wav, monkeypatch):
    before = wav.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    text = message(lambda: save(wav, np.ones(100)))
    assert (
        text == f"{wav}: cannot write (No space left on device); choose a folder that exists and is writable"
    )
    assert wav.read_bytes() == before
    assert list(tmp_path.iterdir()) == [wav]


def test_save_refuses(tmp_path):
    path = tmp_path / "a.wav"
    assert "NaN or infinite" in message(lambda: save(path, np.array([0.0, np.nan])))
    assert "shape (2, 5)" in message(lambda: save(path, np.zeros((2, 5))))
    assert "4000 Hz is outside" in message(lambda: save(path, np.zeros(9), 4000))
    missing = tmp_path / "no" / "a.wav"
    assert f"{missing}: cannot write (No such file or directory)" in message(
        lambda: save(missing, np.zeros(9))
    )
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(arrays(np.int16, st.integers(1600, 2400), elements=st.integers(-30_000, 30_000), fill=st.just(0)))
def test_a_saved_clip_is_the_same_clip(tmp_path_factory, numbers):
    numbers[0], numbers[1] = 500, -500  # not silent
    audio = load(numbers, 16_000)
    path = tmp_path_factory.mktemp("saved") / "a.wav"
    save(path, audio)
    assert load(path).sha256 == audio.sha256
