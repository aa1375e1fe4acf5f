"""Is this person talking in here, even under noise and other talkers? A scorer for the default encoder.

Nothing is known of an enrolled person but the embedding of clean clips. The clip that is asked about has no embedding;
it has tokens (`openkith.neural_scoring.tokens`), and a person is heard where some of them are like the embedding:

1. Embeddings and tokens are centred and multiplied by matrices that begin as those that whiten the covariance within
   a speaker, clean and noisy, and are learned (`openkith.neural_scoring.multi_talker_training`).
2. s is a weighted sum of cos(mean window), softpool(windows) and softpool(prefixes) over both looks; softpool =
   sum softmax(t cos) cos lies between the mean and the largest cosine.
3. The mean of the clip's 30 largest s with voices of the cohort is taken off, as adaptive S-norm does (Matejka et al.,
   Interspeech 2017): where many people seem to talk, each is less likely.
4. A line makes s log odds, learned on mixtures of people whom the rest was not learned from.

What has been learned for the default encoder ships (``tools/build_multi_talker.py`` made it), so that no cohort is
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openkith.audio import SAMPLE_RATE, Audio
from openkith.audio.speeds import SPEEDS
from openkith.audio.vad import speech_segments, trim_silence
from openkith.encoders.base import Encoder, FloatArray
from openkith.errors import ConfigError, InputError, NotEnoughDataError
from openkith.neural_scoring.cohort_mixtures import LEAST_SECONDS, Mixtures, make_mixtures
from openkith.neural_scoring.several_voices import SeveralVoices
from openkith.neural_scoring.talker_model import CohortTrials, Line, TalkerModel, Tokens, shipped_model
from openkith.neural_scoring.tokens import clip_tokens
from openkith.scoring.calibration import fit_line
from openkith.scoring.norm import to_half

__all__ = ["Heard", "MultiTalker", "shipped_multi_talker"]

LEAST_PEOPLE = 12
PARTS = 3  # of the people; the lines are learned from the last, with a model of the others
PER_SCENARIO = 500  # mixtures of each part
TRIAL_CLIPS, TRIAL_VOICES = 120, 200  # of each scenario, and of each clip, whose scores are kept
ALL_THE_TIME = ("clean", "noisy", "mix")  # the scenarios in which the person talks from beginning to end
RIVAL_NATS = 2.0  # by which another person may be likelier at a moment, where both talk
_TIME_STEP = 0.1  # seconds
LEAST_SPAN_STEPS = 3  # of a stretch that is told, where a person has a longer one

Progress = Callable[[str, int, int], None]
Trials = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # scores of targets and of nontargets


@dataclass(frozen=True)
class Heard:
    """One enrolled person in one clip.

    Attributes:
        index: Row of the enrolments.
        probability: That the person talks in the clip; in the piece of 4 s where it is likeliest, if it is longer.
        times: When, as (start, end) in seconds, in order; never empty. Windows are 1.6 s long, so that a start or an
            end is some tenths of a second off.
    """

    index: int
    probability: float
    times: tuple[tuple[float, float], ...]


class MultiTalker:
    """Who of the enrolled people talks in a clip.

    Args:
        encoder: The encoder of the model.
        model: What was learned of a cohort: `TalkerModel.load`, or that of another scorer.

    Attributes:
        encoder, model: As given.

    Raises:
        InputError: The model is of another encoder.

    Example:
        >>> scorer = shipped_multi_talker(load_encoder("ge2e"))           # doctest: +SKIP
        >>> enrolled = scorer.enrol([alice, bob])                         # doctest: +SKIP
        >>> for person in scorer.heard(enrolled, meeting): print(person)  # doctest: +SKIP
    """

    def __init__(self, encoder: Encoder, model: TalkerModel) -> None:
        if encoder.fingerprint != model.fingerprint:
            raise InputError(
                f"a multi-talker model of {model.fingerprint}, and the encoder is {encoder.fingerprint}; "
                "learn another with MultiTalker.fit, or use the encoder as it ships"
            )
        self.encoder = encoder
        self.model = model

    def enrol(self, clips: Sequence[Audio]) -> FloatArray:
        """Plain embeddings (n, d) of clips, each of one person alone: what a gallery stores.

        The row of a person with several clips is the mean of theirs.
        """
        return self.encoder.embed(clips)

    def tokens(self, clip: Audio) -> Tokens:
        """The tokens of a clip, best with its silences already cut out."""
        return clip_tokens(self.encoder, clip)

    def score(self, enrolments: npt.NDArray[Any], tokens: Tokens) -> npt.NDArray[np.float64]:
        """Scores (n,) of enrolments (n, d), the larger the likelier; none depends on who else is enrolled.

        Raises:
            InputError: The enrolments are of another shape, or not finite.
        """
        return self.model.best_scores(self.model.people(enrolments), tokens)

    def log_odds(self, scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Scores to log odds at equal priors, as learned on mixtures of the cohort's people."""
        return _on_line(self.model.line, scores)

    def probabilities(self, scores: npt.NDArray[Any], prior: float = 0.5) -> npt.NDArray[np.float64]:
        """Scores to probabilities that the person talks in the clip.

        Args:
            scores: What `score` gave.
            prior: How often a person who is asked about does talk in a clip.

        Raises:
            ConfigError: The prior is not between 0 and 1.
        """
        if not 0.0 < prior < 1.0:
            raise ConfigError(f"prior is {prior}; give a share between 0 and 1, for example 0.1")
        log_odds = self.log_odds(scores) + np.log(prior / (1.0 - prior))
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))

    def heard(
        self, enrolments: npt.NDArray[Any], clip: Audio, *, threshold: float = 0.5, prior: float = 0.5
    ) -> list[Heard]:
        """Every enrolled person who is heard, the likeliest first.

        Args:
            enrolments: (n, d), a row a person.
            clip: As it was recorded: silences are cut out here, and the times are those of the clip.
            threshold: The least probability.
            prior: See `probabilities`.

        Raises:
            InputError, ConfigError: As of `score` and `probabilities`.
        """
        tokens = self.tokens(trim_silence(clip))
        probabilities = self.probabilities(self.score(enrolments, tokens), prior)
        likeliest = [i for i in np.argsort(-probabilities, kind="stable") if probabilities[i] >= threshold]
        return [
            Heard(int(index), float(probabilities[index]), when)
            for index, when in zip(likeliest, self.times(enrolments[likeliest], tokens, clip), strict=True)
        ]

    def times(
        self, enrolments: npt.NDArray[Any], tokens: Tokens, clip: Audio
    ) -> list[tuple[tuple[float, float], ...]]:
        """When each of some people (n, d), who do talk in a clip, is likeliest to: (start, end) in seconds, in order.

        Args:
            enrolments: (n, d).
            tokens: Of the clip without its silences.
            clip: As it was recorded.
        """
        if not len(enrolments):
            return []
        log_odds = self.model.window_log_odds(enrolments, tokens)
        return [_in_clip(of_person, clip) for of_person in _matching_times(log_odds, tokens.times)]

    @classmethod
    def fit(
        cls,
        encoder: Encoder,
        people: Sequence[Sequence[Audio]],
        *,
        per_scenario: int = PER_SCENARIO,
        refined: bool = True,
        seed: int = 0,
        source: str = "",
        progress: Progress | None = None,
    ) -> Self:
        """Learn a model from a cohort: people who are nobody's family.

        Each person also counts as ten more, at other speeds. Enrolment and mixtures of a person are cut from different
        parts of the speech.

        Args:
            encoder: GE2E.
            people: Clips of each person, alone and without noise: 15 s of speech in all is enough; of people with less
                than 8.1 s only the voice is used, in babble.
            per_scenario: Mixtures of each scenario in each third of the people.
            refined: Go on from the closed form by gradients.
            seed: Of everything random.
            source: Where the voices are from, and under which licence.
            progress: Called with what is being done, steps done and steps in all.

        Raises:
            NotEnoughDataError: Fewer than 12 people say enough.
            ConfigError: Another encoder.
        """
        # torch code through and through, which scoring has no need of
        from openkith.neural_scoring.multi_talker_training import closed_form, refine

        speech = [_speech(clips) for clips in people]
        speech = sorted(speech, key=len, reverse=True)  # so that each third has its share of long ones
        needed = max(SPEEDS) * LEAST_SECONDS
        enough = sum(len(own) >= needed * SAMPLE_RATE for own in speech)
        if enough < LEAST_PEOPLE:
            raise NotEnoughDataError(
                f"{enough} people of the cohort say {needed:.1f} s or more; give {LEAST_PEOPLE} or more"
            )

        def tell(step: int, what: str) -> None:
            if progress:
                progress(what, step, PARTS + 2)

        def learn(parts: Sequence[Mixtures]) -> MultiTalker:
            model = closed_form(parts, encoder.fingerprint, source)
            return cls(encoder, refine(model, parts, seed=seed)[0] if refined else model)

        parts = []
        for part in range(PARTS):
            tell(part, "mixtures of the cohort")
            rng = np.random.default_rng([seed, part])
            parts.append(make_mixtures(encoder, speech[part::PARTS], per_scenario, rng))
        tell(PARTS, "two thirds of the people")
        scorer, held_out = learn(parts[:-1]), parts[-1]
        enrolled, labels = scorer.model.people(held_out.enrolments), held_out.labels()
        scores = np.stack(
            [scorer.model.scores(enrolled, held_out.tokens(row)) for row in range(len(held_out))]
        )
        trials = scores[labels == 1], scores[labels == 0]
        window_line = _line(*scorer._window_trials(held_out))
        margins = scorer._learn_several(parts[:-1]).margins(
            scorer.model.whitened(held_out.windows()[~held_out.several()])
        )
        tell(PARTS + 1, "all people")
        whole = learn(parts)
        several = whole._learn_several(parts).stricter(margins)
        tell(PARTS + 2, "done")
        return cls(
            encoder,
            replace(
                whole.model,
                line=_line(*trials),
                window_line=window_line,
                several=SeveralVoices(*map(to_half, (several.mean, several.spreads, several.offsets))),
                trials=CohortTrials(
                    to_half(trials[0]), to_half(_nontargets(scores, labels, held_out.scenarios, seed))
                ),
            ),
        )

    def _learn_several(self, parts: Sequence[Mixtures]) -> SeveralVoices:
        windows = np.concatenate([self.model.whitened(part.windows()) for part in parts])
        return SeveralVoices.learn(windows, np.concatenate([part.several() for part in parts]))

    def _window_trials(self, mixtures: Mixtures) -> Trials:
        """Of the first window of each clip in which the person talks all the time."""
        rows = np.flatnonzero(np.isin(mixtures.scenarios, ALL_THE_TIME))
        people = self.model.people(mixtures.enrolments)
        scores = np.stack(
            [self.model.scores(people, mixtures.tokens(row).between(0, 1)) for row in rows.tolist()]
        )
        labels = mixtures.labels()[rows]
        return scores[labels == 1], scores[labels == 0]


