"""What a back end is: embeddings of enrolled people in, a score per probe and person out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from openkith.errors import InputError, NotEnoughDataError

if TYPE_CHECKING:
    from openkith.audio import Audio
    from openkith.encoders.base import Encoder
    from openkith.scoring.calibration import HeldOutScores

__all__ = [
    "BUILD_COHORT",
    "Arrays",
    "EmbeddingSet",
    "FloatArray",
    "Listener",
    "Scorer",
    "check_embeddings",
    "cohort_needed_message",
    "normalise",
    "one_view",
]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]
BUILD_COHORT = "kith cohort build DIR --encoder {encoder}"
#: Scores are computed in double precision, in which rounding does not show how many probes were scored together.
SCORED_IN = np.float64


def normalise(x: npt.NDArray[Any]) -> FloatArray:
    """Rows scaled to unit length; a row of zeros stays zero."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(length, 1e-9), dtype=np.float32)


def check_embeddings(x: npt.NDArray[Any], what: str, shape: tuple[int, ...] | None = None) -> None:
    """Refuse what no back end can score.

    Args:
        x: Embeddings.
        what: What they are, for the message.
        shape: The shape that each must have, (d,) or (V, d); None: any.

    Raises:
        InputError: Not of that shape, or a value is not finite.
    """
    if x.ndim not in (2, 3) or (shape is not None and x.shape[1:] != shape):
        wanted = "d" if shape is None else ", ".join(map(str, shape))
        raise InputError(f"{what}: embeddings of shape {x.shape}; give (n, {wanted}), one row a clip")
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        raise InputError(f"{what}: row {np.argmin(finite)} has NaN or infinite values; leave that clip out")


