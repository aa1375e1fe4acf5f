"""Containers that need the extra `media`."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from openkith.audio import load
from openkith.errors import AudioError, KithError, MissingDependencyError

av = pytest.importorskip("av")

CONTAINERS = {
    "m4a": (48_000, "ipod", "aac"),
    "mp4 in fragments": (44_100, "mp4", "aac"),
    "webm": (48_000, "webm", "libopus"),
    "mkv": (44_100, "matroska", "pcm_s16le"),
    "aac": (44_100, "adts", "aac"),
    "alac": (44_100, "ipod", "alac"),
    "mp3 in wav": (44_100, "wav", "libmp3lame"),
}
OPTIONS = {"mp4 in fragments": {"movflags": "frag_keyframe+empty_moov"}}


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.rint(10_000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(
        np.int16
    )


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("stereo", [False, True])
@pytest.mark.parametrize("as_file", [False, True])
def test_round_trip(tmp_path, mux, name, stereo, as_file):
    rate, container, codec = CONTAINERS[name]
    samples = np.stack([tone(rate)] * 2, axis=1) if stereo else tone(rate)
    data = mux(samples, rate, container, codec, **OPTIONS.get(name, {}))
    path = tmp_path / "clip.m4a"
    path.write_bytes(data)
    audio = load(path if as_file else data)
    assert audio.source == (str(path) if as_file else "<bytes>")
    assert audio.seconds == pytest.approx(1.0, abs=0.08)  # with what the encoder puts before and after
    assert audio.native_rate == rate
    middle = audio.samples[4000:12_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(8000)))
    assert np.argmax(spectrum) == 440 / 2
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(10_000 / 32768, rel=0.06)


def test_part(mux):
    hiss = np.random.default_rng(0).integers(-50, 50, 48_000).astype(np.int16)
    data = mux(np.concatenate([tone(48_000), hiss, tone(48_000)]), 48_000, "ipod", "aac")
    loud, quiet = load(data, start=0.2, end=0.8), load(data, start=1.2, end=1.8)
    assert loud.seconds == quiet.seconds == 0.6
    assert np.abs(loud.samples).max() > 0.25
    assert np.abs(quiet.samples).max() < 0.01
    with pytest.raises(AudioError, match=r"^<bytes>: end=9 is outside the file, which is 3\.\d+ s long"):
        load(data, end=9)


def test_too_long(mux):
    data = mux(tone(48_000), 48_000, "webm", "libopus")
    with pytest.raises(AudioError, match=r"over the limit of 0.5 s"):
        load(data, max_seconds=0.5)


@pytest.mark.parametrize("name", ["m4a", "webm", "mkv", "aac", "alac"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_truncated(mux, name, share):
    rate, container, codec = CONTAINERS[name]
    data = mux(tone(rate, 2.0), rate, container, codec)
    with pytest.raises(AudioError, match=r"^<bytes>: .*truncated.*(copy|record|convert)"):
        load(data[: int(share * len(data))])


def test_truncated_m4a_with_its_index_first(mux):
    data = mux(tone(44_100, 2.0), 44_100, "ipod", "aac")
    at = data.index(b"mdat") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    moov = bytearray(data[at + size :])
    assert moov[4:8] == b"moov"
    where = moov.index(b"stco") + 8  # chunk offsets move by the length of the index
    for k in range(int.from_bytes(moov[where : where + 4], "big")):
        field = slice(where + 4 + 4 * k, where + 8 + 4 * k)
        moov[field] = (int.from_bytes(moov[field], "big") + len(moov)).to_bytes(4, "big")
    streamable = data[:at] + bytes(moov) + data[at : at + size]
    assert load(streamable).sha256 == load(data).sha256
    with pytest.raises(AudioError, match="truncated"):
        load(streamable[: -size // 2])


def test_without_av(tmp_path, monkeypatch, mux):
    path = tmp_path / "memo.m4a"
    path.write_bytes(mux(tone(48_000), 48_000, "ipod", "aac"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: M4A/MP4 needs the package 'av': pip install 'openkith[media]', "
        "or convert it with `ffmpeg -i IN -ar 16000 -ac 1 OUT.wav`"
    )
    assert isinstance(caught.value, KithError)


def test_a_film_without_sound():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), format="yuv420p")
        for packet in (*stream.encode(picture), *stream.encode(None)):
            out.mux(packet)
    with pytest.raises(
        AudioError, match=r"^<bytes>: WebM/Matroska file without an audio track; give a recording"
    ):
        load(file.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"<?xml version='1.0'?><MPD></MPD>",
    ],
)
def test_playlists_are_not_audio(data):
    """They would have FFmpeg open other files and addresses."""
    with pytest.raises(AudioError, match="not audio that openkith can read"):
        load(data + b" " * 200)
