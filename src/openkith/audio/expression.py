"""The same person in another mood: pitch, intonation, tempo and spectral tilt changed, formants where they were.

By time-domain pitch-synchronous overlap-add: grains of two periods are cut out of the speech at its pitch marks and
laid down again at other marks. A grain keeps its spectrum, hence the formants; the distance of the new marks is the
new pitch, and which grain is taken when is the new tempo.

Sources: E. Moulines, F. Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
using diphones", Speech Communication 9, 1990 (overlap-add); D. Talkin, "A robust algorithm for pitch tracking", in
Speech Coding and Synthesis, 1995 (normalised cross-correlation and the best path through its peaks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from openkith.audio.degrade import Samples, match_level, spectral_tilt
from openkith.audio.io import SAMPLE_RATE
from openkith.errors import AudioError, ConfigError

__all__ = ["Expression", "draw_expression", "express", "express_all", "track_pitch"]

# What `draw_expression` draws from.
PITCH = (0.85, 1.6)
PITCH_RANGE = (0.5, 2.0)
TEMPO = (0.75, 1.3)
TILT_DB = (-5.0, 5.0)  # per octave
FORMANTS = (0.98, 1.03)

# What an `Expression` may be.
LIMITS: dict[str, tuple[float, float]] = {
    "pitch": (0.5, 2.0),
    "pitch_range": (0.0, 3.0),
    "tempo": (0.5, 2.0),
    "tilt": (-6.0, 6.0),
    "formants": (0.97, 1.03),
}

SHORTEST_SECONDS = 0.1  # a shorter clip comes back as it is
FEWEST_VOICED = 5  # frames; with fewer there is no pitch to change
SPOKEN_PITCH = (60.0, 600.0)  # Hz, of the pitch that is spoken
UNVOICED_MARKS_HZ = 1000 / 6  # a grain every 6 ms where there is no pitch
# Neighbours among unvoiced grains hold the same noise a little shifted: a comb filter, unless the shift varies.
SCATTER = SAMPLE_RATE / 500  # samples: each is taken up to 2 ms earlier or later
FULL_SCATTER = 0.1  # change of the tempo from which on they are scattered by all of it
PEAK_GROWTH = 20.0  # a peak that grew more than this is no speech any more
QUICK = SAMPLE_RATE // 20  # samples; the tilt's FFT is slow for lengths with large prime factors
OVERSAMPLING = 2  # grains are cut to half a sample, or high voices get hoarse

HEARD_PITCH = (60.0, 500.0)  # Hz, of the pitch that is looked for
FRAME = SAMPLE_RATE // 100  # samples from one frame to the next: 10 ms
PITCH_RATE = SAMPLE_RATE // 2  # Hz, at which the pitch is looked for
PITCH_HOP = PITCH_RATE // 100
PITCH_WINDOW = PITCH_RATE // 25  # 40 ms
PITCH_BAND = (50.0, 1000.0)  # Hz, of the speech in which the pitch is looked for
LAGS = (math.floor(PITCH_RATE / HEARD_PITCH[1]), math.ceil(PITCH_RATE / HEARD_PITCH[0]))
CANDIDATES = 4  # peaks of the correlation that are kept of each frame
FLOOR = 1e-4  # share of the loudest frames' energy: at this level, a correlation counts half
VOICED = 0.45  # correlation above which a frame is voiced
LOW_COST = 0.05  # of each octave below the highest pitch: a multiple of the period correlates as well
JUMP_COST = 0.5  # of each octave between two frames
SWITCH_COST = 0.15  # of a change between voiced and unvoiced
FAR_COST = 0.5  # of each octave further from the clip's median than
FAR_OCTAVES = 0.9
LOCK = FRAME // 2  # samples in which the energy's phase within the period is taken; smoothed over ten of them


@dataclass(frozen=True)
class Expression:
    """How to say again what was said.

    Attributes:
        pitch: Multiplier of the pitch level, 0.5 to 2.
        pitch_range: Multiplier of how far the pitch moves about its median (in log Hz), 0 to 3.
        tempo: Multiplier of the tempo, 0.5 to 2: above 1 is shorter.
        tilt: dB per octave that are added to the spectrum about 800 Hz, -6 to 6: above 0 is a louder, tenser voice.
        formants: Multiplier of the formants, within 3 % of 1: beyond it begins another person.

    Raises:
        ConfigError: A value is out of range.
    """

    pitch: float = 1.0
    pitch_range: float = 1.0
    tempo: float = 1.0
    tilt: float = 0.0
    formants: float = 1.0

    def __post_init__(self) -> None:
        for field, (low, high) in LIMITS.items():
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"expression: {field} is {value}; give {low:g} to {high:g}")


def draw_expression(rng: np.random.Generator) -> Expression:
    """An expression at random: pitch x0.85 to 1.6, range x0.5 to 2, tempo x0.75 to 1.3, tilt -5 to 5 dB per octave.

    The three multipliers are uniform in their logarithm; tilt and formants (x0.98 to 1.03) are uniform.
    """

    def ratio(low: float, high: float) -> float:
        return float(np.clip(math.exp(rng.uniform(math.log(low), math.log(high))), low, high))

    return Expression(
        pitch=ratio(*PITCH),
        pitch_range=ratio(*PITCH_RANGE),
        tempo=ratio(*TEMPO),
        tilt=float(rng.uniform(*TILT_DB)),
        formants=float(rng.uniform(*FORMANTS)),
    )


def express(samples: NDArray[Any], rng: np.random.Generator, expression: Expression | None = None) -> Samples:
    """Speech of the same person in another mood.

    What has no pitch (noise, a whisper) gets only the tempo, the tilt and the formants. Silence, and a clip under a
    tenth of a second, comes back as it is.

    Args:
        samples: Speech (n,) at 16 kHz.
        rng: Draws the expression where none is given, and nothing else.
        expression: What to change; default `draw_expression`.

    Returns:
        (m,) float32 with the RMS of the input; m is n / tempo.

    Raises:
        AudioError: The samples are empty, not one-dimensional, or not finite.
    """
    return express_all(samples, [expression or draw_expression(rng)])[0]


def express_all(samples: NDArray[Any], expressions: Sequence[Expression]) -> list[Samples]:
    """Several expressions of one clip, whose pitch is looked for once; arguments and errors as of `express`."""
    x = np.ascontiguousarray(samples, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise AudioError(
            f"samples of shape {x.shape}: give one channel of finite samples, (n,) with n above 0"
        )
    loudest = float(np.abs(x).max())
    if len(x) < SHORTEST_SECONDS * SAMPLE_RATE or loudest < np.finfo(np.float32).tiny:
        return [x.astype(np.float32) for _ in expressions]
    speech = x / loudest
    voice = _listen(speech)
    return [_say(x, speech, voice, wanted) for wanted in expressions]


def track_pitch(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Pitch (Hz) of a clip every 10 ms, 0 where it is unvoiced.

    Normalised cross-correlation of 40 ms with themselves, 2 to 17 ms later, in the band of 50 to 1000 Hz; then the
    best path through the highest peaks of all frames, where jumps, changes of voicing, low pitches and pitches an
    octave away from the clip's median cost.

    Args:
        samples: Speech (n,) at 16 kHz, finite, of any level.

    Returns:
        (1 + n // 160,): frame k is centred at sample 160 k.
    """
    x = np.asarray(samples, dtype=np.float64)
    pitch, strength = _candidates(*_correlations(_lowered(x), 1 + len(x) // FRAME))
    path = _best_path(pitch, strength)
    voiced = path[path > 0]
    if len(voiced) >= FEWEST_VOICED:
        octaves = np.abs(np.log2(pitch / np.median(voiced)))
        path = _best_path(pitch, strength - FAR_COST * np.maximum(octaves - FAR_OCTAVES, 0))
    return path


def _lowered(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The band in which the pitch is looked for, at 8 kHz: (n,) -> (about n / 2,)."""
    length = scipy.fft.next_fast_len(len(x) + FRAME, real=True)
    length += length % 2
    spectrum = scipy.fft.rfft(x, length)[: length // 4 + 1]
    hz = np.arange(len(spectrum)) * (SAMPLE_RATE / length)
    low, high = PITCH_BAND
    spectrum *= (hz / low) ** 4 / (1 + (hz / low) ** 4) / (1 + (hz / high) ** 4)
    lowered: NDArray[np.float64] = scipy.fft.irfft(spectrum, length // 2)
    return lowered[: (len(x) + 1) // 2]


def _correlations(x: NDArray[np.float64], frames: int) -> tuple[NDArray[np.float64], int]:
    """Correlation of each frame with what comes a lag later: (frames, lags), and the first lag in samples.

    Window and later window lie around the frame's centre together; one lag more at both ends serves the peaks.
    """
    first, last = LAGS[0] - 1, LAGS[1] + 1
    span = PITCH_WINDOW + last
    padded = np.pad(x, (span // 2, span + PITCH_HOP))
    cut = np.lib.stride_tricks.sliding_window_view(padded, span)[: frames * PITCH_HOP : PITCH_HOP]
    length = scipy.fft.next_fast_len(span, real=True)
    window = scipy.fft.rfft(cut[:, :PITCH_WINDOW], length, axis=1)
    product = scipy.fft.irfft(window.conj() * scipy.fft.rfft(cut, length, axis=1), length, axis=1)
    total = np.r_[0.0, np.cumsum(padded**2)]
    starts = (np.arange(len(cut)) * PITCH_HOP)[:, None] + np.arange(last + 1)
    energy = np.maximum(total[starts + PITCH_WINDOW] - total[starts], 0)  # (frames, last + 1)
    floor = FLOOR * np.quantile(energy[:, 0], 0.95) + np.finfo(np.float64).tiny
    return (product[:, : last + 1] / (np.sqrt(energy[:, :1] * energy) + floor))[:, first:], first


def _candidates(
    correlations: NDArray[np.float64], first: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pitch (Hz) and strength of the highest peaks of each frame: (frames, CANDIDATES) twice; no peak is -inf."""
    before, at, after = correlations[:, :-2], correlations[:, 1:-1], correlations[:, 2:]
    lags = np.arange(at.shape[1]) + first + 1.0
    strength = np.where((at >= before) & (at > after), at, -np.inf)
    strength -= LOW_COST * np.log2(lags / lags[0])
    best = np.argpartition(-strength, CANDIDATES, axis=1)[:, :CANDIDATES]
    before, at, after, strength = (np.take_along_axis(a, best, 1) for a in (before, at, after, strength))
    bend = before - 2 * at + after
    # Of the parabola through three points; at a peak it is within half a lag.
    shift = np.clip(0.5 * (before - after) / np.where(bend < 0, bend, -np.inf), -0.5, 0.5)
    return PITCH_RATE / (lags[best] + shift), strength


def _best_path(pitch: NDArray[np.float64], strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pitch (Hz; 0 is unvoiced) of each frame, from candidates (frames, k): the path of the largest sum (Viterbi)."""
    frames, k = pitch.shape
    gain = np.c_[strength, np.full(frames, VOICED)]  # the last state is unvoiced
    cost = np.full((frames - 1, k + 1, k + 1), SWITCH_COST)
    octave = np.log2(pitch)
    cost[:, :k, :k] = JUMP_COST * np.abs(octave[:-1, :, None] - octave[1:, None])
    cost[:, k, k] = 0.0
    came_from = np.zeros((frames, k + 1), dtype=np.intp)
    states = np.arange(k + 1)
    total = gain[0]
    for t in range(1, frames):
        sums = total[:, None] - cost[t - 1]
        came_from[t] = sums.argmax(axis=0)
        total = sums[came_from[t], states] + gain[t]
    state = np.zeros(frames, dtype=np.intp)
    state[-1] = total.argmax()
    for t in range(frames - 1, 0, -1):
        state[t - 1] = came_from[t, state[t]]
    found: NDArray[np.float64] = np.c_[pitch, np.zeros(frames)][np.arange(frames), state]
    return found


@dataclass(frozen=True)
class _Voice:
    """What is heard of a clip of n samples.

    Attributes:
        log_pitch: (n,) log Hz at each sample, bridged where it is unvoiced; empty where nothing is voiced.
        median: Of the voiced frames' log pitch.
        voiced: (n,) bool.
        marks: Ascending samples (fractional), one in each period, where its energy is.
    """

    log_pitch: NDArray[np.float64]
    median: float
    voiced: NDArray[np.bool_]
    marks: NDArray[np.float64]


def _listen(x: NDArray[np.float64]) -> _Voice:
    n = len(x)
    pitch = track_pitch(x)
    frames = np.flatnonzero(pitch)
    if len(frames) < FEWEST_VOICED:
        return _Voice(np.zeros(0), 0.0, np.zeros(n, dtype=bool), np.zeros(0))
    logs = np.log(pitch[frames])
    log_pitch = np.interp(np.arange(n), frames * FRAME, logs)
    nearest = (np.arange(n) + FRAME // 2) // FRAME
    voiced = (pitch > 0)[np.minimum(nearest, len(pitch) - 1)]
    return _Voice(log_pitch, float(np.median(logs)), voiced, _pitch_marks(x, np.exp(log_pitch)))


def _pitch_marks(x: NDArray[np.float64], pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where in each period the energy lies: ascending samples (fractional), from the pitch (n,) in Hz.

    The energy's phase within the running period, averaged over some 45 ms, moves the period's beginning. So the marks
    lie on the excitation without the jitter of single peaks, and an error of the pitch does not add up.
    """
    phase = np.cumsum(pitch) / SAMPLE_RATE  # in periods
    turning = np.pad(x**2 * np.exp(2j * np.pi * phase), (0, -len(x) % LOCK)).reshape(-1, LOCK).sum(axis=1)
    smooth = np.convolve(turning, np.hanning(11), "same") if len(turning) >= 11 else turning
    offset = np.unwrap(np.angle(smooth)) / (2 * np.pi)
    offset_at = np.interp(np.arange(len(x)), (np.arange(len(offset)) + 0.5) * LOCK, offset)
    return _crossings(np.maximum.accumulate(phase - offset_at))


def _crossings(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Samples (fractional) at which a rising phase passes an integer."""
    whole = np.floor(phase)
    at = np.flatnonzero(whole[1:] > whole[:-1])
    return at + (whole[at + 1] - phase[at]) / (phase[at + 1] - phase[at])


def _say(x: NDArray[np.float64], speech: NDArray[np.float64], voice: _Voice, wanted: Expression) -> Samples:
    """The clip (n,) with what was wanted of it; or as it was, where the result is no sound any more."""
    said = _overlap_add(speech, voice, wanted)
    if not np.isfinite(said).all() or not said.any():
        return x.astype(np.float32)
    filled = np.pad(said, (0, -len(said) % QUICK))
    changed = match_level(spectral_tilt(filled, wanted.tilt)[: len(said)], x)
    return changed if np.abs(changed).max() <= PEAK_GROWTH * np.abs(x).max() else x.astype(np.float32)


def _overlap_add(x: NDArray[np.float64], voice: _Voice, wanted: Expression) -> NDArray[np.float64]:
    """Grains of x (n,) at the marks of the new pitch: (n / tempo,)."""
    length = max(1, round(len(x) / wanted.tempo))
    heard_at = np.minimum(np.arange(length) * wanted.tempo, len(x) - 1).astype(np.intp)
    rate = np.full(length, UNVOICED_MARKS_HZ)  # of marks (Hz) at each sample that is to be said
    if len(voice.marks):
        spoken = math.log(wanted.pitch) + wanted.pitch_range * (voice.log_pitch - voice.median)
        spoken = np.clip(np.exp(voice.median + spoken), *SPOKEN_PITCH)
        rate = np.where(voice.voiced[heard_at], spoken[heard_at], rate)
    said = _crossings(np.r_[0.0, np.cumsum(rate) / SAMPLE_RATE])
    source = said * wanted.tempo  # the middle of each grain in x
    nearby = np.clip(source, 0, len(x) - 1).astype(np.intp)
    half = np.full(len(said), SAMPLE_RATE / UNVOICED_MARKS_HZ)  # of a grain, in samples
    volume = np.ones(len(said))
    apart = np.full(len(said), min(1.0, abs(wanted.tempo / wanted.formants - 1) / FULL_SCATTER))
    scattered = source + SCATTER * apart * np.random.default_rng(0).uniform(-1, 1, len(said))
    if len(voice.marks):
        period = SAMPLE_RATE / np.exp(voice.log_pitch[nearby])
        following = np.clip(np.searchsorted(voice.marks, source), 1, max(1, len(voice.marks) - 1))
        left, right = voice.marks[following - 1], voice.marks[np.minimum(following, len(voice.marks) - 1)]
        mark = np.where(source - left < right - source, left, right)
        voiced = voice.voiced[nearby] & (np.abs(mark - source) < period)
        scattered = np.where(voiced, mark, scattered)
        apart = np.where(voiced, 0.0, apart)
        half = np.where(voiced, period / wanted.formants, half)
        # Marks closer to one another would make it louder: the power of pulses is as their number.
        new_period = SAMPLE_RATE / rate[np.minimum(said.astype(np.intp), length - 1)]
        volume = np.where(voiced, np.sqrt(new_period / period), volume)
    fine = soxr.resample(x, SAMPLE_RATE, OVERSAMPLING * SAMPLE_RATE / wanted.formants)
    return _lay_down(fine, scattered * (OVERSAMPLING / wanted.formants), said, half, volume, apart, length)


def _lay_down(
    fine: NDArray[np.float64],
    source: NDArray[np.float64],
    said: NDArray[np.float64],
    half: NDArray[np.float64],
    volume: NDArray[np.float64],
    apart: NDArray[np.float64],
    length: int,
) -> NDArray[np.float64]:
    """Sum of bell-shaped grains.

    Args:
        fine: Signal to cut from, `OVERSAMPLING` times as fine as the result.
        source: (grains,) the middle of each grain in it, in its samples.
        said: (grains,) the middle of each grain in the result, in samples.
        half: (grains,) half of a grain's length, in samples of the result.
        volume: (grains,) multiplier.
        apart: (grains,) 0 for the shape of Hann, whose sum is even where neighbours hold the same signal; 1 for its
            root, whose power is even where they are independent.
        length: Samples of the result.
    """
    middle = np.rint(said).astype(np.intp)
    start = np.rint(source + OVERSAMPLING * (middle - said)).astype(np.intp)
    reach = np.ceil(half).astype(np.intp)
    counts = 2 * reach + 1
    which = np.repeat(np.arange(len(said)), counts)  # the grain of each product below
    steps = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts + reach, counts)
    root = np.cos(np.minimum(np.abs(steps) / half[which], 1.0) * (np.pi / 2))
    more = apart[which]
    window = root * (more + (1 - more) * root)
    edge = int(reach.max(initial=0)) + 1
    padded = np.pad(fine, OVERSAMPLING * edge)
    at = np.clip(start[which] + OVERSAMPLING * (steps + edge), 0, len(padded) - 1)
    pieces = padded[at] * window * volume[which]
    summed = np.bincount(middle[which] + steps + edge, pieces, length + 2 * edge)
    return summed[edge : edge + length].astype(np.float64)
