"""What a graph of another program wants to see of a clip: a table of front ends by name, none of which needs torch.

A `FrontEnd` is a name and its options, so that it can stand in the metadata of an ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, signature
from typing import Any

import numpy as np

from openkith.audio import SAMPLE_RATE
from openkith.audio.features import kaldi_fbank
from openkith.encoders.base import FloatArray
from openkith.encoders.voxceleb_mel import normalised_log_mel
from openkith.errors import ConfigError

__all__ = ["FRONT_ENDS", "FrontEnd", "nemo_fbank", "waveform"]

INT16_SCALE = 32768.0
NEMO_WINDOWS = ("hann", "hamming", "povey", "rectangular", "blackman")
DEVIATION_FLOOR = 1e-5  # added to the standard deviation of a band


def waveform(samples: FloatArray, *, scale: float = 1.0, unit_variance: bool = False) -> FloatArray:
    """The samples themselves, shape (n,).

    Args:
        samples: Shape (n,), full scale 1.
        scale: What they are multiplied by.
        unit_variance: Bring them to zero mean and unit variance.
    """
    scaled = samples * np.float32(scale)
    if unit_variance:
        scaled = (scaled - scaled.mean()) / np.sqrt(scaled.var() + np.float32(1e-7))
    return np.asarray(scaled, np.float32)


def nemo_fbank(
    samples: FloatArray,
    *,
    n_mels: int = 80,
    window: str = "hann",
    frame_ms: int = 25,
    step_ms: int = 10,
    per_feature: bool = True,
) -> FloatArray:
    """Log mel powers as sherpa-onnx computes them for NeMo's speaker models.

    Slaney's filters of equal area from 0 Hz to 8 kHz, pre-emphasis 0.97, frames that keep their mean.

    Args:
        samples: Shape (n,), full scale 1, at 16 kHz.
        n_mels: Number of filters.
        window: One of `NEMO_WINDOWS`.
        frame_ms, step_ms: Length and distance of frames in milliseconds.
        per_feature: Bring each band to zero mean and unit standard deviation over the clip.

    Returns:
        Shape (T, n_mels), float32.

    Raises:
        ConfigError: Another window.
    """
    import kaldi_native_fbank

    if window not in NEMO_WINDOWS:
        raise ConfigError(f"window is {window!r}; give one of: {', '.join(NEMO_WINDOWS)}")

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.frame_length_ms = frame_ms
    options.frame_opts.frame_shift_ms = step_ms
    options.frame_opts.remove_dc_offset = False
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = n_mels
    options.mel_opts.low_freq = 0.0
    options.mel_opts.is_librosa = True
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, np.asarray(samples, np.float32).tolist())
    bank.input_finished()
    frames = np.empty((bank.num_frames_ready, n_mels), np.float32)
    for index in range(len(frames)):
        frames[index] = bank.get_frame(index)
    if per_feature and len(frames):
        frames -= frames.mean(axis=0)
        frames /= frames.std(axis=0) + np.float32(DEVIATION_FLOOR)
    return frames


FRONT_ENDS: dict[str, Callable[..., FloatArray]] = {
    "kaldi-fbank": kaldi_fbank,
    "nemo-fbank": nemo_fbank,
    "voxceleb-log-mel": normalised_log_mel,
    "waveform": waveform,
}


@dataclass(frozen=True)
class FrontEnd:
    """A function of `FRONT_ENDS` and its keyword arguments.

    Attributes:
        name: A key of `FRONT_ENDS`.
        options: The function's keyword arguments, all of them: those that are not given are the function's defaults.

    Raises:
        ConfigError: Another name, an option that it has not, one that it needs and has not got, or a value of another
            type.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in FRONT_ENDS:
            raise ConfigError(f"front_end is {self.name!r}; give one of: {', '.join(FRONT_ENDS)}")
        known = _parameters(self.name)
        for name, value in self.options.items():
            if name not in known:
                raise ConfigError(
                    f"front end {self.name} has no option {name!r}; there are: {', '.join(known)}"
                )
            wanted = _TYPES[known[name].annotation]
            if isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted):
                raise ConfigError(
                    f"front end {self.name}: {name} is {value!r}; give a value of the type {known[name].annotation}"
                )
        options = {name: self.options.get(name, parameter.default) for name, parameter in known.items()}
        for name, value in options.items():
            if value is Parameter.empty:
                raise ConfigError(f"front end {self.name} needs the option {name!r}")
        object.__setattr__(self, "options", options)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Features (T, f), or samples (n,), of mono float32 samples (n,) at 16 kHz."""
        return FRONT_ENDS[self.name](samples, **self.options)

    def but(self, **options: Any) -> FrontEnd:
        """The same with those options changed that are not None."""
        changed = {name: value for name, value in options.items() if value is not None}
        return FrontEnd(self.name, {**self.options, **changed})

    @property
    def tag(self) -> str:
        """Name and options in one word, for a fingerprint."""
        return f"{self.name}({','.join(f'{name}={value}' for name, value in sorted(self.options.items()))})"

    @staticmethod
    def with_bands(name: str, n_mels: int) -> FrontEnd:
        """The front end of that name with so many mel bands, where it has bands."""
        has_bands = name in FRONT_ENDS and "n_mels" in _parameters(name)
        return FrontEnd(name, {"n_mels": n_mels} if has_bands else {})

    @staticmethod
    def of(features: Callable[[FloatArray], FloatArray]) -> FrontEnd | None:
        """The front end that a function of `FRONT_ENDS`, or a partial of one, is; None for any other."""
        function, options = (
            (features.func, features.keywords) if isinstance(features, partial) else (features, {})
        )
        name = next((name for name, known in FRONT_ENDS.items() if known is function), None)
        return None if name is None else FrontEnd(name, options)


_TYPES: dict[str, Any] = {"int": int, "float": int | float, "str": str, "bool": bool}


def _parameters(name: str) -> dict[str, Parameter]:
    """The keyword arguments of a front end."""
    parameters = signature(FRONT_ENDS[name]).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY}
