"""Recordings of more than one voice: noticing them, and saying who of the people enrolled is heard, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from openkith.audio import Audio
from openkith.decision import Decision, decide_several
from openkith.encoders import Encoder
from openkith.errors import ConfigError
from openkith.gallery import Gallery
from openkith.neural_scoring.talker_method import TalkerMethod
from openkith.neural_scoring.talker_model import Tokens, shipped_model
from openkith.openset import fit_open_set
from openkith.roster import Roster, take_snapshot

if TYPE_CHECKING:
    from openkith.neural_scoring.multi_talker import MultiTalker

__all__ = [
    "Voices",
    "can_hear_several",
    "check_voices",
    "decide_talkers",
    "sounds_like_several",
    "speech_tokens",
    "talker_roster",
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


def can_hear_several(encoder: Encoder) -> bool:
    """Whether there is a multi-talker model for an encoder."""
    return shipped_model().fingerprint == encoder.fingerprint


def speech_tokens(encoder: Encoder, speech: Audio) -> Tokens:
    """Tokens of speech without its silences.

    Raises:
        ConfigError: No multi-talker model ships for this encoder.
    """
    return _scorer(encoder).tokens(speech)


def sounds_like_several(roster: Roster, tokens: Tokens) -> bool:
    """Whether more than one voice is heard.

    Either the windows of the clip say so, whoever it is (and are wrong about 2 % of clips of one voice); or two of the
    people enrolled are heard, each of them for some windows that speak far more for them than for any other.

    Args:
        roster: What `talker_roster` gave.
        tokens: Of the clip.
    """
    model = shipped_model()
    if model.several_voices(tokens) > 0.0:
        return True
    scorer, calibration = _scorer_of(roster), roster.model.calibration
    passing = np.flatnonzero(calibration.llr(scorer.score([tokens]))[0] >= calibration.threshold)
    if len(passing) < 2:
        return False
    log_odds = model.window_log_odds(scorer.people[passing], tokens)  # (w, n)
    ranked = np.sort(log_odds, axis=1)
    clearly = (ranked[:, -1] > 0.0) & (ranked[:, -1] > ranked[:, -2] + CLEARLY_NATS)
    windows = np.bincount(log_odds.argmax(axis=1)[clearly], minlength=len(passing))
    return int((windows >= LEAST_WINDOWS).sum()) >= 2


def talker_roster(gallery: Gallery) -> Roster:
    """The people enrolled, with the multi-talker scorer for them.

    Raises:
        NotEnoughDataError: Nobody is enrolled.
        GalleryError: It is written to without a pause.
    """
    snapshot = take_snapshot(gallery, all_clips=True)
    enrolment, _ = snapshot.enrolment()
    model = fit_open_set(TalkerMethod.name, enrolment, None, **snapshot.settings)
    return Roster(snapshot.version, snapshot.names, tuple(clip.id for clip in snapshot.clips), model, "")


def decide_talkers(
    roster: Roster, encoder: Encoder, tokens: Tokens, recording: Audio, seconds: float
) -> Decision:
    """Who of the people is heard, and when.

    Args:
        roster: What `talker_roster` gave.
        encoder: Of the tokens.
        tokens: Of the recording without its silences.
        recording: As it is, whose times are told.
        seconds: Of speech.
    """
    model, own = roster.model, _scorer_of(roster)
    llrs = model.calibration.llr(own.score([tokens]))[0]
    scorer = _scorer(encoder)
    return decide_several(
        llrs,
        roster.names,
        model.calibration,
        seconds,
        lambda rows: scorer.times(own.people[rows], tokens, recording),
        model.method,
        roster.note,
    )


def _scorer_of(roster: Roster) -> TalkerMethod:
    assert isinstance(roster.model.scorer, TalkerMethod)
    return roster.model.scorer


def _scorer(encoder: Encoder) -> MultiTalker:
    from openkith.neural_scoring.multi_talker import shipped_multi_talker  # loads torch

    return shipped_multi_talker(encoder)
