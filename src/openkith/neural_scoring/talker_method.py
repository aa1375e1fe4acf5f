"""The multi-talker scorer as a method of the recogniser, beside cosine and the tuned heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from openkith.audio import Audio
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import ConfigError
from openkith.neural_scoring.talker_model import Tokens, one_token, shipped_model
from openkith.scoring.base import Arrays, EmbeddingSet, class_means, normalise
from openkith.scoring.calibration import HeldOutScores

__all__ = ["TalkerMethod"]

OFFSET_CLIPS = 200  # of all people, that tell how alike they are
SHIPPED = "shipped"  # the basis of its calibration, see `HeldOutScores`


class TalkerMethod:
    """Scores speech, not embeddings, with the model that ships (`openkith.neural_scoring.multi_talker`).

    A person is the mean of the plain embeddings of their clips. The calibration is that of the model: of people it was
    not learned from, alone, in noise, and with others. It is moved by as much as these people's clips score higher
    against one another than such people's do: by nothing for read English, by a lot where all share a telephone line,
    which the model takes for a likeness of their voices.

    Attributes:
        people: (C, d).
        offset: What scores of these people are moved by, 0 or more.
    """

    name = "multi-talker"
    needs_cohort = False
    people: FloatArray
    offset: float

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:  # noqa: ARG002
        """Learn the enrolled people."""
        clips = enrolment.originals().view(0)
        self.people = class_means(clips, clips.embeddings, 1.0)
        model = shipped_model()
        enrolled = model.people(self.people)
        heard = clips.select(np.arange(0, len(clips), -(-len(clips) // OFFSET_CLIPS)))
        scores = np.stack([model.scores(enrolled, one_token(clip)) for clip in normalise(heard.embeddings)])
        others = scores[heard.labels[:, None] != np.arange(len(self.people))]
        self.offset = max(float(others.mean() - model.trials.nontargets.mean()), 0.0) if len(others) else 0.0
        return self

    def listen(self, encoder: Encoder, speech: Sequence[Audio]) -> list[Tokens]:
        """What `score` takes, of speech.

        Raises:
            ConfigError: No model ships for this encoder.
        """
        from openkith.neural_scoring.multi_talker import shipped_multi_talker  # loads torch

        scorer = shipped_multi_talker(encoder)
        return [scorer.tokens(clip) for clip in speech]

    def score(self, probes: Any) -> FloatArray:
        """What `listen` gave of p clips to (p, C); larger is more likely."""
        model = shipped_model()
        people = model.people(self.people)
        scores = [model.best_scores(people, tokens) for tokens in probes]
        return np.asarray(scores, np.float32).reshape(len(probes), len(self.people))

    def held_out(self) -> HeldOutScores:
        """Scores of people whom the model was not learned from, as if they were these people and strangers to them."""
        trials = shipped_model().trials
        n_people, (clips, voices) = len(self.people), trials.nontargets.shape
        columns = np.arange(n_people) % voices  # of more people than there are voices, some stand for two
        empty = np.zeros(0, np.int64)
        return HeldOutScores(
            known=np.zeros((0, n_people), np.float32),
            labels=empty,
            clips=empty,
            copies=np.zeros(0, np.bool_),
            known_weights=np.zeros(0),
            unknown=trials.nontargets[:, columns] + self.offset,
            unknown_clips=np.arange(clips),
            unknown_weights=np.ones(clips),
            pseudo=trials.targets + self.offset,
            pseudo_weights=np.ones(len(trials.targets)),
            basis=(SHIPPED,) * n_people,
        )

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Configuration (JSON) and arrays."""
        return {"model": shipped_model().digest, "offset": self.offset}, {"people": self.people}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """The scorer that ``state`` was taken of.

        Raises:
            ConfigError: Another model ships now.
        """
        if config["model"] != shipped_model().digest:
            raise ConfigError("the head was made with another multi-talker model than ships now; tune again")
        scorer = cls()
        scorer.people = np.asarray(arrays["people"], np.float32)
        scorer.offset = float(config["offset"])
        return scorer
