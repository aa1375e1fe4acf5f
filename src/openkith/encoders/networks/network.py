"""What all encoders share that are a torch network on frame features: devices, precision, threads, frames.

A subclass says which network and which features; see `NetworkEncoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from openkith.audio import SAMPLE_RATE, Audio
from openkith.encoders.base import FloatArray, torch_threads
from openkith.encoders.networks.folding import fold_batch_norms
from openkith.encoders.pieces import PieceEncoder
from openkith.errors import ConfigError, WeightsError

__all__ = ["PRECISIONS", "NetworkEncoder", "check_precision", "pick_device"]

PRECISIONS: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FRAME_SAMPLES = 400  # 25 ms at 16 kHz, of every front end here


def pick_device(device: str = "auto") -> torch.device:
    """The torch device of that name.

    Args:
        device: ``"auto"`` (the first of cuda, mps and cpu that is there), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or
            ``"mps"``.

    Raises:
        ConfigError: No such device, or this machine has none.
    """
    mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device is {device!r}; give auto, cpu, cuda, mps or a numbered one like cuda:1"
        ) from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}
    if (picked.index or 0) >= counts.get(picked.type, 0):
        there = ", ".join(kind for kind, count in counts.items() if count)
        raise ConfigError(
            f"device is {device!r}, which this machine or this torch has not; there is: {there}"
        )
    return picked


def check_precision(precision: str) -> torch.dtype:
    """The torch type of that name.

    Raises:
        ConfigError: Neither ``"float32"`` nor ``"bfloat16"``.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; give one of: {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


class NetworkEncoder(PieceEncoder):
    """An encoder that is a torch network on frame features of the whole clip.

    Long clips, short clips, windows and batches: see `PieceEncoder`.

    Args:
        network: Features (b, T, f) to embeddings (b, dim); its ``frames`` gives (b, T', c) of the same, where
            T' is T / ``stride``, rounded up.
        features: Mono float32 samples (n,) at 16 kHz to features (T, f), normalised as the network wants them.
        dim: Length of an embedding.
        fingerprint: Architecture, front end and digest of the weights.
        device: See `pick_device`.
        precision: ``"float32"``, or ``"bfloat16"`` for weights and activations of half the size: faster where
            the processor has it. Statistics over time are taken in float32 either way.
        threads: Torch threads; default: one per physical core.
        frame_seconds: From one frame of the features to the next.
        min_frames: The fewest frames T that the network can embed.
        stride: Frames of the features to one of the network's.
        first_centre: Centre of the first frame of the features, in seconds: half a frame where frames lie
            within the samples, 0 where they are centred.

    Attributes:
        network: On the device, in the precision, in evaluation mode, its batch norms folded into its layers.
        batch_frames: Frames of features that go through the network together, at most, by type of device; a
            single clip may have more.

    Raises:
        ConfigError: An unknown device, precision or number of threads.
        WeightsError: The weights give embeddings that are not finite.
    """

    name: ClassVar[str]
    sample_rate = SAMPLE_RATE
    batch_frames: ClassVar[dict[str, int]] = {"cpu": 400, "cuda": 30_000, "mps": 10_000}

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        features: Callable[[FloatArray], FloatArray],
        dim: int,
        fingerprint: str,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        frame_seconds: float = 0.010,
        min_frames: int = 10,
        stride: int = 1,
        first_centre: float = 0.0125,
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(
                f"threads is {threads}; give 1 or more, or leave it out for one per physical core"
            )
        self.device = pick_device(device)
        self.precision = precision
        self._dtype = check_precision(precision)
        self.features = features
        self.dim = dim
        self.fingerprint = fingerprint
        self.threads = threads
        self.frame_seconds = frame_seconds
        self.stride = stride
        self.first_centre = first_centre
        self.fewest_samples = round((min_frames - 1) * frame_seconds * SAMPLE_RATE) + FRAME_SAMPLES
        self.batch_length = self.batch_frames[self.device.type]
        self.network = self._prepared(network)

    def frames(self, clip: Audio) -> tuple[FloatArray, npt.NDArray[np.float64]]:
        """Frame features, from the network before its pooling over time.

        A clip longer than ``whole_seconds`` is taken in even pieces of at most ``piece_seconds``, each with its own
        features, normalised by themselves.

        Returns:
            Features (T', c), and the time of each frame's centre in seconds (T',).
        """
        n, grid = len(clip.samples), round(self.frame_seconds * self.stride * SAMPLE_RATE)
        count = len(self._pieces(clip.samples))
        borders = [round(k * n / count / grid) * grid for k in range(count)]
        # So far a piece reaches into the next one that its last frame is followed by the first of that.
        overlap = FRAME_SAMPLES - round(self.frame_seconds * SAMPLE_RATE)
        found, times = [], []
        with self._torch():
            for start, end in zip(borders, [*borders[1:], None], strict=True):
                samples = clip.samples[start : None if end is None else end + overlap]
                states = self.network.frames(self._tensor(np.stack([self._features(samples)])))[0]  # type: ignore[operator]
                found.append(states[: None if end is None else (end - start) // grid].float().cpu().numpy())
                centres = np.arange(len(found[-1])) * self.stride * self.frame_seconds
                times.append(start / SAMPLE_RATE + self.first_centre + centres)
        return np.concatenate(found), np.concatenate(times)

    def _prepared(self, network: torch.nn.Module) -> torch.nn.Module:
        network = network.eval().requires_grad_(False)
        noise = np.random.default_rng(0).normal(0.0, 0.1, self.fewest_samples).astype(np.float32)
        example = torch.from_numpy(self._features(noise)[None])
        with torch.inference_mode(False), torch_threads(self.threads):
            fold_batch_norms(network, example)
            with torch.no_grad():
                if not torch.isfinite(network(example)).all():
                    raise WeightsError(f"{self.name}: these weights give no finite embedding; give others")
        # The order in memory that convolutions over pictures are fastest in, on processors as on GPUs.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device, self._dtype)

    def _run(self, features: FloatArray) -> FloatArray:
        with self._torch():
            embeddings: FloatArray = self.network(self._tensor(features)).float().cpu().numpy()
        return embeddings

    def _tensor(self, features: FloatArray) -> torch.Tensor:
        return torch.from_numpy(features).to(self.device, self._dtype)

    @contextmanager
    def _torch(self) -> Iterator[None]:
        """Inference, with the threads asked for, and without the shortened float32 of CUDA's convolutions."""
        cuda, cudnn = self.device.type == "cuda", torch.backends.cudnn
        shortened = cuda and cudnn.allow_tf32
        if shortened:
            cudnn.allow_tf32 = False
        try:
            with torch.inference_mode(), torch_threads(self.threads):
                yield
        finally:
            if shortened:
                cudnn.allow_tf32 = True