def _on_line(line: Line, scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(line[0] * np.asarray(scores, np.float64) + line[1])


def _nontargets(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], scenarios: npt.NDArray[np.str_], seed: int
) -> npt.NDArray[np.float64]:
    """Scores (u, m) of people who do not talk, the same number drawn from each of some clips of every scenario."""
    rng = np.random.default_rng([seed, PARTS])
    rows = [
        row
        for scenario in np.unique(scenarios)
        for row in np.flatnonzero(scenarios == scenario)[:TRIAL_CLIPS].tolist()
    ]
    voices = min(TRIAL_VOICES, int((labels[rows] == 0).sum(axis=1).min()))
    chosen = [rng.choice(np.flatnonzero(labels[row] == 0), voices, replace=False) for row in rows]
    return np.stack([scores[row, columns] for row, columns in zip(rows, chosen, strict=True)])


def _line(targets: npt.NDArray[np.float64], nontargets: npt.NDArray[np.float64]) -> Line:
    """From scores to log odds at equal priors, both kinds of trial alike in weight."""
    return fit_line(targets, np.ones(len(targets)), nontargets, np.ones(len(nontargets)))


def _matching_times(
    log_odds: npt.NDArray[np.float64], times: npt.NDArray[np.float64]
) -> list[list[tuple[float, float]]]:
    """Where the windows about a moment, the nearer the more, speak for each of n people: (start, end) in seconds.

    Not where they speak far more for another of the people; and at least the middle of the likeliest window.

    Args:
        log_odds: (w, n) of windows.
        times: (w, 2) of windows.
    """
    moments = np.arange(0.0, times[-1, 1], _TIME_STEP) + _TIME_STEP / 2
    middles, halves = times.mean(axis=1), np.diff(times, axis=1)[:, 0] / 2
    near = np.maximum(1.0 - np.abs(moments[:, None] - middles) / np.maximum(halves, _TIME_STEP), 0.0)
    near /= np.maximum(near.sum(axis=1, keepdims=True), _TIME_STEP)
    at_moment = near @ log_odds  # (moments, n)
    matching = (at_moment > 0.0) & (at_moment > at_moment.max(axis=1, keepdims=True) - RIVAL_NATS)
    likeliest = np.minimum(middles[log_odds.argmax(axis=0)] / _TIME_STEP, len(moments) - 1).astype(np.int64)
    matching[likeliest, np.arange(len(likeliest))] = True
    found = []
    for of_person in matching.T:
        edges = np.flatnonzero(np.diff(of_person.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
        lengths = edges[:, 1] - edges[:, 0]
        edges = edges[lengths >= min(LEAST_SPAN_STEPS, lengths.max())]
        found.append([(float(a * _TIME_STEP), float(min(b * _TIME_STEP, times[-1, 1]))) for a, b in edges])
    return found


def _in_clip(times: Sequence[tuple[float, float]], clip: Audio) -> tuple[tuple[float, float], ...]:
    """Times in the speech of a clip (`trim_silence`) as times in the clip; a pause inside one does not divide it."""
    if trim_silence(clip) is clip:
        return tuple(times)
    found, before = [], 0.0
    speech = speech_segments(clip)
    for start, end in times:
        inside, before = [], 0.0
        for first, last in speech:
            low, high = max(start, before), min(end, before + last - first)
            if low < high:
                inside += [first + low - before, first + high - before]
            before += last - first
        if inside:
            found.append((inside[0], inside[-1]))
    return tuple(found)


def _speech(clips: Sequence[Audio]) -> npt.NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *(trim_silence(clip).samples for clip in clips)])


def shipped_multi_talker(encoder: Encoder) -> MultiTalker:
    """The scorer with the model that ships.

    Raises:
        ConfigError: None ships for this encoder.
    """
    if shipped_model().fingerprint != encoder.fingerprint:
        raise ConfigError(
            f"no multi-talker model ships for the encoder {encoder.name!r} as it is set; use load_encoder('ge2e')"
        )
    return MultiTalker(encoder, shipped_model())
