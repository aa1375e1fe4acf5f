"""Every branch of the decision, from likelihood ratios made by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from openkith.openset.decision import (
    Decision,
    HeardPerson,
    decide,
    decide_claim,
    decide_several,
    talking_prior,
)
from openkith.scoring import Calibration
from openkith.scoring.calibration import ErrorEstimate

NAMES = ["ann", "bob", "cat"]
NONE = ErrorEstimate(0.0, 0.0, 0.0, 1)


def calibration(threshold: float = 2.0, verify_threshold: float = 1.0, prior: float = 0.5) -> Calibration:
    basis = ("clips",) * len(NAMES)
    rates = (prior, 0.01, 0.01, threshold, verify_threshold, NONE, NONE, 100, False, basis)
    return Calibration(1.0, 0.0, *rates)


def ask(llrs: list[float], seconds: float = 3.0, note: str = "", **settings: float) -> Decision:
    return decide(np.array(llrs), NAMES[: len(llrs)], calibration(**settings), seconds, "as-norm", note)


def claim(
    llrs: list[float], who: str = "bob", seconds: float = 3.0, note: str = "", **settings: float
) -> Decision:
    names = NAMES[: len(llrs)]
    return decide_claim(
        np.array(llrs), names.index(who), names, calibration(**settings), seconds, "as-norm", note
    )


def posterior(llrs: list[float], prior: float = 0.5) -> list[float]:
    """P(each person), P(unknown) by Bayes' rule: the people share the rest of the prior."""
    joint = [math.exp(llr) * (1 - prior) / len(llrs) for llr in llrs] + [prior]
    return [part / sum(joint) for part in joint]


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.9])
def test_probabilities_are_bayes_rule(prior: float) -> None:
    llrs = [1.0, 4.0, -2.0]
    expected = posterior(llrs, prior)
    for decision in (ask(llrs, prior=prior), claim(llrs, prior=prior)):
        assert list(decision.probabilities) == [*NAMES, "unknown"]
        assert list(decision.probabilities.values()) == pytest.approx(expected)
        assert sum(decision.probabilities.values()) == pytest.approx(1.0)


def test_ratios_that_would_overflow_still_sum_to_one() -> None:
    decision = ask([900.0, -900.0, 0.0])
    assert sum(decision.probabilities.values()) == pytest.approx(1.0)
    assert decision.probability == pytest.approx(1.0)


def test_known() -> None:
    decision = ask([-3.0, 6.0, -1.0])
    expected = posterior([-3.0, 6.0, -1.0])
    assert (decision.status, decision.name, decision.accepted) == ("known", "bob", True)
    assert decision.probability == pytest.approx(expected[1])
    assert decision.margin == pytest.approx(expected[1] - expected[3])  # unknown is next
    assert (decision.score, decision.threshold) == (6.0, 2.0)
    assert decision.reason == "bob's voice, from 3.0 s of speech"
    assert (decision.speech_seconds, decision.method) == (3.0, "as-norm")


def test_exactly_at_the_threshold_is_known() -> None:
    assert ask([3.5, -9.0], threshold=3.5).status == "known"
    assert ask([np.nextafter(3.5, 0), -9.0], threshold=3.5).status == "unsure"


def test_unknown() -> None:
    decision = ask([-3.0, -1.0, -2.0])
    expected = posterior([-3.0, -1.0, -2.0])
    assert (decision.status, decision.name, decision.accepted) == ("unknown", None, False)
    assert decision.probability == pytest.approx(expected[3])
    assert decision.margin == pytest.approx(expected[3] - expected[1])
    assert decision.score == -1.0
    assert decision.reason == "like nobody enrolled; least unlike bob"


def test_two_who_sound_alike_are_unsure() -> None:
    decision = ask([6.0, 5.5, -1.0])
    assert (decision.status, decision.name, decision.accepted) == ("unsure", "ann", False)
    assert decision.reason == "sounds like ann and like bob: too close to call"
    expected = posterior([6.0, 5.5, -1.0])
    assert decision.probability == pytest.approx(expected[0])
    assert decision.margin == pytest.approx(expected[0] - expected[1])
    assert ask([6.0, 6.0 - math.log(2) - 0.01, -1.0]).status == "known"  # half as probable is far enough
    assert ask([5.5, -1.0, 6.0]).reason == "sounds like cat and like ann: too close to call"


