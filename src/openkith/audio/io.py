"""Audio in and out: a path, bytes or an array become mono float32 at 16 kHz, or an error with its remedy."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from openkith.audio.decode import open_stream
from openkith.audio.mixdown import mix_down, mono_blocks
from openkith.audio.stream import SAMPLE_RATE, Block, Stream, array_stream, check_rate, to_float
from openkith.errors import AudioError, KithError

__all__ = ["SAMPLE_RATE", "Audio", "load", "load_blocks", "save"]

MAX_SECONDS = 3600.0  # default limit of `load`


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono audio at 16 kHz. Two objects are equal only if they are the same object; compare `sha256`.

    Attributes:
        samples: (n,) float32, full scale 1, without DC.
        source: The path it was loaded from, or ``"<bytes>"`` or ``"<array>"``.
        sample_rate: Always 16000 Hz.
        native_rate: The sample rate that it was recorded at, in Hz.
        clipped: Share of the samples that were clipped, measured before resampling; None if not known.

    Raises:
        AudioError: The samples are not (n,) float32, or the rate is not 16 kHz.
    """

    samples: NDArray[np.float32]
    source: str
    sample_rate: int = SAMPLE_RATE
    native_rate: int = SAMPLE_RATE
    clipped: float | None = None

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype != np.float32:
            raise AudioError(
                f"{self.source}: samples must be a float32 array of shape (n,); make Audio with load()"
            )
        if self.sample_rate != SAMPLE_RATE:
            raise AudioError(
                f"{self.source}: sample_rate {self.sample_rate} of an Audio, which is always {SAMPLE_RATE}; "
                "load() resamples"
            )

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the samples as 16-bit integers: the same for one recording in WAV and in FLAC."""
        return hashlib.sha256(_to_int16(self.samples).tobytes()).hexdigest()

    def to_flac(self) -> bytes:
        """The audio as a FLAC file of 16 bits, which `load` gives back with the same `sha256`."""
        # Scaled here: libsndfile multiplies by 32767, and the recording would come back as another one.
        out = io.BytesIO()
        soundfile.write(out, _to_int16(self.samples), self.sample_rate, format="FLAC", subtype="PCM_16")
        return out.getvalue()


def load(
    source: str | Path | bytes | NDArray[Any] | Audio,
    sample_rate: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float = MAX_SECONDS,
) -> Audio:
    """Load audio as mono float32 at 16 kHz: the mean of the channels, resampled by soxr, DC removed.

    libsndfile reads WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF, W64 and SPHERE; M4A, WebM and other
    containers need the extra ``media``.

    Args:
        source: A path, the bytes of a file, an array, or an Audio, which passes through. An array is (n,),
            (n, channels) or (channels, n), of floating point with full scale 1 or of integers (`int16` is
            divided by 32768).
        sample_rate: The rate of an array in Hz; a file tells its own.
        start: Where the part to take begins, in seconds; None is the beginning. Only the part is decoded and
            checked where the format can seek.
        end: Where the part ends, in seconds; None is the end. One sample past the end of the file is taken
            for rounding.
        max_seconds: The longest audio (or part) that is accepted.

    Raises:
        AudioError: The source is missing, a folder, empty, not audio, truncated, has NaN or infinite samples,
            is digital silence, is shorter than 0.1 s or longer than `max_seconds`, has a rate outside 8 to
            192 kHz, or the part is not inside it. The message names the source and the remedy.
        MissingDependencyError: The container needs a package that is not installed.
    """
    if not (isinstance(max_seconds, int | float) and max_seconds > 0):
        raise AudioError(f"max_seconds={max_seconds!r} is not a length; give a number of seconds above 0")
    if isinstance(source, Audio):
        if start is None and end is None:
            return source
        stream = array_stream(source.samples, SAMPLE_RATE, source.source)
        samples, _ = mix_down(stream, source.source, start=start, end=end, max_seconds=max_seconds)
        return replace(source, samples=samples)
    if isinstance(source, np.ndarray):
        stream = array_stream(source, sample_rate, "<array>")
        samples, clipped = mix_down(stream, "<array>", start=start, end=end, max_seconds=max_seconds)
        return Audio(samples, "<array>", native_rate=stream.rate, clipped=clipped)
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        raise AudioError(
            f"<{type(source).__name__}>: not something to load; give a path, the bytes of a file, "
            "or a numpy array with its sample_rate"
        )
    data: Path | bytes = Path(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else bytes(source)
    name = _one_line(str(data)) if isinstance(data, Path) else "<bytes>"
    if sample_rate is not None:
        raise AudioError(
            f"{name}: sample_rate is the rate of an array, and a file tells its own; leave it out"
        )
    with _opened(data, name) as stream:
        samples, clipped = mix_down(stream, name, start=start, end=end, max_seconds=max_seconds)
        return Audio(samples, name, native_rate=stream.rate, clipped=clipped)


def load_blocks(path: str | Path) -> Generator[Block, None, None]:
    """Load a file of any length block by block, so that memory does not grow with it.

    Args:
        path: Of a file, as `load` takes them.

    Yields:
        Samples (n,) of mono float32 at 16 kHz. Together they are those that `load` gives, but for their mean, which
        is known at the end only and left in.

    Raises:
        AudioError: As `load`, but for silence, and none is too long.
        MissingDependencyError: The container needs a package that is not installed.
    """
    name = _one_line(os.fsdecode(path))
    with _opened(Path(os.fsdecode(path)), name) as stream:
        yield from mono_blocks(stream, name)


@contextmanager
def _opened(data: Path | bytes, name: str) -> Iterator[Stream]:
    """Audio data, open for reading; whatever goes wrong inside the block is an AudioError."""
    _check_file(data, name)
    try:
        with open_stream(data, name) as stream:
            yield stream
    except KithError:
        raise
    except Exception as error:  # the decoders raise what they like on damaged data
        reason = _one_line(str(getattr(error, "strerror", None) or error))[:100] or type(error).__name__
        raise AudioError(f"{name}: damaged or truncated ({reason}); copy or export the file again") from error


def save(path: str | Path, audio: Audio | NDArray[Any], sample_rate: int = SAMPLE_RATE) -> None:
    """Write a 16-bit WAV file. It is complete under a temporary name before it takes its own.

    Args:
        path: The file to write; one that exists is replaced.
        audio: An Audio, or samples (n,) as `load` takes them. What exceeds full scale is clipped.
        sample_rate: The rate of an array in Hz.

    Raises:
        AudioError: The samples are not finite numbers of shape (n,), or the file cannot be written.
    """
    target = Path(path)
    name = _one_line(str(target))
    samples = audio.samples if isinstance(audio, Audio) else np.asarray(audio)
    rate = audio.sample_rate if isinstance(audio, Audio) else check_rate(sample_rate, name)
    if samples.ndim != 1:
        raise AudioError(
            f"{name}: cannot save samples of shape {samples.shape}; give one channel of shape (n,)"
        )
    samples = to_float(samples, name)
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: cannot save NaN or infinite samples; repair what made them")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                soundfile.write(file, _to_int16(samples), rate, format="WAV", subtype="PCM_16")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(
            f"{name}: cannot write ({reason}); choose a folder that exists and is writable"
        ) from error


def _to_int16(samples: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _check_file(data: Path | bytes, name: str) -> None:
    """Refuse what is no regular file, or has no byte in it."""
    if isinstance(data, Path):
        try:
            if data.is_dir():
                raise AudioError(f"{name}: is a directory; give one audio file")
            if not data.exists():
                raise AudioError(f"{name}: no such file; check the path")
            if not data.is_file():
                raise AudioError(f"{name}: not a regular file; save the audio to a file first")
            size = data.stat().st_size
            with data.open("rb"):
                pass
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioError(
                f"{name}: cannot be read ({reason}); check the path and its permissions"
            ) from error
    else:
        size = len(data)
    if size == 0:
        raise AudioError(f"{name}: empty file (0 bytes); record or copy it again")
