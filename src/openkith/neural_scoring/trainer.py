"""Training of neural scoring with large-scale trials (LtE2E), clean and on mixtures.

Lin et al., arXiv 2410.16428: a batch has an enrolment and a test utterance of each of its people, who are drawn in
groups that sound alike; each test utterance is asked about its own person and those that follow in the batch. Of a
mixture, the second talker is a match too, and a further enrolment of it is added to what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from openkith.config import to_dict
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.metrics import eer
from openkith.neural_scoring.losses import LtE2ELoss
from openkith.neural_scoring.mining import GROUP, HardSpeakerSampler
from openkith.neural_scoring.mixtures import MixtureConfig, Neighbours, Noises, TrialSamples
from openkith.neural_scoring.model_files import start_network
from openkith.neural_scoring.network import NetworkConfig, WholeNetwork, log_mel
from openkith.neural_scoring.recordings import Recordings, stack, to_samples
from openkith.neural_scoring.scorer import KIND
from openkith.neural_scoring.trials import batch_trials, extra_talkers
from openkith.training import (
    TrainConfig,
    Trained,
    list_checkpoints,
    seed_everything,
    train,
)
from openkith.training.logs import Progress

__all__ = ["CONFIGS", "ScorerConfig", "TrialLoss", "train_scorer", "trial_batches"]

CONFIGS = Path(__file__).parent / "configs"
EMBEDDED_TOGETHER = 64  # enrolments; all of a batch at once would take more memory than the rest of a step


@dataclass(frozen=True)
class ScorerConfig:
    """How a scorer is trained; the defaults are the paper's, of multi-scenario training.

    Attributes:
        enrolment_seconds, test_seconds: Stretches of utterances.
        enrolments: That each test utterance is asked about; all of the batch where it has fewer.
        match_weight: Of trials in which the enrolled person talks, in the loss.
        group: People who sound alike, side by side in a batch.
        turns: Of each speaker in an epoch; None: the mean number of utterances.
        held_out: Speakers that are not learned from; among them is the error rate after each epoch. 0: none.
        held_out_clips: Test utterances of each.
        mixture: What becomes of test utterances.
        network: Sizes.
        train: The rest.

    Raises:
        ConfigError: A value is out of range.
    """

    enrolment_seconds: float = 4.0
    test_seconds: float = 4.0
    enrolments: int = 200
    match_weight: float = 0.95
    group: int = GROUP
    turns: int | None = None
    held_out: int = 0
    held_out_clips: int = 5
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        to_samples("enrolment_seconds", self.enrolment_seconds)
        to_samples("test_seconds", self.test_seconds)
        LtE2ELoss(self.match_weight)  # which checks it
        for name in ("enrolments", "group", "held_out_clips", "turns"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; give 1 or more")
        if self.held_out < 0:
            raise ConfigError(f"held_out is {self.held_out}; give 0 or more")


class TrialLoss:
    """The loss of a batch of large-scale trials; several processes share their enrolments.

    Args:
        enrolments: That each test utterance is asked about.
        match_weight: See `LtE2ELoss`.
    """

    def __init__(self, enrolments: int, match_weight: float) -> None:
        self._enrolments = enrolments
        self._loss = LtE2ELoss(match_weight)

    def __call__(self, model: WholeNetwork, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The loss, and the mean number of recordings per sample that others stand in for."""
        rank, processes = _place()
        size = len(batch["speakers"])
        speakers = _gather(batch["speakers"], processes).cpu().numpy()
        second = _gather(batch["second"], processes).cpu().numpy()
        asked = _gather(_embed(model, batch["enrolments"]), processes)
        extra = None
        if "extras" in batch:
            asked = torch.cat([asked, _gather(_embed(model, batch["extras"]), processes)])
            extra = extra_talkers(speakers, second)
        rows = slice(rank * size, (rank + 1) * size)
        trials = batch_trials(speakers, self._enrolments, second=second, extra=extra, rows=rows)
        indices = torch.from_numpy(trials.indices).to(asked.device)
        logits = model(asked[indices], model.frames(batch["tests"]))
        value = self._loss(logits, torch.from_numpy(trials.labels).to(logits.device))
        return {"loss": value, "replaced": batch["replaced"].float().mean()}


def trial_batches(
    recordings: Recordings, neighbours: Neighbours | None, config: ScorerConfig
) -> Callable[[int, int, int], Iterator[list[int]]]:
    """The batches of an epoch, for `openkith.training.train`: people who sound alike, each with an utterance to enrol.

    Args:
        recordings: To learn from.
        neighbours: Who sounds like whom.
        config: Batch size, group, turns and seed.
    """
    owners = [recordings.speakers[owner] for owner in recordings.owners]

    def batches(epoch: int, rank: int, processes: int) -> Iterator[list[int]]:
        sampler = HardSpeakerSampler(
            owners,
            neighbours or {},
            config.train.batch_size,
            seed=config.train.seed,
            turns=config.turns,
            group=config.group,
            rank=rank,
            world_size=processes,
        )
        sampler.set_epoch(epoch)
        return ([draw.enrolment for draw in batch] for batch in sampler)

    return batches


