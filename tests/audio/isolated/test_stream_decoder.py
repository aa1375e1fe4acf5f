"""Streams of samples and of containers, cut anywhere, become 16 kHz as they come."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.isolated.sandbox import DecodePool, Worker
from openkith.audio.isolated.stream_decoder import STREAM_FORMATS, StreamDecoder
from openkith.errors import AudioError, ConfigError, MissingDependencyError


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool() as pool:
        yield pool


@pytest.fixture(scope="module")
def webm(mux, voice) -> bytes:
    return mux(voice(2.0, 48_000), 48_000, "webm", "libopus", live="1")


def feed_all(decoder: StreamDecoder, data: bytes, size: int) -> np.ndarray:
    parts = [decoder.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return np.concatenate([*parts, decoder.finish()])


@pytest.mark.parametrize("size", [1, 3, 320, 100_000])
def test_samples_pass_as_they_are(voice, size):
    samples = voice(0.25)
    with StreamDecoder("pcm16") as decoder:
        decoded = feed_all(decoder, samples.astype("<i2").tobytes(), size)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, samples / np.float32(32768))


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_samples_of_another_rate(rate):
    """A tone keeps its pitch and level, and the whole is as long as it was."""
    t = np.arange(rate) / rate
    data = np.rint(9000 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes()
    for size in (501, 10**6):
        decoded = feed_all(StreamDecoder("pcm16", rate), data, size)
        assert len(decoded) == 16_000
        middle = decoded[4000:12_000]
        assert np.argmax(np.abs(np.fft.rfft(middle * np.hanning(8000)))) == 440 / 2
        assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(9000 / 32768, rel=0.01)


def test_each_piece_gives_its_samples_at_once(voice):
    decoder = StreamDecoder("pcm16", 48_000)
    data = voice(1.0, 48_000).astype("<i2").tobytes()
    seen = 0
    for at in range(0, len(data), 9600):  # 100 ms
        seen += len(decoder.feed(data[at : at + 9600]))
        assert seen / 16_000 > (at + 9600) / 96_000 - 0.05


@pytest.mark.parametrize("size", [97, 1000, 10**6])
def test_webm_in_a_process(pool, webm, size):
    with StreamDecoder("webm", pool=pool) as decoder:
        decoded = feed_all(decoder, webm, size)
    whole = load(webm).samples
    assert len(decoded) == len(whole)
    assert np.abs(decoded - decoded.mean() - whole).max() < 1e-5


def test_webm_without_a_pool(webm):
    with StreamDecoder("webm") as decoder:
        assert len(decoder.feed(b"")) == 0
        assert len(feed_all(decoder, webm, 5000)) == 32_000


def test_streams_and_files_side_by_side(pool, webm, encode, voice):
    clip = encode(voice(0.5), 16_000, "WAV")
    with StreamDecoder("webm", pool=pool) as one, StreamDecoder("webm", pool=pool) as two:
        count = [0, 0]
        for at in range(0, len(webm), 1000):
            count[0] += len(one.feed(webm[at : at + 1000]))
            assert pool.decode(clip, max_seconds=5).seconds == 0.5
            count[1] += len(two.feed(webm[at : at + 1000]))
        assert count[0] + len(one.finish()) == count[1] + len(two.finish()) == 32_000


def test_an_error_closes_the_stream(pool):
    decoder = StreamDecoder("webm", pool=pool)
    with pytest.raises(AudioError, match=r"^<stream>: not WebM"):
        decoder.feed(b"RIFF and so on")
    with pytest.raises(AudioError, match=r"^<stream>: the stream has ended; start another one"):
        decoder.feed(b"more")
    decoder.close()


def test_after_the_end():
    decoder = StreamDecoder("pcm16")
    decoder.finish()
    with pytest.raises(AudioError, match="the stream has ended"):
        decoder.finish()


def test_half_a_sample():
    decoder = StreamDecoder("pcm16")
    assert len(decoder.feed(b"abc")) == 1
    with pytest.raises(AudioError, match="half a sample at the end"):
        decoder.finish()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_in_the_middle(pool, webm):
    decoder = StreamDecoder("webm", pool=pool)
    decoder.feed(webm[:3000])
    os.kill(decoder._decoder._worker.pid, signal.SIGABRT)  # type: ignore[attr-defined]
    with pytest.raises(AudioError, match=r"^<stream>: its decoder stopped in the middle"):
        feed_all(decoder, webm[3000:], 1000)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_piece_that_takes_too_long(webm):
    with StreamDecoder("webm", seconds=0.3) as decoder:
        decoder.feed(webm[:3000])
        os.kill(decoder._decoder._worker.pid, signal.SIGSTOP)  # type: ignore[attr-defined]
        with pytest.raises(AudioError, match=r"^<stream>: decoding takes longer than 0\.3 s"):
            decoder.feed(webm[3000:4000])


def test_a_closed_stream_leaves_no_process(pool, webm):
    decoder = StreamDecoder("webm", pool=pool)
    worker: Worker = decoder._decoder._worker  # type: ignore[attr-defined]
    decoder.feed(webm[:3000])
    decoder.close()
    assert worker._process.returncode is not None


def test_formats():
    assert STREAM_FORMATS == ("pcm16", "webm", "ogg")
    with pytest.raises(ConfigError, match="format is 'mp3'; give one of: pcm16, webm, ogg"):
        StreamDecoder("mp3")
    with pytest.raises(AudioError, match="sample rate 4000 Hz is outside"):
        StreamDecoder("pcm16", 4000)


def test_without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        MissingDependencyError, match=r"<stream>: webm needs .* pip install 'openkith\[media\]'"
    ):
        StreamDecoder("webm")


def test_huge_pieces_are_cut(pool, mux, voice):
    """A long recording in one piece is decoded in parts of 64 kB."""
    data = mux(np.tile(voice(2.0, 48_000), 6), 48_000, "webm", "libopus", live="1", cluster_time_limit="500")
    assert len(data) > 2**16
    file = io.BytesIO(data)
    with StreamDecoder("webm", pool=pool) as decoder:
        assert len(decoder.feed(file.read())) + len(decoder.finish()) == 12 * 16_000
