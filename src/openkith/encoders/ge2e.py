"""GE2E d-vectors: the default encoder.

Three LSTM layers of 256 on 40 mel powers, a linear layer of 256 on the last hidden state, ReLU, L2 norm (Wan
et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018). The weights are those of
Resemblyzer 0.1.4.

A clip is cut into windows of 1.6 s; its embedding is the normalised mean of theirs. The mel powers are not
logarithmic, so level matters: see ``level_dbfs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.features import power_mel
from openkith.encoders.base import FloatArray, torch_threads
from openkith.encoders.weights import PUBLISHED, load_local_weights, load_weights, state_digest
from openkith.errors import ConfigError, WeightsError

__all__ = ["GE2E"]

N_MELS = 40
HIDDEN = 256
LAYERS = 3
HOP_SECONDS = 0.010
WINDOW_FRAMES = 160  # 1.6 s
WINDOW_STEP_FRAMES = 77  # 1.3 windows per second
LAST_WINDOW_COVERAGE = 0.75  # a last window with less speech than this share is left out
BATCH_WINDOWS = 128
_HOP = int(HOP_SECONDS * SAMPLE_RATE)


class GE2E:
    """GE2E d-vectors, 256-d.

    Args:
        weights: A local file instead of the published weights: .safetensors, .pt or the published .whl.
        threads: Torch threads; default: one per physical core.
        level_dbfs: Quieter clips are raised to this RMS level, in dB of full scale, before the mel powers.
        lower: Also bring louder clips down to it: better where the distance to the microphone varies, worse
            where each speaker keeps a level (``benchmarks/encoder_front_end.py`` measures this and the next).
        repeat_short: Embed a clip under 1.6 s twice, followed by silence and repeated to fill the window, and
            take the mean; otherwise only followed by silence.

    Raises:
        ConfigError: A level that is not within -100 to 0 dBFS.
        WeightsError: The weights cannot be had, are damaged, or are those of another network.
    """

    name = "ge2e"
    dim = HIDDEN
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        weights: str | Path | None = None,
        threads: int | None = None,
        *,
        level_dbfs: float = -30.0,
        lower: bool = False,
        repeat_short: bool = True,
    ) -> None:
        if not -100.0 <= level_dbfs <= 0.0:
            raise ConfigError(f"level_dbfs is {level_dbfs}; give a level from -100 to 0 dBFS")
        self.threads = threads
        self.level_dbfs = level_dbfs
        self.lower = lower
        self.repeat_short = repeat_short
        published = PUBLISHED["ge2e"]
        state = load_weights(published) if weights is None else load_local_weights(weights, published)
        # The checkpoint also holds the scale and offset of the training loss, which no embedding uses.
        state = {name: value for name, value in state.items() if not name.startswith("similarity_")}
        self._network = _build(state, published.requirement if weights is None else str(weights))
        front_end = f"{level_dbfs:g}dB{'-fixed' if lower else ''}{'-repeat' if repeat_short else ''}"
        self.fingerprint = f"ge2e/{front_end}/{state_digest(state)[:32]}"

    def embed(self, clips: Sequence[Audio]) -> FloatArray:
        """L2-normalised embeddings of whole clips.

        Args:
            clips: Speech, best with its silences already cut out (`openkith.audio.trim_silence`).

        Returns:
            Shape (len(clips), 256), float32.
        """
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        windows = [self._windows(clip)[1] for clip in clips]
        owner = np.repeat(np.arange(len(clips)), [len(part) for part in windows])
        total = np.zeros((len(clips), self.dim), np.float32)
        np.add.at(total, owner, self._run(np.concatenate(windows)))
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
        return total

    def embed_windows(self, clip: Audio) -> tuple[npt.NDArray[np.float64], FloatArray]:
        """Embeddings of overlapping windows of 1.6 s, 0.77 s apart, whose normalised mean is the clip's.

        A clip under 1.6 s has one window, or with ``repeat_short`` two of the same time.

        Returns:
            Start and end of each window in seconds (w, 2), and L2-normalised embeddings (w, 256).
        """
        starts, mels = self._windows(clip)
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

    def _levelled(self, samples: FloatArray) -> FloatArray:
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        gain = 10.0 ** (self.level_dbfs / 20.0) / max(rms, 1e-9)
        return samples if gain < 1.0 and not self.lower else samples * np.float32(gain)

    def _windows(self, clip: Audio) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """First frame of each window (w,) and its mel powers (w, 160, 40)."""
        samples = self._levelled(clip.samples)
        needed = WINDOW_FRAMES * _HOP
        if self.repeat_short and len(samples) < needed:
            both = np.pad(samples, (0, needed - len(samples))), np.resize(samples, needed)
            mels = [power_mel(filled, n_mels=N_MELS)[:WINDOW_FRAMES] for filled in both]
            return np.zeros(2, np.int64), np.stack(mels)
        n_frames = -(-(len(samples) + 1) // _HOP)
        starts = np.arange(0, max(1, n_frames - WINDOW_FRAMES + WINDOW_STEP_FRAMES + 1), WINDOW_STEP_FRAMES)
        covered = (len(samples) - starts[-1] * _HOP) / needed
        if len(starts) > 1 and covered < LAST_WINDOW_COVERAGE:
            starts = starts[:-1]
        end = int(starts[-1]) * _HOP + needed
        mel = power_mel(np.pad(samples, (0, max(0, end - len(samples)))), n_mels=N_MELS)
        return starts, mel[starts[:, None] + np.arange(WINDOW_FRAMES)]

    def _run(self, mels: FloatArray, states: bool = False) -> FloatArray:
        """Embeddings (w, 256), or hidden states (w, frames, 256), of windows (w, frames, 40)."""
        batches = [mels[start : start + BATCH_WINDOWS] for start in range(0, len(mels), BATCH_WINDOWS)]
        with torch.inference_mode(), torch_threads(self.threads):
            return np.concatenate(
                [self._network(torch.from_numpy(batch))[int(states)].numpy() for batch in batches]
            )


class _Network(torch.nn.Module):
    """The layers, under the names of the published state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(N_MELS, HIDDEN, LAYERS, batch_first=True)
        self.linear = torch.nn.Linear(HIDDEN, HIDDEN)

    def forward(self, mels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel powers (w, frames, 40) to embeddings (w, 256) and hidden states (w, frames, 256)."""
        hidden, _ = self.lstm(mels)
        embedding = torch.nn.functional.normalize(torch.relu(self.linear(hidden[:, -1])), dim=1)
        return embedding, hidden


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
