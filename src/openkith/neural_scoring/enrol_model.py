"""The enrolment model of neural scoring, learned from recordings of many speakers; and whom it takes for alike.

ResNet34 with attentive statistics pooling, as Lin et al. (arXiv 2410.16428) have it, with AAM-softmax (Deng et
al., CVPR 2019) over the speakers. The paper takes its enrolment model as given: lengths, augmentation, margin and scale
are those that are usual on VoxCeleb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

from openkith.encoders.networks.network import pick_device
from openkith.encoders.networks.resnet import AttentiveResNet34
from openkith.encoders.weights.checkpoints import load_strictly
from openkith.errors import ConfigError, NotEnoughDataError, WeightsError
from openkith.losses.softmax import AAMSoftmaxLoss
from openkith.metrics import eer
from openkith.neural_scoring.checkpoints import ALONE, ENROLMENT, read_names
from openkith.neural_scoring.mining import TOP, hard_speakers, mean_embeddings
from openkith.neural_scoring.mixtures import Noises
from openkith.neural_scoring.network import log_mel
from openkith.neural_scoring.recordings import Recordings, stack, to_samples
from openkith.training import TrainConfig, Trained, is_first_process, seed_everything, train, write_weights
from openkith.training.batches import shuffled
from openkith.training.logs import Progress

__all__ = [
    "ENROL_MODEL",
    "ENROL_MODEL_FILE",
    "Crops",
    "EnrolModel",
    "EnrolModelConfig",
    "find_hard_speakers",
    "load_enrol_model",
    "train_enrol_model",
    "write_enrol_model",
]

ENROL_MODEL = "enrolment-model"  # kind, in checkpoints
ENROL_MODEL_FILE = "model.safetensors"
MINED_SECONDS = 4.0  # of an utterance, as of an enrolment
MINED_CLIPS = 20  # utterances of a speaker that its mean embedding is of
EMBEDDED_TOGETHER = 64


@dataclass(frozen=True)
class EnrolModelConfig:
    """How an enrolment model is trained.

    Attributes:
        dim: Length of an embedding.
        seconds: Of each utterance, a stretch from a random place.
        augment: With which probability one is augmented, by noise or a room.
        margin: Of AAM-softmax, an angle in radians.
        scale: Of AAM-softmax.
        held_out: Speakers that are not learned from; between theirs is the error rate after each epoch. 0: none.
        held_out_clips: Utterances of each.
        train: The rest.

    Raises:
        ConfigError: A value is out of range.
    """

    dim: int = 256
    seconds: float = 2.0
    augment: float = 0.6
    margin: float = 0.2
    scale: float = 32.0
    held_out: int = 0
    held_out_clips: int = 5
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        to_samples("seconds", self.seconds)
        if self.dim < 1:
            raise ConfigError(f"dim is {self.dim}; give 1 or more")
        if not 0 <= self.augment <= 1:
            raise ConfigError(f"augment is {self.augment}; give a probability from 0 to 1")
        AAMSoftmaxLoss(1, 1, margin=self.margin, scale=self.scale)  # which checks its own options
        if self.held_out < 0:
            raise ConfigError(f"held_out is {self.held_out}; give 0 or more")
        if self.held_out_clips < 2:
            raise ConfigError(f"held_out_clips is {self.held_out_clips}; give 2 or more")


class EnrolModel(nn.Module):
    """The encoder, and what it is trained with, under the names of NS-SV: ``speaker_encoder.*`` and ``loss.*``.

    Args:
        speakers: How many are told apart.
        config: Sizes, margin and scale.
    """

    def __init__(self, speakers: int, config: EnrolModelConfig) -> None:
        super().__init__()
        self.speaker_encoder = AttentiveResNet34(config.dim)
        self.loss = AAMSoftmaxLoss(speakers, config.dim, margin=config.margin, scale=config.scale)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embeddings (b, dim) of features (b, T, 80)."""
        embeddings: torch.Tensor = self.speaker_encoder(features)
        return embeddings


