"""Recordings of more than one voice: noticing them, and saying who of the people enrolled is heard, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from openkith.audio import Audio
from openkith.encoders import Encoder
from openkith.errors import ConfigError
from openkith.neural_scoring.talker_method import TalkerMethod
from openkith.neural_scoring.talker_model import Tokens, shipped_model
from openkith.openset.decision import Decision, decide_several
from openkith.openset.model import OpenSetModel, fit_open_set
from openkith.scoring import EmbeddingSet

if TYPE_CHECKING:
    from openkith.neural_scoring.multi_talker import MultiTalker

__all__ = [
    "Voices",
    "check_voices",
    "decide_talkers",
    "fit_talkers",
    "sounds_like_several",
    "speech_tokens",
]

CLEARLY_NATS = 2.0  # by which a window speaks more for one person than for another
LEAST_WINDOWS = 3  # of 1.6 s, 0.3 s apart, that speak for a person

Voices = Literal["auto", "one", "several"]


def check_voices(voices: str) -> None:
    """Refuse what is not one of `Voices`.

    Raises:
        ConfigError: It names them.
    """
    if voices not in get_args(Voices):
        raise ConfigError(f"voices is {voices!r}; give one of: {', '.join(get_args(Voices))}")


def speech_tokens(encoder: Encoder, speech: Audio) -> Tokens:
    """Tokens of speech without its silences.

    Raises:
        ConfigError: No multi-talker model ships for this encoder.
    """
    return _scorer(encoder).tokens(speech)


def sounds_like_several(talkers: OpenSetModel, tokens: Tokens) -> bool:
    """Whether more than one voice is heard.

    Either the windows of the clip say so, whoever it is (and are wrong about 2 % of clips of one voice); or two of the
    people enrolled are heard, each of them for some windows that speak far more for them than for any other.

    Args:
        talkers: What `fit_talkers` gave.
        tokens: Of the clip.
    """
    model = shipped_model()
    if model.several_voices(tokens) > 0.0:
        return True
    scorer, calibration = _own_scorer(talkers), talkers.calibration
    passing = np.flatnonzero(calibration.llr(scorer.score([tokens]))[0] >= calibration.threshold)
    if len(passing) < 2:
        return False
    log_odds = model.window_log_odds(scorer.people[passing], tokens)  # (w, n)
    ranked = np.sort(log_odds, axis=1)
    clearly = (ranked[:, -1] > 0.0) & (ranked[:, -1] > ranked[:, -2] + CLEARLY_NATS)
    windows = np.bincount(log_odds.argmax(axis=1)[clearly], minlength=len(passing))
    return int((windows >= LEAST_WINDOWS).sum()) >= 2


def fit_talkers(enrolment: EmbeddingSet, fingerprint: str, **settings: Any) -> OpenSetModel | None:
    """The multi-talker scorer for the people enrolled; None where there is none for the encoder.

    Args:
        enrolment: Their clips.
        fingerprint: Of the encoder.
        settings: Of `Calibration.fit`.
    """
    if shipped_model().fingerprint != fingerprint:
        return None
    return fit_open_set(TalkerMethod.name, enrolment, None, **settings)


def decide_talkers(
    talkers: OpenSetModel,
    names: Sequence[str],
    encoder: Encoder,
    tokens: Tokens,
    recording: Audio,
    seconds: float,
) -> Decision:
    """Who of the people is heard, and when.

    Args:
        talkers: What `fit_talkers` gave.
        names: The people.
        encoder: Of the tokens.
        tokens: Of the recording without its silences.
        recording: As it is, whose times are told.
        seconds: Of speech.
    """
    own, scorer = _own_scorer(talkers), _scorer(encoder)
    llrs = talkers.calibration.llr(own.score([tokens]))[0]
    return decide_several(
        llrs,
        names,
        talkers.calibration,
        seconds,
        lambda rows: scorer.times(own.people[rows], tokens, recording),
        talkers.method,
    )


def _own_scorer(talkers: OpenSetModel) -> TalkerMethod:
    assert isinstance(talkers.scorer, TalkerMethod)
    return talkers.scorer


def _scorer(encoder: Encoder) -> MultiTalker:
    from openkith.neural_scoring.multi_talker import shipped_multi_talker  # loads torch

    return shipped_multi_talker(encoder)
