"""Audio that arrives in pieces, from a microphone or a browser, becomes mono float32 at 16 kHz as it comes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Protocol

import numpy as np
import soxr

from openkith.audio.isolated.container_stream import CONTAINERS
from openkith.audio.isolated.sandbox import DecodePool, Worker
from openkith.audio.stream import SAMPLE_RATE, Block, check_rate
from openkith.errors import AudioError, ConfigError, require

__all__ = ["STREAM_FORMATS", "StreamDecoder"]

PCM = "pcm16"
STREAM_FORMATS = (PCM, *CONTAINERS)
PIECE_BYTES = 2**16  # longer pieces go to the worker in parts, so that what each decodes to is bounded
SOURCE = "<stream>"


class StreamDecoder:
    """Decodes a stream of bytes that is cut anywhere; DC is left in, and levels are as they come.

    "pcm16" is 16-bit little-endian samples of one channel, decoded here. Anything else is a container with any codec,
    such as a browser's MediaRecorder sends; it is decoded in a process of its own, under the limits of a `DecodePool`.

    Args:
        format: One of `STREAM_FORMATS`.
        sample_rate: Of "pcm16", in Hz; a container tells its own.
        pool: Lends a warm process and says its limits; None starts one, which takes about half a second.
        seconds: Without a pool: the longest time for a piece of 64 kB.
        memory_mb: Without a pool: memory that the stream may take, in MB.

    Raises:
        ConfigError: The format is unknown.
        AudioError: The sample rate is out of range.
        MissingDependencyError: A container needs the extra ``media``.
        KithError: The system cannot start a process.
    """

    def __init__(
        self,
        format: str,
        sample_rate: int = SAMPLE_RATE,
        *,
        pool: DecodePool | None = None,
        seconds: float = 10.0,
        memory_mb: int = 1024,
    ) -> None:
        if format not in STREAM_FORMATS:
            raise ConfigError(f"format is {format!r}; give one of: {', '.join(STREAM_FORMATS)}")
        self._decoder: _Decoder
        if format == PCM:
            self._decoder = _Pcm(check_rate(sample_rate, SOURCE))
        else:
            if importlib.util.find_spec("av") is None:
                require("av", "media", f"{SOURCE}: {format}")
            self._decoder = _Contained(
                format, pool.detach if pool is not None else lambda: Worker(seconds, memory_mb)
            )
        self._open = True

    def __enter__(self) -> StreamDecoder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def feed(self, data: bytes) -> Block:
        """Take the next bytes, any number of them.

        Returns:
            The samples (n,) that can be had by now; n is 0 at times.

        Raises:
            AudioError: The bytes cannot be decoded, take too much time or memory, or come after the end. The stream
                is closed then.
        """
        return self._guarded(lambda: self._decoder.feed(data))

    def finish(self) -> Block:
        """End the stream: the last samples (n,), which filters had held back. Errors as of `feed`."""
        samples = self._guarded(self._decoder.finish)
        self.close()
        return samples

    def close(self) -> None:
        """Let go of the process; closing twice does nothing."""
        self._open = False
        self._decoder.close()

    def _guarded(self, step: Callable[[], Block]) -> Block:
        if not self._open:
            raise AudioError(f"{SOURCE}: the stream has ended; start another one")
        try:
            return step()
        except BaseException:
            self.close()
            raise


class _Decoder(Protocol):
    """One way to decode a stream."""

    def feed(self, data: bytes) -> Block:
        """The samples that can be had by now."""

    def finish(self) -> Block:
        """The last samples."""

    def close(self) -> None:
        """Let go of everything."""


class _Pcm:
    """16-bit little-endian samples."""

    def __init__(self, rate: int) -> None:
        self._resampler = (
            None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        )
        self._odd = b""

    def feed(self, data: bytes) -> Block:
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        return self._resample(
            np.frombuffer(data[:whole], dtype="<i2").astype(np.float32) / np.float32(32768), False
        )

    def finish(self) -> Block:
        if self._odd:
            raise AudioError(f"{SOURCE}: half a sample at the end; send 16-bit samples, two bytes each")
        return self._resample(np.empty(0, dtype=np.float32), True)

    def close(self) -> None:
        self._odd = b""

    def _resample(self, samples: Block, last: bool) -> Block:
        if self._resampler is None:
            return samples
        resampled: Block = self._resampler.resample_chunk(samples, last=last)
        return resampled


class _Contained:
    """A container, in a worker."""

    def __init__(self, form: str, start: Callable[[], Worker]) -> None:
        self._worker = start()
        try:
            self._worker.begin_stream(form)
        except BaseException:
            self._worker.kill()
            raise

    def feed(self, data: bytes) -> Block:
        parts = (memoryview(data)[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
        return np.concatenate([np.empty(0, dtype=np.float32), *(self._worker.piece(part) for part in parts)])

    def finish(self) -> Block:
        return self._worker.end_stream()

    def close(self) -> None:
        self._worker.kill()