class Crops:
    """Stretches of single recordings and whose they are: a data set.

    Args:
        recordings: To learn from.
        n: Samples of a stretch.
        augment: With which probability one is augmented.
        noises: By what.
    """

    def __init__(
        self, recordings: Recordings, n: int, augment: float = 0.0, noises: Noises | None = None
    ) -> None:
        self._recordings, self._n = recordings, n
        self._augment, self._noises = augment, noises or Noises()

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """A sample of a row that is always the same."""
        return self.draw(row, np.random.default_rng(row))

    def draw(self, row: int, rng: np.random.Generator) -> dict[str, Any]:
        """Features (T, 80) of an utterance, the place of its speaker, and whether another stands in for it."""
        samples, replaced = self._recordings.crop(row, self._n, rng)
        if rng.random() < self._augment:
            samples = self._noises.augment(samples, rng)
        speaker = int(self._recordings.owners[row])
        return {"features": log_mel(samples), "speakers": speaker, "replaced": int(replaced)}


def train_enrol_model(
    config: EnrolModelConfig,
    corpus: str | Path,
    folder: str | Path,
    *,
    noises: Noises | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Learn an enrolment model from a corpus.

    Args:
        config: How.
        corpus: A folder per speaker, or another form that `openkith.data.corpus.load_corpus` reads.
        folder: Where checkpoints and logs are written, and, at the end, ``model.safetensors``, which is what
            `openkith.neural_scoring.start_from_enrolment_model` and the encoder ``resnet34-ns`` take.
        noises: For augmentation.
        resume: Go on from the folder's last checkpoint.
        progress: See `openkith.training.train`.

    Raises:
        ManifestError: The corpus is none.
        NotEnoughDataError: Too few speakers.
        AudioError: The first recording cannot be read.
        KithError: As `openkith.training.train`.
    """
    seen, held_out = Recordings.of(corpus).split(config.held_out, config.train.seed)
    n = to_samples("seconds", config.seconds)
    seen.crop(
        0, n, np.random.default_rng(0)
    )  # here, and not in a worker, if all are of a kind that cannot be read
    seed_everything(config.train.seed)
    model = EnrolModel(len(seen.speakers), config)
    trained = train(
        model,
        _loss,
        Crops(seen, n, config.augment, noises),
        config.train,
        folder,
        collate=stack,
        batches=lambda epoch, rank, processes: [
            batch
            for batch in shuffled(config.train, len(seen), epoch, rank, processes)
            if len(batch) > 1  # which batch norms need
        ],
        evaluate=None if held_out is None else _HeldOut(held_out, n, config),
        progress=progress,
        resume=resume,
        about={"kind": ENROL_MODEL, "speakers": len(seen.speakers), "dim": config.dim},
    )
    if is_first_process():
        write_enrol_model(model.state_dict(), Path(folder) / ENROL_MODEL_FILE)
    return trained


def write_enrol_model(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write an enrolment model without what it was trained with.

    Raises:
        InputError: It cannot be written.
    """
    write_weights({name: tensor for name, tensor in state.items() if name.startswith(ALONE)}, path)


def load_enrol_model(path: str | Path) -> AttentiveResNet34:
    """An enrolment model, in evaluation mode.

    Args:
        path: A stand-alone enrolment model, or a whole model of neural scoring, of which it is taken; or the folder
            that has it, such as that of `train_enrol_model`.

    Raises:
        WeightsError: It cannot be read, or is no such model.
    """
    file, state = read_names(path)
    encoder = {
        name.removeprefix(ENROLMENT).removeprefix(ALONE): tensor
        for name, tensor in state.items()
        if name.startswith((ENROLMENT, ALONE))
    }
    if "fc.weight" not in encoder:
        raise WeightsError(
            f"{file}: no enrolment model in it; give what kith neural-scoring enrol-model wrote"
        )
    network = AttentiveResNet34(len(encoder["fc.weight"]))
    load_strictly(network, encoder, file)
    return network.eval()


def find_hard_speakers(
    corpus: str | Path,
    model: str | Path,
    *,
    top: int = TOP,
    clips: int = MINED_CLIPS,
    seconds: float = MINED_SECONDS,
    workers: int = 0,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, list[str]]:
    """For each speaker of a corpus, the others that an enrolment model takes for the most alike, the closest first.

    Args:
        corpus: See `train_enrol_model`.
        model: See `load_enrol_model`.
        top: How many others.
        clips: Utterances of each speaker that its mean embedding is of, drawn by the seed.
        seconds: Of each utterance, from a random place.
        workers: Processes that read audio; 0: this one does.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        seed: Of utterances and places.
        progress: Called with what is being done, utterances done, utterances in all.

    Raises:
        ConfigError: An option is out of range.
        KithError: The corpus or the model cannot be used.
    """
    for name, value, least in (
        ("clips", clips, 1),
        ("workers", workers, 0),
        ("seed", seed, 0),
        ("top", top, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}; give {least} or more")
    n = to_samples("seconds", seconds)
    recordings, network = Recordings.of(corpus), load_enrol_model(model).to(pick_device(device))
    chosen: list[int] = []
    for speaker in range(len(recordings.speakers)):
        drawn = recordings.of_speaker(speaker, clips, np.random.default_rng([seed, speaker]))
        chosen += dict.fromkeys(drawn)
    embeddings = _embed(network, _Features(recordings, chosen, n, seed), workers, progress)
    owners = [recordings.speakers[recordings.owners[index]] for index in chosen]
    return hard_speakers(*mean_embeddings(embeddings, owners), top)


class _Features:
    """Features of a stretch of each of some utterances, always the same: a data set."""

    def __init__(self, recordings: Recordings, chosen: Sequence[int], n: int, seed: int) -> None:
        self._recordings, self._chosen, self._n, self._seed = recordings, chosen, n, seed

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, place: int) -> torch.Tensor:
        index = self._chosen[place]
        rng = np.random.default_rng([self._seed, index, 1])
        return torch.from_numpy(log_mel(self._recordings.crop(index, self._n, rng).samples))


def _embed(
    network: nn.Module, features: _Features, workers: int, progress: Progress | None
) -> npt.NDArray[np.float32]:
    """Embeddings (n, d)."""
    device = next(network.parameters()).device
    loader: DataLoader[Any] = DataLoader(
        features,  # type: ignore[arg-type]
        batch_size=EMBEDDED_TOGETHER,
        num_workers=workers,
    )
    found: list[npt.NDArray[np.float32]] = []
    done = 0
    with torch.inference_mode():
        for batch in loader:
            found.append(network(batch.to(device)).float().cpu().numpy())
            done += len(batch)
            if progress is not None:
                progress("embedding utterances", done, len(features))
    return np.concatenate(found)


def _loss(model: EnrolModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    embeddings = model(batch["features"])
    with torch.autocast(embeddings.device.type, enabled=False):  # angles need all of float32
        value = model.loss(embeddings.float(), batch["speakers"])
    return {"loss": value, "replaced": batch["replaced"].float().mean()}


class _HeldOut:
    """Equal error rate of cosine between all utterances of speakers that were not learned from."""

    def __init__(self, recordings: Recordings, n: int, config: EnrolModelConfig) -> None:
        seed = config.train.seed
        rows: list[int] = []
        for speaker in range(len(recordings.speakers)):
            drawn = recordings.of_speaker(
                speaker, config.held_out_clips, np.random.default_rng([seed, speaker])
            )
            rows += dict.fromkeys(drawn)
        self._owners = recordings.owners[rows]
        if len(set(self._owners.tolist())) == len(rows):
            raise NotEnoughDataError(
                "held_out: nobody held out has two utterances; hold out more speakers, or none"
            )
        self._features = _Features(recordings, rows, n, seed)

    def __call__(self, model: EnrolModel) -> float:
        embeddings = _embed(model, self._features, 0, None)
        unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
        first, second = np.triu_indices(len(unit), k=1)
        cosines, same = (unit @ unit.T)[first, second], self._owners[first] == self._owners[second]
        return eer(cosines[same], cosines[~same])