@dataclass(frozen=True, eq=False)
class EmbeddingSet:
    """Embeddings of clips and of degraded copies of them, with what is known about each row.

    Attributes:
        embeddings: (n, d) float32, or (n, V, d) where an encoder gives V views of each clip, the plain one first.
        labels: (n,) speaker of each row; 0 to C-1 for enrolled people.
        clips: (n,) recording of each row: a clip and its copies share a number.
        groups: (n,) condition of each row: an index into `openkith.audio.augment.GROUPS`, 0 is clean.
        copies: (n,) False for a clip as it was recorded, True for a degraded or cut copy.
    """

    embeddings: FloatArray
    labels: IntArray
    clips: IntArray
    groups: IntArray
    copies: npt.NDArray[np.bool_]

    @classmethod
    def plain(cls, embeddings: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Self:
        """Clips without copies: embeddings (n, d) or (n, V, d), labels (n,)."""
        n = len(embeddings)
        return cls(
            np.asarray(embeddings, np.float32),
            np.asarray(labels, np.int64),
            np.arange(n),
            np.zeros(n, np.int64),
            np.zeros(n, np.bool_),
        )

    @classmethod
    def concatenate(cls, parts: Iterable[EmbeddingSet]) -> Self:
        """All rows of all parts; speakers and clips of different parts are kept apart."""
        rows: list[list[npt.NDArray[Any]]] = []
        labels = clips = 0
        for part in parts:
            if not len(part):
                continue
            rows.append([part.embeddings, part.labels + labels, part.clips + clips, part.groups, part.copies])
            labels += int(part.labels.max()) + 1
            clips += int(part.clips.max()) + 1
        if not rows:
            raise NotEnoughDataError("no embeddings at all; give at least one clip")
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def n_views(self) -> int:
        """V; 1 for embeddings (n, d)."""
        return self.embeddings.shape[1] if self.embeddings.ndim == 3 else 1

    def view(self, index: int) -> EmbeddingSet:
        """One view of every row: embeddings (n, d)."""
        return replace(self, embeddings=one_view(self.embeddings, index))

    @property
    def n_speakers(self) -> int:
        """How many different labels there are."""
        return len(np.unique(self.labels))

    @property
    def n_clips(self) -> int:
        """How many different recordings there are."""
        return len(np.unique(self.clips))

    def select(self, rows: npt.NDArray[Any]) -> EmbeddingSet:
        """The rows of a mask or an index array."""
        return EmbeddingSet(
            self.embeddings[rows], self.labels[rows], self.clips[rows], self.groups[rows], self.copies[rows]
        )

    def originals(self) -> EmbeddingSet:
        """The clips as they were recorded, without copies."""
        return self.select(~self.copies)

    def weights(self, original_share: float) -> npt.NDArray[np.float64]:
        """(n,) weights that sum to one per clip, of which the clip itself has a given share and its copies the rest."""
        counts = np.bincount(self.clips[self.copies], minlength=int(self.clips.max()) + 1)[self.clips]
        alone = counts == 0
        return np.where(
            self.copies, (1.0 - original_share) / np.maximum(counts, 1), np.where(alone, 1.0, original_share)
        )


def one_view(embeddings: npt.NDArray[Any], index: int = 0) -> FloatArray:
    """One view of embeddings (n, V, d) as (n, d); embeddings (n, d) have the plain view alone.

    Raises:
        IndexError: They do not have that view.
    """
    if embeddings.ndim == 3:
        embeddings = embeddings[:, index]
    elif index:
        raise IndexError(f"view {index} of embeddings that have the plain view alone")
    return np.asarray(embeddings, np.float32)


def class_means(items: EmbeddingSet, values: npt.NDArray[Any], original_share: float) -> FloatArray:
    """Mean of ``values`` (n, d) for each speaker, every clip counting alike: (C, d)."""
    weights = items.weights(original_share)
    total = class_sums(values, items.labels, weights)
    return np.asarray(total / np.bincount(items.labels, weights)[:, None], dtype=np.float32)


def class_sums(
    values: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    weights: npt.NDArray[Any] | None = None,
    n_classes: int | None = None,
) -> npt.NDArray[np.float64]:
    """Weighted sum of ``values`` (n, d) for each label from 0 to C - 1 (None: to the largest): (C, d)."""
    from scipy.sparse import csr_array

    n = len(labels)
    each = np.ones(n) if weights is None else weights
    chosen = csr_array(
        (each, (labels, np.arange(n))), shape=(int(labels.max()) + 1 if n_classes is None else n_classes, n)
    )
    return np.asarray(chosen @ values.astype(np.float64), np.float64)


class Scorer(Protocol):
    """A back end. Each probe is scored alone: no score depends on which other probes are scored with it.

    Attributes:
        name: The key that restores it, see `openkith.openset.model.METHODS`.
        needs_cohort: Whether `fit` learns from the cohort; one that does not may be probed with all of it.
    """

    name: str
    needs_cohort: bool

    def fit(self, enrolment: EmbeddingSet, cohort: EmbeddingSet | None = None) -> Self:
        """Learn the enrolled people, labels 0 to C-1, with other people as the impostor cohort."""
        ...

    def score(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, d), or (p, V, d) for a scorer of views, to (p, C); larger is more likely."""
        ...

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Configuration (JSON) and arrays, from which ``restore`` makes the same scorer."""
        ...

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """The scorer that ``state`` was taken of."""
        ...


@runtime_checkable
class ConditionScorer(Protocol):
    """A scorer that also guesses in what condition a probe was recorded, for its calibration."""

    def guess_conditions(self, embeddings: npt.NDArray[Any]) -> FloatArray:
        """(p, V, d) to probabilities (p, K); the same K whichever part of a cohort it was fitted with."""
        ...


@runtime_checkable
class Listener(Protocol):
    """A scorer that hears the speech itself: its probes are more than embeddings, and it comes with a calibration."""

    def listen(self, encoder: Encoder, speech: Sequence[Audio]) -> Sequence[Any]:
        """What `Scorer.score` takes, of clips without their silences."""
        ...

    def held_out(self) -> HeldOutScores:
        """Scores of people whom it has not learned from, known (`pseudo`) and unknown."""
        ...


def guessed_conditions(scorer: Scorer, embeddings: npt.NDArray[Any]) -> FloatArray:
    """Conditions (p, K) of probes; (p, 0) from a scorer that guesses none."""
    if isinstance(scorer, ConditionScorer):
        return scorer.guess_conditions(embeddings)
    return np.zeros((len(embeddings), 0), np.float32)


def cohort_needed_message(method: str, encoder: str = "NAME", *, few: bool = False) -> str:
    """What is missing where there is no cohort, and how to get one.

    Args:
        method: What needs it.
        encoder: Name of the encoder, for `load_encoder`, where it is known.
        few: There is one, of too few clips.
    """
    return (
        f"{method} needs clips of other people, and there are {'too few' if few else 'none'} for this encoder; run: "
        f"{BUILD_COHORT.format(encoder=encoder)} (a folder of clips per speaker), or give some with --unknown DIR, or "
        "use the method 'cosine'"
    )


def need_cohort(cohort: EmbeddingSet | None, name: str) -> EmbeddingSet:
    """The cohort, or the error that says how to get one."""
    if cohort is None or cohort.n_clips < 2:
        raise NotEnoughDataError(cohort_needed_message(name, few=cohort is not None))
    return cohort
