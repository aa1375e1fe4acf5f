"""Files that strangers might send to take a decoder down, made in a moment."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE = 8000


def bomb(minutes: int, channels: int = 1, told: bool = True) -> bytes:
    """A FLAC of silence with a click each minute: a few bytes for each thousand samples."""
    file = io.BytesIO()
    block = np.zeros((60 * RATE, channels), np.int16)
    block[0] = 9000
    with soundfile.SoundFile(file, "w", RATE, channels, format="FLAC", subtype="PCM_16") as out:
        for _ in range(minutes):
            out.write(block)
    return file.getvalue() if told else declare_flac(file.getvalue(), 0)


def declare_flac(data: bytes, frames: int) -> bytes:
    """A FLAC whose header promises another length; 0 is "not known"."""
    assert data[:4] == b"fLaC"
    work = bytearray(data)
    at = 8 + 13  # STREAMINFO: its byte 13 ends with the upper 4 of 36 bits
    work[at] = work[at] & 0xF0 | frames >> 32
    work[at + 1 : at + 5] = struct.pack(">I", frames & 0xFFFF_FFFF)
    return bytes(work)


def wav(
    declared: int,
    data: bytes = b"",
    *,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
) -> bytes:
    """A WAV whose header says whatever it likes."""
    align = channels * bits // 8 if align is None else align
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * align, 2**32 - 1), align & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", declared) + data
    return b"RIFF" + struct.pack("<I", min(4 + len(body), 2**32 - 1)) + body


def rf64(declared: int, data: bytes) -> bytes:
    """An RF64 file that promises a 64-bit number of bytes."""
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    sizes = struct.pack("<QQQI", declared + 100, declared, declared // 2, 0)
    body = b"WAVEds64" + struct.pack("<I", len(sizes)) + sizes + b"fmt " + struct.pack("<I", len(form)) + form
    return b"RF64\xff\xff\xff\xff" + body + b"data\xff\xff\xff\xff" + data


CLICKS = np.where(np.arange(RATE) % 400 == 0, 9000, 0).astype("<i2").tobytes()  # a second of it

# Name: the bytes, and what the answer says.
REFUSED: dict[str, tuple[bytes, str]] = {
    "ten hours by the header of a short FLAC": (
        declare_flac(bomb(1), 36_000 * RATE),
        r"over the limit of 30 s",
    ),
    "a FLAC that is longer than its header": (declare_flac(bomb(3), 0), r"over the limit of 30 s"),
    "ten hours of silence by the header of a WAV": (wav(36_000 * RATE * 2, CLICKS), r"truncated WAV"),
    "four gigabytes by the header of a WAV": (wav(0x7FFE_FFFF, CLICKS), r"truncated WAV"),
    "an exabyte by the header of an RF64": (rf64(2**60, CLICKS), r"truncated WAV|over the limit|damaged"),
    "a WAV of 65535 channels": (wav(65_535 * 2, b"\1" * 65_535 * 2, channels=65_535), r"damaged|truncated"),
    "a WAV of no channel": (wav(len(CLICKS), CLICKS, channels=0, align=0), r"damaged|truncated"),
    "a WAV of four gigahertz": (wav(len(CLICKS), CLICKS, rate=2**32 - 1), r"damaged|outside 8000 to 192000"),
    "a WAV of no hertz": (wav(len(CLICKS), CLICKS, rate=0), r"damaged|outside 8000 to 192000"),
    "a WAV of many chunks": (
        b"RIFF" + struct.pack("<I", 800_004) + b"WAVE" + b"junk\0\0\0\0" * 100_000,
        r"damaged|truncated",
    ),
    "silence": (wav(2 * RATE, bytes(2 * RATE)), r"digital silence"),
    "half a FLAC": (bomb(1)[: len(bomb(1)) // 2], r"over the limit|truncated|damaged"),
    "half a WAV": (wav(len(CLICKS), CLICKS)[: len(CLICKS) // 2], r"truncated WAV"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(1000), r"not audio"),
    "an archive": (b"PK\x03\x04" + bytes(1000), r"not audio"),
    "a program": (b"\x7fELF" + bytes(1000), r"not audio"),
    "a page": (b"<!DOCTYPE html><script>alert(1)</script>", r"not audio"),
    "a playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n", r"not audio"),
    "a list of files": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", r"not audio"),
    "a session description": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n", r"not audio"),
    "a shell line": (b"; cat /etc/passwd |", r"not audio"),
    "one byte": (b"R", r"not audio"),
    "nothing": (b"", r"empty file"),
    "a WebM head and noise": (
        bytes.fromhex("1a45dfa3") + bytes(range(256)) * 20,
        r"damaged|needs the package",
    ),
    "an MP4 head and noise": (b"\0\0\0\x18ftypM4A " + bytes(range(256)) * 20, r"damaged|needs the package"),
    "an Ogg head and noise": (b"OggS" + bytes(range(256)) * 20, r"damaged"),
}