def test_below_the_threshold_but_more_like_somebody_is_unsure() -> None:
    decision = ask([3.0, -4.0, -4.0], threshold=4.0)  # P(ann) is 0.77
    assert (decision.status, decision.name, decision.accepted) == ("unsure", "ann", False)
    assert decision.reason == "more like ann than like a stranger, but below the threshold"


@pytest.mark.parametrize(
    ("llrs", "seconds", "status", "reason"),
    [
        ([2.5, -5.0], 0.6, "unsure", "0.6 s of speech: too short to be sure, most like ann"),
        ([2.5, -5.0], 1.0, "known", "ann's voice, from 1.0 s of speech"),
        ([8.0, -5.0], 0.6, "known", "ann's voice, from 0.6 s of speech"),  # near certain
        ([-1.0, -1.5], 0.6, "unsure", "0.6 s of speech: too short to be sure, least unlike ann"),
        ([-1.0, -1.5], 1.0, "unknown", "like nobody enrolled; least unlike ann"),
        ([-6.0, -6.0], 0.6, "unknown", "like nobody enrolled; least unlike ann"),
    ],
)
def test_short_speech(llrs: list[float], seconds: float, status: str, reason: str) -> None:
    decision = ask(llrs, seconds)
    assert (decision.status, decision.reason) == (status, reason)
    assert decision.name == (None if status == "unknown" else "ann")


def test_one_person_alone() -> None:
    assert ask([5.0]).status == "known"
    assert ask([5.0]).margin == pytest.approx(1 - 2 * posterior([5.0])[1])
    assert ask([-5.0]).status == "unknown"
    assert claim([5.0], "ann").accepted
    assert claim([-5.0], "ann").reason == "not ann's voice: more like nobody enrolled"


@pytest.mark.parametrize("llrs", [[6.0, -3.0], [-3.0, -4.0], [6.0, 5.9]])
def test_the_note_ends_the_reason(llrs: list[float]) -> None:
    plain, noted = ask(llrs), ask(llrs, note="the head is stale")
    assert noted.reason == f"{plain.reason}; the head is stale"
    assert noted.status == plain.status
    assert claim(llrs, note="the head is stale").reason == f"{claim(llrs).reason}; the head is stale"


def test_claim_accepted() -> None:
    decision = claim([-3.0, 6.0, -1.0])
    expected = posterior([-3.0, 6.0, -1.0])
    assert (decision.status, decision.name, decision.accepted) == ("known", "bob", True)
    assert decision.probability == pytest.approx(expected[1])
    assert decision.margin == pytest.approx(expected[1] - expected[3])
    assert (decision.score, decision.threshold) == (6.0, 1.0)
    assert decision.reason == "bob's voice, from 3.0 s of speech"


def test_claim_by_another_enrolled_person() -> None:
    decision = claim([6.0, -3.0, -1.0])
    expected = posterior([6.0, -3.0, -1.0])
    assert (decision.status, decision.name, decision.accepted) == ("unknown", "bob", False)
    assert decision.reason == "not bob's voice: more like ann"
    assert decision.probability == pytest.approx(expected[1])
    assert decision.margin == pytest.approx(expected[1] - expected[0])


def test_claim_by_a_stranger() -> None:
    decision = claim([-2.0, -3.0, -4.0])  # ann is likelier than bob, and a stranger likelier than both
    assert (decision.status, decision.name, decision.accepted) == ("unknown", "bob", False)
    assert decision.reason == "not bob's voice: more like nobody enrolled"


def test_claim_that_fits_another_better_is_not_accepted() -> None:
    decision = claim([9.0, 3.0, -1.0])  # above bob's threshold, but P(bob) is 0.002
    assert (decision.status, decision.accepted) == ("unsure", False)
    assert decision.reason == "sounds like bob, but more like ann"
    assert claim([2.9, 3.0, -1.0]).accepted


def test_claim_below_the_threshold_but_likelier_than_all_else_is_unsure() -> None:
    decision = claim([-3.0, 3.0, -1.0], verify_threshold=4.0)
    assert (decision.status, decision.accepted) == ("unsure", False)
    assert decision.reason == "more like bob than like anybody else, but below the threshold"


