"""Tune a SpeakerRPL head on a few clips per person: embeddings and labels in, a scorer out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.config import from_dict
from openkith.encoders.base import torch_threads
from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring.base import SCORED_IN, Arrays, EmbeddingSet, FloatArray, need_cohort
from openkith.scoring.whitening import SpeakerSpace

__all__ = ["SpeakerRPL", "SpeakerRPLPlus", "TuneConfig"]

TRAINING_THREADS = 1  # the matrices are small: on a busy machine more threads wait for one another
_MIN_STEPS = 120
_STEPS_PER_PERSON = 3
_BLOCK = 1024  # probes scored at once


@dataclass(frozen=True)
class TuneConfig:
    """How a SpeakerRPL head is tuned.

    Attributes:
        unknown_weight: beta of the unknown-sample term; 0 is SpeakerRPL v1, above 0 is SpeakerRPL+.
        weight: w of the radius and the pull term.
        temperature: T of the softmax over reciprocal points.
        members: Adapters with different seeds, trained side by side; their scores are averaged.
        steps: Batches; None: 120, or 3 a person where that is more.
        batch: Known samples in a batch.
        unknown_batch: Unknown samples in a batch.
        learning_rate: Of SGD with momentum 0.9 and weight decay 1e-4; a tenth after 1/2 and again after 4/5.
        original_share: Share of the batch that is clips as recorded; the rest is degraded copies.
        out: Length m of an adapted embedding.
        seed: Of the initial weights and the batches.
    """

    unknown_weight: float = 1.0
    weight: float = 5.0
    temperature: float = 1.0
    members: int = 5
    steps: int | None = None
    batch: int = 24
    unknown_batch: int = 48
    learning_rate: float = 0.01
    original_share: float = 0.5
    out: int = 192
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("members", "batch", "unknown_batch", "out"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("temperature", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("unknown_weight", "weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.original_share <= 1:
            raise ConfigError(f"original_share is {self.original_share}; give a share from 0 to 1")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; give 1 or more, or leave it out")


class SpeakerRPL:
    """SpeakerRPL as a back end: adapters and reciprocal points in `SpeakerSpace`, without unknown samples.

    The cohort shapes the space; the loss sees enrolled people only (`SpeakerRPLPlus` sees the cohort too).

    Args:
        config: How to tune.
    """

    name = "speaker-rpl"
    needs_cohort = True

    def __init__(self, config: TuneConfig | None = None) -> None:
        self.config = config or TuneConfig(unknown_weight=0.0)

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Train the members.

        Raises:
            NotEnoughDataError: Fewer than two people (the loss tells people apart), or no cohort.
        """
        import torch

        from openkith.losses import SpeakerRPLLoss
        from openkith.tuning.adapters import MLPAdapter

        config = self.config
        cohort = need_cohort(cohort, self.name)
        n_people = int(enrolment.labels.max()) + 1
        if n_people < 2:
            raise NotEnoughDataError(
                f"{self.name} needs two people or more; with one, use the method 'as-norm'"
            )
        self.space = SpeakerSpace().fit(enrolment, cohort)
        generator = torch.Generator().manual_seed(config.seed)
        known = torch.from_numpy(self.space.transform(enrolment.embeddings))
        labels = torch.from_numpy(enrolment.labels)
        unknown = torch.from_numpy(self.space.transform(cohort.embeddings))
        known_weights = torch.from_numpy(_balanced(enrolment, config.original_share))
        unknown_weights = torch.from_numpy(_balanced(cohort, config.original_share))

        members = config.members
        adapter = MLPAdapter(known.shape[1], config.out, members=members, generator=generator)
        loss = SpeakerRPLLoss(
            n_people,
            config.out,
            members=members,
            weight=config.weight,
            temperature=config.temperature,
            unknown_weight=config.unknown_weight,
            generator=generator,
        )
        steps = config.steps or max(_MIN_STEPS, _STEPS_PER_PERSON * n_people)
        optimiser = torch.optim.SGD(
            [*adapter.parameters(), *loss.parameters()],
            lr=config.learning_rate,
            momentum=0.9,
            weight_decay=1e-4,
        )
        schedule = torch.optim.lr_scheduler.MultiStepLR(
            optimiser, [max(1, steps // 2), max(1, steps * 4 // 5)]
        )
        with torch_threads(TRAINING_THREADS):
            for _ in range(steps):
                rows = _draw(known_weights, members, config.batch, generator)
                if config.unknown_weight:
                    others = _draw(unknown_weights, members, config.unknown_batch, generator)
                    adapted = adapter(torch.cat([known[rows], unknown[others]], dim=1))
                    value = loss(adapted[:, : config.batch], labels[rows], adapted[:, config.batch :])
                else:
                    value = loss(adapter(known[rows]), labels[rows])
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
                schedule.step()
        self._weights = [weight.detach() for weight in adapter.weights]
        self._points = loss.points.detach()
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to (p, C): the mean over members of -x . P_k."""
        import torch

        from openkith.tuning.adapters import adapt

        members, n_people = self._points.shape[:2]
        scores = [np.zeros((0, n_people), np.float32)]
        with torch.inference_mode():
            weights, points = [weight.double() for weight in self._weights], self._points.mT.double()
            for first in range(0, len(embeddings), _BLOCK):
                space = self.space.transform(embeddings[first : first + _BLOCK])
                x = torch.from_numpy(space.astype(SCORED_IN))
                adapted = adapt(x.expand(members, *x.shape), weights)
                scores.append(-(adapted @ points).mean(0).float().numpy())
        return np.concatenate(scores)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """The configuration, the space, the adapters' weights and the reciprocal points."""
        arrays = {f"adapter.{i}": weight.numpy() for i, weight in enumerate(self._weights)}
        return asdict(self.config), {**self.space.arrays(), **arrays, "points": self._points.numpy()}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """From what `state` gave."""
        import torch

        scorer = cls(from_dict(TuneConfig, config))
        scorer.space = SpeakerSpace.from_arrays(arrays)
        n_layers = sum(key.startswith("adapter.") for key in arrays)
        scorer._weights = [torch.from_numpy(np.array(arrays[f"adapter.{i}"])) for i in range(n_layers)]
        scorer._points = torch.from_numpy(np.array(arrays["points"]))
        return scorer

    space: SpeakerSpace
    _weights: list[Any]  # tensors (members, in, out); torch is imported late
    _points: Any  # tensor (members, C, m)


class SpeakerRPLPlus(SpeakerRPL):
    """SpeakerRPL+: as `SpeakerRPL`, with the cohort as unknown samples in the loss."""

    name = "speaker-rpl+"

    def __init__(self, config: TuneConfig | None = None) -> None:
        super().__init__(config or TuneConfig())


def _balanced(items: EmbeddingSet, original_share: float) -> npt.NDArray[np.float32]:
    """Sampling weights (n,) under which every speaker, and every clip of a speaker, is drawn alike."""
    weights = items.weights(original_share)
    per_speaker = np.bincount(items.labels, weights)
    return np.asarray(weights / per_speaker[items.labels], np.float32)


def _draw(weights: Any, members: int, size: int, generator: Any) -> Any:
    """Rows for each member, (members, size)."""
    import torch

    return torch.multinomial(weights, members * size, replacement=True, generator=generator).view(
        members, size
    )
