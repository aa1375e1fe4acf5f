"""The open-set model: a back end, chosen and calibrated on clips that it did not learn from.

`fit_open_set` is what tuning is, for the recogniser, the evaluation and the scikit-learn estimator alike: hold out
clips, fit, score them, calibrate, and for the method "auto" drop the tuned head where held-out clips speak against it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from openkith.audio import Audio
from openkith.encoders import Encoder
from openkith.encoders.clips.views import embed_views
from openkith.enhancement.enhancer import Enhancer
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.metrics import eer
from openkith.neural_scoring.talker_method import TalkerMethod
from openkith.scoring.base import (
    Arrays,
    EmbeddingSet,
    Listener,
    Scorer,
    check_embeddings,
    guessed_conditions,
)
from openkith.scoring.calibration import Calibration, HeldOutScores, check_rates
from openkith.scoring.cosine import Cosine
from openkith.scoring.holdout import enough_voices, hold_out
from openkith.scoring.norm import AsNorm, SNorm
from openkith.scoring.plda import PLDA
from openkith.scoring.views import SENTENCES, WORDS, Part, ViewFusion
from openkith.scoring.whitening import WhitenedCosine
from openkith.tuning import SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2, TuneConfig

__all__ = [
    "AUTO",
    "METHODS",
    "SPEECH_METHODS",
    "HeldOutErrors",
    "OpenSetModel",
    "check_encoder_of",
    "check_method",
    "fit_open_set",
    "label_of",
    "restore_scorer",
]

AUTO = "auto"
BASELINE = "cosine"
FALLBACK = "as-norm"
TUNED = "fusion"
FUSED_MEMBERS = 4  # adapters on each view, half as wide as one that stands alone
_FUSED_STEPS = 160
_FUSED_STEPS_PER_PERSON = 2
_MOST_FUSED_STEPS = 400

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


def _fusion(n_people: int, seed: int, members: int = FUSED_MEMBERS) -> ViewFusion:
    parts = [
        Part(AsNorm),
        Part(partial(PLDA, space="raw", iterations=0)),
        Part(AsNorm, in_space=False, enrolled=WORDS),
    ]
    if n_people > 1:  # the SpeakerRPL loss tells people apart; with one person there is nobody to tell apart
        steps = min(max(_FUSED_STEPS, _FUSED_STEPS_PER_PERSON * n_people), _MOST_FUSED_STEPS)
        config = TuneConfig(
            seed=seed, members=members, hidden=(256, 128, 128), out=96, steps=steps, learning_rate=0.02
        )
        parts.append(Part(partial(SpeakerRPLPlus, config, space="raw"), enrolled=SENTENCES))
    return ViewFusion(parts)


def _rpl(scorer: type[SpeakerRPL], **changes: Any) -> Callable[[int, int, int | None], Scorer]:
    def make(n_people: int, seed: int, members: int | None) -> Scorer:  # noqa: ARG001
        recipe = TuneConfig.v2 if scorer is SpeakerRPLV2 else TuneConfig
        given: dict[str, Any] = {**changes, **({} if members is None else {"members": members})}
        return scorer(recipe(seed=seed, **given))

    return make


#: Every method by name: (number of people, seed, members or None) to a scorer that is not fitted yet.
METHODS: dict[str, Callable[[int, int, int | None], Scorer]] = {
    "cosine": lambda n_people, seed, members: Cosine(),  # noqa: ARG005
    "as-norm": lambda n_people, seed, members: AsNorm(),  # noqa: ARG005
    "s-norm": lambda n_people, seed, members: SNorm(),  # noqa: ARG005
    "whitened": lambda n_people, seed, members: WhitenedCosine(),  # noqa: ARG005
    "plda": lambda n_people, seed, members: PLDA(),  # noqa: ARG005
    "speaker-rpl": _rpl(SpeakerRPL, unknown_weight=0.0),
    "speaker-rpl+": _rpl(SpeakerRPLPlus),
    "speaker-rpl-v2": _rpl(SpeakerRPLV2),
    "fusion": lambda n_people, seed, members: _fusion(
        n_people, seed, FUSED_MEMBERS if members is None else members
    ),
}

#: Methods that hear the speech itself, which embeddings alone will not do for.
SPEECH_METHODS: dict[str, Callable[[int, int, int | None], Scorer]] = {
    "multi-talker": lambda n_people, seed, members: TalkerMethod(),  # noqa: ARG005
}

_ALL_METHODS = ChainMap(METHODS, SPEECH_METHODS)

_SCORERS: dict[str, type[Scorer]] = {
    scorer.name: scorer
    for scorer in (
        *(TalkerMethod, Cosine, AsNorm, SNorm, WhitenedCosine, PLDA),
        *(SpeakerRPL, SpeakerRPLPlus, SpeakerRPLV2, ViewFusion),
    )
}


def check_method(method: str, *, speech: bool, also: Sequence[str] = ()) -> None:
    """Refuse a method that there is not, before anything is done.

    Args:
        method: What was asked for.
        speech: Whether there is speech; otherwise there are but embeddings.
        also: More methods that there are here.

    Raises:
        ConfigError: It names the methods that there are.
    """
    if method in SPEECH_METHODS and not speech:
        raise ConfigError(
            f"{method} hears the speech itself, and these are embeddings; give audio, or use {AUTO!r}"
        )
    if method not in (*also, AUTO, *METHODS, *SPEECH_METHODS):
        names = [*also, AUTO, *METHODS, *(SPEECH_METHODS if speech else ())]
        raise ConfigError(f"no method is named {method!r}; there are: {', '.join(names)}")


def check_encoder_of(method: str, encoder: Encoder) -> None:
    """Refuse an encoder whose speech a method cannot hear.

    Raises:
        ConfigError: It names the encoder that the method takes.
    """
    if method in SPEECH_METHODS:
        scorer = SPEECH_METHODS[method](0, 0, None)
        assert isinstance(scorer, Listener)
        scorer.listen(encoder, [])


def restore_scorer(name: str, config: dict[str, Any], arrays: Arrays) -> Scorer:
    """The scorer that `Scorer.state` was taken of.

    Raises:
        ConfigError: No scorer has that name: the head was made by another version.
    """
    if name not in _SCORERS:
        raise ConfigError(f"the head uses the scorer {name!r}, which this version does not have; tune again")
    if name == ViewFusion.name:
        members = []
        for i, member in enumerate(config["members"]):
            own = {
                key.removeprefix(f"{i}/"): value for key, value in arrays.items() if key.startswith(f"{i}/")
            }
            members.append(restore_scorer(member["name"], member["config"], own))
        config = {**config, "restored": members}
    return _SCORERS[name].restore(config, arrays)


@dataclass(frozen=True)
class HeldOutErrors:
    """Error rates of one method on held-out enrolment and cohort clips and their copies.

    Attributes:
        eer: Over all trials.
        detection_eer: Known against unknown, on each row's largest score; NaN without a cohort.
    """

    eer: float
    detection_eer: float

    @property
    def mean(self) -> float:
        """What methods are compared by."""
        return float(np.nanmean([self.eer, self.detection_eer]))

    @classmethod
    def of(cls, held_out: HeldOutScores) -> HeldOutErrors:
        """Measure held-out scores."""
        targets, _, nontargets, _ = held_out.trials()
        detection = float("nan")
        if len(held_out.unknown) and len(held_out.known):
            detection = eer(held_out.known.max(axis=1), held_out.unknown.max(axis=1))
        return cls(eer(targets, nontargets), detection)


@dataclass(frozen=True, eq=False)
class OpenSetModel:
    """A fitted back end with its calibration.

    Attributes:
        asked: The method that was asked for.
        method: The method in use: what "auto" chose.
        scorer: The fitted back end.
        held_out: Scores of clips that it did not learn from.
        calibration: Made of these.
        errors: Held-out error rates of every method that was tried, by `label`.
        shape: Of an embedding, (V, d) with V views, or (d,).
        enhancer: What embeddings go through first; None: nothing.
    """

    asked: str
    method: str
    scorer: Scorer
    held_out: HeldOutScores
    calibration: Calibration
    errors: dict[str, HeldOutErrors]
    shape: tuple[int, ...]
    enhancer: Enhancer | None = None

    @property
    def label(self) -> str:
        """The method in use, with its enhancer."""
        return label_of(self.method, self.enhancer)

    def enhanced(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Embeddings as the scorer takes them."""
        return embeddings if self.enhancer is None else self.enhancer.transform(embeddings)

    def llrs(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Calibrated natural-log likelihood ratios, (p, V, d) or (p, d) to (p, C).

        Raises:
            InputError: Embeddings of another shape, or not finite; or the method scores speech.
        """
        if self.listens:
            raise InputError(f"{self.method} scores speech, and these are embeddings; use speech_llrs")
        check_embeddings(embeddings, "probes", self.shape)
        embeddings = self.enhanced(embeddings)
        return self.calibration.llr(
            self.scorer.score(embeddings), guessed_conditions(self.scorer, embeddings)
        )

    @property
    def listens(self) -> bool:
        """Whether it scores speech, by `speech_llrs` alone."""
        return isinstance(self.scorer, Listener)

    def speech_llrs(self, encoder: Encoder, speech: Sequence[Audio]) -> npt.NDArray[np.float64]:
        """As `llrs`, of p clips without their silences: (p, C)."""
        if isinstance(self.scorer, Listener):
            heard: Any = self.scorer.listen(encoder, speech)
            return self.calibration.llr(self.scorer.score(heard))
        return self.llrs(embed_views(encoder, speech))

    def posteriors(self, embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """P(each person) and, last, P(unknown): (p, V, d) or (p, d) to (p, C + 1)."""
        return self.calibration.posteriors(self.llrs(embeddings))


_Items = TypeVar("_Items", EmbeddingSet, EmbeddingSet | None)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A method, with the enhancer that embeddings go through before it."""

    method: str
    enhancer: Enhancer | None

    @property
    def label(self) -> str:
        return label_of(self.method, self.enhancer)

    def enhanced(self, items: _Items) -> _Items:
        if self.enhancer is None or items is None:
            return items
        return replace(items, embeddings=self.enhancer.transform(items.embeddings))


def label_of(method: str, enhancer: Enhancer | None) -> str:
    """A method with its enhancer, as errors are listed."""
    return method if enhancer is None else f"{method}+enhancer"


def _held_out(
    make: Callable[[], Scorer],
    enrolment: EmbeddingSet,
    cohort: EmbeddingSet | None,
    halves: EmbeddingSet | None,
) -> HeldOutScores:
    scorer = make()
    if isinstance(scorer, Listener):
        scorer.fit(enrolment, cohort)
        return scorer.held_out()
    return hold_out(make, enrolment, cohort, halves)


def _doubt(rate: float, held_out: HeldOutScores) -> float:
    """Two standard errors of a held-out error rate: how much worse the fused head may look by chance.

    A few clips of a household say less than what is known of the methods, so the fused head is kept until they speak
    clearly against it.
    """
    clips = max(len(np.unique(held_out.clips)), 1)
    return float(2.0 * np.sqrt(max(rate * (1.0 - rate), 1.0 / (4.0 * clips)) / clips))


def fit_open_set(
    method: str,
    enrolment: EmbeddingSet,
    cohort: EmbeddingSet | None,
    *,
    halves: EmbeddingSet | None = None,
    seed: int = 0,
    members: int | None = None,
    enhancers: Sequence[Enhancer | None] = (None,),
    far: float = 0.01,
    verify_far: float | None = None,
    unknown_prior: float = 0.5,
    progress: Progress | None = None,
) -> OpenSetModel:
    """Fit, hold out and calibrate.

    Args:
        method: A key of `METHODS` or of `SPEECH_METHODS`, or "auto": the fused head, unless it is clearly worse than
            cosine or AS-norm on held-out clips, then cosine with AS-norm (without a cohort of three voices or more:
            cosine).
        enrolment: Clips and copies of the enrolled people, labels 0 to C-1.
        cohort: Clips and copies of other people.
        halves: Disjoint parts of clips, with the labels and clips of ``enrolment``; rows 2i and 2i + 1 are the two
            halves of one clip. They stand in for people with a single clip.
        seed: Of everything random.
        members: Adapters of the methods that have any (in the fusion: on each view); None: the method's own number.
        enhancers: What embeddings go through first (None: nothing); of two, such as None and an enhancer, that with
            fewer errors on held-out clips is taken, the first where they are alike. A method that hears the speech
            itself has none.
        far, verify_far, unknown_prior: See `Calibration`.
        progress: Called with what is being done.

    Raises:
        ConfigError: No such method, a rate or the prior is not between 0 and 1, or members below 1.
        InputError: Embeddings of different lengths, or not finite.
        NotEnoughDataError: No enrolled people, no cohort for a method that needs one, or nobody to compare with.
    """
    check_method(method, speech=True)
    check_rates(far, verify_far, unknown_prior)
    if members is not None and members < 1:
        raise ConfigError(f"members is {members}; give 1 or more, or leave it out")
    if not len(enrolment):
        raise NotEnoughDataError("nobody is enrolled; enrol someone first")
    shape = enrolment.embeddings.shape[1:]
    for what, items in (("enrolment", enrolment), ("cohort", cohort), ("halves", halves)):
        if items is not None:
            check_embeddings(items.embeddings, what, shape)
    if cohort is not None and not len(cohort):
        cohort = None
    n_people = int(enrolment.labels.max()) + 1
    names = [method]
    if method == AUTO:
        names = [BASELINE, FALLBACK, TUNED] if enough_voices(cohort) else [BASELINE]
    # What the tuned head is measured against is tried with the first enhancer alone.
    candidates = [_Candidate(name, enhancers[0]) for name in names]
    candidates += [
        _Candidate(names[-1], enhancer) for enhancer in enhancers[1:] if method not in SPEECH_METHODS
    ]

    tried: dict[str, HeldOutScores] = {}
    for i, candidate in enumerate(candidates):
        if progress:
            progress(f"held-out clips with {candidate.label}", i, len(candidates) + 1)
        tried[candidate.label] = _held_out(
            partial(_ALL_METHODS[candidate.method], n_people, seed, members),
            candidate.enhanced(enrolment),
            candidate.enhanced(cohort),
            candidate.enhanced(halves),
        )
    errors = {label: HeldOutErrors.of(scores) for label, scores in tried.items()}
    chosen = min(candidates[len(names) - 1 :], key=lambda candidate: errors[candidate.label].mean)
    if len(names) > 1:
        better = min(errors[candidate.label].mean for candidate in candidates[:2])
        if errors[chosen.label].mean > better + _doubt(better, tried[chosen.label]):
            chosen = candidates[1]
    if progress:
        progress(f"all clips with {chosen.label}", len(candidates), len(candidates) + 1)
    scorer = _ALL_METHODS[chosen.method](n_people, seed, members)
    scorer = scorer.fit(chosen.enhanced(enrolment), chosen.enhanced(cohort))
    held_out = tried[chosen.label]
    calibration = Calibration.fit(held_out, far=far, verify_far=verify_far, unknown_prior=unknown_prior)
    if progress:
        progress("done", len(candidates) + 1, len(candidates) + 1)
    return OpenSetModel(method, chosen.method, scorer, held_out, calibration, errors, shape, chosen.enhancer)
