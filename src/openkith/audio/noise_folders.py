"""The user's own recordings of noise, music, talk and rooms, for augmentation.

Understood are MUSAN (Snyder et al., 2015: ``noise/``, ``music/``, ``speech/``) and RIRS_NOISES (Ko et al., 2017:
``simulated_rirs/``, ``real_rirs_isotropic_noises/``, ``pointsource_noises/``), alone or side by side in one
folder, folders of those names (or ``rirs/``) of one's own, and a plain folder, which is noise unless it is said to be
something else.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from openkith.audio.degrade import Samples
from openkith.audio.io import SAMPLE_RATE, load
from openkith.errors import AudioError, ConfigError

__all__ = ["NOISE_FOLDER_KINDS", "NoiseFolderKind", "NoiseTree", "load_noise_tree"]

NoiseFolderKind = Literal["noise", "music", "speech", "response"]
NOISE_FOLDER_KINDS: tuple[NoiseFolderKind, ...] = get_args(NoiseFolderKind)

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".sph")
NOISE_NAME = re.compile(r"(^|[_-])noise([_-]|$)")  # a noise among the responses of real_rirs_isotropic_noises


def _real_rirs(path: Path) -> NoiseFolderKind:
    return "noise" if NOISE_NAME.search(path.stem.lower()) else "response"


# A folder's name -> what is in it.
FOLDERS: dict[str, Callable[[Path], NoiseFolderKind]] = {
    "noise": lambda _: "noise",
    "noises": lambda _: "noise",
    "pointsource_noises": lambda _: "noise",
    "music": lambda _: "music",
    "speech": lambda _: "speech",
    "simulated_rirs": lambda _: "response",
    "real_rirs_isotropic_noises": _real_rirs,
    "rirs": lambda _: "response",
    "rir": lambda _: "response",
    "impulse_responses": lambda _: "response",
}

DRAWS = 8  # stretches looked at for one that is not silent
SHORTEST_READ = 0.25  # seconds; a shorter stretch is cut from so much
LONGEST_UNSEEKABLE = 1800.0  # seconds of a file that is read whole, since its length is not known beforehand
LONGEST_RESPONSE = 10.0  # seconds
SILENT = 1e-6  # RMS


@dataclass(frozen=True)
class NoiseTree:
    """The files of a folder, by what they hold.

    Attributes:
        root: The folder.
        files: Kind ("noise", "music", "speech", "response") -> files, sorted.
    """

    root: Path
    files: dict[NoiseFolderKind, tuple[Path, ...]]

    @property
    def kinds(self) -> tuple[NoiseFolderKind, ...]:
        """The kinds that it has files of."""
        return tuple(kind for kind in NOISE_FOLDER_KINDS if self.files.get(kind))

    def draw(self, kind: NoiseFolderKind, n: int, rng: np.random.Generator) -> Samples:
        """A stretch of noise, music or speech from a random place of a random file, with RMS 1.

        Only the stretch is read. A shorter file is repeated. Digital silence is drawn again.

        Args:
            kind: Which files.
            n: Samples at 16 kHz.
            rng: Draws the file and the place.

        Raises:
            ConfigError: The folder has no file of that kind, or n is under 1.
            AudioError: A file is not usable, or nothing but silence is found; the message names folder and file.
        """
        if n < 1:
            raise ConfigError(f"{self.root}: a stretch of {n} samples; ask for 1 or more")
        path = self._files(kind)[0]
        for _ in range(DRAWS):
            path = self._pick(kind, rng)
            x = self._stretch(path, n, rng)
            rms = float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if len(x) else 0.0
            if rms > SILENT:
                return np.asarray(np.resize(x, n) / np.float32(rms), dtype=np.float32)
        raise AudioError(
            f"{self.root}: {DRAWS} stretches drawn were silent, the last one in {path}; remove silent recordings"
        )

    def draw_response(self, rng: np.random.Generator) -> Samples:
        """An impulse response (m,) at 16 kHz: a random channel of a random file, at most 10 s.

        Raises:
            ConfigError: The folder has no responses.
            AudioError: A file is not usable; the message names folder and file.
        """
        path = self._pick("response", rng)
        try:
            with soundfile.SoundFile(path) as file:
                rate = file.samplerate
                frames = file.read(round(LONGEST_RESPONSE * rate), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioError(
                f"{self.root}: cannot read the impulse response {path} ({error}); remove it"
            ) from error
        channels = frames.shape[1]
        response = frames[:, int(rng.integers(channels))] if channels else frames.reshape(-1)
        if not len(response) or not np.isfinite(response).all() or not response.any():
            raise AudioError(
                f"{self.root}: the impulse response {path} is empty, silent or not finite; remove it"
            )
        if rate != SAMPLE_RATE:
            response = soxr.resample(response, rate, SAMPLE_RATE)
        return np.ascontiguousarray(response, dtype=np.float32)

    def _files(self, kind: NoiseFolderKind) -> tuple[Path, ...]:
        found = self.files.get(kind)
        if not found:
            has = ", ".join(f"{kind} ({len(self.files[kind])})" for kind in self.kinds)
            raise ConfigError(f"{self.root}: no files of {kind}; it has {has}")
        return found

    def _pick(self, kind: NoiseFolderKind, rng: np.random.Generator) -> Path:
        found = self._files(kind)
        return found[int(rng.integers(len(found)))]

    def _stretch(self, path: Path, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """At most n samples from a random place; empty where there is nothing but digital silence."""
        wanted = max(n / SAMPLE_RATE, SHORTEST_READ)
        place = float(rng.random())
        try:
            seconds = soundfile.info(str(path)).duration
            if wanted < seconds < math.inf:
                start = place * (seconds - wanted)
                x = load(path, start=start, end=start + wanted).samples
            else:
                x = load(path, max_seconds=LONGEST_UNSEEKABLE).samples
        except (AudioError, soundfile.SoundFileError, OSError) as error:
            if "digital silence" in _reason(error, path):
                return np.zeros(0, dtype=np.float32)
            raise AudioError(f"{self.root}: cannot use {path}: {_reason(error, path)}") from error
        begin = int(place * max(0, len(x) - n + 1))
        return x[begin : begin + n]


def load_noise_tree(path: str | Path, kind: NoiseFolderKind | None = None) -> NoiseTree:
    """List a folder of noise, music, speech or impulse responses; no file is opened.

    The kind of a file is that of the innermost folder above it with one of the names of MUSAN or RIRS_NOISES, the
    folder that is given included; without any, it is noise. Hidden files, and files that are not audio by their
    suffix, are passed over.

    Args:
        path: The folder.
        kind: What is in all of it, whatever its folders are called.

    Raises:
        ConfigError: It is no folder, has no audio in it, or the kind is unknown.
    """
    root = Path(path)
    if kind is not None and kind not in NOISE_FOLDER_KINDS:
        raise ConfigError(f"noise folder kind {kind!r} is unknown; use {', '.join(NOISE_FOLDER_KINDS)}")
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder; give one with recordings of noise, music or rooms")
    files: dict[NoiseFolderKind, list[Path]] = {}
    for file in _audio_files(root):
        files.setdefault(kind or _kind(root, file), []).append(file)
    if not files:
        raise ConfigError(f"{root}: no audio in it ({' '.join(SUFFIXES)}); give a folder with recordings")
    return NoiseTree(root, {name: tuple(files[name]) for name in NOISE_FOLDER_KINDS if name in files})


def _audio_files(root: Path) -> list[Path]:
    """All audio below a folder, sorted; linked folders are followed, each once."""
    found: list[Path] = []
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(here, name) for name in names if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
    return sorted(found, key=Path.as_posix)


def _kind(root: Path, file: Path) -> NoiseFolderKind:
    above = [*file.relative_to(root).parts[-2::-1], root.name or root.resolve().name]
    return next((FOLDERS[part.lower()](file) for part in above if part.lower() in FOLDERS), "noise")


def _reason(error: Exception, path: Path) -> str:
    return " ".join(str(error).split()).removeprefix(f"{path}: ")
