"""GE2E d-vectors: the default encoder.

Three LSTM layers of 256 on 40 mel powers, a linear layer of 256 on the last hidden state, ReLU, L2 norm (Wan
et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018). The weights are those of
Resemblyzer 0.1.4.

A clip is cut into windows of 1.6 s; its embedding is the normalised mean of theirs. The mel powers are not
logarithmic, so level matters: see ``level_dbfs``. That is the plain view, what the published package gives; for the
other views see `VIEWS`.

Windows of all clips go through the network together, in batches of the size at which the processor's LSTM is fastest.
With several threads each takes batches of its own: threads that share every matrix product of 160 frames wait for one
another 480 times a batch, and all of them for whatever else the machine does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import soxr
import torch

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.features import power_mel
from openkith.encoders.base import FloatArray, torch_threads
from openkith.encoders.clips.views import PLAIN, Mel, compress, subtract_floor, subtract_reverberation
from openkith.encoders.networks.network import check_precision, pick_device
from openkith.encoders.networks.packed_lstm import pack_lstm
from openkith.encoders.weights.published import PUBLISHED, load_local_weights, load_weights, state_digest
from openkith.errors import ConfigError, WeightsError

__all__ = ["GE2E", "VIEWS"]

_T = TypeVar("_T")
_R = TypeVar("_R")

N_MELS = 40
HIDDEN = 256
LAYERS = 3
HOP_SECONDS = 0.010
WINDOW_FRAMES = 160  # 1.6 s
WINDOW_STEP_FRAMES = 77  # 1.3 windows per second
LAST_WINDOW_COVERAGE = 0.75  # a last window with less speech than this share is left out
BATCH_WINDOWS = 32  # more at once leave the cache of a core
GPU_BATCH_WINDOWS = 1024
FEWEST_WINDOWS = 4  # that are worth a thread of their own
_HOP = int(HOP_SECONDS * SAMPLE_RATE)
_NEEDED = WINDOW_FRAMES * _HOP  # samples of a window
AVERAGED_FRAMES = (
    79,
    99,
    119,
    139,
    159,
)  # whose hidden states make a window's embedding in all views but the plain
FASTER, SLOWER = 1.12, 0.89
ESTIMATE_FROM, ESTIMATE_WHOLLY = (
    0.8,
    1.2,
)  # seconds of a clip from which its noise and reverberation are estimated


@dataclass(frozen=True)
class _Heard:
    """Mel powers (T, 40) of a clip: raised to the level, exactly at the level, and that at another speed."""

    raised: Mel
    levelled: Mel
    faster: Mel
    slower: Mel

    def unless_short(self, estimated: Mel) -> Mel:
        """Mel powers that rest on an estimate from the clip; as raised where it is too short to estimate from.

        The floor of a word is the word itself. In between the two are mixed.
        """
        share = (len(self.raised) * HOP_SECONDS - ESTIMATE_FROM) / (ESTIMATE_WHOLLY - ESTIMATE_FROM)
        share = min(max(share, 0.0), 1.0)
        return share * estimated + (1.0 - share) * self.raised


VIEWS: dict[str, Callable[[_Heard], Mel]] = {
    "averaged": lambda heard: heard.raised,
    "levelled": lambda heard: heard.levelled,
    "denoised": lambda heard: heard.unless_short(subtract_floor(heard.levelled)),
    "dereverberated": lambda heard: heard.unless_short(
        subtract_reverberation(subtract_floor(heard.levelled))
    ),
    "faster": lambda heard: heard.faster,
    "slower": lambda heard: heard.slower,
    "reversed": lambda heard: heard.levelled[::-1],
    "compressed": lambda heard: compress(heard.levelled),
}
"""The views after the plain one. In each of them a window's embedding is the mean over hidden states from its middle
on, and a clip under 1.6 s has two windows: followed by silence, and repeated to fill it."""


class GE2E:
    """GE2E d-vectors, 256-d.

    Args:
        weights: A local file instead of the published weights: .safetensors, .pt or the published .whl.
        device: See `openkith.encoders.networks.network.pick_device`.
        precision: ``"float32"``, or ``"bfloat16"`` for the LSTM; its front end and the layer after it stay in float32.
            Where the processor has it (AMX, AVX-512 BF16), bfloat16 is three to four times as fast in the LSTM, at a
            cosine of 0.999 or so to float32.
        threads: Threads; default: torch's own, one per physical core.
        level_dbfs: Quieter clips are raised to this RMS level, in dB of full scale, before the mel powers.
        lower: Also bring louder clips down to it: better where the distance to the microphone varies, worse
            where each speaker keeps a level (``benchmarks/encoder_front_end.py`` measures this and the next).
        repeat_short: In the plain view too, embed a clip under 1.6 s twice, followed by silence and repeated to fill
            the window, and take the mean; otherwise only followed by silence, as published.

    Attributes:
        window_seconds, window_step_seconds: The windows of `embed_windows`.

    Raises:
        ConfigError: A level that is not within -100 to 0 dBFS, an unknown precision, a device that is not there, or
            ``threads`` below 1.
        WeightsError: The weights cannot be had, are damaged, or are those of another network.
    """

    name = "ge2e"
    dim = HIDDEN
    sample_rate = SAMPLE_RATE
    views = (PLAIN, *VIEWS)
    window_seconds: ClassVar[float] = WINDOW_FRAMES * HOP_SECONDS
    window_step_seconds: ClassVar[float] = WINDOW_STEP_FRAMES * HOP_SECONDS

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        level_dbfs: float = -30.0,
        lower: bool = False,
        repeat_short: bool = False,
    ) -> None:
        if not -100.0 <= level_dbfs <= 0.0:
            raise ConfigError(f"level_dbfs is {level_dbfs}; give a level from -100 to 0 dBFS")
        if threads is not None and threads < 1:
            raise ConfigError(
                f"threads is {threads}; give 1 or more, or leave it out for one per physical core"
            )
        self.device = pick_device(device)
        self.precision = precision
        dtype = check_precision(precision)
        self.threads = threads
        self.level_dbfs = level_dbfs
        self.lower = lower
        self.repeat_short = repeat_short
        published = PUBLISHED["ge2e"]
        state = load_weights(published) if weights is None else load_local_weights(weights, published)
        # The checkpoint also holds the scale and offset of the training loss, which no embedding uses.
        state = {name: value for name, value in state.items() if not name.startswith("similarity_")}
        network = _build(state, published.requirement if weights is None else str(weights))
        network.lstm.to(dtype)
        self._network = network.to(self.device)
        self._network.states = pack_lstm(network.lstm)
        front_end = f"{level_dbfs:g}dB{'-fixed' if lower else ''}{'-repeat' if repeat_short else ''}"
        self.fingerprint = f"ge2e/{front_end}/{len(self.views)}-views/{state_digest(state)[:32]}"

    def embed(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips.

        Args:
            clips: Speech, best with its silences already cut out (`openkith.audio.trim_silence`).

        Returns:
            Shape (len(clips), 256), float32.
        """
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        return self._mean_of_windows(self._each(lambda clip: self._windows(clip)[1], clips))

    def embed_views(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips in all views.

        Args:
            clips: Speech, best with its silences already cut out.

        Returns:
            Shape (len(clips), V, 256), float32; ``[:, 0]`` is what `embed` gives.
        """
        embedded = np.zeros((len(clips), len(self.views), self.dim), np.float32)
        if not clips:
            return embedded
        embedded[:, 0] = self.embed(clips)
        heard = self._each(self._hear, clips)
        for view, look in enumerate(VIEWS.values(), start=1):
            windows = [_cut(mel) for mel in self._each(look, heard)]
            embedded[:, view] = self._mean_of_windows(windows, AVERAGED_FRAMES)
        return embedded

    def _mean_of_windows(
        self, windows: Sequence[FloatArray], frames: Sequence[int] | None = None
    ) -> FloatArray:
        """Normalised means (n, 256) over the embeddings of each clip's windows (w, 160, 40)."""
        owner = np.repeat(np.arange(len(windows)), [len(part) for part in windows])
        total = np.zeros((len(windows), self.dim), np.float32)
        np.add.at(total, owner, self._run(np.concatenate(windows), frames))
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
        return total

    def _hear(self, clip: Audio) -> _Heard:
        samples = self._levelled(clip.samples)
        raised = _speech_mel(samples)
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        gain = 10.0 ** (self.level_dbfs / 10.0) / max(power, 1e-18)
        other = [
            _speech_mel(soxr.resample(samples, speed * SAMPLE_RATE, SAMPLE_RATE)) * gain
            for speed in (FASTER, SLOWER)
        ]
        return _Heard(raised, raised * gain, *other)

    def embed_windows(
        self, clip: Audio, *, gain: float | None = None
    ) -> tuple[npt.NDArray[np.float64], FloatArray]:
        """Embeddings of overlapping windows of 1.6 s, 0.77 s apart, whose normalised mean is the clip's.

        A clip under 1.6 s has one window, or with ``repeat_short`` two of the same time.

        Args:
            clip: Speech.
            gain: What the samples are multiplied by, where the clip is a part of a longer one; default: `gain` of
                its own power.

        Returns:
            Start and end of each window in seconds (w, 2), and L2-normalised embeddings (w, 256).
        """
        starts, mels = self._windows(clip, gain)
        begin = starts * HOP_SECONDS
        end = np.minimum(begin + WINDOW_FRAMES * HOP_SECONDS, max(clip.seconds, HOP_SECONDS))
        return np.stack([begin, end], axis=1), self._run(mels)

    def frames(self, clip: Audio) -> tuple[FloatArray, npt.NDArray[np.float64]]:
        """Hidden states of the last LSTM layer, started afresh every 1.6 s, as it was trained.

        Returns:
            Features (T, 256), and the time of each frame's centre in seconds (T,), 10 ms apart from 0 on.
        """
        mel = power_mel(self._levelled(clip.samples), n_mels=N_MELS)
        n = len(mel)
        padded = np.pad(mel, ((0, -n % WINDOW_FRAMES), (0, 0)))
        states = self._run(padded.reshape(-1, WINDOW_FRAMES, N_MELS), states=True)
        times = np.arange(n, dtype=np.float64) * HOP_SECONDS
        return states.reshape(-1, HIDDEN)[:n], times

    def embed_states(self, mels: FloatArray, frames: Sequence[int]) -> FloatArray:
        """Embeddings of the hidden states on the way through windows: what a window that ended there would give.

        Args:
            mels: Mel powers (w, 160, 40), at their level.
            frames: The p frames of a window whose states are embedded.

        Returns:
            Shape (w, p, 256), L2-normalised float32; the last frame's is the embedding of the window.
        """
        linear = self._network.linear
        weight, bias = (x.detach().float().cpu().numpy() for x in (linear.weight, linear.bias))
        states = self._run(mels, states=True)[:, list(frames)]
        embedded = np.maximum(states @ weight.T + bias, 0.0)
        embedded /= np.maximum(np.linalg.norm(embedded, axis=-1, keepdims=True), 1e-9)
        return np.asarray(embedded, np.float32)

    def gain(self, power: float) -> float:
        """What the samples of a clip are multiplied by, of its mean square."""
        gain = 10.0 ** (self.level_dbfs / 20.0) / max(power**0.5, 1e-9)
        return gain if gain >= 1.0 or self.lower else 1.0

    def _levelled(self, samples: FloatArray, gain: float | None = None) -> FloatArray:
        if gain is None:
            gain = self.gain(float(np.mean(np.square(samples, dtype=np.float64))))
        return samples if gain == 1.0 else samples * np.float32(gain)

    def _windows(self, clip: Audio, gain: float | None = None) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """First frame of each window (w,) and its mel powers (w, 160, 40)."""
        samples = self._levelled(clip.samples, gain)
        if self.repeat_short and len(samples) < _NEEDED:
            both = np.pad(samples, (0, _NEEDED - len(samples))), np.resize(samples, _NEEDED)
            mels = [power_mel(filled, n_mels=N_MELS)[:WINDOW_FRAMES] for filled in both]
            return np.zeros(2, np.int64), np.stack(mels)
        starts = _starts(len(samples))
        end = int(starts[-1]) * _HOP + _NEEDED
        mel = power_mel(np.pad(samples, (0, max(0, end - len(samples)))), n_mels=N_MELS)
        return starts, mel[starts[:, None] + np.arange(WINDOW_FRAMES)]

    def _run(
        self, mels: FloatArray, frames: Sequence[int] | None = None, *, states: bool = False
    ) -> FloatArray:
        """Embeddings (w, 256), or hidden states (w, T, 256), of windows (w, T, 40)."""
        batches = np.array_split(mels, self._batches(len(mels)))

        def embed(batch: FloatArray) -> FloatArray:
            # In bfloat16 a single window is multiplied in another order than several, and differs by 0.002.
            alone = len(batch) == 1 and self.precision != "float32"
            with _inference(self.device):
                mel = torch.from_numpy(np.repeat(batch, 2, axis=0) if alone else batch)
                found = self._network(mel.to(self.device), frames)[int(states)]
                result: FloatArray = found[: len(batch)].float().cpu().numpy()
                return result

        if self.device.type != "cpu":
            return np.concatenate([embed(batch) for batch in batches])
        return np.concatenate(self._each(embed, batches))

    def _batches(self, windows: int) -> int:
        """In how many batches so many windows are embedded: on the CPU as many for each thread."""
        if self.device.type != "cpu":
            return -(-windows // GPU_BATCH_WINDOWS)
        threads, needed = self.threads or torch.get_num_threads(), -(-windows // BATCH_WINDOWS)
        if needed >= threads:
            return min(-(-needed // threads) * threads, windows)
        return max(needed, min(threads, windows // FEWEST_WINDOWS))

    def _each(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The work done on each item, in as many threads as were asked for; in each of them torch uses but one."""
        threads = min(self.threads or torch.get_num_threads(), len(items))
        with torch_threads(1):
            if threads == 1:
                return [work(item) for item in items]
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(work, items))


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """Inference, in float32 also where cuDNN would shorten it."""
    cudnn = torch.backends.cudnn
    shortened = device.type == "cuda" and cudnn.allow_tf32
    try:
        if shortened:
            cudnn.allow_tf32 = False
        with torch.inference_mode():
            yield
    finally:
        if shortened:
            cudnn.allow_tf32 = True


class _Network(torch.nn.Module):
    """The layers, under the names of the published state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(N_MELS, HIDDEN, LAYERS, batch_first=True)
        self.linear = torch.nn.Linear(HIDDEN, HIDDEN)
        self.states: Callable[[torch.Tensor], torch.Tensor] = lambda mels: self.lstm(mels)[0]

    def forward(
        self, mels: torch.Tensor, frames: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel powers (w, T, 40) to embeddings (w, 256) and hidden states (w, T, 256).

        The embedding is that of the last hidden state, or the mean over those of some frames.
        """
        hidden = self.states(mels.to(next(self.lstm.parameters()).dtype))
        used = (hidden[:, -1:] if frames is None else hidden[:, list(frames)]).float()
        embeddings = torch.nn.functional.normalize(torch.relu(self.linear(used)), dim=-1)
        if frames is not None:
            return torch.nn.functional.normalize(embeddings.mean(1), dim=-1), hidden
        return embeddings[:, 0], hidden


def _starts(n_samples: int) -> npt.NDArray[np.int64]:
    """First frame of each window of so many samples."""
    n_frames = -(-(n_samples + 1) // _HOP)
    starts = np.arange(0, max(1, n_frames - WINDOW_FRAMES + WINDOW_STEP_FRAMES + 1), WINDOW_STEP_FRAMES)
    covered = (n_samples - starts[-1] * _HOP) / _NEEDED
    return starts[:-1] if len(starts) > 1 and covered < LAST_WINDOW_COVERAGE else starts


def _speech_mel(samples: FloatArray) -> Mel:
    """Mel powers (T, 40) of frames that begin within the samples, without the one beyond their end."""
    mel = power_mel(np.ascontiguousarray(samples, np.float32), n_mels=N_MELS)
    return mel[: max(1, -(-len(samples) // _HOP))].astype(np.float64)


def _cut(mel: Mel) -> FloatArray:
    """Windows (w, 160, 40) of mel powers (T, 40): two of a clip under 1.6 s, padded and repeated."""
    n = len(mel)
    if n < WINDOW_FRAMES:
        padded, repeated = (
            np.pad(mel, ((0, WINDOW_FRAMES - n), (0, 0))),
            np.resize(mel, (WINDOW_FRAMES, N_MELS)),
        )
        return np.stack([padded, repeated]).astype(np.float32)
    starts = _starts(n * _HOP)
    padded = np.pad(mel, ((0, max(0, int(starts[-1]) + WINDOW_FRAMES - n)), (0, 0)))
    return np.asarray(padded[starts[:, None] + np.arange(WINDOW_FRAMES)], np.float32)


def _build(state: dict[str, torch.Tensor], source: str) -> _Network:
    network = _Network()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{source}: not GE2E weights ({reason}); give a file of the published form"
        ) from error
    return network.eval().requires_grad_(False)
