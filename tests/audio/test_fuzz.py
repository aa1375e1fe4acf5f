"""Damaged bytes: only AudioError or finite audio may come of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openkith.audio import load, measure_quality, trim_silence
from openkith.errors import AudioError

CASES = 80  # for each format

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav float": ("WAV", "FLOAT"),
    "wav adpcm": ("WAV", "IMA_ADPCM"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
MEDIA = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus"), "aac": ("adts", "aac")}


@pytest.fixture(scope="module")
def files(encode, voice) -> dict[str, bytes]:
    return {name: encode(voice(0.6) / 32768, 16_000, *kind) for name, kind in FORMATS.items()}


def damage(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Truncate, flip bits, overwrite the header, swap it for another's, cut out, or put in."""
    work = bytearray(data)
    way = int(rng.integers(6))
    at, length = int(rng.integers(len(work))), int(rng.integers(1, 400))
    if way == 0:
        return bytes(work[:at])
    if way == 1:
        for k in rng.integers(0, len(work), int(rng.integers(1, 20))):
            work[k] ^= 1 << int(rng.integers(8))
    elif way == 2:
        for k in rng.integers(0, min(len(work), 120), int(rng.integers(1, 8))):
            work[k] = int(rng.integers(256))
    elif way == 3:
        head = int(rng.integers(4, 200))
        work[:head] = others[int(rng.integers(len(others)))][:head]
    elif way == 4:
        del work[at : at + length]
    else:
        work[at:at] = rng.bytes(length)
    return bytes(work)


def survive(source: bytes | Path) -> bool:
    """Load; True if there was audio. Anything but AudioError goes through."""
    try:
        audio = load(source, max_seconds=60)
    except AudioError as caught:
        text = str(caught)
    else:
        assert audio.samples.dtype == np.float32
        assert np.isfinite(audio.samples).all()
        assert 0.1 <= audio.seconds <= 60.1
        return True
    assert text.startswith(f"{source}: " if isinstance(source, Path) else "<bytes>: ")
    assert "\n" not in text
    return False


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(files, name):
    others = list(files.values())
    assert survive(files[name])
    for case in range(CASES):
        rng = np.random.default_rng([list(FORMATS).index(name), case])
        survive(damage(files[name], others, rng))


@pytest.mark.parametrize("name", MEDIA)
def test_damaged_media_files(files, mux, voice, name):
    rate = 48_000
    data = mux(voice(0.6, rate), rate, *MEDIA[name])
    assert survive(data)
    for case in range(CASES):
        rng = np.random.default_rng([100 + list(MEDIA).index(name), case])
        survive(damage(data, list(files.values()), rng))


def test_damaged_files_by_path(files, tmp_path):
    """libsndfile opens a path itself: other code than for bytes."""
    path = tmp_path / "clip.bin"
    for name in FORMATS:
        for case in range(12):
            rng = np.random.default_rng([200 + list(FORMATS).index(name), case])
            path.write_bytes(damage(files[name], list(files.values()), rng) or b"\0")
            survive(path)


def test_what_survives_can_be_used(files):
    """A damaged file that loads must not break what comes next."""
    loaded = 0
    for case in range(60):
        data = damage(files["wav"], [files["flac"]], np.random.default_rng([300, case]))
        try:
            audio = load(data, max_seconds=60)
        except AudioError:
            continue
        loaded += 1
        assert np.isfinite(measure_quality(audio).snr_db)
        assert len(trim_silence(audio).samples) > 0
    assert loaded > 5


@pytest.mark.parametrize(
    "magic",
    [
        b"RIFF____WAVE",
        b"RF64____WAVE",
        b"FORM____AIFF",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"\xff\xfb",
        b"caff",
        b".snd",
        b"riff",
    ],
)
def test_a_known_beginning_and_noise(magic):
    for case in range(10):
        rng = np.random.default_rng([400, case])
        survive(magic + rng.bytes(int(rng.integers(0, 4000))))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data):
    assert not survive(data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_wav_header(files, data):
    """Any four bytes anywhere in a header."""
    work = bytearray(files["wav"])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, 44))
        work[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    survive(bytes(work))


def test_reading_beyond_the_data_is_no_crash(files):
    """libsndfile seeks to wherever a damaged header points; nothing of that is printed or raised."""
    for offset in range(4, 60):
        work = bytearray(files["aiff"])
        work[offset] = 0xFF
        survive(bytes(work))