@pytest.mark.parametrize(
    ("llrs", "seconds", "status", "accepted", "reason"),
    [
        ([-3.0, 2.0], 0.4, "unsure", False, "0.4 s of speech: too short to be sure that it is bob"),
        ([-3.0, 2.0], 1.0, "known", True, "bob's voice, from 1.0 s of speech"),
        ([-3.0, 8.0], 0.4, "known", True, "bob's voice, from 0.4 s of speech"),
        ([-3.0, 0.0], 0.4, "unsure", False, "0.4 s of speech: too short to confirm bob"),
        ([-3.0, -5.0], 0.4, "unknown", False, "not bob's voice: more like nobody enrolled"),
    ],
)
def test_short_claims(llrs: list[float], seconds: float, status: str, accepted: bool, reason: str) -> None:
    decision = claim(llrs, seconds=seconds)
    assert (decision.status, decision.accepted, decision.reason) == (status, accepted, reason)


def test_plain_values_for_json() -> None:
    for decision in (ask([6.0, -3.0]), claim([6.0, -3.0])):
        values = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
        assert Decision(**{**values, "heard": (), "warnings": ()}) == decision
        assert list(values) == [
            *("status", "name", "probability", "probabilities", "margin", "speech_seconds", "reason"),
            *("method", "score", "threshold", "accepted", "several", "heard", "warnings"),
        ]


def test_over_the_threshold_but_likelier_a_stranger_is_unsure() -> None:
    llrs = [1.0, -3.0, -3.0]
    decision = ask(llrs, threshold=0.5)
    p = posterior(llrs)
    assert p[0] < p[-1]
    assert (decision.status, decision.name, decision.accepted) == ("unsure", "ann", False)
    assert "likelier a stranger" in decision.reason
    assert decision.margin == pytest.approx(p[0] - p[-1])
    assert ask(llrs, threshold=0.5, prior=0.1).status == "known"


def several(llrs: list[float], note: str = "", **settings: float) -> Decision:
    def times(rows: np.ndarray) -> list[tuple[tuple[float, float], ...]]:
        return [tuple((float(i) + j, float(i) + j + 0.5) for j in range(i + 1)) for i in rows]

    names = [*NAMES, "dan", "eve"][: len(llrs)]
    return decide_several(np.array(llrs), names, calibration(**settings), 4.0, times, "multi-talker", note)


def test_a_person_among_several_voices_has_half_a_chance_at_most() -> None:
    assert talking_prior(1, 0.5) == 0.5
    assert talking_prior(2, 0.1) == 0.5
    assert talking_prior(10, 0.5) == pytest.approx(0.1)
    assert talking_prior(10, 0.9) == pytest.approx(0.02)


def test_everybody_who_is_heard_is_listed() -> None:
    decision = several([3.0, -5.0, 6.0, -4.0])
    prior = talking_prior(4, 0.5)
    expected = [1 / (1 + math.exp(-llr) * (1 - prior) / prior) for llr in (3.0, -5.0, 6.0, -4.0)]
    assert (decision.status, decision.name, decision.accepted) == ("known", "cat", True)
    assert decision.several
    assert [person.name for person in decision.heard] == ["cat", "ann"]
    assert decision.heard[1] == HeardPerson("ann", pytest.approx(expected[0]), ((0.0, 0.5),))
    assert list(decision.probabilities.values()) == pytest.approx(
        [*expected, np.prod(1 - np.array(expected))]
    )
    assert decision.margin == pytest.approx(2 * decision.probability - 1)
    assert (
        decision.reason
        == "cat (2.0-2.5, 3.0-3.5, 4.0-4.5 s) and ann (0.0-0.5 s), in 4.0 s of speech of several voices"
    )
    assert several([6.0, -3.0]).reason.startswith("ann (0.0-0.5 s), with another voice")
    assert "and on" in several([-9.0, -9.0, -9.0, 9.0]).reason


def test_several_voices_without_anybody_enrolled() -> None:
    decision = several([-3.0, -1.0, -2.0], note="stale")
    assert (decision.status, decision.name, decision.heard) == ("unknown", None, ())
    assert decision.probability == decision.probabilities["unknown"]
    assert decision.reason == "several voices, nobody enrolled among them; least unlike bob; stale"


def test_several_voices_with_doubt() -> None:
    for decision in (several([1.9, -3.0]), several([2.1, *[-9.0] * 4], prior=0.9)):
        assert (decision.status, decision.name, decision.accepted) == ("unsure", "ann", False)
        assert decision.reason == "several voices, perhaps ann among them"
        assert decision.heard == ()
