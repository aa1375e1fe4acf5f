"""Decodes a container that arrives in pieces, such as what a browser's MediaRecorder sends, as far as it has come.

FFmpeg's libraries pull: they call for bytes when they need some. So each piece is answered at the moment when they
call for more than there is, with all that could be decoded until then, and no piece waits for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from openkith.audio.ffmpeg import frame_block
from openkith.audio.stream import SAMPLE_RATE, Block, check_amplitude, check_rate
from openkith.errors import AudioError, KithError, require

__all__ = ["CONTAINERS", "decode_pieces"]

SOURCE = "<stream>"  # its name in error messages
MAX_PIECE_SECONDS = 600.0  # of audio that one piece may decode to: less than a hostile one could hold


@dataclass(frozen=True)
class Container:
    """A container that can be read without seeking.

    Attributes:
        title: What people call it.
        demuxer: FFmpeg's name for it.
        mark: The bytes that it begins with.
    """

    title: str
    demuxer: str
    mark: bytes


CONTAINERS = {
    "webm": Container("WebM", "matroska", bytes.fromhex("1a45dfa3")),
    "ogg": Container("Ogg", "ogg", b"OggS"),
}
"""By the name of the format. MP4 is none of them: its demuxer needs to seek."""


def decode_pieces(form: str, receive: Callable[[], bytes], emit: Callable[[Block], None]) -> None:
    """Decode a stream of bytes, cut anywhere, into mono float32 at 16 kHz; DC is left in.

    Args:
        form: One of `CONTAINERS`.
        receive: Gives the next piece, and waits for it; empty at the end of the stream.
        emit: Is given the samples (n,) that a piece made it possible to decode, n being 0 at times: once after each
            piece, and once after the end.

    Raises:
        AudioError: The bytes are not what `form` says, are damaged, have no audio, or a piece holds too much of it.
        MissingDependencyError: av is not installed.
    """
    av = require("av", "media", f"{SOURCE}: {form}")
    container = CONTAINERS[form]
    output = _Output()
    pieces = _Pieces(receive, lambda: emit(output.take()))
    head = pieces.peek(len(container.mark))
    if head:
        if head != container.mark:
            raise AudioError(
                f"{SOURCE}: not {container.title}, which was announced; "
                f"send one of {', '.join(CONTAINERS)} under its name, or pcm16"
            )
        try:
            with av.open(pieces, mode="r", format=container.demuxer, metadata_errors="ignore") as opened:
                if not opened.streams.audio:
                    raise AudioError(
                        f"{SOURCE}: {container.title} without an audio track; record with a microphone"
                    )
                for frame in opened.decode(opened.streams.audio[0]):
                    output.add(frame_block(frame, SOURCE), int(frame.sample_rate))
        except (KithError, MemoryError):
            raise
        except Exception as error:  # av raises OSError, ValueError and more, according to what it meets
            if not (pieces.ended and output.started):  # the end of a recording may be cut
                raise AudioError(
                    f"{SOURCE}: {container.title} data that are damaged or incomplete; start the stream again"
                ) from error
    for _ in pieces.rest():
        pass  # behind the end that the container itself declares
    output.finish()
    emit(output.take())


class _Pieces:
    """A file object for av over pieces that arrive; it cannot seek."""

    def __init__(self, receive: Callable[[], bytes], answer: Callable[[], None]) -> None:
        self._receive, self._answer = receive, answer
        self._waiting = b""
        self._asked = False  # has a piece come that is not answered yet?
        self.ended = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; waits for a piece where none are left. Empty at the end of the stream."""
        while not self._waiting and not self.ended:
            self._waiting = self._next()
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer where the stream ends before."""
        while len(self._waiting) < size and not self.ended:
            self._waiting += self._next()
        return self._waiting[:size]

    def rest(self) -> Iterator[bytes]:
        """All further pieces."""
        while not self.ended:
            yield self._next()

    def _next(self) -> bytes:
        if self._asked:
            self._answer()
        piece = self._receive()
        self._asked, self.ended = True, not piece
        return piece


class _Output:
    """Blocks of samples of any rate and number of channels, collected as mono at 16 kHz."""

    def __init__(self) -> None:
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._blocks: list[Block] = []
        self._count = 0

    @property
    def started(self) -> bool:
        """Whether a sample has come."""
        return self._rate > 0

    def add(self, block: Block, rate: int) -> None:
        """Take samples (frames, channels)."""
        if not len(block):
            return
        if not self._rate:
            self._rate = check_rate(rate, SOURCE)
            if rate != SAMPLE_RATE:
                self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        if rate != self._rate:
            raise AudioError(
                f"{SOURCE}: the sample rate changes from {self._rate} to {rate} Hz; record at one rate"
            )
        if not np.isfinite(block).all():
            raise AudioError(f"{SOURCE}: NaN or infinite samples; start the recording again")
        check_amplitude(float(np.abs(block).max()), SOURCE)
        mono = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        self._keep(mono if self._resampler is None else self._resampler.resample_chunk(mono))
        if self._count > MAX_PIECE_SECONDS * SAMPLE_RATE:
            raise AudioError(
                f"{SOURCE}: more than {MAX_PIECE_SECONDS:g} s of audio in one piece; send it as it is recorded"
            )

    def finish(self) -> None:
        """Let out what the resampler holds back."""
        if self._resampler is not None:
            self._keep(self._resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))

    def take(self) -> Block:
        """Everything since the last call, (n,)."""
        blocks, self._blocks, self._count = self._blocks, [], 0
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)

    def _keep(self, samples: Block) -> None:
        self._blocks.append(samples)
        self._count += len(samples)
