"""Messages arrive as they were sent, however the pipe cuts them."""

from __future__ import annotations

import io

import numpy as np
import pytest

from openkith.audio.isolated import wire


class Crumbs(io.RawIOBase):
    """A pipe that takes and gives three bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def write(self, data) -> int:
        self.data += bytes(data[:3])
        return min(3, len(data))

    def readinto(self, buffer) -> int:
        part = self.data[: min(3, len(buffer))]
        buffer[: len(part)] = part
        del self.data[: len(part)]
        return len(part)


def test_round_trip():
    pipe = Crumbs()
    samples = np.arange(5, dtype="<f4")
    wire.send(pipe, wire.AUDIO, wire.AUDIO_HEAD.pack(48_000, 0.25), samples.data)
    wire.send(pipe, wire.END)
    kind, payload = wire.receive(pipe, 100)
    assert kind == wire.AUDIO
    assert wire.AUDIO_HEAD.unpack_from(payload) == (48_000, 0.25)
    assert np.array_equal(np.frombuffer(payload[wire.AUDIO_HEAD.size :], "<f4"), samples)
    assert wire.receive(pipe, 100) == (wire.END, b"")


def test_the_form_on_the_pipe():
    pipe = Crumbs()
    wire.send(pipe, b"F", b"ab", b"c")
    assert bytes(pipe.data) == b"F" + (3).to_bytes(8, "little") + b"abc"


@pytest.mark.parametrize("left", [0, 1, 8, 9, 11])
def test_the_other_end_has_closed(left):
    pipe = Crumbs()
    wire.send(pipe, wire.CHUNK, b"abc")
    with pytest.raises(EOFError, match="closed"):
        wire.receive(Crumbs(bytes(pipe.data[:left])), 100)


def test_too_long_is_not_read():
    pipe = Crumbs(b"F" + (2**62).to_bytes(8, "little"))
    with pytest.raises(ValueError, match="over the limit of 100"):
        wire.receive(pipe, 100)


def test_every_kind_is_another():
    kinds = [getattr(wire, name) for name in wire.__all__ if isinstance(getattr(wire, name), bytes)]
    assert len(kinds) == len(set(kinds)) == 10
    assert all(len(kind) == 1 for kind in kinds)