def train_scorer(
    config: ScorerConfig,
    corpus: str | Path,
    folder: str | Path,
    *,
    start: str | Path | None = None,
    neighbours: Neighbours | None = None,
    noises: Noises | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Learn neural scoring from a corpus.

    Args:
        config: How.
        corpus: A folder per speaker, or another form that `openkith.data.corpus.load_corpus` reads.
        folder: Where checkpoints and logs are written.
        start: An enrolment model, or a model of neural scoring to go on from; see `start_network`. None is enough to
            resume.
        neighbours: Who sounds like whom, see `openkith.neural_scoring.hard_speakers`; without it people meet by chance.
        noises: For mixtures and augmentation.
        resume: Go on from the folder's last checkpoint.
        progress: See `openkith.training.train`.

    Raises:
        ConfigError: There is nothing to begin from, or sizes differ.
        ManifestError: The corpus is none.
        NotEnoughDataError: Too few speakers, or they do not fill a batch.
        AudioError: The first recording cannot be read.
        KithError: As `openkith.training.train`.
    """
    folder, options = Path(folder), config.train
    seen, held_out = Recordings.of(corpus).split(config.held_out, options.seed)
    lengths = _lengths(config)
    samples = TrialSamples(seen, *lengths, config.mixture, noises, neighbours)
    seen.crop(0, lengths[1], np.random.default_rng(0))  # here, and not in a worker, if none can be read
    seed_everything(options.seed)
    network = _begin(folder, start, resume, config.network)
    return train(
        network,
        TrialLoss(config.enrolments, config.match_weight),
        samples,
        options,
        folder,
        collate=stack,
        batches=trial_batches(seen, neighbours, config),
        evaluate=None if held_out is None else _HeldOut(held_out, config, noises),
        progress=progress,
        resume=resume,
        about={"kind": KIND, "network": to_dict(config.network)},
    )


def _begin(folder: Path, start: str | Path | None, resume: bool, config: NetworkConfig) -> WholeNetwork:
    if resume and list_checkpoints(folder):
        return start_network(folder, config)
    if start is None:
        raise ConfigError(
            "nothing to begin from; give an enrolment model, or a model of neural scoring, with --from"
        )
    return start_network(start, config)


def _lengths(config: ScorerConfig) -> tuple[int, int]:
    return (
        to_samples("enrolment_seconds", config.enrolment_seconds),
        to_samples("test_seconds", config.test_seconds),
    )


def _embed(model: WholeNetwork, features: torch.Tensor) -> torch.Tensor:
    """Embeddings (b, d), of not too many at once."""
    return torch.cat([model.embed(part) for part in torch.split(features, EMBEDDED_TOGETHER)]).float()


def _place() -> tuple[int, int]:
    """This process, and how many there are."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _gather(values: torch.Tensor, processes: int) -> torch.Tensor:
    """The rows of all processes, rank after rank; no gradient goes back to them."""
    if processes == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(processes)]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


class _HeldOut:
    """Equal error rate of all test utterances against all enrolments of speakers that were not learned from.

    Each has one enrolment, of an utterance that is in no test.
    """

    def __init__(self, recordings: Recordings, config: ScorerConfig, noises: Noises | None) -> None:
        enrolled = [int(own[0]) for own in recordings.own if len(own) > 1]
        if len(enrolled) < 2:
            raise NotEnoughDataError(
                "held_out: fewer than two of them have two utterances; hold out more, or none"
            )
        enrolling = {recordings.owners[index] for index in enrolled}
        rest = [
            each
            for index, each in enumerate(recordings.utterances)
            if recordings.owners[index] in enrolling and index not in enrolled
        ]
        self._recordings, self._enrolled, self._rest = recordings, enrolled, Recordings(rest)
        self._lengths, self._clips, self._seed = _lengths(config), config.held_out_clips, config.train.seed
        self._tests = TrialSamples(self._rest, *self._lengths, config.mixture, noises)
        self._made: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def __call__(self, model: WholeNetwork) -> float:
        if self._made is None:
            self._made = self._make()
        enrolments, tests, matches = self._made
        device = next(model.parameters()).device
        asked = _embed(model, enrolments.to(device))
        odds = []
        for part in torch.split(tests, EMBEDDED_TOGETHER):
            frames = model.frames(part.to(device))
            odds.append(model(asked[None].expand(len(part), -1, -1), frames).float().cpu())
        scores = torch.cat(odds)
        return eer(scores[matches].numpy(), scores[~matches].numpy())

    def _make(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features of enrolments (s, T, 80) and of test utterances (b, T, 80), and who talks in which (b, s)."""
        enrolments, tests, talkers = [], [], []
        for speaker, index in enumerate(self._enrolled):
            rng = np.random.default_rng([self._seed, speaker])
            enrolments.append(log_mel(self._recordings.crop(index, self._lengths[0], rng).samples))
            own = self._rest.own[speaker]
            for clip in range(self._clips):
                rng = np.random.default_rng([self._seed, speaker, clip, 1])
                sample = self._tests.sample(int(own[clip % len(own)]), rng)
                tests.append(log_mel(sample.test))
                talkers.append((sample.speaker, sample.second))
        heard = torch.tensor(talkers)  # (b, 2)
        matches = (heard[:, :, None] == torch.arange(len(enrolments))).any(dim=1)
        return torch.from_numpy(np.stack(enrolments)), torch.from_numpy(np.stack(tests)), matches
