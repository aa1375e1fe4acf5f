"""Containers that libsndfile reads: round trips, sizes that lie, and truncation."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from openkith.audio import decode, load
from openkith.errors import AudioError


@pytest.mark.parametrize("fmt", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_lossless_round_trip(encode, voice, fmt, subtype):
    audio = load(encode(voice(), 16_000, fmt, subtype))
    assert audio.sha256 == load(voice(), 16_000).sha256


@pytest.mark.parametrize(
    ("fmt", "subtype", "atol"),
    [
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "DOUBLE", 1e-7),
        ("WAV", "PCM_32", 1e-7),
        ("WAV", "PCM_U8", 0.006),
        ("WAV", "ULAW", 0.02),
        ("WAV", "ALAW", 0.02),
        ("WAV", "IMA_ADPCM", 0.1),
        ("WAV", "MS_ADPCM", 0.1),
        ("WAV", "GSM610", 0.4),
        ("OGG", "VORBIS", 0.1),
        ("OGG", "OPUS", 0.3),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)
@pytest.mark.parametrize("stereo", [False, True])
def test_other_codecs(encode, voice, fmt, subtype, atol, stereo):
    if subtype == "GSM610" and stereo:
        pytest.skip("GSM 6.10 has one channel")
    samples = voice() / 32768
    written = np.stack([1.2 * samples, 0.8 * samples], axis=1) if stereo else samples
    audio = load(encode(written, 16_000, fmt, subtype))
    assert audio.seconds == pytest.approx(1.0, abs=0.03)
    got, expected = audio.samples[:15_500], (samples - samples.mean())[:15_500]
    np.testing.assert_allclose(got, expected, atol=atol)
    assert np.corrcoef(got, expected)[0, 1] > (0.8 if subtype == "GSM610" else 0.97)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
def test_channels(encode, voice, channels):
    samples = np.stack([voice(seed=k) for k in range(channels)], axis=1)
    for fmt in ("WAV", "FLAC"):
        got = load(encode(samples, 16_000, fmt)).samples
        expected = samples.mean(axis=1) / 32768
        np.testing.assert_allclose(got, expected - expected.mean(), atol=1e-6)


def test_big_endian_wav(encode, voice):
    assert load(encode(voice(), 16_000, "WAV", endian="BIG")).sha256 == load(voice(), 16_000).sha256


def test_mp3_after_an_id3_tag(encode, voice):
    plain = encode(voice(), 16_000, "MP3")
    tag = b"ID3\x04\0\0" + bytes([0, 0, 7, 104]) + b"\0" * (7 * 128 + 104)
    assert load(tag + plain).seconds == pytest.approx(load(plain).seconds, abs=0.05)


# ------------------------------------------------------------------ sizes


def riff(
    samples: np.ndarray, riff_size: int, data_size: int, *, chunk: bytes = b"", payload: bytes | None = None
):
    """A WAV of 16-bit samples at 16 kHz with any sizes in its header."""
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + chunk
    body = samples.astype("<i2").tobytes() if payload is None else payload
    return b"RIFF" + struct.pack("<I", riff_size) + head + b"data" + struct.pack("<I", data_size) + body


LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"  # odd, so padded


@pytest.mark.parametrize("chunk", [b"", LIST])
@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [
        (0, 0),
        (8, 0),
        (36, 0),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
        (0x7FFFFFFF, 0x7FFFFFFF - 36),
        (0xFFFFFFFF, 0),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_streamed_wav(tmp_path, voice, riff_size, data_size, chunk, as_file):
    data = riff(voice(), riff_size, data_size, chunk=chunk)
    path = tmp_path / "piped.wav"
    path.write_bytes(data)
    audio = load(path if as_file else data)
    assert audio.sha256 == load(voice(), 16_000).sha256
    assert load(path if as_file else data, start=0.5, end=0.75).seconds == 0.25


def test_chunks_after_the_samples(voice):
    numbers = voice()
    data = riff(numbers, 36 + 2 * len(numbers), 2 * len(numbers)) + LIST
    assert load(data).sha256 == load(numbers, 16_000).sha256


def failure(data: bytes, **options: float) -> str:
    with pytest.raises(AudioError) as caught:
        load(data, **options)
    text = str(caught.value)
    assert text.startswith("<bytes>: ")
    assert "\n" not in text
    assert "again" in text or "ffmpeg" in text  # the remedy
    return text


def test_truncated_wav(voice):
    size = 2 * len(voice())
    whole = riff(voice(), 36 + size, size)
    assert load(whole)
    assert failure(whole[:20_000]) == (
        f"<bytes>: truncated WAV file, its header promises {size} bytes of samples and {20_000 - 44} "
        "are there; copy or export the file again"
    )
    assert "promises" in failure(whole[:-1])
    assert "and 0 are there" in failure(whole[:44])
    for cut in (12, 20, 36, 40, 43):
        assert "truncated WAV file, it ends before the samples" in failure(whole[:cut])
    assert "promises" in failure(whole[:20_000], end=0.2)  # also where the part is there


def test_wav_without_samples(voice):
    assert "holds no samples" in failure(riff(voice(), 36, 0, payload=b""))


@pytest.mark.parametrize("fmt", ["AIFF", "RF64", "WAVEX"])
@pytest.mark.parametrize("as_file", [False, True])
def test_truncated_pcm(tmp_path, encode, voice, fmt, as_file):
    data = encode(voice(), 16_000, fmt)
    path = tmp_path / "clip"
    path.write_bytes(data[:-3000])
    with pytest.raises(AudioError, match=r"truncated .* copy or export the file again"):
        load(path if as_file else data[:-3000])


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("as_file", [False, True])
def test_truncated_flac(tmp_path, encode, voice, share, as_file):
    data = encode(voice(), 16_000, "FLAC")
    path = tmp_path / "clip.flac"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(AudioError, match=r"truncated.* copy or export the file again") as caught:
        load(path if as_file else path.read_bytes())
    assert str(caught.value).startswith(f"{path}: " if as_file else "<bytes>: ")


def test_flac_that_ends_between_two_frames(encode, voice):
    """Each frame begins with the same 14 bits: cut before one of them, and every frame left is whole."""
    data = encode(voice(2.0), 16_000, "FLAC")
    starts = [
        k
        for k in range(100, len(data))
        if data[k] == 0xFF and data[k + 1] == data[data.index(b"\xff\xf8") + 1]
    ]
    for cut in starts[2:5]:
        assert "truncated" in failure(data[:cut])


def with_total(flac: bytes, total: int) -> bytes:
    """The same FLAC whose STREAMINFO declares another number of samples (36 bits at byte 21)."""
    data = bytearray(flac)
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(data)


@pytest.mark.parametrize("as_file", [False, True])
def test_flac_of_unknown_length(tmp_path, encode, voice, as_file):
    """As written to a pipe."""
    data = with_total(encode(voice(2.0), 16_000, "FLAC"), 0)
    path = tmp_path / "piped.flac"
    path.write_bytes(data)
    source = path if as_file else data
    assert load(source).sha256 == load(voice(2.0), 16_000).sha256
    part = load(source, start=0.5, end=0.75)
    assert part.sha256 == load(voice(2.0)[8000:12_000], 16_000).sha256
    for options in ({"start": 3.0}, {"start": 1.0, "end": 3.0}):
        with pytest.raises(AudioError, match=r"the part is outside the file"):
            load(source, **options)
    with pytest.raises(AudioError, match=r"over the limit of 0.5 s"):
        load(source, max_seconds=0.5)


def test_flac_that_declares_more_than_it_has(encode, voice):
    data = with_total(encode(voice(), 16_000, "FLAC"), 32_000)
    assert "truncated" in failure(data)
    assert load(data, end=0.5).seconds == 0.5
    with pytest.raises(AudioError, match="over the limit of 10 s"):
        load(with_total(data, 2**35), max_seconds=10)


@pytest.mark.parametrize(("fmt", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_truncated_lossy_files_end_in_an_error(encode, voice, fmt, subtype):
    data = encode(voice(1.0), 16_000, fmt, subtype)
    assert "truncated" in failure(data[: len(data) // 2])
    assert "truncated" in failure(data[:50])


def test_blocks_are_bounded(encode, voice, monkeypatch):
    monkeypatch.setattr(decode, "BLOCK_SAMPLES", 1000)
    for fmt in ("WAV", "FLAC"):
        data = encode(np.stack([voice()] * 2, axis=1), 16_000, fmt)
        with decode.open_stream(data, "x") as stream:
            sizes = [len(block) for block in stream.read(250, 2600)]
        assert sizes == [500, 500, 500, 500, 350]
        assert load(data).sha256 == load(voice(), 16_000).sha256


def test_lossy_blocks_join_without_a_seam(encode, voice, monkeypatch):
    for fmt, subtype in (("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")):
        data = encode(voice(2.0), 16_000, fmt, subtype)
        with monkeypatch.context() as patch:
            whole = load(data).samples
            patch.setattr(decode, "BLOCK_SAMPLES", 700)
            np.testing.assert_allclose(load(data).samples, whole, atol=1e-6)


def test_a_missing_av_is_no_help_for_a_damaged_file(monkeypatch, encode, voice):
    data = encode(voice(), 16_000, "OGG")[:60]
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(decode.importlib.util, "find_spec", lambda _: None)
    assert failure(data) == (
        "<bytes>: Ogg data that are damaged, truncated or of an unknown codec; copy or export the file "
        "again, or convert it with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"
    )
