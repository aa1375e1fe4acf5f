"""Opens a file or byte string of any container as a forward stream of blocks of samples.

libsndfile reads WAV, FLAC, Ogg (Vorbis, Opus), MP3 and a few more; FFmpeg's libraries, through the optional
package ``av``, read MP4/M4A, WebM and other containers. Only data that begin like a known container reach a
decoder, and the decoder is told which one it is: neither is left to guess.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from openkith.audio.ffmpeg import open_ffmpeg
from openkith.audio.stream import CONVERT, Block, Stream
from openkith.errors import AudioError

__all__ = ["open_stream"]

BLOCK_SAMPLES = 2**20  # samples of all channels that are decoded at a time
LOSSY_SLACK = 0.25  # seconds that a lossy file may fall short of what its header promises
UNKNOWN_FRAMES = 2**60  # libsndfile's count for a FLAC that does not tell its length is 2**63 - 1
STREAMED_BYTES = 0x7FFF_0000  # what writers to a pipe put for a size they cannot know is this or larger
HEAD_BYTES = 64  # enough to recognise every container below
MAX_CHUNKS = 1000  # RIFF and AIFF chunks looked at before the samples must have come

READABLE = "WAV, FLAC, OGG and MP3, and with openkith[media] M4A and WebM"
ASF = bytes.fromhex("3026b2758e66cf11")
EBML = bytes.fromhex("1a45dfa3")

# The demuxer that FFmpeg must use, by container. Those in the second table go to libsndfile first.
FFMPEG_ONLY = {
    "M4A/MP4": "mov",
    "WebM/Matroska": "matroska",
    "ASF": "asf",
    "AMR": "amr",
    "AAC": "aac",
    "FLV": "flv",
    "AVI": "avi",
}
FFMPEG_SECOND = {"WAV": "wav", "Ogg": "ogg", "AIFF": "aiff", "CAF": "caf"}


@contextmanager
def open_stream(data: Path | bytes, source: str) -> Iterator[Stream]:
    """Open audio data for reading.

    Args:
        data: A regular, not empty file, or the bytes of one.
        source: The name for error messages.

    Raises:
        AudioError: The data are not audio, or are truncated or damaged so that they cannot be opened.
        MissingDependencyError: The container needs the package ``av``.
    """
    with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as file:
        kind = _container(file.read(HEAD_BYTES))
        if kind is None:
            raise AudioError(f"{source}: not audio that openkith can read ({READABLE}); {CONVERT}")
        if kind in FFMPEG_ONLY:
            with open_ffmpeg(file, kind, FFMPEG_ONLY[kind], source) as stream:
                yield stream
            return
        repaired = _check_size(file, kind, source) if kind in ("WAV", "AIFF") else None
        try:
            opened = _Forward(repaired or _target(data, file))
        except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
            # Telephone and camera codecs inside a common container.
            if kind in FFMPEG_SECOND and importlib.util.find_spec("av") is not None:
                with open_ffmpeg(file, kind, FFMPEG_SECOND[kind], source) as stream:
                    yield stream
                return
            raise AudioError(
                f"{source}: {kind} data that are damaged, truncated or of an unknown codec; "
                f"copy or export the file again, or {CONVERT}"
            ) from error
        with opened:
            frames = int(opened.frames)
            lossless = opened.format == "FLAC" or opened.subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
            yield Stream(
                rate=int(opened.samplerate),
                frames=frames if frames < UNKNOWN_FRAMES else None,
                slack=0 if lossless else round(LOSSY_SLACK * opened.samplerate),
                read=opened.blocks_between,
            )


def _container(head: bytes) -> str | None:
    """The name of the container that begins like this, None if it is none that is known."""
    form = head[8:12]
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return {b"WAVE": "WAV", b"AVI ": "AVI"}.get(form)
    if head[:4] == b"FORM":
        return "AIFF" if form in (b"AIFF", b"AIFC") else None
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"styp", b"wide", b"free", b"skip"):
        return "M4A/MP4"
    for magic, kind in (
        (b"fLaC", "FLAC"),
        (b"OggS", "Ogg"),
        (b"ID3", "MP3"),
        (b"caff", "CAF"),
        (b".snd", "AU"),
        (b"riff", "W64"),
        (b"NIST_1A", "SPHERE"),
        (b"#!AMR", "AMR"),
        (b"FLV\x01", "FLV"),
        (EBML, "WebM/Matroska"),
        (ASF, "ASF"),
    ):
        if head.startswith(magic):
            return kind
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # an MPEG frame, of which layer?
        if head[1] & 0xF6 == 0xF0:
            return "AAC"
        return "MP3" if head[1] & 0x06 else None
    return None


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read on and on.

    soundfile seeks to where it is after each read of a seekable file. That fails at the end of a truncated
    FLAC and everywhere in one of unknown length; a file that claims not to be seekable is left alone.
    """

    def seekable(self) -> bool:
        return False

    def blocks_between(self, first: int, last: int | None) -> Generator[Block, None, None]:
        at = 0
        if first and self.frames < UNKNOWN_FRAMES:  # without a length libsndfile cannot seek
            at = self.seek(first)
        size = max(1, BLOCK_SAMPLES // self.channels)
        while last is None or at < last:
            block = self.read(size if last is None else min(size, last - at), dtype="float32", always_2d=True)
            if not len(block):
                return
            if at + len(block) > first:
                yield block[max(0, first - at) :]
            at += len(block)


class _Reader(io.RawIOBase):
    """A file object for soundfile, whose first bytes may be replaced.

    Damaged data make libsndfile seek to before their beginning. What Python raises then cannot pass through
    libsndfile, and would be printed: here such a seek does nothing.
    """

    def __init__(self, file: BinaryIO, head: bytes = b"") -> None:
        self._file, self._head = file, head

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with contextlib.suppress(OSError, ValueError, OverflowError):
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        at = self.tell()
        data = self._file.read(len(buffer))
        if at < len(self._head):
            patch = self._head[at : at + len(data)]
            data = patch + data[len(patch) :]
        buffer[: len(data)] = data
        return len(data)


def _target(data: Path | bytes, file: BinaryIO) -> Any:
    """What soundfile is given: the name of a file, or a file object."""
    # soundfile goes by the name, and would ask for the rate of a file.raw.
    if isinstance(data, bytes) or data.suffix.lower() == ".raw":
        file.seek(0)
        return _Reader(file)
    return os.fsencode(data) if os.name == "posix" else str(data)


def _check_size(file: BinaryIO, kind: str, source: str) -> _Reader | None:
    """Compare the bytes of samples that a WAV or AIFF header declares with those that are there.

    libsndfile reads what there is without a word.

    Returns:
        None, or the file with a header that libsndfile understands, where it was written to a pipe and its
        size of zero means "not known".

    Raises:
        AudioError: The file is truncated.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    form = file.read(12)
    order, wanted = (">", b"SSND") if kind == "AIFF" else ("<", b"data")
    if form[:4] == b"RIFX":
        order = ">"
    wide: int | None = None  # the 64-bit size of an RF64 file
    at = 12
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            break
        name, size = header[:4], int(struct.unpack(order + "I", header[4:])[0])
        there = length - at - 8
        if name == b"ds64" and there >= 16:
            wide = int(struct.unpack("<QQ", file.read(16))[1])
        if name == wanted:
            if size == 0xFFFF_FFFF and wide is not None and form[:4] in (b"RF64", b"BW64"):
                size = wide
            elif size >= STREAMED_BYTES:
                return None
            elif size == 0 and there > 0:
                return _Reader(file, _with_size(file, at, there, order))
            if size > there:
                raise AudioError(
                    f"{source}: truncated {kind} file, its header promises {size} bytes of samples and "
                    f"{there} are there; copy or export the file again"
                )
            return None
        at += 8 + size + size % 2
    declared = 8 + int(struct.unpack(order + "I", form[4:8])[0]) if len(form) == 12 else length + 1
    if declared > length and declared < STREAMED_BYTES:
        raise AudioError(
            f"{source}: truncated {kind} file, it ends before the samples; copy or export the file again"
        )
    return None


def _with_size(file: BinaryIO, at: int, size: int, order: str) -> bytes:
    """The head of a RIFF file with the sizes filled in; the chunk of samples begins at `at`."""
    file.seek(0)
    head = bytearray(file.read(at + 8))
    head[at + 4 : at + 8] = struct.pack(order + "I", min(size, 0xFFFF_FFFF))
    head[4:8] = struct.pack(order + "I", min(at + size, 0xFFFF_FFFF))
    file.seek(0)
    return bytes(head)
