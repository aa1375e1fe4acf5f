"""A scorer that listens: enrolments and a test utterance in, the probability that each of them talks in it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from openkith.artefact import CONFIG_FILE, write_artefact
from openkith.audio import SAMPLE_RATE, Audio
from openkith.config import from_dict, to_dict
from openkith.encoders import Encoder
from openkith.encoders.base import FloatArray, torch_threads
from openkith.encoders.networks.network import pick_device
from openkith.encoders.networks.resnet import STRIDE
from openkith.encoders.voxceleb_mel import HOP, WINDOW
from openkith.encoders.weights.checkpoints import COUNTERS, load_strictly
from openkith.encoders.weights.published import state_digest
from openkith.errors import ConfigError, EncoderMismatchError, InputError, KithError, WeightsError
from openkith.neural_scoring.checkpoints import HEADS, read_model
from openkith.neural_scoring.network import (
    NetworkConfig,
    ScoringNetwork,
    WholeNetwork,
    log_mel,
    most_samples,
)

__all__ = ["NeuralScorer", "load_scorer"]

FORMAT = 1
KIND = "neural-scorer"
WEIGHTS_FILE = "scorer.safetensors"
WHOLE_SECONDS = 60.0  # the longest enrolment clip that is embedded as one
PIECE_SECONDS = 15.0  # the longest piece of a longer one
FEWEST_SAMPLES = STRIDE * HOP + WINDOW  # of a clip; a shorter one is repeated
_MOST_ENROLMENTS = 4096  # scored at once

Scores = npt.NDArray[np.float64]


class NeuralScorer:
    """Says of each enrolled person whether they talk in a test utterance; each by itself, whoever else is asked about.

    With a `WholeNetwork` it has the encoders that it was trained with. With a `ScoringNetwork` it scores the embeddings
    and frames of any encoder, and takes audio if it is given that encoder.

    Args:
        network: Trained; is put in evaluation mode.
        encoder: What made the embeddings and frames of training, for a network that has no encoders of its own.
        device: Where the network runs, see `openkith.encoders.networks.network.pick_device`.
        threads: Torch threads; default: torch's own.

    Attributes:
        network: On the device.
        config: Its sizes.
        encoder: As given.
        encoder_fingerprint: Of the encoder, also where the scorer was loaded without it; "" if none is known.

    Raises:
        ConfigError: An unknown device, ``threads`` below 1, an encoder beside those of a `WholeNetwork`, or one whose
            embeddings have another length.
    """

    def __init__(
        self,
        network: ScoringNetwork,
        *,
        encoder: Encoder | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; give 1 or more, or leave it out")
        if encoder is not None and isinstance(network, WholeNetwork):
            raise ConfigError("encoder is given, but this network has its own; leave it out")
        if encoder is not None and encoder.dim != network.config.enrolment_dim:
            raise ConfigError(
                f"encoder {encoder.name} gives embeddings of {encoder.dim}, this network takes "
                f"{network.config.enrolment_dim}; give the encoder that it was trained with"
            )
        self.device = pick_device(device)
        self.network = network.eval().to(self.device)
        self.config = network.config
        self.encoder = encoder
        self.encoder_fingerprint = "" if encoder is None else encoder.fingerprint
        self.threads = threads

    @property
    def fingerprint(self) -> str:
        """Two scorers of one fingerprint give the same scores."""
        state = self.network.state_dict().items()
        weights = {name: tensor for name, tensor in state if not fnmatchcase(name, COUNTERS)}
        return f"{KIND}/heads{self.config.heads}/{state_digest(weights)[:32]}"

    def score(self, enrolments: npt.ArrayLike, frames: npt.ArrayLike) -> Scores:
        """Probabilities, as the network has learnt them: the sigmoid of `log_odds`.

        Args:
            enrolments: Embeddings (n, d), as `enrol` gives them.
            frames: Of the test utterance (T, f), as `frames` gives them; those beyond ``config.most_frames`` are
                not heard.

        Returns:
            Shape (n,), float64.

        Raises:
            InputError: Another shape, no frames, or a value is not finite.
        """
        return np.asarray(expit(self.log_odds(enrolments, frames)), np.float64)

    def log_odds(self, enrolments: npt.ArrayLike, frames: npt.ArrayLike) -> Scores:
        """What the network gives before its sigmoid, telling apart what rounds to a probability of 1; as `score`."""
        embeddings = _matrix("enrolments", enrolments, self.config.enrolment_dim)
        heard = _matrix("frames", frames, self.config.frame_dim)[: self.config.most_frames]
        if not len(heard):
            raise InputError("frames have no rows; give one frame or more")
        odds = [np.zeros(0)]
        with self._inference():
            frames_tensor = torch.from_numpy(heard)[None].to(self.device)
            for first in range(0, len(embeddings), _MOST_ENROLMENTS):
                block = torch.from_numpy(embeddings[first : first + _MOST_ENROLMENTS])[None].to(self.device)
                odds.append(self.network(block, frames_tensor)[0].double().cpu().numpy())
        return np.concatenate(odds)

    def enrol(self, clips: Sequence[Audio]) -> FloatArray:
        """Enrolment embeddings of whole clips.

        Those of a `WholeNetwork` are not normalised: their length is part of what it was trained on. A clip longer than
        a minute has the mean of its pieces.

        Returns:
            Shape (len(clips), d), float32.

        Raises:
            InputError: This scorer has no encoder.
        """
        if not isinstance(self.network, WholeNetwork):
            return self._encoder().embed(clips)
        embeddings = np.zeros((len(clips), self.config.enrolment_dim), np.float32)
        for row, clip in enumerate(clips):
            pieces = [self._run(self.network.embed, piece) for piece in _pieces(clip.samples)]
            embeddings[row] = np.mean(pieces, axis=0)
        return embeddings

    def frames(self, clip: Audio) -> FloatArray:
        """Frames of a test utterance, (T, f): what is heard of it, at most ``config.most_frames``.

        For a `WholeNetwork` the audio itself is cut, at 39.9 s, before its features are normalised.

        Raises:
            InputError: This scorer has no encoder.
        """
        if not isinstance(self.network, WholeNetwork):
            return self._encoder().frames(clip)[0][: self.config.most_frames]
        return self._run(self.network.frames, clip.samples[: most_samples(self.config.most_frames)])

    def score_clip(self, enrolments: npt.ArrayLike, clip: Audio) -> Scores:
        """Probabilities (n,) that the people of these embeddings (n, d) talk in a clip; see `score`."""
        return self.score(enrolments, self.frames(clip))

    def save(self, folder: str | Path) -> None:
        """Write the scorer as a folder; an earlier scorer there is replaced, and nothing is left half-written.

        Raises:
            InputError: Something else is there, or the place cannot be written.
        """
        from safetensors.torch import save_file

        config = {
            "format": FORMAT,
            "kind": KIND,
            "encoders": isinstance(self.network, WholeNetwork),
            "encoder_fingerprint": self.encoder_fingerprint,
            "network": to_dict(self.config),
        }
        state = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        write_artefact(folder, config, WEIGHTS_FILE, lambda path: save_file(state, path))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        encoder: Encoder | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> Self:
        """The scorer that `save` wrote: the same scores, bit by bit. Arguments and errors as `load_scorer`."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise WeightsError(f"{folder}: no {name} there; give the folder of a neural scorer")
        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            if (config["kind"], config["format"]) != (KIND, FORMAT):
                raise WeightsError(f"{config['kind']} of format {config['format']}, not {KIND} of {FORMAT}")
            sizes = from_dict(NetworkConfig, config["network"])
            network = WholeNetwork(sizes) if config["encoders"] else ScoringNetwork(sizes)
            load_strictly(network, load_file(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
            trained_with = str(config["encoder_fingerprint"])
        except (
            *(KithError, SafetensorError, OSError, RuntimeError),
            *(KeyError, TypeError, ValueError, AttributeError),
        ) as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            raise WeightsError(
                f"{folder}: a damaged scorer, or of another version ({reason}); save it again"
            ) from error
        if encoder is not None and trained_with and encoder.fingerprint != trained_with:
            raise EncoderMismatchError(
                f"{folder}: trained on encoder {trained_with}, not on {encoder.fingerprint}; give that one"
            )
        scorer = cls(network, encoder=encoder, device=device, threads=threads)
        scorer.encoder_fingerprint = scorer.encoder_fingerprint or trained_with
        return scorer

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            which = f"the encoder {self.encoder_fingerprint}".rstrip()
            raise InputError(
                f"this scorer has no encoder; load it with {which}, or give it embeddings and frames"
            )
        return self.encoder

    def _run(self, network: Callable[[torch.Tensor], torch.Tensor], samples: FloatArray) -> FloatArray:
        """What an encoder gives for the features of some samples, repeated where they are too few."""
        if len(samples) < FEWEST_SAMPLES:
            samples = np.resize(samples, FEWEST_SAMPLES)
        features = torch.from_numpy(log_mel(np.asarray(samples, np.float32)))
        with self._inference():
            result: FloatArray = network(features[None].to(self.device))[0].float().cpu().numpy()
        return result

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Without gradients, with the threads asked for, and without the shortened float32 of CUDA's convolutions."""
        cudnn = torch.backends.cudnn
        shortened = self.device.type == "cuda" and cudnn.allow_tf32
        if shortened:
            cudnn.allow_tf32 = False
        try:
            with torch.inference_mode(), torch_threads(self.threads):
                yield
        finally:
            if shortened:
                cudnn.allow_tf32 = True


def load_scorer(
    path: str | Path,
    *,
    encoder: Encoder | None = None,
    device: str = "auto",
    threads: int | None = None,
    heads: int = HEADS,
) -> NeuralScorer:
    """A trained scorer.

    Args:
        path: The folder that `NeuralScorer.save` wrote, or a checkpoint of NS-SV (a whole model), or the folder
            that has one.
        encoder: The encoder whose embeddings and frames it was trained on, for a scorer without encoders of its own.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        threads: Torch threads; default: torch's own.
        heads: Of the attention, for a checkpoint, which does not say.

    Raises:
        WeightsError: Nothing there, a damaged scorer, or a checkpoint with missing, unknown or misshapen tensors.
        EncoderMismatchError: The scorer was trained on another encoder.
        ConfigError: As `NeuralScorer`.
    """
    folder = Path(path)
    if (folder / CONFIG_FILE).is_file():
        return NeuralScorer.load(folder, encoder=encoder, device=device, threads=threads)
    network = read_model(folder, heads=heads)
    return NeuralScorer(network, encoder=encoder, device=device, threads=threads)


def _matrix(name: str, values: npt.ArrayLike, width: int) -> FloatArray:
    array = np.asarray(values, np.float32)
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"{name} have shape {array.shape}; give (n, {width})")
    if not np.isfinite(array).all():
        raise InputError(f"{name} have a value that is not finite; give others")
    return np.ascontiguousarray(array)


def _pieces(samples: FloatArray) -> list[FloatArray]:
    """A clip as it is, or, if it is long, in even pieces."""
    if len(samples) <= round(WHOLE_SECONDS * SAMPLE_RATE):
        return [samples]
    return np.array_split(samples, -(-len(samples) // round(PIECE_SECONDS * SAMPLE_RATE)))
