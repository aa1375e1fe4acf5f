"""SpeakerRPL as back ends: `openkith.tuning.tune` in the space that the cohort shapes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.errors import ConfigError, NotEnoughDataError
from openkith.scoring.base import Arrays, EmbeddingSet, FloatArray, need_cohort, one_view
from openkith.scoring.whitening import SPACES, RawSpace, SpeakerSpace
from openkith.tuning.config import TuneConfig
from openkith.tuning.head import TunedHead
from openkith.tuning.tuner import tune

__all__ = ["SpeakerRPL", "SpeakerRPLPlus", "SpeakerRPLV2"]

_HEAD = "head."


class SpeakerRPL:
    """SpeakerRPL as a back end: adapters and reciprocal points in `SpeakerSpace`, without unknown samples.

    The cohort shapes the space; the loss sees enrolled people only (`SpeakerRPLPlus` sees the cohort too).

    Args:
        config: How to tune.
        space: A key of `openkith.scoring.whitening.SPACES`; "raw" for embeddings that are in a space already.
    """

    name = "speaker-rpl"
    needs_cohort = True

    def __init__(self, config: TuneConfig | None = None, space: str = "whitened") -> None:
        if space not in SPACES:
            raise ConfigError(f"space is {space!r}; there are: {', '.join(SPACES)}")
        self.config = config or TuneConfig(unknown_weight=0.0)
        self.space_name = space

    def fit(
        self,
        enrolment: EmbeddingSet,
        cohort: EmbeddingSet | None = None,
        *,
        initial: SpeakerRPL | None = None,
        names: Sequence[Hashable] | None = None,
    ) -> Self:
        """Train the members.

        Args:
            enrolment: Clips of the enrolled people, labels 0 to C-1.
            cohort: Clips of others.
            initial: An earlier scorer to go on from: see `openkith.tuning.tune`.
            names: Of the people, by label, by which those whom ``initial`` knows are told; None: their labels.

        Raises:
            NotEnoughDataError: Fewer than two people (the loss tells people apart), or no cohort.
            InputError: ``initial`` was tuned otherwise.
        """
        enrolment, cohort = enrolment.view(0), need_cohort(cohort, self.name).view(0)
        n_people = int(enrolment.labels.max()) + 1
        if n_people < 2:
            raise NotEnoughDataError(
                f"{self.name} needs two people or more; with one, use the method 'as-norm'"
            )
        self.space = SPACES[self.space_name]().fit(enrolment, cohort)
        people = list(range(n_people)) if names is None else list(names)
        share = self.config.original_share
        self.head = tune(
            self.space.transform(enrolment.embeddings),
            [people[label] for label in enrolment.labels],
            self.space.transform(cohort.embeddings),
            self.config,
            initial=None if initial is None else initial.head,
            names=people,
            weights=None if self.config.epochs else _balanced(enrolment, share),
            unknown_weights=_balanced(cohort, share),
        )
        return self

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d) to (p, C)."""
        return self.head.score(self.space.transform(one_view(embeddings)))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """The head's configuration; the space, and the head's arrays."""
        config, arrays = self.head.state()
        return {"space": self.space_name, "head": config}, {
            **self.space.arrays(),
            **{f"{_HEAD}{key}": array for key, array in arrays.items()},
        }

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """From what `state` gave."""
        own = {key.removeprefix(_HEAD): value for key, value in arrays.items() if key.startswith(_HEAD)}
        head = TunedHead.restore(config["head"], own)
        scorer = cls(head.config, config["space"])
        scorer.space, scorer.head = SPACES[config["space"]].from_arrays(arrays), head
        return scorer

    space: SpeakerSpace | RawSpace
    head: TunedHead


class SpeakerRPLPlus(SpeakerRPL):
    """SpeakerRPL+: as `SpeakerRPL`, with the cohort as unknown samples in the loss."""

    name = "speaker-rpl+"

    def __init__(self, config: TuneConfig | None = None, space: str = "whitened") -> None:
        super().__init__(config or TuneConfig(), space)


class SpeakerRPLV2(SpeakerRPL):
    """SpeakerRPL v2: LogitNorm, adaptive anchors, and a fusion of the members whose points spread most evenly."""

    name = "speaker-rpl-v2"

    def __init__(self, config: TuneConfig | None = None, space: str = "whitened") -> None:
        super().__init__(config or TuneConfig.v2(), space)


def _balanced(items: EmbeddingSet, original_share: float) -> npt.NDArray[np.float32]:
    """Sampling weights (n,) under which every speaker, and every clip of a speaker, is drawn alike."""
    weights = items.weights(original_share)
    per_speaker = np.bincount(items.labels, weights)
    return np.asarray(weights / per_speaker[items.labels], np.float32)
