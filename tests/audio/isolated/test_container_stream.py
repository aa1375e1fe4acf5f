"""A container in pieces: each piece is answered with what could be decoded by then."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from openkith.audio import load
from openkith.audio.isolated import container_stream
from openkith.audio.isolated.container_stream import CONTAINERS, decode_pieces
from openkith.errors import AudioError, MissingDependencyError

av = pytest.importorskip("av")

# How a browser's recorder writes: unseekable, clusters of a second, no index, no length.
LIVE = {
    "webm": ("webm", {"live": "1", "cluster_time_limit": "1000"}),
    "ogg": ("ogg", {"page_duration": "200000"}),
}


class Unseekable(io.RawIOBase):
    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += bytes(data)
        return len(data)


def record(form: str, samples: np.ndarray, codec: str = "libopus", rate: int = 48_000) -> bytes:
    """int16 (n,) or (n, 2) as a recorder of a live signal writes it, in frames of 20 ms."""
    container, options = LIVE[form]
    file = Unseekable()
    layout = "mono" if samples.ndim == 1 else "stereo"
    step = rate // 50
    with av.open(file, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        for at in range(0, len(samples), step):
            part = np.ascontiguousarray(samples[at : at + step]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, at
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return bytes(file.data)


def run(form: str, data: bytes, cut: Callable[[bytes], Iterator[bytes]]) -> list[np.ndarray]:
    """What each piece, and the end, gives."""
    answers: list[np.ndarray] = []
    pieces = cut(data)
    sent = 0

    def receive() -> bytes:
        nonlocal sent
        assert len(answers) == sent  # each piece is answered before the next is asked for
        sent += 1
        return next(pieces, b"")

    decode_pieces(form, receive, answers.append)
    assert len(answers) == sent
    return answers


def every(size: int) -> Callable[[bytes], Iterator[bytes]]:
    return lambda data: (data[at : at + size] for at in range(0, len(data), size))


def at_random(seed: int) -> Callable[[bytes], Iterator[bytes]]:
    rng = np.random.default_rng(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = int(math.exp(rng.uniform(0, math.log(5000))))
            yield data[at : at + size]
            at += size

    return cut


@pytest.fixture(scope="module")
def recordings(voice) -> dict[str, bytes]:
    return {form: record(form, voice(3.0, 48_000)) for form in CONTAINERS}


@pytest.mark.parametrize("form", CONTAINERS)
def test_the_recordings_are_as_a_browser_makes_them(recordings, form):
    data = recordings[form]
    assert data.startswith(CONTAINERS[form].mark)
    if form == "webm":
        assert b"OpusHead" in data
        assert data.count(bytes.fromhex("1f43b675")) >= 3  # clusters
        assert bytes.fromhex("1c53bb6b") not in data  # no index
        assert bytes.fromhex("1853806701ffffffffffffff") in data  # a segment of unknown size


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("cut", [every(1), every(7), every(333), every(10**9), *map(at_random, range(4))])
def test_cut_anywhere(recordings, form, cut):
    """The same samples come out, whole and in order, as of the file decoded at once."""
    whole = load(recordings[form]).samples
    decoded = np.concatenate(run(form, recordings[form], cut))
    assert decoded.dtype == np.float32
    assert len(decoded) == len(whole) == 48_000
    assert np.abs(decoded - decoded.mean() - whole).max() < 1e-5


def test_nothing_waits_for_the_next_piece(recordings):
    """With a piece each 100 ms, what has been decoded is never more than 130 ms behind what was sent."""
    data = recordings["webm"]
    size = len(data) // 30
    answers = run("webm", data, every(size))
    seconds = np.cumsum([len(answer) for answer in answers[:-1]]) / 16_000
    sent = np.minimum(3.0, np.arange(1, len(seconds) + 1) * size / len(data) * 3.0)
    assert (sent - seconds)[1:].max() < 0.2
    assert seconds[-1] > 2.9


@pytest.mark.parametrize(("form", "codec", "rate"), [("ogg", "flac", 44_100), ("webm", "libopus", 48_000)])
def test_other_codecs_and_stereo(voice, form, codec, rate):
    """The mean of the channels."""
    one = voice(1.0, rate)
    data = record(form, np.stack([one, np.zeros_like(one)], axis=1), codec, rate)
    decoded = np.concatenate(run(form, data, every(500)))
    assert len(decoded) == 16_000
    half = load(one, rate).samples / 2
    assert np.corrcoef(decoded, half)[0, 1] > 0.99
    assert np.std(decoded) == pytest.approx(np.std(half), rel=0.05)


def test_a_cut_end_is_no_error(recordings):
    """The one who records closes the tab."""
    for form, data in recordings.items():
        for share in (0.5, 0.77, 0.9):
            part = data[: round(share * len(data))]
            decoded = np.concatenate(run(form, part, every(400)))
            assert share * 3 - 0.7 < len(decoded) / 16_000 <= share * 3 + 0.15, (form, share)


def test_nothing_at_all():
    assert [len(answer) for answer in run("webm", b"", every(1))] == [0]


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        ("webm", b"OggS" + bytes(100), "not WebM, which was announced; send one of webm, ogg under its name"),
        ("ogg", b"RIFF" + bytes(100), "not Ogg"),
        ("webm", b"\x1a", "not WebM"),
        ("webm", b"#EXTM3U\nfile:///etc/passwd\n", "not WebM"),
        (
            "webm",
            bytes.fromhex("1a45dfa3") + bytes(range(256)) * 8,
            "WebM data that are damaged or incomplete",
        ),
        ("ogg", b"OggS" + bytes(range(256)) * 8, "Ogg data that are damaged or incomplete"),
    ],
)
def test_refused(form, data, message):
    for size in (3, 10**9):
        with pytest.raises(AudioError, match=message) as caught:
            run(form, data, every(size))
        assert str(caught.value).startswith("<stream>: ")


def test_a_header_alone_is_incomplete(recordings):
    with pytest.raises(AudioError, match="damaged or incomplete"):
        run("webm", recordings["webm"][:60], every(10))


def test_a_film_without_sound():
    file = Unseekable()
    with av.open(file, "w", format="webm") as out:
        stream = out.add_stream("libvpx", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    with pytest.raises(AudioError, match="without an audio track"):
        run("webm", bytes(file.data), every(100))


def test_damaged_streams(recordings):
    """Damage anywhere gives samples or an AudioError, and every piece its answer."""
    heard = refused = 0
    for case in range(60):
        rng = np.random.default_rng(case)
        form = ("webm", "ogg")[case % 2]
        work = bytearray(recordings[form])
        for at in rng.integers(0, len(work) if case % 3 else 400, 12):
            work[at] = int(rng.integers(256))
        try:
            heard += len(np.concatenate(run(form, bytes(work), at_random(case)))) > 0
        except AudioError:
            refused += 1
    assert heard > 10
    assert refused > 5


def test_too_much_in_one_piece(recordings, monkeypatch):
    """A piece can hold hours of silence; more than is allowed is refused, while small pieces pass."""
    monkeypatch.setattr(container_stream, "MAX_PIECE_SECONDS", 1.0)
    with pytest.raises(AudioError, match="more than 1 s of audio in one piece; send it as it is recorded"):
        run("webm", recordings["webm"], every(10**9))
    assert len(np.concatenate(run("webm", recordings["webm"], every(500)))) == 48_000


@pytest.mark.parametrize(
    ("block", "rate", "message"),
    [
        (np.full((10, 1), 0.5), 48_000, "the sample rate changes from 16000 to 48000 Hz; record at one rate"),
        (np.full((10, 2), np.nan), 16_000, "NaN or infinite samples"),
        (np.full((10, 1), 900.0), 16_000, "samples of up to 900"),
    ],
)
def test_samples_that_are_none(block, rate, message):
    output = container_stream._Output()
    output.add(np.full((10, 1), 0.5, np.float32), 16_000)
    with pytest.raises(AudioError, match=message):
        output.add(block.astype(np.float32), rate)


def test_without_av(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'openkith\[media\]'"):
        run("webm", b"", every(1))
